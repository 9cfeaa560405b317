# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 the seedcloud.openstack authors
"""The disk image's parts, made by the real tools."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import pytest
from ansible_collections.seedcloud.openstack.plugins.module_utils._build import disk
from ansible_collections.seedcloud.openstack.plugins.module_utils._build.common import BuildError, run

MIB = 1 << 20


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    tree = tmp_path / "tree"
    for name in (
        "usr/lib/shim/shimx64.efi.signed",
        "usr/lib/grub/x86_64-efi-signed/grubx64.efi.signed",
        "etc/hostname",
        "var/log/big",
    ):
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_bytes(name.encode())
    (tree / "var/log/big").write_bytes(b"x" * 3 * MIB)
    (tree / "etc/link").symlink_to("hostname")
    (tree / "etc/hard").hardlink_to(tree / "etc/hostname")
    return tree


def test_the_table_is_the_interface(tmp_path: Path) -> None:
    layout = disk.Layout(100 * MIB)
    image = tmp_path / "disk"
    run(["truncate", "-s", str(layout.size), image])
    run(["sfdisk", "-q", image], stdin=layout.sfdisk().encode())
    run(["sfdisk", "-q", "--verify", image])
    table = json.loads(run(["sfdisk", "--json", image]))["partitiontable"]
    assert table["label"] == "gpt"
    assert [part["name"] for part in table["partitions"]] == ["bios", "esp", "root"]
    assert all(part["start"] % 2048 == 0 for part in table["partitions"])
    last = table["partitions"][-1]
    assert last["size"] * 512 == 100 * MIB


def test_the_root_holds_the_tree(tree: Path, tmp_path: Path) -> None:
    size = disk.root_size(tree, 128 * MIB)
    assert size % MIB == 0 and 192 * MIB < size < 220 * MIB
    image = tmp_path / "root"
    disk.make_root(tree, image, size)
    told = run(["dumpe2fs", "-h", image])
    assert "seedcloud-root" in told and "metadata_csum_seed" in told and "orphan_file" not in told
    assert run(["debugfs", "-R", "cat /etc/hostname", image]) == "etc/hostname"
    assert "Links: 2" in run(["debugfs", "-R", "stat /etc/hard", image])
    run(["e2fsck", "-f", "-n", image])
    run(["tune2fs", "-U", "random", image])  # each node does it, and it must not rewrite the file system
    run(["e2fsck", "-f", "-n", image])


def test_the_esp_starts_shim(tree: Path, tmp_path: Path) -> None:
    image = tmp_path / "esp"
    disk.make_esp(tree, image, tmp_path)
    listed = run(["mdir", "-i", image, "-b", "-/", "::"])
    for name in ("EFI/BOOT/BOOTX64.EFI", "EFI/BOOT/grubx64.efi", "EFI/debian/grub.cfg"):
        assert f"::/{name}" in listed
    assert disk.ROOT_LABEL in run(["mtype", "-i", image, "::/EFI/debian/grub.cfg"])
    assert run(["mtype", "-i", image, "::/EFI/BOOT/BOOTX64.EFI"]).strip() == "usr/lib/shim/shimx64.efi.signed"


def test_a_tree_without_shim(tree: Path, tmp_path: Path) -> None:
    (tree / "usr/lib/shim/shimx64.efi.signed").unlink()
    with pytest.raises(BuildError, match="shim-signed"):
        disk.make_esp(tree, tmp_path / "esp", tmp_path)


def test_boot_and_core_find_each_other() -> None:
    mbr, core = disk.bios_boot(bytes(512), bytes(512) + b"x" * 1000, 2048)
    assert struct.unpack_from("<Q", mbr, 0x5C) == (2048,)
    assert mbr[0x64] == 0xFF and mbr[0x66:0x68] == b"\x90\x90"
    assert len(core) == 3 * 512
    assert struct.unpack_from("<QHH", core, 500) == (2049, 2, 0x820)


@pytest.mark.parametrize(("boot", "core"), [(b"", bytes(1000)), (bytes(512), bytes(512)), (bytes(513), bytes(1000))])
def test_what_is_no_grub(boot: bytes, core: bytes) -> None:
    with pytest.raises(BuildError):
        disk.bios_boot(boot, core, 2048)


def test_the_whole(tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tree / "usr/lib/grub/i386-pc").mkdir()
    (tree / "usr/lib/grub/i386-pc/boot.img").write_bytes(b"B" * 512)
    (tree / "boot").mkdir()
    made: list[str] = []

    def chroot(where: Path, *argv: str) -> str:
        made.extend(argv)
        (where / "boot/core.img").write_bytes(b"C" * 30_000)
        return ""

    monkeypatch.setattr(disk, "chroot", chroot)
    image = tmp_path / "disk"
    layout = disk.assemble(tree, image, tmp_path, 128 * MIB)
    assert made[:5] == ["grub-mkimage", "-O", "i386-pc", "-p", "(,gpt3)/boot/grub"]
    assert image.stat().st_size == layout.size
    run(["sfdisk", "-q", "--verify", image])
    data = image.read_bytes()
    assert data[:0x5C] == b"B" * 0x5C and data[510:512] == b"\x55\xaa"
    assert data[disk.BIOS_START : disk.BIOS_START + 500] == b"C" * 500
    run(["e2fsck", "-f", "-n", f"{image}?offset={disk.ROOT_START}"])
    assert not (tree / "boot/core.img").exists()
    assert image.stat().st_blocks * 512 < layout.size // 2  # holes stay holes
    monkeypatch.setattr(disk, "ESP_START", disk.BIOS_START + 1000)
    with pytest.raises(BuildError, match="larger than its partition"):
        disk.assemble(tree, image, tmp_path, 128 * MIB)
