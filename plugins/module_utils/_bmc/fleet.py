# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 the seedcloud.openstack authors
"""Many nodes side by side: concurrency, the deadline, retries. What is done to a node is its errand's."""

from __future__ import annotations

import queue
import random
import threading
import time
import traceback
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from ansible_collections.seedcloud.openstack.plugins.module_utils._bmc.core import Bmc, BmcError, Deadline, Node
from ansible_collections.seedcloud.openstack.plugins.module_utils._bmc.drivers import driver

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

GRACE = 1.0  # seconds that a thread gets to say itself that its deadline is over
Outcome = dict[str, Any]


class Errand(Protocol):
    """What is done to one node. A lost session means that it is called again, with a new one."""

    facts: dict[str, Any]  # what is known of the node so far, always with `changed`

    def __call__(self, bmc: Bmc, deadline: Deadline, /) -> str:
        """Do it and say in a few words what became of the node."""

    def diff(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """What a person wants to see of a change: before and after."""


def run(nodes: Iterable[Node], errands: Mapping[str, Errand], timeout: float, workers: int) -> dict[str, Outcome]:
    """Serve all nodes, each within `timeout` seconds of its own; a node that hangs hurts no other."""
    order = [node.name for node in nodes]
    waiting = deque(nodes)
    overdue: dict[str, float] = {}
    outcomes: dict[str, Outcome] = {}
    done: queue.SimpleQueue[tuple[str, Outcome]] = queue.SimpleQueue()
    while waiting or overdue:
        while waiting and len(overdue) < workers:
            node = waiting.popleft()
            overdue[node.name] = time.monotonic() + timeout + GRACE
            # A daemon: a thread caught in a name look-up must not keep the module from ending.
            threading.Thread(
                target=_serve, args=(node, errands[node.name], Deadline(timeout), done), daemon=True
            ).start()
        try:
            name, outcome = done.get(timeout=max(0.0, min(overdue.values()) - time.monotonic()))
        except queue.Empty:
            now = time.monotonic()
            for name in [name for name, at in overdue.items() if at <= now]:
                del overdue[name]
                outcomes[name] = _failed(errands[name], "bmc_timeout", f"no end within {timeout:g} s", timeout)
        else:
            if overdue.pop(name, None) is not None:  # else it was given up before
                outcomes[name] = outcome
    return {name: outcomes[name] for name in order}


def _serve(node: Node, errand: Errand, deadline: Deadline, done: queue.SimpleQueue[tuple[str, Outcome]]) -> None:
    start = time.monotonic()
    try:
        msg = _persist(node, errand, deadline)
    except BmcError as err:
        outcome = _failed(errand, err.code, err.msg, time.monotonic() - start)
    except Exception as err:  # one node's bug must not take the others' results along
        where = traceback.extract_tb(err.__traceback__)[-1]
        # Not str(err): nobody knows what an unforeseen exception quotes.
        msg = f"unexpected {type(err).__name__} at {Path(where.filename).name}:{where.lineno}"
        outcome = _failed(errand, "bmc_internal", msg, time.monotonic() - start)
    else:
        elapsed = round(time.monotonic() - start, 2)
        outcome = {**errand.facts, "failed": False, "code": None, "msg": msg, "elapsed": elapsed}
    done.put((node.name, outcome))


def _failed(errand: Errand, code: str, msg: str, elapsed: float) -> Outcome:
    return {**errand.facts, "failed": True, "code": code, "msg": msg, "elapsed": round(elapsed, 2)}


def _persist(node: Node, errand: Errand, deadline: Deadline) -> str:
    """One session at a time, and a new one while there is time and hope."""
    pause = 0.5
    while True:
        try:
            with driver(node.driver).connect(node, deadline) as bmc:
                return errand(bmc, deadline)
        except BmcError as err:
            wait = pause * random.uniform(0.7, 1.3)  # noqa: S311  # jitter, not a secret
            if not err.again or deadline.left() < wait:
                raise
            deadline.sleep(wait)
            pause = min(pause * 1.6, 5.0)
