# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 the seedcloud.openstack authors
"""service_apply and cloud_proof as a play runs them: what they do is printed while they are at work."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.seedcloud.openstack.tests.unit.plugins.module_utils import cloud_peer

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="progress lies below /run, which is root's")
LINE = re.compile(r"localhost +\+\d+s  ")  # as tools/demo.py knows it


def playbook(folder: Path, task: dict[str, Any]) -> Path:
    """A play of one task."""
    play = [{"hosts": "localhost", "connection": "local", "gather_facts": False, "tasks": [task]}]
    path = folder / "play.yml"
    path.write_text(json.dumps(play))
    return path


def applying(folder: Path, *commands: str) -> Path:
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
    return playbook(folder, task)


def lines(play: Path, hear: Callable[[str], object] = str) -> tuple[int, list[str]]:
    """Status and lines of the output; `hear` is called with each line of progress when it comes."""
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
            if LINE.match(line):
                hear(line.rstrip())
    return process.wait(), found


def test_what_is_changed_is_printed_when_it_is(tmp_path: Path) -> None:
    heard = tmp_path / "heard"
    # The second step ends well only when the first one's line has come before.
    play = applying(
        tmp_path, "true", f"for i in $(seq 600); do sleep 0.1; [ ! -e {heard} ] || exit 0; done; exit 1", "true"
    )
    code, said = lines(play, lambda _line: heard.touch())
    assert code == 0, said
    assert [line.split()[2:4] for line in said if LINE.match(line)] == [[f"s:{n}:", "done"] for n in range(3)]
    code, again = lines(play)
    assert any("changed=0" in line for line in again)
    assert not [line for line in again if LINE.match(line)], "what is so needs no line"


def test_what_fails_is_printed_before_the_rest_has_ended(tmp_path: Path) -> None:
    code, said = lines(applying(tmp_path, "true", "echo it broke >&2; exit 3"))
    assert code == 2
    assert [line.split()[2:4] for line in said if LINE.match(line)] == [
        ["s:0:", "done"],
        ["s:1:", "failed"],
    ]
    assert any("it broke" in line for line in said)


def test_a_step_of_the_proof_is_printed_when_it_begins(tmp_path: Path) -> None:
    with cloud_peer.serve() as cloud:
        (tmp_path / "clouds.yaml").write_text(cloud.clouds())
        (tmp_path / "guest.img").write_bytes(b"guest")
        told = cloud.held["POST /network/v2.0/routers"] = threading.Event()
        cloud.faults["POST /network/v2.0/routers"] = (409, {"NeutronError": {"message": "no more routers"}})
        given = {
            "clouds_file": f"{tmp_path}/clouds.yaml",
            "image": f"{tmp_path}/guest.img",
            "folder": f"{tmp_path}/proof",
        }
        task = {"seedcloud.openstack.cloud_proof": given, "vars": {"ansible_python_interpreter": sys.executable}}
        # The cloud says nothing of the router before the line has come that tells of it.
        code, said = lines(
            playbook(tmp_path, task), lambda line: told.set() if line.endswith("make a router ...") else None
        )
        assert code == 2 and told.is_set(), said
        steps = [re.sub(LINE, "", line) for line in said if LINE.match(line)]
        assert steps[0] == "sign in ..." and any(step.startswith("make a router: failed") for step in steps), steps
        assert cloud.left == set()
        assert any("no more routers" in line for line in said) and cloud_peer.PASSWORD not in "".join(said)
