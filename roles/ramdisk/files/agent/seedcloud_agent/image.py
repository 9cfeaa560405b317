# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 the seedcloud.openstack authors
"""From the seed to the disk: fetched, hashed, unpacked and written in one pass, bootable only when all of it is right."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import mmap
import os
import struct
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from queue import Queue
from typing import Any

from .errors import AgentError
from .order import Image
from .seed import Seed

MIB = 1 << 20
PIPE = MIB
BUFFER, BUFFERS = 4 * MIB, 3
ALIGNED = 4096  # what O_DIRECT wants of offsets, lengths and addresses, on every disk there is
BLKDISCARD, BLKZEROOUT, BLKRRPART = 0x1277, 0x127F, 0x125F
Extents = list[tuple[int, int]]


def corrupt(msg: str) -> AgentError:
    return AgentError("image", f"{msg}; the disk is left unbootable", "image_corrupt")


def parse_map(value: Any, size: int) -> Extents:
    """The extents with data, ascending, within the image."""
    try:
        if value["schema"] != 1 or value["size"] != size:
            raise ValueError("it is another image's")
        extents = [(int(offset), int(length)) for offset, length in value["extents"]]
    except (TypeError, KeyError, ValueError) as error:
        raise corrupt(f"the block map cannot be used: {error}") from error
    end = 0
    for offset, length in extents:
        if offset < end or length < 1 or offset + length > size:
            raise corrupt("the block map's extents overlap or leave the image")
        end = offset + length
    return extents


def ranges(extents: Extents, size: int, start: int) -> Iterator[tuple[int, int, bool]]:
    """All of the image from `start` on as (offset, length, has data)."""
    at = start
    for first, length in extents:
        offset, end = max(first, start), first + length
        if end <= start:
            continue
        if offset > at:
            yield at, offset - at, False
        yield offset, end - offset, True
        at = end
    if at < size:
        yield at, size - at, False


def _ioctl(fd: int, request: int, offset: int, length: int) -> bool:
    """False where the device (or a file, in tests) cannot."""
    try:
        fcntl.ioctl(fd, request, struct.pack("QQ", offset, length))
    except OSError as error:
        if error.errno in (errno.EOPNOTSUPP, errno.ENOTTY, errno.EINVAL, errno.ENOSYS):
            return False
        raise
    return True


def discard(fd: int, size: int) -> bool:
    """Tell a flash disk that nothing on it is needed. A courtesy: no byte is expected to read as zero after it."""
    return _ioctl(fd, BLKDISCARD, 0, size)


def zero(fd: int, offset: int, length: int) -> None:
    """What was there before must not show through a hole: file systems rely on zeros."""
    if _ioctl(fd, BLKZEROOUT, offset, length):
        return
    zeros = bytes(MIB)
    while length:
        done = os.pwrite(fd, zeros[: min(length, MIB)], offset)
        offset, length = offset + done, length - done


@dataclass
class Feed:
    """The compressed stream on its way into zstd; hashed as it passes."""

    blocks: Iterable[memoryview]
    sink: int
    fetched: int = 0
    error: Exception | None = None

    def __post_init__(self) -> None:
        self.sha = hashlib.sha256()
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self) -> None:
        try:
            for block in self.blocks:
                self.sha.update(block)
                self.fetched += len(block)
                rest = block
                while rest:
                    rest = rest[os.write(self.sink, rest) :]
        except BrokenPipeError:
            pass  # zstd ended: its own message is the better one
        except Exception as error:  # handed to the thread that waits for it
            self.error = error
        finally:
            os.close(self.sink)


class Writer:
    """Writes in a thread of its own, past the page cache where the target can: for a raw disk that cache is a copy, and a
    request for each of its pages, for nothing."""

    def __init__(self, disk: int, device: str) -> None:
        self.disk, self.direct = disk, -1
        with contextlib.suppress(OSError):  # a file system in memory, in tests
            self.direct = os.open(device, os.O_WRONLY | os.O_DIRECT)
        self.error: OSError | None = None
        self._free: Queue[mmap.mmap] = Queue()
        self._full: Queue[tuple[mmap.mmap, int, int] | None] = Queue()
        for _unused in range(BUFFERS):
            self._free.put(mmap.mmap(-1, BUFFER))  # aligned to a page
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self) -> None:
        while entry := self._full.get():
            buffer, offset, length = entry
            if not self.error:
                try:
                    with memoryview(buffer) as view:
                        self._write(view[:length], offset)
                except OSError as error:  # handed to the thread that reads
                    self.error = error
            self._free.put(buffer)

    def _write(self, view: memoryview, offset: int) -> None:
        whole = len(view) // ALIGNED * ALIGNED if self.direct >= 0 and offset % ALIGNED == 0 else 0
        at = 0
        while at < len(view):
            fd, end = (self.direct, whole) if at < whole else (self.disk, len(view))
            at += os.pwrite(fd, view[at:end], offset + at)

    def copy(self, source: int, offset: int, length: int) -> None:
        """The next bytes of a pipe to that place, sooner or later."""
        buffer = self._free.get()
        if self.error:
            raise self.error
        done = 0
        with memoryview(buffer) as view:
            while done < length:
                if not (got := os.readv(source, [view[done:length]])):
                    raise EOFError
                done += got
        self._full.put((buffer, offset, length))

    def close(self) -> None:
        """Wait for what is under way."""
        self._full.put(None)
        self.thread.join()
        if self.direct >= 0:
            os.close(self.direct)


def _skip(source: int, sink: int, count: int) -> None:
    """Drop bytes of a pipe without a copy."""
    while count:
        moved = os.splice(source, sink, min(count, PIPE))
        if not moved:
            raise EOFError
        count -= moved


def _unpack(source: int, writer: Writer, extents: Extents, size: int, tell: Callable[[int], None]) -> bytes:
    """Write the unpacked stream behind its first MiB; that is returned, for the caller to write last."""
    head = b""
    while len(head) < MIB:
        block = os.read(source, MIB - len(head))
        if not block:
            raise EOFError
        head += block
    sink = os.open(os.devnull, os.O_WRONLY)
    try:
        for offset, length, data in ranges(extents, size, MIB):
            if not data:
                zero(writer.disk, offset, length)
            end = offset + length
            for at in range(offset, end, BUFFER):
                step = min(end - at, BUFFER)
                if data:
                    writer.copy(source, at, step)
                else:
                    _skip(source, sink, step)
                tell(at + step)
        if os.read(source, 1):
            raise corrupt("the stream unpacks to more than the image's size")
    finally:
        os.close(sink)
    return head


def exclusive(device: str) -> int:
    """Open a disk that nobody else uses: not one that is mounted or part of an array."""
    try:
        return os.open(device, os.O_RDWR | os.O_EXCL)
    except OSError as error:
        raise AgentError("disk", f"{device} cannot be opened for writing: {error.strerror}") from error


def write(seed: Seed, image: Image, device: str, extents: Extents, tell: Callable[[int], None]) -> bytes:
    """Write the image; its first MiB, which makes it bootable, is returned and still to be written."""
    disk = exclusive(device)
    try:
        # Its own checksum of what it unpacks is passed over: SHA-256 has judged what it is given.
        zstd = subprocess.Popen(
            ["zstd", "-dcq", "--no-check"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        assert zstd.stdin and zstd.stdout and zstd.stderr
        for pipe in (zstd.stdin, zstd.stdout):
            with contextlib.suppress(OSError):
                fcntl.fcntl(pipe.fileno(), fcntl.F_SETPIPE_SZ, PIPE)
        feed = Feed(seed.stream(image.url, image.compressed_size), os.dup(zstd.stdin.fileno()))
        zstd.stdin.close()
        writer = Writer(disk, device)
        head, short = b"", False
        try:
            head = _unpack(zstd.stdout.fileno(), writer, extents, image.size, tell)
        except EOFError:
            short = True
        finally:
            writer.close()
            zstd.stdout.close()
            if not short and not head:
                zstd.kill()
            said = zstd.stderr.read().decode(errors="replace").strip()
            zstd.wait()
        feed.thread.join()
        for error in (feed.error, writer.error):
            if error:
                raise error
        digest = feed.sha.hexdigest()
        if feed.fetched == image.compressed_size and digest != image.sha256:
            raise corrupt(f"the image {image.name} has SHA-256 {digest}, the order says {image.sha256}")
        if short or zstd.returncode or feed.fetched != image.compressed_size:
            raise corrupt(f"the image {image.name} is not {image.size} bytes in zstd: {said or 'it ended early'}")
        os.fsync(disk)
        return head
    except OSError as error:
        raise AgentError("image", f"writing to {device}: {error}") from error
    finally:
        os.close(disk)


def reread(device: str, attempts: int = 20) -> None:
    """Have the kernel look at the new partition table."""
    fd = os.open(device, os.O_RDONLY)
    try:
        for attempt in range(attempts):
            try:
                fcntl.ioctl(fd, BLKRRPART)
                return
            except OSError as error:
                if error.errno != errno.EBUSY or attempt == attempts - 1:  # udev looks at it just now
                    raise AgentError("image", f"{device}: the kernel does not read its partitions: {error}") from error
                time.sleep(0.25)
    finally:
        os.close(fd)
