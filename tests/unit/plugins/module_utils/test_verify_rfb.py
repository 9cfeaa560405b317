# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 the seedcloud.openstack authors
"""The screen of a real QEMU, and a console that misbehaves."""

from __future__ import annotations

import shutil
import socket
import struct
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from ansible_collections.seedcloud.openstack.plugins.module_utils._proof import cloud, rfb

QEMU = shutil.which("qemu-system-x86_64")


@pytest.fixture
def console(tmp_path: Path) -> Iterator[socket.socket]:
    if QEMU is None:
        pytest.skip("needs qemu-system-x86")
    path = tmp_path / "vnc"
    machine = subprocess.Popen(
        [QEMU, "-accel", "tcg", "-m", "16", "-display", "none", "-vnc", f"unix:{path}", "-nic", "none"],
        stdin=subprocess.DEVNULL,
    )
    try:
        for _unused in range(100):
            if path.exists():
                break
            time.sleep(0.1)
        with socket.socket(socket.AF_UNIX) as stream:
            stream.settimeout(20)
            stream.connect(str(path))
            yield stream
    finally:
        machine.kill()
        machine.wait()


def test_the_firmware_of_a_machine_is_seen(console: socket.socket) -> None:
    session = rfb.Session(lambda: console.recv(1000), console.sendall)  # in pieces, as a websocket brings it
    assert session.name.startswith("QEMU")
    for _unused in range(100):
        screen = session.screen()
        if screen.lit:
            break
        time.sleep(0.1)
    assert screen.lit > 100 and len(screen.pixels) == screen.width * screen.height * 4
    png = screen.png()
    assert png[:8] == b"\x89PNG\r\n\x1a\n" and struct.unpack(">II", png[16:24]) == (screen.width, screen.height)


@pytest.mark.parametrize(
    ("said", "fault"),
    [
        ([b"HTTP/1.1 400"], "not RFB 3.8"),
        ([b"RFB 003.008\n", b"\0", struct.pack(">I", 7), b"go away"], "refuses us: go away"),
        ([b"RFB 003.008\n", b"\x01\x02"], "an authentication"),
        ([b"RFB 003.008\n", b"", b"\x01\x01", struct.pack(">II", 1, 2), b"no"], "refuses us: no"),
        ([b"RFB 003.008\n", None], "was closed"),
    ],
)
def test_a_console_that_is_none_says_why(said: list[bytes | None], fault: str) -> None:
    answers = iter(said)
    with pytest.raises(rfb.RfbError, match=fault):
        rfb.Session(lambda: next(answers), lambda data: None)


@pytest.mark.parametrize(
    ("url", "socket_url"),
    [
        ("http://192.0.2.1:6080/vnc_auto.html?path=%3Ftoken%3Dabc", "ws://192.0.2.1:6080/?token=abc"),
        ("https://cloud.example/vnc_lite.html?path=%3Ftoken%3Dabc", "wss://cloud.example/?token=abc"),
        ("http://192.0.2.1:6080/vnc_auto.html?token=abc", "ws://192.0.2.1:6080/websockify?token=abc"),
    ],
)
def test_the_websocket_of_a_console(url: str, socket_url: str) -> None:
    assert cloud.console_socket(url) == socket_url
