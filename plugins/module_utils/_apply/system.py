# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 the seedcloud.openstack authors
"""Commands and secrets: what every kind of graph node needs."""

from __future__ import annotations

import base64
import grp
import hashlib
import json
import os
import pwd
import re
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

_MARKER = re.compile(r"<secret:(\w+)>|%3Csecret%3A(\w+)%3E|<rabbitmq_hash:(\w+)>")
# Options whose value is no one's business even when it is not one of today's secrets (yesterday's password, say).
_SENSITIVE = re.compile(
    r"(?im)^(\s*[\w.\"-]*(?:password|secret|_key|token|connection|transport_url)[\w.\"-]*\s*[=:]\s*)(?=\S)(.+)$"
)


class ApplyError(Exception):
    """A node of the graph could not be applied; the text is for the operator."""


class Vault:
    """The values behind the plan's markers."""

    def __init__(self, values: Mapping[str, str]) -> None:
        self._values = dict(values)

    def reveal(self, text: str) -> str:
        """Put the secrets in."""

        def value(match: re.Match[str]) -> str:
            plain, quoted, hashed = match.groups()
            try:
                if plain:
                    return self._values[plain]
                return quote(self._values[quoted], safe="") if quoted else rabbitmq_hash(self._values[hashed])
            except KeyError as error:
                raise ApplyError(f"the plan uses the secret {error}, which was not given") from error

        return _MARKER.sub(value, text)

    def mask(self, text: str) -> str:
        """Take every secret out again, for people to read."""
        for value in sorted(self._values.values(), key=len, reverse=True):
            for form in (value, quote(value, safe=""), rabbitmq_hash(value)):
                text = text.replace(form, "********")
        return _SENSITIVE.sub(r"\1********", text)


def rabbitmq_hash(password: str) -> str:
    """RabbitMQ's salted hash. The salt follows from the password, so that the same definitions come out every time."""
    salt = hashlib.sha256(b"seedcloud" + password.encode()).digest()[:4]
    return base64.b64encode(salt + hashlib.sha256(salt + password.encode()).digest()).decode()


def digest(data: Any) -> str:
    """A hash of anything that JSON can say."""
    return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()


def run(
    argv: Sequence[str],
    *,
    user: str | None = None,
    env: Mapping[str, str] | None = None,
    stdin: str = "",
    timeout: float = 600,
) -> subprocess.CompletedProcess[str]:
    """Run a command without a shell and whatever it returns; only not being able to run it is an error."""
    who: dict[str, Any] = {}
    home = "/root"
    if user and user != "root":
        try:
            entry = pwd.getpwnam(user)
        except KeyError as error:
            raise ApplyError(f"there is no user {user}") from error
        groups = os.getgrouplist(user, entry.pw_gid)
        who = {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": groups}
        home = entry.pw_dir
    environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8", "HOME": home, **(env or {})}
    try:
        return subprocess.run(  # pylint: disable=ansible-bad-function  # a library
            list(argv),
            input=stdin,
            capture_output=True,
            text=True,
            errors="replace",
            env=environment,
            cwd="/",
            timeout=timeout,
            check=False,
            **who,
        )
    except subprocess.TimeoutExpired as error:
        raise ApplyError(f"{argv[0]} did not end within {timeout:.0f} s") from error
    except OSError as error:
        raise ApplyError(f"{argv[0]} cannot be run: {error}") from error


def must(done: subprocess.CompletedProcess[str], what: str) -> str:
    """The output of a command that has to succeed."""
    if done.returncode:
        said = "\n".join((done.stderr or done.stdout).strip().splitlines()[-15:])
        raise ApplyError(f"{what} failed with {done.returncode}: {said}")
    return done.stdout


def write_atomic(path: Path, content: str, *, mode: int = 0o600, uid: int = 0, gid: int = 0) -> None:
    """Readers see the old file or the new one; its bytes are on the disk before its name is."""
    new = path.with_name(f".{path.name}.seedcloud")
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(content)
            file.flush()
            os.fchown(file.fileno(), uid, gid)
            os.fchmod(file.fileno(), mode)
            os.fsync(file.fileno())
        new.replace(path)
    except OSError:
        new.unlink(missing_ok=True)
        raise


def uid_of(name: str) -> int:
    """The number of an account."""
    try:
        return pwd.getpwnam(name).pw_uid
    except KeyError as error:
        raise ApplyError(f"there is no user {name}: is its package installed?") from error


def gid_of(name: str) -> int:
    """The number of a group."""
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError as error:
        raise ApplyError(f"there is no group {name}: is its package installed?") from error
