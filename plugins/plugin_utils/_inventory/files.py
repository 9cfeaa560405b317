# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 the seedcloud.openstack authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A node's network files: systemd-networkd units, names and time, from the inventory alone.

NICs get their inventory name by their permanent MAC address, a VLAN is `<link>.<vlan>`, addresses are static. Whoever
carries no address of ours gets none at all, link-local included: the provider network belongs to OVS.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

BRIDGE = "br-provider"
NETWORKD = "/etc/systemd/network"

Network = Mapping[str, Any]
Section = tuple[str, list[tuple[str, object]]]


@dataclass
class Interface:
    """One kernel interface: a NIC, a bond or a VLAN upon one of them."""

    name: str
    link: str
    vlan: int | None = None
    mtu: int = 0
    addresses: list[str] = field(default_factory=list)
    gateway: str | None = None
    provider: bool = False


@dataclass(frozen=True)
class Links:
    """What a node's `node_networks` make of its NICs."""

    nics: dict[str, str]
    bonds: dict[str, dict[str, Any]]
    interfaces: dict[str, Interface]

    def upon(self, link: str) -> list[Interface]:
        return [each for each in self.interfaces.values() if each.link == link and each.vlan is not None]

    def mtu(self, link: str) -> int:
        """A link is as wide as the widest network that it carries."""
        return max([each.mtu for each in self.interfaces.values() if each.link == link], default=1500)

    def bond_of(self, nic: str) -> str | None:
        return next((name for name, bond in self.bonds.items() if nic in bond["nics"]), None)


def interface_name(link: str, vlan: int | None) -> str:
    return link if vlan is None else f"{link}.{vlan}"


def default_route(networks: Mapping[str, Network | None], on: Iterable[str]) -> str | None:
    """The one network whose gateway is the default route: the public one where the node is on it."""
    own = set(on)
    for role in ("public", "provisioning"):
        network = networks.get(role)
        if network and network["gateway"] and network["network"] in own:
            return str(network["network"])
    return None


def node_links(node: Mapping[str, Any], networks: Mapping[str, Network | None]) -> Links:
    """Every interface of the node, with what networkd shall do to it."""
    carried: dict[str, dict[str, Any]] = node["node_networks"]
    routed = default_route(networks, (name for name, at in carried.items() if at.get("address")))
    interfaces: dict[str, Interface] = {}
    for name, at in sorted(carried.items()):
        network = networks[name]
        if network is None:
            raise KeyError(name)
        key = interface_name(at["link"], network["vlan"])
        interface = interfaces.setdefault(key, Interface(name=key, link=at["link"], vlan=network["vlan"]))
        interface.mtu = max(interface.mtu, network["mtu"])
        if name == "provider":
            interface.provider = True
        else:
            interface.addresses.append(f"{at['address']}/{network['prefix']}")
            if name == routed:
                interface.gateway = network["gateway"]
    nics = {name: nic["mac"].lower() for name, nic in node["node_nics"].items()}
    return Links(nics=nics, bonds=dict(node["node_bonds"]), interfaces=interfaces)


def unit(*sections: Section) -> str:
    return "\n".join(
        f"[{name}]\n" + "".join(f"{key}={value}\n" for key, value in pairs) for name, pairs in sections if pairs
    )


def _file(path: str, content: str) -> dict[str, str]:
    return {"path": path, "mode": "0644", "content": content}


def _network(
    name: str, mtu: int, network: list[tuple[str, object]], gateway: str | None, online: bool
) -> dict[str, str]:
    return _file(
        f"{NETWORKD}/30-{name}.network",
        unit(
            ("Match", [("Name", name)]),
            ("Link", [("MTUBytes", mtu), ("RequiredForOnline", "routable" if online else "no")]),
            ("Network", [*network, ("IPv6AcceptRA", "no")]),
            ("Route", [("Gateway", gateway)] if gateway else []),
        ),
    )


def _addressed(name: str, mtu: int, interface: Interface | None, vlans: list[Interface]) -> dict[str, str]:
    """The .network of an interface that is no bond member."""
    addresses = interface.addresses if interface else []
    # IPv6 needs its link-local address; nothing else of ours does.
    link_local = "ipv6" if any(":" in address for address in addresses) else "no"
    return _network(
        name,
        mtu,
        [
            *(("VLAN", vlan.name) for vlan in vlans),
            ("LinkLocalAddressing", link_local),
            *(("Address", address) for address in addresses),
        ],
        interface.gateway if interface else None,
        online=bool(addresses),
    )


