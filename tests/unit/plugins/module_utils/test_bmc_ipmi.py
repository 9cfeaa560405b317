# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 the seedcloud.openstack authors
"""The IPMI driver against ipmi_sim, pyghmi's server, a relay that loses packets, and scripted misbehaviour."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.seedcloud.openstack.plugins.module_utils._bmc import errands, fleet, ipmi
from ansible_collections.seedcloud.openstack.plugins.module_utils._bmc.core import (
    Action,
    BmcError,
    Boot,
    Deadline,
    Node,
)
from ansible_collections.seedcloud.openstack.tests.unit.plugins.module_utils import ipmi_peer as peers

Start = Callable[..., peers.Peer]
CHOSEN = [peers.SHA256, peers.SHA1]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start BMCs that end with the test."""
    started: list[peers.Peer] = []

    def begin(kind: str = "sim", **options: Any) -> peers.Peer:
        folder = tmp_path / f"bmc{len(started)}"
        peer = peers.start_sim(folder, **options) if kind == "sim" else peers.start_pyghmi(folder, kind)
        started.append(peer)
        peers.await_peers(peer)
        return peer

    yield begin
    peers.stop_peers(*started)


@pytest.fixture(autouse=True)
def _forget() -> Iterator[None]:
    ipmi._suite_of.clear()
    yield
    ipmi._suite_of.clear()


def node(port: int, name: str = "node1", **more: Any) -> Node:
    return Node(
        name, **{"address": "127.1.0.1", "port": port, "username": peers.USER, "password": peers.PASSWORD, **more}
    )


def power_of(port: int, seconds: float = 10, **more: Any) -> str:
    with ipmi.IpmiBmc.connect(node(port, **more), Deadline(seconds)) as bmc:
        return bmc.power()


def bring(
    port: int, state: Action, timeout: float = 15, soft_timeout: float = 2, check: bool = False
) -> dict[str, Any]:
    nodes = [node(port)]
    return fleet.run(nodes, {"node1": errands.PowerErrand(state, soft_timeout, check)}, timeout, 1)["node1"]


def boot_from(port: int, wanted: Boot, check: bool = False) -> dict[str, Any]:
    return fleet.run([node(port)], {"node1": errands.BootErrand(wanted, check)}, 10, 1)["node1"]


def code_of(port: int, seconds: float = 10, **more: Any) -> str:
    with pytest.raises(BmcError) as caught:
        power_of(port, seconds, **more)
    assert peers.PASSWORD not in caught.value.msg
    return caught.value.code


# Cipher suites


def test_suite_17_is_proposed_then_3_then_remembered(start: Start) -> None:
    with peers.relayed(start()) as relay:
        assert power_of(relay.port) == "off"
        assert relay.proposals() == CHOSEN
        relay.seen.clear()
        power_of(relay.port)
        assert relay.proposals() == [peers.SHA1]


def test_suite_17_is_used_where_it_is_taken(start: Start) -> None:
    peer = start("spec")
    with peers.relayed(peer) as relay:
        assert power_of(relay.port) == "off"
        assert relay.proposals()[0] == peers.SHA256
        assert peers.NOTHING not in relay.proposals()


def test_silence_on_suite_17_is_a_refusal(start: Start) -> None:
    def lose(to_bmc: bool, packet: bytes) -> bytes | None:
        return None if to_bmc and peers.proposal(packet) == peers.SHA256 else packet

    begin = time.monotonic()
    with peers.relayed(start(), lose) as relay:
        assert power_of(relay.port) == "off"
        assert relay.proposals() == [peers.SHA256, *CHOSEN]
    assert time.monotonic() - begin < 9  # not until CONTACT


@pytest.mark.parametrize(
    "confirmed", [{"status": 0x11}, {"status": 0x04}, {"status": 0x12}, {"algorithms": peers.NOTHING}]
)
def test_no_common_suite_and_never_suite_0(confirmed: dict[str, Any]) -> None:
    def answer(packet: bytes) -> list[bytes]:
        if peers.proposal(packet):
            return [peers.open_session_answer(packet, **confirmed)]
        return [peers.auth_cap_answer(packet)]

    with peers.scripted(answer) as (port, got):
        assert code_of(port) == "bmc_cipher"
        assert [peers.proposal(packet) for packet in got if peers.proposal(packet)] == CHOSEN


