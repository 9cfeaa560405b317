# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 the seedcloud.openstack authors
"""External networks as they should be: made when missing, brought in line where Neutron allows it."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from typing import Any

from .pool import address_of, pool_fault


class NetworkError(Exception):
    """The network is there, and another one than was asked for."""


def spec_fault(spec: Mapping[str, Any]) -> str | None:
    """What is wrong with what was asked for, and its mend, before the cloud is asked."""
    try:
        net = ipaddress.ip_network(spec["cidr"])
    except ValueError as error:
        return f"cidr: is no network ({error}). Write it as 203.0.113.0/24"
    if spec["allocation"] is None:
        return None
    found = pool_fault(spec["allocation"], net, address_of(spec["gateway"]))
    return "allocation: {}. {}".format(*found) if found else None


def wanted_network(spec: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """What may never change afterwards, and what may."""
    vlan = spec["vlan"]
    fixed = {
        "provider_physical_network": spec["physical_network"],
        "provider_network_type": "flat" if vlan is None else "vlan",
        "provider_segmentation_id": vlan,
    }
    return fixed, {"is_router_external": True, "mtu": spec["mtu"]}


def wanted_subnet(spec: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The same of its subnet."""
    loose: dict[str, Any] = {"gateway_ip": spec["gateway"], "dns_nameservers": list(spec["dns"])}
    if spec["allocation"]:
        loose["allocation_pools"] = [dict(zip(("start", "end"), spec["allocation"], strict=True))]
    return {"cidr": spec["cidr"], "is_dhcp_enabled": False}, loose


def difference(item: Any, wanted: Mapping[str, Any]) -> dict[str, Any]:
    """What of it the item has not."""
    return {key: value for key, value in wanted.items() if getattr(item, key) != value}


def all_of_it(spec: Mapping[str, Any]) -> dict[str, Any]:
    """What `ensure` changes where there is nothing yet."""
    wanted = {"network": wanted_network(spec), "subnet": wanted_subnet(spec)}
    return {
        kind: {"before": None, "after": {"name": spec["name"], **fixed, **loose}}
        for kind, (fixed, loose) in wanted.items()
    }


def ensure(cloud: Any, spec: Mapping[str, Any], check: bool) -> dict[str, Any]:
    """Make it so. Returns what changed, as before and after."""
    network_api = cloud.network
    fixed, loose = wanted_network(spec)
    name = spec["name"]
    found = list(network_api.networks(name=name, is_router_external=True))
    if len(found) > 1:
        raise NetworkError(f"there are {len(found)} external networks {name!r}")
    changes: dict[str, Any] = {}
    network = found[0] if found else None
    if network is None:
        if check:
            return all_of_it(spec)
        changes["network"] = all_of_it(spec)["network"]
        given = {key: value for key, value in fixed.items() if value is not None}
        network = network_api.create_network(name=name, **given, **loose)
    else:
        if wrong := difference(network, fixed):
            raise NetworkError(f"the network {name!r} is another one: {_told(network, wrong)}; remove or rename it")
        if differing := difference(network, loose):
            changes["network"] = _change(network, differing)
            if not check:
                network_api.update_network(network, **differing)
    fixed, loose = wanted_subnet(spec)
    subnet = next(iter(network_api.subnets(network_id=network.id, ip_version=6 if ":" in spec["cidr"] else 4)), None)
    if subnet is None:
        changes["subnet"] = all_of_it(spec)["subnet"]
        if not check:
            version = 6 if ":" in spec["cidr"] else 4
            network_api.create_subnet(name=name, network_id=network.id, ip_version=version, **fixed, **loose)
    else:
        if wrong := difference(subnet, fixed):
            raise NetworkError(f"the subnet of {name!r} is another one: {_told(subnet, wrong)}; remove it")
        if differing := difference(subnet, loose):
            changes["subnet"] = _change(subnet, differing)
            if not check:
                network_api.update_subnet(subnet, **differing)
    return changes


def _told(item: Any, wrong: Mapping[str, Any]) -> str:
    return ", ".join(f"{key} is {getattr(item, key)!r}, not {value!r}" for key, value in wrong.items())


def _change(item: Any, differing: Mapping[str, Any]) -> dict[str, Any]:
    return {"before": {key: getattr(item, key) for key in differing}, "after": dict(differing)}
