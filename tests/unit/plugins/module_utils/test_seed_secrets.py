# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 the seedcloud.openstack authors
"""Secrets: made once, kept from everybody else, never lost to a second run."""

from __future__ import annotations

import base64
import json
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from ansible_collections.seedcloud.openstack.plugins.module_utils._order.secrets import SecretsFault, have

NAMES = {"a": "hex", "b": "base64", "c": "fernet"}


def test_made_once_and_kept(tmp_path: Path) -> None:
    values, created = have(tmp_path, NAMES, check_mode=False)
    assert created == ["a", "b", "c"]
    assert re.fullmatch("[0-9a-f]{64}", values["a"])
    assert len(base64.b64decode(values["b"], validate=True)) == len(base64.urlsafe_b64decode(values["c"])) == 32
    assert len(set(values.values())) == 3
    assert have(tmp_path, NAMES, check_mode=False) == (values, [])
    more, created = have(tmp_path, {"a": "hex", "d": "hex"}, check_mode=False)
    assert (more["a"], created, sorted(more)) == (values["a"], ["d"], ["a", "d"])
    folder = tmp_path / "secrets"
    assert folder.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o600}


def test_check_mode_keeps_nothing(tmp_path: Path) -> None:
    values, created = have(tmp_path, NAMES, check_mode=True)
    assert (sorted(values), created, list(tmp_path.iterdir())) == (["a", "b", "c"], ["a", "b", "c"], [])


def test_runs_at_once_agree(tmp_path: Path) -> None:
    with ThreadPoolExecutor(20) as pool:
        told = list(pool.map(lambda n: have(tmp_path, {"a": "hex", f"own{n}": "hex"}, check_mode=False), range(20)))
    assert len({values["a"] for values, _unused in told}) == 1
    assert len(json.loads((tmp_path / "secrets/secrets.json").read_text())) == 21


@pytest.mark.parametrize(
    "text", ["", "planted-secret", '["planted-secret"]', '{"a": 1, "b": "planted-secret"}', '{"a": ""}']
)
def test_damaged_file_is_refused_and_not_quoted(tmp_path: Path, text: str) -> None:
    (tmp_path / "secrets").mkdir()
    path = tmp_path / "secrets/secrets.json"
    path.write_text(text)
    with pytest.raises(SecretsFault) as fault:
        have(tmp_path, NAMES, check_mode=False)
    assert "planted-secret" not in str(fault.value)
    assert fault.value.__cause__ is None
    assert path.read_text() == text
