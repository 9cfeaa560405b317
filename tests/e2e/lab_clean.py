# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 the seedcloud.openstack authors
"""The rack comes and goes: afterwards the host is as before, also when the making of it was killed.

pytest tests/e2e/lab_clean.py        (root; takes the packages of an earlier rack from .cache/lab-cache)
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import host_state
import pytest
import yaml

TOP = Path(__file__).parents[2]
CACHE = TOP / ".cache/lab-cache"
# A rack beside the one that a developer has.
RACK: dict[str, Any] = {
    "lab_name": "scclean",
    "lab_cache": str(CACHE),
    "lab_link": {"host": "198.18.0.5", "rack": "198.18.0.6", "prefix": 30},
    "lab_networks": {
        "provisioning": {"cidr": "198.19.16.0/24", "gateway": "198.19.16.1"},
        "tunnel": {"cidr": "198.19.17.0/24", "vlan": 202},
        "provider": {"cidr": "198.19.32.0/24", "gateway": "198.19.32.1"},
        "bmc": {"cidr": "198.19.48.0/24"},
    },
    "lab_nodes": [{"name": "clean1", "groups": ["seedcloud_controllers"], "memory_mib": 256, "firmware": "bios"}],
}


def left_since(before: set[str]) -> list[str]:
    return host_state.differences(before, host_state.state(RACK["lab_name"]))


def playbook(root: Path, state: str) -> subprocess.Popen[str]:
    variables = json.dumps(RACK | {"lab_root": str(root), "lab_state": state})
    return subprocess.Popen(
        [TOP / "tools/run", "ansible-playbook", TOP / "playbooks/lab.yml", "-i", "localhost,", "-e", variables],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def run(root: Path, state: str) -> str:
    process = playbook(root, state)
    said, _unused = process.communicate(timeout=900)
    assert process.returncode == 0, said[-3000:]
    return said


@pytest.fixture
def rack(tmp_path: Path) -> Iterator[Path]:
    root = tmp_path / "lab"
    yield root
    run(root, "absent")


def test_a_rack_comes_and_goes(rack: Path) -> None:
    before = host_state.state(RACK["lab_name"])
    run(rack, "present")
    assert "is link scclean" in left_since(before)
    assert "changed=0 " in run(rack, "present"), "the second run changes nothing"
    everything = yaml.safe_load((rack / "inventory/hosts.yml").read_text())["all"]
    assert (rack / "inventory/hosts.yml").stat().st_mode & 0o777 == 0o600
    bmc = everything["children"]["seedcloud_nodes"]["hosts"]["clean1"]["node_bmc"]
    assert chassis(everything, bmc, "power status") == "Chassis Power is off"
    run(rack, "absent")
    assert not rack.exists()
    assert not left_since(before)


def chassis(everything: dict[str, Any], bmc: dict[str, Any], command: str) -> str:
    """Ask a BMC with ipmitool, on the seed, which alone reaches it."""
    seed = everything["children"]["seedcloud_seed"]["hosts"]["seed"]
    ssh = ["ssh", "-F", "none", "-i", everything["vars"]["ansible_ssh_private_key_file"]]
    ask = f"ipmitool -I lanplus -C 3 -H {bmc['address']} -U {bmc['username']} -f /dev/stdin chassis {command}"
    done = subprocess.run(
        [*ssh, *seed["ansible_ssh_common_args"].split(), f"{seed['ansible_user']}@{seed['ansible_host']}", ask],
        input=bmc["password"] + "\n",
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


@pytest.mark.parametrize("task", ["Unpack the rack's system", "Start the rack and connect", "Bring what runs"])
def test_nothing_is_left_of_a_rack_whose_making_was_killed(rack: Path, task: str) -> None:
    before = host_state.state(RACK["lab_name"])
    process = playbook(rack, "present")
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("TASK") and task in line:
            break
    else:
        pytest.fail(f"the run ended before {task!r}")
    time.sleep(1)  # in the middle of it
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    run(rack, "absent")
    assert not rack.exists()
    assert not left_since(before)


def test_a_strangers_folder_is_not_removed(tmp_path: Path) -> None:
    (tmp_path / "precious").touch()
    process = playbook(tmp_path, "absent")
    said, _unused = process.communicate(timeout=300)
    assert process.returncode != 0
    assert "was not made by this role" in said
    assert (tmp_path / "precious").exists()
