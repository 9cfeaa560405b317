# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 the seedcloud.openstack authors
"""systemd's units: asked all in one call, changed one by one."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence

from .system import ApplyError, must, run

_PROPERTIES = (
    "LoadState",
    "ActiveState",
    "SubState",
    "UnitFileState",
    "NeedDaemonReload",
    "InvocationID",
    "Result",
    "ControlGroup",
)


class Systemd:
    """A thin face of systemctl."""

    def __init__(self) -> None:
        self._reload = threading.Lock()

    def show(self, units: Sequence[str]) -> dict[str, dict[str, str]]:
        """State of the units, in one call."""
        if not units:
            return {}
        argv = ["systemctl", "show", f"--property={','.join(_PROPERTIES)}", "--", *units]
        blocks = must(run(argv, timeout=300), "systemctl show").strip("\n").split("\n\n")
        if len(blocks) != len(units):
            raise ApplyError(f"systemctl answered for {len(blocks)} of {len(units)} units")
        return {
            unit: dict(line.partition("=")[::2] for line in block.splitlines())
            for unit, block in zip(units, blocks, strict=True)
        }

    def reload_if_needed(self, unit: str) -> None:
        """Let systemd read unit files that changed on the disk."""
        with self._reload:
            if self.show([unit])[unit]["NeedDaemonReload"] == "yes":
                self.do("daemon-reload", [])

    def do(self, verb: str, units: Iterable[str], timeout: float = 600) -> None:
        """One verb of systemctl."""
        # Debian's packages hold a script of System V beside each unit; update-rc.d knows nothing of it in a golden image.
        done = run(["systemctl", verb, *units], env={"SYSTEMCTL_SKIP_SYSV": "1"}, timeout=timeout)
        must(done, f"systemctl {verb} {' '.join(units)}".strip())

    def journal(self, unit: str, invocation: str) -> str:
        """The unit's last words."""
        argv = ["journalctl", "--no-pager", "--output=cat", "--lines=25", f"--unit={unit}"]
        if invocation:
            argv.append(f"_SYSTEMD_INVOCATION_ID={invocation}")
        return run(argv, timeout=120).stdout.strip()
