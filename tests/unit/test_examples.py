# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 the seedcloud.openstack authors
"""The inventory for real metal in examples/: without fault, and with every variable that a user must give."""

from __future__ import annotations

import copy
import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.seedcloud.openstack.plugins.filter.proof_inputs import proof_inputs
from ansible_collections.seedcloud.openstack.plugins.plugin_utils._inventory import read
from ansible_collections.seedcloud.openstack.plugins.plugin_utils._inventory.faults import inventory_faults
from ansible_collections.seedcloud.openstack.plugins.plugin_utils._inventory.records import node_records

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture(scope="module")
def inventory() -> tuple[dict[str, dict[str, Any]], dict[str, list[str]]]:
    """hostvars and groups, as ansible-inventory reads them; templates in passwords stay as they are."""
    command = ["ansible-inventory", "-i", str(EXAMPLES / "hosts.yml"), "--list"]
    listed = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    hostvars = listed.pop("_meta")["hostvars"]

    def members(group: str) -> list[str]:
        below = listed.get(group, {})
        return below.get("hosts", []) + [host for child in below.get("children", []) for host in members(child)]

    for variables in hostvars.values():
        if "node_bmc" in variables:
            variables["node_bmc"]["password"] = variables["vault_bmc_password"]
    return hostvars, {group: members(group) for group in listed}


def test_no_fault(inventory: tuple[dict[str, Any], dict[str, list[str]]]) -> None:
    assert inventory_faults(read.read_inventory(*inventory)) == []


def test_the_cases_that_it_shows(inventory: tuple[dict[str, Any], dict[str, list[str]]]) -> None:
    records = {each["name"]: each for each in node_records(read.read_inventory(*inventory))}
    assert {each["firmware"] for each in records.values()} == {"uefi", "bios"}
    assert {name: each["provider"]["port"] for name, each in records.items()} == {
        "controller1": "nic1.300",
        "compute1": "nic1.300",
        "compute2": "bond0.300",
        "compute3": "nic0.300",
    }
    assert all(each["provider"]["moves_address"] is None for each in records.values())


def test_every_variable_that_must_be_given_is_given(inventory: tuple[dict[str, Any], dict[str, list[str]]]) -> None:
    """What is taken away is either missed, or has a default that the documentation of the interfaces names."""
    hostvars, groups = inventory
    documented = (EXAMPLES.parent / "docs/interfaces.md").read_text()
    required = set()
    for name in (*read.SHARED, *read.SEED_ONLY, *read.NODE_ONLY):
        assert re.search(rf"\b{name}\b", documented), name
        without = {host: {key: v for key, v in given.items() if key != name} for host, given in hostvars.items()}
        if inventory_faults(read.read_inventory(without, groups)):
            required.add(name)
        else:
            assert name in read.DEFAULTS or name in ("seedcloud_image", "node_boot_nic", "node_wipe_confirm"), name
    assert required == {
        "seedcloud_networks",
        "seedcloud_ssh_authorized_keys",
        "seed_address",
        "seed_interface",
        "node_bmc",
        "node_nics",
        "node_bonds",  # of compute2, whose networks lie on it
        "node_networks",
        "node_root_device",
    }
    shown = {key for given in hostvars.values() for key in given}
    assert required <= shown


def test_no_password_is_shown_as_though_it_were_one() -> None:
    """A reader is told to encrypt, and the placeholder is none that somebody would leave."""
    vault = (EXAMPLES / "group_vars/all/vault.yml").read_text()
    assert "ansible-vault encrypt" in vault
    assert all("vault_" in line for path in EXAMPLES.rglob("*.yml") for line in path.read_text().splitlines()
               if "password:" in line)  # fmt: skip


def test_what_was_proven_is_proven_anew_when_the_inventory_changes(
    inventory: tuple[dict[str, Any], dict[str, list[str]]],
) -> None:
    hostvars, groups = inventory
    before = proof_inputs(hostvars, groups)
    assert before == proof_inputs(copy.deepcopy(hostvars), groups)
    changed = copy.deepcopy(hostvars)
    for host in changed:
        changed[host]["nova_config_overrides"] = {"DEFAULT": {"cpu_allocation_ratio": 4.0}}
    assert proof_inputs(changed, groups) != before


def test_the_readme_copies_what_is_there() -> None:
    readme = (EXAMPLES.parent / "README.md").read_text()
    copied = re.findall(r"cp -r \S+/ansible_collections/seedcloud/openstack/(\S+)", readme)
    assert [EXAMPLES.parent / path for path in copied] == [EXAMPLES]
