# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 the seedcloud.openstack authors
"""Ask a network which DHCP servers answer a machine that boots from it, with a MAC that nobody has."""

from __future__ import annotations

import os
import random
import socket
import struct
import time
from dataclasses import asdict, dataclass
from typing import Any

ETH_IP = 0x0800
BROADCAST = b"\xff" * 6
COOKIE = b"\x63\x82\x53\x63"
OUTGOING = 4  # PACKET_OUTGOING: our own packet, which AF_PACKET shows as well
DISCOVER, OFFER = 1, 2
END, PAD = 255, 0


@dataclass(frozen=True, order=True)
class Offer:
    """What one server would give."""

    server: str
    mac: str
    address: str | None
    next_server: str | None
    boot_file: str | None


def checksum(header: bytes) -> int:
    total: int = sum(struct.unpack(f"!{len(header) // 2}H", header))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def option(code: int, value: bytes) -> bytes:
    return bytes([code, len(value)]) + value


def discover(mac: bytes, xid: int) -> bytes:
    """A DHCPDISCOVER as a PXE firmware sends it: servers that answer only those (proxyDHCP) are wanted, too."""
    options = b"".join(
        (
            option(53, bytes([DISCOVER])),
            option(55, bytes([1, 3, 54, 60, 66, 67])),
            option(60, b"PXEClient:Arch:00000:UNDI:002001"),
            option(93, b"\0\0"),
            option(94, b"\1\2\1"),
            option(97, b"\0" + mac + bytes(10)),
            bytes([END]),
        )
    )
    flags = 0x8000  # answer by broadcast: nobody has this MAC
    bootp = struct.pack("!4BIHH16x16s192x", 1, 1, 6, 0, xid, 0, flags, mac) + COOKIE + options
    bootp = bootp.ljust(300, b"\0")
    udp = struct.pack("!4H", 68, 67, 8 + len(bootp), 0) + bootp
    head = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(udp), 0, 0, 64, 17, 0, bytes(4), b"\xff" * 4)
    head = head[:10] + struct.pack("!H", checksum(head)) + head[12:]
    return BROADCAST + mac + struct.pack("!H", ETH_IP) + head + udp


def options_of(data: bytes) -> dict[int, bytes]:
    found: dict[int, bytes] = {}
    at = 0
    while at + 1 < len(data) and data[at] != END:
        if data[at] == PAD:
            at += 1
            continue
        found[data[at]] = data[at + 2 : at + 2 + data[at + 1]]
        at += 2 + data[at + 1]
    return found


def text_of(data: bytes) -> str | None:
    value = data.split(b"\0", 1)[0].decode("ascii", "replace")
    return "".join(letter if letter.isprintable() else "?" for letter in value) or None


def dotted(data: bytes) -> str | None:
    return socket.inet_ntoa(data) if len(data) == 4 and any(data) else None


def offer_of(frame: bytes, xid: int) -> Offer | None:
    """The offer in an Ethernet frame, if it is one and ours. Whatever is on the wire gets here."""
    if len(frame) < 34 or frame[12:14] != struct.pack("!H", ETH_IP) or frame[23] != 17:
        return None
    udp = 14 + (frame[14] & 0x0F) * 4
    bootp = frame[udp + 8 :]
    if len(bootp) < 240 or struct.unpack("!HH", frame[udp : udp + 4]) != (67, 68) or bootp[236:240] != COOKIE:
        return None
    if bootp[0] != 2 or struct.unpack("!I", bootp[4:8])[0] != xid:
        return None
    options = options_of(bootp[240:])
    if options.get(53) != bytes([OFFER]):
        return None
    return Offer(
        server=dotted(options.get(54, b"")) or socket.inet_ntoa(frame[26:30]),
        mac=frame[6:12].hex(":"),
        address=dotted(bootp[16:20]),
        next_server=dotted(bootp[20:24]),
        boot_file=text_of(bootp[108:236]) or text_of(options.get(67, b"")),
    )


def probe(interface: str, seconds: float) -> list[dict[str, Any]]:
    """Offers from all servers that answer within the time, asked once a second."""
    mac = bytes([0x02]) + os.urandom(5)  # locally administered
    xid = random.getrandbits(32)
    found: set[Offer] = set()
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_IP)) as wire:
        wire.bind((interface, ETH_IP))
        start = time.monotonic()
        sent = 0
        while (now := time.monotonic() - start) < seconds:
            if now >= sent:
                wire.send(discover(mac, xid))
                sent += 1
            wire.settimeout(max(0.01, min(sent, seconds) - now))
            try:
                frame, sender = wire.recvfrom(2048)
            except TimeoutError:
                continue
            if sender[2] != OUTGOING and (offer := offer_of(frame, xid)):
                found.add(offer)
    return [asdict(offer) for offer in sorted(found, key=lambda offer: (offer.server, offer.mac))]
