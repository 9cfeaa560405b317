# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 the seedcloud.openstack authors
"""The comparison by which the end-to-end tests find what a rack leaves behind sees what it should."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

TOP = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(TOP / "tests/e2e"))

import host_state


def fill(folder: Path) -> None:
    (folder / "etc/deep").mkdir(parents=True)
    (folder / "etc/deep/file").write_text("as it was")
    (folder / "etc/link").symlink_to("deep/file")


def rewrite(folder: Path) -> None:
    """The same size: only the time tells."""
    (folder / "etc/deep/file").write_text("as it is!")
    os.utime(folder / "etc/deep/file", (0, 0))


def turn_link(folder: Path) -> None:
    (folder / "etc/link").unlink()
    (folder / "etc/link").symlink_to("elsewhere")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (rewrite, ["is etc/deep/file", "was etc/deep/file"]),
        (turn_link, ["is etc/link leads to elsewhere", "was etc/link leads to deep/file"]),
        (lambda folder: (folder / "etc/deep/left").touch(), ["is etc/deep/left"]),
        (lambda folder: (folder / "etc/folder").mkdir(), ["is etc/folder"]),
        (lambda folder: os.mkfifo(folder / "etc/fifo"), ["is etc/fifo"]),
        (lambda folder: (folder / "etc/link").unlink(), ["was etc/link"]),
        (lambda folder: (folder / "etc/deep/file").chmod(0o600), ["is etc/deep/file", "was etc/deep/file"]),
        (lambda folder: (folder / "etc/noise/more").mkdir(parents=True), []),
    ],
)
def test_what_is_not_as_before_is_told(tmp_path: Path, change: Callable[[Path], object], told: list[str]) -> None:
    noise = re.compile(re.escape(f"{tmp_path}/etc/noise"))
    fill(tmp_path)
    before = set(host_state.files(str(tmp_path), noise))
    change(tmp_path)
    found = host_state.differences(before, set(host_state.files(str(tmp_path), noise)))
    found = sorted(line.replace(f"{tmp_path}/", "") for line in found)
    assert len(found) == len(told)
    assert all(line.startswith(start) for line, start in zip(found, told, strict=True)), found


def test_this_tree_and_only_what_lives_of_its_own_is_noise() -> None:
    assert all(map(host_state.NOISE.fullmatch, [str(TOP), "/var/lib/apt", "/root/.ansible", "/tmp/pytest-of-root"]))
    assert not any(
        map(host_state.NOISE.fullmatch, ["/etc", "/var/lib/seedcloud", "/root/.ssh", "/tmp/left", "/run/lab"])
    )


def test_a_container_of_the_racks_name_is_seen() -> None:
    with subprocess.Popen(["bash", "-c", "exec -a 'systemd-nspawn --machine=unitrack' sleep 60"]) as container:
        try:
            deadline = time.monotonic() + 10
            # bash's own words hold the name, too, until it is replaced.
            while "bash" in (Path("/proc") / str(container.pid) / "cmdline").read_text():
                assert time.monotonic() < deadline
            found = host_state.state("unitrack", [])
        finally:
            container.kill()
    assert [line for line in found if line.startswith("process")] == [
        f"process {container.pid} systemd-nspawn --machine=unitrack 60 "
    ]
    assert "link lo" in found


def test_the_packages_that_a_rack_is_made_with_are_there_before_the_comparison() -> None:
    """A package that is installed in between changes files; removing it is PURGE's."""
    wanted = yaml.safe_load((TOP / "roles/lab/defaults/main.yml").read_text())["lab_host_packages"]
    assert set(wanted) <= set((TOP / "tests/packages.txt").read_text().split())
