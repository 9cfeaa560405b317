# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 the seedcloud.openstack authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Inventory in, networks out."""

from __future__ import annotations

DOCUMENTATION = r"""
name: network_map
author: [The seedcloud.openstack authors (@seedcloud)]
version_added: 0.1.0
short_description: Resolve the networks of the rack
description:
  - The network that serves each role, with fallbacks (an absent C(internal) is C(provisioning), and so on) and
    defaults applied. See C(docs/interfaces.md).
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
- name: Show the network that carries the tunnels
  ansible.builtin.debug:
    msg: "{{ (hostvars | seedcloud.openstack.network_map(groups)).tunnel.cidr }}"
  run_once: true
"""

RETURN = r"""
_value:
  description: A network a role; V(none) where the rack has none.
  type: dict
  sample:
    internal: {network: provisioning, cidr: 192.0.2.0/24, prefix: 24, vlan: null, mtu: 1500}
"""

from collections.abc import Callable, Mapping
from typing import Any

from ansible_collections.seedcloud.openstack.plugins.plugin_utils._inventory.ansible import faultless
from ansible_collections.seedcloud.openstack.plugins.plugin_utils._inventory.networks import network_map


def networks(hostvars: Mapping[str, Any], groups: Mapping[str, list[str]]) -> dict[str, Any]:
    return network_map(faultless(hostvars, groups).seed["seedcloud_networks"])


class FilterModule:
    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"network_map": networks}
