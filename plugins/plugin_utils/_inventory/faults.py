# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 the seedcloud.openstack authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Every fault of an inventory at once, each with its host, its variable and its mend."""

from __future__ import annotations

import ipaddress
import itertools
import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.seedcloud.openstack.plugins.module_utils._cloud.pool import (
    Ip,
    Net,
    address_of,
    is_edge,
    pool_fault,
)

from .files import interface_name
from .networks import FALLBACKS, ROLES, network_roles
from .read import COMPUTES, CONTROLLERS, NODES, SEED, SHARED, Fault, Inventory, unresolved
from .records import names

LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
INTERFACE = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,14}")
MAC = re.compile(r"[0-9A-Fa-f]{2}(:[0-9A-Fa-f]{2}){5}")
HASH = re.compile(r"[0-9a-f]{64}")
SSH_KEY = re.compile(r"(ssh-|ecdsa-|sk-)[A-Za-z0-9@.-]+ [A-Za-z0-9+/]{32,}={0,3}( [^\r\n]*)?")
USER = re.compile(r"[a-z_][a-z0-9_-]{0,31}")
PATH = re.compile(r"(/[A-Za-z0-9._+-]+)+")
BOND_MODES = ("802.3ad", "active-backup", "balance-rr", "balance-xor", "balance-tlb", "balance-alb", "broadcast")
DRIVERS = ("ipmi",)
HINTS: dict[str, tuple[type, ...]] = {
    "serial": (str,),
    "wwn": (str,),
    "by_path": (str,),
    "name": (str,),
    "model": (str,),
    "vendor": (str,),
    "size_gib": (int,),
    "rotational": (bool,),
}
NETWORK_KEYS = {"cidr", "gateway", "vlan", "mtu", "dns"}
PROVIDER_KEYS = NETWORK_KEYS | {"allocation", "physical_network", "name"}


def is_host_name(value: object) -> bool:
    return isinstance(value, str) and len(value) <= 63 and all(LABEL.fullmatch(part) for part in value.split("."))


