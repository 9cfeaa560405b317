# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 the seedcloud.openstack authors
"""Every fault of an inventory at once: inventory_faults, and what node_records and its like refuse."""

from __future__ import annotations

import copy
import random
import time
from collections.abc import Callable
from typing import Any

import pytest
from ansible_collections.seedcloud.openstack.plugins.plugin_utils._inventory.faults import inventory_faults
from ansible_collections.seedcloud.openstack.plugins.plugin_utils._inventory.read import read_inventory
from ansible_collections.seedcloud.openstack.plugins.plugin_utils._inventory.records import node_records
from ansible_collections.seedcloud.openstack.tests.unit.plugins.inventory_rack import KEY, Rack


def test_no_fault() -> None:
    assert Rack().faults() == []
    assert Rack(1).faults() == []  # one node in both roles


def networks(r: Rack) -> dict[str, Any]:
    found: dict[str, Any] = r.shared["seedcloud_networks"]
    return found


POOLS: list[tuple[Any, str]] = [
    ([], "has 0 addresses, not 2"),
    (["203.0.113.5"], "has 1 address, not 2"),
    (["203.0.113.5", "203.0.113.7", "203.0.113.9"], "has 3 addresses, not 2"),
    ("203.0.113.5-203.0.113.9", "is no list but str"),
    ({"start": "203.0.113.5", "end": "203.0.113.9"}, "is no list but dict"),
    (["203.0.113.5", "203.0.113"], "holds '203.0.113', which is no address"),
    (["203.0.113.5", None], "holds 'None', which is no address"),
    ([["203.0.113.5"], "203.0.113.9"], "holds \"['203.0.113.5']\", which is no address"),
    (["203.0.113.9", "203.0.113.5"], "ends before it begins"),
    (["192.0.2.1", "203.0.113.5"], "192.0.2.1 is not in 203.0.113.0/24"),
    (["203.0.113.5", "2001:db8::5"], "2001:db8::5 is not in 203.0.113.0/24"),
    (["203.0.113.5", "203.0.113.255"], "203.0.113.255 is the network or broadcast address"),
    (["203.0.113.1", "203.0.113.5"], "holds the gateway 203.0.113.1"),
]
SPOILT: list[tuple[str, Callable[[Rack], Any], str]] = [
    ("no seed", lambda r: r.groups.pop("seedcloud_seed"), "inventory seedcloud_seed: has 0 hosts"),
    ("two seeds", lambda r: r.groups.update(seedcloud_seed=["seed", "node1"]), "inventory seedcloud_seed: has 2 hosts"),
    ("no computes", lambda r: r.groups.update(seedcloud_computes=[]), "inventory seedcloud_computes: is empty"),
    ("no role", lambda r: r.groups.update(seedcloud_computes=["node1"]), "node2 seedcloud_nodes: the node has no role"),
    ("no networks", lambda r: r.shared.pop("seedcloud_networks"), "seed seedcloud_networks: is missing"),
    ("networks a list", lambda r: r.shared.update(seedcloud_networks=[]), "is no mapping but list"),
    ("no provider", lambda r: networks(r).pop("provider"), "seed seedcloud_networks.provider: is missing"),
    ("unknown network", lambda r: networks(r).update(storage={}), "seed seedcloud_networks.storage: is not known"),
    ("unknown key", lambda r: networks(r)["tunnel"].update(vlna=1), "seedcloud_networks.tunnel.vlna: is not known"),
    ("no cidr", lambda r: networks(r)["tunnel"].pop("cidr"), "seedcloud_networks.tunnel.cidr: is missing"),
    ("host bits", lambda r: networks(r)["tunnel"].update(cidr="198.51.100.1/24"), "is no network"),
    ("no prefix", lambda r: networks(r)["tunnel"].update(cidr="198.51.100.0"), "is no network (no prefix length)"),
    ("cidr a number", lambda r: networks(r)["tunnel"].update(cidr=7), "7 is no network"),
    ("vlan a text", lambda r: networks(r)["tunnel"].update(vlan="202"), "tunnel.vlan: is wrong: '202'"),
    ("vlan 4095", lambda r: networks(r)["tunnel"].update(vlan=4095), "tunnel.vlan: is wrong: 4095"),
    ("vlan true", lambda r: networks(r)["tunnel"].update(vlan=True), "tunnel.vlan: is wrong: True"),
    ("vlan twice", lambda r: networks(r)["provider"].update(vlan=202), "202 is the VLAN of tunnel too"),
    ("tagged boot", lambda r: networks(r)["provisioning"].update(vlan=5), "provisioning.vlan: is 5"),
    ("mtu", lambda r: networks(r)["tunnel"].update(mtu=90000), "tunnel.mtu: is wrong: 90000"),
    ("overlap", lambda r: networks(r)["tunnel"].update(cidr="192.0.2.0/25"), "192.0.2.0/25 overlaps provisioning"),
    ("gateway", lambda r: networks(r)["provider"].update(gateway="192.0.2.1"), "192.0.2.1 is not in 203.0.113.0/24"),
    ("broadcast", lambda r: networks(r)["provider"].update(gateway="203.0.113.255"), "is the network or broadcast"),
    ("dns", lambda r: networks(r)["provisioning"].update(dns="192.0.2.1"), "provisioning.dns: is wrong"),
    *(
        (f"pool {pool}", lambda r, pool=pool: networks(r)["provider"].update(allocation=pool), f"allocation: {said}")
        for pool, said in POOLS
    ),
    (
        "pool without a network",
        lambda r: networks(r)["provider"].update(cidr="x", allocation=["203.0.113.5"]),
        "allocation: has 1 address, not 2",
    ),
    ("no keys", lambda r: r.shared.update(seedcloud_ssh_authorized_keys=[]), "authorized_keys: is wrong: []"),
    ("keys a text", lambda r: r.shared.update(seedcloud_ssh_authorized_keys=KEY), "authorized_keys: is wrong"),
    ("two keys in a line", lambda r: r.shared.update(seedcloud_ssh_authorized_keys=[f"{KEY}\n{KEY}"]), "is wrong"),
    ("root", lambda r: r.shared.update(seedcloud_ssh_user="root"), "seedcloud_ssh_user: is wrong: 'root'"),
    ("user", lambda r: r.shared.update(seedcloud_ssh_user="a b"), "seedcloud_ssh_user: is wrong"),
    ("domain", lambda r: r.shared.update(seedcloud_domain="Cloud Example"), "seedcloud_domain: is wrong"),
    ("image", lambda r: r.shared.update(seedcloud_image="x"), "seedcloud_image: is wrong: 'x'"),
    ("contradiction", lambda r: r.node1.update(seedcloud_domain="x.example"), "node1 seedcloud_domain: differs from"),
    ("no seed address", lambda r: r.seed.pop("seed_address"), "seed seed_address: is missing"),
    ("seed address", lambda r: r.seed.update(seed_address="203.0.113.2"), "203.0.113.2 is not in 192.0.2.0/24"),
    ("seed interface", lambda r: r.seed.update(seed_interface="eno1; reboot"), "seed_interface: is wrong"),
    ("seed root", lambda r: r.seed.update(seed_root="/srv/../etc"), "seed_root: is wrong"),
    ("seed port", lambda r: r.seed.update(seed_http_port="80"), "seed_http_port: is wrong: '80'"),
    ("no bmc", lambda r: r.node1.pop("node_bmc"), "node1 node_bmc: is missing"),
    ("bmc a text", lambda r: r.node1.update(node_bmc="admin:secret@x"), "node1 node_bmc: is no mapping but str"),
    ("no password", lambda r: r.node1["node_bmc"].pop("password"), "node1 node_bmc.password: is missing"),
    ("long password", lambda r: r.node1["node_bmc"].update(password="secret" * 9), "is not a text of 1 to 20 bytes"),
    ("password a number", lambda r: r.node1["node_bmc"].update(password=1234), "is not a text of 1 to 20 bytes"),
    ("driver", lambda r: r.node1["node_bmc"].update(driver="ilo"), "node1 node_bmc.driver: is wrong: 'ilo'"),
    ("port", lambda r: r.node1["node_bmc"].update(port=0), "node1 node_bmc.port: is wrong: 0"),
    (
        "bmc twice",
        lambda r: r.node1["node_bmc"].update(address="bmc2.example"),
        "BMC bmc2.example port 623 is node1's too",
    ),
    ("bmc elsewhere", lambda r: networks(r).update(bmc={"cidr": "192.0.2.128/25"}), "node_bmc.address: is wrong"),
    ("firmware", lambda r: r.node1.update(node_firmware="UEFI"), "node1 node_firmware: is wrong: 'UEFI'"),
    ("no nics", lambda r: r.node1.update(node_nics={}), "node1 node_nics: is wrong: {}"),
    ("mac", lambda r: r.node1["node_nics"]["nic0"].update(mac="02-00-00-00-00-01"), "nic0.mac: is wrong"),
    ("multicast mac", lambda r: r.node1["node_nics"]["nic0"].update(mac="01:00:5e:00:00:01"), "nic0.mac: is wrong"),
    ("mac a number", lambda r: r.node1["node_nics"]["nic0"].update(mac=1122334455), "nic0.mac: is wrong"),
    ("mac twice", lambda r: r.hosts["node2"]["node_nics"]["nic0"].update(mac="02:00:00:00:00:01"), "is node1's too"),
    ("nic name", lambda r: r.node1["node_nics"].update({"a/b": {"mac": "02:00:00:00:00:77"}}), "is wrong: 'a/b'"),
    ("bond nic", lambda r: r.node1.update(node_bonds={"b": {"nics": ["x"], "mode": "802.3ad"}}), "not in node_nics"),
    ("bond mode", lambda r: r.node1.update(node_bonds={"b": {"nics": ["nic1"], "mode": 4}}), "b.mode: is wrong: 4"),
    (
        "member",
        lambda r: r.node1.update(node_bonds={"b": {"nics": ["nic1"], "mode": "802.3ad"}}),
        "nic1 is a member of b",
    ),
    ("no address", lambda r: r.node1["node_networks"]["tunnel"].pop("address"), "tunnel.address: is missing"),
    ("address", lambda r: r.node1["node_networks"]["tunnel"].update(address="192.0.2.9"), "is not in 198.51.100.0/24"),
    ("gateway's", lambda r: r.node1["node_networks"]["provisioning"].update(address="192.0.2.1"), "is the gateway's"),
    ("twice", lambda r: r.node1["node_networks"]["tunnel"].update(address="198.51.100.12"), "is node1's too"),
    ("the seed's", lambda r: r.node1["node_networks"]["provisioning"].update(address="192.0.2.2"), "is seed's too"),
    ("link", lambda r: r.node1["node_networks"]["tunnel"].update(link="nic9"), "'nic9' is neither in node_nics nor"),
    ("provider address", lambda r: r.node1["node_networks"]["provider"].update(address="x"), "is not known"),
    ("not on tunnel", lambda r: r.node1["node_networks"].pop("tunnel"), "node1 node_networks.tunnel: is missing"),
    ("undefined network", lambda r: r.node1["node_networks"].update(public={}), "node_networks.public: is not known"),
    ("nobody provides", lambda r: [n["node_networks"].pop("provider") for n in r.hosts.values()], "is on no node"),
    ("boot nic", lambda r: r.node1.update(node_boot_nic="nic7"), "'nic7' is not in node_nics"),
    ("no hint", lambda r: r.node1.update(node_root_device={}), "node1 node_root_device: has no hint"),
    ("null hint", lambda r: r.node1.update(node_root_device={"serial": None}), "node_root_device: has no hint"),
    ("hint", lambda r: r.node1.update(node_root_device={"seriall": "x"}), "node_root_device.seriall: is not known"),
    ("size", lambda r: r.node1.update(node_root_device={"size_gib": "10"}), "size_gib: is wrong: '10'"),
    ("size true", lambda r: r.node1.update(node_root_device={"size_gib": True}), "size_gib: is wrong: True"),
    ("disk twice", lambda r: r.node1.update(node_root_device={"serial": "S2"}), "disk serial S2 is node1's too"),
    ("wipe true", lambda r: r.node1.update(node_wipe_confirm=True), "node1 node_wipe_confirm: is wrong: True"),
    ("wipe yes", lambda r: r.node1.update(node_wipe_confirm="yes"), "node1 node_wipe_confirm: is wrong: 'yes'"),
    ("state", lambda r: r.node1.update(node_state="gone"), "node1 node_state: is wrong: 'gone'"),
]


