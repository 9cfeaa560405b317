#!/usr/bin/python
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 the seedcloud.openstack authors
"""Look for DHCP servers."""

from __future__ import annotations

DOCUMENTATION = r"""
module: dhcp_probe
short_description: Look which DHCP servers answer on a network
version_added: 0.1.0
author: [The seedcloud.openstack authors (@seedcloud)]
description:
  - Asks for an address as a machine's firmware does that boots from the network, with a MAC that nobody has, and
    collects who offers one. No offer is taken, so that no server's state changes for longer than an offer lasts.
  - A server that answers only MACs that it knows, as the seed's does, says nothing.
  - Needs to run as root.
attributes:
  check_mode:
    support: full
    description: Changes nothing in any mode.
  diff_mode:
    support: N/A
    description: Changes nothing.
  idempotent:
    support: full
    description: Changes nothing.
options:
  interface:
    description: Name of the NIC on the network.
    type: str
    required: true
  timeout:
    description: Seconds to wait for offers. It asks once a second. Some servers ping an address for 3 seconds first.
    type: float
    default: 5
"""

EXAMPLES = r"""
- name: Look for DHCP servers on the provisioning network
  seedcloud.openstack.dhcp_probe:
    interface: eno1
  register: dhcp
"""

RETURN = r"""
offers:
  description: Offers, one a server.
  returned: always
  type: list
  elements: dict
  sample:
    - server: 192.0.2.3
      mac: "00:00:5e:00:53:09"
      address: 192.0.2.77
      next_server: 192.0.2.3
      boot_file: pxelinux.0
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.seedcloud.openstack.plugins.module_utils._dhcp.probe import probe


def main() -> None:
    """Spec, backend, run, exit."""
    module = AnsibleModule(
        argument_spec={
            "interface": {"type": "str", "required": True},
            "timeout": {"type": "float", "default": 5},
        },
        supports_check_mode=True,
    )
    try:
        offers = probe(module.params["interface"], module.params["timeout"])
    except OSError as error:
        module.fail_json(msg=f"{module.params['interface']}: {error.strerror or error}")
    module.exit_json(changed=False, offers=offers)


if __name__ == "__main__":
    main()
