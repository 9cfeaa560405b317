# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 the seedcloud.openstack authors
"""A record of Open vSwitch's or OVN's database as data: the command that sets it, and the one that asks whether it is so."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

from . import ini

COLUMNS = re.compile("external_ids|other_config|options")  # those that map texts to texts
KEYS = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")


def commands(tool: Sequence[str], record: str, layers: Sequence[Any]) -> tuple[list[str], list[str]]:
    """Empty where nothing is to be set. Raises ValueError with every fault on a line of its own."""
    faults: list[str] = []
    pairs: list[str] = []
    gone: list[tuple[str, str]] = []
    for column, settings in ini.merge(layers).items():
        if not COLUMNS.fullmatch(str(column)):
            faults.append(f"{column!r} is no name for a section")
            continue
        for key, value in settings.items():
            if not KEYS.fullmatch(str(key)):
                faults.append(f"[{column}] {key!r} is no name for an option")
            elif value is None:
                gone.append((column, key))
            else:
                try:
                    pairs.append(f"{column}:{key}={json.dumps(ini.text(value))}")
                except ValueError as error:
                    faults.append(f"[{column}] {key}: {error}")
    if faults:
        raise ValueError("\n".join(faults))
    if not pairs and not gone:
        return [], []
    done = [["set", record, ".", *pairs]] if pairs else []
    done += [["remove", record, ".", column, key] for column, key in gone]
    change = [word for command in done for word in ("--", *command)][1:]
    absent = [
        f"{column}:{key}{{=}}[]" for column, key in gone
    ]  # an empty set: = would pass over a record without the key
    return [*tool, *change], [*tool, "--timeout=2", "wait-until", record, ".", *pairs, *absent]
