# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 the seedcloud.openstack authors
"""Decompression, conversion and compression by the tools that are made for it."""

from __future__ import annotations

import shutil
import struct
from pathlib import Path

from .model import PACKERS, Run, StageError

_PACKAGES = {"zstd": "zstd", "xz": "xz-utils", "gzip": "gzip", "qemu-img": "qemu-utils"}
_LEVEL = "-7"  # of zstd: near its best ratio on disk images at a quarter of the time
_QCOW2 = b"QFI\xfb"
_EXTERNAL_DATA = 4  # bit 2 of qcow2's incompatible features
_FOREIGN = {b"KDMV": "VMDK", b"vhdxfile": "VHDX", b"conectix": "VHD", b"QED\0": "QED", b"<<< ": "VDI"}
_PACKED = {b"\x1f\x8b": ".gz", b"\xfd7zXZ\0": ".xz", b"\x28\xb5\x2f\xfd": ".zst"}


def _run(run: Run, command: list[str]) -> None:
    if not shutil.which(command[0]):
        raise StageError(f"{command[0]} is missing, install the package {_PACKAGES[command[0]]}")
    code, _out, said = run(command)
    if code:
        raise StageError(f"{command[0]}: {said.strip().splitlines()[-1] if said.strip() else f'exit code {code}'}")


def _filter(run: Run, command: list[str], source: Path, dest: Path) -> None:
    # These tools care about names and modes of files, but not when they read and write what they are given.
    redirect = 'source=$1 dest=$2; shift 2; exec "$@" <"$source" >"$dest"'
    _run(lambda words: run(["/bin/sh", "-c", redirect, "sh", str(source), str(dest), *words]), command)


def unpack(run: Run, source: Path, suffix: str, dest: Path) -> None:
    """Take the compression away."""
    _filter(run, [PACKERS[suffix], "-dc", *(["--sparse"] if suffix == ".zst" else [])], source, dest)


def pack(run: Run, source: Path, dest: Path) -> None:
    """Compress as .zst."""
    _filter(run, ["zstd", "-qc", "-T0", _LEVEL, f"--stream-size={source.stat().st_size}"], source, dest)


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


def to_raw(run: Run, source: Path, dest: Path) -> None:
    """Convert a qcow2 image; holes stay holes."""
    _run(run, ["qemu-img", "convert", "-f", "qcow2", "-O", "raw", str(source), str(dest)])
