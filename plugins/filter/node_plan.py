# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 the seedcloud.openstack authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Tell what a run would do to power and disks."""

from __future__ import annotations

DOCUMENTATION = r"""
name: node_plan
author: [The seedcloud.openstack authors (@seedcloud)]
version_added: 0.1.0
short_description: Tell what a run would do to power and disks
description:
  - One or a few lines a node, and the hash that confirms what would be destroyed, as the node's last inspection or refusal
    told it. Nothing is known of other root device hints than the node was asked for, nor since a write began.
positional: actions, bmcs, journals
options:
  _input:
    description: Node records.
    type: list
    elements: dict
    required: true
  actions:
    description: What P(seedcloud.openstack.node_actions#filter) decided.
    type: dict
    required: true
  bmcs:
    description: What M(seedcloud.openstack.bmc_info) returned as C(nodes).
    type: dict
    required: true
  journals:
    description: What M(seedcloud.openstack.node_journal) returned as C(nodes).
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: Show what would be done
  ansible.builtin.debug:
    msg: "{{ node_records | seedcloud.openstack.node_plan(actions, bmcs.nodes, journal.nodes) }}"
"""

RETURN = r"""
_value:
  description: Lines for people.
  type: list
  elements: str
  sample: ["node1: power: is off; boot from the network once, power on, restart into the image"]
"""

from collections.abc import Callable
from typing import Any

from ansible_collections.seedcloud.openstack.plugins.plugin_utils._inventory.provision import node_plan


class FilterModule:
    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"node_plan": node_plan}
