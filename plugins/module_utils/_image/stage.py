# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 the seedcloud.openstack authors
"""The pipeline: fetch, checksum, unpack, convert, map, pack, serve."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import mmap
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from . import convert
from .block_map import block_map
from .fetch import Http, digest, forget, wanted_digest
from .model import Digest, Item, Run, StageError, as_dest
from .store import Attributes, Root


@dataclass(frozen=True)
class _Built:
    """What is ready to be served."""

    files: Mapping[str, Path]  # by dest; the companions come after the image, so that they speak of what is there
    source: dict[str, Any]
    link: bool


@dataclass
class Stage:
    """Serves items below roots; the first root does the work, the others get hard links."""

    roots: Sequence[Root]
    run: Run
    attributes: Attributes = field(default_factory=Attributes)
    http: Http = field(default_factory=Http)
    check_mode: bool = False

    def present(self, item: Item) -> dict[str, Any]:
        """Serve a file; tells what became of it."""
        wanted = wanted_digest(item, self.http)
        stale = [root for root in self.roots if not self._is_current(root, item, wanted)]
        how = "kept"
        if stale and self.check_mode:
            how = "staged"
        elif stale:
            with self._build(item, wanted) as built:
                how = self._serve(stale, built, item.dest) or how
        elif not self.check_mode:
            self._adopt(item)
        owned = False if self.check_mode and stale else self._own(item)
        return {"changed": how != "kept" or owned, "how": how, **self._describe(item)}

    def absent(self, dest: str) -> dict[str, Any]:
        """Serve a file no more."""
        removed = []
        for root in self.roots:
            if self.check_mode:
                removed += [str(root.path / name) for name in root.names(dest) if root.file(name).exists()]
                continue
            removed += [str(root.path / name) for name in root.remove(dest)]
            root.save()
        return {"changed": bool(removed), "how": "removed" if removed else "kept", "paths": removed}

    def prune(self, keep: Iterable[str], referrers: Iterable[Path]) -> list[str]:
        """Remove what we staged and nobody refers to; tells the paths."""
        kept = set(map(as_dest, keep))
        doubtful = {dest for root in self.roots for dest in root.records} - kept
        kept |= named_in(doubtful, referrers)
        return [path for dest in sorted(doubtful - kept) for path in self.absent(dest)["paths"]]

    def _is_current(self, root: Root, item: Item, wanted: Digest | None) -> bool:
        record = root.intact(item.dest)
        if not record:  # not ours, but maybe the very bytes that are wanted
            sha256 = _local_digest(item) if not wanted else wanted.value if wanted.algorithm == "sha256" else None
            return item.is_plain and sha256 is not None and root.sha256(item.dest) == sha256
        source = record["source"]
        if wanted:
            return bool(source.get(wanted.algorithm) == wanted.value)
        if item.is_url:
            return source.get("src") == item.shown_src and self.http.is_unchanged(item.src, source)
        return bool(source["sha256"] == _local_digest(item))

    @contextlib.contextmanager
    def _build(self, item: Item, wanted: Digest | None) -> Iterator[_Built]:
        work = self.roots[0].work
        part = work / f"{hashlib.sha256(item.src.encode()).hexdigest()}.part"
        path = part if item.is_url else Path(item.src)
        version: dict[str, str] = {}
        for _attempt in range(2 if part.exists() else 1):  # a part that outlived a power cut may hold anything
            if item.is_url:
                version = self._download(item.src, part)
            elif not path.is_file():
                raise StageError(f"{path} is not a file")
            found = Digest(wanted.algorithm, digest(path, wanted.algorithm)) if wanted else None
            if found == wanted:
                break
            forget(part)
        else:
            raise StageError(f"{item.shown_src} has {found}, but {wanted} is wanted")
        source = {"src": item.shown_src, "sha256": digest(path), **({wanted.algorithm: wanted.value} if wanted else {})}
        with tempfile.TemporaryDirectory(dir=work) as folder:
            files = (
                {item.dest: path} if item.is_plain else _transform(self.run, item, path, Path(folder), source["sha256"])
            )
            yield _Built(files, source | version, link=item.is_url or files[item.dest] != path or self._may_link(path))
        forget(part)

    def _download(self, url: str, part: Path) -> dict[str, str]:
        try:
            return self.http.download(url, part)
        except OSError as error:
            if error.errno == errno.ENOSPC:
                forget(part)  # what else is on this disk needs the room
            raise

    def _may_link(self, path: Path) -> bool:
        """Whether a file of somebody else can be served under a second name as it is."""
        return not path.is_symlink() and not self.attributes.differ(path)

    def _serve(self, stale: Iterable[Root], built: _Built, dest: str) -> str | None:
        sums = {name: digest(path) for name, path in built.files.items()}
        if built.files[dest] == Path(built.source["src"]) and sums[dest] != built.source["sha256"]:
            raise StageError(f"{built.source['src']} changed while it was staged")
        how = None
        for root in stale:
            for name, path in built.files.items():
                if root.sha256(name) != sums[name]:
                    how = root.place(path, name, self.attributes, sums[name], link=built.link)
            root.records[dest] = {"source": built.source, "content": sums, "staged": _now()}
            root.save()
        return how

    def _adopt(self, item: Item) -> None:
        """Record what was there already, as it is when a run is killed just before it records."""
        for root in self.roots:
            if item.dest not in root.records:
                sha256 = root.sha256(item.dest)
                source = {"src": item.shown_src, "sha256": sha256}
                root.records[item.dest] = {"source": source, "content": {item.dest: sha256}, "staged": _now()}
                root.save()

    def _own(self, item: Item) -> bool:
        """Put mode and owner right."""
        wrong = [
            (root, name)
            for root in self.roots
            for name in (item.dest, *item.companions)
            if root.file(name).exists() and self.attributes.differ(root.file(name))
        ]
        for root, name in () if self.check_mode else wrong:
            path = root.file(name)
            if path.stat().st_nlink == 1:
                self.attributes.apply(path)
            else:  # the other name of the file is somebody's source
                root.place(path, name, self.attributes, digest(path), link=False)
        return bool(wrong)

    def _describe(self, item: Item) -> dict[str, Any]:
        root = self.roots[0]
        described: dict[str, Any] = {"paths": [str(root.path / item.dest) for root in self.roots]}
        if not root.file(item.dest).is_file():  # check mode
            return described
        record = root.records.get(item.dest)
        described["sha256"] = record["content"][item.dest] if record else root.sha256(item.dest)
        described["size"] = root.file(item.dest).stat().st_size
        if item.companions and root.file(item.companions[-1]).is_file():
            described["image"] = json.loads(root.file(item.companions[-1]).read_text())
        return described


def _transform(run: Run, item: Item, source: Path, folder: Path, source_sha256: str) -> dict[str, Path]:
    path = source
    if item.unpack:
        path = folder / "unpacked"
        convert.unpack(run, source, item.unpack, path)
    if not item.is_disk:
        if item.pack:
            convert.pack(run, path, folder / "packed")
            path = folder / "packed"
        return {item.dest: path}
    raw = path
    if item.packing and not item.pack:  # it is served as it came; what is in it must still be known
        raw = folder / "looked-at"
        convert.unpack(run, source, item.packing, raw)
    if convert.is_qcow2(raw):
        if raw != path:
            raise StageError(f"{item.shown_src} holds a qcow2 image: let dest end in another compression")
        raw = path = folder / "raw"
        convert.to_raw(run, source if not item.unpack else folder / "unpacked", raw)
    if item.pack:
        path = folder / "packed"
        convert.pack(run, raw, path)
    return {item.dest: path, **_companions(item, source_sha256, raw, path, folder)}


def _companions(item: Item, source_sha256: str, raw: Path, served: Path, folder: Path) -> dict[str, Path]:
    about = {
        "schema": 1,
        "name": Path(item.image).name,
        "inputs_hash": source_sha256,
        "format": f"raw{item.packing}",
        "size": raw.stat().st_size,
        "compressed_size": served.stat().st_size,
        "sha256": digest(served),
        "raw_sha256": digest(raw),
        "created": _now(),
        "packages": {},
    }
    made: dict[str, Path] = {}
    for name, content in zip(item.companions, (block_map(raw), about), strict=True):
        made[name] = folder / f"{len(made)}.json"
        made[name].write_text(json.dumps(content) + "\n")
    return made


def _local_digest(item: Item) -> str | None:
    path = Path(item.src)
    return digest(path) if not item.is_url and path.is_file() else None


def named_in(dests: set[str], referrers: Iterable[Path]) -> set[str]:
    """Which of these the files speak of, however large they are; one that goes away meanwhile speaks of nothing."""
    found: set[str] = set()
    for top in referrers if dests else ():
        for path in [top] if top.is_file() else top.rglob("*"):
            with contextlib.suppress(FileNotFoundError):
                if path.is_file() and path.stat().st_size:
                    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as text:
                        found |= {dest for dest in dests - found if text.find(dest.encode()) >= 0}
    return found


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
