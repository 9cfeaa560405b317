# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 the seedcloud.openstack authors
"""What both builders need: commands, apt sources, the mmdebstrap call, hashes, and publishing in one step."""

from __future__ import annotations

import fcntl
import hashlib
import inspect
import json
import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import IO, Any

from .._image.stage import named_in


class BuildError(Exception):
    """A build that cannot go on; its text is for the operator."""


def run(argv: Sequence[str | Path], *, stdin: bytes | None = None, cwd: Path | None = None) -> str:
    """Run a command in a plain environment; its output, or a BuildError with the end of what it said."""
    env = {
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "LC_ALL": "C.UTF-8",
        "DEBIAN_FRONTEND": "noninteractive",
        "MTOOLS_SKIP_CHECK": "1",
    }
    env |= {name: os.environ[name] for name in ("http_proxy", "https_proxy", "no_proxy") if name in os.environ}
    try:
        done = subprocess.run(  # pylint: disable=ansible-bad-function  # a library
            [str(word) for word in argv], input=stdin, capture_output=True, check=False, cwd=cwd, env=env
        )
    except FileNotFoundError as error:
        raise BuildError(f"{argv[0]} is not installed on this host") from error
    if done.returncode:
        said = (done.stderr or done.stdout).decode(errors="replace").strip().splitlines()
        raise BuildError(f"{Path(argv[0]).name} ended with {done.returncode}: " + "\n".join(said[-15:]))
    return done.stdout.decode(errors="replace")


def chroot(tree: Path, *argv: str, stdin: bytes | None = None) -> str:
    return run(["chroot", tree, *argv], stdin=stdin)


# -- what an artifact is named by


def digest(value: Any) -> str:
    """sha256 over canonical JSON."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def file_digest(path: Path) -> str:
    sha = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            sha.update(block)
    return sha.hexdigest()


def tree_digest(folder: Path) -> str:
    """sha256 over the names and contents of the files below a folder."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return digest({str(path.relative_to(folder)): file_digest(path) for path in files})


def builder_digest(*builders: ModuleType) -> str:
    """sha256 over the sources of these modules, which come to a host in a zip file."""
    return digest([inspect.getsource(builder) for builder in builders])


# -- apt


def _one_line(line: str) -> dict[str, str] | None:
    entry = re.match(r"deb\s+(?:\[(?P<options>[^]]*)\]\s*)?(?P<uri>\S+)\s+(?P<suite>\S+)\s*(?P<rest>[^#]*)", line)
    if not entry:
        return None
    stanza = {"Types": "deb", "URIs": entry["uri"], "Suites": entry["suite"], "Components": entry["rest"].strip()}
    names = {
        "signed-by": "Signed-By",
        "trusted": "Trusted",
        "arch": "Architectures",
        "check-valid-until": "Check-Valid-Until",
    }
    for option in (entry["options"] or "").split():
        key, _unused, value = option.partition("=")
        if key.lower() in names:
            stanza[names[key.lower()]] = value.replace(",", " ")
    return stanza


def _stanzas(text: str) -> Iterator[dict[str, str]]:
    """deb822 paragraphs; a value keeps its continuation lines (an inline key)."""
    for paragraph in re.split(r"\n\s*\n", text):
        stanza: dict[str, str] = {}
        last = ""
        for line in paragraph.splitlines():
            if line.startswith("#"):
                continue
            if line[:1].isspace() and last:
                stanza[last] += "\n" + line
            elif ":" in line:
                last, value = line.split(":", 1)
                stanza[last] = value.strip()
        if stanza:
            yield stanza


def host_sources(suite: str, etc: Path = Path("/etc/apt")) -> str:
    """The host's own apt sources, as deb822, as far as they carry the suite; empty where none does.

    `file:` becomes `copy:`: dpkg unpacks inside the tree, where a path of the host does not exist.
    """
    found: list[dict[str, str]] = []
    for path in [etc / "sources.list", *sorted((etc / "sources.list.d").glob("*"))]:
        if path.suffix == ".list" and path.is_file():
            found += [stanza for line in path.read_text().splitlines() if (stanza := _one_line(line.strip()))]
        elif path.suffix == ".sources" and path.is_file():
            found += list(_stanzas(path.read_text()))
    kept = []
    for stanza in found:
        if "deb" not in stanza.get("Types", "").split() or stanza.get("Enabled", "yes").lower() in ("no", "false", "0"):
            continue
        local = re.match(r"(file|copy):", stanza.get("URIs", "")) is not None
        suites = [
            name
            for name in stanza.get("Suites", "").split()
            if name == suite or name.startswith(suite + "-") or (local and name.endswith("/"))
        ]
        if suites:
            uris = re.sub(r"\bfile:", "copy:", stanza["URIs"])
            whole = {**stanza, "Types": "deb", "Suites": " ".join(suites), "URIs": uris}
            kept.append("\n".join(f"{key}: {value}" for key, value in whole.items() if value) + "\n")
    carries = any(re.search(rf"^Suites:.*\b{re.escape(suite)}(\s|$)|^Suites:.*/", text, re.M) for text in kept)
    return "\n".join(kept) if carries else ""


def _proxies() -> list[str]:
    """The host's proxies for apt, which mmdebstrap does not look for."""
    if not shutil.which("apt-config"):
        return []
    lines = run(["apt-config", "dump"]).splitlines()
    return [line for line in lines if re.match(r"Acquire::https?::Proxy(::\S+)? ", line)]


