#!/usr/bin/python
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 the seedcloud.openstack authors
from __future__ import annotations

DOCUMENTATION = r"""
module: external_network
short_description: Have an external network and its subnet in a cloud
version_added: 0.1.0
author:
  - The seedcloud.openstack authors (@seedcloud)
description:
  - Makes the network from which routers and floating IPs take their addresses, with one subnet, without DHCP.
  - MTU, gateway, name servers and the allocation pool are brought in line.
  - A network of this name on another physical network or VLAN, or with a subnet of another CIDR, is a fault. It is never removed.
options:
  cloud:
    description: Name of the cloud in C(clouds.yaml).
    type: str
    default: overcloud
  clouds_file:
    description: Path of C(clouds.yaml). The usual places when it is not given.
    type: path
  name:
    description: Name of the network and of its subnet.
    type: str
    default: public
  physical_network:
    description: Neutron's name of the physical network.
    type: str
    default: provider
  vlan:
    description: The VLAN that Neutron tags. A flat network when it is not given.
    type: int
  mtu:
    description: The MTU.
    type: int
    default: 1500
  cidr:
    description: The subnet.
    type: str
    required: true
  gateway:
    description: Its gateway.
    type: str
  allocation:
    description: First and last address that Neutron may give away, without the gateway. All of the subnet when it is not given.
    type: list
    elements: str
  dns:
    description: Name servers of the subnet.
    type: list
    elements: str
    default: []
requirements:
  - openstacksdk >= 0.101 (C(python3-openstacksdk))
attributes:
  check_mode:
    description: Says what would be done.
    support: full
  diff_mode:
    description: Shows what differs.
    support: full
  idempotent:
    description: A network that is as asked for is left alone.
    support: full
"""

EXAMPLES = r"""
- name: Have the network of the floating IPs
  seedcloud.openstack.external_network:
    clouds_file: /var/lib/seedcloud/clouds.yaml
    cidr: 203.0.113.0/24
    gateway: 203.0.113.1
    allocation: [203.0.113.100, 203.0.113.199]
"""

RETURN = r"""
changes:
  description: What was or would be changed, by C(network) and C(subnet).
  returned: success
  type: dict
  sample:
    subnet:
      before: {gateway_ip: 203.0.113.254}
      after: {gateway_ip: 203.0.113.1}
"""

from ansible.module_utils.basic import AnsibleModule, missing_required_lib
from ansible_collections.seedcloud.openstack.plugins.module_utils._cloud import external, sdk


def main() -> None:
    """Ask, change, say."""
    module = AnsibleModule(
        argument_spec={
            "cloud": {"type": "str", "default": "overcloud"},
            "clouds_file": {"type": "path"},
            "name": {"type": "str", "default": "public"},
            "physical_network": {"type": "str", "default": "provider"},
            "vlan": {"type": "int"},
            "mtu": {"type": "int", "default": 1500},
            "cidr": {"type": "str", "required": True},
            "gateway": {"type": "str"},
            "allocation": {"type": "list", "elements": "str"},
            "dns": {"type": "list", "elements": "str", "default": []},
        },
        supports_check_mode=True,
    )
    given = module.params
    if fault := external.spec_fault(given):
        module.fail_json(msg=fault)
    unborn = module.check_mode and sdk.not_there_yet(given["clouds_file"])
    if not (unborn or sdk.HAS_OPENSTACK):
        module.fail_json(msg=missing_required_lib("openstacksdk"))
    try:
        cloud = None if unborn else sdk.connect(given["cloud"], given["clouds_file"])
        changes = external.all_of_it(given) if cloud is None else external.ensure(cloud, given, module.check_mode)
    except (external.NetworkError, OSError) as exc:
        module.fail_json(msg=str(exc))
    except sdk.FAULTS as exc:
        module.fail_json(msg=str(exc))
    diff = {side: {kind: change[side] for kind, change in changes.items()} for side in ("before", "after")}
    module.exit_json(changed=bool(changes), changes=changes, diff=diff)


if __name__ == "__main__":
    main()
