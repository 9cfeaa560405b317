# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 the seedcloud.openstack authors
"""The service roles of this collection, read as data: no role is included to compile it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

ROLES = Path(__file__).resolve().parents[3] / "roles"

Load = Callable[[str], Any]


def load(load_file: Load, roles: Path = ROLES) -> tuple[dict[str, Any], dict[str, Any], dict[str, Mapping[str, Any]]]:
    """Defaults and vars of all roles that hold a manifest, and their manifests by name, all unrendered."""
    defaults: dict[str, Any] = {}
    variables: dict[str, Any] = {}
    manifests: dict[str, Mapping[str, Any]] = {}
    for path in sorted(roles.glob("*/vars/main.yml")):
        name = path.parent.parent.name
        data = load_file(str(path)) or {}
        manifest = data.get(f"__{name}_manifest")
        if manifest is None:
            continue
        manifests[name] = manifest
        variables |= data
        if (path := roles / name / "defaults" / "main.yml").exists():
            defaults |= load_file(str(path)) or {}
    return defaults, variables, manifests
