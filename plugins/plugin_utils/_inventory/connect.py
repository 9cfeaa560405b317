# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 the seedcloud.openstack authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""How Ansible reaches a node: through the seed, with the host key that the node's agent reported, and no file kept."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any

# Seconds in which a node must have logged Ansible in and made it root. Ansible's own 10 are for machines at leisure: a node
# that has just booted starts everything at once. One that does not answer at all was set aside before.
LOGIN_TIMEOUT = 60


def _first(variables: Mapping[str, Any], *names: str) -> Any:
    return next((variables[name] for name in names if variables.get(name) not in (None, "")), None)


def seed_command(name: str, seed: Mapping[str, Any]) -> list[str] | None:
    """The ssh command line to the seed as Ansible itself would connect; None if Ansible runs on it."""
    if _first(seed, "ansible_connection") == "local":
        return None
    command = ["ssh", "-o", "BatchMode=yes"]
    for variable in ("ansible_ssh_common_args", "ansible_ssh_extra_args"):
        command += shlex.split(_first(seed, variable) or "")
    if port := _first(seed, "ansible_port", "ansible_ssh_port"):
        command += ["-p", str(port)]
    if user := _first(seed, "ansible_user", "ansible_ssh_user"):
        command += ["-l", str(user)]
    if key := _first(seed, "ansible_private_key_file", "ansible_ssh_private_key_file"):
        command += ["-i", str(key)]
    return [*command, "--", str(_first(seed, "ansible_host", "ansible_ssh_host") or name)]


def common_args(node: str, seed_name: str, seed: Mapping[str, Any], root: str) -> str:
    """`ansible_ssh_common_args` of a node."""
    path = shlex.quote(f"{root}/nodes/{node}/host_keys")
    command = seed_command(seed_name, seed)
    if command is None:
        keys, proxy = ["/usr/bin/env", "cat", path], None
    else:
        # ssh expands % in both; what the operator wrote for the seed is for the ssh to the seed.
        escaped = [each.replace("%", "%%") for each in command]
        keys = ["/usr/bin/env", *escaped, f"cat {path}"]
        proxy = [*escaped[:-2], "-W", "[%h]:%p", *escaped[-2:]]
    options = [
        f"KnownHostsCommand={shlex.join(keys)}",
        *([f"ProxyCommand={shlex.join(proxy)}"] if proxy else []),
        f"HostKeyAlias={node}",
        "StrictHostKeyChecking=yes",
        "UserKnownHostsFile=/dev/null",
        "GlobalKnownHostsFile=/dev/null",
    ]
    return " ".join(f"-o {shlex.quote(option)}" for option in options)


def node_connection(
    host: str, variables: Mapping[str, Any], seed_name: str, seed: Mapping[str, Any], node: bool, *, timeout: int = 0
) -> dict[str, Any]:
    """What Ansible needs to connect to `host`; what the inventory says itself is kept.

    `timeout` is what the operator told Ansible itself, in seconds: a longer one than ours is kept, too.
    """
    at = variables.get("node_networks") or {}
    own = {
        "host": _first(variables, "ansible_host", "ansible_ssh_host"),
        "user": _first(variables, "ansible_user", "ansible_ssh_user"),
        "common_args": _first(variables, "ansible_ssh_common_args") or "",
        "timeout": _first(variables, "ansible_ssh_timeout") or max(timeout, LOGIN_TIMEOUT),
    }
    if not node:
        return own | {"host": own["host"] or host}
    given = variables.get("seedcloud_ssh_common_args")
    root = seed.get("seed_root") or "/var/lib/seedcloud"
    return own | {
        "host": own["host"] or at.get("provisioning", {}).get("address") or host,
        "user": own["user"] or variables.get("seedcloud_ssh_user") or "debian",
        "common_args": own["common_args"] or given or common_args(host, seed_name, seed, root),
    }
