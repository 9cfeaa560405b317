# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 the seedcloud.openstack authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Inventory in, node records out."""

from __future__ import annotations

DOCUMENTATION = r"""
name: node_records
author: [The seedcloud.openstack authors (@seedcloud)]
version_added: 0.1.0
short_description: Turn the inventory into node records
description:
  - Everything that is known of each node, resolved, in the form that the modules take. See C(docs/interfaces.md).
  - An inventory with faults is refused, with all of them. See P(seedcloud.openstack.inventory_faults#filter).
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
- name: Show which address boots where
  ansible.builtin.debug:
    msg: "{{ hostvars | seedcloud.openstack.node_records(groups) | items2dict(key_name='name', value_name='address') }}"
  run_once: true
"""

RETURN = r"""
_value:
  description: Node records, sorted by name.
  type: list
  elements: dict
  sample:
    - name: node1
      fqdn: node1.seedcloud.internal
      roles: [controller]
      address: 192.0.2.11
      boot_mac: "00:00:5e:00:53:01"
"""

from collections.abc import Callable, Mapping
from typing import Any

from ansible_collections.seedcloud.openstack.plugins.plugin_utils._inventory.ansible import faultless
from ansible_collections.seedcloud.openstack.plugins.plugin_utils._inventory.records import node_records


def records(hostvars: Mapping[str, Any], groups: Mapping[str, list[str]]) -> list[dict[str, Any]]:
    return node_records(faultless(hostvars, groups))


class FilterModule:
    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"node_records": records}