@dataclass(frozen=True)
class Tree:
    """What is asked of mmdebstrap."""

    suite: str
    variant: str
    packages: Sequence[str]
    sources: str = ""  # one-line or deb822; empty: the host's own, else mmdebstrap's default
    excludes: Sequence[str] = ()  # dpkg path-exclude
    includes: Sequence[str] = ()  # dpkg path-include
    debconf: str = ""
    early: Mapping[str, str] = field(default_factory=dict)  # files there before the first package


def make_tree(spec: Tree, target: Path, scratch: Path) -> None:
    """Fill an empty folder with Debian. Needs root, and mounts nothing: what a package's script misses fails here."""
    for package in spec.packages:
        if not re.fullmatch(r"[a-z0-9][a-z0-9+.:-]*(=[\w.+:~-]+)?", package):
            raise BuildError(f"{package!r} is not the name of a package")
    sources = spec.sources or host_sources(spec.suite)
    argv: list[str | Path] = [
        "mmdebstrap",
        "--mode=root",
        "--format=directory",
        f"--variant={spec.variant}",
        "--skip=chroot/mount",
        f"--include={','.join(spec.packages)}",
        "--aptopt=Acquire::Retries 3",
        "--aptopt=Acquire::Languages none",
        "--dpkgopt=force-unsafe-io",  # a build that loses its power is built again
        *(f"--aptopt={line}" for line in _proxies()),
        *(f"--dpkgopt=path-exclude={glob}" for glob in spec.excludes),
        *(f"--dpkgopt=path-include={glob}" for glob in spec.includes),
    ]
    if spec.early:
        early = scratch / "early"
        for name, content in spec.early.items():
            (early / name.lstrip("/")).parent.mkdir(parents=True, exist_ok=True)
            (early / name.lstrip("/")).write_text(content)
        argv.append(f'--setup-hook=cp -r {early}/. "$1"')
    if spec.debconf:
        (scratch / "debconf").write_text(spec.debconf)
        argv.append(f'--essential-hook=chroot "$1" debconf-set-selections < {scratch}/debconf')
    argv += [spec.suite, target]
    if sources:
        (scratch / "apt.sources").write_text(sources)
        argv.append(scratch / "apt.sources")
    log = target.parent.parent / f"{spec.variant}.log"
    try:
        run([*argv[:1], f"--logfile={log}", *argv[1:]])
    except BuildError as error:
        lines = log.read_text(errors="replace").splitlines() if log.exists() else []
        faults = [line for line in lines if re.match(r"(E|dpkg): .*|.*[Ee]rror: ", line)][:8]
        raise BuildError("\n".join([f"{error}; its log is {log}", *faults])) from error


# -- places


def _lock(path: Path, file: IO[str], wait: float) -> None:
    deadline = time.monotonic() + wait
    while True:
        try:
            return fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            if time.monotonic() >= deadline:
                raise BuildError(f"another build has held {path} for {wait:.0f} s") from error
        time.sleep(0.5)


@contextmanager
def scratch_folder(parent: Path, wait: float = 1800.0) -> Iterator[Path]:
    """A folder of this build, removed with it; what a killed build left is removed by the next (the lock is ours).

    A build goes on when its run is killed. It is waited for, so look again inside: it may have made what was missing.
    """
    parent.mkdir(parents=True, exist_ok=True)
    with (parent / "lock").open("w") as lock:
        _lock(parent / "lock", lock, wait)
        for left in parent.glob("build-*"):
            shutil.rmtree(left)
        folder = Path(tempfile.mkdtemp(prefix="build-", dir=parent))
        folder.chmod(0o755)  # apt's download user goes through it
        try:
            yield folder
        finally:
            shutil.rmtree(folder)


def need_space(folder: Path, need: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < need:
        raise BuildError(f"{folder} has {free >> 20} MiB free; the build needs {need >> 20} MiB")


def write_json(path: Path, value: Any) -> None:
    """All or nothing."""
    part = path.with_name(path.name + ".part")
    with part.open("w") as stream:
        json.dump(value, stream, indent=1, sort_keys=True)
        stream.write("\n")
        stream.flush()
        os.fsync(stream.fileno())
    part.chmod(0o644)
    part.replace(path)


def read_json(path: Path) -> Any:
    """The content, or None where there is none or it is not JSON (a build was killed)."""
    try:
        return json.loads(path.read_text())
    except (FileNotFoundError, ValueError):
        return None


def succeed(root: Path, kind: str, name: str, known: Mapping[str, Sequence[Path]], keep: Sequence[str] = ()) -> list[str]:
    """Make `name` the current one, and remove those that nothing names any more; tells which. `known`: each with its
    paths, the one that makes it known first.

    The one before it stays: a run may have read its name and not have ordered yet.
    """
    before = (read_json(root / "stamps/images.json") or {}).get(kind)
    stamp(root, kind, name)
    doubtful = set(known) - {name, before, *keep}
    orders = (path for place in ("nodes/*/order.json", "awaited/*/order.json", "awaited/*/boot/*") for path in root.glob(place))
    gone = sorted(doubtful - named_in(doubtful, orders))
    for path in (path for other in gone for path in known[other]):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    return gone


def stamp(root: Path, kind: str, name: str, check: bool = False) -> bool:
    """Say in stamps/images.json which artifact is the current one. Whether that was news."""
    path = root / "stamps" / "images.json"
    if check:
        return (read_json(path) or {}).get(kind) != name
    path.parent.mkdir(parents=True, exist_ok=True)
    with (path.parent / ".images.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        known = read_json(path) or {}
        if known.get(kind) == name:
            return False
        write_json(path, {**known, kind: name})
    return True
