# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 the seedcloud.openstack authors
"""Orders on the seed: which one a node has, how far it is, and the steps that write or withdraw one.

Each step leaves files that the next call understands, so a kill between any two of them costs nothing:
the order with its generation comes first, what nginx admits appears by one rename, last.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .._journal import store
from .._journal.events import make_event, seconds_of
from .._journal.files import locked, node_folder, read_json, sync_folder, write_atomic
from .wanted import Wanted

# After these a generation is over: nothing more is to be waited for.
DONE = frozenset({"deployed", "withdrawn"})
_SERVERS = ("access", "dhcp")  # what nginx and dnsmasq write into
_LEASE_TEXT = 512


class Held(Exception):
    """Another live run acts on the node."""

    def __init__(self, run: str, until: float) -> None:
        left = max(0, until - time.time())
        super().__init__(f"run {run} acts on it; unless it is heard of again, the node is free in {left:.0f} s")
        self.run = run


@dataclass(frozen=True)
class Progress:
    """How far a generation of a node's order is."""

    last_event: str = ""
    agent_seen: bool = False
    failed: bool = False
    done: bool = False
    powered_on: bool = False
    claimed_by: str | None = None
    seen: float = 0.0

    def going_on(self, stalled_after: float) -> bool:
        """Whether something may still come of it. Without any event its writer was cut off: it is only begun."""
        fresh = not self.last_event or time.time() - self.seen < stalled_after
        return not self.failed and not self.done and fresh

    @property
    def started(self) -> bool:
        """Whether the node was started for it, as far as anybody told."""
        return bool(self.powered_on or self.agent_seen or self.claimed_by)


class Lease:
    """Who acts on a node: the text of its lock file, renewed while the run follows the node's journal."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        run, _unused, until = os.pread(fd, _LEASE_TEXT, 0).decode("ascii", "replace").strip().partition(" ")
        try:
            self.run, self.until = run, float(until)
        except ValueError:  # nobody, or a run that was killed within the write
            self.run, self.until = "", 0.0

    def held_by_other(self, run: str) -> bool:
        """Whether another run is alive on this node."""
        return bool(self.run) and self.run != run and self.until > time.time()

    def take(self, run: str, seconds: float) -> None:
        """Make the node this run's."""
        self._write(f"{run} {time.time() + seconds:.3f}\n")

    def release(self, run: str) -> None:
        """Give the node up, when it is this run's."""
        if self.run == run:
            self._write("")

    def _write(self, text: str) -> None:
        # In place: a rename would leave waiting runs locked on a file that nobody sees any more.
        os.pwrite(self._fd, text.encode("ascii").ljust(_LEASE_TEXT), 0)


