# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 the seedcloud.openstack authors
"""The support bundle, with planted secrets."""

from __future__ import annotations

import base64
import io
import json
import os
import re
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.seedcloud.openstack.plugins.module_utils._support import MASK, mask
from ansible_collections.seedcloud.openstack.plugins.modules import support_bundle

PLANTED = "pl4nted-s3cret"
TOP = Path(__file__).parents[4]
ROLE = yaml.safe_load((TOP / "roles/support_bundle/vars/main.yml").read_text())
SEED_FILES = [
    "nodes/node1/order.json",
    "nodes/node1/journal.jsonl",
    "nodes/node1/access/3.jsonl",
    "nodes/node1/dhcp/3.jsonl",
    "nodes/node1/reports/3/0123/0001.json",
    "dhcp/hosts/node1",
    "stamps/images.json",
]


@pytest.mark.parametrize(
    "line",
    [
        f"password = {PLANTED}",
        f"connection = mysql+pymysql://nova:{PLANTED}@192.0.2.1/nova",
        f"transport_url = rabbit://nova:{PLANTED}@192.0.2.1:5672/",
        f"metadata_proxy_shared_secret={PLANTED}",
        f'{{"auth": {{"password": "{PLANTED}", "user": "nova"}}}}',
        f"OS_PASSWORD='{PLANTED}'",
        f"X-Auth-Token: {PLANTED}",
        f"memcache_secret_key: {PLANTED}",
        f"-----BEGIN OPENSSH PRIVATE KEY-----\n{PLANTED}\n-----END OPENSSH PRIVATE KEY-----",
        f"-----BEGIN RSA PRIVATE KEY-----\n{PLANTED}",
    ],
)
def test_what_looks_like_a_secret_is_masked(line: str) -> None:
    masked = mask(line, [])
    assert PLANTED not in masked
    assert MASK in masked


@pytest.mark.parametrize(
    "line",
    [
        "nova-compute[12]: connection to 192.0.2.1:5672 lost",
        "token provider is fernet",
        "http://192.0.2.1:8774/v2.1",
        "user = nova",
    ],
)
def test_what_explains_a_fault_stays(line: str) -> None:
    assert mask(line, []) == line


def test_known_values_are_masked_wherever_they_stand() -> None:
    assert mask(f"argv: ipmitool -P {PLANTED}", [PLANTED]) == f"argv: ipmitool -P {MASK}"


def run(arguments: dict[str, Any], **environment: str) -> dict[str, Any]:
    """Run the module as Ansible does: as a program of its own."""
    done = subprocess.run(
        [sys.executable, support_bundle.__file__],
        input=json.dumps({"ANSIBLE_MODULE_ARGS": arguments}),
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | environment,
    )
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def members(data: bytes) -> dict[str, str]:
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        return {m.name: file.read().decode() for m in archive if (file := archive.extractfile(m)) is not None}


def test_bundle_of_bundles(tmp_path: Path) -> None:
    (tmp_path / "log").mkdir()
    (tmp_path / "log/nova.log").write_text(f"x\nargv {PLANTED}\n")
    (tmp_path / "log/link.log").symlink_to("/etc/shadow")
    (tmp_path / "secrets.json").write_text(json.dumps({"a": {"b": [PLANTED]}}))
    common = {"secret_files": [str(tmp_path / "secrets.json"), str(tmp_path / "absent.json")]}
    part = run(
        {
            **common,
            "files": [str(tmp_path / "log/*.log"), "/absent/*"],
            "commands": {"say": ["echo", PLANTED], "fail": ["false"], "none": ["/no/such/program"]},
        }
    )
    assert part["changed"] is False
    assert PLANTED not in json.dumps(part)

    path = tmp_path / "support" / "bundle.tar.gz"
    whole = run({**common, "parts": {"node1": part["content"]}, "path": str(path)})
    assert whole["changed"] is True
    assert path.stat().st_mode & 0o777 == 0o600
    inside = members(path.read_bytes())
    assert PLANTED not in "".join(inside.values())
    assert sorted(inside) == [
        "node1/commands/fail.txt",
        "node1/commands/none.txt",
        "node1/commands/say.txt",
        f"node1{tmp_path}/log/nova.log",
    ]
    assert "exit status 1" in inside["node1/commands/fail.txt"]
    assert "No such file" in inside["node1/commands/none.txt"]
    assert inside["node1/commands/say.txt"] == f"{MASK}\n"


