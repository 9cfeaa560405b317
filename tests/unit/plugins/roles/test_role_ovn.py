# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 the seedcloud.openstack authors
"""The one NIC that SSH uses goes into the provider bridge, and the run is cut at every command of that.

A container with its own systemd, networkd and Open vSwitch (userspace datapath: a kernel may have no other) is the node; a
network namespace at the other end of its NIC is the neighbour that works on it.
"""

from __future__ import annotations

import functools
import os
import re
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.seedcloud.openstack.tests.unit.plugins.plugin_utils import compiled

TOP = Path(__file__).parents[4]
SCRIPT = "/usr/local/sbin/seedcloud-provider-link"
BACK = "seedcloud-provider-back"
LIMIT = 60  # seconds: what the script promises to whoever was cut off
NETWORKD = "/etc/systemd/network"
NODE, NEIGHBOUR = "192.0.2.11", "192.0.2.2"
GONE = [f"192.0.2.{n}" for n in range(3, 9)]  # neighbours that were known once
# Each stands before a command of the script, and ends the run where the n-th, or the one named, would begin.
SHIM = """#!/bin/sh
line="$(basename "$0") $*"
at=$(/usr/bin/cat /run/shim/at)
echo "$line" >>/run/shim/log
if [ "$line" = "$at" ] || [ "$(/usr/bin/wc -l </run/shim/log)" -ge "$at" ] 2>/dev/null; then kill -KILL 0; fi
PATH=${PATH#/run/shim:}
exec "$(basename "$0")" "$@"
"""
KILLED = (-9, 137)  # by Python's count, and by the shell's
COMMANDS = (
    "cat cmp cut grep ip ls mkdir mktemp mv networkctl ovs-vsctl paste ping rm seq sleep sort systemctl systemd-run"
)


@functools.cache
def node() -> tuple[dict[str, Any], dict[str, str]]:
    """The record of the golden inventory's only node, and OVN's files for it."""
    record = compiled.records("one_nic")[0]
    plan = compiled.plans("one_nic", {"ovn_datapath": "netdev"}, services=["ovn"])["node1"]
    files = {file["path"]: file["content"] for item in plan["graph"] for file in item.get("files", [])}
    return record, files


@pytest.mark.parametrize("case", compiled.CASES)
def test_the_script_is_sound(case: str) -> None:
    for plan in compiled.golden(case).values():
        files = [file for item in plan["graph"] for file in item.get("files", []) if file["path"] == SCRIPT]
        assert len(files) == 1
        done = subprocess.run(
            ["shellcheck", "--shell=sh", "-"], input=files[0]["content"], capture_output=True, text=True, check=False
        )
        assert not done.stdout, done.stdout


