# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 the seedcloud.openstack authors
"""deploy_services, the whole playbook: a controller that does not answer or fails, and how many tasks it takes."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import pytest
import yaml

TOP = Path(__file__).parents[4]


def two_nodes(folder: Path, node1: dict[str, Any]) -> Path:
    """An inventory with this machine as the seed and as node2."""
    inventory = yaml.safe_load((TOP / "tests/golden/two_nodes/hosts.yml").read_text())
    children = inventory["all"]["children"]
    nodes = children["seedcloud_nodes"]["children"]
    children["seedcloud_seed"]["hosts"]["seed1"] |= {
        "ansible_connection": "local",
        "ansible_python_interpreter": "/usr/bin/python3",
        "seed_root": str(folder),
    }
    nodes["seedcloud_controllers"]["hosts"]["node1"] |= node1
    nodes["seedcloud_computes"]["hosts"]["node2"] |= {"ansible_connection": "local", "nova_virt_type": "qemu"}
    hosts = folder / "hosts.json"
    hosts.write_text(json.dumps(inventory))
    return hosts


def deploy(hosts: Path, *services: str, limit: list[str]) -> str:
    """What deploy_services says."""
    more = json.dumps({"service_engine_services": services})
    return subprocess.run(
        ["ansible-playbook", TOP / "playbooks/deploy_services.yml", "-i", hosts, "-e", more, "-l", ",".join(limit)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        env=os.environ | {"ANSIBLE_NOCOLOR": "1"},
    ).stdout


@pytest.mark.parametrize("controllers", [["node1"], []])
@pytest.mark.skipif(os.geteuid() != 0, reason="the playbook becomes root")
def test_a_lost_controller_ends_the_run(tmp_path: Path, controllers: list[str]) -> None:
    hosts = two_nodes(tmp_path, {"ansible_host": "127.0.0.1", "ansible_port": 1})
    # memcached has nothing for a compute node: nothing of this machine is looked at.
    said = deploy(hosts, "memcached", limit=["seed1", "node2", *controllers])
    assert ("mended (see above): node1" in said) == bool(controllers), said
    assert ("PLAY [Make the network of the floating IPs]" in said) != bool(controllers), said
    assert ("unreachable=1" in said) == bool(controllers)


@pytest.mark.skipif(os.geteuid() != 0 or shutil.which("memcached") is not None, reason="memcached would be configured")
def test_what_failed_leaves_a_support_bundle(tmp_path: Path) -> None:
    """With a controller that lacks the service's package: its reason, a tarball, and the end of the run."""
    said = deploy(two_nodes(tmp_path, {"ansible_connection": "local"}), "memcached", limit=["seed1", "node1", "node2"])
    assert "packages are not installed: memcached" in said, said
    [bundle] = (tmp_path / "support").glob("*-node1.tar.gz")
    assert f"Apply the plan: failed, for the reason above. What may tell more: {bundle} on seed1" in said, said
    assert "mended (see above): node1" in said and "PLAY [Make the network of the floating IPs]" not in said, said
    with tarfile.open(bundle) as tar:
        names = tar.getnames()
        text = b"".join(stream.read() for member in tar if (stream := tar.extractfile(member)))
    assert any("node1" in name for name in names), names
    secrets = json.loads((tmp_path / "secrets/secrets.json").read_text())
    assert not [name for name, value in secrets.items() if str(value).encode() in text]


@pytest.mark.skipif(os.geteuid() != 0, reason="the playbook becomes root")
def test_the_tasks_are_few_and_do_not_grow_with_the_services(tmp_path: Path) -> None:
    hosts = two_nodes(tmp_path, {})
    # Nothing of these is on a compute node.
    some = ["mariadb", "rabbitmq", "memcached", "loadbalancer", "keystone", "glance", "placement"]
    few, many = (
        re.findall(r"^TASK \[(.+)\]", deploy(hosts, *services, limit=["node2"]), re.MULTILINE)
        for services in (some[:1], some)
    )
    assert "service_engine : Apply the plan" in " ".join(few)
    assert many == few
    assert len(few) <= 20
