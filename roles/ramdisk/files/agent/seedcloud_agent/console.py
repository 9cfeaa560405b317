# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 the seedcloud.openstack authors
"""Lines for a person: on the screen and on the first serial line, whatever console= says."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Sequence

TERMINALS = ("/dev/tty0", "/dev/ttyS0")


class Console:
    def __init__(self, terminals: Sequence[str] = TERMINALS) -> None:
        self._fds: list[int] = []
        for path in terminals:
            with contextlib.suppress(OSError):  # a machine without a serial port, or without a screen
                self._fds.append(os.open(path, os.O_WRONLY | os.O_NOCTTY | os.O_NONBLOCK))

    def say(self, text: str, level: str = "info") -> None:
        mark = "seedcloud ERROR" if level == "error" else "seedcloud"
        line = f"{mark} [{time.monotonic():.0f} s] {text}\r\n".encode(errors="replace")
        for fd in self._fds:
            with contextlib.suppress(OSError):  # a serial line that nobody reads must not stop a deployment
                os.write(fd, line)
