# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 the seedcloud.openstack authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Tell what inspected nodes are made of."""

from __future__ import annotations

DOCUMENTATION = r"""
name: node_hardware
author: [The seedcloud.openstack authors (@seedcloud)]
version_added: 0.1.0
short_description: Tell what inspected nodes are made of
description:
  - Processors, memory, NICs and disks, in the words of C(node_nics) and C(node_root_device), and what the disks hold.
options:
  _input:
    description: What M(seedcloud.openstack.node_journal) returned as C(nodes).
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: Show what the nodes are made of
  ansible.builtin.debug:
    msg: "{{ journal.nodes | seedcloud.openstack.node_hardware }}"
"""

RETURN = r"""
_value:
  description: Lines for people.
  type: list
  elements: str
  sample: ["node1: disk sda: size_gib 480, serial S3Z8NX0K"]
"""

from collections.abc import Callable
from typing import Any

from ansible_collections.seedcloud.openstack.plugins.plugin_utils._inventory.provision import node_hardware


class FilterModule:
    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"node_hardware": node_hardware}
