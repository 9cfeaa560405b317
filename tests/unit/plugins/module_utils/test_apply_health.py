# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 the seedcloud.openstack authors
"""Health checks against servers that say exactly what the test wants, byte by byte."""

from __future__ import annotations

import contextlib
import http.server
import re
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.seedcloud.openstack.plugins.module_utils._apply import health
from ansible_collections.seedcloud.openstack.plugins.module_utils._apply.system import ApplyError


@contextlib.contextmanager
def server(talk: Callable[[socket.socket], None]) -> Iterator[str]:
    """One conversation on a loopback port."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            link, _unused = listening.accept()
            with link, contextlib.suppress(OSError):
                talk(link)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"127.0.0.1:{listening.getsockname()[1]}"
        thread.join(timeout=10)


def method(channel_class: int, number: int, arguments: bytes = b"") -> bytes:
    payload = struct.pack(">HH", channel_class, number) + arguments
    return struct.pack(">BHI", 1, 0, len(payload)) + payload + b"\xce"


def broker(link: socket.socket, *, user: bytes, vhost: bytes) -> None:
    """RabbitMQ as far as Connection.Open: a wrong login is hung up on, a wrong vhost gets Connection.Close."""
    stream = link.makefile("rb")

    def frame() -> bytes:
        size = struct.unpack(">BHI", stream.read(7))[2]
        return bytes(stream.read(size + 1))

    assert stream.read(8) == b"AMQP\x00\x00\x09\x01"
    link.sendall(method(10, 10, b"\x00\x09" + struct.pack(">I", 0) + struct.pack(">I", 5) + b"PLAIN"))
    start_ok = frame()
    if b"PLAIN" not in start_ok or b"\0" + user not in start_ok:
        return
    link.sendall(method(10, 30, struct.pack(">HIH", 2047, 131072, 60)))
    assert frame()[:4] == struct.pack(">HH", 10, 31)
    opened = frame()
    assert opened[:4] == struct.pack(">HH", 10, 40)
    good = opened[4:].startswith(bytes([len(vhost)]) + vhost + b"\0")
    link.sendall(method(10, 41, b"\0") if good else method(10, 50, struct.pack(">H", 530)))
    frame()


@pytest.mark.parametrize(
    ("user", "vhost", "let_in"), [("u", "/", True), ("u", "other", False), ("x", "/", False)]
)  # fmt: skip
def test_amqp_login(user: str, vhost: str, let_in: bool) -> None:
    with server(lambda link: broker(link, user=b"u\0p", vhost=b"/")) as address:
        assert health.amqp_login(address, user, "p", vhost) is let_in


def test_what_speaks_something_else_is_not_a_broker() -> None:
    greeting = b"HTTP/1.1 400 Bad Request\r\n\r\n"
    with server(lambda link: link.sendall(greeting)) as address, pytest.raises(health.NotYetError):
        health.amqp_login(address, "u", "p", "/")


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return int(listening.getsockname()[1])


@pytest.fixture(scope="module")
def web() -> Iterator[str]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(int(self.path[1:]))
            self.end_headers()

        def log_message(self, *_unused: Any) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as httpd:
        threading.Thread(target=httpd.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{httpd.server_port}"
        httpd.shutdown()


@pytest.mark.parametrize(
    ("status", "wanted", "good"),
    [
        (200, None, True),
        (300, None, True),
        (401, None, True),
        (503, None, False),
        (401, [200], False),
        (204, [204], True),
    ],
)
def test_http(web: str, status: int, wanted: list[int] | None, good: bool) -> None:
    check = {"http": f"{web}/{status}", **({"status": wanted} if wanted else {})}
    if good:
        health.probe(check)
    else:
        with pytest.raises(health.NotYetError, match=str(status)):
            health.probe(check)


def test_nobody_listens(tmp_path: Path) -> None:
    port = free_port()
    for check in (
        {"tcp": f"127.0.0.1:{port}"},
        {"http": f"http://127.0.0.1:{port}/"},
        {"unix": str(tmp_path / "none.sock")},
        {"amqp": {"address": f"127.0.0.1:{port}", "user": "u", "password": "p"}},
        {"argv": ["false"]},
    ):
        with pytest.raises(health.NotYetError):
            health.probe(check)


def test_somebody_listens(tmp_path: Path) -> None:
    with socket.create_server(("::1", 0), family=socket.AF_INET6) as listening:
        health.probe({"tcp": f"[::1]:{listening.getsockname()[1]}"})
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "s"))
        listening.listen()
        health.probe({"unix": str(tmp_path / "s")})
    health.probe({"argv": ["true"]})


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]"])
def test_a_client_that_is_connected(host: str) -> None:
    own = Path("/proc/self/cgroup").read_text(encoding="ascii").strip().rpartition(":")[2]
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host.strip("[]"), 0), family=family) as listening:
        check = {"connected": f"{host}:{listening.getsockname()[1]}"}
        with pytest.raises(health.NotYetError, match=re.escape(f"it has no connection to {check['connected']}")):
            health.probe(check, own)
        with socket.create_connection(listening.getsockname()[:2]):
            health.probe(check, own)
            for other in ("", "/no.such.service"):  # somebody is connected, but not this unit
                with pytest.raises(health.NotYetError):
                    health.probe(check, other)


def test_a_container_seen_from_outside_of_its_cgroup_namespace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cgroup").write_text("9:name=systemd:/\n0::/payload/system.slice/x.service\n")
    monkeypatch.setattr(health, "Path", lambda *_parts: tmp_path / "cgroup")
    assert health._belongs("1", "/system.slice/x.service")
    assert not any(
        health._belongs("1", other) for other in ("/system.slice/x", "/slice/x.service", "/system.slice/y.service")
    )


def test_a_check_that_is_none_is_a_fault_of_the_plan() -> None:
    with pytest.raises(ApplyError, match="no such health check"):
        health.probe({"htpp": "x"})
