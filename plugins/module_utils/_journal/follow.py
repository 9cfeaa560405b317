# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 the seedcloud.openstack authors
"""Many nodes' journals in one call: append to them, wait for what comes."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from .events import BadEvent, make_event
from .files import node_folder
from .store import BadCursor, Cursor, append, current_generation, history, read

_PAUSE = 0.1
Results = dict[str, dict[str, Any]]


def _result(code: str = "ok", msg: str = "", **more: Any) -> dict[str, Any]:
    return {"changed": False, "failed": code != "ok", "code": code, "msg": msg, **more}


def _append_one(root: Path, name: str, wanted: Sequence[Mapping[str, Any]], check_mode: bool) -> dict[str, Any]:
    try:
        node_folder(root, name)
    except ValueError as error:
        return _result("bad_node", str(error))
    try:
        newest = current_generation(root, name)
        new: list[dict[str, Any]] = []
        for item in wanted:
            generation = newest if item.get("generation") is None else item["generation"]
            event = make_event(
                time.time(),
                name,
                generation,
                item["source"],
                item["event"],
                level=item["level"],
                hop=item.get("hop"),
                msg=item["msg"],
                data=item["data"],
            )
            before = [*history(root, name, generation), *new] if item["once"] else []
            if not any(e["event"] == event["event"] and e["generation"] == generation for e in before):
                new.append(event)
        if new and not check_mode:
            append(root, name, new)
    except BadEvent as error:
        return _result("bad_event", str(error))
    except OSError as error:
        return _result("seed_error", str(error))
    return {**_result(), "changed": bool(new)}


def append_events(root: Path, wanted: Sequence[Mapping[str, Any]], check_mode: bool) -> Results:
    """Write events, each node's in the order given."""
    by_node: dict[str, list[Mapping[str, Any]]] = {}
    for item in wanted:
        by_node.setdefault(item["node"], []).append(item)
    return {name: _append_one(root, name, items, check_mode) for name, items in by_node.items()}


def _cursor(root: Path, node: Mapping[str, Any]) -> Cursor:
    if node.get("cursor"):
        return Cursor.parse(node["cursor"])
    first = node.get("generation")
    return Cursor(current_generation(root, node["name"]) if first is None else first)


def follow(
    root: Path,
    nodes: Sequence[Mapping[str, Any]],
    wait: float,
    settle: float,
    *,
    results: Results,
    alive: Callable[[str], None],
    only: Collection[str] = (),
) -> Results:
    """Read on from each node's cursor; return once anything is new and `settle` has passed, or after `wait`.

    `only`: what is new are events of these names.
    """
    cursors: dict[str, Cursor] = {}
    for node in nodes:
        name = node["name"]
        result = results.setdefault(name, _result())
        result.update(events=[], cursor=node.get("cursor") or "", generation=0)
        try:
            cursors[name] = _cursor(root, node)
            alive(name)
        except BadCursor as error:
            result.update(_result("bad_cursor", str(error)))
        except ValueError as error:
            result.update(_result("bad_node", str(error)))
        except OSError as error:
            result.update(_result("seed_error", str(error)))
    deadline, settling = time.monotonic() + wait, False
    while True:
        for name, cursor in list(cursors.items()):
            try:
                new = read(root, name, cursor)
                results[name]["events"] += [event for event in new if not only or event["event"] in only]
            except OSError as error:
                results[name].update(_result("seed_error", str(error)))
                del cursors[name]
        now = time.monotonic()
        if not settling and any(results[name]["events"] for name in cursors):
            settling, deadline = True, min(deadline, now + settle)
        if now >= deadline:
            break
        time.sleep(min(_PAUSE, deadline - now))
    for name, cursor in cursors.items():
        results[name].update(cursor=cursor.text(), generation=current_generation(root, name))
    return results
