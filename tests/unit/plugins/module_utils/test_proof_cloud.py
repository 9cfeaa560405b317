# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 the seedcloud.openstack authors
"""The proof against a small cloud that fails at each step in turn: what it says, and that nothing remains."""

from __future__ import annotations

import functools
import os
import re
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible_collections.seedcloud.openstack.plugins.module_utils._proof import cloud as proof
from ansible_collections.seedcloud.openstack.tests.unit.plugins.module_utils import cloud_peer

ERROR = {
    "forbidden": {"code": 403, "message": "Quota exceeded for cores: Requested 1, but already used 20 of 20 cores"}
}
NEUTRON = {
    "NeutronError": {"type": "OverQuota", "message": "Quota exceeded for resources: ['security_group'].", "detail": ""}
}
GONE = {
    "NeutronError": {"type": "IpAddressGenerationFailure", "message": "No more IP addresses available", "detail": ""}
}
TIMEOUT = {"computeFault": {"code": 500, "message": "<class 'oslo_messaging.exceptions.MessagingTimeout'>"}}


@pytest.fixture
def cloud(monkeypatch: pytest.MonkeyPatch) -> Iterator[cloud_peer.Cloud]:
    monkeypatch.setattr(proof, "POLL", 0.02)
    monkeypatch.setattr(proof, "BOOT_POLL", 0.02)
    monkeypatch.setattr(proof, "SILENCE", 0.05)
    with cloud_peer.serve() as served:
        yield served


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], None]:
    """Programs in place of ping and ssh: nobody has the floating IP."""
    folder = tmp_path / "bin"
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    cloud_peer.guest(folder)
    return functools.partial(cloud_peer.program, folder)


def prove(
    cloud: cloud_peer.Cloud, folder: Path, check: bool = False, **more: Any
) -> tuple[proof.Report, str | None, list[str]]:
    """A proof of at most a second a step, which leaves the cloud's password nowhere."""
    (folder / "proof").mkdir(exist_ok=True)
    (folder / "clouds.yaml").write_text(cloud.clouds())
    (folder / "guest.img").write_bytes(b"guest")
    settings = {
        "cloud": "overcloud", "clouds_file": str(folder / "clouds.yaml"), "image": folder / "guest.img", "prefix": "test-proof",
        "external_network": None, "cidr": "172.31.255.0/24", "dns": [], "flavor": {"ram": 256, "vcpus": 1, "disk": 1},
        "timeout": 1, "starts": 1, "folder": folder / "proof",
    } | more  # fmt: skip
    told: list[str] = []
    report, fault, remaining = proof.prove(proof.Settings(**settings), "1a2b3c", check, told.append)
    assert cloud_peer.PASSWORD not in f"{report} {fault} {remaining} {told}"
    ended = [line.rpartition(": done (")[0] for line in told if ": done (" in line]
    assert [step["step"] for step in report.steps] == ended
    return report, fault, remaining


@pytest.fixture
def screen(cloud: cloud_peer.Cloud) -> Iterator[None]:
    if cloud_peer.QEMU is None:
        pytest.skip("needs qemu-system-x86")
    with cloud_peer.screen(cloud):
        yield


