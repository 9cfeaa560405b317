# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 the seedcloud.openstack authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Pick nodes by what became of them."""

from __future__ import annotations

DOCUMENTATION = r"""
name: nodes_where
author: [The seedcloud.openstack authors (@seedcloud)]
version_added: 0.1.0
short_description: Pick nodes by what became of them
description:
  - Of node records, those whose result in a batch module's C(nodes) has a value.
positional: results, key, value
options:
  _input:
    description: Node records.
    type: list
    elements: dict
    required: true
  results:
    description: What a batch module returned as C(nodes). Without it, no node is picked.
    type: dict
  key:
    description: The key to look at.
    type: str
    required: true
  value:
    description: The value that it has.
    type: raw
    required: true
"""

EXAMPLES = r"""
- name: Start the nodes that were ordered and still have to boot
  seedcloud.openstack.bmc_power:
    nodes: "{{ chosen | map(attribute='bmc') }}"
    state: cycle
  vars:
    chosen: "{{ node_records | seedcloud.openstack.nodes_where(ordered.nodes, 'needs_boot', true) }}"
"""

RETURN = r"""
_value:
  description: The node records that fit.
  type: list
  elements: dict
  sample: [{name: node1, address: 192.0.2.11}]
"""

from collections.abc import Callable
from typing import Any

from ansible_collections.seedcloud.openstack.plugins.plugin_utils._inventory.provision import nodes_where


class FilterModule:
    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"nodes_where": nodes_where}
