# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 the seedcloud.openstack authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Pick values of node records."""

from __future__ import annotations

DOCUMENTATION = r"""
name: node_fields
author: [The seedcloud.openstack authors (@seedcloud)]
version_added: 0.1.0
short_description: Pick values of node records
description:
  - Of each node record only some keys, for modules that take no more.
positional: keys, results
options:
  _input:
    description: Node records.
    type: list
    elements: dict
    required: true
  keys:
    description: The keys to keep.
    type: list
    elements: str
    required: true
  results:
    description: What a batch module returned as C(nodes), for keys that the record has not.
    type: dict
"""

EXAMPLES = r"""
- name: Wait for the nodes' deployments
  seedcloud.openstack.node_wait:
    nodes: "{{ node_records | seedcloud.openstack.node_fields(['name', 'generation'], ordered.nodes) }}"
    until: [deployed]
"""

RETURN = r"""
_value:
  description: What is left of the node records.
  type: list
  elements: dict
  sample: [{name: node1, generation: 3}]
"""

from collections.abc import Callable
from typing import Any

from ansible_collections.seedcloud.openstack.plugins.plugin_utils._inventory.provision import node_fields


class FilterModule:
    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"node_fields": node_fields}
