# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 the seedcloud.openstack authors
"""The fleet without a protocol: who waits for whom, what is tried again, when it ends."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from ansible_collections.seedcloud.openstack.plugins.module_utils._bmc import drivers, fleet
from ansible_collections.seedcloud.openstack.plugins.module_utils._bmc.core import BmcError, Deadline, Node


class Stub:
    """A driver whose sessions behave as the node's address says."""

    def __init__(self, behave: Callable[[Node, int], None]) -> None:
        self.behave = behave
        self.lock = threading.Lock()
        self.open = self.most = 0
        self.attempts: dict[str, int] = {}

    def __call__(self, _name: str) -> Stub:
        return self

    def connect(self, node: Node, _deadline: Deadline) -> Any:
        return _Session(self, node)


class _Session:
    def __init__(self, stub: Stub, node: Node) -> None:
        self.stub, self.node = stub, node

    def __enter__(self) -> _Session:
        with self.stub.lock:
            self.stub.open += 1
            self.stub.most = max(self.stub.most, self.stub.open)
            self.stub.attempts[self.node.name] = self.stub.attempts.get(self.node.name, 0) + 1
        return self

    def __exit__(self, *_exc: object) -> None:
        with self.stub.lock:
            self.stub.open -= 1


class Errand:
    def __init__(self) -> None:
        self.facts: dict[str, Any] = {"changed": False}

    def __call__(self, bmc: Any, _deadline: Deadline, /) -> str:
        bmc.stub.behave(bmc.node, bmc.stub.attempts[bmc.node.name])
        return "fine"

    def diff(self) -> tuple[dict[str, Any], dict[str, Any]]:
        return {}, {}


def serve(
    monkeypatch: pytest.MonkeyPatch,
    count: int,
    behave: Callable[[Node, int], None],
    timeout: float = 5,
    workers: int = 9,
) -> tuple[dict[str, Any], Stub]:
    stub = Stub(behave)
    monkeypatch.setattr(fleet, "driver", stub)
    nodes = [Node(f"node{number}", "192.0.2.1", "admin", "secret", number + 1) for number in range(count)]
    return fleet.run(nodes, {node.name: Errand() for node in nodes}, timeout, workers), stub


def test_one_that_hangs_hurts_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fleet, "GRACE", 0.1)
    release = threading.Event()

    def behave(node: Node, _attempt: int) -> None:
        if node.name in ("node0", "node1"):
            release.wait(20)

    begin = time.monotonic()
    outcomes, _stub = serve(monkeypatch, 40, behave, timeout=2, workers=2)
    release.set()
    assert list(outcomes) == [f"node{number}" for number in range(40)]
    assert [name for name, outcome in outcomes.items() if outcome["failed"]] == ["node0", "node1"]
    assert outcomes["node0"]["code"] == "bmc_timeout"
    assert time.monotonic() - begin < 15


def test_no_more_sessions_than_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    outcomes, stub = serve(monkeypatch, 30, lambda _node, _attempt: time.sleep(0.01), workers=4)
    assert stub.most == 4
    assert not any(outcome["failed"] for outcome in outcomes.values())


def test_what_may_pass_is_tried_again_and_what_will_not_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    def behave(node: Node, attempt: int) -> None:
        if node.name == "node0" and attempt < 3:
            raise BmcError("bmc_no_session", "full", again=True)
        if node.name == "node1":
            raise BmcError("bmc_auth", "no")

    outcomes, stub = serve(monkeypatch, 3, behave)
    assert stub.attempts == {"node0": 3, "node1": 1, "node2": 1}
    assert outcomes["node0"]["code"] is None
    assert (outcomes["node1"]["code"], outcomes["node1"]["msg"]) == ("bmc_auth", "no")


def test_trying_again_ends_with_the_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    def behave(_node: Node, _attempt: int) -> None:
        raise BmcError("bmc_no_session", "full", again=True)

    begin = time.monotonic()
    outcomes, stub = serve(monkeypatch, 1, behave, timeout=2)
    assert outcomes["node0"]["code"] == "bmc_no_session"
    assert 2 <= stub.attempts["node0"] <= 4
    assert time.monotonic() - begin < 10


def test_a_bug_is_told_without_what_it_quotes(monkeypatch: pytest.MonkeyPatch) -> None:
    def behave(node: Node, _attempt: int) -> None:
        if node.name == "node0":
            raise ValueError(node.password)

    outcomes, _stub = serve(monkeypatch, 2, behave)
    assert outcomes["node0"]["code"] == "bmc_internal"
    assert "ValueError at test_bmc_fleet.py" in outcomes["node0"]["msg"]
    assert "secret" not in str(outcomes)
    assert outcomes["node1"]["failed"] is False


def test_a_node_does_not_show_its_password() -> None:
    assert "secret" not in repr(Node("node1", "192.0.2.1", "admin", "secret"))


def test_an_unknown_driver() -> None:
    with pytest.raises(KeyError):
        drivers.driver("carrier-pigeon")
