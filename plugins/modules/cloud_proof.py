#!/usr/bin/python
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 the seedcloud.openstack authors
from __future__ import annotations

DOCUMENTATION = r"""
module: cloud_proof
short_description: Prove that a cloud works, by using it as a person would
version_added: 0.1.0
author:
  - The seedcloud.openstack authors (@seedcloud)
description:
  - Through the cloud's own APIs it makes an image, a flavor, a key pair, a security group, a network, a subnet,
    a router, a floating IP and a server; waits for a login in the console log; reads the screen through noVNC's
    websocket; pings the floating IP; and logs in over SSH with the injected key, checking the host key that the
    console log shows.
  - Removes all of it again, whatever came of it, and compares what the project owns with what it owned before.
  - What an earlier proof left because it was killed is removed first. One proof at a time runs from one host.
  - It runs on the host from which instances are to be reached.
options:
  cloud:
    description: Name of the cloud in C(clouds.yaml).
    type: str
    default: overcloud
  clouds_file:
    description: Path of C(clouds.yaml). The usual places when it is not given.
    type: path
  image:
    description: Path of the guest's disk image, as made by M(seedcloud.openstack.guest_image).
    type: path
    required: true
  external_network:
    description: Name of the network of the floating IPs. The first external network when it is not given.
    type: str
  cidr:
    description: The subnet that is made for the instance.
    type: str
    default: 172.31.255.0/24
  dns:
    description: Name servers of that subnet.
    type: list
    elements: str
    default: []
  flavor:
    description:
      - The size of the instance.
      - Where the account may make no flavor, the smallest existing one that is large enough is used.
    type: dict
    default: {}
    suboptions:
      ram:
        description: Memory in MiB.
        type: int
        default: 256
      vcpus:
        description: Virtual processors.
        type: int
        default: 1
      disk:
        description: Disk in GiB.
        type: int
        default: 1
  prefix:
    description: What the names of everything that is made begin with. Whatever begins with it and a hyphen is removed.
    type: str
    default: seedcloud-proof
  timeout:
    description: Seconds that a single wait may take.
    type: float
    default: 300
  starts:
    description:
      - How many instances may be started, one after the other, where the hypervisor stops them by itself, or where one has printed
        nothing in a third of O(timeout).
      - More than 1 is for a hypervisor that is known to do so, such as an emulated one; a good one that does is broken.
    type: int
    default: 1
  folder:
    description: Where the picture of the screen is kept, and, while it runs, its keys.
    type: path
    required: true
  progress:
    description:
      - The action plugin gives it. Each step is told, when it begins and when it ends, in a file below C(/run/seedcloud) that is
        named by this word, and printed while the module runs.
    type: str
requirements:
  - openstacksdk >= 0.101 (C(python3-openstacksdk))
  - websocket-client >= 1.2 (C(python3-websocket))
  - ssh, ssh-keygen and ping
attributes:
  check_mode:
    description: In check mode it signs in, and makes nothing; a cloud that is not there yet is left alone.
    support: full
  diff_mode:
    description: There is nothing to show.
    support: none
  idempotent:
    description: Nothing remains, so that every run finds the same and does the same.
    support: full
"""

EXAMPLES = r"""
- name: Prove the cloud
  seedcloud.openstack.cloud_proof:
    clouds_file: /var/lib/seedcloud/clouds.yaml
    cloud: overcloud
    image: /var/lib/seedcloud/images/guest/guest-0123456789ab.img
    external_network: public
    folder: /var/lib/seedcloud/proof
"""

