#!/usr/bin/python
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 the seedcloud.openstack authors

from __future__ import annotations

DOCUMENTATION = r"""
module: bmc_power
short_description: Power many nodes on, off or around through their BMCs
version_added: 0.1.0
description:
  - Brings nodes to a power state through their BMCs, all of them side by side in one task.
  - The state is asked for, changed where it differs, and asked for again until it is reached.
options:
  state:
    description:
      - The state to bring the nodes to, or what to do to them.
      - V(soft_off) asks the operating system to shut down, and powers off what is not off after O(soft_timeout).
      - V(reset) resets a running node. A node that is off fails with C(bmc_refused).
      - V(cycle) powers a running node off and on again, and powers on a node that is off.
        It is sent once and then watched. A BMC that does not know it gets V(off), then V(on).
      - V(reset) and V(cycle) are never sent twice. If the answer is lost and the effect cannot be seen, the node
        fails with C(bmc_timeout) and the message says so.
    type: str
    choices: ["on", "off", soft_off, reset, cycle]
    required: true
  soft_timeout:
    description: Seconds after which V(soft_off) powers off. They come on top of O(timeout).
    type: float
    default: 120
attributes:
  check_mode:
    description: Can run in check mode and tell what would change. The BMCs are asked for the state of the nodes.
    support: full
  diff_mode:
    description: Returns what changed or would change.
    support: full
  idempotent:
    description: A second run with the same arguments changes nothing.
    support: partial
    details: V(reset) and V(cycle) of O(state) act at each run.
seealso:
  - module: seedcloud.openstack.bmc_boot_device
  - module: seedcloud.openstack.bmc_info
extends_documentation_fragment:
  - seedcloud.openstack._bmc
"""

EXAMPLES = r"""
- name: Power the rack on
  seedcloud.openstack.bmc_power:
    nodes: "{{ node_records | map(attribute='bmc') }}"
    state: "on"
  register: power
  run_once: true
  delegate_to: seed

- name: Shut a node down, and power it off if it is not down after a minute
  seedcloud.openstack.bmc_power:
    nodes:
      - name: node1
        address: 192.0.2.130
        username: admin
        password: "{{ vault_node1_bmc_password }}"
    state: soft_off
    soft_timeout: 60
"""

RETURN = r"""
nodes:
  description: What became of each node, by its name.
  type: dict
  returned: success
  contains:
      power:
        description: The power state as it was last read; in check mode, as it would be. Null when it was never read.
        type: str
        returned: always
        sample: "on"
      changed:
        description: Whether the node is not as it was.
        type: bool
        returned: always
        sample: true
      failed:
        description: Whether the node failed.
        type: bool
        returned: always
        sample: false
      code:
        description: Why it failed, one of the codes in the notes; null when it did not.
        type: str
        returned: always
        sample: null
      msg:
        description: What became of the node, or why it failed.
        type: str
        returned: always
        sample: was off, is on
      elapsed:
        description: Seconds spent on the node.
        type: float
        returned: always
        sample: 0.31
failed_nodes:
  description: The names of the nodes that failed, in the order of O(nodes).
  type: list
  elements: str
  returned: success
  sample: []
"""

from ansible_collections.seedcloud.openstack.plugins.module_utils._bmc.errands import PowerErrand
from ansible_collections.seedcloud.openstack.plugins.module_utils._bmc.module import make_module, serve


def main() -> None:
    module = make_module(
        state={"type": "str", "choices": ["on", "off", "soft_off", "reset", "cycle"], "required": True},
        soft_timeout={"type": "float", "default": 120.0},
    )
    state, soft_timeout = module.params["state"], module.params["soft_timeout"]
    extra = soft_timeout if state == "soft_off" else 0.0
    serve(module, lambda: PowerErrand(state, soft_timeout, module.check_mode), extra=extra)


if __name__ == "__main__":
    main()
