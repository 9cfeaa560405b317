# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 the seedcloud.openstack authors
"""image_build and ramdisk_build: their arguments, results and failures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.seedcloud.openstack.plugins.module_utils._build.common import BuildError
from ansible_collections.seedcloud.openstack.plugins.modules import image_build, ramdisk_build


@pytest.fixture
def run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Any:
    def run_(module: Any, *, rc: int = 0, check_mode: bool = False, **arguments: Any) -> dict[str, Any]:
        with (
            patch_module_args({"root": str(tmp_path), "_ansible_check_mode": check_mode, **arguments}),
            pytest.raises(SystemExit) as left,
        ):
            module.main()
        assert left.value.code == rc
        result: dict[str, Any] = json.loads(capsys.readouterr().out)
        return result

    return run_


def test_the_image_is_as_told(run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def ensure(*given: Any, **named: Any) -> dict[str, Any]:
        asked.extend([*given, named])
        return {"name": "i", "changed": True, "built": True, "packages": {"many": "1"}, "schema": 1}

    monkeypatch.setattr(image_build, "ensure", ensure)
    files = {"/etc/x": "y"}
    given = {"packages": ["sudo"], "enabled_units": ["ssh.service"], "extra_files": files}
    result = run(image_build, **given, update=True, compression_level=9)
    assert {key: result[key] for key in ("name", "changed", "built")} == {"name": "i", "changed": True, "built": True}
    assert "packages" not in result
    root, spec, level, named = asked
    assert (root, level, named) == (tmp_path, 9, {"check": False, "update": True, "keep": []})
    assert (spec.packages, spec.enabled_units, spec.suite, spec.sources) == (["sudo"], ["ssh.service"], "trixie", "")
    assert spec.files == files


def test_a_file_that_is_none_is_told_before_anything_is_built(run: Any, tmp_path: Path) -> None:
    given = {"packages": ["sudo"], "enabled_units": [], "extra_files": {"etc/x": "y", "/etc/z": 1}}
    message = run(image_build, rc=1, **given)["msg"]
    assert message.startswith("extra_files: 'etc/x': a path") and "'/etc/z': its content is no text" in message
    assert not list(tmp_path.iterdir())


def test_check_mode_builds_nothing(run: Any, tmp_path: Path) -> None:
    result = run(image_build, packages=["sudo"], enabled_units=[], check_mode=True)
    assert result["changed"] and not result["built"] and not list(tmp_path.iterdir())
    result = run(ramdisk_build, agent=str(tmp_path / "none"), modules=[], check_mode=True)
    assert result["changed"] and result["name"] is None and not list(tmp_path.iterdir())
    (tmp_path / "agent").mkdir()
    result = run(ramdisk_build, agent=str(tmp_path / "agent"), modules=[], check_mode=True)
    assert result["changed"] and result["name"].startswith("agent-")


def test_a_fault_is_told(run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def ensure(*_: Any, **__: Any) -> None:
        raise BuildError("there is no space")

    for module, more in (
        (image_build, {"packages": ["x"], "enabled_units": []}),
        (ramdisk_build, {"agent": str(tmp_path), "modules": []}),
    ):
        monkeypatch.setattr(module, "ensure", ensure)
        assert "was not built: there is no space" in run(module, rc=1, **more)["msg"]


@pytest.mark.parametrize("module", [image_build, ramdisk_build])
def test_documentation_and_arguments_agree(module: Any) -> None:
    import yaml

    options = yaml.safe_load(module.DOCUMENTATION)["options"]
    assert set(options) == set(module.ARGUMENTS)
    for name, given in module.ARGUMENTS.items():
        for key in ("type", "default", "required", "elements"):
            assert options[name].get(key) == given.get(key), f"{name}.{key}"