class Node:
    """The node in its container."""

    def __init__(self, init: str) -> None:
        self.init = init
        record, ovn = node()
        self.moved = {file["path"]: file["content"] for file in record["provider"]["moves_address"]["files"]}
        self.files = {
            file["path"]: file["content"]
            for file in record["files"]
            if file["path"].startswith(NETWORKD) and not file["path"].endswith(".link")  # a veth has its name already
        }
        self.write(SCRIPT, ovn[SCRIPT], 0o755)
        self.write("/etc/default/openvswitch-switch", ovn["/etc/default/openvswitch-switch"])
        for command in COMMANDS.split():
            self.write(f"/run/shim/{command}", SHIM, 0o755)
        for path, content in self.files.items():
            self.write(path, content)
        self.sh(f"""
            ip netns add far
            ip link add nic0 address {record["boot_mac"]} type veth peer name far0 netns far
            ip -n far address add {NEIGHBOUR}/24 dev far0
            ip -n far link set far0 up
            systemctl start systemd-networkd openvswitch-switch
        """)
        self.wait_for(self.reachable)

    def run(self, *argv: str) -> subprocess.CompletedProcess[str]:
        enter = ["nsenter", "--target", self.init, "--all", "--"]
        return subprocess.run([*enter, *argv], capture_output=True, text=True, check=False)

    def sh(self, script: str) -> str:
        done = self.run("sh", "-euc", script)
        assert done.returncode == 0, f"{script}: {done.stdout}{done.stderr}"
        return done.stdout

    def write(self, path: str, content: str, mode: int = 0o644) -> None:
        """Through the shell within: /run is a mount of the container's own."""
        enter = ["nsenter", "--target", self.init, "--all", "--", "sh", "-euc"]
        put = f'mkdir -p "$(dirname {path})"; cat >{path}; chmod {mode:o} {path}'
        subprocess.run([*enter, put], input=content, text=True, check=True)

    def take(self, at: int | str | None = None) -> subprocess.CompletedProcess[str]:
        """Take the link; cut the run where its command number `at`, or the command `at`, would begin."""
        if at is None:
            return self.run(SCRIPT, "take")
        self.sh(f"rm -f /run/shim/log; echo {at} >/run/shim/at")
        return self.run("setsid", "-w", "env", "PATH=/run/shim:/usr/sbin:/usr/bin", SCRIPT, "take")

    # -- what is so ----------------------------------------------------------------------------------------------------

    def reachable(self) -> bool:
        """Seen from the neighbour; it also tells the node who that is."""
        return self.run("ip", "netns", "exec", "far", "ping", "-c1", "-W1", NODE).returncode == 0

    def wait_for(self, so: Any, seconds: float = 20) -> float:
        begin = time.monotonic()
        while not so():
            assert time.monotonic() - begin < seconds, f"{so.__name__} not within {seconds} s\n{self.shown()}"
            time.sleep(0.2)
        return time.monotonic() - begin

    def shown(self) -> str:
        what = "ip address; ip route; ip neigh; ovs-vsctl show; networkctl; ls -l /run/systemd/network /etc/systemd/network"
        return self.run("sh", "-c", f"{what}; cat /run/shim/log; journalctl -n 30 --no-pager").stdout

    def promised(self) -> bool:
        """Whether the way back is on its timer, which no more than LIMIT seconds are left of."""
        timer = self.run("systemctl", "list-timers", "--output=json", f"{BACK}.timer").stdout
        if BACK not in timer:
            return False
        until = int(timer.partition('"next":')[2].partition(",")[0]) / 1e6
        return until - time.time() <= LIMIT + 1

    def on(self) -> str:
        """Where the node's address is, in every respect: br-provider or nic0. Anything between the two fails."""
        port = self.run("ovs-vsctl", "port-to-br", "nic0").stdout.strip()
        transient = self.run("ovs-vsctl", "--if-exists", "get", "Port", "nic0", "other_config:transient").stdout.strip()
        holder = "br-provider" if port and not transient else "nic0"
        other = {"br-provider": "nic0", "nic0": "br-provider"}[holder]
        assert not (port and transient), f"on trial still\n{self.shown()}"
        assert NODE in self.run("ip", "-4", "address", "show", "dev", holder).stdout, self.shown()
        assert NODE not in self.run("ip", "-4", "address", "show", "dev", other).stdout, self.shown()
        assert f"default via 192.0.2.1 dev {holder}" in self.sh("ip route"), self.shown()
        wanted = self.files | (self.moved if holder == "br-provider" else {})
        lying = self.sh(f'for file in {NETWORKD}/*; do echo "$file"; cat "$file"; done')
        assert lying == "".join(f"{path}\n{content}" for path, content in sorted(wanted.items())), self.shown()
        return holder

    def anew(self) -> None:
        """As deployed, before any run."""
        self.run("systemctl", "stop", f"{BACK}.timer", f"{BACK}.service")
        self.sh(f"""
            ovs-vsctl --if-exists del-br br-provider
            rm -f /run/systemd/network/* /run/{BACK}.peers {NETWORKD}/*
        """)
        for path, content in self.files.items():
            self.write(path, content)
        self.sh("networkctl reload; networkctl reconfigure nic0; ip neigh flush dev nic0")
        self.wait_for(self.reachable)


@pytest.fixture(scope="module")
def rig() -> Iterator[Node]:
    def tool(*words: str) -> str:
        done = subprocess.run([TOP / "tools/container", *words], stdout=subprocess.PIPE, text=True, check=True)
        return done.stdout.strip()

    name = f"link{os.getpid()}"
    root = tool("root", "trixie", "openvswitch-switch", "iputils-ping")
    try:
        yield Node(tool("start", name, root))
    finally:
        tool("stop", name)


