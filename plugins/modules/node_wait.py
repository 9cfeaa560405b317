#!/usr/bin/python
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 the seedcloud.openstack authors
"""Documentation of the action plugin of this name."""

from __future__ import annotations

DOCUMENTATION = r"""
module: node_wait
short_description: Wait for events of nodes, and print them as they come
version_added: 0.1.0
author: [The seedcloud.openstack authors (@seedcloud)]
description:
  - Follows the journals of nodes on the seed in calls of seconds, and prints every event live, until each node has
    reached one of O(until), has failed, or was waited for long enough.
  - Run it on the seed (C(delegate_to)). A node's failure never fails the task; see RV(failed_nodes). It fails when
    the seed itself cannot be asked.
  - A node that is given up gets an event C(failed) in its journal, so that a rerun orders it anew.
attributes:
  action:
    support: full
    description: Runs on the controller.
  check_mode:
    support: full
    description: Returns at once, as though every node had reached what was waited for.
  diff_mode:
    support: none
    description: Changes nothing.
  idempotent:
    support: full
    description: Changes nothing.
options:
  nodes:
    description: The nodes to wait for.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description: The node's name.
        type: str
        required: true
      generation:
        description: The order that is waited for, from M(seedcloud.openstack.node_order). Without it, the newest.
        type: int
      timeout:
        description: Instead of O(timeout) for this node.
        type: int
  until:
    description: The names of the events any of which is the goal.
    type: list
    elements: str
    required: true
  timeout:
    description: Seconds to wait for a node in all.
    type: int
    default: 1800
  silence:
    description: Seconds after which a node that tells nothing new is given up.
    type: int
    default: 600
  boot_silence:
    description: The same from DHCP's first answer to the agent's first report, where that is less. Whoever is silent there hangs.
    type: int
    default: 300
  poll:
    description: Seconds that one call on the seed lasts when nothing happens.
    type: int
    default: 10
  root:
    description: The seed's folder.
    type: path
    default: /var/lib/seedcloud
  run:
    description: The run that waits. It counts as alive on these nodes.
    type: str
"""

EXAMPLES = r"""
- name: Wait until the nodes restart into what was written
  seedcloud.openstack.node_wait:
    nodes:
      - name: node1
        generation: 3
      - name: node2
        generation: 1
        timeout: 3600
    until: [rebooting]
  delegate_to: seed1
  run_once: true
  register: waited
"""

RETURN = r"""
nodes:
  description: What became of each node.
  returned: always
  type: dict
  sample:
    node1:
      changed: false
      failed: true
      code: timeout
      hop: dhcp
      msg: "silent for 600 s, stopped at hop dhcp after powered_on: its firmware asked for no boot script"
      generation: 3
      last_event: powered_on
      trail: [ordered, boot_device_set, powered_on]
      event: null
  contains:
    code:
      description: One of V(reached), V(failed) (an event said so), V(timeout), V(hung) (silent between
        DHCP and its agent, which took no claim), V(superseded) (another run ordered
        anew), V(withdrawn), and the codes of M(seedcloud.openstack.node_journal).
      type: str
      returned: always
      sample: reached
    hop:
      description: The hop at which the node stopped, or at which it reached its goal.
      type: str
      returned: always
      sample: dhcp
    event:
      description: The event that ended the waiting.
      type: dict
      returned: always
      sample: {event: rebooting}
failed_nodes:
  description: The names of the nodes that failed, sorted.
  returned: always
  type: list
  elements: str
  sample: [node1]
"""
