# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 the seedcloud.openstack authors
"""node_connection: what ssh makes of it, with a real server's host key."""

from __future__ import annotations

import shlex
import subprocess
from pathlib import Path

import pytest
import yaml
from ansible import context
from ansible.utils.context_objects import CLIArgs
from ansible_collections.seedcloud.openstack.plugins.filter.node_connection import connection
from ansible_collections.seedcloud.openstack.plugins.plugin_utils._inventory.connect import common_args, node_connection
from ansible_collections.seedcloud.openstack.tests.unit.plugins.virtual_nodes import SshServer, host_key

TOP = Path(__file__).resolve().parents[4]


def ssh(arguments: str, *more: str) -> subprocess.CompletedProcess[str]:
    command = ["ssh", "-F", "/dev/null", *shlex.split(arguments), "-o", "BatchMode=yes", *more]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


@pytest.mark.parametrize("known", ["its own", "another", "none"])
def test_the_host_key_that_the_agent_reported_is_the_only_one_believed(known: str, tmp_path: Path) -> None:
    key = host_key()
    server = SshServer("127.0.0.1", key, 0)
    folder = tmp_path / "nodes/node1"
    folder.mkdir(parents=True)
    if known != "none":
        shown = key if known == "its own" else host_key()
        (folder / "host_keys").write_text(f"node1,192.0.2.11 {shown.get_name()} {shown.get_base64()}\n")
    try:
        port = str(server.listening.getsockname()[1])
        done = ssh(
            common_args("node1", "seed", {"ansible_connection": "local"}, str(tmp_path)), "-p", port, "127.0.0.1"
        )
    finally:
        server.stop()
    assert done.returncode == 255  # it lets nobody in
    refused = "verification failed" in done.stderr or "KnownHostsCommand failed" in done.stderr
    assert refused == (known != "its own"), done.stderr
    assert ("Permission denied" in done.stderr) == (known == "its own"), done.stderr


def test_what_the_seed_needs_reaches_the_ssh_to_the_seed() -> None:
    seed = {
        "ansible_host": "203.0.113.2",
        "ansible_port": 2222,
        "ansible_user": "operator",
        "ansible_private_key_file": "/home/o/my key",
        "ansible_ssh_common_args": "-o UserKnownHostsFile=/home/o/%h",
    }
    done = ssh(common_args("node1", "seed", seed, "/var/lib/seedcloud"), "-G", "192.0.2.11")
    assert done.returncode == 0, done.stderr
    options = dict(line.split(" ", 1) for line in done.stdout.splitlines() if " " in line)
    to_seed = "ssh -o BatchMode=yes -o UserKnownHostsFile=/home/o/%%h -p 2222 -l operator -i '/home/o/my key'"
    assert options["proxycommand"] == f"{to_seed} -W '[%h]:%p' -- 203.0.113.2"
    assert options["knownhostscommand"] == (
        f"/usr/bin/env {to_seed} -- 203.0.113.2 'cat /var/lib/seedcloud/nodes/node1/host_keys'"
    )
    assert options["stricthostkeychecking"] == "true"
    assert options["hostkeyalias"] == "node1"


def test_what_the_inventory_says_itself_is_kept() -> None:
    variables = {"node_networks": {"provisioning": {"address": "192.0.2.11"}}, "seedcloud_ssh_user": "op"}
    found = node_connection("node1", variables, "seed", {}, True)
    assert (found["host"], found["user"]) == ("192.0.2.11", "op")
    assert "ProxyCommand" in found["common_args"]
    own = {"ansible_host": "198.51.100.1", "ansible_user": "me", "seedcloud_ssh_common_args": "-J jump.example"}
    found = node_connection("node1", variables | own, "seed", {}, True)
    assert found == {"host": "198.51.100.1", "user": "me", "common_args": "-J jump.example", "timeout": 60}
    found = node_connection("seed", {"ansible_user": "root"}, "seed", {}, False)
    assert found == {"host": "seed", "user": "root", "common_args": "", "timeout": 60}


@pytest.mark.parametrize(
    ("inventory", "ansible", "wanted"),
    [({}, 10, 60), ({}, 90, 90), ({"ansible_ssh_timeout": 20}, 90, 20)],
    ids=["ansible's own", "a longer one of ansible.cfg", "the inventory's"],
)
def test_a_login_may_take_as_long_as_the_operator_says_and_a_minute_at_least(
    inventory: dict[str, int], ansible: int, wanted: int
) -> None:
    assert node_connection("node1", inventory, "seed", {}, True, timeout=ansible)["timeout"] == wanted


def test_what_is_told_to_ansible_itself_reaches_the_filter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(context, "CLIARGS", CLIArgs({"timeout": 90}))  # what --timeout and ANSIBLE_TIMEOUT come to
    assert connection({"node1": {}}, {"seedcloud_nodes": ["node1"]}, "node1")["timeout"] == 90


def test_the_plays_take_all_that_the_filter_returns() -> None:
    taken = yaml.safe_load((TOP / "playbooks/vars/node_connection.yml").read_text())
    returned = {f"{{{{ __node_connection.{key} }}}}" for key in node_connection("node1", {}, "seed", {}, True)}
    assert returned <= set(map(str, taken.values()))