RETURN = r"""
steps:
  description: What was done, with the seconds that each step took.
  returned: always
  type: list
  elements: dict
  sample:
    - step: upload an image
      seconds: 2.1
seen:
  description: What was seen from outside.
  returned: always
  type: dict
  sample:
    floating_ip: 203.0.113.107
    hypervisor: node2.cloud.example
    mtu: 1442
    screen: {width: 720, height: 400, lit: 5121, picture: /var/lib/seedcloud/proof/screen.png}
    ssh: {hostname: seedcloud-proof-1a2b3c, kernel: 6.12.0-cloud-amd64, mtu: 1442}
console:
  description: The end of the instance's console log.
  returned: always
  type: str
  sample: "seedcloud-proof-1a2b3c login: "
remaining:
  description: What the project owns now and did not own before. Empty, and V(changed=false), when the proof is whole.
  returned: always
  type: list
  elements: str
  sample: []
seconds:
  description: How long all of it took.
  returned: always
  type: float
  sample: 93.4
"""

import contextlib
import fcntl
import secrets
import time
from collections.abc import Iterator
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule, missing_required_lib
from ansible_collections.seedcloud.openstack.plugins.module_utils._cloud.sdk import HAS_OPENSTACK, not_there_yet
from ansible_collections.seedcloud.openstack.plugins.module_utils._progress import Progress
from ansible_collections.seedcloud.openstack.plugins.module_utils._proof import cloud as proof

FLAVOR = {"ram": 256, "vcpus": 1, "disk": 1}


def arguments() -> dict[str, dict[str, object]]:
    """The argument spec."""
    sizes = {name: {"type": "int", "default": size} for name, size in FLAVOR.items()}
    return {
        "cloud": {"type": "str", "default": "overcloud"},
        "clouds_file": {"type": "path"},
        "image": {"type": "path", "required": True},
        "external_network": {"type": "str"},
        "cidr": {"type": "str", "default": "172.31.255.0/24"},
        "dns": {"type": "list", "elements": "str", "default": []},
        "flavor": {"type": "dict", "default": {}, "options": sizes},
        "prefix": {"type": "str", "default": "seedcloud-proof"},
        "timeout": {"type": "float", "default": 300},
        "starts": {"type": "int", "default": 1},
        "folder": {"type": "path", "required": True},
        "progress": {"type": "str"},
    }


@contextlib.contextmanager
def alone(folder: Path) -> Iterator[None]:
    """The folder, for one proof at a time."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield


def main() -> None:
    """Prove, and say what was seen."""
    module = AnsibleModule(argument_spec=arguments(), supports_check_mode=True)
    if module.check_mode and not_there_yet(module.params["clouds_file"]):
        module.exit_json(changed=False, steps=[], seen={}, console="", remaining=[], seconds=0.0)
    for there, library in ((HAS_OPENSTACK, "openstacksdk"), (proof.HAS_WEBSOCKET, "websocket-client")):
        if not there:
            module.fail_json(msg=missing_required_lib(library))
    given = module.params
    if given["starts"] < 1:
        module.fail_json(msg=f"starts is {given['starts']}: at least 1 instance has to be started")
    begun = time.monotonic()
    folder = Path(given["folder"])
    settings = proof.Settings(
        **{
            name: given[name]
            for name in ("cloud", "clouds_file", "prefix", "external_network", "cidr", "dns", "timeout", "starts")
        },
        image=Path(given["image"]),
        flavor={**FLAVOR, **{name: size for name, size in given["flavor"].items() if size is not None}},
        folder=folder,
    )
    try:
        with (
            contextlib.nullcontext() if module.check_mode else alone(folder),
            Progress("cloud_proof", given["progress"]).told() as progress,
        ):
            report, fault, remaining = proof.prove(settings, secrets.token_hex(3), module.check_mode, progress.tell)
    except BlockingIOError:
        module.fail_json(msg=f"another proof holds {folder}/lock")
    result = {
        "changed": bool(remaining),
        "steps": report.steps,
        "seen": report.seen,
        "console": report.console[-proof.TAIL :],
        "remaining": remaining,
        "seconds": round(time.monotonic() - begun, 1),
    }
    if fault or remaining:
        module.fail_json(msg=fault or f"the proof left something behind: {', '.join(remaining)}", **result)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
