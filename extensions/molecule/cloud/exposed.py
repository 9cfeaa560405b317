# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 the seedcloud.openstack authors
"""Find secrets where others can read them: exposed.py [--all] SECRETS FOLDER... (--all: whoever may read the file)."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path


def files(folder: str, every: bool) -> Iterator[Path]:
    """Those that others reach and read."""
    for path, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if every or Path(path, name).lstat().st_mode & 0o001]
        for name in names:
            file = Path(path, name)
            if file.is_file() and not file.is_symlink() and (every or file.stat().st_mode & 0o004):
                yield file


def main() -> int:
    arguments = sys.argv[1:]
    every = arguments[0] == "--all"
    source, *folders = arguments[every:]
    known = json.loads(Path(source).read_text())
    secrets = {name: value.encode() for name, value in known.items()}
    searched = [file for folder in folders for file in files(folder, every)]
    if not every:
        searched += Path("/proc").glob("[0-9]*/cmdline")
    faults = 0
    for file in searched:
        try:
            content = file.read_bytes()
        except (FileNotFoundError, ProcessLookupError):  # gone by now
            continue
        for name, value in secrets.items():
            if value in content:
                faults += 1
                print(f"{file} holds {name}")
    print(f"{len(searched)} files searched for {len(secrets)} secrets")
    return 1 if faults or not secrets or not searched else 0


if __name__ == "__main__":
    sys.exit(main())
