# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 the seedcloud.openstack authors
"""Journals: written by kills and strangers, read by cursors."""

from __future__ import annotations

import dataclasses
import json
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.seedcloud.openstack.plugins.module_utils._journal import store
from ansible_collections.seedcloud.openstack.plugins.module_utils._journal.events import (
    NOT_AGENTS,
    BadEvent,
    access_event,
    agent_event,
    make_event,
    seconds_of,
    stamp,
)
from ansible_collections.seedcloud.openstack.plugins.module_utils._journal.files import append_lines, read_lines
from ansible_collections.seedcloud.openstack.plugins.module_utils._journal.follow import append_events, follow
from ansible_collections.seedcloud.openstack.plugins.module_utils._journal.store import BadCursor, Cursor

BOOT = "ab" * 16


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "nodes" / "node1"
    folder.mkdir(parents=True)
    (folder / "order.json").write_text('{"generation": 3}')
    return tmp_path


def event(name: str, received: float = 1000.0, generation: int = 3) -> dict[str, Any]:
    return make_event(received, "node1", generation, "ansible", name)


def report(root: Path, number: int, text: str, generation: int = 3, boot_id: str = BOOT) -> Path:
    folder = root / "nodes/node1/reports" / str(generation) / boot_id
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{number:04d}.json"
    path.write_text(text)
    return path


def names(root: Path, cursor: Cursor) -> list[str]:
    return [e["event"] for e in store.read(root, "node1", cursor)]


def told(name: str, **more: Any) -> str:
    return json.dumps({"event": name, **more})


def test_time_goes_round() -> None:
    assert stamp(1763838000.1234) == "2025-11-22T19:00:00.123Z"
    assert seconds_of(stamp(1763838000.123)) == pytest.approx(1763838000.123)


def test_sources_are_merged_by_the_seeds_clock(root: Path) -> None:
    now = time.time()
    store.append(root, "node1", [event("ordered", now - 20), event("powered_on", now - 10)])
    access = root / "nodes/node1/access"
    access.mkdir()
    line = {"time": now - 5, "method": "GET", "uri": "/ramdisks/agent-1/vmlinuz", "status": 200}
    (access / "3.jsonl").write_text(json.dumps(line) + "\n")
    report(root, 1, told("agent_started", time="1999-01-01T00:00:00Z"))
    cursor = Cursor(3)
    events = store.read(root, "node1", cursor)
    assert [e["event"] for e in events] == ["ordered", "powered_on", "kernel_fetched", "agent_started"]
    assert events[-1]["time"] == "1999-01-01T00:00:00.000Z"
    assert seconds_of(events[-1]["received"]) == pytest.approx(now, abs=5)
    assert names(root, cursor) == []


def test_cursor_goes_on_where_it_was(root: Path) -> None:
    cursor = Cursor(3)
    store.append(root, "node1", [event("ordered")])
    assert names(root, cursor) == ["ordered"]
    report(root, 1, told("agent_started"))
    cursor = Cursor.parse(cursor.text())
    assert names(root, cursor) == ["agent_started"]
    report(root, 3, told("disk_chosen"))  # overtakes number 2
    assert names(root, cursor) == ["disk_chosen"]
    report(root, 2, told("inspected"))
    cursor = Cursor.parse(cursor.text())
    assert names(root, cursor) == ["inspected"]
    report(root, 4, told("claim_taken"))
    report(root, 1, told("agent_started"), boot_id="cd" * 16)
    assert sorted(names(root, cursor)) == ["agent_started", "claim_taken"]
    assert names(root, Cursor.parse(cursor.text())) == []


def test_older_generations_are_not_told(root: Path) -> None:
    store.append(root, "node1", [event("ordered", generation=2), event("ordered", generation=3)])
    report(root, 1, told("agent_started"), generation=2)
    assert [e["generation"] for e in store.history(root, "node1", 3)] == [3]
    assert len(store.history(root, "node1", 2)) == 3


@pytest.mark.parametrize("text", ["", "nonsense", "e30=", "WzIsM10=", "WzEsMSwyLDMsNCw1XQ=="])
def test_bad_cursor(text: str) -> None:
    with pytest.raises(BadCursor):
        Cursor.parse(text)