@pytest.mark.usefixtures("programs", "screen")
def test_a_cloud_that_works(cloud: cloud_peer.Cloud, tmp_path: Path) -> None:
    """With what a killed proof left: that is removed, and what is not ours is not."""
    for kind in ("networks", "images", "security-groups"):
        cloud.add(kind, name="test-proof-killed")
        cloud.before.add(cloud.add(kind, name="somebody's")["id"])
    cloud.add("floatingips", floating_ip_address="203.0.113.9", description="test-proof-killed")
    report, fault, remaining = prove(cloud, tmp_path, timeout=60)
    assert (fault, remaining, cloud.left) == (None, [], set())
    assert cloud.before <= cloud.owned()
    # What an earlier proof left goes before anything is made beside it.
    assert position(cloud, "DELETE /network/v2.0/networks/.*") < position(cloud, "POST /network/v2.0/networks")
    # Nova asks Neutron until an instance has its network: the router is made before that, and connected after it.
    order = [
        "POST /compute/v2.1/servers",
        "POST /network/v2.0/routers",
        "GET .*/servers/[^/]+/ips",
        "PUT .*/add_router_interface",
    ]
    at = [position(cloud, pattern) for pattern in order]
    assert at == sorted(at)
    # All of a server is asked for once, when it shows a login: Nova asks Neutron each time, which makes the way in.
    asked_all = [
        at for at, line in enumerate(cloud.asked) if re.fullmatch(r"GET /compute/v2.1/servers/servers-[^/]+", line)
    ]
    assert len(asked_all) == 1 and asked_all[0] > position(cloud, "POST /compute/v2.1/servers/.*/action")
    # Subnets go with their network.
    assert not [line for line in cloud.asked if line.startswith("DELETE /network/v2.0/subnets/")]
    # The way in goes while the screen is looked at, the instance after that, and what is gone is not removed a second time.
    steps = [step["step"] for step in report.steps]
    assert steps.index("see the instance's MTU") < steps.index("take the way in away again") < len(steps) - 2
    assert steps.index("see the screen through noVNC") < steps.index("take the instance away again") < len(steps) - 2
    assert "take the network away again" in steps
    assert steps[-2:] == ["remove everything again", "see that nothing remains"]
    assert [
        sum(line.startswith(f"DELETE /network/v2.0/{kind}/") for line in cloud.asked)
        for kind in ("routers", "floatingips", "networks")
    ] == [1, 2, 2]
    assert len([line for line in cloud.asked if line.startswith("DELETE /compute/v2.1/servers/")]) == 1
    assert report.seen["ssh"] == {"hostname": "guest", "kernel": "6.12.0", "mtu": 1442}
    assert report.seen["floating_ip"] == "203.0.113.107" and report.seen["hypervisor"] == "node2"
    assert report.seen["screen"]["lit"] > 100 and Path(report.seen["screen"]["picture"]).read_bytes()[:4] == b"\x89PNG"


def position(cloud: cloud_peer.Cloud, pattern: str) -> int:
    """Of a request among all of them."""
    return next(at for at, line in enumerate(cloud.asked) if re.fullmatch(pattern, line))


@pytest.mark.parametrize("left", ["networks", "images"])
def test_a_list_that_takes_its_time(
    cloud: cloud_peer.Cloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, left: str
) -> None:
    """It is not waited for where another service is used, unless an earlier proof left something in that."""
    cloud.add(left, name="test-proof-killed")
    slow = cloud.held["GET /compute/v2.1/servers"] = threading.Event()
    cloud.faults["POST /compute/v2.1/servers$"] = (403, ERROR)
    made = []

    def network(self: proof.Proof, make: Callable[[proof.Proof], Any] = proof.Proof._network) -> Any:
        made.append(slow.is_set())
        slow.set()
        return make(self)

    monkeypatch.setattr(proof.Proof, "_network", network)
    timer = threading.Timer(1, slow.set)
    timer.start()
    _report, fault, remaining = prove(cloud, tmp_path)
    timer.cancel()
    assert fault and fault.startswith("ask for a server: ")
    assert made == [left == "networks"]
    assert (remaining, cloud.left) == ([], set())


