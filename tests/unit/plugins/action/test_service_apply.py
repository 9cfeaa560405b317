# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 the seedcloud.openstack authors
"""service_apply as a play runs it: what it changes is printed while it is at work."""

from __future__ import annotations

import json
import os
import re
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="progress lies below /run, which is root's")
LINE = re.compile(r"localhost +\+\d+s  ")  # as tools/demo.py knows it


def playbook(folder: Path, *commands: str) -> Path:
    """A play that applies one step after the other."""
    steps: list[dict[str, Any]] = []
    for number, command in enumerate(commands):
        after = [steps[-1]["id"]] if steps else []
        step = {"id": f"s:{number}", "kind": "step", "phase": "services", "after": after, "service": "s"}
        steps.append(step | {"argv": ["sh", "-c", command], "env": {}, "key": [], "versions": []})
    task = {
        "seedcloud.openstack.service_apply": {
            "plan": json.dumps({"packages": [], "graph": steps}),
            "records": str(folder / "records"),
        }
    }
    play = [{"hosts": "localhost", "connection": "local", "gather_facts": False, "tasks": [task]}]
    path = folder / "play.yml"
    path.write_text(json.dumps(play))
    return path


def lines(play: Path) -> tuple[int, list[tuple[float, str]]]:
    """Status, and each line of the output with the seconds until it came."""
    begun = time.monotonic()
    with subprocess.Popen(
        ["ansible-playbook", "-i", "localhost,", str(play)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
    ) as process:
        assert process.stdout is not None
        found = [(time.monotonic() - begun, line.rstrip()) for line in process.stdout]
    return process.wait(), found


def test_what_is_changed_is_printed_when_it_is(tmp_path: Path) -> None:
    play = playbook(tmp_path, "true", "sleep 4", "true")
    code, said = lines(play)
    told = [(at, line) for at, line in said if LINE.match(line)]
    assert code == 0, said
    assert [line.split()[2:4] for _unused, line in told] == [["s:0:", "done"], ["s:1:", "done"], ["s:2:", "done"]]
    assert told[1][0] - told[0][0] > 2, "not all at the end"
    again = lines(play)[1]
    assert any("changed=0" in line for _unused, line in again)
    assert not [line for _unused, line in again if LINE.match(line)], "what is so needs no line"


def test_what_fails_is_printed_before_the_rest_has_ended(tmp_path: Path) -> None:
    code, said = lines(playbook(tmp_path, "true", "echo it broke >&2; exit 3"))
    assert code == 2
    assert [line.split()[2:4] for _unused, line in said if LINE.match(line)] == [
        ["s:0:", "done"],
        ["s:1:", "failed"],
    ]
    assert any("it broke" in line for _unused, line in said)
