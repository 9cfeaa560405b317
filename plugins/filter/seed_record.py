# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 the seedcloud.openstack authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Inventory in, the seed out."""

from __future__ import annotations

DOCUMENTATION = r"""
name: seed_record
author: [The seedcloud.openstack authors (@seedcloud)]
version_added: 0.1.0
short_description: Turn the inventory into what others need to know of the seed
description:
  - Where the seed is and what it gives to nodes. See C(docs/interfaces.md).
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
- name: Show the seed's address
  ansible.builtin.debug:
    msg: "{{ (hostvars | seedcloud.openstack.seed_record(groups)).address }}"
  run_once: true
"""

RETURN = r"""
_value:
  description: The seed.
  type: dict
  sample:
    name: seed
    address: 192.0.2.2
    port: 80
    interface: eno1
    root: /var/lib/seedcloud
    domain: seedcloud.internal
    region: RegionOne
    image: null
    ssh: {user: debian, authorized_keys: [ssh-ed25519 AAAA]}
"""

from collections.abc import Callable, Mapping
from typing import Any

from ansible_collections.seedcloud.openstack.plugins.plugin_utils._inventory.ansible import faultless
from ansible_collections.seedcloud.openstack.plugins.plugin_utils._inventory.records import seed_record


def seed(hostvars: Mapping[str, Any], groups: Mapping[str, list[str]]) -> dict[str, Any]:
    return seed_record(faultless(hostvars, groups))


class FilterModule:
    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"seed_record": seed}
