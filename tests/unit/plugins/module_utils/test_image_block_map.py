# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 the seedcloud.openstack authors
"""The block map against images on a real file system, holes and stored zeros alike."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest
from ansible_collections.seedcloud.openstack.plugins.module_utils._image.block_map import BLOCK_SIZE, block_map

B = BLOCK_SIZE


def _write(path: Path, size: int, pieces: dict[int, bytes]) -> None:
    with path.open("wb") as image:
        image.truncate(size)
        for offset, data in pieces.items():
            image.seek(offset)
            image.write(data)


@pytest.mark.parametrize(
    ("size", "pieces", "extents"),
    [
        (0, {}, []),
        (10 * B, {}, []),
        (5, {0: b"hello"}, [[0, 5]]),
        (10 * B, {0: b"x", 9 * B: b"y"}, [[0, B], [9 * B, B]]),
        (10 * B, {B - 1: b"xy"}, [[0, 2 * B]]),
        (10 * B, {0: bytes(10 * B)}, []),
        (3 * B + 7, {3 * B + 6: b"z"}, [[3 * B, 7]]),
        (200 * B, {0: b"\1" * (150 * B)}, [[0, 150 * B]]),
        (200 * B, {0: b"\1" * B + bytes(B) + b"\1" * B}, [[0, B], [2 * B, B]]),
    ],
)
def test_extents(tmp_path: Path, size: int, pieces: dict[int, bytes], extents: list[list[int]]) -> None:
    image = tmp_path / "image.raw"
    _write(image, size, pieces)
    assert block_map(image) == {"schema": 1, "block_size": B, "size": size, "extents": extents}


@pytest.mark.parametrize("block_size", [4096, B, 1024 * 1024])
def test_an_image_written_by_its_map_is_the_image(tmp_path: Path, block_size: int) -> None:
    dice = random.Random(block_size)
    size = 9 * 1024 * 1024 + 1234
    image, copy = tmp_path / "image.raw", tmp_path / "copy.raw"
    _write(image, size, {dice.randrange(size - 9000): dice.randbytes(dice.randrange(1, 9000)) for _piece in range(40)})
    found = block_map(image, block_size)
    data = image.read_bytes()
    _write(copy, size, {offset: data[offset : offset + length] for offset, length in found["extents"]})
    assert copy.read_bytes() == data
    assert sum(length for _offset, length in found["extents"]) < size
    assert all(offset % block_size == 0 for offset, _length in found["extents"])


def test_a_file_system_that_knows_no_holes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    image = tmp_path / "image.raw"
    _write(image, 4 * B, {2 * B: b"x"})
    monkeypatch.setattr(os, "lseek", lambda fd, at, how: at if how == os.SEEK_DATA else 4 * B)
    assert block_map(image)["extents"] == [[2 * B, B]]
