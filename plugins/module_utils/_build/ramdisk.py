# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 the seedcloud.openstack authors
"""The ramdisk: Debian's kernel, and as little of Debian around the agent as it needs.

Packages are unpacked, not installed; what goes in is named here (programs) or by the role (modules, firmware);
libraries follow from what the programs are linked with.
"""

from __future__ import annotations

import fnmatch
import lzma
import os
import re
import shutil
import stat
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from . import common
from .common import (
    BuildError,
    Tree,
    builder_digest,
    chroot,
    digest,
    file_digest,
    host_sources,
    make_tree,
    need_space,
    read_json,
    run,
    scratch_folder,
    stamp,
    succeed,
    tree_digest,
    write_json,
)

PACKAGES = (
    "busybox", "e2fsprogs", "efibootmgr", "fdisk", "kmod", "libpython3-stdlib", "mount", "openssh-client", "python3-minimal",
    "udev", "util-linux", "zstd",
)  # fmt: skip
PROGRAMS = (
    "usr/bin/busybox", "usr/bin/kmod", "usr/bin/lsblk", "usr/bin/mount", "usr/bin/python3", "usr/bin/ssh-keygen",
    "usr/bin/udevadm", "usr/bin/umount", "usr/bin/zstd", "usr/bin/efibootmgr", "usr/sbin/blkdiscard", "usr/sbin/blkid",
    "usr/sbin/e2fsck", "usr/sbin/mke2fs", "usr/sbin/resize2fs", "usr/sbin/sfdisk", "usr/sbin/tune2fs", "usr/sbin/wipefs",
    "usr/lib/udev/ata_id", "usr/lib/udev/scsi_id", "usr/lib/systemd/systemd-udevd",
    "usr/lib/x86_64-linux-gnu/libkmod.so.2",  # udevd opens it by name
)  # fmt: skip
APPLETS = (
    "awk", "cat", "chroot", "cp", "cut", "date", "dd", "df", "dmesg", "echo", "env", "false", "find", "free", "grep", "head",
    "hexdump", "hostname", "ip", "kill", "less", "ln", "ls", "mkdir", "mknod", "more", "mv", "nc", "nslookup", "ping", "poweroff",
    "ps", "pwd", "reboot", "rm", "route", "sed", "sh", "sleep", "sort", "stty", "sync", "tail", "tee", "test", "touch", "tr", "true",
    "udhcpc", "uname", "uptime", "vi", "wc", "wget",
)  # fmt: skip
KMOD = ("depmod", "insmod", "lsmod", "modinfo", "modprobe", "rmmod")
UDEV_RULES = (
    "50-udev-default.rules", "60-block.rules", "60-persistent-storage.rules", "80-drivers.rules",
)  # fmt: skip
# Of the standard library: what the agent will never import.
NO_PYTHON = (
    "asyncio", "concurrent", "ctypes", "curses", "dbm", "doctest*", "ensurepip", "idlelib", "lib2to3", "multiprocessing", "pdb*",
    "pydoc*", "sqlite3", "sysconfig", "_sysconfigdata*", "test", "tkinter", "turtle*", "unittest", "venv", "wsgiref", "xml",
    "xmlrpc", "zoneinfo", "_pyrepl", "tomllib", "pickletools*", "mailbox*", "imaplib*", "ftplib*", "smtplib*", "tarfile*",
    "optparse*", "statistics*", "_pydecimal*", "_pyio*", "pyclbr*",
)  # fmt: skip
NO_DYNLOAD = ("_codecs_*", "_ctypes*", "_curses*", "_dbm*", "_decimal*", "_elementtree*", "_sqlite3*", "_tkinter*", "_test*", "_xx*",
              "audioop*", "readline*", "_asyncio*", "_multiprocessing*", "pyexpat*", "_crypt*", "nis*", "xxlimited*")  # fmt: skip