FAULTS = [
    ("POST /identity/v3/auth/tokens", (401, {"error": {"message": "no such account"}}), "sign in: ", "clouds.yaml"),
    ("POST /image/v2/images", (403, {"message": "over quota"}), "upload an image: ", "glance-api's journal"),
    ("PUT /image/v2/images/[^/]+/file", (500, None), "upload an image: ", "the room in its store"),
    ("POST /compute/v2.1/os-keypairs", (403, ERROR), "make a key pair: ", "Quota exceeded"),
    ("POST /network/v2.0/security-groups$", (409, NEUTRON), "make a security group: ", "Quota exceeded for resources"),
    ("POST /network/v2.0/security-group-rules", (409, NEUTRON), "let ping and SSH in: ", "Quota exceeded"),
    ("POST /network/v2.0/routers", (409, NEUTRON), "make a router: ", "Quota exceeded"),
    ("PUT /network/v2.0/routers/.*", (400, GONE), "connect the subnet to the router: ", "neutron-api's journal"),
    ("POST /network/v2.0/floatingips", (409, GONE), "give the instance a floating IP: ", "No more IP addresses"),
    ("GET /compute/v2.1/os-hypervisors", (500, None), "see a compute node: ", "nova-compute's journal"),
    ("POST /compute/v2.1/servers$", (403, ERROR), "ask for a server: ", "already used 20 of 20 cores"),
    ("GET /compute/v2.1/servers/servers-[^/]+$", (404, None), "see who runs the instance: ", "nova-api's journal"),
    ("POST /compute/v2.1/servers/.*/action", (404, None), "read a login in the console log: ", "nova-compute's journal"),
    ("POST /compute/v2.1/servers/.*/action", (500, TIMEOUT), "read a login in the console log: a login did not", "MessagingTimeout"),
    ("POST /compute/v2.1/servers/.*/remote-consoles", (400, None), "see the screen through noVNC: ", "nova-novncproxy's journal"),
]  # fmt: skip


@pytest.mark.usefixtures("programs")
@pytest.mark.parametrize(("request_", "answer", "step", "said"), FAULTS, ids=[f"{f[0]}-{f[1][0]}" for f in FAULTS])
def test_a_request_that_is_refused(
    cloud: cloud_peer.Cloud,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    request_: str,
    answer: tuple[int, Any],
    step: str,
    said: str,
) -> None:
    # What it shows is seen in the test of a cloud that works.
    def screen(self: proof.Proof, server: Any) -> dict[str, Any]:
        return dict(self.cloud.compute.create_console(server, console_type="novnc"))

    monkeypatch.setattr(proof.Proof, "_screen", screen)
    cloud.faults[request_] = answer
    report, fault, remaining = prove(cloud, tmp_path)
    assert fault and fault.startswith(step) and said in fault, fault
    assert (remaining, cloud.left) == ([], set())
    assert step.partition(": ")[0] not in [done["step"] for done in report.steps]


@pytest.mark.usefixtures("programs", "screen")
def test_questions_that_meet_a_server_error_are_asked_again_and_told(cloud: cloud_peer.Cloud, tmp_path: Path) -> None:
    """As Nova answers where a busy compute node did not reply to it in time."""
    for request_ in (
        "GET /compute/v2.1/servers/[^/]+/ips",
        "GET /compute/v2.1/servers/servers-[^/]+$",
        *(f"POST /compute/v2.1/servers/.*/{w}" for w in ("action", "remote-consoles")),
    ):
        cloud.faults[request_], cloud.passing[request_] = (500, TIMEOUT), 2
    report, fault, remaining = prove(cloud, tmp_path, timeout=60)
    assert (fault, remaining, cloud.left) == (None, [], set())
    told = [step["step"] for step in report.steps if step["step"].startswith("meet 2 server errors before ")]
    assert len(told) == 4 and all("MessagingTimeout" in line for line in told)


def compute_is_down(cloud: cloud_peer.Cloud) -> None:
    cloud.hypervisors[0]["state"] = "down"


def no_valid_host(cloud: cloud_peer.Cloud) -> None:
    cloud.server_state = {"status": "ERROR", "fault": {"code": 500, "message": "No valid host was found."}}


def error_without_a_word(cloud: cloud_peer.Cloud) -> None:
    cloud.server_state = {"status": "ERROR"}


def builds_for_ever(cloud: cloud_peer.Cloud) -> None:
    cloud.server_state = {"status": "BUILD"}


def no_login(cloud: cloud_peer.Cloud) -> None:
    cloud.console = "GRUB loading\n"


def no_console(cloud: cloud_peer.Cloud) -> None:
    cloud.console = ""


