# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 the seedcloud.openstack authors
"""Which disk is meant, and whether it may be written."""

from __future__ import annotations

import json
import subprocess
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from seedcloud_agent import disks
from seedcloud_agent.errors import AgentError
from seedcloud_agent.order import Order, parse

MIB = 1 << 20
SDA = disks.Disk("sda", "/dev/sda", 480 << 30, "S3Z8NX0K", "0x5002538e40b1", "SAMSUNG MZ7", "ATA", False, False,
                 ("/dev/disk/by-path/pci-0000:00:1f.2-ata-1",))  # fmt: skip
SDB = replace(SDA, name="sdb", path="/dev/sdb", serial="S3Z8NX0L", wwn="0x5002538e40b2", by_path=())
HDD = disks.Disk("sdc", "/dev/sdc", 4000 << 30, "WD-1", "", "WDC", "ATA", True)
RACK = [SDA, SDB, HDD]


@pytest.mark.parametrize(
    ("hints", "name"),
    [
        ({"serial": "S3Z8NX0K"}, "sda"),
        ({"serial": "s3z8nx0l"}, "sdb"),
        ({"wwn": "5002538E40B2"}, "sdb"),
        ({"wwn": "0x5002538e40b1"}, "sda"),
        ({"by_path": "pci-0000:00:1f.2-ata-1"}, "sda"),
        ({"by_path": "/dev/disk/by-path/pci-0000:00:1f.2-ata-1"}, "sda"),
        ({"name": "sdb"}, "sdb"),
        ({"name": "/dev/sdc"}, "sdc"),
        ({"model": "WDC"}, "sdc"),
        ({"size_gib": 4000}, "sdc"),
        ({"rotational": True}, "sdc"),
        ({"vendor": "ata", "rotational": False, "serial": "S3Z8NX0K"}, "sda"),
    ],
)
def test_hints_name_one_disk(hints: dict[str, Any], name: str) -> None:
    assert disks.choose(RACK, hints).name == name


@pytest.mark.parametrize(
    ("hints", "words"),
    [
        ({}, "no root device hint"),
        ({"serial": "X"}, "no disk has serial 'X'"),
        ({"serial": "S3Z8NX0K", "rotational": True}, "no disk has"),
        ({"model": "SAMSUNG MZ7"}, "sda, sdb all have"),
        ({"size_gib": 480}, "sda, sdb all have"),
    ],
)
def test_there_is_no_guess(hints: dict[str, Any], words: str) -> None:
    with pytest.raises(AgentError, match=words) as caught:
        disks.choose(RACK, hints)
    assert (caught.value.hop, caught.value.event) == ("disk", "disk_refused")
    assert "S3Z8NX0L" in caught.value.msg  # the operator sees what there is
    assert len(caught.value.data["disks"]) == 3


def test_no_disk_at_all() -> None:
    with pytest.raises(AgentError, match="none at all"):
        disks.choose([], {"serial": "X"})


def test_a_read_only_disk_is_refused() -> None:
    with pytest.raises(AgentError, match="read-only"):
        disks.choose([replace(SDA, read_only=True)], {"name": "sda"})


def test_lsblk_is_read() -> None:
    listed = {"blockdevices": [
        {"name": "sda", "path": "/dev/sda", "type": "disk", "size": 1000, "serial": " S1 ", "wwn": None, "model": "M",
         "vendor": None, "rota": True, "ro": False},
        {"name": "sr0", "path": "/dev/sr0", "type": "rom", "size": 1000, "serial": None, "wwn": None, "model": None,
         "vendor": None, "rota": True, "ro": False},
        {"name": "sdb", "path": "/dev/sdb", "type": "disk", "size": 0, "serial": None, "wwn": None, "model": None,
         "vendor": None, "rota": True, "ro": False},
        {"name": "zram0", "path": "/dev/zram0", "type": "disk", "size": 5, "serial": None, "wwn": None, "model": None,
         "vendor": None, "rota": False, "ro": False},
    ]}  # fmt: skip
    (only,) = disks.parse_lsblk(json.dumps(listed), {"/dev/sda": ["b", "a"]})
    assert only == disks.Disk("sda", "/dev/sda", 1000, "S1", "", "M", "", True, False, ("a", "b"))


def test_this_machine_is_read() -> None:
    assert all(disk.size > 0 and disk.path.startswith("/dev/") for disk in disks.find())


# -- contents


@pytest.fixture
def device(tmp_path: Path) -> disks.Disk:
    path = tmp_path / "disk"
    with path.open("wb") as stream:
        stream.truncate(64 * MIB)
    return disks.Disk("disk", str(path), 64 * MIB, "S1")


def the_order(**more: Any) -> Order:
    return parse({"schema": 1, "node": "node1", "generation": 2, "action": "inspect", **more})


def put(device: disks.Disk, offset: int, data: bytes) -> None:
    with open(device.path, "r+b") as stream:
        stream.seek(offset)
        stream.write(data)


def test_an_empty_disk(device: disks.Disk) -> None:
    assert disks.contents(device.path, device.size) == []
    assert disks.admit(the_order(), device) == ([], None)


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (["mke2fs", "-q", "-t", "ext4", "-L", "data"], ["ext4 label=data uuid="]),
        (["mkswap", "-q", "-L", "sw"], ["swap label=sw uuid="]),
        (["sfdisk", "-q", "--label", "gpt"], ["gpt", "PMBR"]),
    ],
)
def test_every_signature_is_somebodys(device: disks.Disk, command: list[str], words: list[str]) -> None:
    subprocess.run([*command, device.path], input=b",\n", check=True, capture_output=True)
    found = disks.contents(device.path, device.size)
    assert all(any(text.startswith(word) for text in found) for word in words)