# IPMI 1.5


def _only_15(to_bmc: bool, packet: bytes) -> bytes:
    """Make a BMC that also speaks IPMI 2.0 say that it does not."""
    if not to_bmc and packet[4] == 0 and packet[19] == 0x38:
        changed = bytearray(packet)
        changed[22] &= 0x7F
        changed[24] &= 0xFD
        return bytes(changed)
    return packet


def test_ipmi15_is_spoken_only_where_allowed(start: Start) -> None:
    with peers.relayed(start(), _only_15) as relay:
        assert code_of(relay.port) == "bmc_cipher"
        assert len([True for to_bmc, _packet in relay.seen if to_bmc]) == 1
        with ipmi.IpmiBmc.connect(node(relay.port, allow_ipmi15=True), Deadline(10)) as bmc:
            bmc.set_power("on")
            assert bmc.power() == "on"
            assert bmc.info()["cipher_suite"] is None
        assert not relay.proposals()


def test_ipmi15_that_knows_no_20_bit(start: Start) -> None:
    def answer(packet: bytes) -> list[bytes]:
        fails = packet[20] & 0x80
        return [peers.auth_cap_answer(packet, ipmi20=False, code=0xCC if fails else 0)]

    with peers.scripted(answer) as (port, got):
        assert code_of(port) == "bmc_cipher"
        assert [packet[20] for packet in got] == [0x8E, 0x0E]


# Accounts and sessions


def test_wrong_credentials(start: Start) -> None:
    port = start().port
    assert code_of(port, password="not-it") == "bmc_auth"
    assert code_of(port, username="nobody") == "bmc_auth"
    assert power_of(port) == "off"


def test_wrong_credentials_on_pyghmi(start: Start) -> None:
    assert code_of(start("spec").port, password="not-it") == "bmc_auth"


def _refuse_role(status: int, *roles: int) -> peers.Change:
    """A BMC that refuses these roles in RAKP 2 (ipmi_sim gives anyone any)."""
    role = 0

    def refuse(to_bmc: bool, packet: bytes) -> bytes:
        nonlocal role
        kind = packet[5] & 0x3F if packet[4] == 6 else None
        if kind == 0x12:
            role = packet[40] & 0x0F
        return packet[:17] + bytes([status]) + packet[18:] if kind == 0x13 and role in roles else packet

    return refuse


@pytest.mark.parametrize("status", [0x09, 0x0A, 0x0D])
def test_an_operator_will_do(start: Start, status: int) -> None:
    with (
        peers.relayed(start(), _refuse_role(status, 4)) as relay,
        ipmi.IpmiBmc.connect(node(relay.port), Deadline(10)) as bmc,
    ):
        bmc.set_power("on")
        assert bmc.power() == "on"
        assert bmc.info()["privilege"] == "operator"


@pytest.mark.parametrize(
    ("status", "code"), [(0x0A, "bmc_privilege"), (0x0D, "bmc_auth"), (0x01, "bmc_no_session"), (0x03, "bmc_protocol")]
)
def test_neither_administrator_nor_operator(start: Start, status: int, code: str) -> None:
    with peers.relayed(start(), _refuse_role(status, 3, 4)) as relay:
        assert code_of(relay.port) == code


def test_no_free_session_is_waited_for(start: Start) -> None:
    port = start().port
    with ExitStack() as others:
        with pytest.raises(BmcError, match="no free session"):
            for _number in range(100):  # ipmi_sim has 63
                others.enter_context(ipmi.IpmiBmc.connect(node(port), Deadline(20)))
        outcome = bring(port, "on", timeout=2)
        assert (outcome["failed"], outcome["code"], outcome["changed"]) == (True, "bmc_no_session", False)
        assert outcome["elapsed"] < 10
        threading.Timer(1, others.pop_all().close).start()
        assert bring(port, "on")["power"] == "on"


def test_sessions_are_given_back(start: Start) -> None:
    port = start().port
    for _number in range(70):  # more than ipmi_sim has
        power_of(port)


# Silence, loss, rubbish


