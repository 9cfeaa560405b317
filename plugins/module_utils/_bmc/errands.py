# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 the seedcloud.openstack authors
"""What the modules do to a node, by whatever driver: power, boot device, questions."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from ansible_collections.seedcloud.openstack.plugins.module_utils._bmc.core import Action, BmcError, Boot

if TYPE_CHECKING:
    from ansible_collections.seedcloud.openstack.plugins.module_utils._bmc.core import Bmc, Deadline, Power

CYCLE_SHOWS = 4.0  # seconds in which a cycling node is seen off; a BMC that shows it later is taken at its word
MARGIN = 0.5  # seconds before the deadline at which waiting ends, to say what was last seen


class PowerErrand:
    """Bring a node to a power state. It remembers what it has issued, so that a lost session repeats nothing."""

    def __init__(self, state: Action, soft_timeout: float, check: bool) -> None:
        self.state, self.soft_timeout, self.check = state, soft_timeout, check
        self.facts: dict[str, Any] = {"power": None, "changed": False}
        self.before: Power | None = None
        self.steps: list[Action] = []
        self.issued_at = 0.0  # when the first of the steps was issued; 0 before
        self.unanswered = self.seen_off = False
        self.forced = ""

    def __call__(self, bmc: Bmc, deadline: Deadline) -> str:
        now = self._read(bmc)
        if self.before is None:
            self.before = now
            self.steps = self._plan(now)
        if self.check and self.steps:
            self.facts.update(changed=True, power=_goal(self.steps[-1]))
            return f"is {now}, would be {_done(self.steps[-1])}"
        acted = bool(self.steps)
        while self.steps:
            self._step(bmc, deadline, self.steps[0])
            self.issued_at = 0.0
            self.steps.pop(0)
        self.facts["changed"] = self.state in ("reset", "cycle") or self.before != self.facts["power"]
        if not acted:
            return f"is {now} already"
        if self.state in ("reset", "cycle") and self.before == "on":
            return f"was {_done(self.state)}, is on"
        return f"was {self.before}, is {self.facts['power']}{self.forced}"

    def diff(self) -> tuple[dict[str, Any], dict[str, Any]]:
        done = {"done": self.state} if self.state in ("reset", "cycle") else {}
        return {"power": self.before}, {"power": self.facts["power"], **done}

    def _plan(self, now: Power) -> list[Action]:
        if self.state == "reset" and now == "off":
            raise BmcError("bmc_refused", "the node is off and a reset does not power it on; cycle does")
        if self.state == "cycle" and now == "off":
            return ["on"]
        return [] if self.state == now or (self.state, now) == ("soft_off", "off") else [self.state]

    def _read(self, bmc: Bmc) -> Power:
        now = bmc.power()
        self.facts["power"] = now
        return now

    def _step(self, bmc: Bmc, deadline: Deadline, action: Action) -> None:
        if not self.issued_at and not self._issue(bmc, action):
            return
        limit = deadline.left() - MARGIN
        if action == "soft_off":
            limit = min(limit, self.issued_at + self.soft_timeout - time.monotonic())
        if self._reached(bmc, deadline.cut(limit), action):
            return
        if action == "soft_off" and deadline.left() > MARGIN:
            self.forced = f" (forced: it did not shut down within {self.soft_timeout:g} s)"
            self.steps.insert(1, "off")
        elif self.unanswered:
            raise _lost(action)
        else:
            raise BmcError("bmc_timeout", f"the BMC accepted {action}, but the node is still {self.facts['power']}")

    def _issue(self, bmc: Bmc, action: Action) -> bool:
        """Send it; what is not idempotent counts as issued before it leaves. False: other steps stand in for it."""
        once = action in ("reset", "cycle", "soft_off")
        self.unanswered = False
        if once:
            self.issued_at = time.monotonic()
        try:
            bmc.set_power(action)
        except BmcError as err:
            if err.code == "bmc_refused" and action == "soft_off":
                self.forced = " (forced: the BMC refused soft_off)"
                self.steps.insert(1, "off")
                return False
            if err.code == "bmc_refused" and action == "cycle":
                self.steps[1:] = ["off", "on"]
                return False
            if err.code != "bmc_timeout":
                raise
            self.facts["changed"] = True  # it may have arrived all the same
            if not once:
                raise
            self.unanswered = True
            if action == "reset":
                raise _lost(action) from err
        self.facts["changed"] = True
        self.issued_at = time.monotonic()
        return True

    def _reached(self, bmc: Bmc, limit: Deadline, action: Action) -> bool:
        pause = 0.1
        while True:
            now = self._read(bmc)
            if action == "cycle":
                self.seen_off |= now == "off"
                shown = self.seen_off or (not self.unanswered and time.monotonic() - self.issued_at > CYCLE_SHOWS)
                if now == "on" and shown:
                    return True
            elif now == _goal(action):
                return True
            if limit.left() <= 0:
                return False
            limit.sleep(pause)
            pause = min(pause * 1.5, 1.0)


def _lost(action: Action) -> BmcError:
    return BmcError("bmc_timeout", f"{action} was sent once and not answered; not repeated, so look at the node")


def _goal(action: Action) -> Power:
    return "off" if action in ("off", "soft_off") else "on"


def _done(action: Action) -> str:
    return {"reset": "reset", "cycle": "cycled"}.get(action, _goal(action))


class BootErrand:
    """Set what a node boots from next (or from now on), and read it back."""

    def __init__(self, wanted: Boot, check: bool) -> None:
        self.wanted, self.check = wanted, check
        self.facts: dict[str, Any] = {"boot": None, "verified": False, "changed": False}
        self.before: Boot | None = None

    def __call__(self, bmc: Bmc, _deadline: Deadline) -> str:
        now = bmc.boot()
        self.facts["boot"] = now.shown()
        self.before = self.before or now
        if now != self.wanted and self.check:
            self.facts.update(boot=self.wanted.shown(), changed=True)
            return f"would boot from {self.wanted.device}"
        if now != self.wanted:
            self.facts["changed"] = True  # whatever is lost from here on
            bmc.set_boot(self.wanted)
            now = bmc.boot()
        self.facts.update(boot=now.shown(), changed=now != self.before, verified=now == self.wanted)
        if now.device != self.wanted.device:
            raise BmcError("bmc_mismatch", f"set to boot from {self.wanted.device}, the BMC reads {now.device}")
        if now != self.wanted:
            return f"boots from {now.device}; the BMC does not show all of the flags that were set"
        return f"boots from {now.device}"

    def diff(self) -> tuple[dict[str, Any], dict[str, Any]]:
        return {"boot": self.before and self.before.shown()}, {"boot": self.facts["boot"]}


class InfoErrand:
    """Ask a BMC what it is, and in what state its node."""

    def __init__(self) -> None:
        self.facts: dict[str, Any] = {"power": None, "boot": None, "info": None, "changed": False}

    def __call__(self, bmc: Bmc, _deadline: Deadline) -> str:
        self.facts["power"] = bmc.power()
        self.facts["info"] = bmc.info()
        try:
            self.facts["boot"] = bmc.boot().shown()
        except BmcError as err:
            if err.code != "bmc_refused":
                raise
            return f"is {self.facts['power']}; {err.msg} when asked for the boot device"
        return f"is {self.facts['power']}"

    def diff(self) -> tuple[dict[str, Any], dict[str, Any]]:
        return {}, {}
