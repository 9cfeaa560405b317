# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 the seedcloud.openstack authors
"""One virtual machine that boots the ramdisk straight from its files, before a stand-in seed."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

TOP = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(TOP / "tests/unit/agent"))

from agent_seed import SeedStandIn

ACCELERATOR = ["-accel", "tcg,thread=multi", "-cpu", os.environ.get("SEEDCLOUD_CPU", "max")]
OVMF = Path("/usr/share/OVMF")


@dataclass
class Machine:
    folder: Path
    ramdisk: Path
    disks: dict[str, Path]  # serial -> file
    memory: int = 1024
    uefi: bool = False
    nics: int = 1  # of one network
    forward: int = 0
    extra: Sequence[str] = ()
    arguments: str = ""  # more for the kernel's command line
    process: subprocess.Popen[bytes] | None = field(default=None, init=False)

    @property
    def macs(self) -> list[str]:
        return [f"52:54:00:5e:53:{number + 1:02x}" for number in range(self.nics)]

    @property
    def console(self) -> Path:
        return self.folder / "console.log"

    def start(self, seed: SeedStandIn | None) -> None:
        """From the network when there is a seed, from the disk otherwise."""
        forward = f",hostfwd=tcp:127.0.0.1:{self.forward}-:22" if self.forward else ""
        network = ["-netdev", f"user,id=way{forward}", "-netdev", "hubport,id=switch,hubid=0,netdev=way"]
        for number, mac in enumerate(self.macs):
            network += [
                "-netdev",
                f"hubport,id=n{number},hubid=0",
                "-device",
                f"virtio-net-pci,netdev=n{number},mac={mac}",
            ]
        argv = ["qemu-system-x86_64", *ACCELERATOR, "-machine", "q35", "-smp", "2", "-m", str(self.memory), "-no-reboot",
                "-display", "none", "-monitor", "none", "-serial", f"file:{self.console}", "-device", "virtio-rng-pci",
                "-nic", "none", *network]  # fmt: skip
        if self.uefi:
            variables = self.folder / "vars.fd"
            if not variables.exists():
                shutil.copy(OVMF / "OVMF_VARS_4M.fd", variables)
            code = OVMF / "OVMF_CODE_4M.fd"
            argv += ["-drive", f"if=pflash,format=raw,unit=0,readonly=on,file={code}"]
            argv += ["-drive", f"if=pflash,format=raw,unit=1,file={variables}"]
        for number, (serial, path) in enumerate(self.disks.items()):
            argv += ["-drive", f"file={path},if=none,id=d{number},format=raw,cache=unsafe,discard=unmap",
                     "-device", f"virtio-blk-pci,drive=d{number},serial={serial},bootindex={number + 1}"]  # fmt: skip
        if seed:
            line = f"seedcloud.url=http://10.0.2.2:{seed.server.server_address[1]} BOOTIF=01-{self.macs[0].replace(':', '-')}"
            argv += [
                "-kernel",
                str(self.ramdisk / "vmlinuz"),
                "-initrd",
                str(self.ramdisk / "initrd"),
                "-append",
                f"{line} {self.arguments}",
            ]
        self.process = subprocess.Popen([*argv, *self.extra], stdin=subprocess.DEVNULL)

    def wait_off(self, timeout: float) -> None:
        assert self.process
        self.process.wait(timeout)

    def stop(self) -> None:
        if self.process:
            self.process.kill()
            self.process.wait()


@contextmanager
def powered(machine: Machine, seed: SeedStandIn | None) -> Iterator[Machine]:
    machine.start(seed)
    try:
        yield machine
    except BaseException:
        with contextlib.suppress(OSError):
            print(machine.console.read_text(errors="replace")[-3000:], file=sys.stderr)
        raise
    finally:
        machine.stop()


def built(kind: str, pattern: str) -> Path:
    """The newest of what was built, in $SEEDCLOUD_BUILT, else in the lab, else in what the lab before kept in its cache."""
    lab = [TOP / ".cache/lab/rack/var/lib/seedcloud/http", TOP / ".cache/lab-cache/built"]
    for folder in [Path(given)] if (given := os.environ.get("SEEDCLOUD_BUILT")) else lab:
        if found := sorted((folder / kind).glob(pattern), key=lambda path: path.stat().st_mtime):
            return found[-1]
    raise FileNotFoundError(
        f"no {kind} were built: run `make demo`, or let SEEDCLOUD_BUILT name a folder that has them"
    )


def newest_ramdisk() -> Path:
    """A folder with vmlinuz and initrd."""
    return built("ramdisks", "*/manifest.json").parent


def newest_image() -> Path:
    """A golden image (.raw.zst), beside its manifest and map."""
    return built("images", "*.raw.zst")


def empty_disk(path: Path, size: int) -> Path:
    path.unlink(missing_ok=True)
    with path.open("wb") as disk:
        disk.truncate(size)
    return path


def order(generation: int, image: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    return {
        "schema": 1, "node": "node1", "generation": generation, "run": str(uuid.uuid4()),
        "action": "deploy" if image else "inspect", "fingerprint": "0" * 64, "root_device": {"serial": "S1"},
        "wipe": {"confirmed": None}, "files": [{"path": "/etc/hostname", "mode": "0644", "content": "node1\n"}],
        "ssh": {"user": "debian", "authorized_keys": []}, "after": "reboot",
    } | ({"image": image} if image else {}) | more  # fmt: skip


def serve_image(files: Path, manifest: Path) -> dict[str, Any]:
    """An order's image from a golden image's manifest."""
    told = json.loads(manifest.read_text())
    folder = manifest.parent.relative_to(files)
    keys = ("name", "sha256", "size", "compressed_size")
    return {key: told[key] for key in keys} | {
        "url": f"/{folder}/{told['name']}.raw.zst", "block_map": f"/{folder}/{told['name']}.map.json", "format": "raw.zst",
    }  # fmt: skip
