# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 the seedcloud.openstack authors
"""Order nodes, and wait for those that another run acts on (plugins/modules/node_order.py documents and does it).

Long waiting is done here: a module that waits on the seed outlives the run that was killed, and would in the end hold the nodes
for nobody.
"""

from __future__ import annotations

import time
from typing import Any

from ansible.plugins.action import ActionBase
from ansible_collections.seedcloud.openstack.plugins.plugin_utils._run import Run

_NAME = "seedcloud.openstack.node_order"
_CALL = 5  # seconds that one call may wait


class ActionModule(ActionBase):
    """The module, called again for nodes that are locked."""

    TRANSFERS_FILES = False
    _supports_check_mode = True
    _supports_async = False

    def run(self, tmp: Any = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Call the module until no node is locked, or for `lock_timeout` seconds."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        run, args = Run(), dict(self._task.args)
        try:
            end = time.monotonic() + int(args.get("lock_timeout") or 0)
        except (TypeError, ValueError):  # the module says what is wrong with it
            end = 0.0
        nodes: dict[str, Any] = {}
        diff: list[Any] = []
        while True:
            run.must_live()
            if end:
                args["lock_timeout"] = int(max(0, min(_CALL, end - time.monotonic())))
            told: dict[str, Any] = self._execute_module(module_name=_NAME, module_args=args, task_vars=task_vars)
            if "nodes" not in told:
                return result | told
            nodes |= told["nodes"]
            diff += told.get("diff") or []
            locked = {name for name, node in nodes.items() if node["code"] == "locked"}
            if not locked or time.monotonic() >= end:
                break
            if args.get("state") != "held":  # an order stands; a hold must not run out while others are waited for
                args["nodes"] = [node for node in args["nodes"] if node["name"] in locked]
        failed = sorted(name for name, node in nodes.items() if node["failed"])
        changed = any(node["changed"] for node in nodes.values())
        return result | told | {"nodes": nodes, "failed_nodes": failed, "changed": changed, "diff": diff}
