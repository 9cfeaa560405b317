#!/usr/bin/python
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 the seedcloud.openstack authors
"""Build the golden image."""

from __future__ import annotations

DOCUMENTATION = r"""
module: image_build
short_description: Build the golden image on the seed
version_added: 0.1.0
author: [The seedcloud.openstack authors (@seedcloud)]
description:
  - Builds a whole-disk image of Debian with packages in it, nothing configured and nothing that tells one node from another,
    and serves it under C(http/images) of the seed's folder. It boots by BIOS and by UEFI, with Secure Boot too.
  - Neither a loop device nor a mount is used. C(mmdebstrap), C(mke2fs), C(sfdisk), C(mcopy) and C(zstd) must be there.
  - The image is named by the hash of these parameters, of the builder and of the versions of all packages in it. Where an image of
    the same parameters exists it is kept, whatever the mirror has by now; see O(update).
  - After a build, images that were built here before are removed, but for the last one and those that O(keep) or a node's
    order names.
attributes:
  check_mode:
    support: full
    description: Says whether an image would be built.
  diff_mode:
    support: none
    description: There is nothing to compare before the image is built.
  idempotent:
    support: full
    description: Nothing is built where the image is there, unless O(update) is set.
options:
  root:
    description: The seed's folder.
    type: path
    default: /var/lib/seedcloud
  prefix:
    description: What the image's name begins with.
    type: str
    default: debian13-openstack
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
  packages:
    description: The packages, a kernel among them, without what they depend on. Recommended packages are not installed.
    type: list
    elements: str
    required: true
  enabled_units:
    description: The only units that are enabled in the image.
    type: list
    elements: str
    required: true
  kernel_arguments:
    description: What the kernel is told at each boot.
    type: list
    elements: str
    default: [console=tty0, "console=ttyS0,115200n8"]
  excluded_paths:
    description: Globs of files that are not unpacked, as dpkg's C(path-exclude) takes them.
    type: list
    elements: str
    default: []
  included_paths:
    description: Globs of files that are unpacked nevertheless.
    type: list
    elements: str
    default: []
  debconf_answers:
    description: Lines for C(debconf-set-selections). No question is asked.
    type: list
    elements: str
    default: []
  extra_files:
    description:
      - Files of the operator's own, by their absolute paths, with their contents; owned by root, mode 0644.
      - Whatever boots may read the image, so that no secret belongs into one. What tells nodes apart does not stay.
    type: dict
    default: {}
  compression_level:
    description: How hard zstd tries. No part of the image's identity.
    type: int
    default: 6
  update:
    description: Build again with the packages that the mirror has now, also where an image of these parameters exists.
    type: bool
    default: false
  keep:
    description: Names of images that are not removed though no node's order names them.
    type: list
    elements: str
    default: []
"""

EXAMPLES = r"""
- name: Build the golden image
  seedcloud.openstack.image_build:
    packages: [linux-image-amd64, grub-pc-bin, grub-efi-amd64-signed, shim-signed, openssh-server, sudo, python3, systemd-sysv]
    enabled_units: [ssh.service, systemd-networkd.service, systemd-networkd.socket]
  register: image
"""

RETURN = r"""
name:
  description: The image's name; none in check mode when it would be built.
  returned: always
  type: str
  sample: debian13-openstack-0123456789ab
built:
  description: Whether it was built now.
  returned: always
  type: bool
  sample: true
size:
  description: Bytes on a disk, holes included.
  returned: when there is an image
  type: int
  sample: 2415919104
data_size:
  description: Bytes that a node has to write.
  returned: when there is an image
  type: int
  sample: 2147483648
compressed_size:
  description: Bytes that a node has to fetch.
  returned: when there is an image
  type: int
  sample: 734003200
sha256:
  description: Of the compressed image.
  returned: when there is an image
  type: str
  sample: 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08
raw_sha256:
  description: Of the disk.
  returned: when there is an image
  type: str
  sample: 2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae
inputs_hash:
  description: What the name is the beginning of.
  returned: when there is an image
  type: str
  sample: 0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef
created:
  description: When it was built.
  returned: when there is an image
  type: str
  sample: "2026-11-22T19:00:00Z"
removed:
  description: Older images that were removed, because nothing names them any more.
  returned: always
  type: list
  elements: str
  sample: [debian13-openstack-ba9876543210]
seconds:
  description: How long each step took.
  returned: always
  type: dict
  sample: {packages: 190.1, disk: 20.4, compress: 14.2, hash: 9.0}
"""

from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

from ..module_utils._build.common import BuildError
from ..module_utils._build.golden import Golden, ensure, faulty

ARGUMENTS = {
    "root": {"type": "path", "default": "/var/lib/seedcloud"},
    "prefix": {"type": "str", "default": "debian13-openstack"},
    "suite": {"type": "str", "default": "trixie"},
    "apt_sources": {"type": "str", "default": "host"},
    "packages": {"type": "list", "elements": "str", "required": True},
    "enabled_units": {"type": "list", "elements": "str", "required": True},
    "kernel_arguments": {"type": "list", "elements": "str", "default": ["console=tty0", "console=ttyS0,115200n8"]},
    "excluded_paths": {"type": "list", "elements": "str", "default": []},
    "included_paths": {"type": "list", "elements": "str", "default": []},
    "debconf_answers": {"type": "list", "elements": "str", "default": []},
    "extra_files": {"type": "dict", "default": {}},
    "compression_level": {"type": "int", "default": 6},
    "update": {"type": "bool", "default": False},
    "keep": {"type": "list", "elements": "str", "default": []},
}


def main() -> None:
    """Specification, build, exit."""
    module = AnsibleModule(ARGUMENTS, supports_check_mode=True)
    given = module.params
    if faults := faulty(given["extra_files"]):
        module.fail_json(msg=f"extra_files: {'; '.join(faults)}")
    spec = Golden(
        prefix=given["prefix"],
        suite=given["suite"],
        packages=given["packages"],
        enabled_units=given["enabled_units"],
        kernel_arguments=given["kernel_arguments"],
        excludes=given["excluded_paths"],
        includes=given["included_paths"],
        debconf=given["debconf_answers"],
        files=given["extra_files"],
        sources="" if given["apt_sources"] == "host" else given["apt_sources"],
    )
    try:
        image = ensure(
            Path(given["root"]),
            spec,
            given["compression_level"],
            check=module.check_mode,
            update=given["update"],
            keep=given["keep"],
        )
    except (BuildError, OSError) as error:
        module.fail_json(msg=f"The golden image was not built: {error}")
    module.exit_json(**{key: value for key, value in image.items() if key not in ("packages", "schema")})


if __name__ == "__main__":
    main()
