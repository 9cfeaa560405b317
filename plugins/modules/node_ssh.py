#!/usr/bin/python
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 the seedcloud.openstack authors
"""Ask which nodes answer by SSH."""

from __future__ import annotations

DOCUMENTATION = r"""
module: node_ssh
short_description: Ask which deployed nodes answer by SSH
version_added: 0.1.0
author: [The seedcloud.openstack authors (@seedcloud)]
description:
  - Runs on the seed. Looks whether nodes answer by SSH with the host key that the agent made and reported when it
    deployed them. Who does is proven to run that deployment's image, without anybody logging in.
  - All nodes are asked at once. A node that does not answer never fails the task; see RV(failed_nodes).
  - Keeps the host keys for strict host key checking (C(nodes/<node>/host_keys) on the seed) and journals C(ssh_up) and
    C(deployed) for nodes that answer and are not journalled yet.
attributes:
  check_mode:
    support: full
    description: Asks, but keeps and journals nothing.
  diff_mode:
    support: none
    description: There is nothing to show.
  idempotent:
    support: full
    description: A node is journalled once a deployment.
options:
  root:
    description: The seed's folder.
    type: path
    default: /var/lib/seedcloud
  nodes:
    description: The nodes.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description: The node's name in the inventory.
        type: str
        required: true
      address:
        description: The node's address on the provisioning network.
        type: str
        required: true
  timeout:
    description: Seconds to wait for nodes that are deployed and do not answer yet. V(0) looks once.
    type: int
    default: 0
"""

EXAMPLES = r"""
- name: Wait until the nodes answer
  seedcloud.openstack.node_ssh:
    nodes:
      - name: node1
        address: 192.0.2.11
    timeout: 300
"""

RETURN = r"""
nodes:
  description: What became of each node.
  returned: always
  type: dict
  sample:
    node1:
      changed: false
      failed: false
      code: up
      msg: ""
      hop: ssh
      address: 192.0.2.11
      generation: 3
      image: debian13-openstack-0123456789ab
      deployed: true
      last_event: deployed
  contains:
    code:
      description: One of V(up), V(not_deployed), V(other_key), V(ssh_unreachable).
      type: str
      returned: always
      sample: up
failed_nodes:
  description: The names of the nodes that do not answer, sorted.
  returned: always
  type: list
  elements: str
  sample: [node2]
"""

from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.seedcloud.openstack.plugins.module_utils._reach.reach import reach

SPEC: dict[str, Any] = {
    "root": {"type": "path", "default": "/var/lib/seedcloud"},
    "nodes": {
        "type": "list",
        "elements": "dict",
        "required": True,
        "options": {"name": {"type": "str", "required": True}, "address": {"type": "str", "required": True}},
    },
    "timeout": {"type": "int", "default": 0},
}


def main() -> None:
    """Spec, backend, run, exit."""
    module = AnsibleModule(argument_spec=SPEC, supports_check_mode=True)
    params = module.params
    try:
        pairs = [(node["name"], node["address"]) for node in params["nodes"]]
        nodes = reach(Path(params["root"]), pairs, params["timeout"], module.check_mode)
    except (ValueError, OSError) as error:
        module.fail_json(msg=f"{params['root']}: {error}")
    module.exit_json(
        changed=any(node["changed"] for node in nodes.values()),
        nodes=nodes,
        failed_nodes=sorted(name for name, node in nodes.items() if node["failed"]),
    )


if __name__ == "__main__":
    main()
