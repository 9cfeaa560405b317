# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 the seedcloud.openstack authors
"""What a node is to become, as data: checked before any of it reaches a file or a server's configuration."""

from __future__ import annotations

import hashlib
import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .._journal.files import canonical, node_folder
from .._pxe import Faults, boot_filename, normal_mac, parse_nodes, render

ACTIONS = ("deploy", "inspect")
SCHEMA = 1
# What another run may change without the node becoming something else. What may be wiped for it is no part of that:
# a rerun that gives the plan's hash, or none any more, must find the write that the node's own hash has begun.
_VOLATILE = frozenset({"schema", "node", "generation", "run", "fingerprint", "wipe"})
_URL_PATH = re.compile(r"/(?:images|ramdisks)/[A-Za-z0-9._~+@=-]+(?:/[A-Za-z0-9._~+@=-]+)*")
_SHA256 = re.compile(r"[0-9a-f]{64}")


class OrderFault(ValueError):
    """A node's order cannot be written; says field, fault and mend."""


@dataclass(frozen=True)
class Wanted:
    """One node as a run wants it, valid."""

    name: str
    mac: str
    address: str
    boot_script: str
    order: Mapping[str, Any]
    fingerprint: str
    foretold: int | None = None  # the generation that an earlier call foretold

    @property
    def boot_file(self) -> str:
        """The name of the boot script below /boot/."""
        return boot_filename(self.mac, "ipxe")

    @property
    def dhcp_line(self) -> str:
        """The node as dnsmasq's dhcp-hostsdir takes it."""
        return f"{self.mac},{self.address},{self.name.split('.')[0]}\n"

    def text(self, generation: int, run: str) -> bytes:
        """The order as it lies on the seed."""
        head = {"schema": SCHEMA, "node": self.name, "generation": generation, "run": run}
        return canonical({**self.order, **head, "fingerprint": self.fingerprint}) + b"\n"


def confirms(order: Mapping[str, Any]) -> bool:
    """Whether an order lets its node wipe a disk that holds something."""
    return bool((order.get("wipe") or {}).get("confirmed"))


def fingerprint(order: Mapping[str, Any]) -> str:
    """A hash over what the node is to become."""
    return hashlib.sha256(canonical({k: v for k, v in order.items() if k not in _VOLATILE})).hexdigest()


def _address(text: Any) -> str:
    try:
        address = ipaddress.IPv4Address(text)
    except ValueError as error:
        raise OrderFault(f"address: {error}; give the node's IPv4 address on the provisioning network") from error
    if address.is_multicast or address.is_unspecified or address.is_loopback:
        raise OrderFault(f"address: {address} is not the address of a node; give one of the provisioning network")
    return str(address)


def _checked_order(order: Any) -> dict[str, Any]:
    if not isinstance(order, dict) or order.get("action") not in ACTIONS:
        raise OrderFault(f"order.action: is none of {', '.join(ACTIONS)}; give one of them")
    wipe = order.get("wipe") or {}
    if not isinstance(wipe, dict):
        raise OrderFault("order.wipe: is not a map; give confirmed, a hash or null")
    confirmed = wipe.get("confirmed")
    if confirmed is not None and not (isinstance(confirmed, str) and _SHA256.fullmatch(confirmed)):
        # True would confirm whatever lies on the disk by then.
        raise OrderFault("order.wipe.confirmed: is not a hash; give the one that the refusal printed, or null")
    if order["action"] != "deploy":
        return order
    image = order.get("image")
    if not isinstance(image, dict):
        raise OrderFault("order.image: is missing; give name, url, sha256, size")
    for key in ("url", "block_map"):
        value = image.get(key)
        if value is None and key == "block_map":
            continue
        if not isinstance(value, str) or not _URL_PATH.fullmatch(value) or ".." in value:
            raise OrderFault(f"order.image.{key}: {value!r} is no path below /images/; give the staged image's")
    if not _SHA256.fullmatch(str(image.get("sha256"))):
        raise OrderFault("order.image.sha256: is not a SHA-256; give the compressed stream's")
    return order


def parse_wanted(root: Path, value: Mapping[str, Any]) -> Wanted:
    """The node that a task describes; OrderFault names what is wrong with it."""
    name = value["name"]
    try:
        node_folder(root, name)
        mac = normal_mac(value.get("boot_mac"))
        pxe = parse_nodes(
            [{"name": name, "macs": [mac], "boot": value.get("boot"), "firmware": value.get("firmware")}], ["ipxe"]
        )
        script = render(pxe[0], "ipxe")
    except (ValueError, Faults) as error:
        raise OrderFault(str(error)) from error
    order = _checked_order(value.get("order"))
    return Wanted(name, mac, _address(value.get("address")), script, order, fingerprint(order), value.get("generation"))
