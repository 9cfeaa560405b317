# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 the seedcloud.openstack authors
"""Option files as data: layers are merged option by option and written as INI."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

# A section as oslo.config, uwsgi, MariaDB and rabbitmq.conf ("") know it; an option may hold dots, dashes and colons.
SECTION = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:/@ -]*|")
OPTION = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:/-]*")

Config = dict[str, dict[str, Any]]


def merge(layers: Sequence[Any]) -> Config:
    """Later layers win, option by option; None takes an option or a whole section away. Raises ValueError."""
    merged: Config = {}
    for layer in layers:
        if not isinstance(layer, Mapping):
            raise ValueError(f"a layer must be a mapping of sections, not {layer!r}")
        for section, options in layer.items():
            if options is None:
                merged.pop(section, None)
            elif not isinstance(options, Mapping):
                raise ValueError(f"[{section}] must be a mapping of options, not {options!r}")
            else:
                merged.setdefault(section, {}).update(options)
    return merged


def _scalar(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (str, int, float)):
        text = str(value)
        if "\n" in text or "\r" in text:
            raise ValueError("a value cannot hold a line break")
        return text
    raise ValueError(f"{value!r} is neither a scalar nor a list, nor {{multi: [...]}}")


def _values(value: Any) -> list[str]:
    """The values under which the option is written: one, or one a repetition."""
    if isinstance(value, Mapping):
        if set(value) != {"multi"} or not isinstance(value["multi"], (list, tuple)):
            raise ValueError("a mapping must be {multi: [...]}")
        return [_scalar(item) for item in value["multi"]]
    if isinstance(value, (list, tuple)):
        return [",".join(_scalar(item) for item in value)]
    return [_scalar(value)]


def render(config: Config) -> str:
    """Write merged layers as INI. Raises ValueError with every fault on a line of its own."""
    faults: list[str] = []
    blocks: list[str] = []
    for section in sorted(config, key=lambda name: (name != "", name != "DEFAULT")):  # stable: else as written
        if not isinstance(section, str) or not SECTION.fullmatch(section):
            faults.append(f"{section!r} is no name for a section")
            continue
        lines = [f"[{section}]"] if section else []
        for option, value in config[section].items():
            if value is None:
                continue
            if not isinstance(option, str) or not OPTION.fullmatch(option):
                faults.append(f"[{section}] {option!r} is no name for an option")
                continue
            try:
                lines += [f"{option} = {text}".rstrip() for text in _values(value)]
            except ValueError as error:
                faults.append(f"[{section}] {option}: {error}")
        if len(lines) > bool(section):
            blocks.append("\n".join(lines) + "\n")
    if faults:
        raise ValueError("\n".join(faults))
    return "\n".join(blocks)
