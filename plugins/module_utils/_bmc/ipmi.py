# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 the seedcloud.openstack authors
"""IPMI over LAN: pyghmi's framing, cryptography and logon on a socket and a clock of our own.

pyghmi's Session shares sockets, a receiving thread and its timers among all sessions of a process,
so that one BMC's silence blocks another's thread. Here each session has a connected socket and is
driven by its node's thread alone: what pyghmi does with a packet is kept, when it sends one again is ours.
"""

from __future__ import annotations

import contextlib
import random
import socket
import struct
import time
import traceback
from typing import TYPE_CHECKING, Any

from ansible_collections.seedcloud.openstack.plugins.module_utils._bmc.core import (
    Action,
    Bmc,
    BmcError,
    Boot,
    Deadline,
    Node,
    Power,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import TracebackType

MISSING: str | None = None
try:
    from pyghmi.ipmi.private.constants import ipmi_completion_codes
    from pyghmi.ipmi.private.session import Session as PyghmiSession
except ImportError:
    MISSING = traceback.format_exc()
    PyghmiSession = object
    ipmi_completion_codes = {}

# Cipher suite -> (pyghmi's attemptedhash, the algorithms that the BMC must confirm: authentication,
# integrity, confidentiality), in the order in which they are proposed. Suite 0 is not to be found here.
SUITES = {17: (256, (3, 4, 1)), 3: (1, (1, 1, 1))}
SUITE_TRIES = 2  # open-session requests without an answer after which a suite counts as refused
CONTACT = 10.0  # seconds without any sign of life after which a BMC is unreachable
LOGON_TRIES = 6
COMMAND_TRIES = 5
ONCE = 5.0  # seconds to wait for the answer to what must not be sent twice
REFUSALS = 3  # ICMP errors after which nobody is at home

CHASSIS, APP = 0x00, 0x06
CONTROL: dict[Action, int] = {"off": 0, "on": 1, "cycle": 2, "reset": 3, "soft_off": 5}
BUSY, NO_PRIVILEGE, UNSUPPORTED = 0xC0, 0xD4, (0x80, 0xC1, 0xC9, 0xCC)
NO_SESSION, NO_ROLE_SESSION, NO_ROLE, NO_PRIVLEVEL, NO_NAME, NO_INTEGRITY = 0x01, 0x0B, 0x09, 0x0A, 0x0D, 0x0F
ADMINISTRATOR, OPERATOR = 4, 3

DEVICES = {
    0: "none",
    1: "pxe",
    2: "disk",
    3: "disk_safe",
    4: "diagnostics",
    5: "cdrom",
    6: "bios",
    7: "remote_floppy",
    8: "remote_cdrom",
    9: "remote_primary",
    11: "remote_disk",
    15: "floppy",
}
DEVICE_NUMBERS = {name: number for number, name in DEVICES.items()}

# What a BMC was found to speak, for later sessions of this process.
_suite_of: dict[tuple[str, int], int] = {}


def _pause(tries: int) -> float:
    """Seconds until a packet is sent again: longer each time, and never in step with the other nodes."""
    return float(min(0.5 * 1.6**tries, 3.0) * random.uniform(0.8, 1.2))  # noqa: S311  # jitter, not a secret


class Session(PyghmiSession):
    """One RMCP+ session of one thread; every wait ends at the deadline."""

    ipmicallback: Callable[[dict[str, Any]], None]
    privlevel: int

    def __new__(cls, *_args: Any, **_kwargs: Any) -> Session:
        return object.__new__(cls)  # pyghmi would look for a session to share

    def __init__(self, node: Node, deadline: Deadline) -> None:
        self.node, self.deadline = node, deadline
        self.forbidsock = ()
        known = _suite_of.get((node.address, node.port))
        self.suites = [known] if known else list(SUITES)
        self.heard = self.established = False
        self.refusals: list[str] = []
        self.status = 0  # of the last RAKP message
        self.answer: dict[str, Any] | None = None
        self.replies: list[tuple[Callable[[dict[str, Any]], None], dict[str, Any]]] = []
        super().__init__(node.address, node.username, node.password, node.port, onlogon=self.onlogon)

    # The socket

    def _assignsocket(self, **_unused: Any) -> socket.socket:
        """A socket for this BMC alone; connected, so that the kernel drops others' packets and tells of ICMP errors."""
        try:
            found = socket.getaddrinfo(self.node.address, self.node.port, type=socket.SOCK_DGRAM)
        except (OSError, UnicodeError) as err:
            raise BmcError("bmc_unreachable", f"the address {self.node.address} cannot be resolved: {err}") from err
        error: OSError | None = None
        for family, kind, proto, _name, sockaddr in found:
            sock = socket.socket(family, kind, proto)
            try:
                sock.connect(sockaddr)
            except OSError as err:
                error = err
                sock.close()
            else:
                return sock
        raise BmcError("bmc_unreachable", f"no route to {self.node.address}: {error}")

    def _xmit_packet(self, retry: bool = True, delay_xmit: float | None = None, timeout: float | None = None) -> None:
        if self.sequencenumber:
            self.sequencenumber += 1
        try:
            self.socket.send(self.netpacket)
        except OSError as err:
            self._refused(err)

    def _refused(self, err: OSError) -> None:
        self.refusals.append(err.strerror or str(err))
        if len(self.refusals) >= REFUSALS and not self.heard:
            raise BmcError(
                "bmc_unreachable", f"nothing answers at {self.node.address} UDP port {self.node.port}: {err.strerror}"
            )

    def _receive(self, until: float) -> bool:
        """Take in one packet; False when there was none until then."""
        if self.deadline.left() <= 0:
            raise BmcError("bmc_timeout" if self.heard else "bmc_unreachable", self._silence())
        left = min(until, self.deadline.at) - time.monotonic()
        if left <= 0:
            return False
        self.socket.settimeout(left)
        try:
            data = bytearray(self.socket.recv(4096))
        except TimeoutError:
            return False
        except OSError as err:
            self._refused(err)
            return True
        if len(data) > 16 and data[0] == 6 and data[2:4] == b"\xff\x07":
            self.heard = True
            # A mangled packet is a lost packet: it will be asked for again.
            with contextlib.suppress(IndexError, struct.error, ValueError):
                self._handle_ipmi_packet(data, qent=(None, None, None))
                while self.replies:
                    callback, response = self.replies.pop(0)
                    callback(response)
        return True

    def _parse_payload(self, payload: bytearray) -> None:
        """Put the callback off: pyghmi forgets a request that is made within one."""
        callback = self.ipmicallback
        self.ipmicallback = lambda response: self.replies.append((callback, response))
        super()._parse_payload(payload)

    def _silence(self) -> str:
        where = f"{self.node.address} UDP port {self.node.port}"
        if not self.heard:
            return f"nothing answers at {where}"
        step = {"OPENSESSION": "Open Session", "EXPECTINGRAKP2": "RAKP 1", "EXPECTINGRAKP4": "RAKP 3"}
        return f"the BMC at {where} fell silent after {step.get(self.sessioncontext, 'a command')}"

    # Logging on: pyghmi answers what comes in, we say what silence and refusals mean

    def _initsession(self) -> None:
        super()._initsession()
        self.attemptedhash = SUITES[self.suites[0]][0]

    def login(self) -> None:
        super().login()
        self.logontries = 0  # no second guesses by pyghmi

    def establish(self) -> None:
        contact = self.deadline.cut(CONTACT)
        context, tries = self.sessioncontext, 0
        restarts = 0
        resend = time.monotonic() + _pause(0)
        while not self.established:
            if self._receive(resend):
                if self.sessioncontext != context:
                    context, tries = self.sessioncontext, 0
                    resend = time.monotonic() + _pause(0)
                continue
            if not self.heard and contact.left() <= 0:
                raise BmcError("bmc_unreachable", self._silence())
            tries += 1
            restarts += self.heard
            if restarts > LOGON_TRIES:
                raise BmcError("bmc_timeout", self._silence(), again=True)
            if context == "OPENSESSION" and tries >= SUITE_TRIES and len(self.suites) > 1:
                self._next_suite("no answer")
                tries = 0
            elif context is None:
                self.send_payload()
            else:
                # A BMC may take a repeated RAKP message amiss: begin anew, under a new session id.
                self.lastpayload = None
                self._open_rmcpplus_request()
                context = self.sessioncontext
            resend = time.monotonic() + _pause(tries)
        _suite_of[self.node.address, self.node.port] = self.suites[0]

    def _next_suite(self, why: str) -> None:
        refused = self.suites.pop(0)
        if not self.suites:
            self.suites = [refused]
            raise BmcError("bmc_cipher", f"the BMC takes neither cipher suite 17 nor 3 (suite {refused}: {why})")
        self.attemptedhash = SUITES[self.suites[0]][0]
        self.lastpayload = None
        self._open_rmcpplus_request()

    def _got_channel_auth_cap(self, response: dict[str, Any]) -> None:
        data = response.get("data", ())
        ipmi20 = len(data) > 3 and data[1] & 0x80 and data[3] & 0x02
        if not response.get("code") and not ipmi20 and not self.node.allow_ipmi15:
            raise BmcError("bmc_cipher", "the BMC offers IPMI 1.5 only, which allow_ipmi15 does not allow")
        super()._got_channel_auth_cap(response)

    def _got_rmcp_response(self, data: bytearray) -> None:
        if self.sessioncontext != "OPENSESSION" or data[0] != self.rmcptag:
            return
        if data[1] in (NO_SESSION, NO_ROLE_SESSION):
            raise BmcError("bmc_no_session", "the BMC has no free session", again=True)
        if data[1]:
            self._next_suite(f"status 0x{data[1]:02x}")
        elif (data[16], data[24], data[32]) != SUITES[self.suites[0]][1]:
            self._next_suite("it confirmed other algorithms than those proposed")
        else:
            super()._got_rmcp_response(data)

    def _got_rakp2(self, data: bytearray) -> None:
        if data[0] == self.rmcptag:
            self.status = data[1]
            if data[1] == NO_PRIVLEVEL and self.privlevel == ADMINISTRATOR:
                self.privlevel = OPERATOR
                self.login()
                return
        super()._got_rakp2(data)

    def _got_rakp4(self, data: bytearray) -> None:
        if data[0] == self.rmcptag:
            self.status = data[1]
        super()._got_rakp4(data)

    def onlogon(self, parameter: dict[str, Any]) -> None:
        if "error" not in parameter:
            self.established = True
        elif self.logged or self.status in (NO_ROLE, NO_PRIVLEVEL):
            raise BmcError("bmc_privilege", "the account may be neither administrator nor operator on the BMC")
        elif self.sessioncontext == "FAILED" or self.status in (NO_NAME, NO_INTEGRITY):
            raise BmcError("bmc_auth", "the BMC refused the credentials")
        elif self.status in (NO_SESSION, NO_ROLE_SESSION):
            raise BmcError("bmc_no_session", "the BMC has no free session", again=True)
        else:
            raise BmcError("bmc_protocol", f"logging on to the BMC failed: {parameter['error']}", again=True)

    # IPMI 1.5, which pyghmi's Python 3 port left broken (it adds str to bytes)

    def _ipmi15authcode(self, payload: Sequence[int], checkremotecode: bool = False) -> bytes:
        import hashlib

        if not self.authtype:
            return b""
        number = self.remseqnumber if checkremotecode else self.sequencenumber
        secret = self.password.ljust(16, b"\0")
        body = secret + struct.pack("<I", self.sessionid) + bytes(payload) + struct.pack("<I", number) + secret
        return hashlib.md5(body).digest()  # noqa: S324  # the protocol's; only with allow_ipmi15

    def _get_session_challenge(self) -> None:
        self.ipmicallback = self._got_session_challenge
        self._send_ipmi_net_payload(APP, 0x39, bytearray([2]) + self.userid.ljust(16, b"\0"))

    # Commands

    def raw_command(self, netfn: int, command: int, data: Sequence[int] = (), **_unused: Any) -> dict[str, Any]:
        return self.ask(netfn, command, data)

    def _answered(self, response: dict[str, Any]) -> None:
        self.answer = response

    def ask(self, netfn: int, command: int, data: Sequence[int] = (), *, once: bool = False) -> dict[str, Any]:
        """Send a request until it is answered; `once`: send it a single time and wait longer."""
        for tries in range(1 if once else COMMAND_TRIES):
            until = time.monotonic() + (ONCE if once else _pause(tries))
            if not tries:
                self.answer = None
                self.lastpayload = None
                self.request_entry.clear()
                self.ipmicallback = self._answered
                self._send_ipmi_net_payload(netfn, command, data, retry=True)
            else:
                self.send_payload()
            while self.answer is None and self._receive(until):
                pass
            if self.answer is not None:
                return self.answer
        raise BmcError("bmc_timeout", self._silence(), again=True)

    def close(self) -> None:
        """Give the session back: a BMC has few, and keeps a forgotten one for a minute."""
        try:
            if self.logged:
                self.deadline = Deadline(1.0)  # also after the node's own deadline
                self.ask(APP, 0x3C, struct.pack("<I", self.sessionid))
        except BmcError:
            pass  # it was said; the BMC drops the session by itself
        finally:
            PyghmiSession.keepalive_sessions.pop(self, None)
            self.socket.close()


class IpmiBmc(Bmc):
    """The driver: IPMI 2.0 (and 1.5 where allowed) through raw chassis commands."""

    def __init__(self, node: Node, session: Session) -> None:
        self.node, self.session = node, session

    @classmethod
    def faults(cls, node: Node) -> list[str]:
        longest = 16 if node.allow_ipmi15 else 20
        faults = []
        if len(node.username.encode()) > 16:
            faults.append("username is longer than the 16 bytes of IPMI")
        if len(node.password.encode()) > longest:
            faults.append(f"the secret is longer than the {longest} bytes of IPMI")
        return faults

    @classmethod
    def connect(cls, node: Node, deadline: Deadline) -> IpmiBmc:
        session = Session(node, deadline)
        try:
            session.establish()
        except BaseException:
            session.close()
            raise
        return cls(node, session)

    def __enter__(self) -> IpmiBmc:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, err: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.session.close()

    def _command(self, netfn: int, command: int, data: Sequence[int] = (), *, once: bool = False) -> bytes:
        answer = self.session.ask(netfn, command, data, once=once)
        while answer["code"] == BUSY and self.session.deadline.left() > 1:
            self.session.deadline.sleep(random.uniform(0.3, 1.0))  # noqa: S311  # jitter, not a secret
            answer = self.session.ask(netfn, command, data, once=once)
        code = answer["code"]
        if code == NO_PRIVILEGE:
            raise BmcError("bmc_privilege", "the account's privilege on the BMC does not suffice")
        if code:
            said = ipmi_completion_codes.get(code, "no known meaning")
            raise BmcError("bmc_refused", f"the BMC answered 0x{code:02x} ({said})")
        return bytes(answer["data"])

    def power(self) -> Power:
        data = self._command(CHASSIS, 0x01)
        if not data:
            raise BmcError("bmc_protocol", "the BMC's chassis status is empty")
        return "on" if data[0] & 1 else "off"

    def set_power(self, action: Action) -> None:
        self._command(CHASSIS, 0x02, [CONTROL[action]], once=action in ("reset", "cycle", "soft_off"))

    def _boot_option(self, number: int) -> bytes:
        data = self._command(CHASSIS, 0x09, [number, 0, 0])
        if len(data) < 3 or data[1] & 0x7F != number:
            raise BmcError("bmc_protocol", f"the BMC's boot option {number} makes no sense: {data.hex()}")
        return data[2:]

    def boot(self) -> Boot:
        flags = self._boot_option(5)
        try:
            kept = bool(self._boot_option(3)[0] & 0x08)
        except BmcError as err:
            if err.code not in ("bmc_refused", "bmc_protocol"):
                raise
            kept = True  # a BMC without this option has no timer to switch off
        number = flags[1] >> 2 & 0x0F if len(flags) > 1 else 0
        valid, persistent = bool(flags[0] & 0x80), bool(flags[0] & 0x40)
        device = DEVICES.get(number, f"vendor_{number}")
        return Boot(device, persistent, bool(flags[0] & 0x20), valid, expires=valid and not kept)

    def set_boot(self, boot: Boot) -> None:
        """Raw flags, so that efi and persistent combine (ipmitool lets one option undo the other)."""
        answer = self.session.ask(CHASSIS, 0x08, [3, 0x08])  # keep the flags beyond 60 s without a power command
        if answer["code"] and answer["code"] not in UNSUPPORTED:
            raise BmcError("bmc_refused", f"the BMC answered 0x{answer['code']:02x} to boot option 3")
        flags = 0x80 | 0x40 * boot.persistent | 0x20 * boot.efi
        self._command(CHASSIS, 0x08, [5, flags, DEVICE_NUMBERS[boot.device] << 2, 0, 0, 0])

    def info(self) -> dict[str, Any]:
        data = self._command(APP, 0x01)
        if len(data) < 11:
            raise BmcError("bmc_protocol", f"the BMC's device id makes no sense: {data.hex()}")
        session = self.session
        return {
            "firmware": f"{data[2] & 0x7F}.{data[3]:02x}",
            "protocol": f"IPMI {data[4] & 0x0F}.{data[4] >> 4}",
            "manufacturer_id": int.from_bytes(data[6:9], "little"),
            "product_id": int.from_bytes(data[9:11], "little"),
            "cipher_suite": session.suites[0] if session.ipmiversion == 2.0 else None,
            "privilege": "administrator" if session.privlevel == ADMINISTRATOR else "operator",
        }
