#!/usr/bin/python
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 the seedcloud.openstack authors

from __future__ import annotations

DOCUMENTATION = r"""
module: bmc_info
short_description: Ask the BMCs of many nodes what they are and how their nodes are
version_added: 0.1.0
description:
  - Logs on to the BMCs of nodes, all of them side by side in one task, and reads power state, boot device and what the
    BMC says about itself.
  - Nothing is changed, so it also serves to check credentials.
attributes:
  check_mode:
    description: Can run in check mode; it changes nothing.
    support: full
  diff_mode:
    description: Returns what changed or would change.
    support: N/A
    details: Nothing changes.
  idempotent:
    description: A second run with the same arguments changes nothing.
    support: full
seealso:
  - module: seedcloud.openstack.bmc_power
  - module: seedcloud.openstack.bmc_boot_device
extends_documentation_fragment:
  - seedcloud.openstack._bmc
"""

EXAMPLES = r"""
- name: Ask every BMC
  seedcloud.openstack.bmc_info:
    nodes: "{{ node_records | map(attribute='bmc') }}"
    timeout: 15
  register: bmcs
  run_once: true
  delegate_to: seed

- name: Fail the nodes whose BMC cannot be used
  ansible.builtin.assert:
    that: inventory_hostname not in bmcs.failed_nodes
    fail_msg: "{{ bmcs.nodes[inventory_hostname].msg }}"
"""

RETURN = r"""
nodes:
  description: What became of each node, by its name.
  type: dict
  returned: success
  contains:
      power:
        description: The power state; null when it was never read.
        type: str
        returned: always
        sample: "on"
      boot:
        description: The boot override; null when it was never read or the BMC has none.
        type: dict
        returned: always
        sample: {device: pxe, persistent: false, efi: true, valid: true}
      info:
        description: What the BMC says about itself, and how it was spoken to. Null when it was never read.
        type: dict
        returned: always
        sample:
          firmware: "9.08"
          protocol: IPMI 2.0
          manufacturer_id: 4753
          product_id: 3842
          cipher_suite: 17
          privilege: administrator
      changed:
        description: Whether the node is not as it was.
        type: bool
        returned: always
        sample: false
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
        sample: is on
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

from ansible_collections.seedcloud.openstack.plugins.module_utils._bmc.errands import InfoErrand
from ansible_collections.seedcloud.openstack.plugins.module_utils._bmc.module import make_module, serve


def main() -> None:
    serve(make_module(), InfoErrand)


if __name__ == "__main__":
    main()
