# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 the seedcloud.openstack authors
"""Machines that behave as a rack does, seen from the seed: a real BMC protocol, an agent's files, a real SSH key.

What a node's firmware, ramdisk and disk would do happens in a thread, on the seed's folder.
"""

from __future__ import annotations

import io
import json
import os
import socket
import sys
import threading
import time
import uuid
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import paramiko
from ansible_collections.seedcloud.openstack.tests.unit.plugins.module_utils import ipmi_peer
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

sys.path.append(str(Path(__file__).parents[3] / "roles/ramdisk/files/agent"))
from seedcloud_agent import __main__ as agent
from seedcloud_agent import disks


def host_key() -> paramiko.PKey:
    text = Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
    )
    return paramiko.Ed25519Key(file_obj=io.StringIO(text.decode()))


class SshServer(threading.Thread):
    """Shows its host key to whoever asks, and lets nobody in."""

    def __init__(self, address: str, key: paramiko.PKey, port: int = 22) -> None:
        super().__init__(daemon=True)
        self.key = key
        self.listening = socket.create_server((address, port))
        self.start()

    def run(self) -> None:
        while True:
            try:
                connection, _peer = self.listening.accept()
            except OSError:
                return
            transport = paramiko.Transport(connection)
            transport.add_server_key(self.key)
            transport.start_server(event=threading.Event(), server=paramiko.ServerInterface())

    def stop(self) -> None:
        self.listening.shutdown(socket.SHUT_RDWR)
        self.listening.close()
        self.join()


@dataclass
class VirtualNode:
    """One machine. `breaks`: event at which its agent stops for good; `holds`: what its disk holds that is not ours;
    `hangs`: so many boots from the network end in the kernel, which never comes to its agent.
    """

    name: str
    address: str
    bmc: ipmi_peer.Peer
    root: Path
    holds: list[str] = field(default_factory=list)
    breaks: str | None = None
    hangs: int = 0
    hold: set[str] = field(default_factory=set)  # events before which the agent waits
    pace: float = 0.1
    disk: dict[str, Any] = field(default_factory=dict)
    writes: int = 0  # begun
    cut: int = 0  # and of these, cut off by a loss of power
    boots: int = 0
    told: list[str] = field(default_factory=list)  # events that its agents reported
    ssh: SshServer | None = None
    _stop: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.thread = threading.Thread(target=self._live, daemon=True)
        self.thread.start()

    def on(self) -> bool:
        return self.bmc.read("power") == "1"

    def stop(self) -> None:
        self._stop.set()
        self.thread.join()

    def _live(self) -> None:
        while not self._stop.is_set():
            if self.on():
                self.boots += 1
                if self.bmc.read("boot") in ("pxe", "force_pxe"):
                    self.bmc.write("boot", "none")  # one boot only, as hardware does
                    end = self._agent()
                    if end == "restart":
                        continue
                else:
                    end = "disk"
                if end == "disk" and self.disk.get("complete"):
                    self.ssh = SshServer(self.address, self.disk["key"])
                while self.on() and not self._stop.is_set():
                    time.sleep(0.02)
                if self.ssh:
                    self.ssh.stop()
                    self.ssh = None
            time.sleep(0.02)

    def _agent(self) -> str | None:
        """A boot from the network: "restart", "disk" (the seed's default), or None where the agent stays."""
        place, boot_id, seq = self.root / "awaited" / self.address, uuid.uuid4().hex, 0
        try:
            order = json.loads((place / "order.json").read_text())
        except FileNotFoundError:
            return "disk"
        kernel = {"time": time.time(), "method": "GET", "uri": "/ramdisks/agent-0123456789ab/vmlinuz", "status": 200}
        with (place / "access.jsonl").open("a") as log:
            log.write(f"{json.dumps(kernel)}\n")
        if self.hangs:
            self.hangs -= 1
            return None
        generation = order["generation"]
        reports = place / "reports" / str(generation) / boot_id
        reports.mkdir(parents=True)

        def report(event: str, msg: str = "", level: str = "info", hop: str = "agent", **data: Any) -> bool:
            """Whether to go on: there is power, and it is not here that this node breaks."""
            nonlocal seq
            while event in self.hold and self.on() and not self._stop.is_set():
                time.sleep(0.02)
            seq += 1
            text = {"event": event, "msg": msg, "level": level, "hop": hop, "data": data}
            path = reports / f".{seq:04d}"
            path.write_text(json.dumps(text))
            path.rename(reports / f"{seq:04d}.json")
            self.told.append(event)
            time.sleep(self.pace)
            return self.on() and event != self.breaks and not self._stop.is_set()

        if not report("agent_started"):
            return None
        if order["action"] == "inspect":
            nics = [{"name": "eth0", "mac": "00:00:5e:00:53:01"}]
            told = {"cpus": 2, "memory_mib": 1024, "firmware": "uefi", "nics": nics}
            told["root_device"] = agent.choice([self.sda], order["root_device"])
            told["disks"] = [asdict(self.sda) | self.look()]
            report("inspected", hop="disk", **told)
            report("rebooting", hop="reboot")
            if order["after"] == "poweroff":
                self.bmc.write("power", 0)
            return None
        if not report("disk_chosen", hop="disk"):
            return None
        if self.disk.get("complete") and self.disk["generation"] == generation:
            return "restart" if report("rebooting", hop="reboot") else None
        if self.holds and order["wipe"]["confirmed"] != self.hash:
            held = [
                {key: getattr(self.sda, key) for key in ("name", "serial", "wwn", "size")} | {"contents": self.holds}
            ]
            refused = {"hints": order["root_device"], "hash": self.hash, "disks": held}
            report("wipe_refused", "disk holds something", "error", "disk", **refused)
            return None
        try:
            os.rename(place / "claim" / str(generation), place / "claimed" / str(generation) / boot_id)
        except FileNotFoundError:
            report("claim_lost", level="error", hop="claim")
            return None
        self.writes += 1
        self.disk = {"generation": generation}
        for event in ("claim_taken", "image_writing", "image_writing", "image_written", "configured"):
            if not report(event, hop="image"):
                self.cut += 1
                return None
        key = host_key()
        keys = [f"{key.get_name()} {key.get_base64()} root@{self.name}"]
        if not report("host_keys", hop="configure", keys=keys):
            self.cut += 1
            return None
        self.holds, self.disk = [], {"generation": generation, "image": order["image"]["name"], "key": key}
        self.disk |= {"complete": True, "files": order["files"]}
        return "restart" if report("rebooting", hop="reboot") else None

    @property
    def sda(self) -> disks.Disk:
        return disks.Disk("sda", "/dev/sda", 2**34, f"S-{self.name}", model="VIRTUAL")

    @property
    def hash(self) -> str:
        return disks.wipe_hash(self.name, self.sda.serial, self.holds)

    def look(self) -> dict[str, Any]:
        """What disks.look would say, for there is no disk to look at."""
        ours = bool(self.disk) and "complete" not in self.disk and not self.holds
        return {"contents": self.holds, "hash": self.hash if self.holds else None, "ours": ours}
