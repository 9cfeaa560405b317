# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 the seedcloud.openstack authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""How a node is reached."""

from __future__ import annotations

DOCUMENTATION = r"""
name: node_connection
author: [The seedcloud.openstack authors (@seedcloud)]
version_added: 0.1.0
short_description: Say how Ansible connects to a node
description:
  - Through the seed, as Ansible connects to the seed itself, with strict checking of the host key that the node's agent
    reported to the seed. No file is kept on the controller.
  - Connection variables that the inventory sets for the host itself are returned as they are.
  - Ansible waits for a login for at least 60 seconds, longer where C(ANSIBLE_TIMEOUT), C(--timeout) or the configuration
    say so; a node that has just booted may need more than the 10 seconds that are Ansible's default.
  - A task that is delegated to the seed reads the play's variables with the node's RV(ignore:inventory_hostname), but
    with the seed's RV(ignore:group_names). Give these, and the seed's own variables are returned there.
positional: groups, host, group_names
options:
  _input:
    description: RV(ignore:hostvars) of the play.
    type: dict
    required: true
  groups:
    description: RV(ignore:groups) of the play.
    type: dict
    required: true
  host:
    description: Name of the host.
    type: str
    required: true
  group_names:
    description: RV(ignore:group_names) of the play.
    type: list
    elements: str
"""

EXAMPLES = r"""
- name: Ask the nodes for their kernel
  hosts: seedcloud_nodes
  gather_facts: false
  vars:
    __node_connection: "{{ hostvars | seedcloud.openstack.node_connection(groups, inventory_hostname, group_names) }}"
    ansible_host: "{{ __node_connection.host }}"
    ansible_user: "{{ __node_connection.user }}"
    ansible_ssh_common_args: "{{ __node_connection.common_args }}"
    ansible_ssh_timeout: "{{ __node_connection.timeout }}"
  tasks:
    - name: Ask for the kernel
      ansible.builtin.command: uname -r
      changed_when: false
"""

RETURN = r"""
_value:
  description: Values of C(ansible_host), C(ansible_user), C(ansible_ssh_common_args) and C(ansible_ssh_timeout) (seconds).
  type: dict
  sample: {host: 192.0.2.11, user: debian, common_args: "-o 'ProxyCommand=ssh -W [%h]:%p -- 192.0.2.2' -o ...", timeout: 60}
"""

from collections.abc import Callable, Mapping
from typing import Any

from ansible import constants, context
from ansible_collections.seedcloud.openstack.plugins.plugin_utils._inventory.connect import node_connection
from ansible_collections.seedcloud.openstack.plugins.plugin_utils._inventory.read import NODES, SEED


def connection(
    hostvars: Mapping[str, Any], groups: Mapping[str, list[str]], host: str, group_names: list[str] | None = None
) -> dict[str, Any]:
    seed = next(iter(groups.get(SEED, [])), "")
    if group_names is not None and NODES not in group_names:
        host = seed
    node = host in groups.get(NODES, [])
    timeout = context.CLIARGS.get("timeout") or constants.DEFAULT_TIMEOUT
    return node_connection(host, hostvars[host], seed, hostvars[seed] if seed else {}, node, timeout=timeout)


class FilterModule:
    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"node_connection": connection}
