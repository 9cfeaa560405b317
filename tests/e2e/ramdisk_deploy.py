# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 the seedcloud.openstack authors
"""The agent in its ramdisk, on a real machine with real disks, against a seed that is slow, wrong or away.

pytest tests/e2e/ramdisk_deploy.py       (`make machines` runs it; with the ramdisk that the lab has built or kept)
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from agent_image import make_image, run
from ramdisk_rig import Machine, SeedStandIn, empty_disk, newest_ramdisk, order, powered

GIB = 1 << 30
BOOT = 120  # seconds; the machine is emulated and shares two cores


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[SeedStandIn, dict[str, Any]]]:
    files = tmp_path / "http"
    files.mkdir()
    image = make_image(files)
    seed = SeedStandIn(files)
    yield seed, image
    seed.close()


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path, newest_ramdisk(), {"S1": empty_disk(tmp_path / "disk.raw", 2 * GIB)})


def partitions(disk: Path) -> list[dict[str, Any]]:
    table: list[dict[str, Any]] = json.loads(run("sfdisk", "--json", disk))["partitiontable"]["partitions"]
    return table


def read_root(disk: Path, path: str) -> str:
    last = partitions(disk)[-1]
    return run("debugfs", "-R", f"cat {path}", f"{disk}?offset={last['start'] * 512}")


def test_a_node_is_deployed(served: tuple[SeedStandIn, dict[str, Any]], machine: Machine) -> None:
    seed, image = served
    keys = ["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA operator"]
    seed.put_order(order(1, image, ssh={"user": "debian", "authorized_keys": keys}))
    with powered(machine, seed):
        seed.wait("rebooting", BOOT)
        machine.wait_off(30)
    assert [event for event in seed.events() if event != "image_writing"] == [
        "agent_started", "inspected", "disk_chosen", "claim_taken", "image_written", "configured", "host_keys", "rebooting",
    ]  # fmt: skip
    assert [report["seq"] for report in seed.reports] == list(range(1, len(seed.reports) + 1))

    disk = machine.disks["S1"]
    run("sfdisk", "--verify", disk)
    table = partitions(disk)
    assert (table[-1]["start"] + table[-1]["size"]) * 512 == 2 * GIB - (1 << 20)
    assert disk.read_bytes()[:8] == b"BOOTCODE"
    assert {part["uuid"] for part in table}.isdisjoint(part["uuid"] for part in partitions(seed.files / "mini.raw"))
    run("e2fsck", "-f", "-n", f"{disk}?offset={table[-1]['start'] * 512}")
    assert read_root(disk, "/etc/hostname") == "node1\n"
    assert read_root(disk, "/home/debian/.ssh/authorized_keys") == keys[0] + "\n"
    assert json.loads(read_root(disk, "/etc/seedcloud/image.json"))["name"] == "mini"
    told = next(report for report in seed.reports if report["event"] == "host_keys")["data"]["keys"]
    assert read_root(disk, "/etc/ssh/ssh_host_ed25519_key.pub").split()[:2] == told[0].split()


def test_contents_are_kept_until_their_hash_is_given(
    served: tuple[SeedStandIn, dict[str, Any]], machine: Machine
) -> None:
    seed, image = served
    subprocess.run(["mke2fs", "-q", "-t", "ext4", "-L", "precious", machine.disks["S1"]], check=True)
    before = machine.disks["S1"].read_bytes()[: 1 << 20]
    seed.put_order(order(1, image))
    with powered(machine, seed):
        seed.wait("failed", BOOT)
        refused = seed.wait("failed", 1) and next(
            report for report in seed.reports if report["event"] == "wipe_refused"
        )
        assert any("ext4" in text and "precious" in text for text in refused["data"]["disks"][0]["contents"])
        assert not seed.claimed
        assert machine.disks["S1"].read_bytes()[: 1 << 20] == before
        seed.reports.clear()
        seed.put_order(order(2, image, wipe={"confirmed": refused["data"]["hash"]}))
        seed.wait("rebooting", BOOT)
        machine.wait_off(30)


def test_a_corrupt_image_does_not_boot_and_the_next_order_mends_it(
    served: tuple[SeedStandIn, dict[str, Any]], machine: Machine
) -> None:
    seed, image = served
    seed.put_order(order(1, image | {"sha256": "0" * 64}))
    with powered(machine, seed):
        seed.wait("failed", BOOT)
        assert "image_corrupt" in seed.events()
        seed.reports.clear()
        seed.put_order(order(2, image))
        claim = seed.wait("claim_taken", 60)
        assert "our own half" in claim["msg"]
        seed.wait("rebooting", 60)
        machine.wait_off(30)


def test_a_power_cut_in_the_middle_costs_no_confirmation(
    served: tuple[SeedStandIn, dict[str, Any]], machine: Machine
) -> None:
    seed, image = served

    def hang(_http: Any) -> bool:  # the write has begun; the machine is switched off before a byte comes
        machine.stop()
        return True

    seed.faults["GET /mini.raw.zst"] = [hang]
    seed.put_order(order(1, image))
    with powered(machine, seed):
        seed.wait("claim_taken", BOOT)
        machine.wait_off(60)
    assert not machine.disks["S1"].read_bytes()[: 1 << 20].strip(b"\0")
    seed.reports.clear()
    seed.put_order(order(2, image))
    with powered(machine, seed):
        seed.wait("rebooting", BOOT)
        machine.wait_off(30)


def test_no_guess_among_disks(served: tuple[SeedStandIn, dict[str, Any]], machine: Machine, tmp_path: Path) -> None:
    seed, image = served
    machine.disks["S2"] = empty_disk(tmp_path / "second.raw", 2 * GIB)
    seed.put_order(order(1, image, root_device={"size_gib": 2}))
    with powered(machine, seed):
        for generation, hints, words in (
            (1, {"size_gib": 2}, "vda, vdb all have"),
            (2, {"serial": "S9"}, "no disk has"),
            (3, {}, "no root device hint"),
        ):
            seed.put_order(order(generation, image, root_device=hints))
            told = seed.wait("failed", BOOT)
            assert told["hop"] == "disk" and words in told["msg"]
            assert "disk_refused" in seed.events()
            assert not seed.claimed
            seed.reports.clear()
