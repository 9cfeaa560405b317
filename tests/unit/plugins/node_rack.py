# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 the seedcloud.openstack authors
"""A seed's folder, an inventory, and machines that behave as a rack does, for whole playbooks."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml
from ansible_collections.seedcloud.openstack.tests.unit.plugins.module_utils import ipmi_peer
from ansible_collections.seedcloud.openstack.tests.unit.plugins.virtual_nodes import VirtualNode

IMAGE = "debian13-openstack-0123456789ab"


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
            "node_wait_silence": 300,
            "node_ssh_timeout": 300,
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

    def run(self, *arguments: str, rc: int = 0, playbook: str = "provision_nodes") -> str:
        name = playbook if playbook.endswith(".yml") else f"seedcloud.openstack.{playbook}"
        command = self.command(name, *arguments)
        done = subprocess.run(command, cwd=self.folder, capture_output=True, text=True, check=False, timeout=1800)
        out = done.stdout + done.stderr
        assert done.returncode == rc, out
        assert ipmi_peer.PASSWORD not in out
        return out

    def start(self) -> subprocess.Popen[str]:
        command = self.command("seedcloud.openstack.provision_nodes")
        return subprocess.Popen(
            command,
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def events(self, node: str) -> list[str]:
        """In the journal; what the agent reported is elsewhere."""
        journal = self.root / "nodes" / node / "journal.jsonl"
        if not journal.exists():
            return []
        return [json.loads(line)["event"] for line in journal.read_text().splitlines()]

    def calls(self) -> dict[str, list[str]]:
        """What each BMC was told to do."""
        return {name: node.bmc.calls() for name, node in self.nodes.items()}

    def stop(self) -> None:
        for node in self.nodes.values():
            node.stop()
        ipmi_peer.stop_peers(*(node.bmc for node in self.nodes.values()))
