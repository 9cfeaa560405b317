#!/usr/bin/python
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 the seedcloud.openstack authors

from __future__ import annotations

DOCUMENTATION = r"""
module: bmc_boot_device
short_description: Set what many nodes boot from, through their BMCs
version_added: 0.1.0
description:
  - Sets the boot device of nodes through their BMCs, all of them side by side in one task, and reads it back.
  - O(efi) and O(persistent) are written together with the device, as they are asked for.
  - The BMC is told not to drop the setting after 60 seconds without a power command, as IPMI has it otherwise.
options:
  device:
    description: What to boot from. V(bios) is the firmware's setup.
    type: str
    choices: [pxe, disk, cdrom, bios]
    required: true
  persistent:
    description: Whether it holds for every boot from now on, not for the next one only.
    type: bool
    default: false
  efi:
    description: Whether to ask for a UEFI boot.
    type: bool
    default: true
notes:
  - >-
    Emulators show a part of what was set: VirtualBMC always reads back the flags of a one-time BIOS boot, ipmi_sim no
    flags at all. Where the device reads back as set but the flags do not, RV(nodes.verified) is V(false) and
    RV(nodes.changed) tells whether anything that can be read has changed. A device that does not read back as set
    fails the node with C(bmc_mismatch).
attributes:
  check_mode:
    description: Can run in check mode and tell what would change. The BMCs are asked for the boot device.
    support: full
  diff_mode:
    description: Returns what changed or would change.
    support: full
  idempotent:
    description: A second run with the same arguments changes nothing.
    support: full
seealso:
  - module: seedcloud.openstack.bmc_power
  - module: seedcloud.openstack.bmc_info
extends_documentation_fragment:
  - seedcloud.openstack._bmc
"""

EXAMPLES = r"""
- name: Boot from the network once
  seedcloud.openstack.bmc_boot_device:
    nodes: "{{ node_records | map(attribute='bmc') }}"
    device: pxe
  register: boot
  run_once: true
  delegate_to: seed

- name: Boot a node with a BIOS from its disk from now on
  seedcloud.openstack.bmc_boot_device:
    nodes:
      - name: node1
        address: 192.0.2.130
        username: admin
        password: "{{ vault_node1_bmc_password }}"
    device: disk
    persistent: true
    efi: false
"""

RETURN = r"""
nodes:
  description: What became of each node, by its name.
  type: dict
  returned: success
  contains:
      boot:
        description: The boot override as it was last read; in check mode, as it would be. Null when it was never read.
        type: dict
        returned: always
        sample: {device: pxe, persistent: false, efi: true, valid: true}
      verified:
        description: Whether all that was asked for reads back. V(false) in check mode if it would be set.
        type: bool
        returned: always
        sample: true
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
        sample: boots from pxe
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

from ansible_collections.seedcloud.openstack.plugins.module_utils._bmc.core import Boot
from ansible_collections.seedcloud.openstack.plugins.module_utils._bmc.errands import BootErrand
from ansible_collections.seedcloud.openstack.plugins.module_utils._bmc.module import make_module, serve


def main() -> None:
    module = make_module(
        device={"type": "str", "choices": ["pxe", "disk", "cdrom", "bios"], "required": True},
        persistent={"type": "bool", "default": False},
        efi={"type": "bool", "default": True},
    )
    wanted = Boot(module.params["device"], module.params["persistent"], module.params["efi"])
    serve(module, lambda: BootErrand(wanted, module.check_mode))


if __name__ == "__main__":
    main()
