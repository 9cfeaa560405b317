#!/usr/bin/python
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 the seedcloud.openstack authors
from __future__ import annotations

DOCUMENTATION = r"""
module: kvm_probe
short_description: Find out whether KVM works on a host, by booting a tiny guest
version_added: 0.1.0
author:
  - The seedcloud.openstack authors (@seedcloud)
description:
  - Boots a kernel with QEMU under KVM, without disk and network, and waits until it has initialised itself.
  - A C(/dev/kvm) that exists, or opens, is no proof. Nested virtualisation may take every call and still run no kernel.
  - A yes is kept for this processor and kernel, a no until the next boot of the host, so that later calls cost nothing.
  - A host where KVM does not work is an answer, not a failure. The module fails where it cannot try.
options:
  kernel:
    description:
      - The kernel to boot.
      - By default the one that the host runs, or else the newest under C(/boot).
    type: path
  timeout:
    description: Seconds that one attempt may take.
    type: float
    default: 60
  attempts:
    description: How often to try before the answer is no.
    type: int
    default: 2
  qemu:
    description: The QEMU program.
    type: str
    default: qemu-system-x86_64
  device:
    description: The device whose absence is an answer already.
    type: path
    default: /dev/kvm
  cache:
    description: Where the answer is kept.
    type: path
    default: /var/lib/seedcloud/kvm_probe.json
  force:
    description: Try again, even if the answer is known.
    type: bool
    default: false
attributes:
  check_mode:
    description: The module changes nothing; in check mode it answers as always.
    support: full
  diff_mode:
    description: There is nothing to show.
    support: none
  idempotent:
    description: The module changes nothing.
    support: full
"""

EXAMPLES = r"""
- name: Find out whether instances can run under KVM
  seedcloud.openstack.kvm_probe:
  register: kvm

- name: Give a slow host more time
  seedcloud.openstack.kvm_probe:
    timeout: 180
    attempts: 1
"""

RETURN = r"""
available:
  description: Whether a guest's kernel came up under KVM.
  returned: success
  type: bool
  sample: true
virt_type:
  description: What Nova's O(ignore:libvirt.virt_type) should be.
  returned: success
  type: str
  sample: kvm
reason:
  description: What the answer rests on.
  returned: success
  type: str
  sample: a guest's kernel came up
elapsed:
  description: Seconds that the experiment took, when it was made.
  returned: success
  type: float
  sample: 5.2
cached:
  description: Whether the answer was known already.
  returned: success
  type: bool
  sample: false
console:
  description: The end of what the guest printed before it was given up.
  returned: success
  type: str
  sample: ""
"""

from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.seedcloud.openstack.plugins.module_utils._virt import kvm


def main() -> None:
    """Ask, and hand on the answer."""
    module = AnsibleModule(
        argument_spec={
            "kernel": {"type": "path"},
            "timeout": {"type": "float", "default": 60},
            "attempts": {"type": "int", "default": 2},
            "qemu": {"type": "str", "default": "qemu-system-x86_64"},
            "device": {"type": "path", "default": "/dev/kvm"},
            "cache": {"type": "path", "default": "/var/lib/seedcloud/kvm_probe.json"},
            "force": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    given = module.params
    try:
        found = kvm.answer(
            device=Path(given["device"]),
            kernel=Path(given["kernel"]) if given["kernel"] else None,
            cache=Path(given["cache"]),
            trial=kvm.Trial(given["qemu"], given["timeout"], given["attempts"]),
            force=given["force"],
        )
    except (kvm.ProbeError, OSError) as exc:
        module.fail_json(msg=str(exc))
    if not found.available:
        module.warn(f"instances will be emulated, which is slow: KVM does not work here, {found.reason}")
    module.exit_json(
        changed=False,
        available=found.available,
        virt_type="kvm" if found.available else "qemu",
        reason=found.reason,
        elapsed=found.elapsed,
        cached=found.cached,
        console=found.console,
    )


if __name__ == "__main__":
    main()
