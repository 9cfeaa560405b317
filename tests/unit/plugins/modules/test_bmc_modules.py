# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 the seedcloud.openstack authors
"""bmc_power, bmc_boot_device and bmc_info as modules: arguments, results, check mode, diff, secrets."""

from __future__ import annotations

import importlib
import json
import re
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.module_utils.testing import patch_module_args
from ansible_collections.seedcloud.openstack.plugins.doc_fragments import _bmc as fragment
from ansible_collections.seedcloud.openstack.plugins.module_utils._bmc import core, drivers, ipmi
from ansible_collections.seedcloud.openstack.plugins.module_utils._bmc import module as bmc_module
from ansible_collections.seedcloud.openstack.tests.unit.plugins.module_utils import ipmi_peer as peers

MODULES = ("bmc_power", "bmc_boot_device", "bmc_info")


@pytest.fixture(scope="module")
def bmcs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[peers.Peer]]:
    folder = tmp_path_factory.mktemp("bmcs")
    started = [peers.start_sim(folder / f"bmc{number}", f"127.1.0.{number + 1}") for number in range(3)]
    peers.await_peers(*started)
    yield started
    peers.stop_peers(*started)


@pytest.fixture(autouse=True)
def _all_off(bmcs: list[peers.Peer]) -> None:
    for bmc in bmcs:
        for name, value in {"power": 0, "boot": "none", "delay": 0}.items():
            bmc.write(name, value)


def node(bmc: peers.Peer, name: str, **more: Any) -> dict[str, Any]:
    given = {"address": bmc.address, "port": bmc.port, "username": peers.USER, "password": peers.PASSWORD}
    return {"name": name, **given, **more}


def run(capsys: pytest.CaptureFixture[str], name: str, /, **params: Any) -> dict[str, Any]:
    module = importlib.import_module(f"ansible_collections.seedcloud.openstack.plugins.modules.{name}")
    with patch_module_args(params), pytest.raises(SystemExit):
        module.main()
    out = capsys.readouterr().out
    assert peers.PASSWORD not in out
    result: dict[str, Any] = json.loads(out)
    assert "results" not in result  # ansible-core takes that key for its own
    return result


def test_good_dead_and_wrong_side_by_side(bmcs: list[peers.Peer], capsys: pytest.CaptureFixture[str]) -> None:
    nodes = [
        node(bmcs[0], "node1"),
        node(bmcs[0], "dead", port=peers.free_port(bmcs[0].address)),
        node(bmcs[1], "wrong", password="something-else"),
        node(bmcs[2], "node2", address="127.1.0.3"),
    ]
    result = run(capsys, "bmc_power", nodes=nodes, state="on", timeout=10, _ansible_diff=True)
    assert not result.get("failed")
    assert result["changed"] is True
    assert list(result["nodes"]) == ["node1", "dead", "wrong", "node2"]
    assert result["failed_nodes"] == ["dead", "wrong"]
    codes = {name: outcome["code"] for name, outcome in result["nodes"].items()}
    assert codes == {"node1": None, "dead": "bmc_unreachable", "wrong": "bmc_auth", "node2": None}
    assert set(codes.values()) - {None} <= set(core.CODES)
    for outcome in result["nodes"].values():
        assert set(outcome) == {"power", "changed", "failed", "code", "msg", "elapsed"}
    expected = {"node1": {"power": "off"}, "node2": {"power": "off"}}
    assert result["diff"]["before"] == expected
    assert result["diff"]["after"] == {name: {"power": "on"} for name in expected}
    assert [bmcs[number].read("power") for number in (0, 1, 2)] == ["1", "0", "1"]


def test_check_mode_asks_and_changes_nothing(bmcs: list[peers.Peer], capsys: pytest.CaptureFixture[str]) -> None:
    nodes = [node(bmcs[0], "node1")]
    check = {"_ansible_check_mode": True, "_ansible_diff": True}
    result = run(capsys, "bmc_power", nodes=nodes, state="on", **check)
    assert (result["changed"], result["nodes"]["node1"]["power"]) == (True, "on")
    assert result["diff"]["before"] != result["diff"]["after"]
    assert bmcs[0].read("power") == "0"
    assert run(capsys, "bmc_power", nodes=nodes, state="off", **check)["changed"] is False
    result = run(capsys, "bmc_boot_device", nodes=nodes, device="pxe", **check)
    assert (result["changed"], result["nodes"]["node1"]["boot"]["device"]) == (True, "pxe")
    assert bmcs[0].read("boot") == "none"


