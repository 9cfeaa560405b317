# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 the seedcloud.openstack authors
"""One boot of the agent, with a file for a disk: what only a kernel can do (partitions, mounts) is stood in for."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from agent_image import make_image, run
from agent_seed import SeedStandIn
from seedcloud_agent import __main__ as agent
from seedcloud_agent import disks, system
from seedcloud_agent.console import Console
from seedcloud_agent.seed import Seed

MIB = 1 << 20


class Node:
    """A machine with one disk and a console that is a file."""

    def __init__(self, folder: Path, stand_in: SeedStandIn) -> None:
        self.disk = disks.Disk("vda", str(folder / "vda"), 128 * MIB, "S1")
        with open(self.disk.path, "wb") as stream:
            stream.truncate(self.disk.size)
        self.screen = folder / "screen"
        self.screen.touch()
        self.left: list[str] = []
        self.stand_in = stand_in
        self.image = make_image(stand_in.files)
        self.root = folder / "root"
        for name in ("etc/ssh", "etc/sudoers.d"):
            (self.root / name).mkdir(parents=True)
        (self.root / "etc/passwd").write_text("debian:x:1000:1000::/home/debian:/bin/sh\n")

    def order(self, generation: int, **more: Any) -> dict[str, Any]:
        return {
            "schema": 1, "node": "node1", "generation": generation, "action": "deploy", "image": self.image,
            "root_device": {"serial": "S1"}, "ssh": {"user": "debian", "authorized_keys": ["k"]},
            "files": [{"path": "/etc/hostname", "content": "node1\n"}], **more,
        }  # fmt: skip

    def boot(self, generation: int, **more: Any) -> list[str]:
        self.stand_in.reports.clear()
        self.stand_in.put_order(self.order(generation, **more))
        seed = Seed(self.stand_in.url, os.urandom(16).hex())
        agent.take_order(seed, Console([str(self.screen)]), 0)
        return [event for event in self.stand_in.events() if event != "image_writing"]


@pytest.fixture
def node(tmp_path: Path, stand_in: SeedStandIn, monkeypatch: pytest.MonkeyPatch) -> Node:
    node = Node(tmp_path, stand_in)

    def grow(disk: str, number: int) -> str:
        """The real tools on a copy of the partition, in place of the kernel's view of it."""
        part = json.loads(run("sfdisk", "--json", disk))["partitiontable"]["partitions"][number - 1]
        path = tmp_path / "part"
        path.unlink(missing_ok=True)
        run("dd", f"if={disk}", f"of={path}", "bs=512", f"skip={part['start']}", f"count={part['size']}", "status=none")
        monkeypatch.setattr(system, "partition", lambda *_: str(path))
        return real_grow(disk, number)

    @contextmanager
    def mounted(_device: str, _target: Path) -> Iterator[Path]:
        yield node.root

    real_grow = system.grow
    monkeypatch.setattr(disks, "find", lambda: [node.disk])
    monkeypatch.setattr(system, "grow", grow)
    monkeypatch.setattr(system, "reread", lambda _: None)
    monkeypatch.setattr(system, "settle", lambda: None)
    monkeypatch.setattr(system, "mounted", mounted)
    monkeypatch.setattr(system, "firmware_boots", lambda *_: "BIOS")
    monkeypatch.setattr(agent, "leave", lambda after, _console: node.left.append(after))
    return node


DEPLOYED = [
    "agent_started",
    "inspected",
    "disk_chosen",
    "claim_taken",
    "image_written",
    "configured",
    "host_keys",
    "rebooting",
]


def test_a_node_is_deployed(node: Node) -> None:
    assert node.boot(1) == DEPLOYED
    assert node.left == ["reboot"]
    assert (node.root / "etc/hostname").read_text() == "node1\n"
    mark = disks.read_mark(node.disk.path, node.disk.size)
    assert mark and (mark.state, mark.generation, mark.image) == ("complete", 1, "mini")
    assert "image_written" in node.screen.read_text()
    assert "seedcloud ERROR" not in node.screen.read_text()


def test_the_same_generation_again_only_restarts(node: Node) -> None:
    node.boot(1)
    assert node.boot(1) == ["agent_started", "inspected", "disk_chosen", "rebooting"]
    assert len(node.left) == 2


def test_the_next_generation_needs_a_confirmation(node: Node) -> None:
    node.boot(1)
    assert node.boot(2) == ["agent_started", "inspected", "disk_chosen", "wipe_refused", "failed"]
    wanted = node.stand_in.reports[-2]["data"]["hash"]
    assert not any("/2/" in path for path in node.stand_in.claimed)
    assert node.boot(3, wipe={"confirmed": wanted}) == DEPLOYED


def test_a_corrupt_image_is_told_and_mended(node: Node) -> None:
    good = dict(node.image)
    node.image["sha256"] = "0" * 64
    assert node.boot(1)[-2:] == ["image_corrupt", "failed"]
    assert not Path(node.disk.path).read_bytes()[:MIB].strip(b"\0")
    node.image = good
    assert node.boot(2) == DEPLOYED
    assert "our own half" in next(r["msg"] for r in node.stand_in.reports if r["event"] == "claim_taken")


