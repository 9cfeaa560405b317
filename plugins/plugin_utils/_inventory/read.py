# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 the seedcloud.openstack authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What is taken out of Ansible's hostvars, and nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from jinja2 import StrictUndefined

SEED, NODES, CONTROLLERS, COMPUTES = "seedcloud_seed", "seedcloud_nodes", "seedcloud_controllers", "seedcloud_computes"

SHARED = (
    "seedcloud_domain",
    "seedcloud_region",
    "seedcloud_networks",
    "seedcloud_ssh_authorized_keys",
    "seedcloud_ssh_user",
    "seedcloud_image",
)
SEED_ONLY = ("seed_address", "seed_interface", "seed_root", "seed_http_port")
NODE_ONLY = (
    "node_bmc",
    "node_firmware",
    "node_nics",
    "node_bonds",
    "node_networks",
    "node_boot_nic",
    "node_root_device",
    "node_wipe_confirm",
    "node_state",
)
DEFAULTS: dict[str, Any] = {
    "seedcloud_domain": "seedcloud.internal",
    "seedcloud_region": "RegionOne",
    "seedcloud_ssh_user": "debian",
    "seed_root": "/var/lib/seedcloud",
    "seed_http_port": 80,
    "node_firmware": "uefi",
    "node_bonds": {},
    "node_state": "present",
}


@dataclass(frozen=True, kw_only=True, order=True)
class Fault:
    """One thing to mend, named so that a person finds the line."""

    host: str
    variable: str
    fault: str
    mend: str

    def __str__(self) -> str:
        return f"{self.host}: {self.variable}: {self.fault}. {self.mend}."


@dataclass
class Inventory:
    """The variables we know, by host, with defaults; what could not be templated is a fault already."""

    seeds: dict[str, dict[str, Any]]
    nodes: dict[str, dict[str, Any]]
    roles: dict[str, list[str]]
    faults: list[Fault] = field(default_factory=list)

    @property
    def seed_name(self) -> str:
        return next(iter(self.seeds), SEED)

    @property
    def seed(self) -> dict[str, Any]:
        return next(iter(self.seeds.values()), {})


def plain(value: Any) -> Any:
    """A deep copy in plain types: templating happens here, once, and not at every later access.

    What is undefined is an error here: to a filter, Ansible hands it as a value that raises only when it is used.
    """
    if isinstance(value, StrictUndefined):
        str(value)
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return value


def _read(
    names: tuple[str, ...],
    host: str,
    variables: Mapping[str, Any],
    faults: list[Fault],
    errors: tuple[type[Exception], ...],
) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name in names:
        try:
            value = plain(variables[name]) if name in variables else None
        except errors as error:
            reason = " ".join(str(error).split()).rstrip(".")
            faults.append(Fault(host=host, variable=name, fault=reason, mend="Give it a value that can be resolved"))
            found[name] = _UNRESOLVED
            continue
        found[name] = DEFAULTS.get(name) if value is None else value
    return found


_UNRESOLVED = object()


def unresolved(value: object) -> bool:
    """Whether a fault for this value is reported already."""
    return value is _UNRESOLVED


def read_inventory(
    hostvars: Mapping[str, Mapping[str, Any]],
    groups: Mapping[str, list[str]],
    errors: tuple[type[Exception], ...] = (KeyError,),
) -> Inventory:
    """`errors` is what Ansible raises for a variable that cannot be templated."""
    faults: list[Fault] = []

    def members(group: str) -> list[str]:
        return [str(host) for host in groups.get(group, [])]

    controllers, computes = set(members(CONTROLLERS)), set(members(COMPUTES))
    nodes = sorted({*members(NODES), *controllers, *computes})
    return Inventory(
        seeds={host: _read(SHARED + SEED_ONLY, host, hostvars[host], faults, errors) for host in members(SEED)},
        nodes={host: _read(SHARED + NODE_ONLY, host, hostvars[host], faults, errors) for host in nodes},
        roles={
            host: [role for role, hosts in (("controller", controllers), ("compute", computes)) if host in hosts]
            for host in nodes
        },
        faults=faults,
    )
