# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 the seedcloud.openstack authors
"""From an empty disk to SSH: the real ramdisk, agent and golden image, by BIOS and by UEFI, over a NIC and over a bond.

pytest -s tests/e2e/ramdisk_golden.py       (`make machines` runs it; with what the lab has built or kept)
"""

from __future__ import annotations

import json
import shlex
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from agent_image import run
from ansible_collections.seedcloud.openstack.plugins.plugin_utils._inventory.files import network_files, node_links
from ansible_collections.seedcloud.openstack.plugins.plugin_utils._inventory.networks import network_map
from ramdisk_rig import Machine, SeedStandIn, empty_disk, newest_image, newest_ramdisk, order, powered, serve_image

GIB = 1 << 30
# QEMU's own network, which forwards a port to the first of its addresses.
NETWORKS = {"provisioning": {"cidr": "10.0.2.0/24", "gateway": "10.0.2.2"}}
ADDRESS = "10.0.2.15"


@pytest.fixture
def golden() -> Path:
    return newest_image()


@pytest.fixture
def seed(golden: Path) -> Iterator[SeedStandIn]:
    stand_in = SeedStandIn(golden.parents[1])
    yield stand_in
    stand_in.close()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def ssh(machine: Machine, command: str, known_hosts: Path, key: Path) -> str:
    options = ["BatchMode=yes", "ConnectTimeout=5", f"UserKnownHostsFile={known_hosts}", "StrictHostKeyChecking=yes"]
    argv = [
        "ssh",
        "-F",
        "none",
        "-i",
        key,
        "-p",
        str(machine.forward),
        *(f"-o{option}" for option in options),
        "debian@127.0.0.1",
    ]
    return run(*argv, command)


def lose_each_nic(on_node: Callable[[str], str]) -> None:
    """A bond goes on with the NIC that is left, whichever that is."""
    for lost, left in (("nic0", "nic1"), ("nic1", "nic0")):
        on_node(f"sudo ip link set {lost} down")
        assert on_node("cat /sys/class/net/bond0/bonding/active_slave") == f"{left}\n"
        on_node(f"sudo ip link set {lost} up")
        states = f"cat /sys/class/net/{lost}/bonding_slave/mii_status"
        assert on_node(f"timeout 30 sh -c 'until {states} | grep -qx up; do sleep 0.2; done'; {states}") == "up\n"


def networked(macs: list[str], link: str) -> list[dict[str, str]]:
    """A node's network files, as the collection makes them of an inventory."""
    nics = {f"nic{number}": {"mac": mac} for number, mac in enumerate(macs)}
    node = {
        "node_nics": nics,
        "node_bonds": {} if link in nics else {link: {"nics": list(nics), "mode": "active-backup"}},
        "node_networks": {"provisioning": {"link": link, "address": ADDRESS}},
    }
    return network_files(node_links(node, network_map(NETWORKS)))


@pytest.mark.parametrize(("firmware", "link"), [("bios", "nic0"), ("uefi", "bond0")])
def test_from_an_empty_disk_to_ssh(firmware: str, link: str, seed: SeedStandIn, golden: Path, tmp_path: Path) -> None:
    name = golden.name.removesuffix(".raw.zst")
    image = serve_image(seed.files, golden.with_name(f"{name}.json"))
    disk = empty_disk(tmp_path / "disk.raw", 20 * GIB)
    key = tmp_path / "key"
    run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key)
    nics = 2 if link == "bond0" else 1
    machine = Machine(tmp_path, newest_ramdisk(), {"S1": disk}, uefi=firmware == "uefi", nics=nics, forward=free_port())
    files = [
        {"path": "/etc/hostname", "mode": "0644", "content": "node1\n"},
        *networked(machine.macs, link),
    ]
    keys = [key.with_suffix(".pub").read_text().strip()]
    seed.put_order(order(1, image, files=files, ssh={"user": "debian", "authorized_keys": keys}))
    start = time.monotonic()
    with powered(machine, seed):
        seed.wait("agent_started", 400)
        agent = time.monotonic() - start
        seed.wait("rebooting", 1200)
        machine.wait_off(60)
    written = time.monotonic() - start
    told = {report["event"]: report for report in seed.reports}
    print(
        f"\n{firmware}: agent after {agent:.0f} s; {told['image_written']['msg']}; {told['rebooting']['msg']}; off after {written:.0f} s"
    )

    machine.memory = 4096
    known = tmp_path / "known_hosts"
    known.write_text("".join(f"[127.0.0.1]:{machine.forward} {line}\n" for line in told["host_keys"]["data"]["keys"]))
    start = time.monotonic()
    with powered(machine, None):
        while True:
            try:
                ssh(machine, "true", known, key)
                break
            except subprocess.CalledProcessError as error:
                if time.monotonic() - start > 600:
                    raise AssertionError(error.stderr) from error
                time.sleep(1)
        print(f"{firmware}: SSH {time.monotonic() - start:.0f} s after power-on")
        assert ssh(machine, "hostname", known, key) == "node1\n"
        assert json.loads(ssh(machine, "cat /etc/seedcloud/image.json", known, key))["name"] == name
        assert int(ssh(machine, "df -B1 --output=size / | tail -1", known, key)) > 18 * GIB
        address = json.loads(ssh(machine, f"ip -json address show dev {link}", known, key))[0]
        assert [each["local"] for each in address["addr_info"]] == [ADDRESS]
        if link == "bond0":
            lose_each_nic(lambda command: ssh(machine, command, known, key))
        assert len(ssh(machine, "cat /etc/machine-id", known, key)) == 33
        ssh(machine, "sudo true", known, key)
        states = ssh(machine, "systemctl list-units --state=running --type=service --plain --no-legend", known, key)
        allowed = {"dbus", "getty@tty1", "serial-getty@ttyS0", "ssh", "systemd-journald", "systemd-logind", "systemd-networkd",
                   "systemd-timesyncd", "systemd-udevd", "polkit", "user@1000", "systemd-userdbd"}  # fmt: skip
        running = {line.split()[0].removesuffix(".service") for line in states.splitlines()}
        assert running <= allowed, running - allowed
        failed = ssh(machine, "systemctl list-units --failed --plain --no-legend", known, key)
        assert not failed, failed
        told_firmware = ssh(machine, "test -d /sys/firmware/efi && echo uefi || echo bios", known, key)
        assert told_firmware == f"{firmware}\n"
        print(shlex.join(["boot:", ssh(machine, "systemd-analyze time | head -1", known, key).strip()]))
