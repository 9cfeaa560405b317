# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 the seedcloud.openstack authors
"""Files and folders: compared by content, owner and mode, written atomically."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .system import gid_of, uid_of, write_atomic


def current(path: Path) -> tuple[str | None, str | None]:
    """Content and "owner:group mode" of a file; None where there is none. A symbolic link is not followed."""
    try:
        facts = path.lstat()
    except FileNotFoundError:
        return None, None
    owner = f"{facts.st_uid}:{facts.st_gid} {stat.S_IMODE(facts.st_mode):04o}"
    if not stat.S_ISREG(facts.st_mode):
        return None, owner
    return path.read_text(encoding="utf-8", errors="replace"), owner


def wanted_owner(item: Mapping[str, Any]) -> str:
    """Owner and mode in the form of current()."""
    return f"{uid_of(item['owner'])}:{gid_of(item['group'])} {int(item['mode'], 8):04o}"


def write(item: Mapping[str, Any], content: str) -> None:
    """Write a file with its owner and mode; a missing parent folder is made for everyone to enter."""
    path = Path(item["path"])
    path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    write_atomic(path, content, mode=int(item["mode"], 8), uid=uid_of(item["owner"]), gid=gid_of(item["group"]))


def make_folder(item: Mapping[str, Any]) -> None:
    """Make a folder with its owner and mode."""
    path = Path(item["path"])
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    os.chown(path, uid_of(item["owner"]), gid_of(item["group"]))
    path.chmod(int(item["mode"], 8))


def folder_is_so(item: Mapping[str, Any]) -> bool:
    """Whether the folder is there with its owner and mode."""
    path = Path(item["path"])
    return path.is_dir() and current(path)[1] == wanted_owner(item)


def part(content: str, read: Mapping[str, Any]) -> str:
    """What a unit reads of an option file: all, some sections, or all but some."""
    only, never = read.get("sections"), read.get("except")
    if only is None and never is None:
        return content
    section = ""
    kept = []
    for line in content.splitlines():
        if line.startswith("[") and line.rstrip().endswith("]"):
            section = line.strip()[1:-1]
        if line and (section in only if only is not None else section not in (never or ())):
            kept.append(line)
    return "\n".join(kept)
