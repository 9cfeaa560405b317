# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 the seedcloud.openstack authors
"""What the benchmarks make of what they are given."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "bench"))

import image_write
import rack
import ramdisk_rig
from figures import figure


def event(generation: int, name: str, second: int) -> dict[str, Any]:
    """As the journal's reader gives it: the seed's clock counts, the agent's may be wrong by years."""
    moment = f"2026-11-22T19:00:{second:02}.000Z"
    return {"generation": generation, "event": name, "time": "2011-11-11T11:11:11.000Z", "received": moment}


FIRST = [event(1, name, second) for name, second in zip(rack.HOPS, (1, 5, 10, 20), strict=True)]
SECOND = [event(2, name, second) for name, second in zip(rack.HOPS, (30, 33, 40, 45), strict=True)]


def test_metal_to_ssh_is_within_one_generation() -> None:
    assert rack.metal_to_ssh([*SECOND, *FIRST]) == (15, 7)


def test_a_deployment_that_did_not_come_to_its_end_has_no_figure() -> None:
    assert rack.metal_to_ssh([*FIRST, *SECOND[:3]]) == (19, 5)
    assert rack.metal_to_ssh(SECOND[1:]) is None


def test_a_second_power_on() -> None:
    assert rack.metal_to_ssh([*FIRST, event(1, "powered_on", 15)]) == (19, 5)


@pytest.mark.parametrize(
    ("value", "bounds", "said"),
    [
        (1.999, {"most": 2}, "  it: 2 s (at most 2)\n"),
        (2.5, {"most": 2}, "  it: 2.5 s (at most 2)  MISSED\n"),
        (0.8, {"least": 0.8}, "  it: 0.8 s (at least 0.8)\n"),
        (0.79, {"least": 0.8}, "  it: 0.79 s (at least 0.8)  MISSED\n"),
    ],
)
def test_a_miss_is_said(capsys: pytest.CaptureFixture[str], value: float, bounds: dict[str, float], said: str) -> None:
    figure("it", value, "s", **bounds)
    assert capsys.readouterr().out == said


@pytest.mark.parametrize(
    ("changed", "seconds", "image_age", "said"),
    [
        (2, 2000, 1900, "cold: 2 tasks changed something\n"),
        (2, 2000, 1900, "together: 2000 s (at most 1800)  MISSED"),
        (2, 1100, 1101, "with images in the cache: 2 tasks changed something\n"),
        (1, 1201, 99999, "together: 1201 s (at most 1200)  MISSED"),
        (0, 200, 2000, "together: 200 s (at most 180)  MISSED"),
    ],
)
def test_each_kind_of_demo_has_its_target(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    changed: int,
    seconds: float,
    image_age: float,
    said: str,
) -> None:
    monkeypatch.setattr(rack.line, "SEED_ROOT", tmp_path)
    stage = {"name": "build_images", "seconds": seconds, "budget": 420, "changed": ["Build the golden image"] * changed}
    report = {"stages": [stage], "seconds": seconds, "changed": {"seed": changed}, "memory_peak": 15 << 30}
    path, image = tmp_path / "report.json", tmp_path / "http/images/golden.json"
    image.parent.mkdir(parents=True)
    image.touch()
    path.write_text(json.dumps({**report, "images": {"golden": "golden"}}))
    os.utime(path, (1e9, 1e9))
    os.utime(image, (1e9 - image_age, 1e9 - image_age))
    rack.tell_demo("a demo", path)
    told = capsys.readouterr().out
    assert said in told
    assert "memory in use: 15 GiB (at most 14)  MISSED" in told


def test_without_images_image_write_says_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SEEDCLOUD_BUILT", str(tmp_path))
    monkeypatch.setattr(sys, "argv", ["image_write.py"])
    image_write.main()
    assert "no ramdisks were built: run `make demo`" in capsys.readouterr().out


def test_machines_boot_the_newest_that_the_lab_has_or_has_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SEEDCLOUD_BUILT", raising=False)
    monkeypatch.setattr(ramdisk_rig, "TOP", tmp_path)
    lab, kept = (tmp_path / ".cache" / name for name in ("lab/rack/var/lib/seedcloud/http", "lab-cache/built"))
    for age, path in enumerate([kept / "images/b", kept / "images/a", kept / "images/c", lab / "images/d"]):
        path.parent.mkdir(parents=True, exist_ok=True)
        image = path.with_suffix(".raw.zst")
        image.touch()
        os.utime(image, (0, 1000 - age))
    assert ramdisk_rig.newest_image().name == "d.raw.zst", "what the lab has goes first"
    ramdisk_rig.newest_image().unlink()
    assert ramdisk_rig.newest_image().name == "b.raw.zst"
    monkeypatch.setenv("SEEDCLOUD_BUILT", str(tmp_path))
    with pytest.raises(FileNotFoundError, match="no images"):
        ramdisk_rig.newest_image()


def test_tasks_are_those_of_the_busiest_node() -> None:
    recap = "seed : ok=30 changed=0 unreachable=0 failed=0 skipped=9 rescued=0 ignored=0\n" + "".join(
        f"node{n} : ok={n} changed=0 unreachable=0 failed=0 skipped=3 rescued=0 ignored=0\n" for n in (7, 8, 6)
    )
    assert rack.tasks(recap, ["node6", "node7", "node8"]) == 11
