# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 the seedcloud.openstack authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Write the orders of nodes."""

from __future__ import annotations

DOCUMENTATION = r"""
name: node_orders
author: [The seedcloud.openstack authors (@seedcloud)]
version_added: 0.1.0
short_description: Write the orders of nodes
description:
  - Turns node records into what M(seedcloud.openstack.node_order) takes.
positional: seed, images, journals
options:
  _input:
    description: Node records.
    type: list
    elements: dict
    required: true
  seed:
    description: Where the nodes find the seed (C(address), C(port)), and the accounts they get (C(ssh)).
    type: dict
    required: true
  images:
    description: Manifests of the C(golden) image and the C(ramdisk), from M(seedcloud.openstack.seed_info).
    type: dict
    required: true
  journals:
    description: What M(seedcloud.openstack.node_journal) returned as C(nodes). It tells which disks a hash over several confirms.
    type: dict
    required: true
  action:
    description: What the agent does.
    type: str
    choices: [deploy, inspect, clean]
    default: deploy
  arguments:
    description: More arguments of the ramdisk's kernel.
    type: list
    elements: str
    default: []
"""

EXAMPLES = r"""
- name: Order the deployment of all nodes
  seedcloud.openstack.node_order:
    run: "{{ run }}"
    nodes: "{{ node_records | seedcloud.openstack.node_orders(seed, images, {}) }}"
"""

RETURN = r"""
_value:
  description: Nodes with their orders.
  type: list
  elements: dict
  sample:
    - name: node1
      boot_mac: "00:00:5e:00:53:01"
      address: 192.0.2.11
      firmware: uefi
"""

from collections.abc import Callable
from typing import Any

from ansible_collections.seedcloud.openstack.plugins.plugin_utils._inventory.provision import node_orders


class FilterModule:
    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"node_orders": node_orders}