def peek(root: Path, node: str) -> Lease | None:
    """Who acts on the node, for check mode: nothing is made, nobody is waited for."""
    try:
        fd = os.open(node_folder(root, node) / "lock", os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        return Lease(fd)
    finally:
        os.close(fd)


@contextlib.contextmanager
def node_lock(root: Path, node: str) -> Iterator[Lease]:
    """Hold a node's lock for one call."""
    folder = node_folder(root, node)
    folder.mkdir(mode=0o711, parents=True, exist_ok=True)
    with locked(folder / "lock") as fd:
        yield Lease(fd)


def renew(root: Path, node: str, run: str, seconds: float) -> None:
    """Say that the run still follows this node."""
    with node_lock(root, node) as lease:
        if not lease.held_by_other(run):
            lease.take(run, seconds)


def progress(root: Path, node: str, generation: int) -> Progress:
    """How far a generation is, from the node's journal and its claim."""
    claims = node_folder(root, node) / "claimed" / str(generation)
    claimed = next((entry.name for entry in sorted(claims.iterdir())), None) if claims.is_dir() else None
    last, agent, failed, done, powered, seen = "", False, False, False, False, 0.0
    for event in store.history(root, node, generation):
        if event["generation"] != generation:
            continue
        last, seen = event["event"], seconds_of(event["received"])
        agent = agent or event["source"] == "agent"
        failed = failed or (event["level"] == "error" and event["source"] != "http")
        done = done or last in DONE
        powered = powered or last == "powered_on"
    return Progress(last, agent, failed, done, powered, claimed, seen)


class Orders:
    """The orders under one seed's root."""

    def __init__(self, root: Path, gid: int, dhcp_pid_file: Path | None) -> None:
        self.root = root
        self.gid = gid
        self.dhcp_pid_file = dhcp_pid_file
        self.awaited = root / "awaited"
        self.dhcp_hosts = root / "dhcp" / "hosts"
        self.dhcp_stale = False
        self._reserved: dict[str, str] | None = None

    # -- reading

    def current(self, node: str) -> dict[str, Any] | None:
        """The node's order, or None."""
        order = read_json(node_folder(self.root, node) / "order.json")
        return order if isinstance(order, dict) else None

    def awaited_folder(self, node: str) -> Path | None:
        """Where nginx admits this node, if it does."""
        address = _text(node_folder(self.root, node) / "address").strip()
        folder = self.awaited / address
        return folder if address and _text(folder / "node").strip() == node else None

    # -- the steps of an order

    def write(self, wanted: Wanted, generation: int, run: str) -> None:
        """A new generation, up to its commit: from then on a rerun joins it."""
        folder = node_folder(self.root, wanted.name)
        self.retire(wanted.name)  # an agent of the old generation finds no claim any more
        for name in ("claimed", "reports", *_SERVERS):
            self._folder(folder / name, 0o750)
        self._folder(folder / "claimed" / str(generation), 0o2770)
        self._folder(folder / "reports" / str(generation), 0o2770)
        for name in _SERVERS:
            write_atomic(folder / name / f"{generation}.jsonl", b"", 0o660, self.gid)
        write_atomic(folder / "order.json", wanted.text(generation, run), 0o600, durable=True)

    def published(self, wanted: Wanted, generation: int) -> bool:
        """Whether nginx admits the node, at its address, to this generation."""
        place = self.awaited / wanted.address
        order = read_json(place / "order.json") or {}
        script = _text(place / "boot" / wanted.boot_file)
        return (
            self.awaited_folder(wanted.name) == place
            and order.get("generation") == generation
            and script == wanted.boot_script
        )

    def reserved(self, wanted: Wanted) -> bool:
        """Whether DHCP knows the node."""
        return _text(self.dhcp_hosts / wanted.name) == wanted.dhcp_line

    def rival(self, wanted: Wanted) -> str | None:
        """Another node that has the address or the MAC, if any."""
        if self._reserved is None:
            self._reserved = {}
            for path in sorted(self.dhcp_hosts.iterdir()) if self.dhcp_hosts.is_dir() else []:
                for key in _text(path).strip().split(",")[:2] if not path.name.startswith(".") else []:
                    self._reserved[key] = path.name
        owners = {self._reserved.get(wanted.mac), self._reserved.get(wanted.address)}
        return next((owner for owner in sorted(o for o in owners if o) if owner != wanted.name), None)

    def publish(self, wanted: Wanted, generation: int, run: str) -> bool:
        """Everything behind the commit, as far as it is missing. Says whether anything was."""
        changed = self._journal_ordered(wanted, generation, run)
        changed |= self._dhcp(wanted)
        if self.published(wanted, generation):
            return changed
        place = self.awaited / wanted.address
        self.retire(wanted.name, place)
        write_atomic(node_folder(self.root, wanted.name) / "address", f"{wanted.address}\n".encode())
        new = self.awaited / f".new-{wanted.name}"
        self._folder(new, 0o750)
        self._folder(new / "boot", 0o750)
        self._folder(new / "claim", 0o2770)  # nginx renames out of it
        write_atomic(new / "node", f"{wanted.name}\n".encode(), 0o640, self.gid)
        write_atomic(new / "boot" / wanted.boot_file, wanted.boot_script.encode(), 0o640, self.gid)
        text = (node_folder(self.root, wanted.name) / "order.json").read_bytes()
        write_atomic(new / "order.json", text, 0o640, self.gid)
        home = Path("../../nodes") / wanted.name
        for name in ("claimed", "reports"):
            (new / name).symlink_to(home / name)
        for name in _SERVERS:
            (new / f"{name}.jsonl").symlink_to(home / name / f"{generation}.jsonl")
        # The claim is free unless somebody has it: this folder may be a second one, made after a kill.
        if not any((node_folder(self.root, wanted.name) / "claimed" / str(generation)).iterdir()):
            write_atomic(new / "claim" / str(generation), text, 0o640, self.gid)
        new.rename(place)
        sync_folder(self.awaited)
        return True

    def retire(self, node: str, place: Path | None = None) -> bool:
        """Nothing is admitted from this node (and from this place) any more."""
        # One rename ends it; what a kill leaves behind begins with a dot, which is no client's address.
        trash = self.awaited / f".old-{node}"
        retired = False
        for folder in (self.awaited_folder(node), place):
            _remove(trash)
            if folder is not None and folder.exists():
                folder.rename(trash)
                retired = True
        _remove(trash)
        _remove(self.awaited / f".new-{node}")
        return retired

    def withdraw(self, node: str, run: str) -> bool:
        """The boot is awaited no longer; the journal says so once."""
        changed = self.retire(node)
        order = self.current(node)
        if order and not progress(self.root, node, order["generation"]).done:
            store.append(
                self.root, node, [make_event(time.time(), node, order["generation"], "ansible", "withdrawn", msg=run)]
            )
            changed = True
        return changed

    def forget(self, node: str) -> bool:
        """The node's reservation of its address goes away."""
        path = self.dhcp_hosts / node
        if not path.exists():
            return False
        path.unlink()
        self.dhcp_stale = True
        return True

    def _folder(self, path: Path, mode: int) -> None:
        path.mkdir(exist_ok=True)
        os.chown(path, -1, self.gid)
        path.chmod(mode)

    def _journal_ordered(self, wanted: Wanted, generation: int, run: str) -> bool:
        if any(event["event"] == "ordered" for event in store.history(self.root, wanted.name, generation)):
            return False
        data = {"action": wanted.order["action"], "fingerprint": wanted.fingerprint, "run": run}
        event = make_event(time.time(), wanted.name, generation, "ansible", "ordered", data=data, msg=data["action"])
        store.append(self.root, wanted.name, [event])
        return True

    def _dhcp(self, wanted: Wanted) -> bool:
        if self.reserved(wanted):
            return False
        path = self.dhcp_hosts / wanted.name
        # dnsmasq sees a new file by itself, but keeps what a file said before until it is told to forget.
        self.dhcp_stale |= path.exists()
        write_atomic(path, wanted.dhcp_line.encode())
        return True

    def reload_dhcp(self) -> None:
        """Make dnsmasq forget reservations that are gone; where it does not run there is nothing to forget."""
        if not self.dhcp_stale or self.dhcp_pid_file is None:
            return
        pid = _text(self.dhcp_pid_file).strip()
        if pid.isdigit() and _text(Path("/proc") / pid / "comm").strip() == "dnsmasq":
            os.kill(int(pid), signal.SIGHUP)
        self.dhcp_stale = False


def _remove(folder: Path) -> None:
    with contextlib.suppress(FileNotFoundError):
        shutil.rmtree(folder)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError):
        return ""
