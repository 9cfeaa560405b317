# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 the seedcloud.openstack authors
"""Files on the seed that a kill at any moment leaves whole, and the names in them."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

BOOT_ID = re.compile(r"[0-9a-f]{32}")
NODE_NAME = re.compile(r"[a-z0-9](?:[a-z0-9.-]{0,61}[a-z0-9])?")


class Damaged(OSError):
    """A file of the seed's own does not hold what was written to it."""

    def __init__(self, path: Path, what: object) -> None:
        super().__init__(errno.EIO, f"is damaged ({what}); put it right or remove it", str(path))


def canonical(value: Any) -> bytes:
    """The one JSON text of a value, for hashes and comparisons."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode()


def node_folder(root: Path, name: str) -> Path:
    """The folder of a node; ValueError when the name could leave it."""
    if not NODE_NAME.fullmatch(name) or ".." in name:
        raise ValueError(f"{name!r} is not the name of a node")
    return root / "nodes" / name


def sync_folder(folder: Path) -> None:
    """Make renames and removals in a folder survive a power cut."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def write_atomic(path: Path, data: bytes, mode: int = 0o644, gid: int = -1, *, durable: bool = False) -> None:
    """Replace a file in one step. Its writers hold a lock, so one temporary name does: a killed one's is used again.

    The name begins with a dot, because dnsmasq's dhcp-hostsdir skips those. Durable files survive a power cut; the
    others are made again from these.
    """
    temporary = path.parent / f".{path.name}.tmp"
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with os.fdopen(fd, "wb") as file:
        os.fchmod(fd, 0o600)
        os.fchown(fd, -1, gid)
        file.write(data)
        file.flush()
        os.fchmod(fd, mode)
        if durable:
            os.fsync(fd)
    temporary.replace(path)
    if durable:
        sync_folder(path.parent)


def read_json(path: Path) -> Any:
    """The value in a file, or None when there is no such file."""
    try:
        return json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise Damaged(path, error) from error


@contextlib.contextmanager
def locked(path: Path, mode: int = 0o600) -> Iterator[int]:
    """Hold a file's lock; ends with the process, however that ends. Yields the open file."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, mode)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield fd
    finally:
        os.close(fd)


def append_lines(path: Path, lines: list[bytes]) -> None:
    """Append whole lines; what a killed writer left of its last line goes away first."""
    with locked(path) as fd:
        size = os.fstat(fd).st_size
        # A reader never goes past the last newline, so cutting behind it is seen by nobody.
        end = size
        while end and os.pread(fd, 1, end - 1) != b"\n":
            end -= 1
        if end != size:
            os.ftruncate(fd, end)
        data = memoryview(b"".join(line + b"\n" for line in lines))
        while data:
            written = os.pwrite(fd, data, end)
            data, end = data[written:], end + written
        os.fsync(fd)


def read_lines(path: Path, offset: int) -> tuple[list[bytes], int]:
    """The whole lines from an offset on, and the offset behind them."""
    try:
        with path.open("rb") as file:
            # A file that became shorter was replaced: all of it is new.
            if os.fstat(file.fileno()).st_size < offset:
                offset = 0
            file.seek(offset)
            data = file.read()
    except FileNotFoundError:
        return [], 0
    end = data.rfind(b"\n") + 1
    return data[:end].splitlines(), offset + end
