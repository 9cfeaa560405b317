# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 the seedcloud.openstack authors
"""The cloud's secrets: made once from the system's randomness, kept in one file that root alone reads."""

from __future__ import annotations

import base64
import json
import secrets
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from .._journal.files import Damaged, locked, read_json, write_atomic

_BYTES = 32
_MAKERS: dict[str, Callable[[bytes], str]] = {
    "hex": bytes.hex,
    "base64": lambda raw: base64.b64encode(raw).decode(),
    "fernet": lambda raw: base64.urlsafe_b64encode(raw).decode(),
}
KINDS = tuple(_MAKERS)


class SecretsFault(Exception):
    """The file of secrets cannot be used; never holds a secret."""


def _stored(path: Path) -> dict[str, str]:
    try:
        stored: Any = read_json(path)
    except Damaged:
        # Its words could quote what is in the file.
        raise SecretsFault(f"{path}: is not JSON; put back a copy of it, a new one would lock the cloud out") from None
    if stored is None:
        return {}
    if not isinstance(stored, dict) or not all(isinstance(value, str) and value for value in stored.values()):
        raise SecretsFault(f"{path}: is not a map of texts; put back a copy of it")
    return stored


def _missing(names: Mapping[str, str], stored: Mapping[str, str]) -> dict[str, str]:
    return {
        name: _MAKERS[kind](secrets.token_bytes(_BYTES)) for name, kind in sorted(names.items()) if name not in stored
    }


def have(root: Path, names: Mapping[str, str], check_mode: bool) -> tuple[dict[str, str], list[str]]:
    """A value for each name, and the names that were missing."""
    folder, path = root / "secrets", root / "secrets" / "secrets.json"
    stored = _stored(path)
    new = _missing(names, stored)
    if new and not check_mode:
        folder.mkdir(mode=0o700, exist_ok=True)
        with locked(folder / "lock"):
            stored = _stored(path)  # another run may have made some meanwhile
            new = _missing(names, stored)
            stored.update(new)
            write_atomic(path, json.dumps(stored, indent=2, sort_keys=True).encode() + b"\n", 0o600, durable=True)
    everything = {**stored, **new}
    return {name: everything[name] for name in names}, sorted(new)
