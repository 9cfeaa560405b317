# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 the seedcloud.openstack authors
"""check, the whole playbook: every fault at once, and nothing touched."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from ansible_collections.seedcloud.openstack.plugins.doc_fragments import _bmc
from ansible_collections.seedcloud.openstack.plugins.plugin_utils._inventory.check import check_faults
from ansible_collections.seedcloud.openstack.tests.unit.plugins.node_rack import Rack

SEED = {"name": "seed", "address": "192.0.2.2", "interface": "eno1", "root": "/srv"}
HELD = {
    "system": {"id": "debian", "version": "13"},
    "addresses": ["192.0.2.2"],
    "disk_free": 2**40,
    "pyghmi_version": "1.6.8",
}


@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0, reason="makes a network namespace")
def test_the_rack_is_asked_and_told_about_at_once(rack: Callable[..., Rack]) -> None:
    r = rack(2)
    r.inventory["all"]["vars"]["check_disk_gib_built"] = 1
    r.hosts["node1"]["node_bmc"]["password"] = "wrong"
    username = r.hosts["node1"]["node_bmc"]["username"]
    r.hosts["node2"] |= {"nova_virt_type": "kmv", "neutron_workers": "{{ a_fact_of_later }}"}
    r.hosts["node1"]["node_bmc"]["username"] = "{{ vault_username }}"
    out = r.run(playbook="check", rc=2)
    assert "2 faults found, nothing was touched" in out
    assert "node1: node_bmc: 'vault_username' is undefined. Give it a value that can be resolved." in out
    assert "node2: nova_virt_type: value of nova_virt_type must be one of: kvm, qemu" in out
    r.hosts["node1"]["node_bmc"]["username"] = username
    r.hosts["node2"]["nova_virt_type"] = "qemu"
    out = r.run(playbook="check", rc=2)
    assert "2 faults found, nothing was touched" in out
    assert "node1: node_bmc: bmc_auth" in out
    assert "seed: seed_address: lo has 127.0.0.1" in out
    subprocess.run(["ip", "address", "add", "192.0.2.254/32", "dev", "lo"], check=True)
    r.run("--limit", "node2", "--check", playbook="check")
    assert not any(node.bmc.calls("power") for node in r.nodes.values())
    assert not (r.root / "nodes/node2").exists()


def seed_python(r: Rack) -> Path:
    """A file that says which Python the seed has from then on, as arguments of env."""
    told, python = r.folder / "tools", r.folder / "python"
    python.write_text(f'#!/bin/sh\nexec env $(cat {told}) "$@"\n')
    python.chmod(0o755)
    seed = r.inventory["all"]["children"]["seedcloud_seed"]["hosts"]["seed"]
    seed["ansible_python_interpreter"] = str(python)
    return told


@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0, reason="makes a network namespace")
def test_the_bmcs_are_asked_once_the_seed_has_its_tools_and_before_any_of_them_acts(rack: Callable[..., Rack]) -> None:
    r = rack(1)
    subprocess.run(["ip", "address", "add", "192.0.2.254/32", "dev", "lo"], check=True)
    r.inventory["all"]["vars"]["check_disk_gib_built"] = 1
    r.hosts["node1"]["node_bmc"]["password"] = "wrong"
    told = seed_python(r)

    old = r.folder / "old/pyghmi-1.5.9.dist-info"
    old.mkdir(parents=True)
    (old / "METADATA").write_text("Metadata-Version: 2.1\nName: pyghmi\nVersion: 1.5.9\n")
    told.write_text(f"PYTHONPATH={old.parent} {sys.executable}")
    out = r.run(playbook="check", rc=2)
    assert "1 faults found" in out and "seed: pyghmi: is 1.5.9. " in out

    told.write_text(f"{sys.executable} -S")  # no library but Python's own
    tools = {"ansible.builtin.copy": {"dest": str(told), "content": sys.executable, "mode": "0644"}}
    line = [
        {"import_playbook": "seedcloud.openstack.check"},
        {"hosts": "seedcloud_seed", "gather_facts": False, "tasks": [tools]},
        {"import_playbook": "seedcloud.openstack.provision_nodes"},
    ]
    (r.folder / "line.yml").write_text(yaml.safe_dump(line))
    out = r.run(playbook="line.yml", rc=2)
    before, after = out.split("PLAY [Ask the BMCs before any of them acts")
    assert "bmc_auth" not in before
    assert "1 faults found, nothing was touched" in after and "node1: node_bmc: bmc_auth" in after
    assert "PLAY [Provision the nodes]" not in after
    assert not any(r.calls().values())
    assert not (r.root / "nodes/node1").exists()


def test_versions_on_the_controller() -> None:
    old = {"ansible": "2.19.3", "python": "Python 3.11.2", "ssh": "OpenSSH_8.4p1 Debian"}
    assert [line.split(".")[0] for line in check_faults([], controller=old)] == [
        "controller: Python: is Python 3",
        "controller: ansible-core: is 2",
        "controller: ssh: is OpenSSH_8",
    ]
    good = {"ansible": "2.20.0", "python": "Python 3.12.0", "ssh": "OpenSSH_9.2p1"}
    assert check_faults([], controller=good) == []
    assert "is missing" in check_faults([], controller=good | {"ssh": ""})[0]


def test_the_seed_is_judged() -> None:
    assert check_faults([], seed=SEED, held=HELD, disk_gib=20) == []
    bad = HELD | {"system": {"id": "ubuntu", "version": "24.04"}, "addresses": None, "disk_free": 2**30}
    lines = check_faults([], seed=SEED, held=bad, disk_gib=20)
    assert [line.split(": ")[1] for line in lines] == ["operating system", "seed_interface", "seed_root"]
    lines = check_faults([], seed=SEED, held={"unreachable": True, "msg": "Connection refused\n"})
    assert lines == ["seed: ansible_host: Connection refused. See that Ansible can log in and become root."]


def test_the_library_that_speaks_to_bmcs_is_new_enough() -> None:
    """As new as the modules say that they need; one that is not there yet is no fault."""
    roles = Path(__file__).parents[4] / "roles"
    least = yaml.safe_load((roles / "check/vars/main.yml").read_text())["__check_pyghmi"]
    assert f"pyghmi >= {least} " in yaml.safe_load(_bmc.ModuleDocFragment.DOCUMENTATION)["requirements"][0]
    for good in (least, "1.6.0", "1.10.2", "2.0", None):
        assert check_faults([], seed=SEED, held=HELD | {"pyghmi_version": good}, pyghmi=least) == []
    assert check_faults([], seed=SEED, held=HELD | {"pyghmi_version": "1.5.9"}, pyghmi=least) == [
        "seed: pyghmi: is 1.5.9. Remove it where it hides Debian's python3-pyghmi, or install 1.5.34 or newer."
    ]


def test_a_foreign_dhcp_server_is_named_and_our_own_is_none() -> None:
    offer = {
        "server": "192.0.2.9",
        "mac": "00:00:5e:00:53:09",
        "address": None,
        "next_server": None,
        "boot_file": "x.0",
    }
    own = offer | {"server": "192.0.2.2"}
    lines = check_faults([], seed=SEED, held=HELD, offers=[offer, own])
    assert len(lines) == 1
    assert "192.0.2.9 (00:00:5e:00:53:09) answers DHCP on eno1, boots x.0" in lines[0]
