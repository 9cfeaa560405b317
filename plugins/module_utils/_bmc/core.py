# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 the seedcloud.openstack authors
"""What a BMC is to the rest: nodes, the driver interface, and the errors a node can end in."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol

if TYPE_CHECKING:
    from types import TracebackType

Power = Literal["on", "off"]
Action = Literal["on", "off", "soft_off", "reset", "cycle"]

# The documented codes; the doc fragment lists the same (a unit test compares them).
CODES = {
    "bmc_unreachable": "nothing answered at the BMC's address and port",
    "bmc_auth": "the BMC refused the credentials",
    "bmc_privilege": "the account may not do what was asked",
    "bmc_no_session": "the BMC had no free session until the deadline",
    "bmc_cipher": "no common cipher suite, or only IPMI 1.5 and that is not allowed",
    "bmc_timeout": "the BMC or the node did not get there before the deadline",
    "bmc_refused": "the BMC answered that it does not do this",
    "bmc_mismatch": "what was read back is not what was set",
    "bmc_protocol": "the BMC's answer makes no sense",
    "bmc_internal": "a fault in this collection, reported for the node that met it",
}


class BmcError(Exception):
    """Why a node failed. `again`: a new session may well succeed."""

    def __init__(self, code: str, msg: str, *, again: bool = False) -> None:
        super().__init__(msg)
        self.code = code
        self.msg = msg
        self.again = again


class MissingLibraryError(Exception):
    """A Python library that a driver needs is not on this host."""

    def __init__(self, name: str, trace: str | None) -> None:
        super().__init__(name)
        self.name = name
        self.trace = trace


class Deadline:
    """A point in time; `cut` takes a piece off it that never reaches beyond."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.at = time.monotonic() + seconds

    def left(self) -> float:
        return self.at - time.monotonic()

    def cut(self, seconds: float) -> Deadline:
        piece = Deadline(seconds)
        piece.at = min(piece.at, self.at)
        return piece

    def sleep(self, seconds: float) -> None:
        time.sleep(max(0.0, min(seconds, self.left())))


@dataclass(frozen=True)
class Node:
    name: str
    address: str
    username: str
    password: str = field(repr=False)
    port: int = 623
    driver: str = "ipmi"
    allow_ipmi15: bool = False


@dataclass(frozen=True)
class Boot:
    """A boot override. `expires`: the BMC will drop it by itself within a minute."""

    device: str
    persistent: bool = False
    efi: bool = False
    valid: bool = True
    expires: bool = False

    def shown(self) -> dict[str, Any]:
        return {"device": self.device, "persistent": self.persistent, "efi": self.efi, "valid": self.valid}


class Bmc(Protocol):
    """One open session with one BMC. Every method ends before the node's deadline, by BmcError if need be."""

    @classmethod
    def faults(cls, node: Node) -> list[str]:
        """What is wrong with this node's arguments, as this driver sees it."""

    @classmethod
    def connect(cls, node: Node, deadline: Deadline) -> Bmc: ...

    def __enter__(self) -> Bmc: ...

    def __exit__(
        self, kind: type[BaseException] | None, err: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def power(self) -> Power: ...

    def set_power(self, action: Action) -> None:
        """Ask for it. `reset` and `cycle` are sent at most once, whatever is lost on the way."""

    def boot(self) -> Boot: ...

    def set_boot(self, boot: Boot) -> None: ...

    def info(self) -> dict[str, Any]: ...
