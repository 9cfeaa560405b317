# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 the seedcloud.openstack authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Put together what is wrong."""

from __future__ import annotations

DOCUMENTATION = r"""
name: check_faults
author: [The seedcloud.openstack authors (@seedcloud)]
version_added: 0.1.0
short_description: Put together what is wrong with inventory, controller, seed and BMCs
description:
  - One line a fault, sorted, each with host, variable, fault and mend. What was not asked is left out.
options:
  _input:
    description: Faults from P(seedcloud.openstack.inventory_faults#filter).
    type: list
    elements: dict
    required: true
  controller:
    description: Versions of C(ansible), C(python) and C(ssh) on the controller.
    type: dict
  seed:
    description: The seed, from P(seedcloud.openstack.seed_record#filter).
    type: dict
  held:
    description: What M(seedcloud.openstack.seed_info) returned.
    type: dict
  pyghmi:
    description: The least version of pyghmi that the seed may have; any without it.
    type: str
  bmcs:
    description: What M(seedcloud.openstack.bmc_info) returned as C(nodes).
    type: dict
  offers:
    description: What M(seedcloud.openstack.dhcp_probe) returned.
    type: list
    elements: dict
  disk_gib:
    description: GiB that the seed must have free.
    type: int
    default: 0
"""

EXAMPLES = r"""
- name: Show what is wrong with the inventory and the controller
  ansible.builtin.debug:
    msg: "{{ found | seedcloud.openstack.check_faults(controller=versions) }}"
  vars:
    found: "{{ hostvars | seedcloud.openstack.inventory_faults(groups) }}"
    versions: {ansible: "{{ ansible_version.full }}", python: "3.13", ssh: OpenSSH_9.2}
"""

RETURN = r"""
_value:
  description: Lines for people.
  type: list
  elements: str
  sample: ["node1: node_bmc: bmc_auth: the BMC refused the credentials. Correct username or password."]
"""

from collections.abc import Callable
from typing import Any

from ansible_collections.seedcloud.openstack.plugins.plugin_utils._inventory.check import check_faults


class FilterModule:
    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"check_faults": check_faults}
