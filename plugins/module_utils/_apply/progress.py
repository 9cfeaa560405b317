# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 the seedcloud.openstack authors
"""What an apply has done so far, a line each, for whoever wants to watch."""

from __future__ import annotations

import contextlib
import json
import os
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

FOLDER = "/run/seedcloud"
ENDED = "."  # the last line


def progress_file(token: str) -> str:
    """Where the apply that was given this token tells how far it is."""
    return f"{FOLDER}/apply-{token}.jsonl"


class Progress:
    """A file that others may read: what is changed, never how. Without a path nobody is told."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._begun = time.monotonic()
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def told(self) -> Iterator[Progress]:
        """While this lasts, `tell` is heard. Files of earlier runs go."""
        if self._path is not None:
            self._path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
            for old in self._path.parent.glob("apply-*.jsonl"):
                old.unlink(missing_ok=True)
        self._write("")
        try:
            yield self
        finally:
            self._write(f"{ENDED}\n")

    def tell(self, name: str, outcome: Mapping[str, Any]) -> None:
        """A node of the graph has ended; one that changed nothing is not worth a line."""
        failed = bool(outcome.get("failed"))
        if failed or outcome.get("changed"):
            line = {
                "at": round(time.monotonic() - self._begun, 1),
                "name": name,
                "what": "failed" if failed else outcome.get("action", "done"),
                "seconds": outcome.get("seconds", 0.0),
            }
            self._write(json.dumps(line) + "\n")

    def _write(self, text: str) -> None:
        if self._path is None:
            return
        with self._lock:
            descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
            with os.fdopen(descriptor, "a", encoding="utf-8") as stream:
                stream.write(text)
