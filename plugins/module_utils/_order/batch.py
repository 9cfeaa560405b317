# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 the seedcloud.openstack authors
"""One call for many nodes: what becomes of each, where none of them harms another."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .._journal.files import node_folder
from .orders import Held, Lease, Orders, Progress, node_lock, peek, progress
from .wanted import OrderFault, Wanted, confirms, parse_wanted


@dataclass(frozen=True)
class Settings:
    """What a task says once for all its nodes."""

    run: str
    lease: float
    lock_timeout: float
    stalled_after: float
    check_mode: bool
    hold: bool = False  # foretell, and keep other runs from ordering meanwhile


def _failure(code: str, msg: str) -> dict[str, Any]:
    return {"changed": False, "failed": True, "code": code, "msg": msg}


def _diff(name: str, before: Mapping[str, Any] | None, after: Mapping[str, Any] | None) -> dict[str, str]:
    def text(order: Mapping[str, Any] | None) -> str:
        return json.dumps(order, indent=2, sort_keys=True) + "\n" if order else ""

    header = f"nodes/{name}/order.json"
    return {"before_header": header, "after_header": header, "before": text(before), "after": text(after)}


def _order(orders: Orders, settings: Settings, wanted: Wanted, lease: Lease | None, names: set[str]) -> dict[str, Any]:
    rival = orders.rival(wanted)
    if rival is not None and rival not in names:
        raise OrderFault(
            f"{wanted.mac} or {wanted.address} belongs to {rival}; forget that node first (state absent), "
            "or give this one its own"
        )
    current = orders.current(wanted.name)
    generation = int(current["generation"]) if current else 0
    so_far = progress(orders.root, wanted.name, generation) if current else Progress(done=True)
    going_on = so_far.going_on(settings.stalled_after)
    # What was foretold as joined is, also if it came to its end meanwhile: a new order needs a node that is off.
    over = not going_on and current is not None and wanted.foretold == generation
    joined = (going_on or over) and current is not None and current["fingerprint"] == wanted.fingerprint
    if current and not so_far.started and confirms(current) and not confirms(wanted.order):
        joined = False  # nobody has acted on that confirmation yet, and it was taken back
    held = lease is not None and lease.held_by_other(settings.run)
    # Whose own generation is over does nothing to the node any more, also where it was killed before it could say so.
    through = lease is not None and current is not None and current["run"] == lease.run and not going_on
    if lease is not None and held and not joined and not through:
        # In check mode, too: callers switch nodes off by what it foretells. And also where nothing goes on (yet): the
        # other run may be about to switch the node off, and would do so in the midst of our write.
        raise Held(lease.run, lease.until)
    if not joined:
        generation, so_far = generation + 1, Progress()
    stands = joined and (over or (orders.published(wanted, generation) and orders.reserved(wanted)))
    changed = not settings.hold and not stands
    if lease is not None and not settings.check_mode:
        if not held or through:
            lease.take(settings.run, settings.lease)
        if not settings.hold:
            if not joined:
                orders.write(wanted, generation, settings.run)
            changed = not stands and (orders.publish(wanted, generation, settings.run) or not joined)
    after = json.loads(wanted.text(generation, settings.run))
    return {
        "changed": changed,
        "failed": False,
        "code": "joined" if joined else "held" if settings.hold else "ordered",
        "msg": f"joined generation {generation} at {so_far.last_event or 'its start'}" if joined else "",
        "generation": generation,
        "joined": joined,
        "fingerprint": wanted.fingerprint,
        "run": str(current["run"]) if joined and current else settings.run,
        "last_event": so_far.last_event,
        "claimed_by": so_far.claimed_by,
        # A write that goes on must never see its power cut; before it, another start costs nothing.
        "needs_boot": not so_far.started and not (joined and over),
        "diff": _diff(wanted.name, current, after) if not joined and not settings.hold else None,
    }


def _withdraw(orders: Orders, settings: Settings, node: Mapping[str, Any], forget: bool) -> dict[str, Any]:
    name = node["name"]
    if settings.check_mode or not node_folder(orders.root, name).is_dir():
        return _withdrawn(orders, settings, node, forget)
    with node_lock(orders.root, name) as lease:
        result = _withdrawn(orders, settings, node, forget)
        lease.release(settings.run)  # also of a node that this run held and did not come to order
    return result


def _withdrawn(orders: Orders, settings: Settings, node: Mapping[str, Any], forget: bool) -> dict[str, Any]:
    name = node["name"]
    current = orders.current(name)
    generation = int(current["generation"]) if current else 0
    result = {"changed": False, "failed": False, "code": "withdrawn", "msg": "", "generation": generation}
    if node.get("generation") not in (None, generation):
        return {**result, "code": "superseded", "msg": f"its newest generation is {generation}"}
    if settings.check_mode:
        open_ = bool(orders.awaited_folder(name)) or bool(current and not progress(orders.root, name, generation).done)
        return {**result, "changed": open_ or (forget and (orders.dhcp_hosts / name).exists())}
    changed = orders.withdraw(name, settings.run)
    if forget:
        changed |= orders.forget(name)
    return {**result, "changed": changed}


def _guarded(action: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    try:
        return action()
    except (OrderFault, ValueError) as error:
        return _failure("bad_order", str(error))
    except Held as error:
        return _failure("locked", str(error))
    except OSError as error:
        return _failure("seed_error", str(error))


def _order_locked(orders: Orders, settings: Settings, wanted: Wanted, names: set[str]) -> dict[str, Any]:
    if settings.check_mode:
        return _order(orders, settings, wanted, peek(orders.root, wanted.name), names)
    with node_lock(orders.root, wanted.name) as lease:
        return _order(orders, settings, wanted, lease, names)


def order_nodes(orders: Orders, settings: Settings, nodes: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Order all of them, or hold them; nodes that another run holds are tried again until `lock_timeout`."""
    names = {node["name"] for node in nodes}
    results: dict[str, dict[str, Any]] = {}
    deadline = time.monotonic() + settings.lock_timeout

    def one(node: Mapping[str, Any]) -> dict[str, Any]:
        return _guarded(lambda: _order_locked(orders, settings, parse_wanted(orders.root, node), names))

    pending = list(nodes)
    while pending:
        results.update({node["name"]: one(node) for node in pending})
        pending = [node for node in pending if results[node["name"]]["code"] == "locked"]
        if not pending or time.monotonic() >= deadline:
            break
        if settings.hold:
            pending = list(nodes)  # what is held already must not run out, nor what was foretold grow old, meanwhile
        time.sleep(1)
    return results


def withdraw_nodes(
    orders: Orders, settings: Settings, nodes: Sequence[Mapping[str, Any]], forget: bool
) -> dict[str, dict[str, Any]]:
    """End the waiting for all of them, and forget their reservations if told so."""

    def one(node: Mapping[str, Any]) -> dict[str, Any]:
        return _guarded(lambda: _withdraw(orders, settings, node, forget))

    return {node["name"]: one(node) for node in nodes}


def seed_fault(root: Path) -> str | None:
    """What keeps orders from working under this root, or None."""
    folders = [root / "nodes", root / "awaited", root / "dhcp" / "hosts"]
    missing = [str(folder) for folder in folders if not folder.is_dir()]
    if missing:
        return f"{', '.join(missing)}: no such folder; deploy the seed first"
    if folders[0].stat().st_dev != folders[1].stat().st_dev:
        # nginx would take a claim by copying it, and two agents could both succeed.
        return f"{folders[0]} and {folders[1]} are on two file systems; a claim can be taken once on one only"
    return None
