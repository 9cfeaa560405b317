# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 the seedcloud.openstack authors
"""deploy_services and verify_overcloud, the whole playbooks: what fails and what that leaves, and how many tasks it takes."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import pytest
import yaml

TOP = Path(__file__).parents[4]

pytestmark = [pytest.mark.slow, pytest.mark.skipif(os.geteuid() != 0, reason="the playbook becomes root")]


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
    return play("deploy_services", hosts, {"service_engine_services": services}, "-l", ",".join(limit))


def play(name: str, hosts: Path, more: dict[str, Any], *arguments: str) -> str:
    """What a playbook says."""
    return subprocess.run(
        ["ansible-playbook", TOP / f"playbooks/{name}.yml", "-i", hosts, "-e", json.dumps(more), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        env=os.environ | {"ANSIBLE_NOCOLOR": "1"},
    ).stdout


def fatal(said: str) -> dict[str, str]:
    """The last thing that each host failed of."""
    ends = re.findall(r"^fatal: \[(\w+)[^]]*\]: \w+! => (.+)$(?!\n\.\.\.ignoring)", said, re.MULTILINE)
    return {name: str(json.loads(told).get("msg")) for name, told in ends}


@pytest.mark.parametrize("controllers", [["node1"], []])
def test_a_lost_controller_ends_the_run(tmp_path: Path, controllers: list[str]) -> None:
    hosts = two_nodes(tmp_path, {"ansible_host": "127.0.0.1", "ansible_port": 1})
    # memcached has nothing for a compute node: nothing of this machine is looked at.
    said = deploy(hosts, "memcached", limit=["seed1", "node2", *controllers])
    assert ("mended (see above): node1" in said) == bool(controllers), said
    assert ("PLAY [Make the network of the floating IPs]" in said) != bool(controllers), said
    assert ("unreachable=1" in said) == bool(controllers)


@pytest.mark.skipif(shutil.which("memcached") is not None, reason="memcached would be configured")
def test_what_failed_leaves_a_support_bundle(tmp_path: Path) -> None:
    """With a controller that lacks the service's package: its reason, a tarball, and the end of the run."""
    said = deploy(two_nodes(tmp_path, {"ansible_connection": "local"}), "memcached", limit=["seed1", "node1", "node2"])
    assert "packages are not installed: memcached" in said, said
    [bundle] = (tmp_path / "support").glob("*-node1.tar.gz")
    ended = f"Apply the plan: packages are not installed: memcached\nWhat may tell more: {bundle} on seed1"
    assert ended in fatal(said)["node1"], said
    assert "mended (see above): node1" in said and "PLAY [Make the network of the floating IPs]" not in said, said
    with tarfile.open(bundle) as tar:
        names = tar.getnames()
        text = b"".join(stream.read() for member in tar if (stream := tar.extractfile(member)))
    assert any("node1" in name for name in names), names
    secrets = json.loads((tmp_path / "secrets/secrets.json").read_text())
    assert not [name for name, value in secrets.items() if str(value).encode() in text]


def test_a_probe_that_fails_leaves_a_support_bundle(tmp_path: Path) -> None:
    hosts = two_nodes(tmp_path, {})
    hosts.write_text(hosts.read_text().replace('"nova_virt_type": "qemu"', '"nova_kvm_probe_timeout": "soon"'))
    said = deploy(hosts, "nova", limit=["seed1", "node2"])
    [bundle] = (tmp_path / "support").glob("*-node2.tar.gz")
    assert re.match(f"Boot a tiny guest under KVM: .*timeout.*\nWhat may tell more: {bundle}", fatal(said)["node2"]), (
        said
    )
    assert "PLAY [Make the network of the floating IPs]" not in said, said


SECRETS, COMPILE, CLOUDS = (
    "Have the secrets that the inventory does not give",
    "Compile the services' plan of this node",
    "Keep the administrator's access on the seed",
)