def another_guest(cloud: cloud_peer.Cloud) -> None:
    cloud.console = "cirros login: \n"


def no_external_network(cloud: cloud_peer.Cloud) -> None:
    cloud.kept["networks"].clear()
    cloud.before = cloud.owned()


@pytest.mark.parametrize(
    ("breaks", "said"),
    [
        (compute_is_down, "see a compute node: a compute node that takes instances did not happen within 1 s"),
        (no_valid_host, "start a server: No valid host was found."),
        (error_without_a_word, "start a server: the server is in state ERROR"),
        (builds_for_ever, "start a server: the start did not happen within 1 s"),
        (no_login, "read a login in the console log: a login did not happen within 1 s"),
        (no_console, "read a login in the console log: a login did not happen"),
        (another_guest, "read a login in the console log: the console shows a login, and no SSH host key of our guest"),
        (no_external_network, "find the external network: there is no external network"),
    ],
)
def test_a_cloud_that_does_not_come_to_an_end(
    cloud: cloud_peer.Cloud, tmp_path: Path, breaks: Callable[[cloud_peer.Cloud], None], said: str
) -> None:
    breaks(cloud)
    report, fault, remaining = prove(cloud, tmp_path)
    assert fault and said in fault and " (see " in fault, fault
    assert (remaining, cloud.left) == ([], set())
    if breaks is no_login:
        assert report.console == "GRUB loading\n"
    if breaks in (no_valid_host, error_without_a_word):  # there is no instance to be reached
        assert not any(line.endswith("/add_router_interface") for line in cloud.asked)


@pytest.mark.parametrize(("took", "pause"), [(0.5, 2.0), (7.0, 7.0), (33.0, 10.0)])
def test_the_pause_after_a_slow_answer(monkeypatch: pytest.MonkeyPatch, took: float, pause: float) -> None:
    """As long as the answer took, and never so long that what is waited for is seen late."""
    now = 0.0
    slept: list[float] = []

    def ask() -> bool:
        nonlocal now
        now += took
        return len(slept) == 1

    monkeypatch.setattr(proof, "time", SimpleNamespace(monotonic=lambda: now, sleep=slept.append))
    settings: Any = SimpleNamespace(timeout=600, prefix="test-proof")
    assert proof.Proof(None, settings, "1a2b3c", lambda text: None).until("an answer", ask)
    assert slept == [pause]


@pytest.mark.usefixtures("programs", "screen")
@pytest.mark.parametrize(("starts", "lost"), [(1, 1), (2, 2), (3, 2)])
def test_an_instance_that_its_hypervisor_stops(cloud: cloud_peer.Cloud, tmp_path: Path, starts: int, lost: int) -> None:
    """As QEMU does after an internal error of KVM: told at once, and tried again where that is allowed."""
    cloud.stopped = lost
    report, fault, remaining = prove(cloud, tmp_path, timeout=60, starts=starts)
    steps = [step["step"] for step in report.steps]
    assert sum(step.startswith("lose the instance (read a login") for step in steps) == min(lost, starts - 1)
    if starts > lost:
        assert fault is None and steps.count("start a server") == lost + 1
        # The floating IP went to an instance that was lost: it has the port of the one that stayed.
        assert "give the floating IP to the instance that stayed" in steps
        assert any(line.startswith("PUT /network/v2.0/floatingips/") for line in cloud.asked)
    else:
        assert fault and "the hypervisor has it paused, and nobody asked for that (see the end of" in fault
    assert (remaining, cloud.left) == ([], set())


