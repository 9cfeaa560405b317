# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 the seedcloud.openstack authors
"""The DHCP probe against real dnsmasqs in network namespaces, and against what else may be on a wire."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from ansible_collections.seedcloud.openstack.plugins.module_utils._dhcp import probe

needs_network = pytest.mark.skipif(
    os.geteuid() != 0 or not shutil.which("dnsmasq"), reason="needs root for network namespaces, and dnsmasq"
)


def run(*command: str) -> None:
    subprocess.run(command, check=True)


@pytest.fixture
def wire() -> Iterator[str]:
    """This thread is in a namespace with one end of a wire, `client`; the other end is in the namespace returned."""
    far = f"scdhcp{os.getpid()}"
    before = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    run("ip", "netns", "add", far)
    try:
        os.unshare(os.CLONE_NEWNET)
        run("ip", "link", "add", "client", "type", "veth", "peer", "name", "server", "netns", far)
        run("ip", "link", "set", "client", "up")
        run("ip", "-n", far, "link", "set", "server", "up")
        run("ip", "-n", far, "link", "set", "lo", "up")
        run("ip", "-n", far, "address", "add", "192.0.2.3/24", "dev", "server")
        yield far
    finally:
        os.setns(before, os.CLONE_NEWNET)
        os.close(before)
        run("ip", "netns", "delete", far)


def dnsmasq(namespace: str, folder: Path, *options: str) -> subprocess.Popen[bytes]:
    command = ["dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--port=0", "--no-ping"]
    files = [
        "--interface=server",
        f"--dhcp-leasefile={folder}/leases",
        f"--pid-file={folder}/pid",
        "--user=root",
        "--log-facility=-",
    ]
    inside = ["ip", "netns", "exec", namespace, *command, *files, *options]
    server = subprocess.Popen(inside, stderr=subprocess.PIPE)
    assert server.stderr
    while b"DHCP" not in server.stderr.readline():
        assert server.poll() is None
    return server


@needs_network
@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--dhcp-range=192.0.2.50,192.0.2.60"], [("192.0.2.3", True, None)]),
        (["--dhcp-range=192.0.2.50,192.0.2.60", "--dhcp-boot=loader.0"], [("192.0.2.3", True, "loader.0")]),
        (["--dhcp-range=192.0.2.50,static", "--dhcp-host=00:00:5e:00:53:01,192.0.2.51"], []),
        (["--dhcp-range=192.0.2.0,proxy", "--pxe-service=x86PC,rack,loader"], [("192.0.2.3", False, None)]),
    ],
    ids=["server", "pxe-server", "known-macs-only", "proxy"],
)
def test_servers(wire: str, tmp_path: Path, options: list[str], expected: list[tuple[str, bool, str | None]]) -> None:
    server = dnsmasq(wire, tmp_path, *options)
    try:
        start = time.monotonic()
        offers = probe.probe("client", 2)
        assert time.monotonic() - start < 10
    finally:
        server.terminate()
        server.wait()
    assert [(offer["server"], bool(offer["address"]), offer["boot_file"]) for offer in offers] == expected


@needs_network
def test_silence(wire: str) -> None:
    assert wire
    assert probe.probe("client", 0.3) == []


def test_whatever_is_on_the_wire_is_no_offer() -> None:
    mac, xid = b"\2\0\0\0\0\1", 7
    good = bytearray(probe.discover(mac, xid))
    assert probe.offer_of(bytes(good), xid) is None  # our own question
    good[42] = 2
    good[34:38] = b"\0\x43\0\x44"
    good[284] = probe.OFFER
    offer = probe.offer_of(bytes(good), xid)
    assert offer
    assert offer.server == "0.0.0.0"
    assert probe.offer_of(bytes(good), xid + 1) is None
    dice = random.Random(1)
    for _unused in range(2000):
        bad = bytearray(good[: dice.randrange(len(good))] if dice.random() < 0.3 else good)
        for _unused in range(dice.randrange(8)):
            if bad:
                bad[dice.randrange(len(bad))] = dice.randrange(256)
        probe.offer_of(bytes(bad), xid)
