# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 the seedcloud.openstack authors
"""provision_nodes, the whole playbook, against machines that behave as a rack does."""

from __future__ import annotations

import os
import re
import shutil
import tarfile
from collections.abc import Callable

import pytest
from ansible_collections.seedcloud.openstack.tests.unit.plugins.module_utils import ipmi_peer
from ansible_collections.seedcloud.openstack.tests.unit.plugins.node_rack import Rack

pytestmark = [pytest.mark.slow, pytest.mark.skipif(os.geteuid() != 0, reason="makes a network namespace")]


def test_dark_rack_to_ssh_and_then_nothing(rack: Callable[..., Rack]) -> None:
    r = rack()
    out = r.run("--check")
    assert "node1: order, boot from the network" in out
    assert not any(node.bmc.calls("power") for node in r.nodes.values())
    assert not (r.root / "nodes/node1").exists()

    out = r.run()
    assert [node.writes for node in r.nodes.values()] == [1, 1]
    assert [node.bmc.power_states() for node in r.nodes.values()] == [["power 1"], ["power 1"]]
    assert r.events("node1")[-2:] == ["ssh_up", "deployed"]
    assert (r.root / "nodes/node1/host_keys").read_text().startswith("node1,192.0.2.1 ssh-ed25519 ")
    assert not list((r.root / "awaited").iterdir())

    calls = r.calls()
    out = r.run()
    assert re.search(r"node1 +: ok=\d+ +changed=0 ", out)
    assert "nothing to do" in out
    assert r.calls() == calls
    assert not (r.root / "support").exists()


def bundle_of_all(r: Rack, out: str) -> set[str]:
    """What is in the one support bundle, which goes away, of a run in which nodes failed."""
    [bundle] = (r.root / "support").glob("*.tar.gz")
    assert out.count(f"files in {bundle} on seed") == 1, out
    with tarfile.open(bundle) as tar:
        text = b"".join(stream.read() for member in tar if (stream := tar.extractfile(member)))
        names = {name.removeprefix(f"{r.root}/"[1:]) for name in tar.getnames()}
    assert ipmi_peer.PASSWORD.encode() not in text
    shutil.rmtree(bundle.parent)
    return names


def test_each_fails_alone_and_disks_with_something_on_them_wait_for_their_hash(rack: Callable[..., Rack]) -> None:
    r = rack(4)
    one, two, three, four = r.nodes.values()
    two.bmc.process.kill()
    for node in (three, four):
        node.holds = ["gpt", "ext4 label=data"]
    hashes = [three.hash, four.hash]
    out = r.run(rc=2)
    assert [node.writes for node in r.nodes.values()] == [1, 0, 0, 0]
    assert re.search(r"fatal: \[node2\].*stopped at hop bmc \(bmc_unreachable\)", out)
    assert re.search(r"node1 +: .*failed=0", out)
    assert bundle_of_all(r, out) >= {f"nodes/node{n}/journal.jsonl" for n in (1, 3, 4)}
    assert "node3: sda S-node3 16 GiB holds gpt, ext4 label=data" in out
    plan = re.search(r"node_wipe_confirm: ([0-9a-f]{64})", out)
    assert plan
    assert plan[1] not in hashes  # of several disks it is a hash over theirs

    r.hosts["node3"]["node_wipe_confirm"] = "0" * 64
    (r.root / "support").write_text("no folder")
    out = r.run("--limit", "node3", rc=2)
    assert "There is no support bundle" in out and re.search(r"fatal: \[node3\].*stopped at hop disk", out)
    assert three.writes == 0
    r.hosts["node3"]["node_wipe_confirm"] = plan[1]
    r.run("--limit", "node3", rc=2)  # the plan of the other refusal is no longer the node's last
    assert three.writes == 0

    r.hosts["node3"]["node_wipe_confirm"] = hashes[0]
    r.hosts["node4"]["node_wipe_confirm"] = plan[1]
    one.bmc.write("power", 0)
    calls = one.bmc.calls()
    out = r.run("--limit", "node1,node3,node4")
    assert [node.writes for node in r.nodes.values()] == [1, 0, 1, 1]
    assert one.bmc.calls()[len(calls) :] == ["power 1"]
    assert "node1: power on if it is off" in out

    r.build("debian13-openstack-ffffffffffff")
    assert "node3: order, boot from the network, write debian13-openstack-ffffffffffff" in r.run("--check")


