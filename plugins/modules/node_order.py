#!/usr/bin/python
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 the seedcloud.openstack authors
"""Order what nodes are to become."""

from __future__ import annotations

DOCUMENTATION = r"""
module: node_order
short_description: Order on the seed what nodes are to become
version_added: 0.1.0
author: [The seedcloud.openstack authors (@seedcloud)]
description:
  - Writes for each node one order on the seed, opens what the node may ask nginx for, and reserves its address in DHCP.
  - All nodes are served in one call. A node that cannot be ordered never fails the task; see RV(failed_nodes).
  - A rerun whose order has the same fingerprint joins a generation that is still going on, and changes nothing.
    Anything else becomes a new generation, whose claim is the only one that can be taken from then on.
  - A kill at any moment leaves files that the next call continues from.
attributes:
  check_mode:
    support: full
    description: Says what would be ordered without writing anything, also where the seed is not deployed yet.
  diff_mode:
    support: full
    description: Shows the orders before and after.
  idempotent:
    support: partial
    details: A generation that is going on is joined. When it is over, V(ordered) orders the node again; whether
      that is wanted is the caller's decision.
    description: Whether a second call changes anything.
options:
  root:
    description: The seed's folder.
    type: path
    default: /var/lib/seedcloud
  state:
    description:
      - V(ordered) writes the orders and awaits the nodes.
      - V(held) says what V(ordered) would do and writes no order, but keeps other runs from ordering the nodes for
        O(lease) seconds, unless they join what is going on. For a caller that has to do something before it orders,
        like switching the nodes off.
      - V(withdrawn) closes what was open for the nodes, and lets go of what this run held. They keep their addresses,
        so that firmware which boots from the network first is told at once to boot from the disk.
      - V(absent) also forgets their addresses.
    choices: [ordered, held, withdrawn, absent]
    default: ordered
    type: str
  run:
    description: Names the run that orders, the same in all its tasks. Another run sees it in the node's lock.
    type: str
    required: true
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
      boot_mac:
        description: The MAC of the NIC that the node boots from. Required by O(state=ordered) and O(state=held).
        type: str
      address:
        description: The node's IPv4 address on the provisioning network. Required by O(state=ordered) and O(state=held).
        type: str
      firmware:
        description: What the node boots by.
        choices: [bios, uefi]
        type: str
      boot:
        description: The kernel that the node boots while it is awaited, as
          P(seedcloud.openstack.pxe_config#module) takes it (C(kernel), C(initrd), C(cmdline)).
        type: dict
      order:
        description:
          - The order (C(action), C(image), C(root_device), C(wipe), C(files), C(ssh), C(after)), less what this
            module adds.
          - Required by O(state=ordered) and O(state=held).
        type: dict
      generation:
        description:
          - With O(state=withdrawn) and O(state=absent), leave the node alone unless this is its newest generation.
          - With O(state=ordered), what O(state=held) foretold. If that was joined, it is joined also when it came to its
            end meanwhile.
        type: int
  group:
    description: The group that the seed's nginx runs as.
    type: str
    default: seedcloud
  lock_timeout:
    description: Seconds to wait for nodes on which another run is alive that this one cannot join.
    type: int
    default: 0
  lease:
    description: Seconds for which a run counts as alive after it was last heard of.
    type: int
    default: 120
  stalled_after:
    description: Seconds of silence after which a generation counts as dead, and is not joined but replaced.
    type: int
    default: 900
  dhcp_pid_file:
    description: Where the seed's dnsmasq keeps its process number. It is told when a reservation changes or goes away.
    type: path
    default: /run/seedcloud-dnsmasq/dnsmasq.pid
"""

EXAMPLES = r"""
- name: Order the nodes' deployment
  seedcloud.openstack.node_order:
    run: 5f6c6c0e-2b0c-4f59-9d2e-0d9f4c0a1b11
    nodes:
      - name: node1
        boot_mac: "00:00:5e:00:53:01"
        address: 192.0.2.11
        firmware: uefi
        boot:
          kernel: http://192.0.2.1:80/ramdisks/agent-0123456789ab/vmlinuz
          initrd: [http://192.0.2.1:80/ramdisks/agent-0123456789ab/initrd]
          cmdline: [seedcloud.url=http://192.0.2.1:80, "BOOTIF=01-00-00-5e-00-53-01"]
        order:
          action: deploy
          image:
            name: debian13-openstack-0123456789ab
            url: /images/debian13-openstack-0123456789ab.raw.zst
            block_map: /images/debian13-openstack-0123456789ab.map.json
            sha256: 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08
            size: 3221225472
            compressed_size: 734003200
            format: raw.zst
          root_device: {serial: S3Z8NX0K}
          wipe: {confirmed: null}
          files: []
          ssh: {user: debian, authorized_keys: [ssh-ed25519 AAAA]}
          after: reboot
  register: ordered

- name: Await the nodes no longer
  seedcloud.openstack.node_order:
    state: withdrawn
    run: 5f6c6c0e-2b0c-4f59-9d2e-0d9f4c0a1b11
    nodes:
      - name: node1
        generation: 3
"""

