# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 the seedcloud.openstack authors
"""Addresses that a network may give away: told alike by the check of an inventory and by the module."""

from __future__ import annotations

import ipaddress
from typing import TypeAlias

Ip: TypeAlias = "ipaddress.IPv4Address | ipaddress.IPv6Address"
Net: TypeAlias = "ipaddress.IPv4Network | ipaddress.IPv6Network"


def address_of(value: object) -> Ip | None:
    try:
        return ipaddress.ip_address(value) if isinstance(value, str) else None
    except ValueError:
        return None


def is_edge(address: Ip, net: Net) -> bool:
    """Whether it is the network or broadcast address."""
    return net.version == 4 and net.num_addresses > 2 and address in (net.network_address, net.broadcast_address)


def pool_fault(ends: object, net: Net | None, gateway: Ip | None) -> tuple[str, str] | None:
    """What is wrong with an allocation pool, and its mend. Without a network only what can be said then."""
    mend = f"Write [first, last address], both in {net}" if net else "Write [first, last address]"
    if not isinstance(ends, (list, tuple)):
        return f"is no list but {type(ends).__name__}", mend
    if len(ends) != 2:
        return f"has {len(ends)} address{'' if len(ends) == 1 else 'es'}, not 2", mend
    found = []
    for end in ends:
        if (address := address_of(end)) is None:
            return f"holds {str(end)[:60]!r}, which is no address", mend
        if net and address not in net:
            return f"{address} is not in {net}", mend
        if net and is_edge(address, net):
            return f"{address} is the network or broadcast address of {net}", mend
        found.append(address)
    first, last = map(int, found)
    if first > last:
        return "ends before it begins", mend
    if net and gateway and first <= int(gateway) <= last:
        return f"holds the gateway {gateway}", "Leave the gateway out of it"
    return None
