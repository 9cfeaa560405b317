# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 the seedcloud.openstack authors
"""The agent is no part of the collection's Python: it is found where the ramdisk role keeps it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[3] / "roles/ramdisk/files/agent")]

from agent_seed import SeedStandIn


@pytest.fixture
def stand_in(tmp_path: Path) -> Iterator[SeedStandIn]:
    files = tmp_path / "http"
    files.mkdir()
    seed = SeedStandIn(files)
    yield seed
    seed.close()


@pytest.fixture(autouse=True)
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retries without their waits."""
    from seedcloud_agent import seed

    monkeypatch.setattr(seed, "backoff", lambda: iter(lambda: 0.01, None))
