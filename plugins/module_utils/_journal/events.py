# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 the seedcloud.openstack authors
"""The shape of what happened to a node, whoever tells it."""

from __future__ import annotations

import json
import re
from datetime import datetime, timezone
from typing import Any

HOPS = ("bmc", "dhcp", "loader", "kernel", "agent", "disk", "claim", "image", "configure", "reboot", "ssh")
LEVELS = ("info", "error")
SOURCES = ("ansible", "bmc", "http", "dhcp", "agent")
# What only the seed or Ansible can know: an agent that says so is not believed.
NOT_AGENTS = frozenset(
    {
        *("ordered", "withdrawn", "boot_device_set", "powered_on", "ssh_up", "deployed"),
        *("dhcp_leased", "loader_sent", "loader_fetched", "kernel_fetched"),
    }
)

_EVENT = re.compile(r"[a-z][a-z0-9_]{0,39}")
_UNPRINTABLE = re.compile(r"[^\x20-\x7e\u00a0-\ud7ff\ue000-\ufffd]")
_MSG_MAX = 2000


class BadEvent(ValueError):
    """What was told is not an event."""


def stamp(seconds: float) -> str:
    """A moment as it stands in the journal: UTC, to the millisecond."""
    moment = datetime.fromtimestamp(seconds, timezone.utc)  # noqa: UP017 - ansible-test imports this with older Pythons, too
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}Z"


def seconds_of(text: str) -> float:
    """The moment in a journal's stamp; ValueError when it is none."""
    moment = datetime.fromisoformat(text.replace("Z", "+00:00"))
    if moment.tzinfo is None:
        raise ValueError(f"{text!r} names no time zone")
    return moment.timestamp()


def printable(value: object) -> str:
    """A text that moves no cursor and starts no line when it is printed."""
    return _UNPRINTABLE.sub("?", str(value))[:_MSG_MAX]


def make_event(
    received: float,
    node: str,
    generation: int,
    source: str,
    event: str,
    *,
    level: str = "info",
    hop: str | None = None,
    msg: str = "",
    data: dict[str, Any] | None = None,
    boot_id: str | None = None,
    seq: int = 0,
) -> dict[str, Any]:
    """An event told by the seed itself or by Ansible; BadEvent says what is wrong with it."""
    if not _EVENT.fullmatch(event):
        raise BadEvent(f"{event!r} is not the name of an event")
    for name, value, allowed in (("level", level, LEVELS), ("source", source, SOURCES), ("hop", hop, (*HOPS, None))):
        if value not in allowed:
            raise BadEvent(f"{name} {value!r} is none of {', '.join(map(str, allowed))}")
    return {
        "time": stamp(received),
        "received": stamp(received),
        "node": node,
        "generation": generation,
        "boot_id": boot_id,
        "seq": seq,
        "source": source,
        "event": event,
        "level": level,
        "hop": hop,
        "msg": printable(msg),
        "data": data or {},
    }


def agent_event(text: bytes, received: float, node: str, *, generation: int, boot_id: str, seq: int) -> dict[str, Any]:
    """An agent's report as an event. What its place on the seed says is taken from there, not from the report."""
    try:
        report = json.loads(text)
        if not isinstance(report, dict):
            raise BadEvent("the report is not an object")
        event, data = report.get("event"), report.get("data", {})
        if not isinstance(event, str) or not isinstance(data, dict):
            raise BadEvent("the report's event is not a text, or its data not an object")
        if event in NOT_AGENTS:
            raise BadEvent(f"an agent cannot know of {event!r}")
        made = make_event(
            received,
            node,
            generation,
            "agent",
            event,
            level=report.get("level", "info"),
            hop=report.get("hop"),
            msg=report.get("msg", ""),
            data=data,
            boot_id=boot_id,
            seq=seq,
        )
        # The agent's clock may be wrong by years; `received` is the seed's and orders the journal.
        told = report.get("time")
        if isinstance(told, str):
            made["time"] = stamp(seconds_of(told))
    except (ValueError, TypeError, OverflowError, RecursionError) as error:
        return make_event(
            received,
            node,
            generation,
            "http",
            "report_malformed",
            level="error",
            hop="agent",
            msg=f"report {seq:04d}: {error}",
            boot_id=boot_id,
            seq=seq,
        )
    return made


_ACCESS_EVENTS = (
    (re.compile(r"/boot/[0-9a-f-]{17}\.ipxe"), "loader_fetched", "loader"),
    (re.compile(r"/ramdisks/[^/]+/vmlinuz"), "kernel_fetched", "kernel"),
)
# A claim that is gone (404) is the agent's own business; these the agent cannot report itself.
_ACCESS_HOPS = (
    ("/boot/", "loader"),
    ("/ramdisks/", "kernel"),
    ("/order", "agent"),
    ("/reports/", "agent"),
    ("/claim/", "claim"),
    ("/images/", "image"),
)


def access_event(line: bytes, node: str, generation: int, seq: int) -> dict[str, Any] | None:
    """What one line of nginx's log means for the node, if anything."""
    try:
        entry = json.loads(line)
        path, status = str(entry["uri"]).split("?", 1)[0], int(entry["status"])
        received, method = float(entry["time"]), str(entry["method"])
    except (ValueError, KeyError, TypeError):
        return None  # nginx was killed within the line
    if status in (200, 206) and method == "GET":
        for pattern, event, hop in _ACCESS_EVENTS:
            if pattern.fullmatch(path):
                return make_event(received, node, generation, "http", event, hop=hop, msg=path, seq=seq)
        return None
    if status < 400 or (status == 404 and path.startswith("/claim")):
        return None
    hop = next((hop for prefix, hop in _ACCESS_HOPS if path.startswith(prefix)), "agent")
    data = {"method": method, "status": status, "path": printable(path)}
    msg = f"{method} {path}: {status}"
    return make_event(
        received, node, generation, "http", "http_refused", level="error", hop=hop, msg=msg, data=data, seq=seq
    )


_DHCP_HOPS = {"dhcp_leased": "dhcp", "loader_sent": "loader"}


def dhcp_event(line: bytes, node: str, generation: int, seq: int) -> dict[str, Any] | None:
    """What dnsmasq told of the node, if anything."""
    try:
        entry = json.loads(line)
        event, received, msg = str(entry["event"]), float(entry["time"]), str(entry["msg"])
    except (ValueError, KeyError, TypeError):
        return None  # killed within the line
    if event not in _DHCP_HOPS:
        return None
    return make_event(received, node, generation, "dhcp", event, hop=_DHCP_HOPS[event], msg=msg, seq=seq)
