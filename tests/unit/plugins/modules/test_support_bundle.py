# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 the seedcloud.openstack authors
"""The support bundle, with planted secrets."""

from __future__ import annotations

import base64
import io
import json
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.seedcloud.openstack.plugins.module_utils._support import MASK, mask
from ansible_collections.seedcloud.openstack.plugins.modules import support_bundle

PLANTED = "pl4nted-s3cret"


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


def run(arguments: dict[str, Any]) -> dict[str, Any]:
    """Run the module as Ansible does: as a program of its own."""
    done = subprocess.run(
        [sys.executable, support_bundle.__file__],
        input=json.dumps({"ANSIBLE_MODULE_ARGS": arguments}),
        capture_output=True,
        text=True,
        check=True,
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
