# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 the seedcloud.openstack authors
"""The nodes and their boots, validated: what is in a Node cannot leave its line or its folder."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args
from urllib.parse import unquote

Format = Literal["ipxe", "grub", "pxelinux"]
Firmware = Literal["bios", "uefi"]
FORMATS: tuple[Format, ...] = get_args(Format)

# What each loader can fetch by; a path without a scheme is fetched from where the boot file came from.
_SCHEMES: dict[Format, frozenset[str]] = {
    "ipxe": frozenset({"http", "https", "tftp"}),
    "grub": frozenset({"http", "tftp"}),
    "pxelinux": frozenset({"http", "tftp"}),
}
_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?", re.IGNORECASE | re.ASCII)
_MAC = re.compile(r"[0-9a-f]{2}(?:([:-])[0-9a-f]{2})(?:\1[0-9a-f]{2}){4}", re.IGNORECASE | re.ASCII)
_URL = re.compile(
    r"(?P<scheme>[a-z]+)://(?P<host>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9.-]+)(?::(?P<port>[0-9]{1,5}))?(?P<path>/.*)"
)
_SEGMENT = re.compile(r"[A-Za-z0-9._~+@=%-]+")
# No white space, quote, backslash, `$`, `#`, `|` or `&`: those are what iPXE, GRUB and PXELINUX act on. GRUB moreover
# rewrites quotes and backslashes on their way to the kernel, so no quoting would say the same to all three.
_ARGUMENT = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.,:;=/@%+~!*^?()\[\]<>{}-]*")
_CMDLINE_MAX = 2047  # x86's COMMAND_LINE_SIZE less its NUL
_URL_MAX = 255  # PXELINUX cuts file names there


@dataclass(frozen=True)
class Boot:
    """A kernel to boot from the network. Each file is a URL or an absolute path on the server of the boot file."""

    kernel: str
    initrd: tuple[str, ...] = ()
    cmdline: tuple[str, ...] = ()


@dataclass(frozen=True)
class Node:
    """A machine; without a boot it boots from its disk."""

    name: str
    macs: tuple[str, ...]
    boot: Boot | None = None
    firmware: Firmware | None = None


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong in the input, where it is, and what mends it."""

    node: str
    field: str
    fault: str
    mend: str

    def __str__(self) -> str:
        return f"{self.node}: {self.field}: {self.fault}; {self.mend}"


class Faults(ValueError):
    """Every fault of the input at once."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        super().__init__("\n".join(map(str, faults)))
        self.faults = tuple(faults)


def _shown(value: object) -> str:
    """The value as it may stand in a message: on one line, and short."""
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:60]}... ({len(text)} characters)"


def is_host_name(name: object) -> bool:
    """Whether this is a host name by RFC 1123."""
    return isinstance(name, str) and len(name) <= 253 and all(_LABEL.fullmatch(label) for label in name.split("."))


def normal_mac(mac: object) -> str:
    """The MAC of one NIC in lower case with colons; ValueError says what is wrong with it."""
    if not isinstance(mac, str) or not _MAC.fullmatch(mac):
        raise ValueError(f"{_shown(mac)} is not a MAC address")
    normal = mac.lower().replace("-", ":")
    if int(normal[:2], 16) & 1 or normal == "00:00:00:00:00:00":
        raise ValueError(f"{_shown(mac)} is not the address of a single NIC")
    return normal


def _host_fault(host: str) -> str | None:
    if host.startswith("["):
        try:
            ipaddress.IPv6Address(host[1:-1])
        except ValueError:
            return f"{_shown(host)} is not an IPv6 address"
        return None
    if host.replace(".", "").isdigit():
        try:
            ipaddress.IPv4Address(host)
        except ValueError:
            return f"{_shown(host)} is not an IPv4 address"
        return None
    return None if is_host_name(host) else f"{_shown(host)} is not a host name"


def file_fault(location: object, formats: Sequence[Format]) -> str | None:
    """What keeps these loaders from fetching this file, or None."""
    if not isinstance(location, str) or not location:
        return f"{_shown(location)} is no location of a file"
    if len(location) > _URL_MAX:
        return f"{_shown(location)} is longer than {_URL_MAX}"
    path = location
    if not location.startswith("/"):
        url = _URL.fullmatch(location)
        if not url:
            return f"{_shown(location)} is neither a plain URL nor an absolute path"
        for fmt in formats:
            if url["scheme"] not in _SCHEMES[fmt]:
                return f"{fmt} does not fetch by {url['scheme']}"
        fault = _host_fault(url["host"])
        if fault:
            return fault
        if url["port"] and not 0 < int(url["port"]) < 65536:
            return f"{url['port']} is not a port"
        path = url["path"]
    segments = path[1:].split("/")
    if not all(_SEGMENT.fullmatch(segment) and "%00" not in segment for segment in segments):
        return f"{_shown(location)} holds an empty segment or a character other than letters, digits and ._~+@=%-"
    if any(unquote(segment) in {".", ".."} or "/" in unquote(segment) for segment in segments):
        return f"{_shown(location)} leaves its folder"
    return None


def command_line(boot: Boot) -> tuple[str, ...]:
    """The kernel's arguments as a loader passes them; UEFI kernels find their initrds by name."""
    return (*(f"initrd=initrd{n}" for n in range(len(boot.initrd))), *boot.cmdline)