def test_a_reset_is_in_the_diff(bmcs: list[peers.Peer], capsys: pytest.CaptureFixture[str]) -> None:
    bmcs[0].write("power", 1)
    result = run(capsys, "bmc_power", nodes=[node(bmcs[0], "node1")], state="reset", _ansible_diff=True)
    assert result["diff"]["after"] == {"node1": {"power": "on", "done": "reset"}}


def test_boot_device(bmcs: list[peers.Peer], capsys: pytest.CaptureFixture[str]) -> None:
    params = {"nodes": [node(bmc, f"node{number}") for number, bmc in enumerate(bmcs)], "device": "disk", "efi": False}
    result = run(capsys, "bmc_boot_device", **params, _ansible_diff=True)
    assert (result["changed"], result["failed_nodes"]) == (True, [])
    assert result["diff"]["after"]["node2"]["boot"]["device"] == "disk"
    assert run(capsys, "bmc_boot_device", **params)["changed"] is False


def test_info(bmcs: list[peers.Peer], capsys: pytest.CaptureFixture[str]) -> None:
    result = run(capsys, "bmc_info", nodes=[node(bmcs[0], "node1")])
    assert (result["changed"], result["failed_nodes"]) == (False, [])
    assert result["nodes"]["node1"]["power"] == "off"
    assert result["nodes"]["node1"]["info"]["cipher_suite"] == 3


def test_no_nodes_is_no_work(capsys: pytest.CaptureFixture[str]) -> None:
    result = run(capsys, "bmc_power", nodes=[], state="on")
    assert (result["changed"], result["nodes"], result["failed_nodes"]) == (False, {}, [])


def test_all_faults_at_once(bmcs: list[peers.Peer], capsys: pytest.CaptureFixture[str]) -> None:
    bmc = bmcs[0]
    before = bmc.calls()
    nodes = [
        node(bmc, "../node1", address="192.0.2.1"),
        node(bmc, "node\n2", address="192.0.2.2"),
        node(bmc, "n" * 300, address="192.0.2.3"),
        node(bmc, "", address="192.0.2.4"),
        node(bmc, "node5", port=0, address="192.0.2.5"),
        node(bmc, "node6", port=65536, address="192.0.2.6"),
        node(bmc, "node7", address="192.0.2.256"),
        node(bmc, "node8", address="a b; reboot"),
        node(bmc, "node9", address=""),
        node(bmc, "node10", address="192.0.2.10", username="u" * 17),
        node(bmc, "node11", address="192.0.2.11", password="s" * 21),
        node(bmc, "node12", address="192.0.2.12", password="s" * 17, allow_ipmi15=True),
        node(bmc, "twin", address="192.0.2.13"),
        node(bmc, "twin", address="192.0.2.14"),
        node(bmc, "node15", address="2001:db8::1"),
        node(bmc, "node16", address="2001:0db8:0::1"),
    ]
    result = run(capsys, "bmc_power", nodes=nodes, state="on", timeout=0, workers=0, soft_timeout=-1)
    assert result["failed"] is True
    assert len(result["faults"]) == 3 + 12 + 1 + 1
    for number in (*range(1, 13), 14, 16):
        assert any(fault.startswith(f"nodes[{number}] ") for fault in result["faults"]), number
    assert not any(fault.startswith(("nodes[13]", "nodes[15]")) for fault in result["faults"])
    assert "\n" not in result["msg"]
    assert bmc.calls() == before


@pytest.mark.parametrize(
    "wrong",
    [
        {"state": "sideways"},
        {"nodes": [{"name": "node1"}]},
        {"nodes": [{"name": "node1", "address": "192.0.2.1", "username": "u", "password": "p", "driver": "carrier"}]},
        {"nodes": [{"name": "node1", "address": "192.0.2.1", "username": "u", "password": "p", "port": "ipmi"}]},
    ],
)
def test_arguments_that_ansible_refuses(wrong: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, "bmc_power", **{"nodes": [], "state": "on", **wrong})["failed"] is True


