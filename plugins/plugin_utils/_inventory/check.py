# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 the seedcloud.openstack authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What the controller, the seed and the BMCs say, as faults like those of the inventory."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from .read import Fault

ANSIBLE = (2, 20)
PYTHON = (3, 12)
SSH = (8, 5)  # KnownHostsCommand
SYSTEMS = {"debian": ("12", "13")}
BMC_MENDS = {
    "bmc_unreachable": "Correct the address or the port, or look at the BMC's cable and network",
    "bmc_auth": "Correct username or password",
    "bmc_privilege": "Give the account the role of operator or administrator on the BMC",
    "bmc_cipher": "Allow cipher suite 17 or 3 on the BMC, or set allow_ipmi15",
    "bmc_no_session": "End other sessions with the BMC, or restart it",
}


def version(text: str) -> tuple[int, ...]:
    found = re.search(r"\d+(\.\d+)+", text)
    return tuple(map(int, found[0].split("."))) if found else ()


def controller_faults(given: Mapping[str, str]) -> Iterator[Fault]:
    """`given`: what `ansible`, `python` and `ssh` are, as they say themselves."""
    for name, least, variable in (
        ("ansible", ANSIBLE, "ansible-core"),
        ("python", PYTHON, "Python"),
        ("ssh", SSH, "ssh"),
    ):
        found = version(given[name])
        if found < least:
            wanted = ".".join(map(str, least))
            yield Fault(
                host="controller",
                variable=variable,
                fault=f"is {given[name] or 'missing'}",
                mend=f"Install {wanted} or newer",
            )


def seed_faults(seed: Mapping[str, Any], held: Mapping[str, Any], disk_gib: int, pyghmi: str | None) -> Iterator[Fault]:
    """`held`: what module seed_info returned, or an unreachable host's result."""
    name = seed["name"]
    if held.get("unreachable") or held.get("failed"):
        reason = " ".join(str(held.get("msg", "no answer")).split()).rstrip(".")
        yield Fault(
            host=name, variable="ansible_host", fault=reason, mend="See that Ansible can log in and become root"
        )
        return
    if held["system"]["version"] not in SYSTEMS.get(held["system"]["id"] or "", ()):
        found = f"{held['system']['id']} {held['system']['version']}"
        yield Fault(host=name, variable="operating system", fault=f"is {found}", mend="Use Debian 12 or 13")
    has, least = held["pyghmi_version"], pyghmi or ""
    if has and version(has) < version(least):  # where there is none, the seed's role installs it
        mend = f"Remove it where it hides Debian's python3-pyghmi, or install {least} or newer"
        yield Fault(host=name, variable="pyghmi", fault=f"is {has}", mend=mend)
    if held["addresses"] is None:
        yield Fault(
            host=name, variable="seed_interface", fault=f"there is no {seed['interface']}", mend="Name one of ip link's"
        )
    elif seed["address"] not in held["addresses"]:
        has = ", ".join(held["addresses"]) or "no address"
        yield Fault(
            host=name,
            variable="seed_address",
            fault=f"{seed['interface']} has {has}",
            mend=f"Give the NIC {seed['address']}, or correct the variable",
        )
    if held["disk_free"] < disk_gib * 1024**3:
        yield Fault(
            host=name,
            variable="seed_root",
            fault=f"{seed['root']} has {held['disk_free'] / 1024**3:.1f} GiB free",
            mend=f"Make room: {disk_gib} GiB are needed",
        )


def bmc_faults(results: Mapping[str, Mapping[str, Any]]) -> Iterator[Fault]:
    for name, result in results.items():
        if result["failed"]:
            mend = BMC_MENDS.get(result["code"], "Look at the BMC")
            yield Fault(
                host=name, variable="node_bmc", fault=f"{result['code']}: {result['msg']}".rstrip("."), mend=mend
            )


def dhcp_faults(seed: Mapping[str, Any], offers: Iterable[Mapping[str, Any]]) -> Iterator[Fault]:
    for offer in offers:
        if offer["server"] != seed["address"]:
            boots = f", boots {offer['boot_file']}" if offer["boot_file"] else ""
            yield Fault(
                host=seed["name"],
                variable="seed_interface",
                fault=f"{offer['server']} ({offer['mac']}) answers DHCP on {seed['interface']}{boots}",
                mend="Switch that DHCP server off on the provisioning network",
            )


def check_faults(
    inventory: Iterable[Mapping[str, str]],
    *,
    controller: Mapping[str, str] | None = None,
    seed: Mapping[str, Any] | None = None,
    held: Mapping[str, Any] | None = None,
    bmcs: Mapping[str, Mapping[str, Any]] | None = None,
    offers: Iterable[Mapping[str, Any]] | None = None,
    disk_gib: int = 0,
    pyghmi: str | None = None,
) -> list[str]:
    """A line a fault, of whatever has been asked."""
    faults = [Fault(**fault) for fault in inventory]
    faults += controller_faults(controller) if controller else []
    if seed and held:
        faults += seed_faults(seed, held, disk_gib, pyghmi)
        faults += dhcp_faults(seed, offers or [])
    faults += bmc_faults(bmcs or {})
    return [str(fault) for fault in sorted(set(faults))]
