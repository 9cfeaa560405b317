# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 the seedcloud.openstack authors
"""The system boot options of a BMC, as IPMI 2.0 (28.12, 28.13) has them."""

from __future__ import annotations

import json
import time
from pathlib import Path

DEFAULT_ORDER = ("disk", "network")
# Boot device selectors of IPMI 2.0, table 28-14, that this machine can follow.
ORDERS = {0x1: ("network", "disk"), 0x2: ("disk", "network"), 0x3: ("disk", "network")}
FLAG_VALID, FLAG_PERSISTENT = 0x80, 0x40
KEEP_ON_TIMEOUT = 0x08
FLAG_SECONDS = 60.0

# The parameters that can be written, with the length of their data.
PARAMETERS = {0: 1, 1: 1, 2: 1, 3: 1, 4: 2, 5: 5}


class BootOptions:
    """The system boot options, kept over restarts of the BMC as in its non-volatile memory."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.data = {number: [0] * length for number, length in PARAMETERS.items()}
        self.expires: float | None = None
        if path.exists():
            self.data |= {int(k): v for k, v in json.loads(path.read_text(encoding="ascii")).items()}

    def write(self, number: int, data: list[int]) -> None:
        self.data[number] = data
        if number == 5:
            self.restart_timer()
        self.save()

    def save(self) -> None:
        temporary = self.path.with_suffix(".new")
        temporary.write_text(json.dumps(self.data), encoding="ascii")
        temporary.replace(self.path)

    @property
    def valid(self) -> bool:
        return bool(self.data[5][0] & FLAG_VALID)

    def restart_timer(self) -> None:
        self.expires = time.monotonic() + FLAG_SECONDS

    def expire(self) -> bool:
        """Drop a one-time flag whose time is over; say whether one was dropped."""
        late = self.expires is not None and time.monotonic() > self.expires
        once = self.valid and not self.data[5][0] & FLAG_PERSISTENT
        if not (late and once) or self.data[3][0] & KEEP_ON_TIMEOUT:
            return False
        self.data[5][0] &= ~FLAG_VALID
        self.save()
        return True

    def order(self) -> tuple[str, ...]:
        selector = self.data[5][1] >> 2 & 0xF
        return ORDERS.get(selector, DEFAULT_ORDER) if self.valid else DEFAULT_ORDER

    def booted(self) -> None:
        """A boot took place: it used up the one-time flag."""
        if self.valid and not self.data[5][0] & FLAG_PERSISTENT:
            self.data[5][0] &= ~FLAG_VALID
            self.save()