@dataclass(frozen=True)
class Ramdisk:
    prefix: str
    suite: str
    kernel: str
    modules: Sequence[str]
    firmware_packages: Sequence[str] = ()
    firmware: Sequence[str] = ()
    sources: str = ""  # empty: the host's own

    def hash(self, agent: Path) -> str:
        """Settings, where packages come from, agent and this builder: whatever changes one of them makes another ramdisk."""
        return digest(
            asdict(self)
            | {
                "sources": self.sources or host_sources(self.suite),
                "agent": tree_digest(agent),
                "builder": builder_digest(sys.modules[__name__], common),
            }
        )


class Stage:
    """The folder that becomes the ramdisk, filled from an unpacked Debian."""

    def __init__(self, tree: Path, folder: Path) -> None:
        self.tree, self.folder = tree, folder
        for name in (
            "dev",
            "proc",
            "sys",
            "run",
            "tmp",
            "etc",
            "usr/bin",
            "usr/sbin",
            "usr/lib",
            "usr/lib64",
            "root",
            "var",
        ):
            (folder / name).mkdir(parents=True, exist_ok=True)
        for name in ("bin", "sbin", "lib", "lib64"):
            (folder / name).symlink_to(f"usr/{name}")
        (folder / "var/run").symlink_to("/run")

    def copy(self, name: str) -> None:
        """A file with its links, below the same name."""
        source, target = self.tree / name, self.folder / name
        if target.exists() or target.is_symlink():
            return
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_symlink():
            link = str(source.readlink())
            target.symlink_to(link)
            self.copy(link.lstrip("/") if link.startswith("/") else os.path.normpath(f"{Path(name).parent}/{link}"))
        elif source.is_file():
            shutil.copy2(source, target)
        else:
            raise BuildError(f"the packages hold no /{name}")

    def program(self, name: str) -> None:
        self.copy(name)
        for library in libraries(self.tree, name):
            self.copy(library)

    def write(self, name: str, content: str, mode: int = 0o644) -> None:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
        path.chmod(mode)


def libraries(tree: Path, name: str) -> list[str]:
    """What the dynamic loader of the tree would map for a program or library."""
    listed = chroot(tree, "/lib64/ld-linux-x86-64.so.2", "--list", f"/{name}")
    found = re.findall(r"(?:=> )?(/\S+) \(0x", listed)
    if missing := re.findall(r"(\S+) => not found", listed):
        raise BuildError(f"/{name} misses {', '.join(missing)}")
    # /lib is a link to /usr/lib in the tree as in the ramdisk
    return sorted({path.lstrip("/") if path.startswith("/usr/") else f"usr{path}" for path in found})


def with_dependencies(wanted: Iterable[str], table: Mapping[str, Sequence[str]]) -> list[str]:
    """The modules and, from modules.dep, all that they need."""
    todo, done = list(wanted), set[str]()
    while todo:
        module = todo.pop()
        if module not in done:
            done.add(module)
            todo += table[module]
    return sorted(done)


def choose_modules(patterns: Sequence[str], table: Mapping[str, Sequence[str]]) -> list[str]:
    """Modules whose path below kernel/, without suffix, fits a pattern; a plain name fits in any folder."""
    chosen = set()
    for pattern in patterns:
        whole = pattern if "/" in pattern else f"*/{pattern}"
        fits = [path for path in table if fnmatch.fnmatchcase(re.sub(r"^kernel/|\.ko(\.\w+)?$", "", path), whole)]
        chosen.update(fits)  # none: built into this kernel, or not in this flavour
    return with_dependencies(chosen, table)


def add_modules(stage: Stage, release: str, patterns: Sequence[str]) -> int:
    folder = f"usr/lib/modules/{release}"
    chroot(stage.tree, "/usr/sbin/depmod", release)
    lines = (stage.tree / folder / "modules.dep").read_text().splitlines()
    table = {name: needs.split() for name, _unused, needs in (line.partition(":") for line in lines)}
    chosen = choose_modules(patterns, table)
    for module in chosen:
        source = stage.tree / folder / module
        target = stage.folder / folder / module.removesuffix(".xz")
        target.parent.mkdir(parents=True, exist_ok=True)
        data = source.read_bytes()
        target.write_bytes(lzma.decompress(data) if source.suffix == ".xz" else data)  # zstd packs all of it better
    for name in ("modules.builtin", "modules.builtin.modinfo", "modules.order"):
        stage.copy(f"{folder}/{name}")
    chroot(stage.folder, "/usr/sbin/depmod", release)
    return len(chosen)


