# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 the seedcloud.openstack authors
"""cloud_proof, external_network and guest_image as programs: external_network against a small cloud, the others where the
cloud is not as it should be.

That all of them do what they promise is seen on a real cloud (tests/e2e/line.py).
"""

from __future__ import annotations

import fcntl
import json
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.seedcloud.openstack.plugins.modules import cloud_proof, external_network, guest_image
from ansible_collections.seedcloud.openstack.tests.unit.plugins.module_utils import cloud_peer

PLANTED = cloud_peer.PASSWORD


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


Ensure = Callable[..., dict[str, Any]]
NETWORK = {
    "provider:physical_network": "provider",
    "provider:network_type": "flat",
    "router:external": True,
    "mtu": 1500,
    "name": "floating",
}
SUBNET = {
    "cidr": "203.0.113.0/24",
    "enable_dhcp": False,
    "gateway_ip": "203.0.113.1",
    "dns_nameservers": [],
    "allocation_pools": [{"start": "203.0.113.100", "end": "203.0.113.199"}],
    "ip_version": 4,
    "name": "floating",
}


@pytest.fixture
def ensure(cloud: cloud_peer.Cloud, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Ensure:
    """Run external_network, for the network above unless told otherwise; in this process, for the SDK is slow to begin."""
    file = tmp_path / "clouds.yaml"
    file.write_text(cloud.clouds())
    asked = {"clouds_file": str(file), "name": "floating", "cidr": SUBNET["cidr"], "gateway": SUBNET["gateway_ip"]}
    asked["allocation"] = ["203.0.113.100", "203.0.113.199"]

    def call(**more: Any) -> dict[str, Any]:
        with patch_module_args(asked | more), pytest.raises(SystemExit):
            external_network.main()
        out = capsys.readouterr().out
        assert PLANTED not in out
        result: dict[str, Any] = json.loads(out)
        return result

    return call


@pytest.fixture
def cloud() -> Iterator[cloud_peer.Cloud]:
    with cloud_peer.serve() as served:
        yield served


def there(cloud: cloud_peer.Cloud, network: dict[str, Any], subnet: dict[str, Any]) -> None:
    """Have this in the cloud, as somebody else's doing."""
    made = cloud.add("networks", **network)
    cloud.add("subnets", network_id=made["id"], **subnet)


def kept(cloud: cloud_peer.Cloud, kind: str) -> list[dict[str, Any]]:
    """What there is of the network, without what the cloud gives to everything."""
    given = ("id", "project_id", "tenant_id", "network_id")
    items = [item for item in cloud.kept.get(kind, {}).values() if item["name"] == "floating"]
    return [{key: value for key, value in item.items() if key not in given} for item in items]


def orders(cloud: cloud_peer.Cloud) -> list[str]:
    """What the cloud was told to do since it was last asked for it, by method and kind."""
    lines = [line.split() for line in cloud.asked if "/network/" in line and not line.startswith("GET")]
    cloud.asked.clear()
    return [f"{method} {path.split('/')[3]}" for method, path in lines]


IPV6 = {"cidr": "2001:db8::/64", "gateway_ip": "2001:db8::1", "ip_version": 6}


@pytest.mark.parametrize(
    ("asked", "network", "subnet"),
    [
        ({}, {}, {}),
        ({"vlan": 42, "mtu": 9000}, {"provider:network_type": "vlan", "provider:segmentation_id": 42, "mtu": 9000}, {}),
        ({"cidr": IPV6["cidr"], "gateway": IPV6["gateway_ip"], "dns": ["2001:db8::53"], "allocation": None}, {},
         IPV6 | {"dns_nameservers": ["2001:db8::53"], "allocation_pools": None}),
    ],
    ids=["flat", "vlan", "ipv6"],
)  # fmt: skip
def test_external_network_is_foretold_made_and_then_left_alone(
    cloud: cloud_peer.Cloud, ensure: Ensure, asked: dict[str, Any], network: dict[str, Any], subnet: dict[str, Any]
) -> None:
    foretold = ensure(**asked, _ansible_check_mode=True)
    assert foretold["changed"] is True and foretold["changes"]["network"]["before"] is None
    assert orders(cloud) == []
    made = ensure(**asked)
    assert made["changed"] is True and made["changes"]["network"] == foretold["changes"]["network"]
    assert orders(cloud) == ["POST networks", "POST subnets"]
    assert kept(cloud, "networks") == [NETWORK | network]
    assert kept(cloud, "subnets") == [{key: value for key, value in (SUBNET | subnet).items() if value is not None}]
    [item] = cloud.kept["subnets"].values()
    assert cloud.kept["networks"][item["network_id"]]["name"] == "floating"
    again = ensure(**asked)
    assert (again["changed"], again["changes"], orders(cloud)) == (False, {}, [])


def test_external_network_is_brought_in_line(cloud: cloud_peer.Cloud, ensure: Ensure) -> None:
    """What may change does, and nothing else; a subnet that is missing is made."""
    there(cloud, NETWORK | {"mtu": 1400}, SUBNET | {"gateway_ip": "203.0.113.254", "allocation_pools": []})
    differing = {
        "network": {"before": {"mtu": 1400}, "after": {"mtu": 1500}},
        "subnet": {
            "before": {"gateway_ip": "203.0.113.254", "allocation_pools": []},
            "after": {"gateway_ip": "203.0.113.1", "allocation_pools": SUBNET["allocation_pools"]},
        },
    }
    assert (ensure(_ansible_check_mode=True)["changes"], orders(cloud)) == (differing, [])
    result = ensure(_ansible_diff=True)
    assert result["changes"] == differing
    assert result["diff"]["after"]["network"] == {"mtu": 1500}
    assert orders(cloud) == ["PUT networks", "PUT subnets"]
    assert (kept(cloud, "networks"), kept(cloud, "subnets")) == ([NETWORK], [SUBNET])
    cloud.kept["subnets"].clear()
    assert list(ensure()["changes"]) == ["subnet"]
    assert (orders(cloud), kept(cloud, "subnets")) == (["POST subnets"], [SUBNET])
    assert ensure()["changed"] is False


@pytest.mark.parametrize(
    ("network", "subnet", "said"),
    [
        ({"provider:physical_network": "other"}, {}, "provider_physical_network is 'other', not 'provider'; remove or rename it"),
        ({"provider:network_type": "vlan", "provider:segmentation_id": 42}, {}, "provider_segmentation_id is 42, not None"),
        ({}, {"cidr": "198.51.100.0/24"}, "the subnet of 'floating' is another one: cidr is '198.51.100.0/24', not '203.0.113.0/24'"),
        ({}, {"enable_dhcp": True}, "is_dhcp_enabled is True, not False"),
    ],
    ids=["physical network", "vlan", "cidr", "dhcp"],
)  # fmt: skip
def test_external_network_that_is_another_one_is_refused(
    cloud: cloud_peer.Cloud, ensure: Ensure, network: dict[str, Any], subnet: dict[str, Any], said: str
) -> None:
    there(cloud, NETWORK | network, SUBNET | subnet)
    result = ensure()
    assert result["failed"] is True and said in result["msg"], result["msg"]
    assert orders(cloud) == []


@pytest.mark.parametrize("check", [False, True])
@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"allocation": []}, "allocation: has 0 addresses, not 2. Write [first, last address], both in 203.0.113.0/24"),
        ({"allocation": "203.0.113.100"}, "allocation: has 1 address, not 2. Write [first, last"),
        ({"allocation": ["203.0.113.7", "203.0.113.8", "203.0.113.9"]}, "allocation: has 3 addresses, not 2. Write"),
        ({"allocation": ["203.0.113.100", "x"]}, "allocation: holds 'x', which is no address. Write [first, last"),
        ({"allocation": ["203.0.113.9", "203.0.113.7"]}, "allocation: ends before it begins. Write [first, last"),
        ({"allocation": ["203.0.113.9", "192.0.2.9"]}, "allocation: 192.0.2.9 is not in 203.0.113.0/24. Write"),
        ({"allocation": ["203.0.113.1", "203.0.113.9"]}, "allocation: holds the gateway 203.0.113.1. Leave"),
        ({"cidr": "203.0.113.1/24"}, "cidr: is no network (203.0.113.1/24 has host bits set). Write it as 203.0.113.0/24"),
    ],
)  # fmt: skip
def test_external_network_refuses_what_is_no_network(
    cloud: cloud_peer.Cloud, ensure: Ensure, asked: dict[str, Any], said: str, check: bool
) -> None:
    result = ensure(**asked, _ansible_check_mode=check)
    assert result["failed"] is True and result["msg"].startswith(said), result
    assert cloud.asked == []


def test_external_network_of_which_there_are_two_is_refused(cloud: cloud_peer.Cloud, ensure: Ensure) -> None:
    for _unused in range(2):
        there(cloud, NETWORK, SUBNET)
    assert "there are 2 external networks 'floating'" in ensure()["msg"]
    assert orders(cloud) == []


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
    result = run(module, arguments)
    assert result["failed"] is True and result["msg"].startswith(f"{tmp_path}/clouds.yaml: Cloud overcloud"), result