def test_a_closed_port_is_told_at_once() -> None:
    begin = time.monotonic()
    assert code_of(peers.free_port("127.1.0.1")) == "bmc_unreachable"
    assert time.monotonic() - begin < 9


def test_a_black_hole_ends_at_the_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    with peers.scripted(lambda _packet: []) as (port, got):
        begin = time.monotonic()
        outcome = bring(port, "on", timeout=2)
        assert (outcome["code"], outcome["power"]) == ("bmc_unreachable", None)
        assert 1.5 < time.monotonic() - begin < 10
        assert 2 <= len(got) <= 5
        monkeypatch.setattr(ipmi, "CONTACT", 1.0)
        assert code_of(port, 60) == "bmc_unreachable"
        assert code_of(port, 0) == "bmc_unreachable"  # the deadline ends before any wait does


def test_a_name_that_does_not_resolve() -> None:
    assert code_of(623, address="bmc.invalid") == "bmc_unreachable"


@pytest.mark.parametrize("lost", range(20))
def test_any_lost_packet_is_made_good(start: Start, lost: int) -> None:
    count = 0

    def lose(_to_bmc: bool, packet: bytes) -> bytes | None:
        nonlocal count
        count += 1
        return None if count == lost + 1 else packet

    peer = start()
    with peers.relayed(peer, lose) as relay:
        outcome = bring(relay.port, "on")
        assert (outcome["failed"], outcome["changed"], outcome["power"]) == (False, True, "on")
        assert outcome["elapsed"] < 15


def test_a_bad_line(start: Start) -> None:
    dice = random.Random(7)
    with peers.relayed(start(), lambda _to, packet: None if dice.random() < 0.2 else packet) as relay:
        assert bring(relay.port, "on", timeout=60)["power"] == "on"


def test_rubbish_is_not_an_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    dice = random.Random(11)
    rubbish = [bytes.fromhex("0600ff07") + dice.randbytes(size) for size in (0, 1, 12, 13, 30, 60)]
    rubbish += [bytes.fromhex("0600ff0706") + bytes([kind]) + dice.randbytes(40) for kind in (0x11, 0x13, 0x15, 0xC0)]
    rubbish += [bytes.fromhex("0600ff0700") + bytes(12), b"", b"x" * 3000]
    with peers.scripted(lambda _packet: rubbish) as (port, _got):
        assert code_of(port, 2) == "bmc_timeout"


def test_a_bmc_that_stops_in_the_middle() -> None:
    def answer(packet: bytes) -> list[bytes]:
        return [peers.open_session_answer(packet)] if peers.proposal(packet) else [peers.auth_cap_answer(packet)]

    def not_rakp(packet: bytes) -> list[bytes]:
        return [] if packet[4] == 6 and packet[5] & 0x3F == 0x12 else answer(packet)

    with peers.scripted(not_rakp) as (port, _got):
        outcome = bring(port, "on", timeout=3)
        assert outcome["code"] == "bmc_timeout"
        assert "fell silent" in outcome["msg"]


# Power


def test_power_states_are_reached_and_told(start: Start) -> None:
    peer = start()
    assert bring(peer.port, "on", check=True)["changed"] is True
    assert peer.calls() == []
    outcome = bring(peer.port, "on")
    assert (outcome["changed"], outcome["power"], outcome["msg"]) == (True, "on", "was off, is on")
    assert bring(peer.port, "on")["changed"] is False
    assert bring(peer.port, "on", check=True)["changed"] is False
    assert bring(peer.port, "off")["changed"] is True
    assert bring(peer.port, "soft_off")["changed"] is False
    assert peer.calls() == ["power 1", "power 0"]


def test_a_slow_bmc_is_waited_for(start: Start) -> None:
    peer = start()
    peer.write("delay", 2)
    outcome = bring(peer.port, "on")
    assert (outcome["power"], outcome["changed"]) == ("on", True)
    assert 2 <= outcome["elapsed"] < 15
    assert peer.calls() == ["power 1"]
    outcome = bring(peer.port, "off", timeout=1.5)
    assert (outcome["code"], outcome["power"], outcome["changed"]) == ("bmc_timeout", "on", True)
    assert "still on" in outcome["msg"]


