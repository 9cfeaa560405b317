# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 the seedcloud.openstack authors
"""An inventory without fault, to be spoilt by tests."""

from __future__ import annotations

import copy
from typing import Any

from ansible_collections.seedcloud.openstack.plugins.plugin_utils._inventory.faults import inventory_faults
from ansible_collections.seedcloud.openstack.plugins.plugin_utils._inventory.read import Inventory, read_inventory

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIExampleExampleExampleExampleExampleExample me"
SHARED: dict[str, Any] = {
    "seedcloud_networks": {
        "provisioning": {"cidr": "192.0.2.0/24", "gateway": "192.0.2.1"},
        "tunnel": {"cidr": "198.51.100.0/24", "vlan": 202},
        "provider": {"cidr": "203.0.113.0/24", "gateway": "203.0.113.1"},
    },
    "seedcloud_ssh_authorized_keys": [KEY],
}


def node(number: int) -> dict[str, Any]:
    high, low = divmod(number, 250)
    return {
        "node_bmc": {"address": f"bmc{number}.example", "username": "admin", "password": "secret"},
        "node_nics": {
            "nic0": {"mac": f"02:00:00:00:{high:02x}:{low:02x}"},
            "nic1": {"mac": f"02:00:00:01:{high:02X}:{low:02X}"},
        },
        "node_networks": {
            "provisioning": {"link": "nic0", "address": f"192.0.2.{10 + number}"},
            "tunnel": {"link": "nic0", "address": f"198.51.100.{10 + number}"},
            "provider": {"link": "nic1"},
        },
        "node_root_device": {"serial": f"S{number}"},
    }


class Rack:
    """hostvars and groups, as Ansible gives them."""

    def __init__(self, nodes: int = 2) -> None:
        self.shared = copy.deepcopy(SHARED)
        self.hosts: dict[str, dict[str, Any]] = {f"node{n}": node(n) for n in range(1, nodes + 1)}
        self.seed: dict[str, Any] = {"seed_address": "192.0.2.2", "seed_interface": "eno1"}
        names = list(self.hosts)
        self.groups = {
            "all": ["seed", *names],
            "seedcloud_seed": ["seed"],
            "seedcloud_nodes": names,
            "seedcloud_controllers": names[:1],
            "seedcloud_computes": names[1:] or names,
        }

    @property
    def node1(self) -> dict[str, Any]:
        return self.hosts["node1"]

    def hostvars(self) -> dict[str, dict[str, Any]]:
        hosts = {"seed": self.seed, **self.hosts}
        return {name: {**self.shared, **variables} for name, variables in hosts.items()}

    def read(self) -> Inventory:
        return read_inventory(self.hostvars(), self.groups)

    def faults(self) -> list[str]:
        return [f"{fault.host} {fault.variable}: {fault.fault}" for fault in inventory_faults(self.read())]