@pytest.mark.parametrize(("spoil", "fault"), [s[1:] for s in SPOILT], ids=[s[0] for s in SPOILT])
def test_fault(spoil: Callable[[Rack], Any], fault: str) -> None:
    r = Rack()
    spoil(r)
    found = r.faults()
    assert any(fault in line for line in found), found
    assert "secret" not in "".join(found)
    assert all(f.mend and f.variable and f.host for f in inventory_faults(r.read()))


def test_all_at_once() -> None:
    r = Rack()
    for spoil in (SPOILT[9][1], SPOILT[40][1], SPOILT[-4][1]):
        spoil(r)
    assert len(r.faults()) >= 3


def test_bad_names() -> None:
    r = Rack()
    for name in ("Node3", "a_b", "../x", "n" * 64, "n\n"):
        r.hosts[name] = r.hosts.pop(next(iter(r.hosts)))
        r.groups |= {
            "seedcloud_nodes": list(r.hosts),
            "seedcloud_controllers": list(r.hosts),
            "seedcloud_computes": [name],
        }
        assert any("inventory_hostname: is wrong" in line for line in r.faults())


def test_same_short_name() -> None:
    r = Rack()
    r.hosts = {"a.one.example": r.hosts["node1"], "a.two.example": r.hosts["node2"]}
    r.groups |= {key: list(r.hosts) for key in ("seedcloud_nodes", "seedcloud_controllers", "seedcloud_computes")}
    assert any("host name a is a.one.example's too" in line for line in r.faults())


