# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 the seedcloud.openstack authors
"""Run a graph side by side: a node starts when all that it waits for has ended well."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import Any

from .system import ApplyError

Node = Mapping[str, Any]
Outcome = dict[str, Any]


def heights(nodes: Sequence[Node]) -> dict[str, int]:
    """How many nodes the longest chain has that waits for each. Those of a cycle are counted as far as they are seen."""
    waiters: dict[str, list[str]] = {node["id"]: [] for node in nodes}
    for node in nodes:
        for other in node["after"]:
            waiters.get(other, []).append(node["id"])
    found: dict[str, int] = {}
    chain: list[str] = []

    def height(name: str) -> int:
        if name not in found and name not in chain:
            chain.append(name)
            found[name] = max((1 + height(waiter) for waiter in waiters[name]), default=0)
            chain.pop()
        return found.get(name, 0)

    return {name: height(name) for name in waiters}


def run_graph(
    nodes: Sequence[Node],
    apply: Callable[[Node], Outcome],
    workers: int,
    tell: Callable[[str, Outcome], None] = lambda name, outcome: None,
) -> dict[str, Outcome]:
    """What became of each node, at most `workers` at a time; what most wait for is taken first.

    After a failure, what depends on it is not reached; the rest goes on. `tell` hears of each that has ended.
    """
    rank = heights(nodes)
    waiting = {node["id"]: node for node in sorted(nodes, key=lambda node: -rank[node["id"]])}
    outcomes: dict[str, Outcome] = {}
    running: dict[Future[Outcome], str] = {}

    def timed(node: Node) -> Outcome:
        start = time.monotonic()
        try:
            outcome = apply(node)
        except ApplyError as error:
            outcome = {"failed": True, "msg": str(error)}
        return {"changed": False, **outcome, "seconds": round(time.monotonic() - start, 2)}

    with ThreadPoolExecutor(max_workers=workers) as pool:
        while waiting or running:
            left = len(waiting)
            for name, node in list(waiting.items()):
                before = [outcomes.get(other) for other in node["after"]]
                if any(other and (other.get("failed") or other.get("skipped")) for other in before):
                    outcomes[name] = {"changed": False, "skipped": True, "seconds": 0.0}
                    del waiting[name]
                elif all(before) and len(running) < workers:
                    running[pool.submit(timed, node)] = name
                    del waiting[name]
            if not running and len(waiting) == left:
                raise ApplyError(f"the plan's graph has a cycle or a gap at {', '.join(sorted(waiting))}")
            if not running:
                continue
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                name = running.pop(future)
                outcomes[name] = future.result()
                tell(name, outcomes[name])
    return outcomes
