# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 the seedcloud.openstack authors
"""A small disk image of the golden image's shape: three partitions, the last an ext4 with a root in it."""

from __future__ import annotations

import hashlib
import json
import subprocess
from pathlib import Path
from typing import Any

MIB = 1 << 20
TABLE = """label: gpt
start=2048, size=2048, type=21686148-6449-6E6F-744E-656564454649, name="bios"
start=4096, size=4096, type=C12A7328-F81F-11D2-BA4B-00A0C93EC93B, name="esp"
start=8192, size={sectors}, type=4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709, name="root"
"""


def run(*argv: str | Path, stdin: str | None = None) -> str:
    return subprocess.run([str(word) for word in argv], input=stdin, check=True, capture_output=True, text=True).stdout


def make_image(folder: Path, files: dict[str, bytes] | None = None, root_mib: int = 59) -> dict[str, Any]:
    """mini.raw, mini.raw.zst and mini.map.json in a folder; the order's `image`."""
    tree, raw = folder / "tree", folder / "mini.raw"
    content = {
        "etc/passwd": b"root:x:0:0:root:/root:/bin/sh\ndebian:x:1000:1000::/home/debian:/bin/sh\n",
        "etc/ssh/ssh_host_rsa_key": b"the build's own\n",
        "etc/sudoers.d/README": b"",
        "boot/data": bytes(range(256)) * 4096,
        **(files or {}),
    }
    for name, data in content.items():
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_bytes(data)
    size = (4 + root_mib + 1) * MIB
    root = folder / "root.img"
    run("truncate", "-s", f"{root_mib}M", root)
    options = "metadata_csum,metadata_csum_seed,64bit,^orphan_file"
    run("mke2fs", "-q", "-t", "ext4", "-L", "seedcloud-root", "-O", options, "-d", tree, root)
    run("truncate", "-s", str(size), raw)
    run("sfdisk", "-q", raw, stdin=TABLE.format(sectors=root_mib * 2048))
    run("dd", f"if={root}", f"of={raw}", "bs=1M", "seek=4", "conv=notrunc", "status=none")
    with raw.open("r+b") as disk:
        disk.write(b"BOOTCODE".ljust(440, b"\x90"))
    data = raw.read_bytes()
    extents: list[list[int]] = []
    for at in range(0, size, 65536):
        if data[at : at + 65536].strip(b"\0"):
            if extents and sum(extents[-1]) == at:
                extents[-1][1] += 65536
            else:
                extents.append([at, 65536])
    (folder / "mini.map.json").write_text(
        json.dumps({"schema": 1, "block_size": 65536, "size": size, "extents": extents})
    )
    run("zstd", "-q", "-f", raw, "-o", folder / "mini.raw.zst")
    packed = (folder / "mini.raw.zst").read_bytes()
    return {
        "name": "mini", "url": "/mini.raw.zst", "block_map": "/mini.map.json", "format": "raw.zst", "size": size,
        "sha256": hashlib.sha256(packed).hexdigest(), "compressed_size": len(packed),
    }  # fmt: skip