def test_check_mode_writes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "bundle.tar.gz"
    result = run({"path": str(path), "commands": {"say": ["true"]}, "_ansible_check_mode": True})
    assert result["changed"] is True
    assert not path.exists()


def test_a_long_log_keeps_its_end(tmp_path: Path) -> None:
    (tmp_path / "long.log").write_text("begin " + "x" * 5000 + " end")
    inside = members(base64.b64decode(run({"files": [str(tmp_path / "*.log")], "limit": 100})["content"]))
    (text,) = inside.values()
    assert text.endswith(" end")
    assert "begin" not in text
    assert "bytes are left out" in text


def test_a_failing_unit_is_heard_on_a_busy_host(tmp_path: Path) -> None:
    """The whole journal is too long to hold its words; a unit that does well has no journal of its own."""
    units = (
        ("good.service", "active", 0),
        ("dead.service", "failed", 0),
        ("loop.service", "active", 7),
        ("slow.mount", "activating", None),
    )
    shown = "\n\n".join(
        f"Id={name}\nActiveState={state}" + ("" if restarts is None else f"\nNRestarts={restarts}")
        for name, state, restarts in units
    )  # fmt: skip
    (tmp_path / "shown").write_text(shown)
    (tmp_path / "systemctl").write_text(f"#!/bin/sh\ncat {tmp_path}/shown\n")
    (tmp_path / "journalctl").write_text(f'#!/bin/sh\necho "$@" password={PLANTED}\n[ $# -gt 3 ] || seq 9999\n')
    for program in ("systemctl", "journalctl"):
        (tmp_path / program).chmod(0o755)
    asked = {"units_since": "-1d", "commands": {"journal": ["journalctl"]}, "limit": 100}
    inside = members(base64.b64decode(run(asked, PATH=f"{tmp_path}:{os.environ['PATH']}")["content"]))
    assert "password" not in inside.pop("commands/journal.txt")
    assert inside == {
        f"commands/journal-{unit}.txt": f"--no-pager --output=short-iso --since=-1d --unit={unit} password={MASK}\n"
        for unit in ("dead.service", "loop.service", "slow.mount")
    }


def test_without_systemd_there_are_no_units_to_ask_about(tmp_path: Path) -> None:
    assert run({"units_since": "-1d"}, PATH=str(tmp_path))["members"] == []


def planted(root: Path, files: dict[str, str], patterns: list[str]) -> set[str]:
    """What the patterns find of these files, all of which hold a secret that must not come out."""
    for name, text in files.items():
        path = root / name.lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{text}\npassword = {PLANTED}\n")
    assert not [pattern for pattern in patterns if pattern.endswith("**")], "Python 3.13 finds files by it, older none"
    inside = members(base64.b64decode(run({"files": [f"{root}/{pattern}" for pattern in patterns]})["content"]))
    assert PLANTED not in "".join(inside.values())
    return {name.removeprefix(str(root).lstrip("/")).lstrip("/") for name in inside}


def test_the_seed_s_state_is_in_it(tmp_path: Path) -> None:
    patterns = [line.replace("{{ support_bundle_seed_root }}/", "") for line in ROLE["__support_bundle_seed_files"]]
    assert planted(tmp_path, dict.fromkeys(SEED_FILES, ""), patterns) == set(SEED_FILES)


def test_whatever_is_configured_on_a_node_is_in_it(tmp_path: Path) -> None:
    """All files of the golden plans below /etc but those that are nothing but secrets."""
    plans = [yaml.safe_load(path.read_text()) for path in (TOP / "tests/golden").glob("*/*.plan.yml")]
    files = [file for plan in plans for step in plan["graph"] for file in step.get("files", []) if "content" in file]
    configured = {file["path"].lstrip("/"): str(file["content"]) for file in files if file["path"].startswith("/etc/")}
    secret = {name for name in configured if re.search(r"-keys/|/definitions\.d/", name)}
    assert planted(tmp_path, configured, ROLE["__support_bundle_node_files"]) == configured.keys() - secret


def test_the_lab_names_the_consoles_that_its_machines_write() -> None:
    lab = TOP / "roles/lab"
    written = re.search(r'^CONSOLES = Path\("(.+)"\)$', (lab / "files/rack/usr/local/lib/lab/bmc.py").read_text(), re.M)
    assert written
    told = f"support_bundle_console_logs: [{written[1]}/*.log]"
    assert told in (lab / "templates/hosts.yml.j2").read_text()