def test_soft_off_is_obeyed_or_forced(start: Start) -> None:
    peer = start(power=1)
    peer.write("soft", 1)
    outcome = bring(peer.port, "soft_off", soft_timeout=30)
    assert (outcome["power"], outcome["msg"]) == ("off", "was on, is off")
    assert peer.calls() == ["shutdown 1"]
    (peer.folder / "soft").unlink()
    peer.write("power", 1)
    outcome = bring(peer.port, "soft_off", soft_timeout=1)
    assert outcome["power"] == "off"
    assert "forced" in outcome["msg"]
    assert peer.calls()[1:] == ["shutdown 1", "power 0"]


def test_soft_off_that_the_bmc_does_not_know(start: Start) -> None:
    peer = start("virtualbmc")
    peer.write("power", 1)
    outcome = bring(peer.port, "soft_off", soft_timeout=60)
    assert outcome["power"] == "off"
    assert "refused" in outcome["msg"]


def test_cycle(start: Start) -> None:
    peer = start(power=1)
    outcome = bring(peer.port, "cycle")
    assert (outcome["power"], outcome["changed"], outcome["msg"]) == ("on", True, "was cycled, is on")
    assert peer.calls() == ["power 0", "power 1"]
    peer.write("power", 0)
    assert bring(peer.port, "cycle")["msg"] == "was off, is on"


def test_cycle_that_the_bmc_does_not_know(start: Start) -> None:
    peer = start("virtualbmc")
    peer.write("power", 1)
    outcome = bring(peer.port, "cycle")
    assert (outcome["power"], outcome["changed"]) == ("on", True)
    assert peer.calls() == ["power 0", "power 1"]


def test_reset(start: Start) -> None:
    peer = start(power=1)
    outcome = bring(peer.port, "reset")
    assert (outcome["changed"], outcome["msg"]) == (True, "was reset, is on")
    assert peer.calls() == ["reset 1"]
    peer.write("power", 0)
    outcome = bring(peer.port, "reset")
    assert (outcome["code"], outcome["changed"]) == ("bmc_refused", False)


def test_a_refused_command_is_not_a_change(start: Start) -> None:
    peer = start("virtualbmc")
    peer.write("power", 1)
    outcome = bring(peer.port, "reset")
    assert (outcome["code"], outcome["changed"], outcome["power"]) == ("bmc_refused", False, "on")


def test_a_busy_bmc_is_asked_again(start: Start) -> None:
    peer = start("busy")
    assert bring(peer.port, "on")["power"] == "on"
    assert peer.calls() == ["power 1"]


def _lose_answers_once(peer: peers.Peer, trigger: str, seconds: float) -> peers.Change:
    """Lose what the BMC says for some time after it was asked for something."""
    since = 0.0

    def lose(to_bmc: bool, packet: bytes) -> bytes | None:
        nonlocal since
        if not to_bmc and not since and peer.calls(trigger):
            since = time.monotonic()
        return None if since and time.monotonic() - since < seconds else packet

    return lose


def test_reset_is_sent_once_when_its_answer_is_lost(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ipmi, "ONCE", 1.0)
    peer = start(power=1)
    with peers.relayed(peer, _lose_answers_once(peer, "reset", 2)) as relay:
        outcome = bring(relay.port, "reset")
    assert (outcome["code"], outcome["changed"]) == ("bmc_timeout", True)
    assert "not repeated" in outcome["msg"]
    assert peer.calls() == ["reset 1"]


def test_cycle_is_sent_once_when_its_answer_is_lost(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ipmi, "ONCE", 0.3)
    peer = start(power=1)
    with peers.relayed(peer, _lose_answers_once(peer, "power 0", 0.25)) as relay:
        outcome = bring(relay.port, "cycle")
    assert (outcome["failed"], outcome["changed"], outcome["power"]) == (False, True, "on")
    assert peer.calls() == ["power 0", "power 1"]


def test_cycle_that_nobody_saw_is_not_claimed(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ipmi, "ONCE", 1.0)
    peer = start(power=1)
    with peers.relayed(peer, _lose_answers_once(peer, "power 0", 3)) as relay:
        outcome = bring(relay.port, "cycle", timeout=6)
    assert (outcome["code"], outcome["changed"], outcome["power"]) == ("bmc_timeout", True, "on")
    assert peer.calls() == ["power 0", "power 1"]


