# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 the seedcloud.openstack authors
"""Collect what explains a fault (files, command output) into a tarball, with every secret masked."""

from __future__ import annotations

import io
import re
import subprocess
import tarfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

MASK = "********"
COMMAND_SECONDS = 60
# On stdout: blocks of KEY=VALUE, an empty line between them.
UNITS = ["systemctl", "show", "--property=Id,ActiveState,NRestarts", "*"]

# A key that names a secret, then its value: INI, YAML, JSON, environment, command line.
_KEY = re.compile(
    r"""(?ix)
    ( (?<![a-z0-9]) [\w.-]* (?:password|passwd|passphrase|secret|token|credential|(?:fernet|private|auth|api|shared)_?key)
      [\w.-]* ["']? \s* [:=] \s* )
    ( "(?:[^"\\]|\\.)*" | '(?:[^'\\]|\\.)*' | [^\s,}&]+ )
    """
)
# user:password@ of a URL (oslo.db's connection, oslo.messaging's transport_url).
_URL = re.compile(r"(?P<head>\b[\w+.-]+://[^\s:/@]+:)[^\s/@]+(?=@)")
_PEM = re.compile(r"-----BEGIN ([A-Z ]*PRIVATE KEY)-----.*?(?:-----END \1-----|\Z)", re.DOTALL)


@dataclass(frozen=True)
class Member:
    """One file of the bundle: its path inside, and its text."""

    name: str
    text: str


def mask(text: str, secrets: Iterable[str]) -> str:
    """Return text without the given secrets, without private keys, and without values of keys that name a secret.

    Secrets shorter than four characters are masked only where a key names them: masking them everywhere would eat the text.
    """
    for secret in sorted({s for s in secrets if len(s) >= 4}, key=len, reverse=True):
        text = text.replace(secret, MASK)
    text = _PEM.sub(lambda m: f"-----BEGIN {m[1]}-----{MASK}", text)
    text = _URL.sub(lambda m: m["head"] + MASK, text)
    return _KEY.sub(lambda m: m[1] + MASK, text)


def _tail(path: Path, limit: int) -> str:
    with path.open("rb") as file:
        size = file.seek(0, io.SEEK_END)
        file.seek(max(0, size - limit))
        text = file.read(limit).decode(errors="replace")
    return text if size <= limit else f"[the first {size - limit} bytes are left out]\n{text}"


def read_files(patterns: Iterable[str], limit: int) -> Iterator[Member]:
    """Read regular files that the absolute glob patterns find; of each at most its last `limit` bytes.

    A file that cannot be read is told inside of the bundle: one bad file must not cost the others.
    """
    for pattern in patterns:
        for path in sorted(Path("/").glob(pattern.lstrip("/"))):
            if path.is_symlink() or not path.is_file():
                continue
            name = str(path).lstrip("/")
            try:
                yield Member(name, _tail(path, limit))
            except OSError as error:
                yield Member(f"{name}.error", f"{error}\n")


def run_commands(commands: dict[str, list[str]], limit: int) -> Iterator[Member]:
    """Run each command and keep its output, at most the last `limit` bytes."""
    for name, argv in commands.items():
        try:
            done = subprocess.run(  # pylint: disable=ansible-bad-function  # a library
                argv, check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=COMMAND_SECONDS
            )
            text = done.stdout[-limit:].decode(errors="replace")
            if done.returncode:
                text += f"\n[exit status {done.returncode}]\n"
        except (OSError, subprocess.TimeoutExpired) as error:
            text = f"{error}\n"
        yield Member(f"commands/{name}.txt", text)


def troubled_units() -> list[str]:
    """Units that failed, are not up yet, or were started again by systemd because they ended. None without systemd."""
    try:
        done = subprocess.run(  # pylint: disable=ansible-bad-function  # a library
            UNITS, check=False, capture_output=True, text=True, timeout=COMMAND_SECONDS
        )
    except (OSError, subprocess.TimeoutExpired):
        return []
    units = [dict(line.split("=", 1) for line in block.splitlines()) for block in done.stdout.split("\n\n")]
    return sorted(
        unit["Id"]
        for unit in units
        if unit.get("ActiveState") in ("failed", "activating") or unit.get("NRestarts", "0") != "0"
    )


def unit_journals(since: str) -> dict[str, list[str]]:
    """Commands that print the journal of each troubled unit: in the whole one a busy host's other words push them out."""
    journal = ["journalctl", "--no-pager", "--output=short-iso", f"--since={since}"]
    return {f"journal-{unit}": [*journal, f"--unit={unit}"] for unit in troubled_units()}


def pack(members: Iterable[Member], secrets: Iterable[str], *, time: float) -> bytes:
    """Return a tar.gz of the members, masked; `time` (seconds since the epoch) is their modification time."""
    known = list(secrets)
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for member in members:
            data = mask(member.text, known).encode()
            info = tarfile.TarInfo(member.name)
            info.size, info.mode, info.mtime = len(data), 0o600, int(time)
            archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def unpack(data: bytes, prefix: str) -> Iterator[Member]:
    """Yield the members of a tarball made by pack(), below prefix."""
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:gz") as archive:
        for info in archive:
            file = archive.extractfile(info)
            if file is not None:
                yield Member(f"{prefix}/{info.name}", file.read().decode(errors="replace"))
