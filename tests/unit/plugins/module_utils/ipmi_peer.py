# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 the seedcloud.openstack authors
"""BMCs to test against: ipmi_sim (OpenIPMI), pyghmi's server, a relay that loses packets, a scripted one.

Run as a program it is a pyghmi BMC: `ipmi_peer.py KIND ADDRESS PORT FOLDER`.
"""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path

USER, PASSWORD = "admin", "planted-471-pass"

# State and orders are files: `power`, `boot`, `calls` (what was asked for), `delay` (seconds that a power
# change takes), `soft` (there: the operating system obeys a shutdown).
CONTROL = """#!/bin/sh
cd "$1" || exit 1
op=$2; shift 2
if [ "$op" = get ]; then
  for what; do read -r value < "$what" && echo "$what:$value"; done
  exit
fi
while [ $# -gt 0 ]; do
  echo "$1 $2" >> calls
  read -r delay < delay
  case $1:$2 in
    boot:*) echo "$2" > boot ;;
    power:*) if [ "$delay" = 0 ]; then echo "$2" > power; else (sleep "$delay"; echo "$2" > power) >&- 2>&- & fi ;;
    shutdown:*) [ ! -e soft ] || (sleep "$delay"; echo 0 > power) >&- 2>&- & ;;
  esac
  shift 2
done
"""

LAN = """name "{name}"
set_working_mc 0x20
startlan 1
addr {address} {port}
priv_limit admin
allowed_auths_callback none md5
allowed_auths_user none md5
allowed_auths_operator none md5
allowed_auths_admin none md5
guid a123456789abcdefa123456789abcdef
endlan
chassis_control "{folder}/control {folder}"
user 2 true "{user}" "{password}" admin 10 none md5
"""

COMMANDS = "mc_setbmc 0x20\nmc_add 0x20 0 no-device-sdrs 0x23 9 8 0x9f 0x1291 0xf02\nmc_enable 0x20\n"


def free_port(address: str) -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind((address, 0))
        return int(sock.getsockname()[1])


@dataclass
class Peer:
    """A BMC process with its state in a folder."""

    folder: Path
    address: str
    port: int
    process: subprocess.Popen[bytes] = field(repr=False)

    def read(self, name: str) -> str:
        return (self.folder / name).read_text().strip()

    def write(self, name: str, value: object) -> None:
        (self.folder / name).write_text(f"{value}\n")

    def calls(self, prefix: str = "") -> list[str]:
        return [call for call in self.read("calls").splitlines() if call.startswith(prefix)]

    def power_states(self) -> list[str]:
        """What the power was set to, one after the other; on and off are told again where the answer takes half a second."""
        return [call for call, _again in groupby(self.calls("power"))]