def test_yaml_booleans_are_states(bmcs: list[peers.Peer], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, "bmc_power", nodes=[node(bmcs[0], "node1")], state=True)["nodes"]["node1"]["power"] == "on"


def test_a_missing_library_is_said(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(ipmi, "MISSING", "Traceback: no pyghmi")
    given = {"name": "node1", "address": "192.0.2.1", "username": "u", "password": "p4ss"}
    result = run(capsys, "bmc_info", nodes=[given])
    assert result["failed"] is True
    assert "pyghmi" in result["msg"]


# What is written down


@pytest.mark.parametrize("name", MODULES)
def test_documentation_is_the_argument_spec(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    module = importlib.import_module(f"ansible_collections.seedcloud.openstack.plugins.modules.{name}")
    shared = yaml.safe_load(fragment.ModuleDocFragment.DOCUMENTATION)
    options = {**shared["options"], **yaml.safe_load(module.DOCUMENTATION).get("options", {})}
    seen: dict[str, Any] = {}
    monkeypatch.setattr(
        bmc_module, "AnsibleModule", lambda argument_spec, **_more: seen.update(argument_spec) or _Stop()
    )
    with pytest.raises(_StopError):
        module.main()
    assert set(options) == set(seen)
    for option, said in options.items():
        for key in ("type", "default", "choices", "required"):
            assert said.get(key) == seen[option].get(key), f"{option}: {key}"
    suboptions = shared["options"]["nodes"]["suboptions"]
    for option, spec in bmc_module.NODES["options"].items():  # type: ignore[attr-defined]  # a dict of dicts
        for key in ("type", "default", "choices", "required"):
            assert suboptions[option].get(key) == spec.get(key), f"nodes.{option}: {key}"


class _StopError(Exception):
    pass


class _Stop:
    @property
    def params(self) -> dict[str, Any]:
        raise _StopError


def test_every_code_is_documented() -> None:
    notes = " ".join(yaml.safe_load(fragment.ModuleDocFragment.DOCUMENTATION)["notes"])
    assert dict(re.findall(r"V\((bmc_\w+)\), (.*?)[;.](?= |$)", notes)) == core.CODES
    raised: set[str] = set()
    for path in Path(core.__file__).parent.glob("*.py"):
        raised.update(re.findall(r'"(bmc_[a-z_]+)"', path.read_text()))
    assert raised == set(core.CODES)


def test_every_driver_can_be_had() -> None:
    assert [drivers.driver(name).__name__ for name in drivers.NAMES] == ["IpmiBmc"]


# Secrets


@pytest.mark.slow
def test_no_password_in_argv_result_or_log(bmcs: list[peers.Peer], tmp_path: Path) -> None:
    """A whole `ansible-playbook -vvv` run, its processes watched while a slow BMC keeps it going."""
    secret = "planted-8x1-word"
    for bmc in bmcs:
        bmc.write("delay", 2)
    (tmp_path / "vars.json").write_text(
        json.dumps({"nodes": [node(bmcs[0], "node1"), node(bmcs[1], "wrong", password=secret)]})
    )
    (tmp_path / "play.yml").write_text(
        """
- hosts: localhost
  gather_facts: false
  tasks:
    - seedcloud.openstack.bmc_power: {nodes: "{{ nodes }}", state: "on"}
      register: power
    - debug: {var: power}
"""
    )
    done = threading.Event()
    seen: set[str] = set()

    def watch() -> None:
        while not done.is_set():
            for path in Path("/proc").glob("[0-9]*/cmdline"):
                try:
                    seen.add(path.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
                except OSError:
                    continue  # it has ended
            time.sleep(0.05)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        run = subprocess.run(
            ["ansible-playbook", "-vvv", "--diff", "-e", "@vars.json", "play.yml"],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
    finally:
        done.set()
        watcher.join()
    log = run.stdout + run.stderr
    assert run.returncode == 0, log
    assert "bmc_auth" in log
    assert any("bmc_power" in argv for argv in seen)
    for text in (log, *seen):
        assert secret not in text
        assert peers.PASSWORD not in text
