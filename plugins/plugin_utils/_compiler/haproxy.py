# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 the seedcloud.openstack authors
"""The HAProxy file of one service: its ports on the controller's addresses, its backends on all controllers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .view import BACKEND_OFFSET, host

FOLDER = "/etc/haproxy/services"


def render(
    frontends: Mapping[str, Mapping[str, Any]], node: Mapping[str, Any], controllers: Sequence[Mapping[str, Any]]
) -> str:
    """One frontend and one backend a port. `cookie`-less: every API here is stateless."""
    both = [node["addresses"]["internal"], node["addresses"]["public"]]
    addresses = dict.fromkeys(address for address in both if address)  # once where they are one
    blocks = []
    for name, frontend in frontends.items():
        port = int(frontend["port"])
        mode = "tcp" if frontend.get("tcp") else "http"
        check = frontend.get("check")
        front = [f"frontend {name}", f"    mode {mode}"]
        front += [f"    bind {host(address)}:{port}" for address in addresses]
        if mode == "http":
            front += ["    option forwardfor", "    http-request set-header X-Forwarded-Proto http"]
        front.append(f"    default_backend {name}")
        back = [f"backend {name}", f"    mode {mode}"]
        # A check of the only server can but turn a slow answer into none.
        checked = " check inter 5s fastinter 1s downinter 1s rise 1 fall 3" if len(controllers) > 1 else ""
        if check and checked and mode == "http":
            back += [f"    option httpchk GET {check}", "    http-check expect rstatus ^[234]"]
        back += [f"    {option}" for option in frontend.get("options", [])]
        for record in controllers:
            address = host(record["addresses"]["internal"])
            back.append(f"    server {record['name']} {address}:{port + BACKEND_OFFSET}{checked}")
        blocks.append("\n".join([*front, "", *back]) + "\n")
    return "\n".join(blocks)
