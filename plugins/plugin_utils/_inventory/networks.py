# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 the seedcloud.openstack authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Networks by role: fallbacks applied, every default written out."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from typing import Any

FALLBACKS = {"provisioning": None, "internal": "provisioning", "tunnel": "internal", "public": "internal"}
ROLES = (*FALLBACKS, "provider", "bmc")
PROVIDER_DEFAULTS = {"allocation": None, "physical_network": "provider", "name": "public"}


def network_roles(defined: Mapping[str, Any]) -> dict[str, str | None]:
    """role -> the defined network that serves it (None: there is none)."""
    serves: dict[str, str | None] = {}
    for role, fallback in FALLBACKS.items():
        serves[role] = role if defined.get(role) else serves.get(fallback or "")
    return serves | {role: role if defined.get(role) else None for role in ("provider", "bmc")}


def network_map(defined: Mapping[str, Any]) -> dict[str, dict[str, Any] | None]:
    """role -> network, `None` where the rack has none. `network` names the definition it came from."""

    def resolve(name: str) -> dict[str, Any]:
        given = {key: value for key, value in defined[name].items() if value is not None}
        cidr = ipaddress.ip_network(given["cidr"])
        defaults: dict[str, Any] = {"gateway": None, "vlan": None, "mtu": 1500, "dns": []}
        if name == "provider":
            defaults |= PROVIDER_DEFAULTS
        return defaults | given | {"network": name, "cidr": str(cidr), "prefix": cidr.prefixlen}

    resolved = {name: resolve(name) for name in ROLES if defined.get(name)}
    return {role: resolved[name] if name else None for role, name in network_roles(defined).items()}
