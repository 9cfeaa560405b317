# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 the seedcloud.openstack authors
"""A bootable disk image out of a folder: GPT with a BIOS boot partition, an ESP and the root file system, in that order.

BIOS starts GRUB's boot.img from the first sector, which reads core.img from the BIOS boot partition by sector number;
UEFI starts Debian's signed shim and GRUB from the removable path, so no boot entry and no Secure Boot key is needed.
Both look for their root on the disk that they were started from, never by a label that a second disk may carry, too.
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass
from pathlib import Path

from .common import BuildError, chroot, run

SECTOR = 512
MIB = 1 << 20
BIOS_START, ESP_START, ESP_SIZE = MIB, 2 * MIB, 64 * MIB
ROOT_START = ESP_START + ESP_SIZE
TAIL = MIB  # the backup GPT
ROOT_LABEL = "seedcloud-root"

# What core.img needs until it can read /boot/grub/grub.cfg, and what that uses: no module is loaded from the disk.
CORE_MODULES = (
    "biosdisk", "part_gpt", "part_msdos", "ext2", "normal", "configfile", "linux", "probe", "search", "search_label", "serial",
    "terminal", "echo", "test", "true", "sleep", "keystatus", "ls", "cat", "reboot", "halt", "minicmd", "gzio",
)  # fmt: skip

ESP_CONFIG = f"""\
regexp --set=1:disk '^([^,]+),' "$root"
if [ -n "$disk" -a -e "($disk,gpt3)/boot/grub/grub.cfg" ]; then set root="$disk,gpt3"
else search --no-floppy --set=root --label {ROOT_LABEL}; fi
set prefix="($root)/boot/grub"
configfile "$prefix/grub.cfg"
"""

# The links /vmlinuz and /initrd.img are kept by Debian's kernel packages: an upgrade needs no update-grub.
GRUB_CONFIG = """\
if serial --unit=0 --speed=115200; then
  terminal_input console serial
  terminal_output console serial
