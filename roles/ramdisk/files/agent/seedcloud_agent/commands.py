# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 the seedcloud.openstack authors
"""The tools of the ramdisk."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence

from .errors import AgentError


def run(argv: Sequence[str], hop: str, stdin: str | None = None, ok: Sequence[int] = (0,)) -> str:
    """A tool's output; an AgentError with what it said when it fails."""
    done = subprocess.run(argv, check=False, input=stdin, capture_output=True, text=True, errors="replace")
    if done.returncode not in ok:
        said = " ".join((done.stderr or done.stdout).split())[-400:]
        raise AgentError(hop, f"{argv[0]} ended with {done.returncode}: {said}")
    return done.stdout
