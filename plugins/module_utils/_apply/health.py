# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 the seedcloud.openstack authors
"""Is it up? One try a call; the caller repeats it until its deadline."""

from __future__ import annotations

import http.client
import re
import socket
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from .system import ApplyError, must, run


class NotYetError(Exception):
    """Not healthy; the text says what was seen instead."""


def split(address: str) -> tuple[str, int]:
    """host:port, [v6]:port."""
    host, _unused, port = address.rpartition(":")
    return host.strip("[]"), int(port)


def http_get(url: str, timeout: float = 10) -> int:
    """The status of one GET, without following anything."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port or 80, timeout=timeout)
    try:
        connection.request("GET", parts.path or "/")
        return connection.getresponse().status
    except (OSError, http.client.HTTPException) as error:
        raise NotYetError(f"{url}: {error}") from error
    finally:
        connection.close()


def connected(control_group: str, address: str) -> bool:
    """Whether a process of the control group (as systemd names it: /system.slice/x.service) has a TCP connection there."""
    host, port = split(address)
    argv = ["ss", "--no-header", "--tcp", "--numeric", "--processes", "state", "established"]
    said = must(run([*argv, "dst", f"[{host}]:{port}" if ":" in host else f"{host}:{port}"], timeout=60), "ss")
    return any(_belongs(pid, control_group) for pid in set(re.findall(r"\bpid=(\d+)", said)))


def _belongs(pid: str, control_group: str) -> bool:
    try:
        lines = Path("/proc", pid, "cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:  # it has ended
        return False
    # cgroups(7): hierarchy-ID:controllers:path. A process may be in a group below its unit's; and who came into a container
    # without its cgroup namespace sees the path from outside.
    return any(f"{control_group.rstrip('/')}/" in f"{line.split(':', 2)[2]}/" for line in lines)


def probe(check: Mapping[str, Any], control_group: str = "") -> None:
    """Try one health check, of the unit with this control group. Raises NotYetError."""
    if "http" in check:
        status = http_get(check["http"])
        good = check.get("status")
        if not (status in good if good else status < 500):
            raise NotYetError(f"{check['http']} answers {status}")
    elif "tcp" in check:
        try:
            socket.create_connection(split(check["tcp"]), timeout=5).close()
        except OSError as error:
            raise NotYetError(f"{check['tcp']}: {error}") from error
    elif "unix" in check:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
            client.settimeout(5)
            try:
                client.connect(check["unix"])
            except OSError as error:
                raise NotYetError(f"{check['unix']}: {error}") from error
    elif "connected" in check:
        if not (control_group and connected(control_group, check["connected"])):
            raise NotYetError(f"it has no connection to {check['connected']}")
    elif "argv" in check:
        done = run(check["argv"], timeout=60)
        if done.returncode:
            raise NotYetError(f"{check['argv'][0]} returns {done.returncode}: {(done.stderr or done.stdout).strip()}")
    elif "amqp" in check:
        question = check["amqp"]
        if not amqp_login(question["address"], question["user"], question["password"], question.get("vhost", "/")):
            raise NotYetError(f"RabbitMQ refuses {question['user']}")
    else:
        raise ApplyError(f"no such health check: {sorted(check)}")


def _short(text: str) -> bytes:
    return struct.pack("B", len(text.encode())) + text.encode()


def _method(channel_class: int, method: int, arguments: bytes) -> bytes:
    payload = struct.pack(">HH", channel_class, method) + arguments
    return struct.pack(">BHI", 1, 0, len(payload)) + payload + b"\xce"


def _answer(stream: Any) -> tuple[int, int] | None:
    """Class and method of the next frame; None when the server hung up."""
    head = stream.read(7)
    if len(head) < 7:
        return None
    payload = stream.read(struct.unpack(">BHI", head)[2] + 1)
    return struct.unpack(">HH", payload[:4]) if len(payload) > 4 else None


def amqp_login(address: str, user: str, password: str, vhost: str, timeout: float = 15) -> bool:
    """Whether RabbitMQ lets the user into the vhost: AMQP 0-9-1 as far as Connection.Open-Ok. Raises NotYetError."""
    login = f"\0{user}\0{password}".encode()
    start_ok = struct.pack(">I", 0) + _short("PLAIN") + struct.pack(">I", len(login)) + login + _short("en_US")
    try:
        with socket.create_connection(split(address), timeout=timeout) as link, link.makefile("rb") as stream:
            link.sendall(b"AMQP\x00\x00\x09\x01")
            if _answer(stream) != (10, 10):
                raise NotYetError(f"{address} does not speak AMQP 0-9-1")
            link.sendall(_method(10, 11, start_ok))
            if _answer(stream) != (10, 30):  # anything but Tune: refused
                return False
            link.sendall(_method(10, 31, struct.pack(">HIH", 1, 131072, 0)))
            link.sendall(_method(10, 40, _short(vhost) + _short("") + b"\0"))
            opened = _answer(stream) == (10, 41)
            link.sendall(_method(10, 50, struct.pack(">H", 200) + _short("") + struct.pack(">HH", 0, 0)))
            return opened
    except OSError as error:
        raise NotYetError(f"{address}: {error}") from error
