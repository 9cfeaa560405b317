# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 the seedcloud.openstack authors
"""tools/deps.py: why Galaxy was of no use, and that the wheel's collections are the ones that were asked for."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import zipfile
from pathlib import Path
from typing import Any

import pytest

PROGRAM = Path(__file__).resolve().parents[2] / "tools/deps.py"
spec = importlib.util.spec_from_file_location("deps", PROGRAM)
assert spec and spec.loader
deps = importlib.util.module_from_spec(spec)
spec.loader.exec_module(deps)

HELD = {"some.one": ("2.3.0", {"some.two": ">=1.0.0"}), "some.two": ("1.4.0", {})}


@pytest.fixture
def galaxy_says(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Commands in place of ansible-galaxy, which fails with what is put here, and of pip, which brings HELD."""
    said: list[str] = []

    def run(command: list[str], **_more: Any) -> subprocess.CompletedProcess[str]:
        if command[0] == "ansible-galaxy":
            return subprocess.CompletedProcess(command, len(said), "", "\n".join(said))
        with zipfile.ZipFile(Path(command[command.index("-d") + 1]) / "ansible-1-py3-none-any.whl", "w") as wheel:
            for name, (version, needs) in HELD.items():
                folder = f"ansible_collections/{name.replace('.', '/')}"
                info = {"collection_info": {"version": version, "dependencies": needs}}
                wheel.writestr(f"{folder}/MANIFEST.json", json.dumps(info))
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(deps.subprocess, "run", run)
    return said


def test_the_reason_is_told(galaxy_says: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert deps.from_galaxy({"some.one": "*"}, tmp_path)
    galaxy_says += ["[WARNING]: something", "[ERROR]: Failed to resolve some.one:>=9", "", "<<< caused by >>>", "more"]
    assert not deps.from_galaxy({"some.one": ">=9"}, tmp_path)
    assert capsys.readouterr().out == "    ansible-galaxy: Failed to resolve some.one:>=9\n"


@pytest.mark.usefixtures("galaxy_says")
def test_the_wheel_brings_what_was_asked_for_and_its_needs(tmp_path: Path) -> None:
    deps.from_wheel({"some.one": ">=2.0.0,<3.0.0"}, tmp_path)
    assert sorted(path.parent.name for path in tmp_path.rglob("MANIFEST.json")) == ["one", "two"]


@pytest.mark.usefixtures("galaxy_says")
@pytest.mark.parametrize(
    ("names", "said"),
    [
        ({"some.one": ">=2.4.0"}, "some.one 2.3.0, which is not >=2.4.0"),
        ({"some.one": "*", "some.two": "<1.4.0"}, "some.two 1.4.0, which is not <1.4.0"),
        ({"some.three": "*"}, "no collection some.three"),
    ],
)
def test_another_version_than_the_range_allows_is_refused(names: dict[str, str], said: str, tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=said):
        deps.from_wheel(names, tmp_path)


@pytest.mark.usefixtures("galaxy_says")
def test_what_a_collection_needs_is_compared_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(HELD, "some.one", ("2.3.0", {"some.two": ">=2.0.0"}))
    with pytest.raises(SystemExit, match=r"some\.two 1\.4\.0, which is not >=2\.0\.0"):
        deps.from_wheel({"some.one": "*"}, tmp_path)
