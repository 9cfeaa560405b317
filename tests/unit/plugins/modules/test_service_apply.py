# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 the seedcloud.openstack authors
"""The module's face: what it returns, and that no secret is in it."""

from __future__ import annotations

import getpass
import grp
import json
import os
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.seedcloud.openstack.plugins.modules import service_apply

SECRET = "hunter2 and more"
FILE = {"owner": getpass.getuser(), "group": grp.getgrgid(os.getgid()).gr_name, "mode": "0600"}


def plan(folder: Path, command: str) -> dict[str, Any]:
    file = {**FILE, "path": str(folder / "f"), "content": "[s]\npassword = <secret:p>\n"}
    files = {"id": "s:files", "kind": "files", "phase": "services", "after": [], "directories": [], "files": [file]}
    step = {"id": "s:sync", "kind": "step", "phase": "services", "after": ["s:files"], "service": "s"}
    step |= {"argv": ["sh", "-c", command], "env": {"P": "<secret:p>"}, "key": [], "versions": []}
    return {"packages": [], "graph": [files, step]}


def run(capsys: pytest.CaptureFixture[str], folder: Path, command: str = "true") -> tuple[int, dict[str, Any], str]:
    args = {
        "plan": json.dumps(plan(folder, command)),
        "secrets": {"p": SECRET},
        "records": str(folder / "records"),
        "_ansible_diff": True,
    }
    with patch_module_args(args), pytest.raises(SystemExit) as stopped:
        service_apply.main()
    said = capsys.readouterr().out
    return int(str(stopped.value.code)), json.loads(said), said


def test_it_applies_and_then_changes_nothing(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    code, result, said = run(capsys, tmp_path)
    assert (code, result["changed"], result["files"], result["failed_nodes"]) == (0, True, [str(tmp_path / "f")], [])
    assert SECRET in (tmp_path / "f").read_text()
    assert SECRET not in said
    assert run(capsys, tmp_path)[1]["changed"] is False


def test_a_failure_is_masked_and_names_its_node(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    code, result, said = run(capsys, tmp_path, 'echo "$P is refused" >&2; exit 1')
    assert (code, result["failed_nodes"]) == (1, ["s:sync"])
    assert "******** is refused" in result["msg"]
    assert SECRET not in said
    assert result["nodes"]["s:files"]["changed"] is True
