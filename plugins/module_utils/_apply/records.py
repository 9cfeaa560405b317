# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 the seedcloud.openstack authors
"""What was applied, kept on the host, so that a run that was cut short is made good by the next."""

from __future__ import annotations

import contextlib
import fcntl
import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .system import ApplyError, write_atomic


class Records:
    """One small file a unit and a step."""

    def __init__(self, root: Path, *, write: bool = True) -> None:
        self.root = root
        self.write = write
        self._lock = threading.Lock()
        if write:
            root.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
            root.mkdir(mode=0o700, exist_ok=True)  # hashes of configurations that hold passwords

    @contextlib.contextmanager
    def turn(self, patience: float = 1800) -> Iterator[None]:
        """One run at a time on a host: the second finds all done. The kernel lets go for a run that is killed."""
        if not self.write:
            yield
            return
        deadline = time.monotonic() + patience
        with (self.root / ".lock").open("w") as lock:
            while True:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError as error:
                    if time.monotonic() > deadline:
                        raise ApplyError("another run applies a plan to this host") from error
                    time.sleep(0.5)
            yield

    def get(self, name: str) -> dict[str, Any]:
        """The record, or an empty one; a damaged one counts as none."""
        try:
            data = json.loads((self.root / name).read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError):
            return {}
        return data if isinstance(data, dict) else {}

    def put(self, name: str, data: dict[str, Any]) -> None:
        """Keep a record."""
        with self._lock:
            write_atomic(self.root / name, json.dumps(data, sort_keys=True) + "\n")

    def forget(self, name: str, key: str | None = None) -> None:
        """Drop a record, or one key of it."""
        if key is None:
            (self.root / name).unlink(missing_ok=True)
            return
        data = self.get(name)
        if data.pop(key, None) is not None:
            self.put(name, data)

    def names(self, prefix: str) -> list[str]:
        """The records whose names begin so."""
        return sorted(path.name for path in self.root.glob(f"{prefix}*"))