def is_int(value: object, low: int, high: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high


def is_text(value: object) -> bool:
    return isinstance(value, str) and bool(value) and value.isprintable()


def shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


@dataclass
class Faults:
    """Collects; `at` narrows it to a host."""

    found: list[Fault] = field(default_factory=list)
    host: str = ""

    def add(self, variable: str, fault: str, mend: str) -> None:
        self.found.append(Fault(host=self.host, variable=variable, fault=fault, mend=mend))

    def at(self, host: str) -> Faults:
        return Faults(self.found, host)

    def mapping(self, variable: str, value: object, keys: set[str], required: set[str], mend: str) -> bool:
        """Whether `value` is a mapping with these keys; what is not is reported."""
        if not isinstance(value, dict):
            self.add(variable, "is missing" if value is None else f"is no mapping but {type(value).__name__}", mend)
            return False
        for key in sorted(value.keys() - keys):
            self.add(f"{variable}.{key}", "is not known", f"Known are {', '.join(sorted(keys))}")
        for key in sorted(required - {key for key, given in value.items() if given is not None}):
            self.add(f"{variable}.{key}", "is missing", mend)
        return True

    def want(self, good: bool, variable: str, value: object, mend: str) -> bool:
        if not good:
            self.add(variable, "is missing" if value is None else f"is wrong: {shown(value)}", mend)
        return good


@dataclass
class Networks:
    """`seedcloud_networks`, as far as it can be reckoned with."""

    given: dict[str, dict[str, Any]] = field(default_factory=dict)
    nets: dict[str, Net] = field(default_factory=dict)
    vlans: dict[int, str] = field(default_factory=dict)


def inventory_faults(inventory: Inventory) -> list[Fault]:
    """Sorted by host and variable. Linear in the number of nodes."""
    faults = Faults(list(inventory.faults))
    _groups(faults, inventory)
    _shared(faults, inventory)
    networks = _networks(faults.at(inventory.seed_name), inventory.seed.get("seedcloud_networks"))
    _seed(faults.at(inventory.seed_name), inventory, networks.nets)
    present = {host: node for host, node in inventory.nodes.items() if node["node_state"] != "absent"}
    for host, node in present.items():
        _node(faults.at(host), node, inventory.roles[host], networks)
    _unique(faults, inventory, present)
    if "provider" in networks.given and not any(
        "provider" in _dict(node["node_networks"]) for node in present.values()
    ):
        faults.at(inventory.seed_name).add(
            "node_networks.provider", "is on no node", "Give at least one node a link to the provider network"
        )
    return sorted(set(faults.found))


def _dict(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _groups(faults: Faults, inventory: Inventory) -> None:
    at = faults.at("inventory")
    if len(inventory.seeds) != 1:
        at.add(SEED, f"has {len(inventory.seeds)} hosts", "Put exactly one host into it")
    if not inventory.nodes:
        at.add(NODES, "is empty", f"Put the nodes into {CONTROLLERS} and {COMPUTES}, its children")
    for group, role in ((CONTROLLERS, "controller"), (COMPUTES, "compute")):
        if inventory.nodes and not any(role in roles for roles in inventory.roles.values()):
            at.add(group, "is empty", "Put at least one node into it (a node may have both roles)")
    for host, roles in inventory.roles.items():
        if not roles:
            faults.at(host).add(NODES, "the node has no role", f"Put it into {CONTROLLERS}, {COMPUTES} or both")
        if host in inventory.seeds:
            faults.at(host).add(SEED, "the seed is a node as well", "Take it out of one of the groups")


def _shared(faults: Faults, inventory: Inventory) -> None:
    """What holds for everything, and that every host sees the same of it."""
    seed, at = inventory.seed, faults.at(inventory.seed_name)
    checks: tuple[tuple[str, Callable[[Any], bool], str], ...] = (
        ("seedcloud_domain", is_host_name, "Write a domain in lower case, such as cloud.example"),
        ("seedcloud_region", lambda v: is_text(v) and " " not in v, "Write a name without spaces"),
        (
            "seedcloud_ssh_user",
            lambda v: isinstance(v, str) and v != "root" and bool(USER.fullmatch(v)),
            "Name the account (not root) that shall be made on the nodes",
        ),
        (
            "seedcloud_ssh_authorized_keys",
            lambda v: isinstance(v, list) and v != [] and all(isinstance(k, str) and SSH_KEY.fullmatch(k) for k in v),
            "List at least one public key, a line of an authorized_keys file without options",
        ),
        (
            "seedcloud_image",
            lambda v: v is None or (isinstance(v, dict) and set(v) == {"name"} and is_text(v["name"])),
            "Write {name: <image>} or leave it out for what build_images built",
        ),
    )
    for name, good, mend in checks:
        if seed and not unresolved(seed[name]):
            at.want(good(seed[name]), name, seed[name], mend)
    for host, node in inventory.nodes.items():
        for name in SHARED if seed else ():
            if node[name] != seed[name] and not unresolved(node[name]) and not unresolved(seed[name]):
                faults.at(host).add(
                    name, f"differs from what {inventory.seed_name} sees", "Set it once, in group_vars/all"
                )


def _networks(at: Faults, defined: object) -> Networks:
    networks = Networks()
    mend = "Map the networks by role: " + ", ".join(ROLES)
    if unresolved(defined) or not at.mapping(
        "seedcloud_networks", defined, set(ROLES), {"provisioning", "provider"}, mend
    ):
        return networks
    for name, given in _dict(defined).items():
        if name in ROLES and given is not None:
            networks.given[name] = _dict(given)
            variable = f"seedcloud_networks.{name}"
            keys = PROVIDER_KEYS if name == "provider" else NETWORK_KEYS
            if at.mapping(variable, given, keys, {"cidr"}, "Give its cidr, such as 192.0.2.0/24"):
                _network(at, name, given, networks)
    for (one, net), (other, another) in itertools.combinations(sorted(networks.nets.items()), 2):
        # BMCs often have their addresses in the provisioning network.
        if net.version == another.version and net.overlaps(another) and "bmc" not in (one, other):
            at.add(
                f"seedcloud_networks.{other}.cidr",
                f"{another} overlaps {one}, {net}",
                "Give each network addresses of its own (or leave it out, if both are one network)",
            )
    return networks


def _network(at: Faults, name: str, given: dict[str, Any], networks: Networks) -> None:
    variable = f"seedcloud_networks.{name}"
    mtu, vlan, dns = given.get("mtu"), given.get("vlan"), given.get("dns")
    at.want(mtu is None or is_int(mtu, 1280, 9216), f"{variable}.mtu", mtu, "Write a number from 1280 to 9216")
    if at.want(vlan is None or is_int(vlan, 1, 4094), f"{variable}.vlan", vlan, "Write null or 1 to 4094") and vlan:
        owner = networks.vlans.setdefault(vlan, name)
        if owner != name:
            at.add(f"{variable}.vlan", f"{vlan} is the VLAN of {owner} too", "Give each network its own VLAN")
        if name == "provisioning":
            at.add(f"{variable}.vlan", f"is {vlan}", "Set null: firmware boots untagged (the switch's native VLAN)")
    dns_good = dns is None or (isinstance(dns, list) and all(address_of(each) for each in dns))
    at.want(dns_good, f"{variable}.dns", dns, "List addresses of name servers, or []")
    net = _cidr(at, variable, given["cidr"]) if given.get("cidr") is not None else None
    if net:
        networks.nets[name] = net
        if given.get("gateway") is not None:
            _within(at, f"{variable}.gateway", given["gateway"], net, "Write an address of this network, or null")
    pool = given.get("allocation") if name == "provider" else None
    if pool is not None and (fault := pool_fault(pool, net, address_of(given.get("gateway")))):
        at.add(f"{variable}.allocation", *fault)


def _cidr(at: Faults, variable: str, value: object) -> Net | None:
    try:
        if not isinstance(value, str) or "/" not in value:
            raise ValueError("no prefix length")
        return ipaddress.ip_network(value)
    except ValueError as error:
        at.add(f"{variable}.cidr", f"{shown(value)} is no network ({error})", "Write it as 192.0.2.0/24")
        return None


def _within(at: Faults, variable: str, value: object, net: Net | None, mend: str) -> Ip | None:
    address = address_of(value)
    if not at.want(address is not None, variable, value, mend) or address is None or net is None:
        return None
    if address not in net:
        at.add(variable, f"{address} is not in {net}", mend)
        return None
    if is_edge(address, net):
        at.add(variable, f"{address} is the network or broadcast address of {net}", mend)
        return None
    return address


def _seed(at: Faults, inventory: Inventory, nets: Mapping[str, Net]) -> None:
    seed = inventory.seed
    if not seed:
        return
    at.want(is_host_name(inventory.seed_name), "inventory_hostname", inventory.seed_name, "Use a-z, 0-9, - and dots")
    if not unresolved(seed["seed_address"]):
        _within(
            at,
            "seed_address",
            seed["seed_address"],
            nets.get("provisioning"),
            "Give the seed's own address on the provisioning network",
        )
    interface, root, port = seed["seed_interface"], seed["seed_root"], seed["seed_http_port"]
    if not unresolved(interface):
        at.want(
            isinstance(interface, str) and bool(re.fullmatch(r"[^\s/:]{1,15}", interface)),
            "seed_interface",
            interface,
            "Name the seed's NIC on the provisioning network, such as eno1",
        )
    if not unresolved(root):
        at.want(
            isinstance(root, str) and bool(PATH.fullmatch(root)) and ".." not in root.split("/"),
            "seed_root",
            root,
            "Write an absolute path without spaces",
        )
    if not unresolved(port):
        at.want(is_int(port, 1, 65535), "seed_http_port", port, "Write a port number")


def _node(at: Faults, node: dict[str, Any], roles: list[str], networks: Networks) -> None:
    at.want(is_host_name(at.host), "inventory_hostname", at.host, "Use a-z, 0-9, - and dots: it is the host name")
    at.want(node["node_state"] in ("present", "absent"), "node_state", node["node_state"], "Write present or absent")
    at.want(node["node_firmware"] in ("uefi", "bios"), "node_firmware", node["node_firmware"], "Write uefi or bios")
    if not unresolved(node["node_bmc"]):
        _bmc(at, node["node_bmc"], networks.nets.get("bmc"))
    if not unresolved(node["node_root_device"]):
        _root_device(at, node["node_root_device"])
    confirm = node["node_wipe_confirm"]
    if confirm is not None and not unresolved(confirm):
        at.want(
            isinstance(confirm, str) and bool(HASH.fullmatch(confirm)),
            "node_wipe_confirm",
            confirm,
            "Paste the hash that the refusing run printed: it names the disks that may be destroyed, true names none",
        )
    links = _links(at, node)
    if links is not None and not unresolved(node["node_networks"]):
        _node_networks(at, node, roles, links, networks)


def _bmc(at: Faults, bmc: object, net: Net | None) -> None:
    keys = {"driver", "address", "port", "username", "password", "allow_ipmi15"}
    mend = "Give driver, address, username and password of the node's BMC"
    if not at.mapping("node_bmc", bmc, keys, {"address", "username", "password"}, mend):
        return
    given = _dict(bmc)
    at.want(
        given.get("driver", "ipmi") in DRIVERS,
        "node_bmc.driver",
        given.get("driver"),
        f"Known are {', '.join(DRIVERS)}",
    )
    at.want(is_int(given.get("port", 623), 1, 65535), "node_bmc.port", given.get("port"), "Write a port number")
    allow = given.get("allow_ipmi15", False)
    at.want(isinstance(allow, bool), "node_bmc.allow_ipmi15", allow, "Write true or false")
    if given.get("address") is not None:
        address = given["address"]
        if net is not None:
            _within(at, "node_bmc.address", address, net, "Give an address of seedcloud_networks.bmc, or correct that")
        else:
            at.want(
                bool(address_of(address)) or is_host_name(address),
                "node_bmc.address",
                address,
                "Give an address or a host name",
            )
    if given.get("username") is not None:
        at.want(
            is_text(given["username"]) and len(given["username"].encode()) <= 16,
            "node_bmc.username",
            given["username"],
            "Write at most 16 characters: IPMI knows no longer ones",
        )
    if given.get("password") is not None and not (
        isinstance(given["password"], str) and 1 <= len(given["password"].encode()) <= 20
    ):
        at.add("node_bmc.password", "is not a text of 1 to 20 bytes", "IPMI 2.0 knows no longer passwords")


def _root_device(at: Faults, hints: object) -> None:
    mend = "Give at least one hint, best the disk's serial: " + ", ".join(HINTS)
    if not at.mapping("node_root_device", hints, set(HINTS), set(), mend):
        return
    given = {key: value for key, value in _dict(hints).items() if value is not None}
    if not given:
        at.add("node_root_device", "has no hint", mend)
    for key, value in given.items():
        if key in HINTS:
            kind = HINTS[key]
            good = isinstance(value, kind) and (bool in kind or not isinstance(value, bool)) and value != ""
            at.want(
                good and (kind != (int,) or value > 0),
                f"node_root_device.{key}",
                value,
                {"str": "Write a text in quotes", "int": "Write a whole number of GiB", "bool": "Write true or false"}[
                    kind[0].__name__
                ],
            )


def _links(at: Faults, node: dict[str, Any]) -> dict[str, str | None] | None:
    """link name -> the bond it is a member of; None when that cannot be told."""
    nics, bonds = node["node_nics"], node["node_bonds"]
    if unresolved(nics) or unresolved(bonds):
        return None
    mend = 'Name the node\'s NICs and their MACs: {nic0: {mac: "00:00:5e:00:53:01"}}'
    if not isinstance(nics, dict) or not nics:
        at.want(False, "node_nics", nics, mend)
        return None
    for name, nic in nics.items():
        at.want(
            bool(INTERFACE.fullmatch(name)) and name not in ("lo", "br-provider", "br-int"),
            "node_nics",
            name,
            "Use a letter, then letters, digits, - and _, 15 in all",
        )
        mac = _dict(nic).get("mac")
        good = isinstance(mac, str) and bool(MAC.fullmatch(mac)) and not int(mac[:2], 16) & 1
        at.want(good, f"node_nics.{name}.mac", mac, "Write a unicast MAC in quotes, six pairs with colons")
    links: dict[str, str | None] = dict.fromkeys(nics)
    if not at.mapping("node_bonds", bonds, set(_dict(bonds)), set(), "Write {bond0: {nics: [nic0, nic1], mode: ...}}"):
        return links
    for name, bond in bonds.items():
        variable = f"node_bonds.{name}"
        at.want(
            bool(INTERFACE.fullmatch(name)) and name not in nics,
            "node_bonds",
            name,
            "Use a name of at most 15 characters that no NIC has",
        )
        if not at.mapping(variable, bond, {"nics", "mode"}, {"nics", "mode"}, "Give nics and mode"):
            continue
        links[name] = None
        at.want(bond.get("mode") in BOND_MODES, f"{variable}.mode", bond.get("mode"), f"Write one of {BOND_MODES}")
        members = bond.get("nics") if isinstance(bond.get("nics"), list) else []
        at.want(bool(members), f"{variable}.nics", bond.get("nics"), "List the NICs of the bond")
        for member in members or []:
            if not isinstance(member, str) or member not in nics:
                at.add(f"{variable}.nics", f"{shown(member)} is not in node_nics", "List names of node_nics")
            elif links[member] is not None:
                at.add(f"{variable}.nics", f"{member} is in {links[member]} too", "A NIC is in one bond only")
            else:
                links[member] = name
    return links


def _node_networks(
    at: Faults, node: dict[str, Any], roles: list[str], links: Mapping[str, str | None], networks: Networks
) -> None:
    carried = node["node_networks"]
    known = {name for name in (*FALLBACKS, "provider") if name in networks.given}
    serving = network_roles(networks.given)
    needed = {serving[role] for role in ("provisioning", "internal", "tunnel")}
    needed |= {serving["public"]} if "controller" in roles else set()
    mend = "Say on which link it lies and with which address: {link: nic0, address: ...}"
    if not at.mapping("node_networks", carried, known, {name for name in needed if name}, mend):
        return
    taken: dict[str, str] = {}
    for name, given in carried.items():
        variable = f"node_networks.{name}"
        wanted = {"link"} if name == "provider" else {"link", "address"}
        if name not in known or not at.mapping(variable, given, wanted, wanted, mend):
            continue
        link, vlan = given.get("link"), networks.given[name].get("vlan")
        if link is not None and not (isinstance(link, str) and link in links):
            at.add(f"{variable}.link", f"{shown(link)} is neither in node_nics nor in node_bonds", "Name one of them")
        elif link is not None:
            if links[link] is not None:
                at.add(f"{variable}.link", f"{link} is a member of {links[link]}", f"Write {links[link]}")
            port = interface_name(link, vlan)
            if len(port) > 15:
                at.add(f"{variable}.link", f"{port} is longer than 15 characters", "Give the link a shorter name")
            other = taken.setdefault(port, name)
            if other != name and vlan is not None:
                at.add(f"{variable}.link", f"{other} is on {port} already", "Give each network its own VLAN")
        if name != "provider" and given.get("address") is not None:
            net = networks.nets.get(name)
            _within(at, f"{variable}.address", given["address"], net, f"Give an address of seedcloud_networks.{name}")
            if given["address"] == networks.given[name].get("gateway"):
                at.add(f"{variable}.address", "is the gateway's", "Give the node an address of its own")
    boot = node["node_boot_nic"]
    if boot is not None and not unresolved(boot) and not (isinstance(boot, str) and boot in node["node_nics"]):
        at.add("node_boot_nic", f"{shown(boot)} is not in node_nics", "Name the NIC that the firmware boots from")


def _unique(faults: Faults, inventory: Inventory, present: Mapping[str, dict[str, Any]]) -> None:
    """What only one may have: MACs, addresses, BMCs, host names."""
    seed = inventory.seed

    def claims() -> Iterator[tuple[str, str, object, str]]:
        if seed and not unresolved(seed["seed_address"]):
            yield "address", inventory.seed_name, seed["seed_address"], "seed_address"
        for host, node in present.items():
            yield "host name", host, names(host, "")[1], "inventory_hostname"
            for nic, given in _dict(node["node_nics"]).items():
                mac = _dict(given).get("mac")
                yield "MAC", host, mac.lower() if isinstance(mac, str) else None, f"node_nics.{nic}.mac"
            for network, given in _dict(node["node_networks"]).items():
                yield "address", host, _dict(given).get("address"), f"node_networks.{network}.address"
            bmc = _dict(node["node_bmc"])
            if isinstance(bmc.get("address"), str):
                yield "BMC", host, f"{bmc['address']} port {bmc.get('port', 623)}", "node_bmc.address"
            hints = _dict(node["node_root_device"])
            for hint in ("serial", "wwn"):
                yield f"disk {hint}", host, hints.get(hint), f"node_root_device.{hint}"

    seen: dict[tuple[str, object], list[tuple[str, str]]] = defaultdict(list)
    for kind, host, value, variable in claims():
        if isinstance(value, str) and value:
            seen[kind, value].append((host, variable))
    for (kind, value), owners in seen.items():
        first, *others = owners
        for host, variable in others:
            faults.at(host).add(
                variable, f"{kind} {value} is {first[0]}'s too ({first[1]})", f"Every {kind} belongs to one only"
            )
