# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 the seedcloud.openstack authors
"""service_apply as a play runs it: what it changes is printed while it is at work."""

from __future__ import annotations

import json
import os
import re
import subprocess
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


def lines(play: Path, heard: Path | None = None) -> tuple[int, list[str]]:
    """Status and lines of the output; `heard` is made when the first line of progress has come."""
    with subprocess.Popen(
        ["ansible-playbook", "-i", "localhost,", str(play)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
    ) as process:
        assert process.stdout is not None
        found = []
        for line in process.stdout:
            found.append(line.rstrip())
            if heard and LINE.match(line):
                heard.touch()
    return process.wait(), found


def test_what_is_changed_is_printed_when_it_is(tmp_path: Path) -> None:
    heard = tmp_path / "heard"
    # The second step ends well only when the first one's line has come before.
    play = playbook(
        tmp_path, "true", f"for i in $(seq 600); do sleep 0.1; [ ! -e {heard} ] || exit 0; done; exit 1", "true"
    )
    code, said = lines(play, heard)
    assert code == 0, said
    assert [line.split()[2:4] for line in said if LINE.match(line)] == [[f"s:{n}:", "done"] for n in range(3)]
    code, again = lines(play)
    assert any("changed=0" in line for line in again)
    assert not [line for line in again if LINE.match(line)], "what is so needs no line"


def test_what_fails_is_printed_before_the_rest_has_ended(tmp_path: Path) -> None:
    code, said = lines(playbook(tmp_path, "true", "echo it broke >&2; exit 3"))
    assert code == 2
    assert [line.split()[2:4] for line in said if LINE.match(line)] == [
        ["s:0:", "done"],
        ["s:1:", "failed"],
    ]
    assert any("it broke" in line for line in said)
