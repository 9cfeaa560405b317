# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 the seedcloud.openstack authors
"""What a module has done so far, a line each, for whoever wants to watch (plugins/plugin_utils/_watched.py prints it)."""

from __future__ import annotations

import contextlib
import json
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

FOLDER = "/run/seedcloud"
ENDED = "."  # the last line


def progress_file(kind: str, token: str) -> str:
    """Where the run of a kind of module that was given this token tells how far it is."""
    return f"{FOLDER}/{kind}-{token}.jsonl"


class Progress:
    """A file that others may read: what is done, never how. Without a token, or below root's folder by somebody else, nobody
    is told."""

    def __init__(self, kind: str, token: str | None) -> None:
        self._kind = kind
        self._path = Path(progress_file(kind, token)) if token and os.geteuid() == 0 else None
        self._begun = time.monotonic()
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def told(self) -> Iterator[Progress]:
        """While this lasts, `tell` is heard. Files of earlier runs of this kind go."""
        if self._path is not None:
            self._path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
            for old in self._path.parent.glob(f"{self._kind}-*.jsonl"):
                old.unlink(missing_ok=True)
        self._write("")
        try:
            yield self
        finally:
            self._write(f"{ENDED}\n")

    def tell(self, text: str) -> None:
        """Say one thing, with the seconds since the start."""
        self._write(json.dumps({"at": round(time.monotonic() - self._begun, 1), "text": text}) + "\n")

    def _write(self, text: str) -> None:
        if self._path is None:
            return
        with self._lock:
            descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
            with os.fdopen(descriptor, "a", encoding="utf-8") as stream:
                stream.write(text)