def add_python(stage: Stage) -> None:
    version = (stage.tree / "usr/bin/python3").readlink().name
    library = stage.tree / "usr/lib" / version
    copied = stage.folder / "usr/lib" / version

    def ignore(folder: str, names: list[str]) -> set[str]:
        globs = NO_DYNLOAD if folder.endswith("lib-dynload") else NO_PYTHON if Path(folder) == library else ()
        return {n for n in names if n == "__pycache__" or any(fnmatch.fnmatchcase(n, glob) for glob in globs)}

    shutil.copytree(library, copied, symlinks=True, ignore=ignore)
    for extension in sorted((copied / "lib-dynload").glob("*.so")):
        for name in libraries(stage.tree, f"usr/lib/{version}/lib-dynload/{extension.name}"):
            stage.copy(name)


def add_agent(stage: Stage, agent: Path) -> None:
    package = stage.folder / "usr/lib/seedcloud/seedcloud_agent"
    shutil.copytree(agent / "seedcloud_agent", package, ignore=shutil.ignore_patterns("__pycache__"))
    stage.write("init", (agent / "init").read_text(), 0o755)
    stage.write("usr/lib/seedcloud/dhcp", (agent / "dhcp").read_text(), 0o755)


def compile_python(stage: Stage) -> None:
    """Byte code only: the agent starts sooner. Compiled by the ramdisk's own Python, on the seed."""
    python = next((stage.folder / "usr/lib").glob("python3.*")).name
    options = ["-q", "-b", "-o", "1", "--invalidation-mode=unchecked-hash", "-s", "/ramdisk", "-p", "/"]
    places = [f"usr/lib/{python}", "usr/lib/seedcloud"]
    moved = stage.tree / "ramdisk"
    moved.mkdir()
    for place in places:
        (moved / place).parent.mkdir(parents=True, exist_ok=True)
        (stage.folder / place).rename(moved / place)
    chroot(
        stage.tree, f"/usr/bin/{python}", "-I", "-m", "compileall", *options, *(f"/ramdisk/{place}" for place in places)
    )
    for place in places:
        (moved / place).rename(stage.folder / place)
        for source in (stage.folder / place).rglob("*.py"):
            if not source.with_suffix(".pyc").is_file():
                raise BuildError(f"{source.name} was not compiled")
            source.unlink()


def fill(stage: Stage, release: str, spec: Ramdisk, agent: Path) -> int:
    for program in PROGRAMS:
        stage.program(program)
    for applet in APPLETS:
        link = stage.folder / "usr/bin" / applet
        if not link.exists():
            link.symlink_to("busybox")
    for name in KMOD:
        (stage.folder / "usr/sbin" / name).symlink_to("../bin/kmod")
    for rules in UDEV_RULES:
        stage.copy(f"usr/lib/udev/rules.d/{rules}")
    for name in ("usr/lib64/ld-linux-x86-64.so.2", "etc/mke2fs.conf"):
        stage.copy(name)
    for glob in spec.firmware:
        found = [path for path in (stage.tree / "usr/lib/firmware").glob(glob) if path.is_file()]
        if not found:
            raise BuildError(f"no firmware fits {glob!r}: is its package in the list?")
        for path in found:
            stage.copy(str(path.relative_to(stage.tree)))
    stage.write("etc/passwd", "root:x:0:0:root:/root:/bin/sh\n")
    groups = "tty disk kmem input video render kvm sgx cdrom tape lp audio dialout clock"
    stage.write("etc/group", "root:x:0:\n" + "".join(f"{name}:x:{n}:\n" for n, name in enumerate(groups.split(), 1)))
    stage.write("etc/nsswitch.conf", "passwd: files\ngroup: files\nhosts: files dns\n")
    modules = add_modules(stage, release, spec.modules)
    add_python(stage)
    add_agent(stage, agent)
    compile_python(stage)
    return modules


