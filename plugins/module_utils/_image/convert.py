# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 the seedcloud.openstack authors
"""Decompression, conversion and compression by the tools that are made for it."""

from __future__ import annotations

import shutil
import struct
import subprocess
from pathlib import Path
from typing import IO

from .model import PACKERS, StageError

_PACKAGES = {"zstd": "zstd", "xz": "xz-utils", "gzip": "gzip", "qemu-img": "qemu-utils"}
_LEVEL = "-7"  # of zstd: near its best ratio on disk images at a quarter of the time
_QCOW2 = b"QFI\xfb"
_EXTERNAL_DATA = 4  # bit 2 of qcow2's incompatible features
_FOREIGN = {b"KDMV": "VMDK", b"vhdxfile": "VHDX", b"conectix": "VHD", b"QED\0": "QED", b"<<< ": "VDI"}
_PACKED = {b"\x1f\x8b": ".gz", b"\xfd7zXZ\0": ".xz", b"\x28\xb5\x2f\xfd": ".zst"}


def _run(command: list[str], stdin: IO[bytes] | None = None, stdout: IO[bytes] | None = None) -> None:
    if not shutil.which(command[0]):
        raise StageError(f"{command[0]} is missing, install the package {_PACKAGES[command[0]]}")
    done = subprocess.run(
        command,
        stdin=stdin or subprocess.DEVNULL,
        stdout=stdout or subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        check=False,
    )
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().splitlines()
        raise StageError(f"{command[0]}: {said[-1] if said else f'exit code {done.returncode}'}")


def unpack(source: Path, suffix: str, dest: Path) -> None:
    """Take the compression away."""
    options = ["--sparse"] if suffix == ".zst" else []
    with source.open("rb") as stdin, dest.open("xb") as stdout:
        _run([PACKERS[suffix], "-dc", *options], stdin, stdout)


def pack(source: Path, dest: Path) -> None:
    """Compress as .zst."""
    with source.open("rb") as stdin, dest.open("xb") as stdout:
        _run(["zstd", "-qc", "-T0", _LEVEL, f"--stream-size={source.stat().st_size}"], stdin, stdout)


def is_qcow2(source: Path) -> bool:
    """Whether to convert; StageError when the image is neither that nor raw, or would read other files."""
    with source.open("rb") as file:
        head = file.read(104)
    for magic, name in (_FOREIGN | _PACKED).items():
        if head.startswith(magic):
            what = (
                f"is {name}, which is not converted here" if magic in _FOREIGN else f"is packed, but src lacks {name}"
            )
            raise StageError(f"the disk image {what}")
    if not head.startswith(_QCOW2):
        return False
    if len(head) < 72:
        raise StageError("the qcow2 image is cut off in its header")
    version, backing = struct.unpack(">IQ", head[4:16])
    (encryption,) = struct.unpack(">I", head[32:36])
    incompatible = struct.unpack(">Q", head[72:80])[0] if version >= 3 and len(head) >= 80 else 0
    if backing or encryption or incompatible & _EXTERNAL_DATA:
        raise StageError("the qcow2 image is encrypted, or reads another file of this host: flatten it first")
    return True


def to_raw(source: Path, dest: Path) -> None:
    """Convert a qcow2 image; holes stay holes."""
    _run(["qemu-img", "convert", "-f", "qcow2", "-O", "raw", str(source), str(dest)])
