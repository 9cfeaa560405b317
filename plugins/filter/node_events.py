# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 the seedcloud.openstack authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Write journal entries for what BMCs did."""

from __future__ import annotations

DOCUMENTATION = r"""
name: node_events
author: [The seedcloud.openstack authors (@seedcloud)]
version_added: 0.1.0
short_description: Write journal entries for what BMCs did
description:
  - Nodes that failed get none.
positional: event, orders
options:
  _input:
    description: What a C(bmc_*) module returned as C(nodes).
    type: dict
    required: true
  event:
    description: Name of the event.
    type: str
    required: true
  orders:
    description: What M(seedcloud.openstack.node_order) returned as C(nodes).
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: Note which nodes were switched on
  seedcloud.openstack.node_journal:
    append: "{{ power.nodes | seedcloud.openstack.node_events('powered_on', ordered.nodes) }}"
"""

RETURN = r"""
_value:
  description: Entries as M(seedcloud.openstack.node_journal) appends them.
  type: list
  elements: dict
  sample: [{node: node1, generation: 3, event: powered_on, source: bmc, hop: bmc, msg: 'was off, is on', once: true}]
"""

from collections.abc import Callable
from typing import Any

from ansible_collections.seedcloud.openstack.plugins.plugin_utils._inventory.provision import node_events


class FilterModule:
    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"node_events": node_events}
