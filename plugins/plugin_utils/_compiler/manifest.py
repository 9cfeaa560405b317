# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 the seedcloud.openstack authors
"""What a manifest may say (docs/manifest.md), checked key by key: a misspelt field is a fault, not a silence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .ini import FORMS

ROLES = frozenset({"controller", "compute"})


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# field -> (required keys, all keys) of its items; "*" stands for the manifest itself
FIELDS: dict[str, tuple[frozenset[str], frozenset[str]]] = {
    "*": (
        _words("name where"),
        _words("name where after packages secrets databases queue directories files steps units frontends identity"),
    ),
    "secrets": (_words("kind"), _words("kind where")),
    "databases": (_words("user password"), _words("user password")),
    "directories": (_words("path"), _words("path owner group mode where")),
    "files": (_words("path"), _words("path owner group mode content state validate where") | FORMS.keys()),
    "steps": (
        _words("name argv"),
        _words("name argv ovsdb user env stdin first key versions unless phase after timeout where"),
    ),
    "ovsdb": (_words("record columns"), _words("record columns")),
    "units": (_words("name"), _words("name reads action state enabled phase after health timeout where")),
    "frontends": (_words("port"), _words("port check options tcp")),
    "queue": (_words("user password"), _words("user password vhost")),
    "identity": (_words(""), _words("users services")),
}
_BODIES = ("content", *FORMS, "state")
SECRET_KINDS = frozenset({"hex", "fernet", "base64"})


def _is_for(item: Any, roles: Sequence[str]) -> bool:
    return not (isinstance(item, Mapping) and "where" in item and not set(item["where"]) & set(roles))


def prune(raw: Any, roles: Sequence[str]) -> Any:
    """Drop list items that are `where` this node is not. Works on unrendered data, so that they are never rendered."""
    if isinstance(raw, Mapping):
        return {key: prune(value, roles) for key, value in raw.items()}
    if isinstance(raw, (list, tuple)):
        return [prune(item, roles) for item in raw if _is_for(item, roles)]
    return raw


def faults(manifest: Mapping[str, Any]) -> list[str]:
    """Everything that is wrong with a rendered manifest's shape."""
    found: list[str] = []
    name = manifest.get("name", "?")

    def check(where: str, item: Any, field: str) -> None:
        required, known = FIELDS[field]
        if not isinstance(item, Mapping):
            found.append(f"{where}: must be a mapping, not {item!r}")
            return
        found.extend(f"{where}: {key!r} is not known" for key in item if key not in known)
        found.extend(f"{where}: {key!r} is missing" for key in sorted(required - set(item)))
        if "where" in item and not (isinstance(item["where"], list) and set(item["where"]) <= ROLES):
            found.append(f"{where}: 'where' must be a list of {sorted(ROLES)}")

    check(name, manifest, "*")
    for field in ("queue", "identity"):
        if field in manifest:
            check(f"{name}.{field}", manifest[field], field)
    for field in ("secrets", "databases", "frontends"):
        for key, item in (manifest.get(field) or {}).items():
            check(f"{name}.{field}.{key}", item, field)
    for field in ("directories", "files", "steps", "units"):
        for item in manifest.get(field) or []:
            label = item.get("path") or item.get("name") if isinstance(item, Mapping) else "?"
            check(f"{name}.{field}.{label}", item, field)
    for step in manifest.get("steps") or []:
        if isinstance(step, Mapping) and "ovsdb" in step:
            check(f"{name}.steps.{step.get('name')}.ovsdb", step["ovsdb"], "ovsdb")
    for key, item in (manifest.get("secrets") or {}).items():
        if isinstance(item, Mapping) and item.get("kind") not in SECRET_KINDS:
            found.append(f"{name}.secrets.{key}: kind must be one of {sorted(SECRET_KINDS)}")
    found.extend(
        f"{name}.files.{item.get('path')}: give one of {', '.join(_BODIES)}"
        for item in manifest.get("files") or []
        if isinstance(item, Mapping) and sum(key in item for key in _BODIES) != 1
    )
    return found


def items(manifests: Sequence[Mapping[str, Any]]) -> set[str]:
    """The graph's nodes by name, on whatever host they are: what `after` may name."""
    found = set()
    for manifest in manifests:
        names = ["files", "database", "queue", "identity", "ready"]
        for field in ("steps", "units"):
            names += [
                item["name"] for item in manifest.get(field) or [] if isinstance(item, Mapping) and "name" in item
            ]
        found |= {f"{manifest['name']}:{name}" for name in names}
    return found
