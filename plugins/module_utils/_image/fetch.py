# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 the seedcloud.openstack authors
"""Downloads that go on where they stopped, and checksums from sums files."""

from __future__ import annotations

import errno
import hashlib
import http.client
import json
import os
import re
import time
import urllib.error
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from ansible.module_utils import urls

from .model import Digest, Item, StageError

_T = TypeVar("_T")
_CHUNK = 1024 * 1024
_SUMS_MAX = 4 * 1024 * 1024
_GNU_LINE = re.compile(r"\\?(?P<value>[0-9a-fA-F]+) [ *](?P<name>.+)")
_BSD_LINE = re.compile(r"SHA(?:256|512) \((?P<name>.+)\) = (?P<value>[0-9a-fA-F]+)")
_ALGORITHMS = {64: "sha256", 128: "sha512"}
_TRY_AGAIN = frozenset({408, 425, 429, 500, 502, 503, 504})


class _TryAgainError(StageError):
    """What another attempt may mend."""


def digest(path: Path, algorithm: str = "sha256") -> str:
    """The checksum of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, algorithm).hexdigest()


def find_sum(text: str, path: str) -> Digest:
    """The checksum of the file at `path` in the text of a sums file, whose names may hold folders."""
    found: dict[str, set[str]] = {}
    for line in text.splitlines():
        match = _GNU_LINE.fullmatch(line) or _BSD_LINE.fullmatch(line)
        if match and len(match["value"]) in _ALGORITHMS:
            name = match["name"].removeprefix("./")
            if f"/{path}".endswith(f"/{name}"):
                found.setdefault(name, set()).add(match["value"].lower())
    if not found:
        raise StageError(f"the sums file does not name {Path(path).name}")
    values = found[max(found, key=len)]  # the one with most of the folders
    if len(values) > 1:
        raise StageError(f"the sums file names {Path(path).name} with {len(values)} different sums")
    (value,) = values
    return Digest(_ALGORITHMS[len(value)], value)


def _validator(headers: Mapping[str, str]) -> str | None:
    """What tells one version of a resource from the next, byte by byte (a weak ETag does not)."""
    etag = headers.get("ETag")
    return etag if etag and not etag.startswith("W/") else headers.get("Last-Modified")


@dataclass(frozen=True)
class Http:
    """How to speak to servers."""

    timeout: int = 30
    validate_certs: bool = True
    use_proxy: bool = True
    attempts: int = 5
    pause: float = 1.0

    def _open(self, url: str, headers: dict[str, str], method: str = "GET") -> Any:
        try:
            return urls.open_url(
                url,
                method=method,
                headers={"Accept-Encoding": "identity", **headers},
                timeout=self.timeout,
                validate_certs=self.validate_certs,
                use_proxy=self.use_proxy,
                http_agent="seedcloud.openstack",
                use_netrc=False,
                decompress=False,
            )
        except urllib.error.HTTPError as error:
            if error.code in {304, 416}:
                return error
            kind = _TryAgainError if error.code in _TRY_AGAIN else StageError
            raise kind(f"{shown(url)}: HTTP {error.code} {error.reason}") from error
        except (OSError, http.client.HTTPException, urls.ConnectionError) as error:
            raise _TryAgainError(
                f"{shown(url)}: {getattr(error, 'reason', None) or error or type(error).__name__}"
            ) from error

    def _persist(self, act: Callable[[], _T]) -> _T:
        """Do it again where that may help, after 1, 2, 4... seconds."""
        for attempt in range(self.attempts - 1):
            try:
                return act()
            except _TryAgainError:
                time.sleep(self.pause * 2**attempt)
        try:
            return act()
        except _TryAgainError as error:
            raise StageError(f"{error}, at the last of {self.attempts} attempts") from error

    def sums(self, location: str) -> str:
        """The text of a sums file."""
        if "://" not in location:
            return Path(location).read_text(encoding="utf-8", errors="replace")
        return self._persist(lambda: self._sums(location))

    def _sums(self, url: str) -> str:
        with self._open(url, {}) as response:
            text = b""
            while chunk := _read(shown(url), response):
                text += chunk
                if len(text) > _SUMS_MAX:
                    raise StageError(f"{shown(url)} is too large for a sums file")
        return text.decode(errors="replace")

    def is_unchanged(self, url: str, known: Mapping[str, str]) -> bool:
        """Whether the server says that what it has is what it had when it sent these headers."""
        conditions = {"If-None-Match": known.get("etag"), "If-Modified-Since": known.get("last_modified")}
        headers = {name: value for name, value in conditions.items() if value}

        def ask() -> bool:
            with self._open(url, headers) as response:
                return bool(response.code == 304)

        return bool(headers) and self._persist(ask)

    def download(self, url: str, part: Path) -> dict[str, str]:
        """Complete `part`, from where an earlier run left it; returns the headers that tell the version."""
        return self._persist(lambda: self._download(url, part))

    def _download(self, url: str, part: Path) -> dict[str, str]:
        about = part.with_suffix(".about")
        meta: dict[str, Any] = json.loads(about.read_text()) if about.exists() else {}
        have = part.stat().st_size if meta.get("validator") and part.exists() else 0
        headers = {"Range": f"bytes={have}-", "If-Range": meta["validator"]} if have else {}
        with self._open(url, headers) as response:
            answered = re.fullmatch(r"bytes (?:(\d+)-\d+|\*)/(\d+|\*)", response.headers.get("Content-Range") or "")
            if response.code == 416 and answered and answered[2] == str(have):
                return dict(meta["version"])  # nothing is missing
            if response.code in {206, 416} and not (
                answered and answered[1] == str(have) and answered[2] in {"*", str(meta["total"])}
            ):
                forget(part)
                raise _TryAgainError(f"{shown(url)}: the server does not send the rest that was asked for")
            length = response.headers.get("Content-Length")
            if response.code != 206:
                have = 0
                forget(part)
                version = {"etag": response.headers.get("ETag"), "last_modified": response.headers.get("Last-Modified")}
                meta = {
                    "validator": _validator(response.headers),
                    "version": {key: value for key, value in version.items() if value},
                    "total": int(length) if length else "*",
                }
                about.write_text(json.dumps(meta))
            _receive(shown(url), response, part, have, have + int(length) if length else None)
        return dict(meta["version"])


def shown(url: str) -> str:
    """A URL without its query, which may hold a token."""
    return url.split("?", 1)[0]


def _receive(url: str, response: Any, part: Path, have: int, total: int | None) -> None:
    if total is not None:
        status = os.statvfs(part.parent)
        free = status.f_bavail * status.f_frsize
        if total - have > free:
            raise OSError(errno.ENOSPC, f"{total - have} bytes are to come and {free} are free", str(part.parent))
    with part.open("ab") as file:
        while chunk := _read(url, response):
            file.write(chunk)
            have += len(chunk)
    if total is not None and have != total:
        raise _TryAgainError(f"{url}: truncated, {have} of {total} bytes came")


def _read(url: str, response: Any) -> bytes:
    try:
        chunk: bytes = response.read1(_CHUNK)  # read() would lose what came before a break
    except (OSError, http.client.HTTPException) as error:
        raise _TryAgainError(f"{url}: the connection broke ({error})") from error
    return chunk


def forget(part: Path) -> None:
    """Let the next download begin at the first byte."""
    part.unlink(missing_ok=True)
    part.with_suffix(".about").unlink(missing_ok=True)


def wanted_digest(item: Item, http: Http) -> Digest | None:
    """The checksum that the source must have, if one is given."""
    if isinstance(item.checksum, str):
        return find_sum(http.sums(item.checksum), item.source_path)
    return item.checksum
