# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 the seedcloud.openstack authors
"""Inventory in, the hash of what a proof stands for out."""

from __future__ import annotations

DOCUMENTATION = r"""
name: proof_inputs
author: [The seedcloud.openstack authors (@seedcloud)]
version_added: 0.1.0
short_description: Hash what the controller knows of that a proof of the cloud stands for
description:
  - A hash over the node records, the networks, every public variable of this collection's roles that a host has,
    and the collection's own files. A proof need not be repeated while it and the images stay the same.
  - The images are on the seed, where the role C(verify) looks at them.
  - Variables are taken as they are written, not templated, so that secrets are neither needed nor seen.
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
- name: Prove the cloud if it is another one than was proven
  ansible.builtin.include_role:
    name: seedcloud.openstack.verify
  vars:
    verify_stamp: /var/lib/seedcloud/stamps/verify.json
    verify_stamp_inputs: "{{ hostvars | seedcloud.openstack.proof_inputs(groups) }}"
    verify_stamp_files: [/var/lib/seedcloud/stamps/images.json]
"""

RETURN = r"""
_value:
  description: The hash.
  type: str
  sample: 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08
"""

from collections.abc import Callable, Mapping
from typing import Any

from ansible.parsing.dataloader import DataLoader
from ansible_collections.seedcloud.openstack.plugins.plugin_utils._inventory.ansible import faultless
from ansible_collections.seedcloud.openstack.plugins.plugin_utils._inventory.networks import network_map
from ansible_collections.seedcloud.openstack.plugins.plugin_utils._inventory.records import node_records, seed_record
from ansible_collections.seedcloud.openstack.plugins.plugin_utils._proof import inputs


def proof_inputs(hostvars: Mapping[str, Any], groups: Mapping[str, list[str]]) -> str:
    inventory = faultless(hostvars, groups)
    resolved = [node_records(inventory), seed_record(inventory), network_map(inventory.seed["seedcloud_networks"])]
    raw_get = getattr(hostvars, "raw_get", hostvars.__getitem__)
    hosts = {*groups.get("seedcloud_seed", []), *groups.get("seedcloud_nodes", [])}
    raw = {host: raw_get(host) for host in hosts}
    return inputs.proof_inputs(resolved, raw, inputs.options(DataLoader().load_from_file), inputs.collection_digest())


class FilterModule:
    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"proof_inputs": proof_inputs}
