# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 the seedcloud.openstack authors
"""provision_nodes, the whole playbook: killed and run again, and two runs at once."""

from __future__ import annotations

import os
import re
import signal
import threading
import time
from collections.abc import Callable

import pytest
from ansible_collections.seedcloud.openstack.tests.unit.plugins.module_utils import ipmi_peer
from ansible_collections.seedcloud.openstack.tests.unit.plugins.node_rack import Rack

pytestmark = [pytest.mark.slow, pytest.mark.skipif(os.geteuid() != 0, reason="makes a network namespace")]


AGENTS = (
    *("agent_started", "disk_chosen", "claim_taken", "image_writing", "image_written"),
    *("configured", "host_keys", "rebooting"),
)


def test_killed_at_every_event_and_run_again(rack: Callable[..., Rack]) -> None:
    """Each run goes on where the one before was killed, and is killed at the next event."""
    r = rack(1)
    node = r.nodes["node1"]
    node.hold = {*AGENTS}
    for event in ("ordered", "boot_device_set", "powered_on", *AGENTS, "ssh_up", "deployed", None):
        run, said = r.start(), list[str]()
        assert run.stdout
        if event in AGENTS:
            # Only once the run follows the node. One that finds host keys takes the node for deployed and waits for SSH.
            while not re.search(r"^node1 +\+\d+s |deployed nodes answer by SSH", (said or [""])[-1]):
                said.append(run.stdout.readline())
                assert said[-1], f"waited for nothing before {event}: {said}"
            node.hold.discard(event)
        while event not in (*r.events("node1"), *node.told) and run.poll() is None:
            time.sleep(0.005)
        if event:
            assert run.poll() is None, f"{event} did not come: {said} {run.stdout.read()}"
            os.killpg(run.pid, signal.SIGKILL)
        out = run.communicate(timeout=1800)[0]
        assert (run.returncode == 0) == (event is None), out
    assert (node.writes, node.cut) == (1, 0)
    assert r.events("node1").count("ordered") == 1
    assert not list((r.root / "awaited").iterdir())
    assert r.events("node1")[-2:] == ["ssh_up", "deployed"]
    assert node.bmc.power_states() == ["power 1"]


@pytest.mark.parametrize("kept", [True, False], ids=["confirmed again", "no longer confirmed"])
def test_killed_in_a_write_that_a_plan_of_several_confirmed(rack: Callable[..., Rack], kept: bool) -> None:
    r = rack(2)
    for node in r.nodes.values():
        node.holds = ["gpt"]
    plan = re.search(r"node_wipe_confirm: ([0-9a-f]{64})", r.run(rc=2))
    assert plan
    for node in r.nodes.values():
        r.hosts[node.name]["node_wipe_confirm"] = plan[1]
        node.hold = {"image_written"}
    run = r.start()
    while run.poll() is None and [node.told.count("image_writing") for node in r.nodes.values()] != [2, 2]:
        time.sleep(0.01)
    os.killpg(run.pid, signal.SIGKILL)
    assert run.wait() == -signal.SIGKILL, run.communicate()[0]
    for node in r.nodes.values():
        if not kept:
            del r.hosts[node.name]["node_wipe_confirm"]
        node.hold.clear()
    r.run()
    assert [(node.writes, node.cut) for node in r.nodes.values()] == [(1, 0), (1, 0)]


def test_two_runs_at_once(rack: Callable[..., Rack]) -> None:
    r = rack(2)
    runs = [r.start() for _unused in range(2)]
    outs = [run.communicate(timeout=1800)[0] for run in runs]
    assert [run.returncode for run in runs] == [0, 0], "\n".join(outs)
    assert [(node.writes, node.cut) for node in r.nodes.values()] == [(1, 0), (1, 0)]


def test_a_power_off_that_comes_late_cuts_no_write(rack: Callable[..., Rack]) -> None:
    """The BMC has no session for one run until the other run has long begun to write, or would have."""
    r = rack(1)
    node = r.nodes["node1"]
    node.hold = {"image_written"}
    opened, asked = threading.Event(), threading.Event()

    def change(to_bmc: bool, packet: bytes) -> bytes:
        if to_bmc or opened.is_set() or packet[5] & 0x3F != ipmi_peer.OPEN_SESSION + 1:
            return packet
        asked.set()
        return ipmi_peer.open_session_answer(packet, status=1)  # no session is free

    with ipmi_peer.relayed(node.bmc, change) as relay:
        r.hosts["node1"]["node_bmc"]["port"] = relay.port
        late = r.start()
        assert asked.wait(300)  # it has seen that the node has no order
        r.hosts["node1"]["node_bmc"]["port"] = node.bmc.port
        early = r.start()
        end = time.monotonic() + 30
        while "claim_taken" not in node.told and time.monotonic() < end:
            time.sleep(0.05)
        opened.set()
        node.hold.clear()
        outs = [run.communicate(timeout=1800)[0] for run in (late, early)]
    assert [run.returncode for run in (late, early)] == [0, 0], "\n".join(outs)
    assert (node.writes, node.cut, r.events("node1").count("ordered")) == (1, 0, 1)


def test_a_node_that_another_run_holds_is_not_ordered_unstopped(rack: Callable[..., Rack]) -> None:
    """Also when that run lets go of it in time for the order: its power was left alone."""
    r = rack(2)
    one, two = r.nodes.values()
    r.inventory["all"]["vars"]["node_lock_timeout"] = 0
    lock = r.root / "nodes/node2/lock"
    lock.parent.mkdir()
    lock.write_text(f"somebody {time.time() + 3600:.3f}\n")
    one.bmc.write("power", 1)
    one.bmc.write("delay", 5)
    run = r.start()
    while not one.bmc.calls("power 0") and run.poll() is None:
        time.sleep(0.01)
    lock.write_text("")
    one.bmc.write("delay", 0)
    out = run.communicate(timeout=1800)[0]
    assert run.returncode == 2 and re.search(r"fatal: \[node2\].*\(locked\): run somebody acts on it", out), out
    assert (one.writes, two.bmc.calls()) == (1, [])
    assert not (r.root / "nodes/node2/order.json").exists()


def test_runs_that_were_killed_while_they_waited_hold_nothing(rack: Callable[..., Rack]) -> None:
    """Ansible's workers outlive the kill; what they waited for is the next run's."""
    r = rack(1)
    r.inventory["all"]["vars"]["node_lock_timeout"] = 60
    lock = r.root / "nodes/node1/lock"
    lock.parent.mkdir()
    lock.write_text(f"somebody {time.time() + 40:.3f}\n")
    runs = [r.start() for _unused in range(2)]
    for run in runs:
        assert run.stdout
        while "Hold the nodes that get a new order" not in (line := run.stdout.readline()):
            assert line, run.wait()
    time.sleep(5)  # they wait
    for run in runs:
        os.killpg(run.pid, signal.SIGKILL)
        run.communicate()
    r.run()
    assert r.nodes["node1"].writes == 1
