# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 the seedcloud.openstack authors
"""A node's journal: what modules wrote, what its agent reported and what the servers saw, as one list of events."""

from __future__ import annotations

import base64
import json
import os
import re
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .events import access_event, agent_event, dhcp_event
from .files import BOOT_ID, Damaged, append_lines, canonical, node_folder, read_json, read_lines

_REPORT = re.compile(r"([0-9]{4})\.json")
_GENERATION = re.compile(r"[1-9][0-9]{0,8}")
# What nginx and dnsmasq write for a node, a file a generation.
_SERVERS: dict[str, Callable[[bytes, str, int, int], dict[str, Any] | None]] = {
    "access": access_event,
    "dhcp": dhcp_event,
}
REPORT_MAX = 64 * 1024


class BadCursor(ValueError):
    """The cursor was not made by this journal."""


@dataclass
class Cursor:
    """How far a reader has come in one node's journal, from one generation on."""

    generation: int
    journal: int = 0
    servers: dict[str, list[int]] = field(default_factory=dict)  # by "kind/generation": bytes and lines read
    # By "generation/boot_id": the last number before the first gap, then those behind a gap.
    reports: dict[str, list[int]] = field(default_factory=dict)

    def text(self) -> str:
        """The cursor as readers carry it. No JSON: templates would turn that into a mapping."""
        return base64.urlsafe_b64encode(canonical([1, *vars(self).values()])).decode()

    @classmethod
    def parse(cls, text: str) -> Cursor:
        """The cursor that `text` is."""
        try:
            version, *values = json.loads(base64.urlsafe_b64decode(text))
            if version != 1:
                raise BadCursor(f"cursor of version {version}")
            return cls(*values)
        except (ValueError, TypeError) as error:
            raise BadCursor(f"{text!r} is not a cursor: {error}") from error


def current_generation(root: Path, node: str) -> int:
    """The generation of the node's newest order; 0 without any."""
    order = read_json(node_folder(root, node) / "order.json")
    return int(order["generation"]) if order else 0


def append(root: Path, node: str, events: list[dict[str, Any]]) -> None:
    """Write events of one node, in their order."""
    folder = node_folder(root, node)
    folder.mkdir(mode=0o711, parents=True, exist_ok=True)
    append_lines(folder / "journal.jsonl", [canonical(event) for event in events])


def _numbered(folder: Path, pattern: re.Pattern[str]) -> Iterator[tuple[str, Path]]:
    try:
        entries = sorted(folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return
    for entry in entries:
        match = pattern.fullmatch(entry.name)
        if match:
            yield match[match.lastindex or 0], entry


def _journal_events(folder: Path, cursor: Cursor) -> list[dict[str, Any]]:
    lines, cursor.journal = read_lines(folder / "journal.jsonl", cursor.journal)
    try:
        events: list[dict[str, Any]] = [json.loads(line) for line in lines]
    except ValueError as error:
        raise Damaged(folder / "journal.jsonl", error) from error
    return [event for event in events if event["generation"] >= cursor.generation]


def _server_events(folder: Path, node: str, cursor: Cursor) -> Iterator[dict[str, Any]]:
    for kind, meaning in _SERVERS.items():
        for generation, path in _numbered(folder / kind, re.compile(r"([1-9][0-9]{0,8})\.jsonl")):
            if int(generation) < cursor.generation:
                continue
            key = f"{kind}/{generation}"
            offset, count = cursor.servers.get(key, [0, 0])
            lines, offset = read_lines(path, offset)
            for seq, line in enumerate(lines, count + 1):
                event = meaning(line, node, int(generation), seq)
                if event:
                    yield event
            cursor.servers[key] = [offset, count + len(lines)]


def _report(path: Path) -> tuple[bytes, float]:
    """A report and when it came. Its folder belongs to nginx: whatever else lies there is not followed."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return b"", path.lstat().st_ctime
    with os.fdopen(fd, "rb") as file:
        status = os.fstat(fd)
        text = file.read(REPORT_MAX + 1) if stat.S_ISREG(status.st_mode) else b""
    # The time of change, not of modification: the agent could set that one with its PUT's Date header.
    return text, status.st_ctime


def _report_events(folder: Path, node: str, cursor: Cursor) -> Iterator[dict[str, Any]]:
    for generation, boots in _numbered(folder / "reports", _GENERATION):
        if int(generation) < cursor.generation:
            continue
        for boot_id, reports in _numbered(boots, BOOT_ID):
            key = f"{generation}/{boot_id}"
            first, *seen = cursor.reports.get(key, [0])
            for number, path in _numbered(reports, _REPORT):
                seq = int(number)
                if seq <= first or seq in seen:
                    continue
                text, received = _report(path)
                yield agent_event(text, received, node, generation=int(generation), boot_id=boot_id, seq=seq)
                seen.append(seq)
            while first + 1 in seen:
                first += 1
                seen.remove(first)
            cursor.reports[key] = [first, *sorted(seen)]


def read(root: Path, node: str, cursor: Cursor) -> list[dict[str, Any]]:
    """What is new since the cursor, which moves on. The same files give the same order."""
    folder = node_folder(root, node)
    events = [
        *_journal_events(folder, cursor),
        *_server_events(folder, node, cursor),
        *_report_events(folder, node, cursor),
    ]
    return sorted(events, key=lambda e: (e["received"], e["generation"], e["source"], e["boot_id"] or "", e["seq"]))


def history(root: Path, node: str, generation: int) -> list[dict[str, Any]]:
    """All events from a generation on."""
    return read(root, node, Cursor(generation))
