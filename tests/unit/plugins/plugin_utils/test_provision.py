# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 the seedcloud.openstack authors
"""What journals tell of root disks, and what plan and orders make of it."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest
from ansible_collections.seedcloud.openstack.plugins.plugin_utils._inventory.provision import (
    node_orders,
    node_plan,
    wipe_refusals,
)

HINTS = {"serial": "S1"}
DISK = {"name": "sda", "serial": "S1", "wwn": "", "size": 16 << 30}
ACTIONS = {name: {"action": "deploy", "line": name} for name in ("node1", "node2")}


def event(name: str, generation: int = 1, **data: Any) -> dict[str, Any]:
    received = f"2026-11-22T19:0{generation}:00.123Z"
    return {"event": name, "data": data, "msg": "msg", "generation": generation, "received": received}


def inspected(generation: int = 1, hints: dict[str, Any] | None = None, **disk: Any) -> dict[str, Any]:
    others = {"name": "sdb", "contents": ["xfs"], "hash": "f" * 64, "ours": False}
    chosen = {"hints": hints or HINTS, "disk": "sda"}
    return event("inspected", generation, root_device=chosen, disks=[others, {**DISK, **disk}])


def holding(letter: str, generation: int = 1) -> dict[str, Any]:
    return inspected(generation, contents=["gpt"], hash=letter * 64, ours=False)


def refused(letter: str, generation: int = 1) -> dict[str, Any]:
    return event("wipe_refused", generation, hints=HINTS, hash=letter * 64, disks=[{**DISK, "contents": ["ext4"]}])


def records(confirm: str | None = None) -> list[dict[str, Any]]:
    keys = ("boot_mac", "address", "firmware", "files")
    return [
        {**dict.fromkeys(keys, ""), "name": name, "root_device": HINTS, "wipe_confirm": confirm} for name in ACTIONS
    ]


def plan(*events: dict[str, Any]) -> list[str]:
    """What plan says of node1's disk."""
    lines = node_plan(records()[:1], ACTIONS, {}, {"node1": {"events": events}})
    return [line.removeprefix("node1: disk: ") for line in lines[1:]]


@pytest.mark.parametrize(
    ("events", "words"),
    [
        ([], "the one with serial S1; what it holds is not known: inspect_nodes finds out"),
        ([event("inspected", disks=[DISK])], "the one with serial S1"),  # an agent that did not look
        ([inspected(hints={"serial": "S2"}, contents=[], hash=None)], "the one with serial S1"),
        ([holding("a"), event("claim_taken", 2)], "the one with serial S1"),
        ([inspected(contents=[], hash=None, ours=False)], "sda S1 16 GiB holds nothing (told 2026-11-22 19:01 UTC, gen"),
        ([inspected(contents=[], hash=None, ours=True)], "sda S1 16 GiB holds what an earlier run began to write (told"),
        ([inspected(fault="I/O error")], "sda S1 16 GiB does not tell what it holds: I/O error (told"),
        ([event("inspected", root_device={"hints": HINTS, "fault": "none fits"}, disks=[])], "refused: none fits (told"),
        ([holding("a"), event("disk_refused", 2, hints=HINTS)], "refused: msg (told 2026-11-22 19:02 UTC, generation 2)"),
    ],
)  # fmt: skip
def test_what_needs_no_hash_or_has_none(events: list[dict[str, Any]], words: str) -> None:
    (line,) = plan(*events)
    assert line.startswith(words)
    assert ("needs no node_wipe_confirm" in line) == ("holds nothing" in line or "holds what an earlier" in line)


@pytest.mark.parametrize(
    ("events", "words", "letter"),
    [
        ([holding("a")], "holds gpt (told 2026-11-22 19:01 UTC, generation 1)", "a"),
        ([refused("b"), holding("a", 2)], "holds gpt (told 2026-11-22 19:02 UTC, generation 2)", "a"),
        ([holding("a"), refused("b", 3)], "holds ext4 (told 2026-11-22 19:03 UTC, generation 3)", "b"),
    ],
)
def test_the_newest_word_counts(events: list[dict[str, Any]], words: str, letter: str) -> None:
    assert plan(*events) == [f"sda S1 16 GiB {words}", f"To destroy all of this, set node_wipe_confirm: {letter * 64}"]


@pytest.mark.parametrize("events", [(holding("b"), holding("a")), (refused("b"), holding("a"))])
def test_the_hash_over_several_is_each_nodes_own_in_its_order(events: tuple[dict[str, Any], ...]) -> None:
    journals: dict[str, Any] = {name: {"events": [told]} for name, told in zip(ACTIONS, events, strict=True)}
    over = hashlib.sha256(json.dumps(["a" * 64, "b" * 64]).encode()).hexdigest()
    lines = node_plan(records(), ACTIONS, {}, journals)
    assert lines[1].endswith(f"; to destroy this alone, set node_wipe_confirm: {'b' * 64}")
    assert lines[-1] == f"To destroy all of this, set node_wipe_confirm: {over}"
    told = wipe_refusals(journals)
    assert (told["hash"], told["nodes"], told["lines"][-1]) == (over, [*ACTIONS], lines[-1])

    def orders(confirm: str | None, *names: str) -> list[str | None]:
        golden = dict.fromkeys(("name", "sha256", "size", "compressed_size"))
        wanted = [record for record in records(confirm) if record["name"] in names]
        made = node_orders(
            wanted, {"address": "a", "port": 1, "ssh": {}}, {"golden": golden, "ramdisk": {"name": "r"}}, journals
        )
        return [node["order"]["wipe"]["confirmed"] for node in made]

    assert orders(over, *ACTIONS) == ["b" * 64, "a" * 64]
    assert orders(None, *ACTIONS) == [None, None]
    assert orders("c" * 64, *ACTIONS) == ["c" * 64] * 2
    assert orders(over, "node1") == [over]  # of another set of nodes than this run's, and told in no journal
    journals["node1"]["events"].append(event("wipe_planned", plan=over))
    journals["node1"]["events"].append(event("wipe_planned", plan="b" * 64))  # of a later run that only node1 failed
    assert orders(over, "node1") == ["b" * 64]