@pytest.mark.parametrize(
    ("failed", "reason"),
    [(SECRETS, "Not a directory"), (COMPILE, "nonesuch: no role of this collection"), (CLOUDS, "a dir as dest")],
)
def test_what_fails_before_any_node_leaves_one_bundle(tmp_path: Path, failed: str, reason: str) -> None:
    """Of the seed, with several nodes; none of them ends well, and none is touched."""
    hosts = two_nodes(tmp_path, {})
    inventory = json.loads(hosts.read_text())
    computes = inventory["all"]["children"]["seedcloud_nodes"]["children"]["seedcloud_computes"]["hosts"]
    third = json.dumps(computes["node2"])
    for two, three in ((".12", ".13"), (".132", ".133"), (":03", ":05"), (":04", ":06"), ("TWO", "THREE")):
        third = third.replace(f'{two}"', f'{three}"')
    computes["node3"] = json.loads(third)
    journal = tmp_path / "nodes/node2/journal.jsonl"
    journal.parent.mkdir(parents=True)
    journal.write_text("the BMC has golden\n")
    if failed == SECRETS:
        (tmp_path / "secrets").write_text("no folder")
    elif failed == CLOUDS:
        (tmp_path / "clouds.yaml").mkdir()
    hosts.write_text(json.dumps(inventory))
    # Nothing of these is on a compute node.
    services = ["nonesuch"] if failed == COMPILE else ["memcached", "keystone"]
    said = deploy(hosts, *services, limit=["seed1", "node2", "node3"])
    assert reason in said, said
    [bundle] = (tmp_path / "support").glob("*")
    assert bundle.name.endswith("-seed1.tar.gz") and said.count(f"files in {bundle}") == 1, said
    ends = fatal(said)
    assert ends["node2"] == f"{failed}: failed, for the reason above.\nWhat may tell more: {bundle} on seed1", said
    assert "PLAY [Make the network of the floating IPs]" not in said, said
    assert ("TASK [seedcloud.openstack.service_engine : Apply the plan]" in said) == (failed == CLOUDS), said
    if failed == COMPILE:
        assert "mended (see above)" in ends["node3"], said
    with tarfile.open(bundle) as tar:
        assert not [name for name in tar.getnames() if name.startswith("node")]
        text = b"".join(stream.read() for member in tar if (stream := tar.extractfile(member)))
    assert b"the BMC has " in text and b"golden" not in text


def test_without_a_bundle_the_reason_is_the_end_all_the_same(tmp_path: Path) -> None:
    """Where the seed cannot write one, and where it cannot be reached."""
    hosts = two_nodes(tmp_path, {"ansible_connection": "local"})
    limit = ["seed1", "node1", "node2"]
    inventory = json.loads(hosts.read_text())
    inventory["all"]["vars"]["memcached_config_overrides"] = "no mapping"
    hosts.write_text(json.dumps(inventory))
    (tmp_path / "support").write_text("no folder")
    said = deploy(hosts, "memcached", limit=limit)
    assert fatal(said)["node1"] == f"{COMPILE}: failed, for the reason above.\nThere is no support bundle.", said
    assert "mended (see above): node1" in fatal(said)["node2"], said  # which goes on until then

    seed = inventory["all"]["children"]["seedcloud_seed"]["hosts"]["seed1"]
    seed |= {"ansible_connection": "ssh", "ansible_host": "127.0.0.1", "ansible_port": 1}
    hosts.write_text(json.dumps(inventory))
    said = deploy(hosts, "memcached", limit=limit)
    assert "fatal: [node1 -> seed1]: UNREACHABLE!" in said and "port 1: Connection refused" in said, said
    assert fatal(said)["node2"] == "seed1 cannot be reached (see above).\nThere is no support bundle.", said


def test_a_proof_that_fails_leaves_what_each_node_knows(tmp_path: Path) -> None:
    """Of those that answer; a run that only looks asks none. There is no way to the cloud, and nothing is installed for it."""
    hosts = two_nodes(tmp_path, {"ansible_host": "127.0.0.1", "ansible_port": 1})
    guest = tmp_path / "guest.img"
    guest.write_bytes(b"guest")
    more = {"__verify_packages": [], "verify_image": str(guest), "ansible_python_interpreter": sys.executable}
    (tmp_path / "clouds.yaml").write_text("clouds: {}")
    said = play("verify_overcloud", hosts, more, "--check")
    reason = f"Use the cloud as a person would, and leave nothing in it: {tmp_path}/clouds.yaml: Cloud overcloud was not found."
    assert fatal(said)["seed1"] == f"{reason}\nThere is no support bundle.", said
    assert "UNREACHABLE" not in said and not (tmp_path / "support").exists()

    said = play("verify_overcloud", hosts, more)
    [bundle] = (tmp_path / "support").glob("*-seed1.tar.gz")
    assert fatal(said)["seed1"] == f"{reason}\nWhat may tell more: {bundle} on seed1", said
    assert "fatal: [node1]: UNREACHABLE!" in said, said
    with tarfile.open(bundle) as tar:
        folders = {name.partition("/")[0] for name in tar.getnames()}
    assert "node2" in folders and "node1" not in folders, folders

    inventory = json.loads(hosts.read_text())
    computes = inventory["all"]["children"]["seedcloud_nodes"]["children"]["seedcloud_computes"]["hosts"]
    computes["node2"]["support_bundle_limit"] = "much"
    hosts.write_text(json.dumps(inventory))
    bundle.unlink()
    said = play("verify_overcloud", hosts, more)
    [bundle] = (tmp_path / "support").glob("*-seed1.tar.gz")
    assert fatal(said)["seed1"] == f"{reason}\nWhat may tell more: {bundle} on seed1", said
    assert "much" in said and "WARNING" not in said, said


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
