#!/usr/bin/python
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 the seedcloud.openstack authors

"""Apply a host's compiled plan."""

from __future__ import annotations

DOCUMENTATION = r"""
module: service_apply
short_description: Apply a host's compiled OpenStack plan
version_added: 0.1.0
author:
  - The seedcloud.openstack authors (@seedcloud)
description:
  - Brings one host to the plan that M(seedcloud.openstack.service_plan) compiled for it, running side by side what the
    plan's graph allows. Files, databases, message queue users, migrations, units and Keystone's catalogue are compared
    with the plan and changed where they differ.
  - A unit is restarted when, and only when, something that it reads differs from what it was started with. That is
    recorded on the host, so that a restart that a killed run still owes is made by the next one.
options:
  plan:
    description: The plan, as RV(seedcloud.openstack.service_plan#module:plan) gave it, written as JSON.
    type: json
    required: true
  secrets:
    description: The values of the plan's secrets, as RV(seedcloud.openstack.service_plan#module:secrets) gave them.
    type: dict
    default: {}
  phase:
    description:
      - V(services) applies all but the steps that need every node's services; V(cluster) applies those.
    type: str
    choices: [services, cluster]
    default: services
  patience:
    description:
      - The plan's timeouts are multiplied by this. Hosts that are emulated need several times as long.
    type: float
    default: 1.0
  workers:
    description:
      - How many nodes of the graph are applied side by side. V(0) is twice the host's processors, and at least 4.
      - Services that start at once take turns on the processors; where those are emulated, few at a time are done sooner.
    type: int
    default: 0
  records:
    description: The folder in which the host remembers what its units were started with and which steps were done.
    type: path
    default: /var/lib/seedcloud/applied
  progress:
    description:
      - The action plugin gives it. What is changed is told, a line each, in a file below C(/run/seedcloud) that is named by
        this word, and printed while the module runs.
    type: str
attributes:
  check_mode:
    description: Compares and changes nothing.
    support: full
  diff_mode:
    description: Shows each file that differs, with secrets masked.
    support: full
  idempotent:
    description: A second run changes nothing.
    support: full
"""

EXAMPLES = r"""
- name: Compile Keystone for this host
  seedcloud.openstack.service_plan:
    services: [mariadb, memcached, loadbalancer, keystone]
    records:
      - name: node1
        fqdn: node1.cloud.example
        roles: [controller]
        addresses: {internal: 198.51.100.11, public: 203.0.113.11}
    secrets: "{{ seed_secrets_made.secrets }}"
  register: compiled
  no_log: true

- name: Apply it
  seedcloud.openstack.service_apply:
    plan: "{{ compiled.plan | to_json }}"  # as a text it is masked whole, not word by word
    secrets: "{{ compiled.secrets }}"
  become: true
"""

RETURN = r"""
restarted:
  description: The units that were started, restarted or reloaded.
  returned: always
  type: list
  elements: str
  sample: [keystone.service]
files:
  description: The files and folders that were written or removed.
  returned: always
  type: list
  elements: str
  sample: [/etc/keystone/keystone.conf]
nodes:
  description: What became of each node of the graph, and how long it took.
  returned: always
  type: dict
  sample: {"keystone:keystone.service": {changed: true, seconds: 3.1, action: restart}}
failed_nodes:
  description: The nodes of the graph that failed.
  returned: always
  type: list
  elements: str
  sample: []
"""

import json
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.seedcloud.openstack.plugins.module_utils._apply.apply import Applier
from ansible_collections.seedcloud.openstack.plugins.module_utils._apply.graph import Outcome
from ansible_collections.seedcloud.openstack.plugins.module_utils._apply.records import Records
from ansible_collections.seedcloud.openstack.plugins.module_utils._apply.system import ApplyError, Vault
from ansible_collections.seedcloud.openstack.plugins.module_utils._progress import Progress

SPEC: dict[str, Any] = {
    # A JSON text: as one string it is masked whole in every log, where a dict would have each of its words masked.
    "plan": {"type": "json", "required": True, "no_log": True},
    "secrets": {"type": "dict", "default": {}, "no_log": True},
    "phase": {"type": "str", "choices": ["services", "cluster"], "default": "services"},
    "patience": {"type": "float", "default": 1.0},
    "workers": {"type": "int", "default": 0},
    "records": {"type": "path", "default": "/var/lib/seedcloud/applied"},
    "progress": {"type": "str"},
}


def report(applier: Applier, nodes: dict[str, dict[str, Any]], mask: Vault) -> dict[str, Any]:
    """The module's result."""
    failed = sorted(name for name, outcome in nodes.items() if outcome.get("failed"))
    for name in failed:
        nodes[name]["msg"] = mask.mask(nodes[name]["msg"])
    return {
        "changed": any(outcome["changed"] for outcome in nodes.values()),
        "restarted": sorted(applier.restarted),
        "files": sorted(path for outcome in nodes.values() for path in outcome.get("files", [])),
        "nodes": nodes,
        "failed_nodes": failed,
        "diff": applier.diffs,
    }


def tell(progress: Progress, name: str, outcome: Outcome) -> None:
    """Tell that a node of the graph has ended; one that changed nothing is not worth a line."""
    failed = bool(outcome.get("failed"))
    if failed or outcome.get("changed"):
        what = "failed" if failed else outcome.get("action", "done")
        progress.tell(f"{name}: {what} ({outcome.get('seconds', 0.0):.0f} s)")


def main() -> None:
    module = AnsibleModule(argument_spec=SPEC, supports_check_mode=True)
    if module.params["workers"] < 0:
        module.fail_json(msg=f"workers is {module.params['workers']}: give a number of at least 0")
    vault = Vault(module.params["secrets"])
    try:
        records = Records(Path(module.params["records"]), write=not module.check_mode)
        with records.turn(), Progress("service_apply", module.params["progress"]).told() as progress:
            applier = Applier(
                json.loads(module.params["plan"]),
                vault,
                records,
                check=module.check_mode,
                patience=module.params["patience"],
                workers=module.params["workers"],
                tell=lambda name, outcome: tell(progress, name, outcome),
            )
            result = report(applier, applier.run(module.params["phase"]), vault)
    except (ApplyError, OSError) as error:
        module.fail_json(msg=vault.mask(str(error)))
    if result["failed_nodes"]:
        words = "\n".join(f"{name}: {result['nodes'][name]['msg']}" for name in result["failed_nodes"])
        module.fail_json(msg=f"These could not be applied:\n{words}", **result)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