def test_a_variable_that_cannot_be_templated_is_a_fault_like_others() -> None:
    class Variables(dict[str, Any]):
        def __getitem__(self, key: str) -> Any:
            if key == "node_bmc":
                raise KeyError("'vault_password' is undefined")
            return super().__getitem__(key)

    r = Rack()
    hostvars = {**r.hostvars(), "node1": Variables(r.hostvars()["node1"])}
    found = inventory_faults(read_inventory(hostvars, r.groups))
    assert [(f.host, f.variable) for f in found] == [("node1", "node_bmc")]
    assert "vault_password" in found[0].fault


def test_nothing_that_a_yaml_file_can_hold_is_a_traceback() -> None:
    dice = random.Random(4)
    values: list[Any] = [None, True, 0, -1, 1.5, "", "x", "192.0.2.1", [], [None], {}, {"a": 1}, "🚀", "a\nb", 2**70]

    def paths(value: Any, at: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
        below = [p for key, item in value.items() for p in paths(item, (*at, key))] if isinstance(value, dict) else []
        return [at, *below] if at else below

    for _unused in range(3000):
        r = Rack()
        for _unused in range(dice.randrange(1, 4)):
            target = dice.choice([r.shared, r.seed, r.node1])
            *parents, last = dice.choice(paths(target))
            for key in parents:
                target = target[key] if isinstance(target.get(key), dict) else {}
            target[last] = copy.deepcopy(dice.choice(values))
        inventory = r.read()
        if not inventory_faults(inventory):
            node_records(inventory)


def test_linear_in_nodes() -> None:
    def seconds(count: int) -> float:
        r = Rack(count)
        networks(r)["provisioning"].update(cidr="192.0.0.0/16", gateway="192.0.255.1")
        networks(r)["tunnel"].update(cidr="198.51.0.0/16")
        r.seed["seed_address"] = "192.0.255.2"
        for n, host in enumerate(r.hosts.values()):
            high, low = divmod(n, 250)
            host["node_networks"]["provisioning"]["address"] = f"192.0.{high}.{low + 1}"
            host["node_networks"]["tunnel"]["address"] = f"198.51.{high}.{low + 1}"
        start = time.process_time()
        inventory = r.read()
        assert not inventory_faults(inventory)
        assert len(node_records(inventory)) == count
        return time.process_time() - start

    few = min(seconds(100) for _unused in range(3))
    assert seconds(1000) < 30 * few  # ten times, with room for a busy machine; squared it would be a hundred times
