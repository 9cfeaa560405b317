# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 the seedcloud.openstack authors
"""The boot flags of the lab's BMCs behave as hardware's."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest

PROGRAM = Path(__file__).parents[2] / "roles/lab/files/rack/usr/local/lib/lab/boot_options.py"
spec = importlib.util.spec_from_file_location("lab_boot_options", PROGRAM)
assert spec and spec.loader
lab = importlib.util.module_from_spec(spec)
spec.loader.exec_module(lab)

PXE, DISK = 0x1 << 2, 0x2 << 2
ONCE, ALWAYS, EFI = 0x80, 0xC0, 0x20
NETWORK_FIRST, DISK_FIRST = ("network", "disk"), ("disk", "network")


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    clock = [1000.0]
    monkeypatch.setattr(lab.time, "monotonic", lambda: clock[0])
    return clock


@pytest.fixture
def options(tmp_path: Path, now: list[float]) -> Any:
    return lab.BootOptions(tmp_path / "node1.json")


def test_without_flags_the_disk_is_first(options: Any) -> None:
    assert options.order() == DISK_FIRST


def test_a_one_time_flag_serves_one_boot(options: Any) -> None:
    options.write(5, [ONCE | EFI, PXE, 0, 0, 0])
    assert options.order() == NETWORK_FIRST
    options.booted()
    assert options.order() == DISK_FIRST
    assert options.data[5] == [EFI, PXE, 0, 0, 0], "only the valid bit is cleared"


def test_a_persistent_flag_stays(options: Any, now: list[float]) -> None:
    options.write(5, [ALWAYS, PXE, 0, 0, 0])
    now[0] += 3600
    assert not options.expire()
    options.booted()
    assert options.order() == NETWORK_FIRST


def test_a_flag_that_no_power_command_follows_expires(options: Any, now: list[float]) -> None:
    options.write(5, [ONCE, PXE, 0, 0, 0])
    now[0] += 59
    assert not options.expire()
    options.restart_timer()  # a chassis control command
    now[0] += 59
    assert not options.expire()
    now[0] += 2
    assert options.expire()
    assert options.order() == DISK_FIRST


def test_parameter_3_switches_the_timer_off(options: Any, now: list[float]) -> None:
    options.write(3, [0x08])
    options.write(5, [ONCE, PXE, 0, 0, 0])
    now[0] += 3600
    assert not options.expire()
    assert options.order() == NETWORK_FIRST


def test_a_restart_of_the_bmc_forgets_nothing(options: Any) -> None:
    options.write(5, [ALWAYS, PXE, 1, 2, 3])
    assert lab.BootOptions(options.path).data[5] == [ALWAYS, PXE, 1, 2, 3]


@pytest.mark.parametrize(("selector", "order"), [(DISK, DISK_FIRST), (0x5 << 2, DISK_FIRST), (PXE, NETWORK_FIRST)])
def test_selectors(options: Any, selector: int, order: tuple[str, ...]) -> None:
    options.write(5, [ONCE, selector, 0, 0, 0])
    assert options.order() == order
