# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 the seedcloud.openstack authors
"""node_wait against real journals: what it prints while it waits, and what it says of nodes that stop."""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible.errors import AnsibleActionFail, AnsibleConnectionFailure
from ansible_collections.seedcloud.openstack.plugins.action import node_wait
from ansible_collections.seedcloud.openstack.plugins.module_utils._journal import store
from ansible_collections.seedcloud.openstack.plugins.module_utils._journal.events import make_event
from ansible_collections.seedcloud.openstack.plugins.module_utils._journal.follow import append_events, follow

BOOT = "ab" * 16


class Seed:
    """The seed's side of the action, in this process."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.calls: list[dict[str, Any]] = []
        self.broken: list[Any] = []

    def order(self, name: str, generation: int = 1) -> None:
        folder = self.root / "nodes" / name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "order.json").write_text(json.dumps({"generation": generation}))
        self.tell(name, "ordered", generation)

    def tell(self, name: str, event: str, generation: int = 1, level: str = "info", msg: str = "") -> None:
        told = make_event(time.time(), name, generation, "ansible", event, level=level, hop="disk", msg=msg)
        store.append(self.root, name, [told])

    def report(self, name: str, number: int, **report: Any) -> None:
        folder = self.root / "nodes" / name / "reports" / "1" / BOOT
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{number:04d}.json").write_text(json.dumps(report))

    def module(self, module_name: str, module_args: dict[str, Any], task_vars: dict[str, Any]) -> dict[str, Any]:
        assert module_name == "seedcloud.openstack.node_journal"
        self.calls.append(module_args)
        if self.broken:
            broken = self.broken.pop(0)
            if isinstance(broken, Exception):
                raise broken
            return dict(broken)
        defaults = {"source": "ansible", "data": {}}
        nodes = append_events(self.root, [{**defaults, **item} for item in module_args.get("append", [])], False)
        wanted, wait = module_args.get("nodes", []), min(module_args.get("wait", 0), 0.3)
        return {"nodes": follow(self.root, wanted, wait, 0.05, results=nodes, alive=lambda _name: None)}


@pytest.fixture
def seed(tmp_path: Path) -> Seed:
    return Seed(tmp_path)


@pytest.fixture
def printed(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    lines: list[str] = []
    monkeypatch.setattr(node_wait.display, "display", lambda text, **_more: lines.append(text))
    monkeypatch.setattr(node_wait.display, "warning", lambda text, **_more: lines.append(text))
    return lines  # type: ignore[return-value]  # a fixture that needs no end


def wait(seed: Seed, check_mode: bool = False, **args: Any) -> dict[str, Any]:
    args = {"until": ["rebooting"], "timeout": 20, "silence": 20, "poll": 1, "root": str(seed.root), **args}
    task = SimpleNamespace(args=args, check_mode=check_mode, async_val=0, action="node_wait", diff=False)
    connection = SimpleNamespace(_shell=SimpleNamespace(tmpdir=None))
    action = node_wait.ActionModule(task, connection, SimpleNamespace(), None, None, None)
    action._execute_module = seed.module
    return action.run(task_vars={})


def test_prints_live_and_ends_each_node_for_itself(seed: Seed, printed: list[str]) -> None:
    for name in ("node1", "node2", "node3"):
        seed.order(name)
    seed.report("node1", 1, event="image_writing", hop="image", msg="1.2 of 3.2 GB")
    seed.report("node1", 2, event="image_writing", hop="image", msg="1.3 of 3.2 GB")
    seed.report("node2", 1, event="disk_refused", level="error", hop="disk", msg="no disk has serial X")
    seen_while_waiting: list[str] = []

    def later() -> None:
        seen_while_waiting.extend(printed)
        seed.report("node1", 3, event="rebooting", hop="reboot")
        seed.tell("node3", "withdrawn")

    threading.Timer(1, later).start()
    told = wait(seed, nodes=[{"name": f"node{n}", "generation": 1} for n in (1, 2, 3)])
    assert {name: node["code"] for name, node in told["nodes"].items()} == {
        "node1": "reached",
        "node2": "failed",
        "node3": "withdrawn",
    }
    assert (told["failed_nodes"], told["changed"]) == (["node2", "node3"], False)
    assert told["nodes"]["node1"]["trail"] == ["ordered", "image_writing", "rebooting"]
    assert told["nodes"]["node2"]["msg"] == "disk_refused at hop disk: no disk has serial X"
    assert told["nodes"]["node2"]["event"]["event"] == "disk_refused"
    assert any("+0s  image_writing     1.2 of 3.2 GB" in text for text in seen_while_waiting)
    assert not any("1.3 of 3.2 GB" in text for text in printed), "one line of a write is enough for some time"


def test_silence_names_the_hop_and_ends_the_generation(seed: Seed, printed: list[str]) -> None:
    seed.order("node1")
    seed.tell("node1", "powered_on")
    told = wait(seed, nodes=[{"name": "node1"}], silence=1)["nodes"]["node1"]
    assert (told["code"], told["hop"], told["last_event"]) == ("timeout", "dhcp", "powered_on")
    assert "journalctl -u seedcloud-dnsmasq" in told["msg"]
    assert told["msg"] in printed[-1]
    last = store.history(seed.root, "node1", 1)[-1]
    assert (last["event"], last["level"], last["hop"]) == ("failed", "error", "dhcp")


def test_a_boot_that_hangs_is_told_from_a_node_that_never_came(seed: Seed, printed: list[str]) -> None:
    """Only between DHCP and the first report is so little silence too much, and something to try once more."""
    for name, events in {
        "node1": ["powered_on", "dhcp_leased", "kernel_fetched", "dhcp_leased"],
        "node2": ["powered_on"],
        "node3": ["powered_on", "dhcp_leased", "kernel_fetched", "claim_taken"],
        "node4": ["powered_on", "dhcp_leased"],
    }.items():
        seed.order(name)
        for event in events:
            seed.tell(name, event)
    nodes = [{"name": f"node{n}"} for n in (1, 2, 3)] + [{"name": "node4", "timeout": 1}]
    told = wait(seed, nodes=nodes, silence=4, boot_silence=1)["nodes"]
    assert {name: (node["code"], node["hop"]) for name, node in told.items()} == {
        "node1": ("hung", "agent"),
        "node2": ("timeout", "dhcp"),
        "node3": ("timeout", "image"),
        "node4": ("timeout", "loader"),
    }
    assert [re.match(r"silent for (\d)", told[f"node{n}"]["msg"])[1] for n in (1, 2, 3)] == ["1", "4", "4"]  # type: ignore[index]
    assert "not done after 1 s" in told["node4"]["msg"]
    assert store.history(seed.root, "node1", 1)[-1]["event"] == "failed"
    assert wait(seed, nodes=[{"name": "node5"}], silence=1, boot_silence=9)["nodes"]["node5"]["code"] != "hung"


def test_each_node_has_its_own_timeout(seed: Seed, printed: list[str]) -> None:
    seed.order("node1")
    seed.order("node2")
    threading.Timer(2, lambda: seed.report("node2", 1, event="rebooting")).start()
    told = wait(seed, nodes=[{"name": "node1", "timeout": 1}, {"name": "node2"}])["nodes"]
    assert (told["node1"]["code"], told["node2"]["code"]) == ("timeout", "reached")
    assert "not done after 1 s" in told["node1"]["msg"]


def test_another_runs_generation_ends_the_waiting(seed: Seed, printed: list[str]) -> None:
    seed.order("node1")
    threading.Timer(0.5, lambda: seed.order("node1", 2)).start()
    told = wait(seed, nodes=[{"name": "node1", "generation": 1}])["nodes"]["node1"]
    assert told["code"] == "superseded"


def test_what_nginx_refused_is_shown_and_ends_nothing(seed: Seed, printed: list[str]) -> None:
    seed.order("node1")
    access = seed.root / "nodes/node1/access"
    access.mkdir()
    line = {"time": time.time() - 1, "method": "GET", "uri": "/images/x", "status": 404}
    (access / "1.jsonl").write_text(json.dumps(line) + "\n")
    seed.report("node1", 1, event="rebooting")
    assert wait(seed, nodes=[{"name": "node1"}])["nodes"]["node1"]["code"] == "reached"
    assert any("GET /images/x: 404" in text for text in printed)


def test_check_mode_does_not_wait(seed: Seed) -> None:
    told = wait(seed, check_mode=True, nodes=[{"name": "node1"}])
    assert (told["nodes"]["node1"]["failed"], seed.calls) == (False, [])


def test_seed_that_comes_back(seed: Seed, printed: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(node_wait.time, "sleep", lambda _seconds: None)
    seed.order("node1")
    seed.report("node1", 1, event="rebooting")
    seed.broken = [AnsibleConnectionFailure("gone"), {"failed": True, "msg": "no python"}]
    assert wait(seed, nodes=[{"name": "node1"}])["failed_nodes"] == []
    assert ["gone" in printed[0], "no python" in printed[1]] == [True, True]
    seed.broken = [AnsibleConnectionFailure("gone")] * 6
    with pytest.raises(AnsibleActionFail, match="6 times"):
        wait(seed, nodes=[{"name": "node1"}])


def test_node_that_cannot_be_read_fails_alone(seed: Seed, printed: list[str]) -> None:
    seed.order("node1")
    seed.report("node1", 1, event="rebooting")
    told = wait(seed, nodes=[{"name": "../x"}, {"name": "node1"}])["nodes"]
    assert (told["../x"]["code"], told["node1"]["code"]) == ("bad_node", "reached")


@pytest.mark.parametrize("bad", [{"nodes": [{"generation": 1}]}, {"nodes": [], "until": None}, {"nodes": [], "x": 1}])
def test_bad_arguments(seed: Seed, bad: dict[str, Any]) -> None:
    with pytest.raises(Exception, match=r"required|Unsupported|convert"):
        wait(seed, **bad)
