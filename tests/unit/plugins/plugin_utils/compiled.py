# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 the seedcloud.openstack authors
"""Compile an inventory as deploy_services does: from Ansible's own reading of it to a plan a node."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ansible.inventory.manager import InventoryManager
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar
from ansible.vars.hostvars import HostVars
from ansible.vars.manager import VariableManager
from ansible_collections.seedcloud.openstack.plugins.filter.network_map import FilterModule as Networks
from ansible_collections.seedcloud.openstack.plugins.filter.node_records import FilterModule as Records
from ansible_collections.seedcloud.openstack.plugins.plugin_utils._compiler.render import render_plan

GOLDEN = Path(__file__).parents[3] / "golden"
ROLES = Path(__file__).parents[4] / "roles"
CASES = sorted(path.parent.name for path in GOLDEN.glob("*/hosts.yml"))
LOADER = DataLoader()


def load_file(path: str) -> Any:
    return LOADER.load_from_file(path, trusted_as_template=True)


def template(variables: Mapping[str, Any], data: Any) -> Any:
    return Templar(LOADER, variables=variables).template(data)


SERVICES = load_file(str(ROLES / "service_engine/defaults/main.yml"))["service_engine_services"]


def _read(case: str) -> tuple[list[dict[str, Any]], dict[str, Any], dict[str, Any]]:
    """Node records, networks, and the variables of each node."""
    inventory = InventoryManager(loader=LOADER, sources=[str(GOLDEN / case / "hosts.yml")])
    manager = VariableManager(loader=LOADER, inventory=inventory)
    hostvars = HostVars(inventory=inventory, variable_manager=manager, loader=LOADER)
    groups = inventory.get_groups_dict()
    found = Records().filters()["node_records"](hostvars, groups)
    networks = Networks().filters()["network_map"](hostvars, groups)
    return found, networks, {node["name"]: manager.get_vars(host=inventory.get_host(node["name"])) for node in found}


def records(case: str) -> list[dict[str, Any]]:
    """The node records of a golden inventory."""
    return _read(case)[0]


@functools.cache
def golden(case: str) -> dict[str, Any]:
    """The plan of every node of a golden inventory."""
    return plans(case)


def plans(
    case: str,
    overrides: Mapping[str, Any] | None = None,
    services: list[str] | None = None,
    only: str | None = None,
) -> dict[str, Any]:
    """The same with the operator's variables on top, for all or one of its nodes."""
    nodes, networks, hosts = _read(case)
    found = {}
    for record in nodes:
        if only not in {None, record["name"]}:
            continue
        variables = {**hosts[record["name"]], **(overrides or {})}
        args = {
            "services": services or SERVICES,
            "node": record["name"],
            "records": nodes,
            "networks": networks,
            "region": variables.get("seedcloud_region", "RegionOne"),
            "domain": variables.get("seedcloud_domain", "seedcloud.internal"),
            "internal_address": None,
            "public_address": None,
        }
        found[record["name"]] = render_plan(load_file, template, variables, args)[0]
    return found
