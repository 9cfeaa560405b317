# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 the seedcloud.openstack authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Say which disks nodes refuse to destroy."""

from __future__ import annotations

DOCUMENTATION = r"""
name: wipe_refusals
author: [The seedcloud.openstack authors (@seedcloud)]
version_added: 0.1.0
short_description: Say which disks nodes refuse to destroy
description:
  - Collects from journals the last refusals, and inspections that foretell one, and makes the hash that confirms all of them.
  - Of a single node that is the hash its agent computed; of several, the SHA-256 of the sorted JSON list of theirs.
options:
  _input:
    description: What M(seedcloud.openstack.node_journal) returned as C(nodes).
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: Show what would be destroyed
  ansible.builtin.debug:
    msg: "{{ (journal.nodes | seedcloud.openstack.wipe_refusals).lines }}"
"""

RETURN = r"""
_value:
  description: The C(hash), the names of the C(nodes), C(lines) for people and C(events) for the journal.
  type: dict
  sample: {hash: null, nodes: [], lines: [], events: []}
"""

from collections.abc import Callable
from typing import Any

from ansible_collections.seedcloud.openstack.plugins.plugin_utils._inventory.provision import wipe_refusals


class FilterModule:
    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"wipe_refusals": wipe_refusals}
