# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 the seedcloud.openstack authors
"""Decide by experiment whether KVM works here: a /dev/kvm that opens is not yet one that runs a kernel."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path

# A kernel that is given no root file system says so after it has initialised everything, and nothing earlier does.
REACHED = "Unable to mount root fs"
COMMAND_LINE = "console=ttyS0 panic=-1 root=/dev/none rootfstype=ext4 nomodule tsc=unstable"


class ProbeError(Exception):
    """The experiment could not be made, so it has no outcome."""


@dataclass(frozen=True)
class Answer:
    """What the experiment showed."""

    available: bool
    reason: str
    elapsed: float
    key: str
    console: str = ""
    cached: bool = False


@dataclass(frozen=True)
class Trial:
    """How the experiment is made."""

    qemu: str
    timeout: float
    attempts: int


def newest_kernel(boot: Path) -> Path:
    """The kernel to try with: the running one where its file is there, otherwise the newest."""
    running = boot / f"vmlinuz-{os.uname().release}"
    if running.exists():
        return running
    found = sorted(boot.glob("vmlinuz-*"), key=lambda path: path.stat().st_mtime)
    if not found:
        raise ProbeError(f"there is no kernel under {boot} to try KVM with; name one, or set the virtualisation type")
    return found[-1]


def boot_guest(kernel: Path, qemu: str, accel: str, timeout: float) -> tuple[bool, str, str]:
    """Boot the kernel once; return whether it came to its end, why not, and what it printed."""
    command = [
        *(qemu, "-accel", accel, "-machine", "q35", "-cpu", "host" if accel == "kvm" else "max"),
        *("-m", "256", "-smp", "1", "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"),
        *("-serial", "stdio", "-kernel", str(kernel), "-append", COMMAND_LINE),
    ]
    # A file, not a pipe: a guest that hangs keeps what it printed, whoever has to be killed.
    with tempfile.TemporaryFile() as console:
        try:
            done = subprocess.run(  # pylint: disable=ansible-bad-function  # a library
                command, stdin=subprocess.DEVNULL, stdout=console, stderr=console, timeout=timeout, check=False
            )
            why = f"QEMU ended with {done.returncode} before the guest's kernel was up"
        except FileNotFoundError as exc:
            raise ProbeError(f"{qemu} is not installed, so that KVM cannot be tried") from exc
        except subprocess.TimeoutExpired:
            why = f"the guest's kernel was not up after {timeout:g} s"
        console.seek(0)
        text = console.read().decode("utf-8", "replace")
    return REACHED in text, why, text


def probe(kernel: Path, trial: Trial, key: str) -> Answer:
    """Try until the guest is up, as often as the trial allows."""
    begun = time.monotonic()
    why = text = ""
    for _attempt in range(trial.attempts):
        good, why, text = boot_guest(kernel, trial.qemu, "kvm", trial.timeout)
        if good:
            return Answer(True, "a guest's kernel came up", round(time.monotonic() - begun, 1), key)
    return Answer(False, why, round(time.monotonic() - begun, 1), key, text[-2000:])


def processor() -> str:
    """The processor's name."""
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")


def answer(*, device: Path, kernel: Path | None, cache: Path, trial: Trial, force: bool) -> Answer:
    """The answer, found out once: a yes holds for this processor and kernel, a no until the next boot.

    `kernel` is by default the newest under /boot.
    """
    if not device.exists():
        return Answer(False, f"there is no {device}: the processor or the firmware offers no virtualisation", 0.0, "")
    kernel = kernel or newest_kernel(Path("/boot"))
    boot_id = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    key = f"{processor()} {device} {kernel} {trial.qemu}"
    known = None if force else _read(cache)
    if known and known.available and known.key == key:
        return replace(known, cached=True)
    if known and not known.available and known.key == f"{boot_id} {key}":
        return replace(known, cached=True)
    found = probe(kernel, trial, key)
    if not found.available:
        found = replace(found, key=f"{boot_id} {key}")
    cache.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    fresh = cache.with_name(f".{cache.name}.{os.getpid()}")
    fresh.write_text(json.dumps(asdict(found)), encoding="utf-8")
    fresh.replace(cache)
    return found


def _read(cache: Path) -> Answer | None:
    try:
        return Answer(**json.loads(cache.read_text(encoding="utf-8")))
    except (FileNotFoundError, ValueError, TypeError):  # torn or of another version: ask again
        return None
