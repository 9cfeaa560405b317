# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 the seedcloud.openstack authors
"""What is to be served, validated. The name under which a file is served says what is made of its source."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

Run = Callable[[list[str]], tuple[int, str, str]]  # AnsibleModule.run_command
PACKERS = {".gz": "gzip", ".xz": "xz", ".zst": "zstd"}
_SEGMENT = re.compile(r"[A-Za-z0-9_+@=][A-Za-z0-9._+@=-]*")  # no hidden file: those are ours
_DIGEST = re.compile(r"(?P<algorithm>sha256|sha512):(?P<value>[0-9a-fA-F]+)")
_DIGITS = {"sha256": 64, "sha512": 128}
_COMPANIONS = (".map.json", ".json")


class StageError(Exception):
    """Why one file cannot be staged; what was served before still is."""


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong in the arguments, and what mends it."""

    field: str
    fault: str
    mend: str

    def __str__(self) -> str:
        return f"{self.field}: {self.fault}; {self.mend}"


class Faults(ValueError):
    """Every fault of the arguments at once."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        super().__init__("\n".join(map(str, faults)))
        self.faults = tuple(faults)


@dataclass(frozen=True)
class Digest:
    """A checksum of a source."""

    algorithm: str
    value: str

    def __str__(self) -> str:
        return f"{self.algorithm}:{self.value}"


@dataclass(frozen=True)
class Item:
    """A file to serve."""

    dest: str
    src: str = ""
    checksum: Digest | str | None = None  # a string is where the sums file lies

    @property
    def is_url(self) -> bool:
        return "://" in self.src

    @property
    def source_path(self) -> str:
        """The path of the source, on this host or on its server."""
        return unquote(urlsplit(self.src).path) if self.is_url else self.src

    @property
    def shown_src(self) -> str:
        """The source without its query, which may hold a token."""
        return self.src.split("?", 1)[0]

    @property
    def unpack(self) -> str:
        """The compression to take away, as a suffix."""
        suffix = Path(self.source_path).suffix
        return suffix if suffix in PACKERS and suffix != self._packing else ""

    @property
    def pack(self) -> str:
        """The compression to add, as a suffix."""
        return self._packing if self._packing != Path(self.source_path).suffix else ""

    @property
    def _packing(self) -> str:
        suffix = Path(self.dest).suffix
        return suffix if suffix in PACKERS else ""

    @property
    def _unpacked_name(self) -> str:
        return self.dest.removesuffix(self._packing)

    @property
    def is_disk(self) -> bool:
        """Whether this is a disk image, which is served raw, with a block map and a manifest."""
        return self._unpacked_name.endswith(".raw")

    @property
    def is_plain(self) -> bool:
        """Whether what is served is the source, byte by byte."""
        return not (self.unpack or self.pack or self.is_disk)

    @property
    def image(self) -> str:
        """The dest of a disk image without what tells its format."""
        return self._unpacked_name.removesuffix(".raw")

    @property
    def packing(self) -> str:
        """The compression in which the file is served, as a suffix."""
        return self._packing

    @property
    def companions(self) -> tuple[str, ...]:
        """The files that come with this one: its block map and its manifest, in this order."""
        return tuple(self.image + suffix for suffix in _COMPANIONS) if self.is_disk else ()


def is_dest(dest: object) -> bool:
    """Whether this is a path below a root."""
    return (
        isinstance(dest, str)
        and len(dest) <= 255
        and bool(dest)
        and all(_SEGMENT.fullmatch(segment) for segment in dest.split("/"))
    )


def as_dest(reference: str) -> str:
    """The dest that a URL or an absolute path on our server speaks of."""
    return unquote(urlsplit(reference).path).lstrip("/")


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:60]}... ({len(text)} characters)"


def _location_fault(location: str) -> str | None:
    if "://" not in location:
        if not location.startswith("/") or "\0" in location:
            return f"{_shown(location)} is neither a URL nor an absolute path"
        return None
    if re.search(r"[\x00-\x20\x7f-\uffff]", location):
        return f"{_shown(location)} holds a character that no URL holds"
    try:
        url = urlsplit(location)
        host, _port = url.hostname, url.port
    except ValueError as error:
        return f"{_shown(location.rpartition('@')[2])} is not a URL ({error})"
    if url.scheme not in {"http", "https"} or not host:
        return f"{_shown(location.rpartition('@')[2])} is not an http or https URL"
    if "@" in url.netloc:
        return "the URL holds a user or a password"
    return None


def _checksum(value: str) -> Digest | str:
    match = _DIGEST.fullmatch(value)
    if match:
        if len(match["value"]) != _DIGITS[match["algorithm"]]:
            raise ValueError(
                f"a {match['algorithm']} has {_DIGITS[match['algorithm']]} digits, not {len(match['value'])}"
            )
        return Digest(match["algorithm"], match["value"].lower())
    fault = _location_fault(value)
    if fault:
        raise ValueError(f"{fault}, nor sha256:... or sha512:...")
    return value


def parse_items(values: Sequence[Mapping[str, Any]], *, removal: bool = False) -> list[Item]:
    """The files to serve, or to remove; raises Faults that names every fault of all of them."""
    items: list[Item] = []
    faults: list[Fault] = []
    taken: dict[str, int] = {}
    for n, value in enumerate(values):
        dest, src, checksum = value["dest"], value.get("src") or "", None
        at = f"files[{n}]"
        if not is_dest(dest):
            mend = "give a relative path of letters, digits and ._+@=-, in which nothing begins with a dot or a hyphen"
            faults.append(Fault(f"{at}.dest", f"{_shown(dest)} is no path below a root", mend))
            continue
        if not removal:
            fault = _location_fault(src) if src else "is missing"
            if fault:
                faults.append(Fault(f"{at}.src", fault, "give an absolute path on this host, or http(s)://HOST/PATH"))
                src = ""
        if value.get("checksum"):
            try:
                checksum = _checksum(value["checksum"])
            except ValueError as error:
                faults.append(
                    Fault(f"{at}.checksum", str(error), "give sha256:..., sha512:... or the place of a sums file")
                )
        item = Item(dest, src, checksum)
        if src and item.pack not in {"", ".zst"} and not removal:
            faults.append(
                Fault(f"{at}.dest", f"nothing is packed as {item.pack}", "let it end in .zst, or take a packed src")
            )
        clashes = [name for name in (dest, *item.companions) if taken.setdefault(name, n) != n]
        faults += [
            Fault(f"{at}.dest", f"files[{taken[name]}] makes {name}, too", "name them apart") for name in clashes
        ]
        items.append(item)
    if faults:
        raise Faults(faults)
    return items