@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0, reason="boots a container")
class TestLink:
    def test_cut_at_every_command(self, rig: Node) -> None:
        ends = []
        for at in range(1, 100):
            rig.anew()
            done = rig.take(at)
            step = f"cut before command {at}: {rig.sh('tail -n 1 /run/shim/log')}"
            if done.returncode == 0:
                break
            assert done.returncode in KILLED, f"{step}: {done}"
            if rig.run("ovs-vsctl", "--if-exists", "get", "Port", "nic0", "other_config:transient").stdout.strip():
                assert rig.promised(), f"{step}: nothing will bring the address back\n{rig.shown()}"
            if rig.promised():
                # Sooner than in a minute, but the same: the unit that the timer starts.
                rig.sh(f"systemctl start --wait {BACK}.service")
            rig.wait_for(rig.reachable)
            ends.append(rig.on())
            again = rig.take()
            assert again.returncode == 0, f"{step}, then a rerun: {again}\n{rig.shown()}"
            assert rig.reachable() and rig.on() == "br-provider", step
            assert rig.run(SCRIPT, "has").returncode == 0, step
        # Before, on trial and kept: each was cut.
        assert done.returncode == 0 and ends.index("br-provider") > 15 and len(ends) > 25
        assert ends == sorted(ends, reverse=True), "what was kept was given back"

    def test_the_way_back_comes_of_itself(self, rig: Node) -> None:
        def given_back() -> bool:
            return NODE in rig.sh("ip address show dev nic0")

        rig.anew()
        assert rig.take(f"ping -c 1 -W 1 {NEIGHBOUR}").returncode in KILLED
        assert not given_back() and rig.promised()
        assert rig.wait_for(given_back, LIMIT + 15) > LIMIT / 2
        rig.wait_for(rig.reachable)
        assert rig.on() == "nic0"

    def test_a_reboot_undoes_a_trial(self, rig: Node) -> None:
        rig.anew()
        assert rig.take(f"ping -c 1 -W 1 {NEIGHBOUR}").returncode in KILLED
        # What a boot has in common with this: no timer, nothing under /run, no bridge, and the daemons start anew.
        rig.sh(f"""
            systemctl stop {BACK}.timer openvswitch-switch ovs-vswitchd ovsdb-server systemd-networkd.socket systemd-networkd
            rm -r /run/systemd/network
            ip address flush dev nic0
            ip link delete br-provider
            systemctl start openvswitch-switch systemd-networkd
        """)
        rig.wait_for(rig.reachable)
        assert rig.on() == "nic0"

    def test_neighbours_that_are_not_seen_again_send_it_back(self, rig: Node) -> None:
        """However many: it gives up itself, before the timer does that for it."""
        rig.anew()
        rig.sh("ip -n far link set far0 arp off")
        for gone in GONE:
            rig.sh(f"ip neigh replace {gone} lladdr 02:00:00:00:00:99 dev nic0 nud stale")
        try:
            done = rig.take()
        finally:
            rig.sh("ip -n far link set far0 arp on")
        told = re.search(r"(?m)^none of the neighbours \((.*)\) is seen on br-provider: .* back on nic0$", done.stderr)
        assert done.returncode == 1 and told, done
        # At least those, for what the container spoke to before may be known, too.
        assert {NEIGHBOUR, *GONE} <= set(told[1].split(" ")) and "  " not in told[1]
        rig.wait_for(rig.reachable)
        assert rig.on() == "nic0" and not rig.promised()

    def test_overrides_reach_open_vswitch(self, rig: Node) -> None:
        """What is compiled is what systemd, ovs-ctl and ovs-vsctl make of it, and a second run finds it so."""

        def chassis(external_ids: dict[str, Any]) -> None:
            plan = compiled.plans(
                "one_nic", {"ovn_config_overrides": {"external_ids": external_ids, **overrides}}, ["ovn"]
            )
            [step] = [item for item in plan["node1"]["graph"] if item["id"] == "ovn:chassis"]
            assert rig.run(*step["unless"]["argv"]).returncode != 0
            assert rig.run(*step["argv"]).returncode == 0
            assert rig.run(*step["unless"]["argv"]).returncode == 0
            for item in plan["node1"]["graph"]:
                for file in item.get("files", []):
                    if file["path"] == "/etc/default/openvswitch-switch":
                        rig.write(file["path"], file["content"])

        overrides = {
            "other_config": {"max-idle": 7},
            "openvswitch-switch": {"no-mlockall": True, "ovs-vswitchd-options": "-vconsole:off -vfile:warn"},
        }
        assert "--mlockall" in rig.sh("tr '\\0' ' ' </proc/$(pidof ovs-vswitchd)/cmdline")
        chassis({"a": 'tcp:[::1]:1,b "c"', "b": True, "hostname": None})
        chassis({"a": None, "b": True})
        assert rig.sh("ovs-vsctl get Open_vSwitch . external_ids:hostname external_ids:b") == 'node1\n"true"\n'
        assert rig.sh("ovs-vsctl get Open_vSwitch . other_config:max-idle") == '"7"\n'
        assert rig.run("ovs-vsctl", "get", "Open_vSwitch", ".", "external_ids:a").returncode != 0
        rig.sh("systemctl restart openvswitch-switch")
        started = rig.sh("tr '\\0' ' ' </proc/$(pidof ovs-vswitchd)/cmdline")
        assert "-vconsole:off -vfile:warn" in started and "--mlockall" not in started
