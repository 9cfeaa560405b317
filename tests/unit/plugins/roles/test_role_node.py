# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 the seedcloud.openstack authors
"""provision_nodes, the whole playbook, against machines that behave as a rack does."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.seedcloud.openstack.tests.unit.plugins.module_utils import ipmi_peer
from ansible_collections.seedcloud.openstack.tests.unit.plugins.virtual_nodes import VirtualNode

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="makes a network namespace")

IMAGE = "debian13-openstack-0123456789ab"
PLAY = """
- name: Provision
  ansible.builtin.import_playbook: seedcloud.openstack.provision_nodes
"""


class Rack:
    """A seed's folder, an inventory, and nodes."""

    def __init__(self, folder: Path, nodes: int) -> None:
        self.folder, self.root = folder, folder / "seed"
        for path in ("nodes", "awaited", "dhcp/hosts", "stamps", "http/images", "http/ramdisks/agent-0123456789ab"):
            (self.root / path).mkdir(parents=True)
        self.build(IMAGE)
        (self.root / "http/ramdisks/agent-0123456789ab/manifest.json").write_text('{"name": "agent-0123456789ab"}')
        peers = [ipmi_peer.start_sim(folder / f"bmc{n}", f"198.51.100.{n}", 623) for n in range(1, nodes + 1)]
        ipmi_peer.await_peers(*peers)
        self.nodes = {
            f"node{n}": VirtualNode(f"node{n}", f"192.0.2.{n}", peer, self.root) for n, peer in enumerate(peers, 1)
        }
        self.inventory: dict[str, Any] = {"all": {"vars": self.shared(), "children": {
            "seedcloud_seed": {"hosts": {"seed": self.seed()}},
            "seedcloud_nodes": {"children": {
                "seedcloud_controllers": {"hosts": {"node1": {}}},
                "seedcloud_computes": {"hosts": {name: self.node(n) for n, name in enumerate(self.nodes, 1)}},
            }},
        }}}  # fmt: skip

    @property
    def hosts(self) -> dict[str, Any]:
        computes = self.inventory["all"]["children"]["seedcloud_nodes"]["children"]["seedcloud_computes"]
        hosts: dict[str, Any] = computes["hosts"]
        return hosts

    def shared(self) -> dict[str, Any]:
        key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIExampleExampleExampleExampleExampleExample test"
        return {
            "seedcloud_networks": {"provisioning": {"cidr": "192.0.2.0/24"}, "provider": {"cidr": "203.0.113.0/24"}},
            "seedcloud_ssh_authorized_keys": [key],
            "node_root_device": {"size_gib": 16},
            "node_wait_silence": 20,
            "node_ssh_timeout": 20,
            "node_seed_group": "root",
        }

    def seed(self) -> dict[str, Any]:
        return {
            "ansible_connection": "local",
            "ansible_python_interpreter": sys.executable,
            "seed_address": "192.0.2.254",
            "seed_interface": "lo",
            "seed_root": str(self.root),
        }

    def node(self, number: int) -> dict[str, Any]:
        return {
            "node_bmc": {
                "address": f"198.51.100.{number}",
                "username": ipmi_peer.USER,
                "password": ipmi_peer.PASSWORD,
            },
            "node_nics": {
                "nic0": {"mac": f"00:00:5e:00:53:{number:02x}"},
                "nic1": {"mac": f"00:00:5e:00:53:{128 + number:02x}"},
            },
            "node_networks": {
                "provisioning": {"link": "nic0", "address": f"192.0.2.{number}"},
                "provider": {"link": "nic1"},
            },
        }

    def build(self, image: str) -> None:
        manifest = {"name": image, "sha256": "0" * 64, "size": 4096, "compressed_size": 1024}
        (self.root / f"http/images/{image}.json").write_text(json.dumps(manifest))
        (self.root / "stamps/images.json").write_text(json.dumps({"golden": image, "ramdisk": "agent-0123456789ab"}))

    def command(self, *arguments: str) -> list[str]:
        (self.folder / "inventory.yml").write_text(yaml.safe_dump(self.inventory))
        return ["ansible-playbook", "-i", str(self.folder / "inventory.yml"), *arguments]

    def run(self, *arguments: str, rc: int = 0) -> str:
        command = self.command("seedcloud.openstack.provision_nodes", *arguments)
        done = subprocess.run(command, cwd=self.folder, capture_output=True, text=True, check=False, timeout=180)
        out = done.stdout + done.stderr
        assert done.returncode == rc, out
        assert ipmi_peer.PASSWORD not in out
        return out

    def events(self, node: str) -> list[str]:
        journal = self.root / "nodes" / node / "journal.jsonl"
        return [json.loads(line)["event"] for line in journal.read_text().splitlines()]

    def stop(self) -> None:
        for node in self.nodes.values():
            node.stop()
        ipmi_peer.stop_peers(*(node.bmc for node in self.nodes.values()))


@pytest.fixture
def _network() -> Iterator[None]:
    """All that this thread starts has a network of its own, in which every address of the rack is local."""
    before = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    os.unshare(os.CLONE_NEWNET)
    try:
        subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
        for network in ("192.0.2.0/24", "198.51.100.0/24"):
            subprocess.run(["ip", "route", "add", "local", network, "dev", "lo"], check=True)
        yield
    finally:
        os.setns(before, os.CLONE_NEWNET)
        os.close(before)


@pytest.fixture
def rack(tmp_path: Path, _network: None) -> Iterator[Callable[[int], Rack]]:
    made: list[Rack] = []

    def make(nodes: int = 2) -> Rack:
        made.append(Rack(tmp_path, nodes))
        return made[-1]

    yield make
    for each in made:
        each.stop()


def test_dark_rack_to_ssh_and_then_nothing(rack: Callable[..., Rack]) -> None:
    r = rack()
    out = r.run("--check")
    assert "node1: order, boot from the network" in out
    assert not any(node.bmc.calls("power:") for node in r.nodes.values())
    assert not (r.root / "nodes/node1").exists()

    out = r.run()
    assert [node.writes for node in r.nodes.values()] == [1, 1]
    assert r.events("node1")[-2:] == ["ssh_up", "deployed"]
    assert (r.root / "nodes/node1/host_keys").read_text().startswith("node1,192.0.2.1 ssh-ed25519 ")
    assert not list((r.root / "awaited").iterdir())

    calls = {name: node.bmc.read("calls") for name, node in r.nodes.items()}
    out = r.run()
    assert "changed=0" in out
    assert "nothing to do" in out
    assert calls == {name: node.bmc.read("calls") for name, node in r.nodes.items()}