fi
set timeout=0
set default=0
set entry=/vmlinuz
probe --set=part --part-uuid "$root"
menuentry "Debian" {{
  linux /vmlinuz root=PARTUUID=$part rw {arguments}
  initrd /initrd.img
}}
"""


@dataclass(frozen=True)
class Layout:
    """Where the root lies and how large the whole is, in bytes."""

    root_size: int

    @property
    def size(self) -> int:
        return ROOT_START + self.root_size + TAIL

    def sfdisk(self) -> str:
        def line(start: int, size: int, kind: str, name: str) -> str:
            return f'start={start // SECTOR}, size={size // SECTOR}, type={kind}, name="{name}"\n'

        return (
            "label: gpt\nunit: sectors\nfirst-lba: 2048\n"
            + line(BIOS_START, ESP_START - BIOS_START, "21686148-6449-6E6F-744E-656564454649", "bios")
            + line(ESP_START, ESP_SIZE, "C12A7328-F81F-11D2-BA4B-00A0C93EC93B", "esp")
            + line(ROOT_START, self.root_size, "4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709", "root")
        )


def root_size(tree: Path, reserve: int) -> int:
    """Room for the tree, its inodes and the journal, and a reserve; whole MiB."""
    blocks = inodes = 0
    seen: set[int] = set()
    for folder, folders, files in os.walk(tree):
        for name in [*folders, *files]:
            state = (Path(folder) / name).lstat()
            if state.st_ino not in seen:
                seen.add(state.st_ino)
                inodes += 1
                blocks += -(-state.st_size // 4096)
    need = blocks * 4096 + inodes * 256 + 64 * MIB + reserve
    return -(-need * 103 // 100 // MIB) * MIB


def make_root(tree: Path, image: Path, size: int) -> None:
    # metadata_csum_seed lets the agent give each node a file system UUID of its own without rewriting checksums.
    run(["truncate", "-s", str(size), image])
    run([
        "mke2fs", "-q", "-t", "ext4", "-L", ROOT_LABEL, "-m", "1", "-I", "256",
        "-O", "metadata_csum,metadata_csum_seed,64bit,^orphan_file",
        "-E", "lazy_itable_init=1,lazy_journal_init=1,nodiscard,root_owner=0:0", "-J", "size=64",
        "-d", tree, image,
    ])  # fmt: skip


def make_esp(tree: Path, image: Path, scratch: Path) -> None:
    config = scratch / "esp.cfg"
    config.write_text(ESP_CONFIG)
    run(["truncate", "-s", str(ESP_SIZE), image])
    run(
        [
            "mformat",
            "-i",
            image,
            "-F",
            "-c",
            "1",
            "-T",
            str(ESP_SIZE // SECTOR),
            "-h",
            "64",
            "-s",
            "32",
            "-v",
            "ESP",
            "::",
        ]
    )
    run(["mmd", "-i", image, "::/EFI", "::/EFI/BOOT", "::/EFI/debian"])
    for source, name in (
        (tree / "usr/lib/shim/shimx64.efi.signed", "BOOT/BOOTX64.EFI"),
        (tree / "usr/lib/grub/x86_64-efi-signed/grubx64.efi.signed", "BOOT/grubx64.efi"),
        (config, "debian/grub.cfg"),
    ):
        if not source.is_file():
            raise BuildError(
                f"the tree has no /{source.relative_to(tree)}: shim-signed and grub-efi-amd64-signed provide it"
            )
        run(["mcopy", "-i", image, source, f"::/EFI/{name}"])


def bios_boot(boot: bytes, core: bytes, first: int) -> tuple[bytes, bytes]:
    """boot.img and core.img told where core.img lies, as grub-bios-setup does (constants of grub's pc/boot.h)."""
    if len(boot) != SECTOR or len(core) <= SECTOR:
        raise BuildError("this is not a boot.img and core.img of GRUB for i386-pc")
    core += bytes(-len(core) % SECTOR)
    sectors = len(core) // SECTOR
    mbr = bytearray(boot)
    struct.pack_into("<Q", mbr, 0x5C, first)  # KERNEL_SECTOR
    mbr[0x64] = 0xFF  # BOOT_DRIVE: the one that the BIOS says
    mbr[0x66:0x68] = b"\x90\x90"  # DRIVE_CHECK: trust it, too
    patched = bytearray(core)
    struct.pack_into(
        "<QHH", patched, SECTOR - 12, first + 1, sectors - 1, 0x820
    )  # the list's first entry: the rest, at 0x8200
    return bytes(mbr), bytes(patched)


def assemble(tree: Path, target: Path, scratch: Path, reserve: int) -> Layout:
    """Write the disk image; sparse."""
    layout = Layout(root_size(tree, reserve))
    root, esp = scratch / "root.img", scratch / "esp.img"
    core_path = tree / "boot/core.img"
    chroot(tree, "grub-mkimage", "-O", "i386-pc", "-p", "(,gpt3)/boot/grub", "-o", "/boot/core.img", *CORE_MODULES)
    core = core_path.read_bytes()
    core_path.unlink()
    boot = (tree / "usr/lib/grub/i386-pc/boot.img").read_bytes()
    if len(core) > ESP_START - BIOS_START:
        raise BuildError("GRUB's core.img is larger than its partition")
    make_root(tree, root, layout.root_size)
    make_esp(tree, esp, scratch)
    run(["truncate", "-s", str(layout.size), target])
    run(["sfdisk", "--quiet", "--no-reread", "--no-tell-kernel", target], stdin=layout.sfdisk().encode())
    mbr, core = bios_boot(boot, core, BIOS_START // SECTOR)
    with target.open("r+b") as disk:
        disk.write(mbr[:440])  # the partition table begins behind it
        disk.seek(BIOS_START)
        disk.write(core)
    for part, start in ((esp, ESP_START), (root, ROOT_START)):
        run(["dd", f"if={part}", f"of={target}", "bs=1M", f"seek={start // MIB}", "conv=notrunc,sparse", "status=none"])
        part.unlink()
    return layout