def _list(value: object) -> Sequence[object] | None:
    if value is None:
        return ()
    return value if isinstance(value, Sequence) and not isinstance(value, str | bytes) else None


def boot_faults(node: str, boot: Boot, formats: Sequence[Format]) -> list[Fault]:
    """Every fault of one boot."""
    faults = []
    for field, location in (
        ("boot.kernel", boot.kernel),
        *((f"boot.initrd[{n}]", i) for n, i in enumerate(boot.initrd)),
    ):
        fault = file_fault(location, formats)
        if fault:
            faults.append(
                Fault(node, field, fault, "give http://HOST[:PORT]/PATH, or /PATH on the server of the boot file")
            )
    for n, argument in enumerate(boot.cmdline):
        if not isinstance(argument, str) or not _ARGUMENT.fullmatch(argument):
            faults.append(
                Fault(
                    node,
                    f"boot.cmdline[{n}]",
                    f"{_shown(argument)} is not one kernel argument that every loader passes on unchanged",
                    "give one argument an item, without white space, quotes, backslashes, $, #, | and &",
                )
            )
    length = len(" ".join(map(str, command_line(boot))))
    if length > _CMDLINE_MAX:
        faults.append(
            Fault(node, "boot.cmdline", f"{length} characters long", f"a kernel takes {_CMDLINE_MAX}, shorten it")
        )
    return faults


def node_faults(node: Node, formats: Sequence[Format] = FORMATS) -> list[Fault]:
    """Every fault of one node, whatever made it."""
    faults = []
    if not is_host_name(node.name):
        faults.append(
            Fault(_shown(node.name), "name", "is not a host name", "give letters, digits and hyphens (RFC 1123)")
        )
    shown = node.name if is_host_name(node.name) else _shown(node.name)
    if not node.macs:
        faults.append(Fault(shown, "macs", "is empty", "name the MACs of the NICs that the node may boot from"))
    for n, mac in enumerate(node.macs):
        try:
            normal = normal_mac(mac)
        except ValueError as error:
            faults.append(Fault(shown, f"macs[{n}]", str(error), "write it as 00:00:5e:00:53:01"))
        else:
            if normal in node.macs[:n]:
                faults.append(Fault(shown, f"macs[{n}]", f"{normal} is given twice", "name each MAC once"))
    if node.firmware not in (None, "bios", "uefi"):
        faults.append(Fault(shown, "firmware", f"is {_shown(node.firmware)}", "give bios, uefi or nothing"))
    if node.boot:
        faults += boot_faults(shown, node.boot, formats)
    return faults


def _parse_boot(name: str, value: object) -> tuple[Boot | None, list[Fault]]:
    if value is None:
        return None, []
    if not isinstance(value, Mapping):
        return None, [Fault(name, "boot", f"is {_shown(value)}", "give kernel, initrd and cmdline")]
    lists = {field: _list(value.get(field)) for field in ("initrd", "cmdline")}
    faults = [
        Fault(name, f"boot.{field}", "is not a list", "give a list") for field, items in lists.items() if items is None
    ]
    boot: Any = (value.get("kernel"), tuple(lists["initrd"] or ()), tuple(lists["cmdline"] or ()))
    return Boot(*boot), faults


def parse_nodes(values: Sequence[Mapping[str, Any]], formats: Sequence[Format] = FORMATS) -> list[Node]:
    """The nodes, with normal MACs; raises Faults that names every fault of all of them."""
    nodes: list[Node] = []
    faults: list[Fault] = []
    names: set[str] = set()
    owners: dict[str, str] = {}
    for value in values:
        name: Any = value.get("name")
        shown = name if is_host_name(name) else _shown(name)
        boot, found = _parse_boot(shown, value.get("boot"))
        macs: Any = _list(value.get("macs"))
        if macs is None:
            found.append(Fault(shown, "macs", "is not a list", "give a list"))
        node = Node(name, tuple(macs or ()), boot, value.get("firmware"))
        faults += found + node_faults(node, formats)
        if shown.lower() in names:
            faults.append(Fault(shown, "name", "is given to two nodes", "give each node its own name"))
        names.add(shown.lower())
        normal = []
        for n, mac in enumerate(node.macs):
            try:
                normal.append(normal_mac(mac))
            except ValueError:
                continue  # node_faults has said it
            owner = owners.setdefault(normal[-1], shown)
            if owner != shown:
                faults.append(Fault(shown, f"macs[{n}]", f"{normal[-1]} belongs to {owner}, too", "a MAC has one node"))
        nodes.append(Node(node.name, tuple(normal), boot, node.firmware))
    if faults:
        raise Faults(faults)
    return nodes