def test_a_lost_session_repeats_nothing(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ipmi, "COMMAND_TRIES", 1)
    peer = start()
    peer.write("delay", 3)
    with peers.relayed(peer, _lose_answers_once(peer, "power 1", 2)) as relay:
        outcome = bring(relay.port, "on")
    assert (outcome["failed"], outcome["changed"], outcome["power"]) == (False, True, "on")


# Boot device


@pytest.mark.parametrize("efi", [False, True])
@pytest.mark.parametrize("persistent", [False, True])
@pytest.mark.parametrize(("device", "number"), [("pxe", 1), ("disk", 2), ("cdrom", 5), ("bios", 6)])
def test_boot_flags_combine(spec_peer: peers.Peer, device: str, number: int, persistent: bool, efi: bool) -> None:
    spec_peer.write("calls", "")
    wanted = Boot(device, persistent, efi)
    outcome = boot_from(spec_peer.port, wanted)
    assert (outcome["verified"], outcome["changed"], outcome["boot"]) == (True, True, wanted.shown())
    flags = 0x80 | persistent * 0x40 | efi * 0x20
    assert spec_peer.calls() == ["", "option 0308", f"option 05{flags:02x}{number << 2:02x}000000"][1:]
    assert boot_from(spec_peer.port, wanted)["changed"] is False


@pytest.fixture(scope="module")
def spec_peer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[peers.Peer]:
    peer = peers.start_pyghmi(tmp_path_factory.mktemp("spec"), "spec")
    peers.await_peers(peer)
    yield peer
    peers.stop_peers(peer)


def test_flags_that_are_about_to_expire_are_set_again(spec_peer: peers.Peer) -> None:
    wanted = Boot("pxe", efi=True)
    boot_from(spec_peer.port, wanted)
    with ipmi.IpmiBmc.connect(node(spec_peer.port), Deadline(10)) as bmc:
        assert bmc.boot() == wanted
        bmc._command(ipmi.CHASSIS, 0x08, [3, 0])  # as other tools leave it
    assert boot_from(spec_peer.port, wanted, check=True)["changed"] is True
    assert boot_from(spec_peer.port, wanted)["changed"] is True
    assert boot_from(spec_peer.port, wanted)["changed"] is False


def test_flags_that_do_not_read_back_are_told(start: Start) -> None:
    peer = start("virtualbmc")
    outcome = boot_from(peer.port, Boot("pxe", persistent=True, efi=True))
    assert (outcome["failed"], outcome["verified"], outcome["changed"]) == (False, False, True)
    outcome = boot_from(peer.port, Boot("pxe", persistent=True, efi=True))
    assert (outcome["failed"], outcome["verified"], outcome["changed"]) == (False, False, False)
    outcome = boot_from(peer.port, Boot("pxe"))
    assert (outcome["failed"], outcome["verified"], outcome["changed"]) == (False, True, False)


def test_ipmi_sim_shows_the_device_only(start: Start) -> None:
    peer = start()
    outcome = boot_from(peer.port, Boot("disk"))
    assert (outcome["failed"], outcome["verified"], outcome["changed"]) == (False, False, True)
    assert peer.read("boot") == "default"
    assert boot_from(peer.port, Boot("disk"))["changed"] is False


def test_a_bmc_that_ignores_the_device_fails(start: Start) -> None:
    outcome = boot_from(start("deaf").port, Boot("pxe"))
    assert (outcome["code"], outcome["changed"], outcome["verified"]) == ("bmc_mismatch", False, False)
    assert outcome["boot"]["device"] == "none"


def test_info(start: Start) -> None:
    peer = start()
    outcome = fleet.run([node(peer.port)], {"node1": errands.InfoErrand()}, 10, 1)["node1"]
    assert outcome["info"] == {
        "firmware": "9.08",
        "protocol": "IPMI 2.0",
        "manufacturer_id": 0x1291,
        "product_id": 0xF02,
        "cipher_suite": 3,
        "privilege": "administrator",
    }
    assert (outcome["power"], outcome["boot"]["device"], outcome["changed"]) == ("off", "none", False)
