# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 the seedcloud.openstack authors
"""A folder that is served: what we put into it, and how files get in and out."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import stat
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from . import atomic
from .block_map import data_ranges
from .fetch import digest, forget
from .model import StageError

_WORK = ".staging"
_PREFIX = ".staging-"
_PART_DAYS = 7


@dataclass(frozen=True)
class Attributes:
    """Mode and owner of what is served; None leaves the owner alone."""

    mode: int = 0o644
    uid: int | None = None
    gid: int | None = None

    def differ(self, path: Path) -> bool:
        """Whether the file has others."""
        now = path.stat()
        return (
            stat.S_IMODE(now.st_mode) != self.mode
            or self.uid not in (None, now.st_uid)
            or self.gid not in (None, now.st_gid)
        )

    def apply(self, path: Path) -> None:
        """Give them to the file."""
        if self.differ(path):  # chown clears bits of the mode, so it goes first
            os.chown(path, -1 if self.uid is None else self.uid, -1 if self.gid is None else self.gid)
            path.chmod(self.mode)


@dataclass
class Root:
    """A served folder, with the record of what was staged there.

    The record is `.staging/manifest.json`, which also says what may be pruned; parts of downloads lie beside it.
    """

    path: Path
    records: dict[str, dict[str, Any]] = field(default_factory=dict)

    @property
    def work(self) -> Path:
        """A folder on the root's file system that no server can enter."""
        return self.path / _WORK

    def load(self) -> None:
        """Read the record."""
        with contextlib.suppress(FileNotFoundError):
            try:
                self.records = json.loads((self.work / "manifest.json").read_text())["files"]
            except (ValueError, KeyError, TypeError) as error:
                raise StageError(f"{self.work / 'manifest.json'} cannot be read ({error}): remove it") from error

    def save(self) -> None:
        """Write the record."""
        text = json.dumps({"schema": 1, "files": self.records}, indent=1)
        atomic.write(self.work / "manifest.json", f"{text}\n".encode(), 0o600)

    @contextlib.contextmanager
    def locked(self, patience: float) -> Iterator[None]:
        """Keep other runs out, and clear away what a killed one left."""
        atomic.make_folder(self.path)
        self.work.mkdir(mode=0o700, exist_ok=True)
        with (self.work / "lock").open("a+") as lock:
            deadline = time.monotonic() + patience
            while True:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() > deadline:
                        lock.seek(0)
                        raise StageError(
                            f"process {lock.read().strip()} has been staging below {self.path} for {patience:g} s"
                        ) from None
                    time.sleep(0.1)
            lock.truncate(0)
            lock.write(str(os.getpid()))
            lock.flush()
            self._clear()
            yield

    def _clear(self) -> None:
        for path in self.work.iterdir():
            if path.is_dir():
                shutil.rmtree(path)
            elif path.suffix == ".part" and path.stat().st_mtime < time.time() - _PART_DAYS * 86400:
                forget(path)

    def file(self, dest: str) -> Path:
        """Where a dest lies; StageError when a symbolic link leads it elsewhere."""
        path = self.path / dest
        if not path.parent.resolve().is_relative_to(self.path.resolve()):
            raise StageError(f"{path.parent} is a symbolic link that leaves {self.path}")
        if path.is_dir():
            raise StageError(f"{path} is a folder")
        return path

    def sha256(self, dest: str) -> str | None:
        """The checksum of what is served, if anything is."""
        path = self.file(dest)
        return digest(path) if path.is_file() and not path.is_symlink() else None

    def intact(self, dest: str) -> dict[str, Any] | None:
        """The record of a dest, if everything it speaks of is still as it was staged."""
        record = self.records.get(dest)
        if record and all(self.sha256(name) == value for name, value in record["content"].items()):
            return record
        return None

    def place(self, source: Path, dest: str, attributes: Attributes, sha256: str, *, link: bool) -> str:
        """Serve a file as `dest` by a hard link where that can be, else by a copy; tells which."""
        path = self.file(dest)
        atomic.make_folder(path.parent)
        for left in path.parent.glob(f"{_PREFIX}*"):
            left.unlink()
        how = "linked"
        with atomic.replacing(path, _PREFIX) as temporary:
            try:
                if not link:
                    raise OSError
                temporary.hardlink_to(source)
            except OSError:  # another file system, or a kernel that protects links: either way a copy does it
                how = "copied"
                _copy(source, temporary)
                if digest(temporary) != sha256:
                    raise StageError(f"{source} changed while it was copied") from None
            attributes.apply(temporary)
        return how

    def remove(self, dest: str) -> list[str]:
        """Take a file away with all that came with it, and the folders that this leaves empty."""
        gone = [name for name in self.names(dest) if self.file(name).is_symlink() or self.file(name).exists()]
        for name in gone:
            self.file(name).unlink()
            for folder in self.file(name).relative_to(self.path).parents[:-1]:
                try:
                    (self.path / folder).rmdir()
                except OSError:
                    break  # something else lies there
        self.records.pop(dest, None)
        return gone

    def names(self, dest: str) -> list[str]:
        """A dest and what came with it, the manifest first, for who reads it takes it that the image is there."""
        return [*reversed(self.records.get(dest, {"content": (dest,)})["content"])]


def _copy(source: Path, dest: Path) -> None:
    with source.open("rb") as reading, dest.open("xb") as writing:
        size = os.fstat(reading.fileno()).st_size
        for start, end in data_ranges(reading.fileno(), size):
            os.lseek(writing.fileno(), start, os.SEEK_SET)
            at = start
            while at < end and (sent := os.sendfile(writing.fileno(), reading.fileno(), at, end - at)):
                at += sent
        os.ftruncate(writing.fileno(), size)
