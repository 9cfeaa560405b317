# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 the seedcloud.openstack authors
"""Secrets in templates and plans: markers that the module replaces on the host."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

# As written, as urlencode leaves it, and in the form of which RabbitMQ keeps a password's hash.
MARKER = re.compile(r"(?:<secret:|%3Csecret%3A|<rabbitmq_hash:)([A-Za-z_][A-Za-z0-9_]*)(?:>|%3E)")


def marker(name: str) -> str:
    """What stands for a secret until the module writes it."""
    return f"<secret:{name}>"


def names(data: Any) -> Iterator[str]:
    """The secrets that are used anywhere in the data."""
    if isinstance(data, str):
        yield from MARKER.findall(data)
    elif isinstance(data, Mapping):
        for key, value in data.items():
            yield from names(key)
            yield from names(value)
    elif isinstance(data, (list, tuple)):
        for item in data:
            yield from names(item)


def catalogue(manifests: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Every declared secret: its kind, and on which nodes it may be."""
    found: dict[str, dict[str, Any]] = {}
    for manifest in manifests:
        where = list(manifest.get("where") or [])
        default = [role for role in where if role != "compute"] or where
        for name, item in (manifest.get("secrets") or {}).items():
            found[name] = {"kind": item["kind"], "where": item.get("where", default)}
    return found