def test_a_boot_that_hangs_is_made_once_more(rack: Callable[..., Rack]) -> None:
    """What became of the others in the first boot is told all the same, and nothing is tried for ever."""
    r = rack(5)
    r.inventory["all"]["vars"]["node_boot_silence"] = 5
    one, two, three, four, five = r.nodes.values()
    one.hangs, two.hangs = 1, 9
    three.holds = ["gpt"]
    four.bmc.process.kill()
    out = r.run(rc=2)
    assert [(node.writes, node.cut, node.boots) for node in (one, two, three, five)] == [
        (1, 0, 3),  # it hangs, it is written, it runs
        (0, 0, 2),
        (0, 0, 1),
        (1, 0, 2),
    ]
    assert r.events("node1") == [
        *("ordered", "boot_device_set", "powered_on", "failed", "withdrawn"),
        *("ordered", "boot_device_set", "powered_on", "withdrawn", "ssh_up", "deployed"),
    ]
    assert one.bmc.power_states() == ["power 1", "power 0", "power 1"]
    assert five.bmc.power_states() == ["power 1"]
    failed = dict(re.findall(r"^fatal: \[(node\d)\].*?stopped (.*?): ", out, re.MULTILINE))
    assert failed == {
        "node2": "in its second boot, at hop agent (hung)",
        "node3": "at hop disk (failed)",
        "node4": "at hop bmc (bmc_unreachable)",
    }
    assert f"node_wipe_confirm: {three.hash}" in out
    assert not list((r.root / "awaited").iterdir())
    two.hangs = 0
    r.run("--limit", "node2")
    assert (two.writes, two.cut) == (1, 0)


def test_an_inspection_that_hangs_is_made_once_more(rack: Callable[..., Rack]) -> None:
    r = rack(2)
    r.inventory["all"]["vars"]["node_boot_silence"] = 5
    r.nodes["node1"].hangs = 1
    out = r.run(playbook="inspect_nodes")
    for name in r.nodes:
        assert f"{name}: disk sda holds nothing" in out


def test_inspect_and_plan(rack: Callable[..., Rack]) -> None:
    """What inspect_nodes finds out, and that plan asks and changes nothing."""
    r = rack(1)
    node = r.nodes["node1"]
    out = r.run(playbook="inspect_nodes")
    assert "node1: disk sda: size_gib 16, serial S-node1, model VIRTUAL" in out
    assert "node1: disk sda holds nothing" in out
    assert "node1: NIC eth0: mac 00:00:5e:00:53:01" in out
    assert (node.writes, node.on()) == (0, False)
    calls, events = r.calls(), r.events("node1")
    out = r.run(playbook="plan")
    assert "node1: power: is off; boot from the network once, power on" in out
    assert re.search(r"node1: disk: sda S-node1 16 GiB holds nothing \(told .* UTC, generation 1\); that needs no", out)
    assert (r.calls(), r.events("node1")) == (calls, events)
    r.hosts["node1"]["node_root_device"] = {"serial": "S-node1"}
    out = r.run(playbook="plan")
    assert "node1: disk: the one with serial S-node1; what it holds is not known: inspect_nodes finds out" in out
    node.holds = ["ext4"]
    r.run(rc=2)
    out = r.run(playbook="plan")
    assert f"To destroy all of this, set node_wipe_confirm: {node.hash}" in out
    assert "sda S-node1 16 GiB holds ext4" in out
    shutil.rmtree(r.root / "support")  # of the refusal
    r.hosts["node1"]["node_root_device"] = {"serial": "X"}
    r.run(playbook="inspect_nodes")  # of hints that fit nothing one inspects to find better ones
    assert "node1: disk: refused: no disk has serial 'X'. Disks of this node: sda" in r.run(playbook="plan")
    node.bmc.process.kill()
    assert "nodes/node1/journal.jsonl" in bundle_of_all(r, r.run(playbook="inspect_nodes", rc=2))


