# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 the seedcloud.openstack authors
"""Racks for the tests of roles."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from ansible_collections.seedcloud.openstack.tests.unit.plugins.node_rack import Rack


@pytest.fixture
def _network() -> Iterator[None]:
    """All that this thread starts has a network of its own, in which every address of the rack is local."""
    before = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    os.unshare(os.CLONE_NEWNET)
    try:
        subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
        for network in ("192.0.2.0/24", "198.51.100.0/24"):
            subprocess.run(["ip", "route", "add", "local", network, "dev", "lo"], check=True)
        yield
    finally:
        os.setns(before, os.CLONE_NEWNET)
        os.close(before)


@pytest.fixture
def rack(tmp_path: Path, _network: None) -> Iterator[Callable[[int], Rack]]:
    made: list[Rack] = []

    def make(nodes: int = 2) -> Rack:
        made.append(Rack(tmp_path, nodes))
        return made[-1]

    yield make
    for each in made:
        each.stop()