def network_files(links: Links) -> list[dict[str, str]]:
    files = [
        _file(
            f"{NETWORKD}/10-{nic}.link",
            # VLANs and bonds inherit their NIC's permanent address: only the NIC itself is of no kind.
            unit(("Match", [("PermanentMACAddress", mac), ("Kind", "!*")]), ("Link", [("Name", nic)])),
        )
        for nic, mac in links.nics.items()
    ]
    for name, bond in links.bonds.items():
        options: list[tuple[str, object]] = [("Mode", bond["mode"]), ("MIIMonitorSec", "100ms")]
        if bond["mode"] == "802.3ad":
            options += [("LACPTransmitRate", "fast"), ("TransmitHashPolicy", "layer3+4")]
        files.append(
            _file(
                f"{NETWORKD}/20-{name}.netdev",
                unit(("NetDev", [("Name", name), ("Kind", "bond"), ("MTUBytes", links.mtu(name))]), ("Bond", options)),
            )
        )
    for each in links.interfaces.values():
        if each.vlan is not None:
            files.append(
                _file(
                    f"{NETWORKD}/20-{each.name}.netdev",
                    unit(
                        ("NetDev", [("Name", each.name), ("Kind", "vlan"), ("MTUBytes", each.mtu)]),
                        ("VLAN", [("Id", each.vlan)]),
                    ),
                )
            )
            files.append(_addressed(each.name, each.mtu, each, []))
    for link in (*links.nics, *links.bonds):
        if bond_name := links.bond_of(link):
            bonded: list[tuple[str, object]] = [("Bond", bond_name), ("LinkLocalAddressing", "no")]
            files.append(_network(link, links.mtu(bond_name), bonded, None, online=False))
        elif (interface := links.interfaces.get(link)) or links.upon(link):
            files.append(_addressed(link, links.mtu(link), interface, links.upon(link)))
    return sorted(files, key=lambda file: file["path"])


def provider_port(links: Links) -> dict[str, Any] | None:
    """What OVS may take for the provider network, and which address has to move with it.

    A tagged provider network gives OVS the VLAN interface: its link, and whatever SSH uses there, stays the kernel's.
    An untagged one gives OVS the link itself; addresses upon that very link move to the bridge in the same step,
    while VLANs upon it go on (the kernel takes tagged frames off before it asks OVS).
    """
    port = next((each for each in links.interfaces.values() if each.provider), None)
    if port is None:
        return None
    moves: dict[str, Any] | None = None
    if port.addresses:
        bare = Interface(name=port.name, link=port.link, vlan=port.vlan)
        vlans = links.upon(port.link) if port.vlan is None else []
        mtu = links.mtu(port.link) if port.vlan is None else port.mtu
        bridge = Interface(name=BRIDGE, link=BRIDGE, addresses=port.addresses, gateway=port.gateway)
        moves = {
            "addresses": port.addresses,
            "gateway": port.gateway,
            "files": [_addressed(port.name, mtu, bare, vlans), _addressed(BRIDGE, port.mtu, bridge, [])],
        }
    return {
        "bridge": BRIDGE,
        "link": port.link,
        "vlan": port.vlan,
        "port": port.name,
        "mtu": port.mtu,
        "moves_address": moves,
    }


def hosts_file(names: Iterable[tuple[str, str, str]]) -> str:
    """`names`: (address, fqdn, short name). No 127.0.1.1: a node's own name is its address, as its peers see it."""
    lines = [f"{address} {fqdn} {short}" if fqdn != short else f"{address} {fqdn}" for address, fqdn, short in names]
    return "\n".join(["127.0.0.1 localhost", "::1 localhost ip6-localhost ip6-loopback", *lines]) + "\n"


def name_files(short: str, domain: str, hosts: str, dns: Iterable[str], time_server: str) -> list[dict[str, str]]:
    resolv = "".join(f"nameserver {server}\n" for server in dns)
    return [
        _file("/etc/hostname", f"{short}\n"),
        _file("/etc/hosts", hosts),
        _file("/etc/resolv.conf", f"search {domain}\n{resolv}"),
        _file("/etc/systemd/timesyncd.conf.d/seedcloud.conf", unit(("Time", [("NTP", time_server)]))),
    ]
