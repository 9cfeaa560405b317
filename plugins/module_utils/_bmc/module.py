# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 the seedcloud.openstack authors
"""The parameters and results that the bmc_* modules share; the doc fragment `_bmc` says the same in words."""

from __future__ import annotations

import ipaddress
import re
from typing import TYPE_CHECKING, Any

from ansible.module_utils.basic import AnsibleModule, missing_required_lib
from ansible_collections.seedcloud.openstack.plugins.module_utils._bmc import fleet
from ansible_collections.seedcloud.openstack.plugins.module_utils._bmc.core import (
    MissingLibraryError,
    Node,
)
from ansible_collections.seedcloud.openstack.plugins.module_utils._bmc.drivers import NAMES, driver

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,252}")
LABEL = re.compile(r"(?!-)[A-Za-z0-9-]{1,63}(?<!-)")

NODES = {
    "type": "list",
    "elements": "dict",
    "required": True,
    "options": {
        "name": {"type": "str", "required": True},
        "driver": {"type": "str", "choices": list(NAMES), "default": "ipmi"},
        "address": {"type": "str", "required": True},
        "port": {"type": "int", "default": 623},
        "username": {"type": "str", "required": True},
        "password": {"type": "str", "required": True, "no_log": True},
        "allow_ipmi15": {"type": "bool", "default": False},
    },
}


def make_module(**options: Any) -> AnsibleModule:
    spec = {
        "nodes": NODES,
        "timeout": {"type": "float", "default": 60.0},
        "workers": {"type": "int", "default": 100},
        **options,
    }
    return AnsibleModule(argument_spec=spec, supports_check_mode=True)


def serve(module: AnsibleModule, errand: Callable[[], fleet.Errand], extra: float = 0) -> None:
    """Check the arguments, serve the nodes, leave the module. `extra`: seconds on top of `timeout`."""
    params = module.params
    nodes = [Node(**given) for given in params["nodes"]]
    try:
        faults = list(_faults(nodes, params))
    except MissingLibraryError as err:
        module.fail_json(msg=missing_required_lib(err.name), exception=err.trace)
    if faults:
        module.fail_json(msg="Faulty arguments: " + "; ".join(faults), faults=faults)
    errands = {node.name: errand() for node in nodes}
    outcomes = fleet.run(nodes, errands, params["timeout"] + extra, params["workers"])
    result: dict[str, Any] = {
        "changed": any(outcome["changed"] for outcome in outcomes.values()),
        "nodes": outcomes,
        "failed_nodes": [name for name, outcome in outcomes.items() if outcome["failed"]],
    }
    if module._diff and result["changed"]:
        diffs = {name: errands[name].diff() for name, outcome in outcomes.items() if outcome["changed"]}
        result["diff"] = {
            "before": {name: before for name, (before, _after) in diffs.items()},
            "after": {name: after for name, (_before, after) in diffs.items()},
        }
    module.exit_json(**result)


def _faults(nodes: list[Node], params: Mapping[str, Any]) -> Iterator[str]:
    """Everything that is wrong with the arguments, so that it can be said at once."""
    for option in ("timeout", "soft_timeout", "workers"):
        least = 0 if option == "soft_timeout" else 1
        if option in params and not least <= params[option] <= 86400:
            yield f"{option} is {params[option]:g}, which is not between {least} and 86400"
    names: set[str] = set()
    bmcs: dict[tuple[str, str, int], str] = {}
    for number, node in enumerate(nodes, start=1):
        who = f"nodes[{number}] ({node.name[:60]!r})"
        if not NAME.fullmatch(node.name):
            yield f"{who}: the name is not a host name"
        elif node.name in names:
            yield f"{who}: the name occurs twice"
        names.add(node.name)
        address = _address(node.address)
        if address is None:
            yield f"{who}: {node.address[:60]!r} is neither an address nor a host name"
        elif (twin := bmcs.setdefault((node.driver, address, node.port), node.name)) != node.name:
            yield f"{who}: {twin!r} has the same BMC, {address} port {node.port}"
        if not 1 <= node.port <= 65535:
            yield f"{who}: the port {node.port} is not between 1 and 65535"
        yield from (f"{who}: {fault}" for fault in driver(node.driver).faults(node))


def _address(given: str) -> str | None:
    """The address in its one spelling; None when it is none."""
    try:
        return str(ipaddress.ip_address(given))
    except ValueError:
        labels = given.rstrip(".").split(".")
        numeric = labels[-1].isdigit()  # 192.0.2.256 is a mistyped address, not a name
        named = len(given) <= 253 and not numeric and all(LABEL.fullmatch(label) for label in labels)
        return given.lower() if named else None
