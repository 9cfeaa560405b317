# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 the seedcloud.openstack authors
"""What ends an order, in the words that the seed and a person at the console get."""

from __future__ import annotations

from typing import Any


class AgentError(Exception):
    """An order that cannot be carried out. `hop` is where it stopped, `event` what is reported before `failed`."""

    def __init__(self, hop: str, msg: str, event: str | None = None, data: dict[str, Any] | None = None) -> None:
        super().__init__(msg)
        self.hop, self.msg, self.event, self.data = hop, msg, event, data or {}