def test_cursor_survives_templates() -> None:
    text = Cursor(3, 128, {"access/3": [5, 1]}, {f"3/{BOOT}": [4, 6]}).text()
    assert dataclasses.asdict(Cursor.parse(text))["reports"] == {f"3/{BOOT}": [4, 6]}
    assert not text.startswith(("[", "{"))


def test_torn_line_is_not_told_and_goes_away(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    append_lines(path, [b"one"])
    with path.open("ab") as file:
        file.write(b"tor")  # killed within the write
    lines, offset = read_lines(path, 0)
    assert (lines, offset) == ([b"one"], 4)
    append_lines(path, [b"two", b"three"])
    assert read_lines(path, offset) == ([b"two", b"three"], 14)
    path.write_bytes(b"tor")
    append_lines(path, [b"four"])
    assert path.read_bytes() == b"four\n"


def test_forty_writers_at_once_lose_nothing(root: Path) -> None:
    with ThreadPoolExecutor(40) as pool:
        list(pool.map(lambda n: store.append(root, "node1", [event(f"e{n}"), event(f"f{n}")]), range(40)))
    assert len(store.history(root, "node1", 3)) == 80


REPORTS = [
    b"",
    b"nonsense",
    b"[]",
    b'"text"',
    b"\xff\xfe",
    b"[" * 100000,
    b'{"event": 1}',
    b'{"event": "No Name"}',
    b'{"event": "x", "level": "fatal"}',
    b'{"event": "x", "level": []}',
    b'{"event": "x", "hop": "moon"}',
    b'{"event": "x", "hop": {}}',
    b'{"event": "x", "data": []}',
    b'{"event": "x", "time": "yesterday"}',
    b'{"event": "x", "time": "2026-11-22T19:00:00"}',
    b'{"event": "x", "time": "0001-01-01T00:00:00+23:59"}',
    *(json.dumps({"event": name}).encode() for name in sorted(NOT_AGENTS)),
]


@pytest.mark.parametrize("text", REPORTS, ids=lambda text: repr(text[:40]))
def test_report_that_is_none(text: bytes) -> None:
    made = agent_event(text, 1000.0, "node1", generation=3, boot_id=BOOT, seq=7)
    assert (made["event"], made["level"], made["source"]) == ("report_malformed", "error", "http")
    assert (made["node"], made["generation"], made["boot_id"], made["seq"]) == ("node1", 3, BOOT, 7)


def test_report_cannot_speak_for_others_or_move_the_cursor() -> None:
    lie = {
        "event": "x",
        "node": "node2",
        "generation": 9,
        "boot_id": "z",
        "seq": 1,
        "source": "ansible",
        "msg": "a\x1b[2J\nb",
    }
    made = agent_event(json.dumps(lie).encode(), 1000.0, "node1", generation=3, boot_id=BOOT, seq=7)
    assert (made["node"], made["generation"], made["boot_id"], made["seq"], made["source"]) == (
        "node1",
        3,
        BOOT,
        7,
        "agent",
    )
    assert made["msg"] == "a?[2J?b"


def test_what_is_no_report_is_not_followed(root: Path) -> None:
    secret = root / "secret"
    secret.write_text(told("disk_chosen"))
    path = report(root, 2, "")
    path.unlink()
    path.symlink_to(secret)
    os.mkfifo(path.with_name("0003.json"))
    path.with_name("5.json").write_text(told("x"))
    assert [e["event"] for e in store.history(root, "node1", 3)] == ["report_malformed"] * 2


ACCESS = [
    ({"uri": "/boot/00-00-5e-00-53-01.ipxe"}, "loader_fetched"),
    ({"uri": "/boot/00-00-5e-00-53-01.ipxe?x"}, "loader_fetched"),
    ({"uri": "/ramdisks/agent-1/vmlinuz", "status": 206}, "kernel_fetched"),
    ({"uri": "/ramdisks/agent-1/initrd"}, None),
    ({"uri": "/ramdisks/agent-1/vmlinuz", "status": 404}, "http_refused"),
    ({"uri": "/images/i.raw.zst"}, None),
    ({"uri": "/images/i.raw.zst", "status": 404}, "http_refused"),
    ({"uri": "/claim/3", "method": "MOVE", "status": 404}, None),
    ({"uri": "/claim/3", "method": "MOVE", "status": 403}, "http_refused"),
    ({"uri": "/claimed/3/x", "status": 404}, None),
    ({"uri": "/x", "method": "DELETE", "status": 405}, "http_refused"),
    ({"status": "x"}, None),
]


@pytest.mark.parametrize(("entry", "expected"), ACCESS)
def test_access_line(entry: dict[str, Any], expected: str | None) -> None:
    line = json.dumps({"time": 1000.5, "method": "GET", "uri": "/", "status": 200, **entry}).encode()
    made = access_event(line, "node1", 3, 1)
    assert (made and made["event"]) == expected
    assert access_event(line[:-5], "node1", 3, 1) is None


def test_event_is_checked() -> None:
    for bad in ({"event": "a b"}, {"level": "x"}, {"hop": "x"}, {"source": "x"}):
        more: dict[str, Any] = {"event": "x", "source": "ansible", **bad}
        with pytest.raises(BadEvent):
            make_event(1.0, "node1", 1, more.pop("source"), more.pop("event"), **more)


def wanted(node: str, name: str, **more: Any) -> dict[str, Any]:
    return {
        "node": node,
        "event": name,
        "source": "ansible",
        "level": "info",
        "msg": "",
        "data": {},
        "once": False,
        **more,
    }


def test_append_many(root: Path) -> None:
    items = [wanted("node1", "powered_on", once=True), wanted("node2", "powered_on"), wanted("../x", "powered_on")]
    checked = append_events(root, items, check_mode=True)
    assert checked["node1"]["changed"] and not (root / "nodes/node2").exists()
    done = append_events(root, [*items, wanted("node1", "powered_on", once=True)], check_mode=False)
    assert {name: answer["code"] for name, answer in done.items()} == {"node1": "ok", "node2": "ok", "../x": "bad_node"}
    assert append_events(root, items[:1], check_mode=False)["node1"]["changed"] is False
    assert append_events(root, [wanted("node1", "No")], check_mode=False)["node1"]["code"] == "bad_event"
    assert [(e["event"], e["generation"]) for e in store.history(root, "node1", 3)] == [("powered_on", 3)]


def test_follow_returns_when_something_comes(root: Path) -> None:
    threading.Timer(0.3, lambda: store.append(root, "node1", [event("powered_on")])).start()
    start = time.monotonic()
    told = follow(root, [{"name": "node1"}, {"name": "node2"}], 20, 0.1, results={}, alive=lambda _name: None)
    assert time.monotonic() - start < 15
    assert [e["event"] for e in told["node1"]["events"]] == ["powered_on"]
    again = follow(
        root, [{"name": "node1", "cursor": told["node1"]["cursor"]}], 0.1, 0, results={}, alive=lambda _name: None
    )
    assert again["node1"]["events"] == []


def test_follow_only_some_events_of_all_generations(root: Path) -> None:
    store.append(root, "node1", [event("ordered", generation=1), event("wipe_planned", generation=1), event("ordered")])
    wanted = [{"name": "node1", "generation": 1}]
    told = follow(root, wanted, 0, 0, results={}, alive=lambda _name: None, only=["wipe_planned"])
    assert [(e["event"], e["generation"]) for e in told["node1"]["events"]] == [("wipe_planned", 1)]
    wanted = [{"name": "node1", "cursor": told["node1"]["cursor"]}]
    assert follow(root, wanted, 0, 0, results={}, alive=lambda _name: None)["node1"]["events"] == []


def test_follow_fails_a_node_alone(root: Path) -> None:
    (root / "nodes/node3").mkdir()
    (root / "nodes/node3/journal.jsonl").write_text("nonsense\n")
    nodes = [{"name": "../x"}, {"name": "node1", "cursor": "nonsense"}, {"name": "node2"}, {"name": "node3"}]
    told = follow(root, nodes, 0, 0, results={}, alive=lambda _name: None)
    assert {name: answer["code"] for name, answer in told.items()} == {
        "../x": "bad_node",
        "node1": "bad_cursor",
        "node2": "ok",
        "node3": "seed_error",
    }
    assert "journal.jsonl" in told["node3"]["msg"]
