# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 the seedcloud.openstack authors
"""deploy_services, the whole playbook, with a controller that does not answer: nobody waits for it, nothing goes on."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest
import yaml

TOP = Path(__file__).parents[4]


@pytest.mark.parametrize("controllers", [["node1"], []])
@pytest.mark.skipif(os.geteuid() != 0, reason="the playbook becomes root")
def test_a_lost_controller_ends_the_run(tmp_path: Path, controllers: list[str]) -> None:
    inventory = yaml.safe_load((TOP / "tests/golden/two_nodes/hosts.yml").read_text())
    children = inventory["all"]["children"]
    nodes = children["seedcloud_nodes"]["children"]
    seed = children["seedcloud_seed"]["hosts"]["seed1"]
    seed |= {
        "ansible_connection": "local",
        "ansible_python_interpreter": "/usr/bin/python3",
        "seed_root": str(tmp_path),
    }
    nodes["seedcloud_controllers"]["hosts"]["node1"] |= {"ansible_host": "127.0.0.1", "ansible_port": 1}
    nodes["seedcloud_computes"]["hosts"]["node2"] |= {"ansible_connection": "local", "nova_virt_type": "qemu"}
    hosts = tmp_path / "hosts.json"
    hosts.write_text(json.dumps(inventory))
    # memcached has nothing for a compute node: nothing of this machine is looked at.
    services = json.dumps({"service_engine_services": ["memcached"]})
    limit = ["seed1", "node2", *controllers]
    done = subprocess.run(
        ["ansible-playbook", TOP / "playbooks/deploy_services.yml", "-i", hosts, "-e", services, "-l", ",".join(limit)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        env=os.environ | {"ANSIBLE_NOCOLOR": "1"},
    )
    assert ("mended (see above): node1" in done.stdout) == bool(controllers), done.stdout
    assert ("PLAY [Make the network of the floating IPs]" in done.stdout) != bool(controllers), done.stdout
    assert ("unreachable=1" in done.stdout) == bool(controllers)
