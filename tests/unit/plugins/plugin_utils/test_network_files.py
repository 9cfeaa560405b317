# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 the seedcloud.openstack authors
"""Networks as data: node records, network_map, and network files that a real systemd-networkd takes."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.seedcloud.openstack.plugins.plugin_utils._inventory.networks import network_map
from ansible_collections.seedcloud.openstack.plugins.plugin_utils._inventory.records import node_records, seed_record
from ansible_collections.seedcloud.openstack.tests.unit.plugins.inventory_rack import Rack

NETWORKD = "/usr/lib/systemd/systemd-networkd"


def record(rack: Rack, name: str = "node1") -> dict[str, Any]:
    assert rack.faults() == []
    return next(each for each in node_records(rack.read()) if each["name"] == name)


def files(record: dict[str, Any]) -> dict[str, str]:
    return {Path(file["path"]).name: file["content"] for file in record["files"]}


def one_nic(rack: Rack, provider_vlan: int | None) -> None:
    """Everything on nic0."""
    rack.shared["seedcloud_networks"]["provider"]["vlan"] = provider_vlan
    del rack.node1["node_nics"]["nic1"]
    rack.node1["node_networks"]["provider"] = {"link": "nic0"}


def bonded(rack: Rack) -> None:
    rack.node1["node_bonds"] = {"bond0": {"nics": ["nic0", "nic1"], "mode": "802.3ad"}}
    for network in rack.node1["node_networks"].values():
        network["link"] = "bond0"


def test_roles_fall_back() -> None:
    provisioning, internal = {"cidr": "192.0.2.0/24"}, {"cidr": "198.51.100.0/25", "vlan": 5, "mtu": None}
    networks = network_map({"provisioning": provisioning, "provider": {"cidr": "203.0.113.0/24"}})
    assert {role: network and network["network"] for role, network in networks.items()} == {
        "provisioning": "provisioning",
        "internal": "provisioning",
        "tunnel": "provisioning",
        "public": "provisioning",
        "provider": "provider",
        "bmc": None,
    }
    assert networks["tunnel"] == {
        "network": "provisioning", "cidr": "192.0.2.0/24", "prefix": 24, "gateway": None, "vlan": None, "mtu": 1500,
        "dns": [],
    }  # fmt: skip
    networks = network_map({"provisioning": provisioning, "internal": internal})
    assert {role: network["network"] for role, network in networks.items() if network} == {
        "provisioning": "provisioning", "internal": "internal", "tunnel": "internal", "public": "internal",
    }  # fmt: skip


def test_record() -> None:
    rack = Rack()
    rack.node1["node_nics"]["nic0"]["mac"] = "02:00:00:00:00:AB"
    found = record(rack)
    shown = {key: found[key] for key in ("fqdn", "roles", "firmware", "boot_mac", "macs", "address", "addresses")}
    assert shown == {
        "fqdn": "node1.seedcloud.internal",
        "roles": ["controller"],
        "firmware": "uefi",
        "boot_mac": "02:00:00:00:00:ab",
        "macs": ["02:00:00:00:00:ab", "02:00:00:01:00:01"],
        "address": "192.0.2.11",
        "addresses": {
            "provisioning": "192.0.2.11", "internal": "192.0.2.11", "tunnel": "198.51.100.11", "public": "192.0.2.11",
        },
    }  # fmt: skip
    assert found["bmc"]["name"] == "node1"
    assert found["bmc"]["port"] == 623


def test_absent_nodes_are_left_out_everywhere() -> None:
    rack = Rack(3)
    rack.hosts["node3"] = {"node_state": "absent"}
    assert rack.faults() == []
    records = node_records(rack.read())
    assert [each["name"] for each in records] == ["node1", "node2"]
    assert "node3" not in files(records[0])["hosts"]


def test_names_resolve_everywhere_and_are_the_same_on_all_nodes() -> None:
    rack = Rack(2)
    rack.hosts["node2.rack2.example"] = rack.hosts.pop("node2")
    names = list(rack.hosts)
    rack.groups |= {"seedcloud_nodes": names, "seedcloud_computes": names[1:]}
    one, two = (files(each) for each in node_records(rack.read()))
    assert one["hosts"] == two["hosts"]
    assert one["hosts"].splitlines()[2:] == [
        "192.0.2.2 seed.seedcloud.internal seed",
        "192.0.2.11 node1.seedcloud.internal node1",
        "192.0.2.12 node2.rack2.example node2",
    ]
    assert (one["hostname"], two["hostname"]) == ("node1\n", "node2\n")


def test_two_nics() -> None:
    found = record(Rack())
    assert found["provider"] == {
        "bridge": "br-provider", "link": "nic1", "vlan": None, "port": "nic1", "mtu": 1500, "moves_address": None,
    }  # fmt: skip
    units = files(found)
    assert "Address=" not in units["30-nic1.network"]
    assert "LinkLocalAddressing=no" in units["30-nic1.network"]
    assert units["30-nic0.network"].endswith("[Route]\nGateway=192.0.2.1\n")
    assert "VLAN=nic0.202" in units["30-nic0.network"]
    assert "Address=198.51.100.11/24" in units["30-nic0.202.network"]
    assert units["10-nic0.link"] == ("[Match]\nPermanentMACAddress=02:00:00:00:00:01\nKind=!*\n\n[Link]\nName=nic0\n")


def test_one_nic_with_a_provider_vlan_leaves_the_nic_of_ssh_alone() -> None:
    rack = Rack()
    one_nic(rack, 300)
    found = record(rack)
    assert (found["provider"]["port"], found["provider"]["moves_address"]) == ("nic0.300", None)
    units = files(found)
    assert "VLAN=nic0.300" in units["30-nic0.network"]
    assert "Address=192.0.2.11/24" in units["30-nic0.network"]
    assert "Address" not in units["30-nic0.300.network"].replace("LinkLocalAddressing", "")


def test_one_nic_with_an_untagged_provider_moves_the_address_and_the_route() -> None:
    rack = Rack()
    one_nic(rack, None)
    provider = record(rack)["provider"]
    moves = provider["moves_address"]
    assert (provider["port"], moves["addresses"], moves["gateway"]) == ("nic0", ["192.0.2.11/24"], "192.0.2.1")
    link, bridge = (file["content"] for file in moves["files"])
    assert "Address=" not in link
    assert "Gateway" not in link
    assert "VLAN=nic0.202" in link  # the tunnels' VLAN stays upon the NIC
    assert "Name=br-provider" in bridge
    assert "Address=192.0.2.11/24" in bridge
    assert "Gateway=192.0.2.1" in bridge


def test_bond() -> None:
    rack = Rack()
    bonded(rack)
    rack.shared["seedcloud_networks"]["provider"]["vlan"] = 300
    rack.shared["seedcloud_networks"]["tunnel"]["mtu"] = 9000
    found = record(rack)
    units = files(found)
    assert found["boot_mac"] == "02:00:00:00:00:01"
    assert found["provider"]["port"] == "bond0.300"
    assert "Mode=802.3ad" in units["20-bond0.netdev"]
    for unit in ("30-nic0.network", "30-nic1.network", "30-bond0.network"):
        assert "MTUBytes=9000" in units[unit]  # as wide as the widest network upon it
    assert "Bond=bond0" in units["30-nic1.network"]
    assert "MTUBytes=1500" in units["30-bond0.300.network"]


def test_the_public_gateway_is_the_default_route_where_the_node_is_on_that_network() -> None:
    rack = Rack()
    rack.shared["seedcloud_networks"]["public"] = {"cidr": "198.18.0.0/24", "gateway": "198.18.0.1", "vlan": 7}
    rack.node1["node_networks"]["public"] = {"link": "nic1", "address": "198.18.0.11"}
    one, two = files(record(rack)), files(record(rack, "node2"))
    assert "Gateway" not in one["30-nic0.network"]
    assert "Gateway=198.18.0.1" in one["30-nic1.7.network"]
    assert "Gateway=192.0.2.1" in two["30-nic0.network"]
    assert record(rack, "node2")["addresses"]["public"] is None


def test_ipv6() -> None:
    rack = Rack()
    rack.shared["seedcloud_networks"]["tunnel"] = {"cidr": "2001:db8::/64"}
    for n, node in enumerate(rack.hosts.values(), 1):
        node["node_networks"]["tunnel"] = {"link": "nic1", "address": f"2001:db8::{n}"}
    rack.shared["seedcloud_networks"]["provider"]["vlan"] = 3
    unit = files(record(rack))["30-nic1.network"]
    assert "Address=2001:db8::1/64" in unit
    assert "LinkLocalAddressing=ipv6" in unit


def test_seed_record() -> None:
    rack = Rack()
    rack.shared["seedcloud_image"] = {"name": "mine"}
    found = seed_record(rack.read())
    assert (found["name"], found["address"], found["port"], found["image"]) == ("seed", "192.0.2.2", 80, "mine")


# networkd in namespaces of its own. This machine's kernel may have no VLANs: what networkd reads is judged, and what
# it makes of interfaces that any kernel has.
SCRIPT = """
set -eu
mount -t tmpfs tmpfs /run; mkdir -p /run/systemd/netif; chown -R systemd-network /run/systemd
mount --bind "$1" /etc/systemd/network
mount --bind /sys /sys; mount -o remount,ro,bind /sys  # as in a container: udev is not waited for
for nic in nic0 nic1; do ip link add $nic type veth peer name peer-$nic; ip link set peer-$nic up; done
SYSTEMD_LOG_LEVEL=debug SYSTEMD_LOG_TARGET=console "$2" > "$1.log" 2>&1 & pid=$!
for _ in $(seq 100); do ip address show | grep -q "$3" && break; sleep 0.1; done
sleep 0.5; kill $pid; wait $pid || :
ip -oneline -4 address show scope global | sed 's/^[0-9]*: //; s/ brd.*//; s/  */ /g'; ip route show default
ip -oneline -6 address show dev nic1
"""


@pytest.mark.skipif(
    os.geteuid() != 0 or not Path(NETWORKD).exists() or not shutil.which("unshare"),
    reason="needs systemd-networkd, and root for namespaces",
)
@pytest.mark.parametrize("case", ["two-nics", "one-nic", "bond", "moved"])
def test_networkd_takes_every_line(case: str, tmp_path: Path) -> None:
    rack = Rack()
    if case == "two-nics":
        del rack.shared["seedcloud_networks"]["tunnel"]  # no VLAN: networkd can go all the way on this kernel
        for node in rack.hosts.values():
            del node["node_networks"]["tunnel"]
    elif case == "one-nic":
        one_nic(rack, 300)
    elif case == "bond":
        bonded(rack)
        rack.shared["seedcloud_networks"]["provider"]["vlan"] = 300
    else:
        one_nic(rack, None)
    found = record(rack)
    written = found["files"] + (found["provider"]["moves_address"] or {"files": []})["files"]
    folder = tmp_path / "network"
    folder.mkdir()
    folder.chmod(0o755)
    for file in written:
        if file["path"].startswith("/etc/systemd/network/"):
            (folder / Path(file["path"]).name).write_text(file["content"])
    (folder / "99-canary.network").write_text("[Match]\nName=no\nCanary=1\n")  # what it complains of is seen
    command = ["unshare", "--net", "--mount", "--fork", "sh", "-c", SCRIPT, "sh", str(folder), NETWORKD, "192.0.2.11"]
    if case in ("bond", "moved"):
        command[-1] = "peer-nic1"  # nothing to wait for: there is no bond and no bridge here
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    log = (tmp_path / "network.log").read_text()
    assert "Enumeration completed" in log
    complaints = [line for line in log.splitlines() if "/etc/systemd/network/" in line and "ignoring" in line]
    assert complaints == [
        "/etc/systemd/network/99-canary.network:3: Unknown key 'Canary' in section [Match], ignoring."
    ]
    if case == "two-nics":
        assert [line.rstrip() for line in done.stdout.splitlines()] == [
            "nic0 inet 192.0.2.11/24",
            "default via 192.0.2.1 dev nic0 proto static",
        ], done.stdout
