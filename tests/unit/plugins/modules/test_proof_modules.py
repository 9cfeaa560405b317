# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 the seedcloud.openstack authors
"""cloud_proof, external_network and guest_image as programs, where the cloud is not as it should be.

That they do what they promise is seen on a real cloud (tests/e2e/line.py).
"""

from __future__ import annotations

import fcntl
import json
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.seedcloud.openstack.plugins.modules import cloud_proof, external_network, guest_image
from ansible_collections.seedcloud.openstack.tests.unit.plugins.module_utils import cloud_peer

PLANTED = "pl4nted-s3cret"


def run(module: Any, arguments: dict[str, Any]) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, module.__file__],
        input=json.dumps({"ANSIBLE_MODULE_ARGS": arguments}),
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert PLANTED not in done.stdout + done.stderr
    result: dict[str, Any] = json.loads(done.stdout)
    return result


@pytest.fixture
def clouds(tmp_path: Path) -> tuple[Path, int]:
    """A clouds.yaml whose API nobody serves, and the port that it names."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    path = tmp_path / "clouds.yaml"
    auth = {
        "auth_url": f"http://127.0.0.1:{port}/v3",
        "username": "admin",
        "password": PLANTED,
        "project_name": "admin",
    }
    auth |= {"user_domain_name": "Default", "project_domain_name": "Default"}
    path.write_text(json.dumps({"clouds": {"overcloud": {"auth": auth, "region_name": "RegionOne"}}}))
    return path, port


def test_external_network_names_the_cloud_that_does_not_answer(clouds: tuple[Path, int]) -> None:
    result = run(external_network, {"clouds_file": str(clouds[0]), "cidr": "203.0.113.0/24"})
    assert result["failed"] is True
    assert f"127.0.0.1:{clouds[1]}" in result["msg"]


def test_cloud_proof_names_the_cloud_that_does_not_answer(clouds: tuple[Path, int], tmp_path: Path) -> None:
    image = tmp_path / "guest.img"
    image.write_bytes(b"")
    arguments = {"clouds_file": str(clouds[0]), "image": str(image), "folder": str(tmp_path / "proof"), "timeout": 5}
    result = run(cloud_proof, arguments)
    assert result["failed"] is True
    assert f"127.0.0.1:{clouds[1]}" in result["msg"]
    assert result["changed"] is False


def test_one_proof_at_a_time(clouds: tuple[Path, int], tmp_path: Path) -> None:
    folder = tmp_path / "proof"
    folder.mkdir()
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        result = run(cloud_proof, {"clouds_file": str(clouds[0]), "image": "/nowhere", "folder": str(folder)})
    assert result["failed"] is True
    assert "another proof" in result["msg"]


def test_cloud_proof_in_check_mode_signs_in_and_writes_nothing(tmp_path: Path) -> None:
    clouds = tmp_path / "clouds.yaml"
    arguments = {"clouds_file": str(clouds), "image": "/nowhere", "folder": str(tmp_path / "proof")}
    with cloud_peer.serve() as cloud:
        clouds.write_text(cloud.clouds())
        result = run(cloud_proof, arguments | {"_ansible_check_mode": True})
    assert (result["changed"], [step["step"] for step in result["steps"]]) == (False, ["sign in"])
    assert list(tmp_path.iterdir()) == [clouds]


def test_guest_image_is_foretold_and_not_built_in_check_mode(tmp_path: Path) -> None:
    result = run(guest_image, {"folder": str(tmp_path / "guest"), "_ansible_check_mode": True})
    assert result["changed"] is True
    assert not list(tmp_path.glob("guest/*.img"))


@pytest.mark.parametrize("module", [external_network, cloud_proof])
def test_a_run_that_only_looks_passes_a_cloud_that_is_not_there_yet(module: Any, tmp_path: Path) -> None:
    """A run that acted would have made the way to it before."""
    own: dict[Any, dict[str, Any]] = {
        external_network: {"cidr": "203.0.113.0/24"},
        cloud_proof: {"image": str(tmp_path / "image"), "folder": str(tmp_path / "proof")},
    }
    arguments = own[module] | {"clouds_file": str(tmp_path / "clouds.yaml")}
    result = run(module, arguments | {"_ansible_check_mode": True})
    assert not result.get("failed"), result
    assert result["changed"] is (module is external_network)
    assert run(module, arguments)["failed"] is True
