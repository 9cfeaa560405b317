# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 the seedcloud.openstack authors
"""A deployment made the node's host key, and reported it. Who answers with that key is that deployment."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .._journal import store
from .._journal.events import make_event
from .._journal.files import node_folder, read_json, write_atomic


@dataclass
class Deployed:
    """What the seed knows of a node's newest order."""

    name: str
    address: str
    generation: int = 0
    action: str | None = None
    image: str | None = None
    last_event: str | None = None
    keys: frozenset[str] = frozenset()
    events: frozenset[str] = frozenset()
    answered: frozenset[str] = field(default_factory=frozenset)

    @property
    def up(self) -> bool:
        return bool(self.keys & self.answered)

    def known_hosts(self) -> str:
        return "".join(f"{self.name},{self.address} {key}\n" for key in sorted(self.keys))


def deployed(root: Path, name: str, address: str) -> Deployed:
    """From order and journal; a node never ordered has neither."""
    order = read_json(node_folder(root, name) / "order.json") or {}
    generation = int(order.get("generation", 0))
    history = [event for event in store.history(root, name, generation) if event["generation"] == generation]
    keys = [event["data"].get("keys", []) for event in history if event["event"] == "host_keys"]
    return Deployed(
        name=name,
        address=address,
        generation=generation,
        action=order.get("action"),
        image=(order.get("image") or {}).get("name"),
        last_event=history[-1]["event"] if history else None,
        keys=frozenset(" ".join(key.split()[:2]) for key in (keys[-1] if keys else [])),
        events=frozenset(event["event"] for event in history),
    )


def scan(nodes: Iterable[Deployed], seconds: int, port: int = 22) -> None:
    """Ask all of them at once for their host keys: ssh-keyscan needs one process for any number."""
    asked = {node.address: node for node in nodes if node.keys}
    if not asked:
        return
    kinds = sorted({key.split()[0].removeprefix("ssh-").split("-")[0] for node in asked.values() for key in node.keys})
    done = subprocess.run(  # pylint: disable=ansible-bad-function  # a library
        ["ssh-keyscan", "-T", str(seconds), "-p", str(port), "-t", ",".join(kinds), "-f", "-"],
        input="".join(f"{address}\n" for address in asked),
        capture_output=True,
        text=True,
        check=False,  # it fails when nobody answers, which is an answer here
    )
    found: dict[str, set[str]] = {}
    for line in done.stdout.splitlines():
        host, _unused, key = line.partition(" ")
        if not line.startswith("#"):
            found.setdefault(host.strip("[]").partition("]")[0], set()).add(key.strip())
    for address, node in asked.items():
        node.answered = frozenset(found.get(address, ()))


def adopt(root: Path, node: Deployed) -> bool:
    """Keep the node's host keys where ssh is told of them, and journal that it is up. Says whether that was new."""
    changed = keep_keys(root, node)
    told = [event for event in ("ssh_up", "deployed") if event not in node.events]
    if told:
        now, data = time.time(), {"image": node.image}
        store.append(
            root,
            node.name,
            [
                make_event(now, node.name, node.generation, "ansible", event, hop="ssh", data=data, msg=node.address)
                for event in told
            ],
        )
    return changed or bool(told)


def keep_keys(root: Path, node: Deployed) -> bool:
    path = node_folder(root, node.name) / "host_keys"
    wanted = node.known_hosts().encode()
    if not wanted or (path.exists() and path.read_bytes() == wanted):
        return False
    write_atomic(path, wanted, 0o644)  # public keys: whoever ssh comes to the seed as may read them
    return True


def verdict(node: Deployed) -> dict[str, Any]:
    if node.up:
        code, msg = "up", ""
    elif not node.keys:
        code, msg = "not_deployed", f"no deployment has reported host keys; the last event is {node.last_event}"
    elif node.answered:
        code, msg = "other_key", f"{node.address} answers by SSH with another host key than the deployment reported"
    else:
        code, msg = "ssh_unreachable", f"{node.address} port 22 does not answer by SSH"
    return {
        "failed": not node.up,
        "code": code,
        "msg": msg,
        "hop": "ssh",
        "address": node.address,
        "generation": node.generation,
        "image": node.image,
        "deployed": "deployed" in node.events,
        "last_event": node.last_event,
    }


def reach(root: Path, nodes: list[tuple[str, str]], timeout: float, check_mode: bool) -> dict[str, dict[str, Any]]:
    """Until all that are deployed answer, or the time is over. At least one look."""
    deadline = time.monotonic() + timeout
    found = [deployed(root, name, address) for name, address in nodes]
    changed: dict[str, bool] = {}
    waiting = [node for node in found if node.keys]
    while waiting:
        scan(waiting, 2)
        for node in [node for node in waiting if node.up]:
            changed[node.name] = not check_mode and adopt(root, node)
            waiting.remove(node)
        if time.monotonic() >= deadline:
            break
        if waiting:
            time.sleep(0.5)  # a refused connection comes back at once
    if not check_mode:
        for node in waiting:
            changed[node.name] = keep_keys(root, node)
    return {node.name: {"changed": changed.get(node.name, False)} | verdict(node) for node in found}