@pytest.mark.usefixtures("programs", "screen")
@pytest.mark.parametrize(("starts", "mute"), [(1, 1), (2, 1), (2, 2)])
def test_an_instance_that_never_prints_anything(
    cloud: cloud_peer.Cloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, starts: int, mute: int
) -> None:
    """As one whose emulated processor halted in its firmware for ever: given up early where there may be another."""
    monkeypatch.setattr(proof, "BOOT_POLL", 0.2)
    cloud.mute = mute
    report, fault, remaining = prove(cloud, tmp_path, timeout=6, starts=starts)
    lost = [step["step"] for step in report.steps if step["step"].startswith("lose the instance")]
    given_up = "lose the instance (read a login in the console log: it has printed nothing for 2 s"
    assert [line.startswith(given_up) for line in lost] == [True] * min(mute, starts - 1), lost
    if starts > mute:
        assert fault is None
    else:
        assert fault and "a login did not happen within 6 s" in fault
    # Its state is read from a list while it is silent: for all of it Nova asks Neutron, behind the making of the way in.
    asked_all = [line for line in cloud.asked if re.fullmatch(r"GET /compute/v2.1/servers/servers-[^/]+", line)]
    assert len(asked_all) == (fault is None)
    assert (remaining, cloud.left) == ([], set())


@pytest.mark.usefixtures("programs", "screen")
@pytest.mark.parametrize(("starts", "gone", "said"), [(2, 1, None), (2, 2, "no port"), (1, 1, "no port")])
def test_a_port_that_goes_with_an_instance_that_was_lost(
    cloud: cloud_peer.Cloud, tmp_path: Path, starts: int, gone: int, said: str | None
) -> None:
    """Between the question for the port and the request for its floating IP: asked again, as often as instances may be lost."""
    request_ = "POST /network/v2.0/floatingips"
    cloud.faults[request_] = (404, {"NeutronError": {"type": "PortNotFound", "message": "no port", "detail": ""}})
    cloud.passing[request_] = gone
    report, fault, remaining = prove(cloud, tmp_path, timeout=60, starts=starts)
    assert (remaining, cloud.left) == ([], set())
    if said:
        assert fault and fault.startswith("give the instance a floating IP: ") and said in fault
    else:
        assert fault is None and report.seen["floating_ip"] == "203.0.113.107"
    assert cloud.asked.count(request_) == min(starts, gone + 1)


@pytest.mark.parametrize(
    ("name", "script", "said"),
    [
        ("ping", "exit 1", "ping the floating IP: an answer did not happen within 2 s (see `ovn-nbctl"),
        (
            "ssh",
            "echo 'Permission denied (publickey).' >&2; exit 255",
            "the last attempt said: Permission denied (publickey).",
        ),
        ("ssh", "echo hello", "log in over SSH with the injected key: the guest answered 'hello\\n'"),
        ("ssh", "echo guest 6.12.0 1500", "see the instance's MTU: the instance's MTU is 1500, its network's is 1442"),
    ],
)
def test_an_instance_that_is_not_reached(
    cloud: cloud_peer.Cloud,
    tmp_path: Path,
    programs: Callable[[str, str], None],
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    script: str,
    said: str,
) -> None:
    programs(name, script)
    monkeypatch.setattr(proof.Proof, "_screen", lambda *_: {})  # seen in the test of a cloud that works
    _report, fault, remaining = prove(cloud, tmp_path, timeout=2)
    assert fault and said in fault, fault
    assert (remaining, cloud.left) == ([], set())


