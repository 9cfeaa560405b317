#!/usr/bin/python
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 the seedcloud.openstack authors
"""Write and follow the journals of nodes."""

from __future__ import annotations

DOCUMENTATION = r"""
module: node_journal
short_description: Write and follow the journals of nodes on the seed
version_added: 0.1.0
author: [The seedcloud.openstack authors (@seedcloud)]
description:
  - Appends events to the journals of nodes, and reads what is new in them since a cursor.
  - A journal merges what modules wrote, what the node's agent reported and what nginx saw the node ask for,
    ordered by the seed's clock.
  - All nodes are served in one call. A node whose journal cannot be read never fails the task; see RV(failed_nodes).
attributes:
  check_mode:
    support: full
    description: Reads, and says what it would append.
  diff_mode:
    support: none
    description: Events are only ever added, and RV(nodes) shows them.
  idempotent:
    support: partial
    details: With C(once) an event that its generation already has is not written again.
    description: Whether a second call changes anything.
options:
  root:
    description: The seed's folder.
    type: path
    default: /var/lib/seedcloud
  append:
    description: Events to write, before anything is read.
    type: list
    elements: dict
    default: []
    suboptions:
      node:
        description: The node that it happened to.
        type: str
        required: true
      event:
        description: What happened, for instance V(powered_on).
        type: str
        required: true
      generation:
        description: The order that it belongs to. Without it, the node's newest.
        type: int
      source:
        description: Who says so.
        choices: [ansible, bmc]
        default: ansible
        type: str
      level:
        description: V(error) ends the order of this generation.
        choices: [info, error]
        default: info
        type: str
      hop:
        description: The hop at which it happened.
        choices: [bmc, dhcp, loader, kernel, agent, disk, claim, image, configure, reboot, ssh]
        type: str
      msg:
        description: One line for people.
        type: str
        default: ""
      data:
        description: More for programs.
        type: dict
        default: {}
      once:
        description: Leave it out when the generation has an event of this name.
        type: bool
        default: false
  nodes:
    description: The nodes whose events to read.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: The node's name.
        type: str
        required: true
      cursor:
        description: What an earlier call returned. Without it, all events of O(nodes[].generation) are read.
        type: str
      generation:
        description: The first generation to read. Without it, the node's newest.
        type: int
  events:
    description: Return only events of these names. Without it, all.
    type: list
    elements: str
    default: []
  wait:
    description: Seconds to wait for a first new event.
    type: float
    default: 0
  settle:
    description: Seconds to go on collecting after the first, so that many nodes do not need many calls.
    type: float
    default: 0.3
  run:
    description: The run that reads. It counts as alive on these nodes; see P(seedcloud.openstack.node_order#module).
    type: str
  lease:
    description: For how many seconds it counts as alive.
    type: int
    default: 120
"""

EXAMPLES = r"""
- name: Note that the nodes were powered on
  seedcloud.openstack.node_journal:
    append:
      - node: node1
        event: powered_on
        source: bmc
        hop: bmc
        once: true

- name: Read what happened to the nodes
  seedcloud.openstack.node_journal:
    nodes: [{name: node1}, {name: node2}]
  register: journal

- name: Wait up to ten seconds for more
  seedcloud.openstack.node_journal:
    nodes:
      - name: node1
        cursor: "{{ journal.nodes.node1.cursor }}"
    wait: 10
"""

RETURN = r"""
nodes:
  description: What is new of each node that was read or written.
  returned: always
  type: dict
  sample:
    node1:
      changed: false
      failed: false
      code: ok
      msg: ""
      cursor: WzEsMywxMjgse30se30se31d
      generation: 3
      events:
        - time: "2026-11-22T19:00:00.123Z"
          received: "2026-11-22T19:00:00.140Z"
          node: node1
          generation: 3
          boot_id: 0123456789abcdef0123456789abcdef
          seq: 4
          source: agent
          event: image_writing
          level: info
          hop: image
          msg: 1.2 of 3.2 GB
          data: {}
  contains:
    code:
      description: One of V(ok), V(bad_event), V(bad_cursor), V(bad_node), V(seed_error).
      type: str
      returned: always
      sample: ok
    cursor:
      description: Where to read on.
      type: str
      returned: for nodes that were read
      sample: WzEsMywxMjgse30se30se31d
    events:
      description: The events, oldest first.
      type: list
      elements: dict
      returned: for nodes that were read
      sample: []
now:
  description: The seed's clock.
  returned: always
  type: str
  sample: "2026-11-22T19:00:00.123Z"
failed_nodes:
  description: The names of the nodes that failed, sorted.
  returned: always
  type: list
  elements: str
  sample: [node2]
"""

import time
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.seedcloud.openstack.plugins.module_utils._journal.events import HOPS, LEVELS, stamp
from ansible_collections.seedcloud.openstack.plugins.module_utils._journal.follow import append_events, follow
from ansible_collections.seedcloud.openstack.plugins.module_utils._order.orders import renew

APPEND_SPEC: dict[str, Any] = {
    "node": {"type": "str", "required": True},
    "event": {"type": "str", "required": True},
    "generation": {"type": "int"},
    "source": {"type": "str", "choices": ["ansible", "bmc"], "default": "ansible"},
    "level": {"type": "str", "choices": list(LEVELS), "default": "info"},
    "hop": {"type": "str", "choices": list(HOPS)},
    "msg": {"type": "str", "default": ""},
    "data": {"type": "dict", "default": {}},
    "once": {"type": "bool", "default": False},
}
NODE_SPEC: dict[str, Any] = {
    "name": {"type": "str", "required": True},
    "cursor": {"type": "str"},
    "generation": {"type": "int"},
}
SPEC: dict[str, Any] = {
    "root": {"type": "path", "default": "/var/lib/seedcloud"},
    "append": {"type": "list", "elements": "dict", "default": [], "options": APPEND_SPEC},
    "nodes": {"type": "list", "elements": "dict", "default": [], "options": NODE_SPEC},
    "events": {"type": "list", "elements": "str", "default": []},
    "wait": {"type": "float", "default": 0},
    "settle": {"type": "float", "default": 0.3},
    "run": {"type": "str"},
    "lease": {"type": "int", "default": 120},
}


def main() -> None:
    """Spec, backend, run, exit."""
    module = AnsibleModule(argument_spec=SPEC, supports_check_mode=True)
    params, root = module.params, Path(module.params["root"])

    def alive(name: str) -> None:
        if params["run"] and not module.check_mode:
            renew(root, name, params["run"], params["lease"])

    nodes = append_events(root, params["append"], module.check_mode)
    nodes = follow(
        root, params["nodes"], params["wait"], params["settle"], results=nodes, alive=alive, only=params["events"]
    )
    module.exit_json(
        changed=any(node["changed"] for node in nodes.values()),
        nodes=nodes,
        now=stamp(time.time()),
        failed_nodes=sorted(name for name, node in nodes.items() if node["failed"]),
    )


if __name__ == "__main__":
    main()
