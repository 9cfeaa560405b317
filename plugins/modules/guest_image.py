#!/usr/bin/python
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 the seedcloud.openstack authors
from __future__ import annotations

DOCUMENTATION = r"""
module: guest_image
short_description: Build the tiny guest that proves a cloud
version_added: 0.1.0
author:
  - The seedcloud.openstack authors (@seedcloud)
description:
  - Makes a disk image of some 20 MB out of Debian's kernel, busybox and an SSH server, that a BIOS boots in seconds.
  - The guest takes its address and MTU by DHCP and its SSH key from the metadata service, and has a login on the serial
    console and on the screen. It writes its SSH host key to the console.
  - The image is named by the hash of what it is made of, and built again only when that changes.
  - Nothing is mounted and no loop device is used.
options:
  folder:
    description: Where the image and its manifest are kept.
    type: path
    required: true
  suite:
    description: The Debian that it is made of.
    type: str
    default: trixie
  kernel:
    description: The package of the kernel.
    type: str
    default: linux-image-cloud-amd64
  modules:
    description: The kernel's modules that go in, with what they need; one that this kernel has built in is left out.
    type: list
    elements: str
    default: [virtio_pci, virtio_net, virtio_rng, e1000]
  sources:
    description:
      - The apt sources (deb822) to take the packages from.
      - By default those of the host that carry the suite, or else mmdebstrap's own.
    type: str
    default: ""
requirements:
  - mmdebstrap, cpio, zstd
attributes:
  check_mode:
    description: Says whether the image would be built.
    support: full
  diff_mode:
    description: There is nothing to show.
    support: none
  idempotent:
    description: An image of this name is not built again.
    support: full
"""

EXAMPLES = r"""
- name: Have the guest that proves a cloud
  seedcloud.openstack.guest_image:
    folder: /var/lib/seedcloud/images/guest
  register: guest
"""

RETURN = r"""
name:
  description: The image's name, with the hash of its inputs.
  returned: success
  type: str
  sample: guest-0123456789ab
path:
  description: Where it lies.
  returned: success
  type: str
  sample: /var/lib/seedcloud/images/guest/guest-0123456789ab.img
size:
  description: Its size in bytes.
  returned: when it exists
  type: int
  sample: 15728640
sha256:
  description: Its checksum.
  returned: when it exists
  type: str
  sample: 8d1d5ec479c1dba7a8906bbc772529a366d6c48a15dd7ca9e820d6b834dedd95
kernel:
  description: The kernel's release.
  returned: when it exists
  type: str
  sample: 6.12.0-cloud-amd64
seconds:
  description: How long the build took.
  returned: when it was built
  type: float
  sample: 25.1
"""

from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.seedcloud.openstack.plugins.module_utils._build.common import BuildError
from ansible_collections.seedcloud.openstack.plugins.module_utils._virt.guest import Guest, ensure


def main() -> None:
    """Build it where it is missing."""
    module = AnsibleModule(
        argument_spec={
            "folder": {"type": "path", "required": True},
            "suite": {"type": "str", "default": "trixie"},
            "kernel": {"type": "str", "default": "linux-image-cloud-amd64"},
            "modules": {
                "type": "list",
                "elements": "str",
                "default": ["virtio_pci", "virtio_net", "virtio_rng", "e1000"],
            },
            "sources": {"type": "str", "default": ""},
        },
        supports_check_mode=True,
    )
    given = module.params
    guest = Guest(given["suite"], given["kernel"], tuple(given["modules"]))
    try:
        result = ensure(Path(given["folder"]), guest, given["sources"], module.check_mode)
    except (BuildError, OSError) as exc:
        module.fail_json(msg=str(exc))
    module.exit_json(**result)


if __name__ == "__main__":
    main()
