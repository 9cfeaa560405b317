# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 the seedcloud.openstack authors
"""node_order's waiting: what is asked again, what is told in the end, and who waits for nobody any more."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible.errors import AnsibleActionFail
from ansible_collections.seedcloud.openstack.plugins.action import node_order
from ansible_collections.seedcloud.openstack.plugins.module_utils._order.batch import Settings, order_nodes
from ansible_collections.seedcloud.openstack.plugins.module_utils._order.orders import Orders, node_lock

IMAGE = {"name": "i", "url": "/images/i.raw.zst", "sha256": "0" * 64, "size": 1}
NODES = [
    {
        "name": f"node{n}",
        "boot_mac": f"00:00:5e:00:53:{n:02x}",
        "address": f"192.0.2.{10 + n}",
        "boot": {"kernel": "http://192.0.2.1/ramdisks/a/vmlinuz"},
        "order": {"action": "deploy", "image": IMAGE},
    }
    for n in (1, 2)
]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for folder in ("nodes", "awaited", "dhcp/hosts"):
        (tmp_path / folder).mkdir(parents=True)
    with node_lock(tmp_path, "node2") as lease:
        lease.take("somebody", 2)
    return tmp_path


def action(root: Path, calls: list[dict[str, Any]], **args: Any) -> Callable[[], dict[str, Any]]:
    """The action over the module's own code."""

    def module(module_name: str, module_args: dict[str, Any], task_vars: dict[str, Any]) -> dict[str, Any]:
        assert module_name == "seedcloud.openstack.node_order"
        calls.append(module_args.copy())
        hold = module_args["state"] == "held"
        settings = Settings("run-1", 60, module_args["lock_timeout"], 600, check_mode=False, hold=hold)
        nodes = order_nodes(Orders(root, -1, None), settings, module_args["nodes"])
        diff = [found for node in nodes.values() if (found := node.pop("diff", None))]
        return {"nodes": nodes, "diff": diff, "changed": any(node["changed"] for node in nodes.values())}

    task = SimpleNamespace(
        args={"nodes": NODES, **args}, check_mode=False, async_val=0, action="node_order", diff=False
    )
    plugin = node_order.ActionModule(
        task, SimpleNamespace(_shell=SimpleNamespace(tmpdir=None)), SimpleNamespace(), None, None, None
    )
    plugin._execute_module = module
    return lambda: plugin.run(task_vars={})


@pytest.mark.parametrize(("state", "again"), [("held", ["node1", "node2"]), ("ordered", ["node2"])])
def test_what_is_locked_is_asked_again(
    root: Path, monkeypatch: pytest.MonkeyPatch, state: str, again: list[str]
) -> None:
    monkeypatch.setattr(node_order, "_CALL", 1)
    calls: list[dict[str, Any]] = []
    told = action(root, calls, state=state, lock_timeout="20")()
    assert {name: node["code"] for name, node in told["nodes"].items()} == {"node1": state, "node2": state}
    assert (told["failed_nodes"], told["changed"]) == ([], state == "ordered")
    assert len(told["diff"]) == (2 if state == "ordered" else 0)
    assert [node["name"] for node in calls[-1]["nodes"]] == again and len(calls) > 1
    assert max(call["lock_timeout"] for call in calls) <= 1


def test_what_stays_locked_is_told(root: Path) -> None:
    told = action(root, [], state="held", lock_timeout=0)()
    assert (told["failed_nodes"], told["nodes"]["node2"]["code"]) == (["node2"], "locked")


def test_a_worker_whose_run_was_killed_orders_nothing(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[dict[str, Any]] = []
    order = action(root, calls, state="ordered", lock_timeout=20)
    monkeypatch.setattr(node_order, "_CALL", 1)
    parent = os.getppid()
    monkeypatch.setattr(os, "getppid", lambda: 1 if calls else parent)
    with pytest.raises(AnsibleActionFail, match="was killed"):
        order()
    assert len(calls) == 1