def pack(folder: Path, initrd: Path, scratch: Path) -> None:
    """cpio (newc) of a folder, compressed as the kernel unpacks it; the same folder gives the same bytes."""
    archive = scratch / "initrd.cpio"
    names = sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))
    for name in [".", *names]:
        path = folder / name
        os.utime(path, (0, 0), follow_symlinks=False)
        if not path.is_symlink():
            path.chmod(stat.S_IMODE(path.stat().st_mode) & 0o755 | 0o444)
    listing = "\0".join([".", *names, ""]).encode()
    argv = [
        "cpio",
        "--null",
        "--create",
        "--quiet",
        "--format=newc",
        "--reproducible",
        "--owner=0:0",
        f"--file={archive}",
    ]
    run([*argv], stdin=listing, cwd=folder)
    run(["zstd", "-q", "-12", "-T0", archive, "-o", initrd])


def build(root: Path, scratch: Path, spec: Ramdisk, agent: Path) -> dict[str, Any]:
    inputs_hash = spec.hash(agent)
    name = f"{spec.prefix}-{inputs_hash[:12]}"
    target = root / "http/ramdisks" / name
    start = time.monotonic()
    need_space(scratch, 3 << 30)
    tree, made = scratch / "tree", scratch / "made"
    packages = [*PACKAGES, spec.kernel, *spec.firmware_packages]
    make_tree(Tree(spec.suite, "extract", packages, spec.sources), tree, scratch)
    for link in ("bin", "sbin", "lib", "lib64"):
        if not (tree / link).exists():
            (tree / link).symlink_to(f"usr/{link}")
    kernels = sorted((tree / "boot").glob("vmlinuz-*"))
    if len(kernels) != 1:
        raise BuildError(f"{spec.kernel} brought {len(kernels)} kernels; exactly one is wanted")
    release = kernels[0].name.removeprefix("vmlinuz-")
    stage = Stage(tree, scratch / "stage")
    modules = fill(stage, release, spec, agent)
    made.mkdir()
    shutil.copyfile(kernels[0], made / "vmlinuz")
    pack(stage.folder, made / "initrd", scratch)
    files: dict[str, dict[str, Any]] = {
        path.name: {"sha256": file_digest(path), "size": path.stat().st_size}
        for path in (made / "initrd", made / "vmlinuz")
    }
    manifest = {
        "schema": 1,
        "name": name,
        "inputs_hash": inputs_hash,
        "kernel": release,
        "modules": modules,
        "size": sum(entry["size"] for entry in files.values()),
        "unpacked_size": (scratch / "initrd.cpio").stat().st_size,
        "files": files,
        "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }
    write_json(made / "manifest.json", manifest)
    for path in made.iterdir():
        path.chmod(0o644)
    made.chmod(0o755)
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.exists():  # without a manifest that fits: see ensure()
        shutil.rmtree(target)
    made.rename(target)
    return {**manifest, "seconds": round(time.monotonic() - start, 1)}


def ensure(root: Path, spec: Ramdisk, agent: Path, check: bool) -> dict[str, Any]:
    inputs_hash = spec.hash(agent)
    folder = root / "http/ramdisks" / f"{spec.prefix}-{inputs_hash[:12]}"

    def known() -> dict[str, Any] | None:
        found = read_json(folder / "manifest.json")
        if not isinstance(found, dict) or found.get("inputs_hash") != inputs_hash:
            return None
        sizes = {folder / name: entry["size"] for name, entry in found["files"].items()}
        if not all(path.is_file() and path.stat().st_size == size for path, size in sizes.items()):
            return None
        return {**found, "changed": stamp(root, "ramdisk", found["name"], check), "built": False, "removed": []}

    if found := known():
        return found
    if check:
        return {"name": folder.name, "changed": True, "built": False, "removed": []}
    with scratch_folder(root / "images/ramdisk") as scratch:
        if found := known():
            return found
        made = build(root, scratch, spec, agent)
        # A ramdisk that `tftp_image` staged has no manifest.
        ours = {path.parent.name: [path, path.parent] for path in folder.parent.glob("*/manifest.json")}
        removed = succeed(root, "ramdisk", made["name"], ours)
    return {**made, "changed": True, "built": True, "removed": removed}
