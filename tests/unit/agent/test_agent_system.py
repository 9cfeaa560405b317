# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 the seedcloud.openstack authors
"""The deployed system's files, table and boot order."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import pytest
from agent_image import make_image, run
from seedcloud_agent import system
from seedcloud_agent.errors import AgentError
from seedcloud_agent.order import NodeFile, parse

MIB = 1 << 20
IMAGE = {"name": "i", "url": "/i", "sha256": "a" * 64, "size": MIB, "compressed_size": 1}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "root"
    for folder in ("etc/ssh", "etc/sudoers.d", "home", "run"):
        (root / folder).mkdir(parents=True)
    (root / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\ndebian:x:1000:1001::/home/debian:/bin/sh\n")
    return root


def test_a_file_is_written_whole(root: Path) -> None:
    system.write_file(root, NodeFile("/etc/systemd/network/10-nic0.link", 0o640, "text\n"))
    path = root / "etc/systemd/network/10-nic0.link"
    assert path.read_text() == "text\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


def test_a_link_is_replaced_not_followed(root: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.write_text("mine")
    (root / "etc/hosts").symlink_to(outside)
    system.write_file(root, NodeFile("/etc/hosts", 0o644, "new"))
    assert outside.read_text() == "mine"
    assert (root / "etc/hosts").read_text() == "new" and not (root / "etc/hosts").is_symlink()


def test_a_folder_that_is_a_link_stays_within_the_root(root: Path) -> None:
    (root / "etc/resolvconf").symlink_to("/run/resolv")  # of the deployed system, not of the ramdisk
    (root / "run/resolv").mkdir()
    system.write_file(root, NodeFile("/etc/resolvconf/x", 0o644, "new"))
    assert (root / "run/resolv/x").read_text() == "new"


@pytest.mark.parametrize("target", ["../../outside", "../../../../../tmp"])
def test_no_link_leads_out(root: Path, target: str) -> None:
    (root / "etc/evil").symlink_to(target)
    with pytest.raises(AgentError, match="leads out"):
        system.write_file(root, NodeFile("/etc/evil/x", 0o644, "new"))


def test_a_node_is_configured(root: Path) -> None:
    (root / "etc/ssh/ssh_host_rsa_key").write_text("the build's")
    order = parse({
        "schema": 1, "node": "node1", "generation": 3, "action": "deploy", "fingerprint": "f", "image": IMAGE,
        "files": [{"path": "/etc/hostname", "content": "node1\n"}], "ssh": {"user": "debian", "authorized_keys": ["k1", "k2"]},
    })  # fmt: skip
    keys = system.configure(root, order)
    assert [key.split()[0] for key in keys] == ["ssh-ed25519", "ecdsa-sha2-nistp256"]
    assert not (root / "etc/ssh/ssh_host_rsa_key").exists()
    assert stat.S_IMODE((root / "etc/ssh/ssh_host_ed25519_key").stat().st_mode) == 0o600
    assert (root / "home/debian/.ssh/authorized_keys").read_text() == "k1\nk2\n"
    assert ((root / "home/debian/.ssh").stat().st_uid, stat.S_IMODE((root / "home/debian/.ssh").stat().st_mode)) == (
        1000,
        0o700,
    )
    assert (root / "etc/sudoers.d/90-seedcloud").read_text() == "debian ALL=(ALL:ALL) NOPASSWD: ALL\n"
    assert (root / "etc/machine-id").read_text() == ""
    told = json.loads((root / "etc/seedcloud/image.json").read_text())
    assert (told["name"], told["node"], told["generation"]) == ("i", "node1", 3)
    again = system.configure(root, order)
    assert again != keys  # each deployment is another machine


def test_an_account_that_cannot_be_made(root: Path) -> None:
    with pytest.raises(AgentError, match="chroot"):
        system.account(root, "operator")


def test_root_needs_no_sudo(root: Path) -> None:
    system.authorize(root, "root", ["k"])
    assert (root / "root/.ssh/authorized_keys").read_text() == "k\n"
    assert not (root / "etc/sudoers.d/90-seedcloud").exists()


# -- the table


def test_the_head_makes_the_disk_bootable_and_the_last_partition_large(tmp_path: Path) -> None:
    made = make_image(tmp_path)
    disk, size = tmp_path / "disk", 300 * MIB + 5 * 512
    disk.write_bytes((tmp_path / "mini.raw").read_bytes())
    os.truncate(disk, size)
    head = disk.read_bytes()[:MIB]
    with disk.open("r+b") as stream:
        stream.write(bytes(MIB))
    assert system.write_head(str(disk), head, size) == 3
    run("sfdisk", "--verify", disk)
    table = json.loads(run("sfdisk", "--json", disk))["partitiontable"]
    before = json.loads(run("sfdisk", "--json", tmp_path / "mini.raw"))["partitiontable"]
    assert [part["start"] for part in table["partitions"]] == [part["start"] for part in before["partitions"]]
    assert [part["name"] for part in table["partitions"]] == ["bios", "esp", "root"]
    assert table["id"] != before["id"]
    last = table["partitions"][-1]
    assert (last["start"] + last["size"]) * 512 <= size - MIB
    assert (last["start"] + last["size"]) % 2048 == 0
    assert disk.read_bytes()[:440] == head[:440]
    assert made["size"] < size
    assert system.esp_number(str(disk)) == 2


def test_the_last_partition_is_the_one_that_lies_last() -> None:
    dump = (
        "label: dos\nlabel-id: 0x1\ndevice: /dev/vda\nunit: sectors\n\n"
        "/dev/vda1 : start=        8192, size=        2048, type=83, bootable\n"
        '/dev/vda15 : start=2048, size=2048, type=ef, name="a b", uuid=1-2\n'
    )
    script, last = system.grown_script(dump, 64 * MIB)
    assert last == 1
    assert "1 : start=8192, size=120832, type=83" in script
    assert '15 : start=2048, size=2048, type=ef, name="a b"\n' in script
    assert "label-id" not in script and "uuid" not in script


def test_a_table_without_partitions() -> None:
    with pytest.raises(AgentError, match="no partition"):
        system.grown_script("label: gpt\n", 64 * MIB)


@pytest.mark.parametrize(("disk", "path"), [("/dev/sda", "/dev/sda3"), ("/dev/nvme0n1", "/dev/nvme0n1p3")])
def test_the_names_of_partitions(disk: str, path: str) -> None:
    assert system.partition(disk, 3) == path


# -- UEFI

LISTING = """BootCurrent: 0003
Timeout: 0 seconds
BootOrder: 0000,0003,0001,0002
Boot0000* seedcloud\tHD(2,GPT,5b7e)/\\EFI\\BOOT\\BOOTX64.EFI
Boot0001* UEFI Misc Device\tPciRoot(0x0)/Pci(0x4,0x0)
Boot0002  EFI Internal Shell\tFvVol(7cb8)
Boot0003* UEFI PXEv4 (MAC:52540012)\tPciRoot(0x0)/Pci(0x2,0x0)
"""


def test_the_network_stays_first(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "BootOrder-8be4").touch()
    calls: list[list[str]] = []

    def efibootmgr(argv: list[str], _hop: str, **_: object) -> str:
        calls.append(argv[1:])
        return LISTING

    monkeypatch.setattr(system, "run", efibootmgr)
    assert "PXEv4" in system.firmware_boots("/dev/vda", 2, tmp_path)
    assert ["--quiet", "--delete-bootnum", "--bootnum", "0000"] in calls
    assert ["--quiet", "--bootorder", "0003,0001,0002,0000"] in calls
    assert calls[-1] == ["--quiet", "--bootnext", "0000"]


def test_a_firmware_that_keeps_no_entry(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "BootOrder-8be4").touch()
    monkeypatch.setattr(system, "run", lambda *_, **__: "BootOrder: 0001\nBoot0001* disk\tx\n")
    with pytest.raises(AgentError, match="did not keep"):
        system.firmware_boots("/dev/vda", 2, tmp_path)


def test_bios_has_no_boot_order_of_ours(tmp_path: Path) -> None:
    assert "BIOS" in system.firmware_boots("/dev/vda", 2, tmp_path / "none")
