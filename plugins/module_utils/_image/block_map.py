# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 the seedcloud.openstack authors
"""Which blocks of a raw disk image hold data, so that whoever writes it can leave out the rest.

`{"schema": 1, "block_size": 65536, "size": N, "extents": [[offset, length], ...]}`: extents are sorted, do not touch
each other, begin at a multiple of the block size and end at one or at the end of the image. What lies outside of
them reads as zeros.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

BLOCK_SIZE = 64 * 1024
_READ = 64  # blocks a read


def data_ranges(fd: int, size: int) -> Iterator[tuple[int, int]]:
    """What the file system says is data; all of it where it does not know."""
    end = 0
    while end < size:
        try:
            start = os.lseek(fd, end, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:  # only a hole is left
                return
            raise
        end = os.lseek(fd, start, os.SEEK_HOLE)
        yield start, end


def block_map(path: str | os.PathLike[str], block_size: int = BLOCK_SIZE) -> dict[str, Any]:
    """The block map of a raw image. Zeros that the file system stores as data count as a hole, too."""
    extents: list[list[int]] = []
    zeros = bytes(block_size)
    buffer = bytearray(block_size * _READ)
    with Path(path).open("rb") as image:
        size = os.fstat(image.fileno()).st_size
        offset = 0
        for start, end in list(data_ranges(image.fileno(), size)):
            offset = max(start // block_size * block_size, offset)  # two ranges may share a block
            image.seek(offset)
            while offset < end:
                got = image.readinto(memoryview(buffer)[: -(-(end - offset) // block_size) * block_size])
                if not got:
                    raise OSError(errno.EIO, "the image became shorter while it was read", str(path))
                for at in range(0, got, block_size):
                    length = min(block_size, got - at)
                    if buffer[at : at + length] == zeros[:length]:
                        continue
                    if extents and sum(extents[-1]) == offset + at:
                        extents[-1][1] += length
                    else:
                        extents.append([offset + at, length])
                offset += got
    return {"schema": 1, "block_size": block_size, "size": size, "extents": extents}