def end_of(r: Rack, reason: str, *arguments: str, playbook: str = "provision_nodes", rc: int = 2) -> str:
    """What a run says that ends for that reason."""
    out = r.run(*arguments, playbook=playbook, rc=rc)
    assert reason in re.findall(r"^fatal: .*", out, re.MULTILINE)[-1], out
    return out


def out_of_reach(r: Rack) -> None:
    seed = r.inventory["all"]["children"]["seedcloud_seed"]["hosts"]["seed"]
    seed |= {"ansible_connection": "ssh", "ansible_host": "127.0.0.1", "ansible_port": 1}


@pytest.mark.parametrize("playbook", ["provision_nodes", "inspect_nodes"])
def test_a_seed_that_fails_leaves_one_bundle(rack: Callable[..., Rack], playbook: str) -> None:
    """And none that cannot be reached; what failed is the last thing said."""
    r = rack(3)
    (r.root / "stamps/images.json").write_text("{}")
    out = end_of(r, "Refuse to go on with a seed that is not ready: The seed seed has no services", playbook=playbook)
    assert re.search(r"^fatal: \[node1\].*What may tell more: \S+-seed\.tar\.gz on seed", out, re.MULTILINE), out
    assert "stamps/images.json" in bundle_of_all(r, out)
    out_of_reach(r)
    out = end_of(r, "seed cannot be reached (see above)", playbook=playbook, rc=4)
    assert re.search(r"fatal: \[node1 -> seed\]: UNREACHABLE! .*port 1: Connection refused", out), out


def test_a_seed_that_fails_in_the_midst_and_one_that_keeps_nothing(rack: Callable[..., Rack]) -> None:
    r = rack(2)
    r.inventory["all"]["vars"]["node_seed_group"] = "nonesuch"
    out = end_of(r, "ask which orders go on already: group 'nonesuch' does not exist")
    assert "stamps/images.json" in bundle_of_all(r, out)
    assert not any(r.calls().values())

    (r.root / "support").write_text("no folder")
    assert "There is no support bundle" in end_of(r, "ask which orders go on already: group 'nonesuch' does not exist")
    (r.root / "support").unlink()

    (r.root / "stamps/images.json").unlink()
    (r.root / "stamps/images.json").mkdir()  # the module that reads it fails, also in a run that only looks
    end_of(r, "Is a directory", "--check")
    assert not (r.root / "support").exists()

    r.inventory["all"]["vars"]["node_wait_timeout"] = "soon"  # nothing was touched yet
    for playbook in ("provision_nodes", "inspect_nodes"):
        end_of(r, "argument 'node_wait_timeout' is of type str", playbook=playbook)
    assert not (r.root / "support").exists()


def test_an_inspection_is_enough_to_confirm(rack: Callable[..., Rack]) -> None:
    """What plan prints after it lets the disks go, without a refusal: the hash over all, also of a part, and each alone."""
    r = rack(3)
    one, two, _three = r.nodes.values()
    for node in (one, two):
        node.holds = ["gpt", f"ext4 label={node.name}"]
    assert "node1: disk sda holds gpt, ext4 label=node1" in r.run(playbook="inspect_nodes")
    two.breaks = "agent_started"
    r.run("--limit", "node2", "-e", "node_wait_silence=5", rc=2)  # an order that came to nothing
    two.breaks = None
    out = r.run(playbook="plan")
    assert "node1: disk: sda S-node1 16 GiB holds gpt, ext4 label=node1 (told " in out
    for node in (one, two):
        assert f"to destroy this alone, set node_wipe_confirm: {node.hash}" in out
    assert "node3: disk: sda S-node3 16 GiB holds nothing (told " in out
    plan = re.search(r"To destroy all of this, set node_wipe_confirm: ([0-9a-f]{64})", out)
    assert plan and plan[1] not in (one.hash, two.hash)

    for node in r.hosts.values():
        node["node_wipe_confirm"] = plan[1]
    r.run("--limit", "node2")
    r.hosts["node1"]["node_wipe_confirm"] = one.hash
    r.run()
    assert [node.writes for node in r.nodes.values()] == [1, 1, 1]
    assert not [node.name for node in r.nodes.values() if "wipe_refused" in node.told]
