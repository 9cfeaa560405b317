# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 the seedcloud.openstack authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Collect which nodes failed."""

from __future__ import annotations

DOCUMENTATION = r"""
name: node_verdicts
author: [The seedcloud.openstack authors (@seedcloud)]
version_added: 0.1.0
short_description: Collect which nodes failed
description:
  - Of several failures of a node the first one is told.
positional: again
options:
  _input:
    description: What the batch modules returned, in their order.
    type: list
    elements: dict
    required: true
  again:
    description: The names of nodes that hung, and got another boot.
    type: list
    elements: str
    default: []
"""

EXAMPLES = r"""
- name: Show which nodes failed
  ansible.builtin.debug:
    msg: "{{ [ordered, power, waited] | seedcloud.openstack.node_verdicts }}"
"""

RETURN = r"""
_value:
  description: By node that failed, C(hop), C(code) and a C(msg) for people.
  type: dict
  sample:
    node2:
      hop: bmc
      code: bmc_unreachable
      msg: "node2 stopped at hop bmc (bmc_unreachable): nothing answered; look at the BMC's address, cable and account"
"""

from collections.abc import Callable
from typing import Any

from ansible_collections.seedcloud.openstack.plugins.plugin_utils._inventory.provision import node_verdicts


class FilterModule:
    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"node_verdicts": node_verdicts}