def _state(folder: Path, power: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, value in {"power": power, "boot": "none", "delay": 0}.items():
        (folder / name).write_text(f"{value}\n")
    (folder / "calls").write_text("")


def start_sim(
    folder: Path,
    address: str = "127.1.0.1",
    port: int = 0,
    *,
    power: int = 0,
    user: str = USER,
    password: str = PASSWORD,
) -> Peer:
    """One ipmi_sim; it does not say when it is ready, so callers wait with `await_peers`."""
    port = port or free_port(address)
    _state(folder, power)
    (folder / "state").mkdir(exist_ok=True)
    (folder / "control").write_text(CONTROL)
    (folder / "control").chmod(0o755)
    (folder / "lan.conf").write_text(
        LAN.format(
            name=folder.name,
            address=address,
            port=port,
            folder=folder,
            user=user,
            password=password,
        )
    )
    (folder / "commands").write_text(COMMANDS)
    command = ["ipmi_sim", "-n", "-c", "lan.conf", "-f", "commands", "-s", "state"]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, cwd=folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    return Peer(folder, address, port, process)


def start_pyghmi(folder: Path, kind: str, address: str = "127.1.0.1") -> Peer:
    """A BMC on pyghmi's server, as VirtualBMC is one. Kinds: see `serve_pyghmi`."""
    port = free_port(address)
    _state(folder, 0)
    with (folder / "log").open("wb") as log:
        command = [sys.executable, __file__, kind, address, str(port), str(folder)]
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    return Peer(folder, address, port, process)


def await_peers(*peers: Peer, seconds: float = 90) -> None:
    """Until each of them answers Get Channel Authentication Capabilities."""
    end = time.monotonic() + seconds
    for peer in peers:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.connect((peer.address, peer.port))
            sock.settimeout(0.2)
            while True:
                try:
                    sock.send(AUTH_CAP)
                    sock.recv(100)
                    break
                except OSError:
                    assert peer.process.poll() is None, f"{peer} ended: {peer.read('log')}"
                    assert time.monotonic() < end, f"{peer} does not answer: {peer.read('log')}"
                    time.sleep(0.02)


def stop_peers(*peers: Peer) -> None:
    for peer in peers:
        peer.process.terminate()
    for peer in peers:
        peer.process.wait(10)


# Packets

AUTH_CAP = bytes.fromhex("0600ff07 00 00000000 00000000 09 2018c88100388e04b5")
OPEN_SESSION = 0x10
SHA256, SHA1, NOTHING = (3, 4, 1), (1, 1, 1), (0, 0, 0)


def proposal(packet: bytes) -> tuple[int, int, int] | None:
    """The algorithms that an RMCP+ open-session request proposes; None if it is something else."""
    if packet[4] != 6 or packet[5] & 0x3F != OPEN_SESSION:
        return None
    return packet[28], packet[36], packet[44]


def auth_cap_answer(request: bytes, *, ipmi20: bool = True, code: int = 0) -> bytes:
    data = bytes([1, 0x84 if ipmi20 else 0x04, 0x04, 0x02 if ipmi20 else 0x01, 0, 0, 0, 0]) if not code else b""
    body = bytes([0x81, 0x1C, 0x63, 0x20, request[18], 0x38, code]) + data
    body += bytes([-sum(body[3:]) & 0xFF])
    return bytes.fromhex("0600ff07 00 00000000 00000000") + bytes([len(body)]) + body


def open_session_answer(request: bytes, *, status: int = 0, algorithms: tuple[int, int, int] | None = None) -> bytes:
    body = bytes([request[16], status, 4, 0]) + request[20:24]
    if not status:
        chosen = algorithms or proposal(request) or NOTHING
        body += b"\x01\x02\x03\x04"
        for kind, algorithm in enumerate(chosen):
            body += bytes([kind, 0, 0, 8, algorithm, 0, 0, 0])
    return bytes.fromhex("0600ff07 06 11 00000000 00000000") + len(body).to_bytes(2, "little") + body


# Peers in a thread


@contextmanager
def scripted(answer: Callable[[bytes], list[bytes]], address: str = "127.1.0.1") -> Iterator[tuple[int, list[bytes]]]:
    """A UDP peer that answers as it is told: its port, and the packets that it got."""
    got: list[bytes] = []
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind((address, 0))

    def work() -> None:
        while True:
            packet, client = sock.recvfrom(4096)
            if packet == b"stop":
                return
            got.append(packet)
            for reply in answer(packet):
                sock.sendto(reply, client)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        yield sock.getsockname()[1], got
    finally:
        sock.sendto(b"stop", sock.getsockname())
        thread.join(5)
        sock.close()


@dataclass
class Relay:
    """A way to a BMC that sees, loses and rewrites packets."""

    port: int
    seen: list[tuple[bool, bytes]] = field(default_factory=list)  # to the BMC?, packet

    def proposals(self) -> list[tuple[int, int, int]]:
        return [found for to_bmc, packet in self.seen if to_bmc and (found := proposal(packet))]


Change = Callable[[bool, bytes], "bytes | None"]


@contextmanager
def relayed(peer: Peer, change: Change = lambda _to_bmc, packet: packet) -> Iterator[Relay]:
    """`change` gets each packet and returns it, another one, or None to lose it."""
    front = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    front.bind((peer.address, 0))
    relay = Relay(front.getsockname()[1])
    backs: dict[tuple[str, int], tuple[socket.socket, threading.Thread]] = {}

    def back(sock: socket.socket, client: tuple[str, int]) -> None:
        while True:
            try:
                packet = sock.recv(4096)
            except ConnectionRefusedError:
                continue
            if not packet:  # shut down
                return
            relay.seen.append((False, packet))
            changed = change(False, packet)
            if changed is not None:
                front.sendto(changed, client)

    def forth() -> None:
        while True:
            packet, client = front.recvfrom(4096)
            if packet == b"stop":
                return
            if client not in backs:
                sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
                sock.connect((peer.address, peer.port))
                backs[client] = sock, threading.Thread(target=back, args=(sock, client), daemon=True)
                backs[client][1].start()
            relay.seen.append((True, packet))
            changed = change(True, packet)
            if changed is not None:
                backs[client][0].send(changed)

    thread = threading.Thread(target=forth, daemon=True)
    thread.start()
    try:
        yield relay
    finally:
        front.sendto(b"stop", front.getsockname())
        thread.join(5)
        for sock, reader in backs.values():
            sock.shutdown(socket.SHUT_RDWR)
            reader.join(5)
            sock.close()
        front.close()


def serve_pyghmi(kind: str, address: str, port: int, folder: Path) -> None:
    """`spec`: boot options as in the specification. `virtualbmc`: as pyghmi and so VirtualBMC does it, without a power
    cycle. `deaf`: takes a boot device and forgets it. `busy`: answers 0xc0 to each first try of a command."""
    from pyghmi.ipmi.bmc import Bmc

    def note(text: str) -> None:
        with (folder / "calls").open("a") as log:
            log.write(text + "\n")

    class Spec(Bmc):  # type: ignore[misc]  # pyghmi has no types
        asked = 0
        boot_device = 0

        def __init__(self) -> None:
            super().__init__({USER: PASSWORD}, port, address=address)
            self.options = {3: bytes(1), 5: bytes(5)}

        def get_power_state(self) -> str:
            return "on" if (folder / "power").read_text().strip() == "1" else "off"

        def power_on(self) -> None:
            note("power 1")
            (folder / "power").write_text("1\n")

        def power_off(self) -> None:
            note("power 0")
            (folder / "power").write_text("0\n")

        def get_boot_device(self) -> int:
            return self.boot_device

        def set_boot_device(self, device: str) -> None:
            note(f"boot {device}")
            self.boot_device = {"network": 4, "hd": 8, "optical": 0x14, "setup": 0x18}[device]

        def handle_raw_request(self, request: dict[str, object], session: object) -> None:
            data = bytes(request["data"])  # type: ignore[arg-type]  # a bytearray
            what = (request["netfn"], request["command"])
            send = session.send_ipmi_response  # type: ignore[attr-defined]  # pyghmi's session
            if kind == "busy" and what[0] == 0:
                self.asked += 1
                if self.asked % 2:
                    return send(code=0xC0)
            if kind in ("spec", "deaf") and what == (0, 8):
                note(f"option {data.hex()}")
                if kind == "spec":
                    self.options[data[0]] = data[1:]
                return send()
            if kind in ("spec", "deaf") and what == (0, 9):
                return send(data=[1, data[0], *self.options[data[0]]])
            return super().handle_raw_request(request, session)

    Spec().listen()


if __name__ == "__main__":
    serve_pyghmi(sys.argv[1], sys.argv[2], int(sys.argv[3]), Path(sys.argv[4]))
