# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 the seedcloud.openstack authors
"""An image on its way to a disk: over real HTTP, through real zstd, onto a file."""

from __future__ import annotations

import errno
import hashlib
import os
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from agent_image import make_image
from agent_seed import SeedStandIn
from seedcloud_agent import image
from seedcloud_agent.errors import AgentError
from seedcloud_agent.order import Image
from seedcloud_agent.seed import Seed

MIB = 1 << 20


@pytest.fixture
def wanted(stand_in: SeedStandIn) -> Image:
    made = make_image(stand_in.files)
    made.pop("format")
    return Image(**made)


@pytest.fixture
def seed(stand_in: SeedStandIn) -> Seed:
    return Seed(stand_in.url, "0" * 32)


@pytest.fixture
def disk(tmp_path: Path, wanted: Image) -> Path:
    path = tmp_path / "disk"
    path.write_bytes(b"\xa5" * (wanted.size + 4 * MIB))  # stale data everywhere
    return path


def extents(seed: Seed, wanted: Image) -> image.Extents:
    return image.parse_map(seed.json(wanted.block_map or ""), wanted.size)


def test_the_disk_is_the_image(stand_in: SeedStandIn, seed: Seed, wanted: Image, disk: Path) -> None:
    told: list[int] = []
    head = image.write(seed, wanted, str(disk), extents(seed, wanted), told.append)
    data, raw = disk.read_bytes(), (stand_in.files / "mini.raw").read_bytes()
    assert head == raw[:MIB]
    assert data[:MIB] == b"\xa5" * MIB  # not bootable before the caller says so
    assert data[MIB : wanted.size] == raw[MIB:]  # stale data shows through no hole
    assert data[wanted.size :] == b"\xa5" * (4 * MIB)
    assert told[-1] == wanted.size and told == sorted(told)


def test_without_a_block_map_all_of_it_is_written(stand_in: SeedStandIn, seed: Seed, wanted: Image, disk: Path) -> None:
    image.write(seed, wanted, str(disk), [(0, wanted.size)], lambda _: None)
    assert disk.read_bytes()[MIB : wanted.size] == (stand_in.files / "mini.raw").read_bytes()[MIB:]


def refused(seed: Seed, wanted: Image, disk: Path) -> AgentError:
    with pytest.raises(AgentError) as caught:
        image.write(seed, wanted, str(disk), [(0, wanted.size)], lambda _: None)
    return caught.value


def test_another_hash_is_a_corrupt_image(seed: Seed, wanted: Image, disk: Path) -> None:
    error = refused(seed, replace(wanted, sha256="0" * 64), disk)
    assert error.event == "image_corrupt" and wanted.sha256 in error.msg


def test_a_flipped_byte_is_a_corrupt_image(stand_in: SeedStandIn, seed: Seed, wanted: Image, disk: Path) -> None:
    path = stand_in.files / "mini.raw.zst"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(data)
    assert refused(seed, wanted, disk).event == "image_corrupt"


def test_what_is_no_zstd_is_a_corrupt_image(stand_in: SeedStandIn, seed: Seed, wanted: Image, disk: Path) -> None:
    data = os.urandom(wanted.compressed_size)
    (stand_in.files / "mini.raw.zst").write_bytes(data)
    error = refused(seed, replace(wanted, sha256=hashlib.sha256(data).hexdigest()), disk)
    assert error.event == "image_corrupt" and "zstd" in error.msg


@pytest.mark.parametrize("more", [-2 * MIB, 2 * MIB])
def test_another_size_unpacked_is_a_corrupt_image(seed: Seed, wanted: Image, disk: Path, more: int) -> None:
    assert refused(seed, replace(wanted, size=wanted.size + more), disk).event == "image_corrupt"


def test_an_image_below_one_mib(stand_in: SeedStandIn, seed: Seed, wanted: Image, disk: Path) -> None:
    subprocess.run(["zstd", "-q", "-f", "-o", stand_in.files / "tiny"], input=b"x" * 100, check=True)
    size = (stand_in.files / "tiny").stat().st_size
    assert refused(seed, replace(wanted, url="/tiny", compressed_size=size), disk).event == "image_corrupt"


def test_a_seed_without_the_image(seed: Seed, wanted: Image, disk: Path) -> None:
    assert "404" in refused(seed, replace(wanted, url="/none"), disk).msg


def test_a_disk_that_cannot_be_written(seed: Seed, wanted: Image, tmp_path: Path) -> None:
    assert "No such file" in refused(seed, wanted, tmp_path / "none").msg
    if Path("/dev/full").exists():
        assert "writing to /dev/full" in refused(seed, wanted, Path("/dev/full")).msg


@pytest.mark.parametrize("direct", [True, False])
def test_any_length_at_any_place(tmp_path: Path, direct: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """O_DIRECT takes whole blocks only, and a file system in memory knows none of it."""
    real = os.open

    def opened(path: str, flags: int) -> int:
        if flags & os.O_DIRECT and not direct:
            raise OSError(errno.EINVAL, "Invalid argument")
        return real(path, flags)

    monkeypatch.setattr(image.os, "open", opened)
    data, path = os.urandom(40000), tmp_path / "disk"
    path.write_bytes(bytes(60000))
    source, sink = os.pipe()
    os.write(sink, data)
    os.close(sink)
    disk = os.open(path, os.O_RDWR)
    writer = image.Writer(disk, str(path))
    assert (writer.direct >= 0) == direct
    writer.copy(source, 0, 8192)
    writer.copy(source, 8192, 20001)  # ends within a block
    writer.copy(source, 29000, 5000)  # begins in one
    with pytest.raises(EOFError):
        writer.copy(source, 40960, 10000)
    writer.close()
    os.close(disk)
    os.close(source)
    expected = data[:28193] + bytes(29000 - 28193) + data[28193:33193]
    assert path.read_bytes() == expected + bytes(60000 - len(expected))


@pytest.mark.parametrize(
    "value",
    [
        None, [], {}, {"schema": 2, "size": MIB, "extents": []}, {"schema": 1, "size": 2 * MIB, "extents": []},
        {"schema": 1, "size": MIB, "extents": [[0, 2 * MIB]]}, {"schema": 1, "size": MIB, "extents": [[5, 5], [0, 5]]},
        {"schema": 1, "size": MIB, "extents": [[0, 5], [4, 5]]}, {"schema": 1, "size": MIB, "extents": [[-1, 5]]},
        {"schema": 1, "size": MIB, "extents": [[0, 0]]}, {"schema": 1, "size": MIB, "extents": [["a", "b"]]},
        {"schema": 1, "size": MIB, "extents": [5]},
    ],
)  # fmt: skip
def test_a_block_map_that_lies(value: Any) -> None:
    with pytest.raises(AgentError) as caught:
        image.parse_map(value, MIB)
    assert caught.value.event == "image_corrupt"


def test_ranges_cover_the_image_once() -> None:
    assert list(image.ranges([(0, 30), (40, 10), (60, 5)], 80, 20)) == [
        (20, 10, True), (30, 10, False), (40, 10, True), (50, 10, False), (60, 5, True), (65, 15, False),
    ]  # fmt: skip
    assert list(image.ranges([], 80, 20)) == [(20, 60, False)]
    assert list(image.ranges([(0, 80)], 80, 20)) == [(20, 60, True)]
    assert list(image.ranges([(0, 10)], 20, 20)) == []
