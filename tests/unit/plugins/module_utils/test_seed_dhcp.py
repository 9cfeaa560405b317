# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 the seedcloud.openstack authors
"""The seed's dnsmasq, real: who gets an address and which loader, with strangers' servers beside it."""

from __future__ import annotations

import grp
import socket
import struct
from collections.abc import Iterator

import pytest
from ansible_collections.seedcloud.openstack.plugins.module_utils._journal import store
from ansible_collections.seedcloud.openstack.plugins.module_utils._order.batch import (
    Settings,
    order_nodes,
    withdraw_nodes,
)
from ansible_collections.seedcloud.openstack.plugins.module_utils._order.orders import Orders
from ansible_collections.seedcloud.openstack.tests.unit.plugins.seed_rack import PORT, SEED, WORKER, Rack, rack, why_not

pytestmark = pytest.mark.skipif(why_not() is not None, reason=str(why_not()))
SETTINGS = Settings("run-1", lease=60, lock_timeout=0, stalled_after=600, check_mode=False)
KNOWN = "00:00:5e:00:53:01"
SCRIPT = f"http://{SEED}:{PORT}/boot/${{mac:hexhyp}}.ipxe".encode()
Options = dict[int, bytes]


@pytest.fixture(scope="module")
def seed() -> Iterator[Rack]:
    with rack() as made:
        # They were there before and use every port of ours on another network.
        made.start(
            "seed",
            *(
                "dnsmasq",
                "-k",
                "--log-facility=-",
                "--conf-file=/dev/null",
                "--bind-dynamic",
                "--interface=other",
                "--except-interface=lo",
            ),
            *("--dhcp-range=198.51.100.10,198.51.100.99", "--enable-tftp", f"--pid-file={made.run_dir / 'other.pid'}"),
            log="other-dnsmasq",
        )
        made.until((made.run_dir / "other.pid").exists, "the other dnsmasq")
        made.start_dnsmasq()
        (made.root / "tftp" / "undionly.kpxe").write_bytes(bytes(range(256)) * 300)
        yield made


@pytest.fixture
def orders(seed: Rack) -> Iterator[Orders]:
    made = Orders(seed.root, grp.getgrnam(WORKER).gr_gid, seed.dhcp_pid_file)
    yield made
    for name in ("node1", "node2"):
        made.forget(name)
    made.reload_dhcp()


def order(orders: Orders, address: str, mac: str = KNOWN, name: str = "node1") -> None:
    image = {"name": "i", "url": "/images/i.raw.zst", "sha256": "0" * 64, "size": 1}
    wanted = {"name": name, "boot_mac": mac, "address": address, "order": {"action": "deploy", "image": image}}
    told = order_nodes(orders, SETTINGS, [wanted])[name]
    assert not told["failed"], told
    orders.reload_dhcp()


def discover(seed: Rack, mac: str, *, options: Options | None = None, seconds: float = 2) -> tuple[str, Options] | None:
    """The address that a machine on the wire is offered, and with what."""
    head = struct.pack("!BBBBIHH16x6s10x192x4s", 1, 1, 6, 0, 0x5EED, 0, 0x8000, bytes.fromhex(mac.replace(":", "")),
                       b"\x63\x82\x53\x63")  # fmt: skip
    wanted = {53: b"\x01", 55: bytes([1, 3, 6, 42, 66, 67]), **(options or {})}
    packet = head + b"".join(bytes([code, len(value)]) + value for code, value in wanted.items()) + b"\xff"
    with seed.inside("stranger"):
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"eth0")
        sock.bind(("", 68))
        sock.settimeout(seconds)
        sock.sendto(packet, ("255.255.255.255", 67))
        try:
            answer = sock.recv(2048)
        except TimeoutError:
            return None
    told: Options = {}
    rest = answer[240:]
    while rest and rest[0] != 255:
        told[rest[0]], rest = rest[2 : 2 + rest[1]], rest[2 + rest[1] :]
    file = answer[108:236].rstrip(b"\0")
    return socket.inet_ntoa(answer[16:20]), {**told, 67: told.get(67, file).rstrip(b"\0")}


def test_known_and_unknown(seed: Rack, orders: Orders) -> None:
    assert discover(seed, KNOWN, seconds=0.5) is None
    order(orders, "192.0.2.11")
    seed.until(lambda: discover(seed, KNOWN, seconds=0.3), "an offer")
    offer = discover(seed, KNOWN, options={93: b"\0\0"})
    assert offer is not None
    address, options = offer
    assert address == "192.0.2.11"
    assert (options[54], options[67]) == (socket.inet_aton(SEED), b"undionly.kpxe")
    assert options[42] == socket.inet_aton(SEED)
    assert not {3, 6} & set(options), "a default route or a resolver that is not there"
    assert discover(seed, "00:00:5e:00:53:77", options={93: b"\0\0"}, seconds=0.5) is None


