# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 the seedcloud.openstack authors
"""The roles' variables as the check stage judges them: what a role would refuse when its turn comes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.seedcloud.openstack.plugins.filter.inventory_faults import faults
from ansible_collections.seedcloud.openstack.plugins.plugin_utils._inventory.variables import options
from ansible_collections.seedcloud.openstack.tests.unit.plugins.inventory_rack import Rack

ROLES = Path(__file__).resolve().parents[4] / "roles"
WRONG: list[tuple[str, Any, str]] = [
    ("neutron_workers", "many", "int"),
    ("neutron_workers", [2], "int"),
    ("nova_virt_type", "kmv", "value of nova_virt_type must be one of:"),
    ("nova_config_overrides", "[DEFAULT]", "dict"),
    ("image_extra_packages", {"htop": None}, "list"),
    ("image_extra_files", {"etc/motd": "hello"}, "'etc/motd': a path of a file from / on"),
    ("image_extra_files", {"/etc/../x": "hello"}, "'/etc/../x': a path of a file from / on"),
    ("image_extra_files", {"/etc/motd": 5}, "'/etc/motd': its content is no text"),
    ("verify_flavor", {"rma": 512}, "rma"),
    ("check_disk_gib", "plenty", "int"),
]


@pytest.mark.parametrize(("name", "value", "said"), WRONG)
def test_what_a_role_would_refuse(name: str, value: Any, said: str) -> None:
    r = Rack(3)
    r.shared[name] = value
    [fault] = faults(r.hostvars(), r.groups)
    assert (fault["host"], fault["variable"]) == ("seed", name)
    assert said in fault["fault"] and fault["fault"].endswith(" (and on 3 more)")
    role = name.partition("_")[0]
    assert fault["mend"] == f"`ansible-doc --type role seedcloud.openstack.{role}` says what it takes"


def test_each_value_is_told_once_and_with_the_other_faults() -> None:
    r = Rack(3)
    r.shared |= {
        "neutron_workers": 2,
        "glance_workers": "2",
        "nova_config_overrides": None,
        "neutron_of_ours": object(),
    }
    r.node1["neutron_workers"] = "x"
    r.hosts["node3"]["neutron_workers"] = "y"
    r.hosts["node2"]["node_firmware"] = "coreboot"
    assert [(f["host"], f["variable"]) for f in faults(r.hostvars(), r.groups)] == [
        ("node1", "neutron_workers"),
        ("node2", "node_firmware"),
        ("node3", "neutron_workers"),
    ]


def test_what_the_roles_take_themselves_is_no_fault() -> None:
    """Every default of every role, as far as it is a value."""
    r = Rack(1)
    for path in ROLES.glob("*/defaults/main.yml"):
        given = yaml.safe_load(path.read_text()) or {}
        r.shared |= {name: value for name, value in given.items() if name in options() and "{{" not in str(value)}
    assert len(r.shared) > 100
    assert faults(r.hostvars(), r.groups) == []
