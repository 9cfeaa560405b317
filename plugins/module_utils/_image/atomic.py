# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 the seedcloud.openstack authors
"""Files that are there whole or not at all, also for a server that reads them meanwhile and after a power cut."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

TEMPORARY = ".seedcloud-"  # what a killed run leaves behind begins with this


def sync(path: Path) -> None:
    """Bring a file, or the names in a folder, to the disk."""
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def commit(temporary: Path, dest: Path) -> None:
    """Give a finished file its name; what had the name before is served until then."""
    sync(temporary)
    temporary.replace(dest)
    sync(dest.parent)


@contextlib.contextmanager
def temporary_beside(dest: Path) -> Iterator[Path]:
    """An empty file of our own on the file system of `dest`; gone afterwards unless it was committed."""
    fd, name = tempfile.mkstemp(prefix=TEMPORARY, dir=dest.parent)
    os.close(fd)
    try:
        yield Path(name)
    finally:
        Path(name).unlink(missing_ok=True)


def make_folder(path: Path) -> None:
    """A folder, and those above it, that servers can enter whatever our umask is."""
    missing = [folder for folder in (path, *path.parents) if not folder.exists()]
    for folder in reversed(missing):
        folder.mkdir(exist_ok=True)
        folder.chmod(0o755)


def write(dest: Path, content: bytes, mode: int = 0o644) -> None:
    """Write a small file."""
    with temporary_beside(dest) as temporary:
        temporary.write_bytes(content)
        temporary.chmod(mode)
        commit(temporary, dest)