@pytest.mark.parametrize(("offset", "words"), [(1000, "first"), (64 * MIB - 1, "last")])
def test_data_without_a_signature_is_somebodys(device: disks.Disk, offset: int, words: str) -> None:
    put(device, offset, b"x")
    assert disks.contents(device.path, device.size) == [f"data in the {words} MiB"]


def test_the_hash_confirms_these_contents_only(device: disks.Disk) -> None:
    put(device, 5, b"x")
    with pytest.raises(AgentError) as caught:
        disks.admit(the_order(), device)
    error = caught.value
    assert (error.event, error.hop) == ("wipe_refused", "disk")
    assert error.data["disks"][0]["contents"] == ["data in the first MiB"]
    assert error.data["hash"] in error.msg
    assert disks.look("node1", device)["hash"] == error.data["hash"]  # an inspection confirms the same
    assert error.data["hash"] == disks.wipe_hash("node1", "S1", ["data in the first MiB"])
    confirmed = the_order(wipe={"confirmed": error.data["hash"]})
    assert disks.admit(confirmed, device)[0] == ["data in the first MiB"]
    for wrong in (replace(device, serial="S2"), device):
        order = confirmed if wrong.serial == "S2" else the_order(wipe={"confirmed": "true"})
        with pytest.raises(AgentError):
            disks.admit(order, wrong)


def test_an_inspection_tells_of_each_disk_for_itself(device: disks.Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    names = ("empty", "full", "ours", "broken", "hangs")
    empty, full, ours, broken, hangs = rack = [replace(device, name=name, path=device.path + name) for name in names]
    for disk in (empty, full, ours):
        Path(disk.path).write_bytes(Path(device.path).read_bytes())
    put(full, 5, b"x")
    disks.write_mark(ours.path, ours.size, disks.Mark("node1", "S1", 1, "i", "writing"))
    before = [Path(disk.path).read_bytes() for disk in (empty, full, ours)]
    held, end = disks.held, threading.Event()

    def slow(node: str, disk: disks.Disk) -> tuple[list[str], disks.Mark | None]:
        if disk == hangs:
            end.wait(60)
        return held(node, disk)

    monkeypatch.setattr(disks, "held", slow)
    told = disks.look_at_all("node1", rack, patience=2)
    end.set()
    assert told["empty"] == {"contents": [], "hash": None, "ours": False}
    assert told["ours"] == {"contents": [], "hash": None, "ours": True}
    assert told["full"]["contents"] == ["data in the first MiB"]
    assert told["full"]["hash"] == disks.wipe_hash("node1", "S1", told["full"]["contents"])
    assert "No such file" in told["broken"]["fault"] and broken.path in told["broken"]["fault"]
    assert told["hangs"] == {"fault": "it did not answer within 2 s"}
    assert [Path(disk.path).read_bytes() for disk in (empty, full, ours)] == before


def test_partitions_are_asked_too(tmp_path: Path) -> None:
    for name, number in (("sda10", 10), ("sda2", 2)):
        (tmp_path / "sda" / name).mkdir(parents=True)
        (tmp_path / "sda" / name / "partition").write_text(f"{number}\n")
    assert disks.partitions("/dev/sda", tmp_path) == ["/dev/sda2", "/dev/sda10"]
    assert disks.partitions("/dev/sdb", tmp_path) == []


# -- our own half


def test_what_we_began_is_ours(device: disks.Disk) -> None:
    mark = disks.Mark("node1", "S1", 1, "i", "writing")
    disks.write_mark(device.path, device.size, mark)
    put(device, 5 * MIB, b"half an image")
    assert disks.read_mark(device.path, device.size) == mark
    assert disks.admit(the_order(), device) == ([], mark)


@pytest.mark.parametrize(
    "change", [{"node": "node2"}, {"serial": "S2"}, {"state": "complete"}], ids=["node", "serial", "complete"]
)
def test_what_another_began_or_we_finished_is_not(device: disks.Disk, change: dict[str, str]) -> None:
    disks.write_mark(device.path, device.size, replace(disks.Mark("node1", "S1", 1, "i", "writing"), **change))
    with pytest.raises(AgentError, match="data in the last MiB"):
        disks.admit(the_order(), device)


def test_somebody_elses_table_before_our_mark_is_theirs(device: disks.Disk) -> None:
    disks.write_mark(device.path, device.size, disks.Mark("node1", "S1", 1, "i", "writing", head="0" * 64))
    subprocess.run(["mke2fs", "-q", "-F", device.path, "30M"], check=True)
    with pytest.raises(AgentError, match="ext2"):
        disks.admit(the_order(), device)


@pytest.mark.parametrize("block", [b"", b"{", b"[]", b'{"magic": "x"}', b'{"magic": "seedcloud-mark-1"}', b"\xff"])
def test_what_is_no_mark(device: disks.Disk, block: bytes) -> None:
    put(device, device.size - MIB, block)
    assert disks.read_mark(device.path, device.size) is None