@pytest.mark.usefixtures("programs")
def test_a_port_of_which_neutron_does_not_tell(
    cloud: cloud_peer.Cloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fault that is told with its step, as everywhere; and the network goes at the end."""
    monkeypatch.setattr(proof.Proof, "_screen", lambda *_: {})  # seen in the test of a cloud that works
    taken, gone = proof.Proof._take_away, threading.Event()

    def take_away(self: proof.Proof, what: str, *kinds: str) -> None:
        taken(self, what, *kinds)
        if what == "the way in":
            cloud.faults["GET /network/v2.0/ports"], cloud.passing["GET /network/v2.0/ports"] = (403, NEUTRON), 1
            threading.Timer(1, gone.set).start()  # until then there is an instance, and so a question

    monkeypatch.setattr(proof.Proof, "_take_away", take_away)
    waiting = proof.Proof._see_who
    monkeypatch.setattr(proof.Proof, "_see_who", lambda self, server: (waiting(self, server), gone.wait(10)))
    _report, fault, remaining = prove(cloud, tmp_path)
    assert fault and fault.startswith("see the instance's port gone: ")
    assert (remaining, cloud.left) == ([], set())


def test_who_may_make_no_flavor_takes_one(cloud: cloud_peer.Cloud, tmp_path: Path) -> None:
    cloud.faults["POST /compute/v2.1/flavors"] = (403, ERROR)
    cloud.faults["GET /compute/v2.1/os-hypervisors"] = (403, ERROR)
    cloud.faults["POST /compute/v2.1/servers$"] = (403, ERROR)
    _report, fault, _remaining = prove(cloud, tmp_path)
    assert fault and fault.startswith("ask for a server: ")
    cloud.kept["flavors"].clear()
    _report, fault, _remaining = prove(cloud, tmp_path)
    assert (
        fault and "make a flavor: no flavor is large enough and none may be made (sign in as an administrator" in fault
    )
    assert "floating" not in "".join(cloud.left)


def test_an_external_network_by_its_name(cloud: cloud_peer.Cloud, tmp_path: Path) -> None:
    _report, fault, _remaining = prove(cloud, tmp_path, external_network="elsewhere")
    assert fault and "there is no external network 'elsewhere'" in fault


def test_what_cannot_be_removed_is_named_and_the_rest_is_removed(cloud: cloud_peer.Cloud, tmp_path: Path) -> None:
    no_valid_host(cloud)
    cloud.faults["DELETE /network/v2.0/networks/.*"] = (409, NEUTRON)
    cloud.faults["GET /network/v2.0/security-groups$"] = (503, None)
    _report, fault, _remaining = prove(cloud, tmp_path)
    assert fault is not None
    # The listing that is refused is asked before the first step, too: an earlier proof's remains cannot be told.
    assert fault.startswith("list what is there: security groups cannot be listed: ")
    del cloud.faults["GET /network/v2.0/security-groups$"]
    _report, fault, remaining = prove(cloud, tmp_path)
    assert fault and fault.startswith("start a server: No valid host")
    assert "remove everything again: network networks-" in fault and "remove by hand" in fault
    assert {identity.split("-")[0] for identity in cloud.left} == {"networks", "subnets"}
    assert remaining == []  # the second list is not asked for after a fault: what remains is in the message


def test_a_server_that_does_not_go(cloud: cloud_peer.Cloud, tmp_path: Path) -> None:
    no_valid_host(cloud)
    cloud.servers_stay = True
    _report, fault, _remaining = prove(cloud, tmp_path)
    assert fault and "remove everything again: the removal of the server did not happen within 1 s" in fault
    assert {identity.split("-")[0] for identity in cloud.left} == {"servers"}


def test_a_service_that_does_not_answer_at_all(
    cloud: cloud_peer.Cloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(cloud_peer.SERVICES, "image", ":1/image")  # a port that nobody listens on
    _report, fault, _remaining = prove(cloud, tmp_path)
    assert fault and fault.startswith("list what is there: images cannot be listed: ")
    monkeypatch.delitem(cloud_peer.SERVICES, "image")
    _report, fault, _remaining = prove(cloud, tmp_path)
    assert fault and "images cannot be listed: " in fault


def test_check_mode_signs_in_and_no_more(cloud: cloud_peer.Cloud, tmp_path: Path) -> None:
    report, fault, remaining = prove(cloud, tmp_path, check=True)
    assert (fault, remaining, [step["step"] for step in report.steps]) == (None, [], ["sign in"])
    assert all("/identity" in line for line in cloud.asked)


@pytest.mark.parametrize(
    ("url", "socket_"),
    [
        ("http://192.0.2.1:6080/vnc_auto.html?path=%3Ftoken%3Dabc", "ws://192.0.2.1:6080/?token=abc"),
        ("https://cloud.example/vnc_lite.html?token=abc", "wss://cloud.example/websockify?token=abc"),
    ],
)
def test_the_websocket_behind_a_page(url: str, socket_: str) -> None:
    assert proof.console_socket(url) == socket_
