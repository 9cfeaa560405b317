# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 the seedcloud.openstack authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Inventory in, faults out."""

from __future__ import annotations

DOCUMENTATION = r"""
name: inventory_faults
author: [The seedcloud.openstack authors (@seedcloud)]
version_added: 0.1.0
short_description: Find every fault of the inventory at once
description:
  - What is missing, of the wrong type, contradictory or taken twice, each with its host, its variable and its mend.
  - Also what the roles that come later would refuse by their argument specifications.
  - Nothing but the inventory is looked at.
positional: groups
options:
  _input:
    description: RV(ignore:hostvars) of the play.
    type: dict
    required: true
  groups:
    description: RV(ignore:groups) of the play.
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: Show what is wrong with the inventory
  ansible.builtin.debug:
    msg: "{{ hostvars | seedcloud.openstack.inventory_faults(groups) }}"
  run_once: true
"""

RETURN = r"""
_value:
  description: Faults, sorted by host and variable.
  type: list
  elements: dict
  sample:
    - host: node1
      variable: node_networks.internal.address
      fault: 203.0.113.5 is not in 192.0.2.0/24
      mend: Give an address of seedcloud_networks.internal
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

from ansible_collections.seedcloud.openstack.plugins.plugin_utils._inventory.ansible import ERRORS, read
from ansible_collections.seedcloud.openstack.plugins.plugin_utils._inventory.faults import inventory_faults
from ansible_collections.seedcloud.openstack.plugins.plugin_utils._inventory.variables import variable_faults


def faults(hostvars: Mapping[str, Any], groups: Mapping[str, list[str]]) -> list[dict[str, str]]:
    inventory = read(hostvars, groups)
    found = inventory_faults(inventory) + variable_faults(hostvars, [*inventory.seeds, *inventory.nodes], ERRORS)
    return [asdict(fault) for fault in sorted(found)]


class FilterModule:
    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"inventory_faults": faults}
