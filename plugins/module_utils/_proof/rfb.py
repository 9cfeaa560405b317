# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 the seedcloud.openstack authors
"""As much of RFB (RFC 6143) as it takes to see a screen: no authentication, one full update in raw encoding."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

# 32 bits a pixel, depth 24, little endian, true colour: 0x00RRGGBB
PIXELS = struct.pack(">BBBBHHHBBB3x", 32, 24, 0, 1, 255, 255, 255, 16, 8, 0)

Read: TypeAlias = "Callable[[], bytes | None]"  # None: closed
Write = Callable[[bytes], None]


class RfbError(Exception):
    """The other side speaks no RFB that we speak, or refuses us."""


@dataclass(frozen=True)
class Screen:
    """A framebuffer, four bytes a pixel: blue, green, red, unused."""

    name: str
    width: int
    height: int
    pixels: bytes

    @property
    def lit(self) -> int:
        """How many pixels are not black."""
        return sum(1 for at in range(0, len(self.pixels), 4) if self.pixels[at : at + 3] != b"\0\0\0")

    def png(self) -> bytes:
        """The picture, for people."""

        def chunk(kind: bytes, data: bytes) -> bytes:
            return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

        rgb = bytearray(self.width * self.height * 3)
        for offset, source in ((0, 2), (1, 1), (2, 0)):
            rgb[offset::3] = self.pixels[source::4]
        stride = self.width * 3
        rows = b"".join(b"\0" + rgb[at : at + stride] for at in range(0, len(rgb), stride))
        header = struct.pack(">IIBBBBB", self.width, self.height, 8, 2, 0, 0, 0)
        return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


class Session:
    """A stream of bytes over messages of any size, and the protocol on top of it."""

    def __init__(self, read: Read, write: Write) -> None:
        self._read, self._write = read, write
        self._buffer = bytearray()
        self.name, self.width, self.height = self._greet()

    def _take(self, count: int) -> bytes:
        while len(self._buffer) < count:
            data = self._read()
            if data is None:
                raise RfbError("the console was closed")
            self._buffer += data  # which may be empty: Nova's proxy begins with such a message
        taken = bytes(self._buffer[:count])
        del self._buffer[:count]
        return taken

    def _number(self, form: str) -> int:
        value: int = struct.unpack(f">{form}", self._take(struct.calcsize(form)))[0]
        return value

    def _text(self) -> str:
        return self._take(self._number("I")).decode("utf-8", "replace")

    def _greet(self) -> tuple[str, int, int]:
        version = self._take(12)
        if version != b"RFB 003.008\n":
            raise RfbError(f"the console speaks {version!r}, not RFB 3.8")
        self._write(version)
        kinds = self._take(self._number("B"))
        if not kinds:
            raise RfbError(f"the console refuses us: {self._text()}")
        if 1 not in kinds:
            raise RfbError(f"the console wants an authentication that we have not: {list(kinds)}")
        self._write(b"\x01")  # None: the token was the authentication
        if self._number("I"):
            raise RfbError(f"the console refuses us: {self._text()}")
        self._write(b"\x01")  # shared
        width, height = self._number("H"), self._number("H")
        self._take(16)
        name = self._text()
        self._write(struct.pack(">Bxxx", 0) + PIXELS)
        self._write(struct.pack(">BxHi", 2, 1, 0))
        return name, width, height

    def screen(self) -> Screen:
        """The whole screen as it is now."""
        self._write(struct.pack(">BBHHHH", 3, 0, 0, 0, self.width, self.height))
        pixels = bytearray(self.width * self.height * 4)
        while (kind := self._number("B")) != 0:
            if kind == 2:  # a bell
                continue
            if kind != 3:  # not a clipboard either
                raise RfbError(f"the console sent message {kind}, which was not asked for")
            self._take(3)
            self._text()
        self._take(1)
        for _rectangle in range(self._number("H")):
            left, top, width, height = struct.unpack(">HHHH", self._take(8))
            if self._number("i") != 0:
                raise RfbError("the console sent an encoding that was not asked for")
            for row in range(top, top + height):
                at = (row * self.width + left) * 4
                pixels[at : at + width * 4] = self._take(width * 4)
        return Screen(self.name, self.width, self.height, bytes(pixels))
