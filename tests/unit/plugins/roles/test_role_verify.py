# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 the seedcloud.openstack authors
"""The role verify against a small cloud: what it takes where, what it leaves there, and when it proves again."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.seedcloud.openstack.tests.unit.plugins.module_utils import cloud_peer

pytestmark = [pytest.mark.slow, pytest.mark.skipif(cloud_peer.QEMU is None, reason="needs qemu-system-x86")]

REFUSED = (401, {"error": {"message": "no such account", "code": 401}})
SIGN_IN = "POST /identity/v3/auth/tokens"


class Estate:
    """Two hosts, which are both this machine, and what the role is told. What asks the other one for anything takes the
    first one's clouds.yaml away, for a real one has it not."""

    def __init__(self, folder: Path, cloud: cloud_peer.Cloud) -> None:
        self.folder, self.cloud, self.proof = folder, cloud, folder / "proof"
        (folder / "guest.img").write_bytes(b"guest")
        cloud_peer.guest(folder / "bin")
        # Nobody becomes root, and nothing is installed: the tests' own Python has it.
        host = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable, "ansible_become": False}
        cloud_peer.program(folder / "bin", "other", f'rm -f {folder}/clouds.yaml; exec {sys.executable} "$@"')
        other = host | {"ansible_python_interpreter": f"{folder}/bin/other"}
        inventory = {"all": {"hosts": {"seed": host, "elsewhere": other}}}
        (folder / "hosts.json").write_text(json.dumps(inventory))
        play = {"hosts": "seed", "gather_facts": False, "roles": ["seedcloud.openstack.verify"]}
        (folder / "play.json").write_text(json.dumps([play]))
        self.vars: dict[str, Any] = {
            "__verify_packages": [],
            "verify_clouds_file": str(folder / "clouds.yaml"),
            "verify_folder": str(self.proof),
            "verify_image": str(folder / "guest.img"),
            "verify_timeout": 60,
        }

    def run(self, *arguments: str, rc: int = 0) -> str:
        (self.folder / "clouds.yaml").write_text(self.cloud.clouds())
        done = subprocess.run(
            ["ansible-playbook", "-i", "hosts.json", "play.json", "-e", json.dumps(self.vars), *arguments],
            cwd=self.folder,
            env=os.environ | {"PATH": f"{self.folder}/bin:{os.environ['PATH']}", "ANSIBLE_NOCOLOR": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=600,
        )
        assert done.returncode == rc, done.stdout
        assert cloud_peer.PASSWORD not in done.stdout
        return done.stdout


def test_a_proof_is_made_again_when_what_it_stands_for_changes(tmp_path: Path) -> None:
    with cloud_peer.serve() as cloud, cloud_peer.screen(cloud):
        estate = Estate(tmp_path, cloud)
        images = tmp_path / "images.json"
        estate.vars |= {"verify_stamp": str(tmp_path / "stamp.json"), "verify_stamp_inputs": "an inventory"}
        estate.vars |= {"verify_stamp_files": [str(images), str(tmp_path / "absent")]}
        images.write_text("one")
        out = estate.run()
        steps = re.findall(r"^seed +\+\d+s  (.+?)(?: \.\.\.|: done \(\d+ s\))$", out, re.MULTILINE)
        assert steps[:2] == ["sign in"] * 2 and Counter(steps)["make a router"] == 2, out
        for content, proves in (("one", False), ("another", True)):
            images.write_text(content)
            cloud.asked.clear()
            estate.run("--check")
            assert (SIGN_IN in cloud.asked) == proves, content


def test_from_another_host_which_keeps_no_way_to_the_cloud(tmp_path: Path) -> None:
    with cloud_peer.serve() as cloud, cloud_peer.screen(cloud):
        estate = Estate(tmp_path, cloud)
        stamp = tmp_path / "stamp.json"
        estate.vars |= {"verify_host": "elsewhere", "verify_stamp": str(stamp)}
        cloud.faults[SIGN_IN] = REFUSED
        assert "sign in: no such account" in estate.run(rc=2)
        assert not stamp.exists() and estate.proof.is_dir() and not (estate.proof / "clouds.yaml").exists()
        cloud.faults.clear()
        out = estate.run("-vvv")
        assert not (tmp_path / "clouds.yaml").exists() and "changed: [seed -> elsewhere" not in out
        assert (estate.proof / "screen.png").exists() and not (estate.proof / "clouds.yaml").exists()
        assert stamp.exists() and cloud.left == set()