@pytest.mark.parametrize(
    ("options", "file"),
    [
        ({93: b"\0\0"}, b"undionly.kpxe"),
        ({93: b"\0\7"}, b"snponly.efi"),
        ({93: b"\0\11"}, b"snponly.efi"),
        ({93: b"\0\0", 175: b"\x01"}, SCRIPT),
        ({93: b"\0\7", 77: b"iPXE"}, SCRIPT),
        ({}, b""),
    ],
)
def test_loader_by_client(seed: Rack, orders: Orders, options: Options, file: bytes) -> None:
    order(orders, "192.0.2.11")
    seed.until(lambda: discover(seed, KNOWN, seconds=0.3), "an offer")
    offer = discover(seed, KNOWN, options=options)
    assert offer is not None and offer[1][67] == file


def test_changed_and_forgotten_reservation(seed: Rack, orders: Orders) -> None:
    order(orders, "192.0.2.11")
    seed.until(lambda: (discover(seed, KNOWN, seconds=0.3) or [""])[0] == "192.0.2.11", "the first address")
    withdraw_nodes(orders, SETTINGS, [{"name": "node1"}], forget=False)
    orders.reload_dhcp()
    offer = discover(seed, KNOWN)
    assert offer is not None and offer[0] == "192.0.2.11", "firmware that boots from the network first waits in vain"
    order(orders, "192.0.2.21")
    seed.until(lambda: (discover(seed, KNOWN, seconds=0.3) or [""])[0] == "192.0.2.21", "the second address")
    withdraw_nodes(orders, SETTINGS, [{"name": "node1"}], forget=True)
    orders.reload_dhcp()
    seed.until(lambda: discover(seed, KNOWN, seconds=0.3) is None, "silence")


def tftp(seed: Rack, path: str) -> bytes | None:
    """A file by TFTP; None when the server refuses."""
    with seed.inside("node1"):
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with sock:
        sock.settimeout(3)
        sock.sendto(b"\0\1" + path.encode() + b"\0octet\0blksize\x001400\0", (SEED, 69))
        data = b""
        while True:
            packet, peer = sock.recvfrom(2048)
            code, number = struct.unpack("!HH", packet[:4])
            if code == 5:
                return None
            sock.sendto(struct.pack("!HH", 4, number if code == 3 else 0), peer)
            data += packet[4:] if code == 3 else b""
            if code == 3 and len(packet) < 1404:
                return data


def test_journal_tells_of_lease_and_loader(seed: Rack, orders: Orders) -> None:
    order(orders, "192.0.2.11")
    generation = store.current_generation(seed.root, "node1")
    seed.until(lambda: discover(seed, KNOWN, seconds=0.3), "an offer")
    request = {53: b"\x03", 50: socket.inet_aton("192.0.2.11"), 54: socket.inet_aton(SEED)}
    for _unused in range(2):  # the firmware's, then the loader's for the same lease
        answer = discover(seed, KNOWN, options=request)
        assert answer is not None and answer[1][53] == b"\x05"
    assert tftp(seed, "undionly.kpxe")

    def told() -> list[tuple[str, str, str]]:
        events = store.history(seed.root, "node1", generation)
        return [(e["event"], e["hop"], e["msg"]) for e in events if e["source"] == "dhcp"]

    lease = ("dhcp_leased", "dhcp", f"192.0.2.11 to {KNOWN}")
    sent = ("loader_sent", "loader", "undionly.kpxe, 76800 bytes")
    seed.until(lambda: len(told()) == 3, "events")
    assert sorted(told()) == [lease, lease, sent]
    # A reload tells dnsmasq's leases again, but nothing happened.
    orders.dhcp_stale = True
    orders.reload_dhcp()
    withdraw_nodes(orders, SETTINGS, [{"name": "node1"}], forget=False)
    discover(seed, KNOWN, options=request)
    assert len(told()) == 3


def test_tftp_serves_the_loader_and_nothing_else(seed: Rack) -> None:
    assert tftp(seed, "undionly.kpxe") == (seed.root / "tftp" / "undionly.kpxe").read_bytes()
    (seed.root / "secrets" / "x").write_text("secret")
    for path in ("../secrets/x", "/etc/passwd", str(seed.root / "secrets" / "x"), "missing"):
        assert tftp(seed, path) is None


def test_strangers_servers_go_on(seed: Rack) -> None:
    """Ours bound nothing on the other network, and theirs is as it was."""
    assert "198.51.100.10" in seed.log("other-dnsmasq")
    with seed.inside("seed"):
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with sock:
        sock.settimeout(3)
        sock.sendto(b"\0\1undionly.kpxe\0octet\0", ("198.51.100.1", 69))
        assert struct.unpack("!H", sock.recv(512)[:2]) == (5,), "our file on their network"