@pytest.mark.parametrize("step", ["grow", "configure"])
def test_a_cut_after_the_image_is_still_ours(node: Node, step: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as broken:
        broken.setattr(system, step, lambda *_: 1 / 0)
        assert node.boot(1)[-1] == "failed"
        assert "ZeroDivisionError" in node.stand_in.reports[-1]["msg"]
        assert node.stand_in.reports[-1]["data"]["trace"]
    assert node.boot(2) == DEPLOYED


def test_a_claim_that_another_has(node: Node) -> None:
    node.stand_in.put_order(node.order(1))
    node.stand_in.claims.clear()
    seed = Seed(node.stand_in.url, "0" * 32)
    assert agent.take_order(seed, Console([]), 0) == 1
    assert node.stand_in.events()[-2:] == ["claim_lost", "failed"]
    assert not Path(node.disk.path).read_bytes().strip(b"\0")


def test_a_disk_that_is_too_small(node: Node) -> None:
    node.image["size"] = 1 << 40
    assert node.boot(1)[-2:] == ["disk_refused", "failed"]


def test_an_inspection_touches_nothing(node: Node) -> None:
    assert node.boot(1, action="inspect", after="poweroff") == ["agent_started", "inspected", "rebooting"]
    assert node.left == ["poweroff"]
    told = node.stand_in.reports[1]["data"]
    assert told["disks"][0]["serial"] == "S1" and told["memory_mib"] > 0
    assert told["root_device"] == {"hints": {"serial": "S1"}, "disk": "vda"}
    assert not Path(node.disk.path).read_bytes().strip(b"\0")


def test_an_inspection_foretells_the_refusal_and_its_hash(node: Node) -> None:
    node.boot(1)
    assert all("contents" not in disk for disk in node.stand_in.reports[1]["data"]["disks"])  # nobody asked
    node.boot(2, action="inspect", root_device={"serial": "X"})
    told = node.stand_in.reports[1]["data"]
    assert told["root_device"]["fault"].startswith("no disk has serial 'X'. Disks of this node: vda")
    node.boot(3)
    refused = node.stand_in.reports[-2]["data"]
    assert refused["hints"] == {"serial": "S1"}
    assert (told["disks"][0]["contents"], told["disks"][0]["hash"]) == (
        refused["disks"][0]["contents"],
        refused["hash"],
    )
    assert node.boot(4, wipe={"confirmed": told["disks"][0]["hash"]}) == DEPLOYED


def test_a_report_of_many_disks_keeps_what_is_chosen(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    many = [replace(node.disk, name=f"sd{n}", serial=f"S{n}") for n in range(100)]
    contents = [f"part{n}: ext4 label=data uuid=01234567-89ab-cdef" for n in range(20)]
    monkeypatch.setattr(disks, "find", lambda: many)
    monkeypatch.setattr(disks, "contents", lambda *_: contents)
    node.boot(1, action="inspect")
    told = node.stand_in.reports[1]["data"]["disks"]
    assert len(told) == 100
    assert told[1]["contents"] == contents
    assert told[2]["fault"] == "too much for one report"


def test_an_action_that_is_not_known(node: Node) -> None:
    assert node.boot(1, action="clean")[-1] == "failed"
    assert "cannot carry out 'clean'" in node.stand_in.reports[-1]["msg"]


def test_an_order_is_dealt_with_once(node: Node) -> None:
    seed = Seed(node.stand_in.url, "0" * 32)
    console = Console([str(node.screen)])
    assert agent.take_order(seed, console, 0) is None  # nothing is awaited
    node.stand_in.put_order({"generation": 4})
    assert agent.take_order(seed, console, 0) == 0
    assert "names no node" in node.screen.read_text()
    node.stand_in.put_order(node.order(4, root_device={"serial": "X"}))
    assert agent.take_order(seed, console, 0) == 4
    asked = len(node.stand_in.requests)
    assert agent.take_order(seed, console, 4) == 4
    assert len(node.stand_in.requests) == asked + 1  # it only looked


def test_a_boot_that_nobody_awaits_is_given_back_to_the_disk(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """And one whose order failed is not: it shows why."""
    monkeypatch.setattr(agent, "POLL", 0.01)
    monkeypatch.setattr(agent, "LET_GO", 0.05)
    console = Console([str(node.screen)])
    agent.serve(Seed(node.stand_in.url, "0" * 32), console)
    assert node.left == ["reboot"]
    assert "nobody awaits this boot" in node.screen.read_text()

    node.stand_in.put_order(node.order(4, root_device={"serial": "X"}))
    answers, asked = [node.order(4, root_device={"serial": "X"})] + [None] * 20, 0

    def order(_seed: Seed) -> dict[str, Any] | None:
        nonlocal asked
        asked += 1
        if not answers:
            raise KeyboardInterrupt
        return answers.pop(0)

    monkeypatch.setattr(Seed, "order", order)
    with pytest.raises(KeyboardInterrupt):
        agent.serve(Seed(node.stand_in.url, "1" * 32), console)
    assert (asked, node.left) == (22, ["reboot"])


def test_a_malformed_order_is_told(node: Node) -> None:
    assert node.boot(1, files=[{"path": "../x", "content": ""}]) == ["failed"]
    assert node.stand_in.reports[0]["hop"] == "agent"


def test_the_kernels_command_line() -> None:
    assert agent.arguments("quiet seedcloud.url=http://192.0.2.1:80 BOOTIF=01-00") == {
        "quiet": "", "seedcloud.url": "http://192.0.2.1:80", "BOOTIF": "01-00",
    }  # fmt: skip


def test_progress_is_told_now_and_then(stand_in: SeedStandIn) -> None:
    told: list[tuple[str, int]] = []

    def report(event: str, _msg: str, *, hop: str, **data: int) -> None:
        told.append((f"{event} {hop}", data["bytes"]))

    progress = agent.Progress(report, 10 * MIB, every=0)  # type: ignore[arg-type]  # a stand-in for Reports
    progress(MIB)
    progress(2 * MIB)
    patient = agent.Progress(report, 10 * MIB, every=60)  # type: ignore[arg-type]  # as above
    patient(MIB)
    assert told == [("image_writing image", MIB), ("image_writing image", 2 * MIB)]
