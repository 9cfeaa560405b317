# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 the seedcloud.openstack authors
"""What all services of a cloud share, seen from the node records."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

BACKEND_OFFSET = 20000  # an API listens on its port + this, HAProxy on the port; stays below the ephemeral range


def host(address: str) -> str:
    """An address as it stands in a URL."""
    return f"[{address}]" if ":" in address else address


def cloud_view(
    records: Sequence[Mapping[str, Any]],
    networks: Mapping[str, Any],
    *,
    region: str,
    domain: str,
    internal_address: str | None = None,
    public_address: str | None = None,
) -> dict[str, Any]:
    """The `cloud` of the templates."""
    controllers = [record for record in records if "controller" in record["roles"]]
    if not controllers:
        raise ValueError("no node is a controller")
    first = controllers[0]["addresses"]
    internal = internal_address or first["internal"]
    public = public_address or first["public"] or internal
    return {
        "region": region,
        "domain": domain,
        "networks": dict(networks),
        "controllers": controllers,
        "computes": [record for record in records if "compute" in record["roles"]],
        "internal_address": internal,
        "public_address": public,
        "memcached_servers": [f"{host(record['addresses']['internal'])}:11211" for record in controllers],
        "database": f"{host(internal)}:3306",
        "queue": f"{host(internal)}:5672",
        "keystone_url": f"http://{host(internal)}:5000/v3",
        "backend_offset": BACKEND_OFFSET,
        "auth": {
            "auth_type": "password",
            "auth_url": f"http://{host(internal)}:5000/v3",
            "project_domain_name": "Default",
            "user_domain_name": "Default",
            "project_name": "service",
            "region_name": region,
        },
    }
