# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 the seedcloud.openstack authors
"""What the demo makes of what Ansible says, and what it reports."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from typing import Any

import pytest

TOP = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(TOP / "tools"))

import demo

PLAYS = {"Build the golden image and the ramdisk": "build_images", "Prove that the cloud works": "verify_overcloud"}
SAID = """
PLAY [Build the golden image and the ramdisk] ***
TASK [seedcloud.openstack.image : Build the golden image] ***
changed: [seed]
PLAY [Prove that the cloud works] ***
TASK [seedcloud.openstack.verify : Prove the cloud] ***
included: /somewhere/roles/verify/tasks/prove.yml for seed
TASK [seedcloud.openstack.verify : Use the cloud as a person would] ***
ok: [seed]
PLAY RECAP ***
seed : ok=3  changed=1  unreachable=0  failed=0  skipped=0
"""


@pytest.fixture(autouse=True)
def rack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A rack that answers, with its inventory."""
    inventory: dict[str, Any] = {
        "vars": {"seed_root": "/srv/seed"},
        "children": {
            "seedcloud_seed": {"hosts": {"seed": {}}},
            "seedcloud_nodes": {"hosts": {"node1": {"node_networks": {"provisioning": {"address": "192.0.2.11"}}}}},
        },
    }
    files = {"/srv/seed/stamps/images.json": '{"golden": "debian13-0", "ramdisk": "agent-0"}'}
    for name, value in {
        "DEMO": tmp_path,
        "REPORT": tmp_path / "report.json",
        "REPORT_BUILT": tmp_path / "report-built.json",
        "inventory": lambda: inventory,
        "from_seed": files.__getitem__,
        "write_access": dict,
        "api": lambda: "http://192.0.2.11:5000",
    }.items():
        monkeypatch.setattr(demo, name, value)


def report(said: str) -> dict[str, Any]:
    show = demo.Show(io.StringIO())
    follower = demo.Follower(show, PLAYS)
    for line in said.splitlines():
        follower.line(line)
    follower.end()
    demo.report(show, demo.Memory(), follower.changed)
    told: dict[str, Any] = json.loads(demo.REPORT.read_text())
    return told


def test_the_report_of_what_was_built_outlives_a_run_that_changes_nothing() -> None:
    first = report(SAID)
    assert [stage["changed"] for stage in first["stages"]] == [["Build the golden image"], []]
    second = report(SAID.replace("changed: [seed]", "ok: [seed]").replace("changed=1", "changed=0"))
    assert [stage["changed"] for stage in second["stages"]] == [[], []]
    assert json.loads(demo.REPORT_BUILT.read_text()) == first


@pytest.mark.parametrize(
    ("line", "proof"), [("", "ran"), ("included: /somewhere/roles/verify/tasks/prove.yml", "skipped")]
)
def test_the_report_says_whether_the_proof_ran(line: str, proof: str, capsys: pytest.CaptureFixture[str]) -> None:
    told = report("\n".join(each for each in SAID.splitlines() if not line or not each.startswith(line)))
    assert told["proof"] == proof
    assert (demo.PROOF_SKIPPED in capsys.readouterr().out) == (proof == "skipped")


def test_the_seeds_folder_is_what_the_inventory_says() -> None:
    assert report(SAID)["images"]["golden"] == "debian13-0"
    demo.inventory()["children"]["seedcloud_seed"]["hosts"]["seed"]["seed_root"] = "/srv/other"
    assert demo.seed_root() == "/srv/other"
    demo.inventory()["vars"].clear()
    demo.inventory()["children"]["seedcloud_seed"]["hosts"]["seed"].clear()
    assert demo.seed_root() == "/var/lib/seedcloud"


def test_a_task_that_says_nothing_for_long_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(demo, "QUIET", 0.5)
    build = "TASK [seedcloud.openstack.image : Build the golden image] ***"
    script = f"import time; print({build!r}, flush=True); time.sleep({{}}); print('changed: [seed]', flush=True)"
    for seconds, times in ((0, 0), (2, 1)):
        show = demo.Show(io.StringIO())
        demo.command(show, [sys.executable, "-c", script.format(seconds)], demo.Follower(show, PLAYS))
        assert capsys.readouterr().out.count("   Build the golden image ...\n") == times
