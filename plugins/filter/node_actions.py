# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 the seedcloud.openstack authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Decide which nodes have to be deployed."""

from __future__ import annotations

DOCUMENTATION = r"""
name: node_actions
author: [The seedcloud.openstack authors (@seedcloud)]
version_added: 0.1.0
short_description: Decide which nodes have to be deployed
description:
  - A node that was written with the wanted image is never deployed again by itself, whether it answers or not.
positional: reached, image, redeploy
options:
  _input:
    description: Node records.
    type: list
    elements: dict
    required: true
  reached:
    description: What M(seedcloud.openstack.node_ssh) returned as C(nodes).
    type: dict
    required: true
  image:
    description: Name of the wanted image.
    type: str
  redeploy:
    description: Names of nodes that are deployed whatever they run.
    type: list
    elements: str
    required: true
"""

EXAMPLES = r"""
- name: Show what would be done to which node
  ansible.builtin.debug:
    msg: "{{ node_records | seedcloud.openstack.node_actions(reached.nodes, 'debian13-openstack-0123456789ab', []) }}"
"""

RETURN = r"""
_value:
  description: By node, what to do (C(action) is V(none), V(settle) or V(deploy)), C(why), and a C(line) for people.
  type: dict
  sample: {node1: {action: none, why: it runs x, line: "node1: nothing to do (it runs x)"}}
"""

from collections.abc import Callable
from typing import Any

from ansible_collections.seedcloud.openstack.plugins.plugin_utils._inventory.provision import node_actions


class FilterModule:
    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"node_actions": node_actions}