RETURN = r"""
nodes:
  description: What became of each node.
  returned: always
  type: dict
  sample:
    node1:
      changed: true
      failed: false
      code: ordered
      msg: ""
      generation: 3
      joined: false
      needs_boot: true
      run: 5f6c6c0e-2b0c-4f59-9d2e-0d9f4c0a1b11
      fingerprint: 3a6eb0790f39ac87c94f3856b2dd2c5d110e6811602261a9a923d3bb23adc8b7
      last_event: ""
      claimed_by: null
  contains:
    code:
      description: One of V(ordered), V(held), V(joined), V(withdrawn), V(superseded) (a newer generation than the one
        named), V(locked) (another run is alive on the node), V(bad_order) (the message says what to mend),
        V(seed_error) (a file could not be written).
      type: str
      returned: always
      sample: ordered
    needs_boot:
      description: Whether the node is still to be started from the network. Never true for a node whose claim is taken.
      type: bool
      returned: with O(state=ordered) and O(state=held)
      sample: true
    generation:
      description: The number of the node's newest order; with O(state=held), of the one that V(ordered) would come to.
      type: int
      returned: unless the node failed
      sample: 3
failed_nodes:
  description: The names of the nodes that failed, sorted.
  returned: always
  type: list
  elements: str
  sample: [node2]
"""

import grp
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.seedcloud.openstack.plugins.module_utils._order.batch import (
    Settings,
    order_nodes,
    seed_fault,
    withdraw_nodes,
)
from ansible_collections.seedcloud.openstack.plugins.module_utils._order.orders import Orders

NODE_SPEC: dict[str, Any] = {
    "name": {"type": "str", "required": True},
    "boot_mac": {"type": "str"},
    "address": {"type": "str"},
    "firmware": {"type": "str", "choices": ["bios", "uefi"]},
    "boot": {"type": "dict"},
    "order": {"type": "dict"},
    "generation": {"type": "int"},
}
ORDERING = ("ordered", "held")  # states that take a whole order
SPEC: dict[str, Any] = {
    "root": {"type": "path", "default": "/var/lib/seedcloud"},
    "state": {"type": "str", "default": "ordered", "choices": ["ordered", "held", "withdrawn", "absent"]},
    "run": {"type": "str", "required": True},
    "nodes": {"type": "list", "elements": "dict", "required": True, "options": NODE_SPEC},
    "group": {"type": "str", "default": "seedcloud"},
    "lock_timeout": {"type": "int", "default": 0},
    "lease": {"type": "int", "default": 120},
    "stalled_after": {"type": "int", "default": 900},
    "dhcp_pid_file": {"type": "path", "default": "/run/seedcloud-dnsmasq/dnsmasq.pid"},
}


def _argument_fault(params: dict[str, Any], check_mode: bool) -> str | None:
    run = params["run"]
    if not run.isascii() or not run.isprintable() or " " in run or not 0 < len(run) <= 100:
        return "run: give up to 100 printable characters without white space"
    keys = ("name", "boot_mac", "address") if params["state"] in ORDERING else ("name",)
    for key in keys:
        values = [str(node[key]).lower() for node in params["nodes"]]
        twice = sorted({value for value in values if values.count(value) > 1})
        if twice:
            return f"nodes: {key} {', '.join(twice)} is given to several nodes"
    return None if check_mode else seed_fault(Path(params["root"]))


def _group(name: str) -> int:
    return grp.getgrnam(name).gr_gid


def main() -> None:
    """Spec, backend, run, exit."""
    module = AnsibleModule(argument_spec=SPEC, supports_check_mode=True)
    params = module.params
    fault = _argument_fault(params, module.check_mode)
    if fault:
        module.fail_json(msg=fault)
    try:
        gid = -1 if module.check_mode else _group(params["group"])
    except KeyError:
        module.fail_json(msg=f"group {params['group']!r} does not exist; deploy the seed first")
    orders = Orders(Path(params["root"]), gid, Path(params["dhcp_pid_file"]))
    settings = Settings(
        params["run"],
        params["lease"],
        params["lock_timeout"],
        params["stalled_after"],
        module.check_mode,
        hold=params["state"] == "held",
    )
    if params["state"] in ORDERING:
        nodes = order_nodes(orders, settings, params["nodes"])
    else:
        nodes = withdraw_nodes(orders, settings, params["nodes"], forget=params["state"] == "absent")
    orders.reload_dhcp()
    diff = [found for found in (node.pop("diff", None) for node in nodes.values()) if found]
    module.exit_json(
        changed=any(node["changed"] for node in nodes.values()),
        nodes=nodes,
        failed_nodes=sorted(name for name, node in nodes.items() if node["failed"]),
        diff=diff,
    )


if __name__ == "__main__":
    main()
