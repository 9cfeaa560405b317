# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 the seedcloud.openstack authors
"""Orders: joined or made anew, killed at every step, wanted by two runs at once, and refused when they are wrong."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.seedcloud.openstack.plugins.module_utils._journal import store
from ansible_collections.seedcloud.openstack.plugins.module_utils._journal.events import make_event
from ansible_collections.seedcloud.openstack.plugins.module_utils._order.batch import (
    Settings,
    order_nodes,
    seed_fault,
    withdraw_nodes,
)
from ansible_collections.seedcloud.openstack.plugins.module_utils._order.orders import Orders, node_lock, renew

SETTINGS = Settings("run-1", lease=60, lock_timeout=0, stalled_after=600, check_mode=False)
CHECK = dataclasses.replace(SETTINGS, check_mode=True)
OTHER = dataclasses.replace(SETTINGS, run="run-2")
HOLD = dataclasses.replace(SETTINGS, hold=True)
IMAGE = {"name": "i", "url": "/images/i.raw.zst", "sha256": "0" * 64, "size": 1}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return seed_root(tmp_path / "seed")


def seed_root(root: Path) -> Path:
    for folder in ("nodes", "awaited", "dhcp/hosts"):
        (root / folder).mkdir(parents=True)
    return root


def orders(root: Path) -> Orders:
    return Orders(root, -1, None)


def node(n: int = 1, **order: Any) -> dict[str, Any]:
    return {
        "name": f"node{n}",
        "boot_mac": f"00:00:5e:00:53:{n:02x}",
        "address": f"192.0.2.{10 + n}",
        "boot": {"kernel": "http://192.0.2.1/ramdisks/a/vmlinuz"},
        "order": {"action": "deploy", "image": IMAGE, **order},
    }


def order(root: Path, *nodes: dict[str, Any], settings: Settings = SETTINGS) -> dict[str, dict[str, Any]]:
    return order_nodes(orders(root), settings, list(nodes or [node()]))


def happened(root: Path, event: str, generation: int = 1, level: str = "info", name: str = "node1") -> None:
    store.append(root, name, [make_event(time.time(), name, generation, "ansible", event, level=level)])


def tree(root: Path) -> dict[str, str]:
    """Every path with its content, less what tells the time or the run."""
    found = {}
    for path in sorted(root.rglob("*")):
        text = os.readlink(path) if path.is_symlink() else path.read_text() if path.is_file() else "/"
        text = re.sub(r'"(time|received)":"[^"]*"', "", text)
        found[str(path.relative_to(root))] = "" if path.name == "lock" else text
    return found


def test_order_lays_out_what_nginx_serves(root: Path) -> None:
    told = order(root)["node1"]
    assert (told["code"], told["generation"], told["needs_boot"]) == ("ordered", 1, True)
    awaited = root / "awaited" / "192.0.2.11"
    assert (awaited / "node").read_text() == "node1\n"
    assert json.loads((awaited / "order.json").read_text()) == json.loads((root / "nodes/node1/order.json").read_text())
    assert (root / "nodes/node1/order.json").stat().st_mode & 0o777 == 0o600
    assert [path.name for path in (awaited / "claim").iterdir()] == ["1"]
    assert "vmlinuz" in (awaited / "boot" / "00-00-5e-00-53-01.ipxe").read_text()
    assert (awaited / "claimed").resolve() == root / "nodes/node1/claimed"
    assert (root / "dhcp/hosts/node1").read_text() == "00:00:5e:00:53:01,192.0.2.11,node1\n"


def test_rerun_joins_and_changes_nothing(root: Path) -> None:
    order(root)
    before = tree(root)
    again = order(root, settings=OTHER)["node1"]
    assert (again["changed"], again["joined"], again["generation"], again["run"]) == (False, True, 1, "run-1")
    assert tree(root) == before
    assert order(root, settings=CHECK)["node1"]["changed"] is False


CONFIRMED, PLAN = ({"confirmed": digit * 64} for digit in "12")


@pytest.mark.parametrize("wipe", [CONFIRMED, PLAN, {"confirmed": None}])
def test_a_boot_under_way_is_joined_whatever_the_rerun_confirms(root: Path, wipe: dict[str, Any]) -> None:
    order(root, node(wipe=CONFIRMED))
    happened(root, "powered_on")
    before = tree(root)
    assert order(root, node(wipe=wipe), settings=OTHER)["node1"]["joined"] is True
    assert tree(root) == before  # the order, too: its agent has read it


def test_a_confirmation_taken_back_in_time_wipes_nothing(root: Path) -> None:
    order(root, node(wipe=CONFIRMED))
    assert order(root, node(wipe=PLAN))["node1"]["joined"] is True
    assert order(root, node(wipe={"confirmed": None}))["node1"]["generation"] == 2
    assert json.loads((root / "awaited/192.0.2.11/order.json").read_text())["wipe"] == {"confirmed": None}


def test_the_confirmed_order_is_not_the_refused_one(root: Path) -> None:
    order(root, node(wipe={"confirmed": None}))
    happened(root, "wipe_refused", level="error")
    assert order(root, node(wipe=CONFIRMED))["node1"]["generation"] == 2


@pytest.mark.parametrize("event", ["powered_on", "agent", "claim"])
def test_joined_node_that_is_under_way_is_not_started_again(root: Path, event: str) -> None:
    order(root)
    if event == "powered_on":
        happened(root, event)
    elif event == "agent":
        reports = root / "nodes/node1/reports/1" / ("ab" * 16)
        reports.mkdir()
        (reports / "0001.json").write_text('{"event": "agent_started"}')
    else:
        (root / "awaited/192.0.2.11/claim/1").rename(root / "nodes/node1/claimed/1" / ("ab" * 16))
    assert order(root)["node1"]["needs_boot"] is False


def test_taken_claim_is_never_free_again(root: Path) -> None:
    order(root)
    awaited = root / "awaited/192.0.2.11"
    (awaited / "claim/1").rename(root / "nodes/node1/claimed/1" / ("ab" * 16))
    orders(root).retire("node1")  # as a kill in the middle of a publication leaves it
    again = order(root)["node1"]
    assert (again["joined"], again["claimed_by"]) == (True, "ab" * 16)
    assert awaited.is_dir() and not list((awaited / "claim").iterdir())


@pytest.mark.parametrize("end", ["deployed", "withdrawn", "failed", "stalled", "other"])
def test_what_is_over_is_ordered_anew(root: Path, end: str) -> None:
    order(root)
    settings, wanted = SETTINGS, node()
    if end == "stalled":
        settings = dataclasses.replace(SETTINGS, stalled_after=0)
    elif end == "other":
        wanted = node(after="poweroff")
    else:
        happened(root, end, level="error" if end == "failed" else "info")
    again = order(root, wanted, settings=settings)["node1"]
    assert (again["generation"], again["joined"], again["changed"]) == (2, False, True)
    assert [path.name for path in (root / "awaited/192.0.2.11/claim").iterdir()] == ["2"]


def test_what_nginx_refused_ends_nothing(root: Path) -> None:
    order(root)
    line = '{"time":1,"method":"GET","uri":"/images/x","status":404}\n'
    (root / "nodes/node1/access/1.jsonl").write_text(line)
    assert order(root)["node1"]["joined"] is True


def test_another_live_run_with_another_order_is_left_alone(root: Path) -> None:
    order(root)
    before = tree(root)
    foretold = order(root, node(after="poweroff"), settings=dataclasses.replace(OTHER, check_mode=True))
    assert foretold["node1"]["code"] == "locked", "a caller that trusts it would switch the node off"
    told = order(root, node(after="poweroff"), node(2), settings=OTHER)
    assert (told["node1"]["code"], told["node1"]["failed"]) == ("locked", True)
    assert re.search(r"^run run-1 acts on it; .* free in (59|60) s$", told["node1"]["msg"])
    assert told["node2"]["code"] == "ordered"
    after = tree(root)
    assert {path: after[path] for path in before} == before
    with node_lock(root, "node1") as lease:
        lease.take("run-1", -1)  # run-1 has not been heard of for too long
    assert order(root, node(after="poweroff"), settings=OTHER)["node1"]["generation"] == 2


def test_waits_for_the_other_run(root: Path) -> None:
    order(root)
    with node_lock(root, "node1") as lease:
        lease.take("run-1", 1)
    told = order(root, node(after="poweroff"), settings=dataclasses.replace(OTHER, lock_timeout=5))
    assert told["node1"]["generation"] == 2


def test_a_held_node_is_ordered_by_nobody_else(root: Path) -> None:
    """Nothing is ordered yet, and still another run may not: who holds is about to switch the node off."""
    told = order(root, settings=HOLD)["node1"]
    assert (told["code"], told["changed"], told["generation"], told["joined"]) == ("held", False, 1, False)
    assert not (root / "nodes/node1/order.json").exists() and not list((root / "awaited").iterdir())
    for settings in (OTHER, dataclasses.replace(HOLD, run="run-2"), dataclasses.replace(CHECK, run="run-2")):
        assert order(root, settings=settings)["node1"]["code"] == "locked"
    assert order(root)["node1"]["code"] == "ordered"
    joined = order(root, settings=dataclasses.replace(HOLD, run="run-2"))["node1"]
    assert (joined["code"], joined["changed"]) == ("joined", False)


@pytest.mark.parametrize("end", ["deployed", "withdrawn", "failed"])
def test_what_was_foretold_as_joined_is_not_ordered_anew_when_it_ends(root: Path, end: str) -> None:
    """Its node is on, and nobody has switched it off for a new order."""
    order(root)
    foretold = order(root, settings=dataclasses.replace(HOLD, run="run-2"))["node1"]
    assert foretold["joined"] is True
    if end == "withdrawn":
        withdraw_nodes(orders(root), SETTINGS, [{"name": "node1"}], forget=False)
    else:
        happened(root, end, level="error" if end == "failed" else "info")
    before = tree(root)
    told = order(root, {**node(), "generation": foretold["generation"]}, settings=OTHER)["node1"]
    assert (told["code"], told["generation"], told["changed"], told["needs_boot"]) == ("joined", 1, False, False)
    assert tree(root) == before
    new = {**node(), "generation": told["generation"]}
    new["order"] = {**new["order"], "files": []}  # another order than that
    assert order(root, new, settings=OTHER)["node1"]["generation"] == 2


def test_what_was_held_and_not_ordered_is_let_go(root: Path) -> None:
    order(root)
    happened(root, "failed", level="error")
    told = order(root, settings=dataclasses.replace(HOLD, run="run-2"))["node1"]
    assert (told["code"], told["generation"]) == ("held", 2)
    before = tree(root)
    let_go = withdraw_nodes(orders(root), OTHER, [{"name": "node1", "generation": 2}], forget=False)["node1"]
    assert (let_go["changed"], let_go["failed"]) == (False, False)
    assert tree(root) == before
    assert order(root, settings=dataclasses.replace(SETTINGS, run="run-3"))["node1"]["code"] == "ordered"


def test_a_killed_runs_hold_runs_out_and_the_others_are_held_meanwhile(root: Path) -> None:
    order(root, settings=dataclasses.replace(HOLD, lease=2))
    second = dataclasses.replace(HOLD, run="run-2", lease=2, lock_timeout=10)
    started = time.time()
    told = order(root, node(1), node(2), settings=second)
    assert [told[name]["code"] for name in ("node1", "node2")] == ["held", "held"]
    with node_lock(root, "node2") as lease:
        assert lease.until - started > 3  # node2 was not left to its first two seconds


def test_a_run_whose_generation_is_over_holds_nobody_up(root: Path) -> None:
    order(root)
    happened(root, "wipe_refused", level="error")  # and then killed
    assert order(root, settings=dataclasses.replace(HOLD, run="run-2"))["node1"]["code"] == "held"
    assert order(root, settings=dataclasses.replace(SETTINGS, run="run-3"))["node1"]["code"] == "locked"


def test_following_keeps_a_run_alive(root: Path) -> None:
    order(root)
    with node_lock(root, "node1") as lease:
        lease.take("run-1", -1)
    renew(root, "node1", "run-1", 60)
    assert order(root, node(after="poweroff"), settings=OTHER)["node1"]["code"] == "locked"
    withdraw_nodes(orders(root), SETTINGS, [{"name": "node1"}], forget=False)
    assert order(root, node(after="poweroff"), settings=OTHER)["node1"]["code"] == "ordered"


def test_twenty_runs_at_once_make_one_generation(root: Path) -> None:
    def one(n: int) -> dict[str, Any]:
        return order(root, settings=dataclasses.replace(SETTINGS, run=f"run-{n}"))["node1"]

    with ThreadPoolExecutor(20) as pool:
        told = list(pool.map(one, range(20)))
    assert [answer["generation"] for answer in told] == [1] * 20
    assert sorted(answer["joined"] for answer in told) == [False] + [True] * 19
    assert [event["event"] for event in store.history(root, "node1", 1)] == ["ordered"]


def test_address_and_mac_move_between_nodes(root: Path) -> None:
    order(root, node(1), node(2))
    stolen = {**node(1), "address": "192.0.2.12"}
    told = order(root, stolen)["node1"]
    assert (told["code"], told["failed"]) == ("bad_order", True)
    assert "node2" in told["msg"]
    swapped = [{**node(1), "address": "192.0.2.12"}, {**node(2), "address": "192.0.2.11"}]
    assert not any(answer["failed"] for answer in order(root, *swapped).values())
    for n, address in ((1, "192.0.2.12"), (2, "192.0.2.11")):
        assert (root / "awaited" / address / "node").read_text() == f"node{n}\n"
    assert sorted(path.name for path in (root / "awaited").iterdir()) == ["192.0.2.11", "192.0.2.12"]


def test_withdrawn_and_absent(root: Path) -> None:
    order(root, node(1), node(2))
    both = [{"name": "node1"}, {"name": "node2"}, {"name": "node3"}]
    assert withdraw_nodes(orders(root), CHECK, both, forget=False)["node1"]["changed"] is True
    told = withdraw_nodes(orders(root), SETTINGS, both, forget=False)
    assert {name: answer["changed"] for name, answer in told.items()} == {"node1": True, "node2": True, "node3": False}
    assert not list((root / "awaited").iterdir())
    for settings in (CHECK, SETTINGS):
        assert not any(a["changed"] for a in withdraw_nodes(orders(root), settings, both, forget=False).values())
    assert withdraw_nodes(orders(root), CHECK, both, forget=True)["node1"]["changed"] is True
    assert withdraw_nodes(orders(root), SETTINGS, both, forget=True)["node1"]["changed"] is True
    assert not list((root / "dhcp/hosts").iterdir())
    assert not (root / "nodes" / "node3").exists()


def test_newer_generation_is_not_withdrawn(root: Path) -> None:
    order(root)
    order(root, node(after="poweroff"))
    before = tree(root)
    told = withdraw_nodes(orders(root), SETTINGS, [{"name": "node1", "generation": 1}], forget=False)["node1"]
    assert (told["code"], told["changed"]) == ("superseded", False)
    assert tree(root) == before


def test_check_mode_on_a_seed_that_is_not_there(tmp_path: Path) -> None:
    told = order(tmp_path / "none", settings=CHECK)["node1"]
    assert (told["changed"], told["generation"]) == (True, 1)
    assert '"action": "deploy"' in told["diff"]["after"]
    assert not (tmp_path / "none").exists()
    assert "deploy the seed first" in str(seed_fault(tmp_path / "none"))


HOSTILE = [
    ({"name": "../node1"}, "name"),
    ({"name": "node1/../../x"}, "name"),
    ({"name": "n" * 300}, "name"),
    ({"name": "node1\n"}, "name"),
    ({"boot_mac": "00:00:5e:00:53:01,evil"}, "MAC"),
    ({"boot_mac": "01:00:5e:00:53:01"}, "NIC"),
    ({"boot_mac": None}, "MAC"),
    ({"address": "192.0.2.11/24"}, "address"),
    ({"address": "../../etc"}, "address"),
    ({"address": "127.0.0.1"}, "address"),
    ({"address": "2001:db8::1"}, "address"),
    ({"address": None}, "address"),
    ({"boot": {"kernel": "http://192.0.2.1/a\nchain http://198.51.100.1/"}}, "boot.kernel"),
    ({"boot": {"kernel": "/k", "cmdline": ["a ||", "${x}"]}}, "boot.cmdline"),
    ({"order": None}, "order.action"),
    ({"order": {"action": "wipe"}}, "order.action"),
    ({"order": {"action": "clean"}}, "order.action"),  # no agent does that yet
    ({"order": {"action": "deploy"}}, "order.image"),
    ({"order": {"action": "deploy", "image": {**IMAGE, "url": "/images/../secrets/secrets.json"}}}, "image.url"),
    ({"order": {"action": "deploy", "image": {**IMAGE, "url": "http://198.51.100.1/x"}}}, "image.url"),
    ({"order": {"action": "deploy", "image": {**IMAGE, "sha256": "0"}}}, "image.sha256"),
    ({"order": {"action": "deploy", "image": IMAGE, "wipe": {"confirmed": True}}}, "wipe.confirmed"),
    ({"order": {"action": "deploy", "image": IMAGE, "wipe": {"confirmed": "yes"}}}, "wipe.confirmed"),
    ({"order": {"action": "deploy", "image": IMAGE, "wipe": True}}, "wipe"),
]


@pytest.mark.parametrize(("change", "said"), HOSTILE)
def test_wrong_order_fails_alone_and_writes_nothing(root: Path, change: dict[str, Any], said: str) -> None:
    wrong = {**node(1), **change}
    before = tree(root)
    told = order(root, wrong)[wrong["name"]]
    assert (told["failed"], told["code"]) == (True, "bad_order")
    assert said in told["msg"]
    assert tree(root) == before
    assert order(root, wrong, node(2))["node2"]["code"] == "ordered"


def test_full_disk_fails_that_node(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_args: Any, **_more: Any) -> None:
        raise OSError(28, "No space left on device", "order.json")

    with monkeypatch.context() as patch:
        patch.setattr(Orders, "write", full)
        told = order(root)["node1"]
    assert (told["code"], "No space left" in told["msg"]) == ("seed_error", True)
    assert order(root)["node1"]["generation"] == 1


# -- killed at every step


def killed_after(steps: int, action: Callable[[], Any]) -> bool:
    """Run in a process that dies at its n-th act on files; False when it came to its end before."""
    pid = os.fork()
    if pid:
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 9
    left = steps
    acts = ("open", "os.", "fcntl.", "shutil.")

    def hook(event: str, _args: Any) -> None:
        nonlocal left
        if event.startswith(acts):
            left -= 1
            if left < 0:
                os._exit(9)

    sys.addaudithook(hook)
    try:
        action()
    finally:
        os._exit(0)


def scenario_first(root: Path) -> None:
    order(root)


def scenario_again(root: Path) -> None:
    order(root, {**node(after="poweroff"), "address": "192.0.2.77"})


def scenario_withdrawn(root: Path) -> None:
    withdraw_nodes(orders(root), SETTINGS, [{"name": "node1"}], forget=True)


@pytest.mark.slow
@pytest.mark.parametrize("scenario", [scenario_first, scenario_again, scenario_withdrawn])
def test_killed_anywhere_the_next_call_goes_on(
    tmp_path: Path, scenario: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "fsync", lambda _fd: None)  # a kill is no power cut, and hundreds of these take long

    def prepared(name: str) -> Path:
        root = seed_root(tmp_path / name)
        if scenario is not scenario_first:
            order(root)
        return root

    undisturbed = prepared("undisturbed")
    scenario(undisturbed)
    expected = tree(undisturbed)
    steps = 0
    while True:
        root = prepared(f"killed-{steps}")
        if not killed_after(steps, lambda root=root: scenario(root)):  # type: ignore[misc]  # lambda's default
            break
        # Whatever is open to the node is whole: an order, and a claim of that same generation.
        for folder in (root / "awaited").glob("[0-9]*"):
            generation = json.loads((folder / "order.json").read_text())["generation"]
            assert [path.name for path in (folder / "claim").iterdir()] == [str(generation)]
        scenario(root)
        assert tree(root) == expected, f"killed at step {steps}"
        steps += 1
    assert steps > 20
