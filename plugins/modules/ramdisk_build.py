#!/usr/bin/python
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 the seedcloud.openstack authors
"""Build the ramdisk."""

from __future__ import annotations

DOCUMENTATION = r"""
module: ramdisk_build
short_description: Build the ramdisk with the agent on the seed
version_added: 0.1.0
author: [The seedcloud.openstack authors (@seedcloud)]
description:
  - Builds the kernel and the initial RAM disk that nodes boot from the network, out of Debian packages that are unpacked,
    not installed, and serves them under C(http/ramdisks) of the seed's folder.
  - Neither a loop device nor a mount is used. C(mmdebstrap), C(cpio) and C(zstd) must be there.
  - After a build, ramdisks that were built here before are removed, but for the last one and those that an order or a boot
    script of a node names.
  - The ramdisk is named by the hash of these parameters, of the agent and of the builder, and built only when one of them changes.
attributes:
  check_mode:
    support: full
    description: Says whether a ramdisk would be built.
  diff_mode:
    support: none
    description: There is nothing to compare before the ramdisk is built.
  idempotent:
    support: full
    description: Nothing is built where the ramdisk is there.
options:
  root:
    description: The seed's folder.
    type: path
    default: /var/lib/seedcloud
  agent:
    description: The folder on the seed with C(init), C(dhcp) and the Python package C(seedcloud_agent).
    type: path
    required: true
  prefix:
    description: What the ramdisk's name begins with.
    type: str
    default: agent
  suite:
    description: Debian's suite.
    type: str
    default: trixie
  apt_sources:
    description:
      - Where packages come from, as C(sources.list) or deb822 text.
      - V(host) takes the seed's own sources as far as they carry the suite, and where none does, what mmdebstrap knows by itself.
    type: str
    default: host
  kernel:
    description: The kernel's package. V(linux-image-cloud-amd64) knows virtual machines only.
    type: str
    default: linux-image-cloud-amd64
  modules:
    description:
      - Kernel modules, as names or as globs of their path below C(kernel/) without suffix. What they need comes with them.
      - What this kernel has built in, or does not have, is passed over.
    type: list
    elements: str
    required: true
  firmware_packages:
    description: Packages with firmware.
    type: list
    elements: str
    default: []
  firmware:
    description: Globs of files below C(/usr/lib/firmware) of these packages. One that fits nothing is an error.
    type: list
    elements: str
    default: []
"""

EXAMPLES = r"""
- name: Build the ramdisk
  seedcloud.openstack.ramdisk_build:
    agent: /var/lib/seedcloud/images/agent
    modules: [virtio_blk, virtio_net, "drivers/net/ethernet/intel/*", "drivers/nvme/host/*"]
  register: ramdisk
"""

RETURN = r"""
name:
  description: The ramdisk's name; none in check mode where the agent is not on the seed yet.
  returned: always
  type: str
  sample: agent-0123456789ab
built:
  description: Whether it was built now.
  returned: always
  type: bool
  sample: true
removed:
  description: Older ramdisks that were removed, because no node's order or boot script names them any more.
  returned: always
  type: list
  elements: str
  sample: [agent-ba9876543210]
kernel:
  description: The kernel's release.
  returned: when there is a ramdisk
  type: str
  sample: 6.12.57+deb13-cloud-amd64
size:
  description: Bytes of kernel and initial RAM disk.
  returned: when there is a ramdisk
  type: int
  sample: 28766692
unpacked_size:
  description: Bytes of memory that the RAM disk takes.
  returned: when there is a ramdisk
  type: int
  sample: 59878912
files:
  description: Size and SHA-256 of each file.
  returned: when there is a ramdisk
  type: dict
  sample: {initrd: {size: 17029668, sha256: 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08}}
"""

from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

from ..module_utils._build.common import BuildError
from ..module_utils._build.ramdisk import Ramdisk, ensure

ARGUMENTS = {
    "root": {"type": "path", "default": "/var/lib/seedcloud"},
    "agent": {"type": "path", "required": True},
    "prefix": {"type": "str", "default": "agent"},
    "suite": {"type": "str", "default": "trixie"},
    "apt_sources": {"type": "str", "default": "host"},
    "kernel": {"type": "str", "default": "linux-image-cloud-amd64"},
    "modules": {"type": "list", "elements": "str", "required": True},
    "firmware_packages": {"type": "list", "elements": "str", "default": []},
    "firmware": {"type": "list", "elements": "str", "default": []},
}


def main() -> None:
    """Specification, build, exit."""
    module = AnsibleModule(ARGUMENTS, supports_check_mode=True)
    given = module.params
    agent = Path(given["agent"])
    if module.check_mode and not agent.is_dir():
        module.exit_json(changed=True, built=False, removed=[], name=None)
    spec = Ramdisk(
        prefix=given["prefix"],
        suite=given["suite"],
        kernel=given["kernel"],
        modules=given["modules"],
        firmware_packages=given["firmware_packages"],
        firmware=given["firmware"],
        sources="" if given["apt_sources"] == "host" else given["apt_sources"],
    )
    try:
        ramdisk = ensure(Path(given["root"]), spec, agent, module.check_mode)
    except (BuildError, OSError) as error:
        module.fail_json(msg=f"The ramdisk was not built: {error}")
    module.exit_json(**{key: value for key, value in ramdisk.items() if key not in ("schema", "modules")})


if __name__ == "__main__":
    main()
