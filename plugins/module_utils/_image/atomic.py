# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 the seedcloud.openstack authors
"""Files that are there whole or not at all, also for a server that reads them meanwhile and after a power cut."""

from __future__ import annotations

import contextlib
import os
import uuid
from collections.abc import Iterator
from pathlib import Path


def sync(path: Path) -> None:
    """Bring a file, or the names in a folder, to the disk."""
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


@contextlib.contextmanager
def replacing(dest: Path, prefix: str = ".seedcloud-") -> Iterator[Path]:
    """A free name beside `dest`: what the block makes there becomes `dest`, and is taken away if the block fails."""
    temporary = dest.parent / f"{prefix}{uuid.uuid4().hex}"
    try:
        yield temporary
        sync(temporary)
        temporary.replace(dest)
    finally:
        temporary.unlink(missing_ok=True)
    sync(dest.parent)


def make_folder(path: Path) -> None:
    """A folder, and those above it, that servers can enter whatever our umask is."""
    missing = [folder for folder in (path, *path.parents) if not folder.exists()]
    for folder in reversed(missing):
        folder.mkdir(exist_ok=True)
        folder.chmod(0o755)


def write(dest: Path, content: bytes, mode: int = 0o644) -> None:
    """Write a small file."""
    with replacing(dest) as temporary:
        temporary.touch(mode=0o600, exist_ok=False)
        temporary.write_bytes(content)
        temporary.chmod(mode)
