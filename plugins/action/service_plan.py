# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 the seedcloud.openstack authors
"""Compile a host's plan on the controller (see plugins/modules/service_plan.py for its documentation)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase
from ansible_collections.seedcloud.openstack.plugins.plugin_utils._compiler import CompileError, compile_plan, roles
from ansible_collections.seedcloud.openstack.plugins.plugin_utils._compiler.manifest import items, prune
from ansible_collections.seedcloud.openstack.plugins.plugin_utils._compiler.secrets import catalogue, marker
from ansible_collections.seedcloud.openstack.plugins.plugin_utils._compiler.view import cloud_view, host


class ActionModule(ActionBase):
    """Render the manifests with the host's variables and hand them to the compiler."""

    _requires_connection = False
    _supports_check_mode = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        variables = task_vars or {}
        _, args = self.validate_argument_spec(
            {
                "services": {"type": "list", "elements": "str", "required": True},
                "node": {"type": "str", "default": variables.get("inventory_hostname")},
                "records": {"type": "list", "elements": "dict", "required": True},
                "networks": {"type": "dict", "default": {}},
                "region": {"type": "str", "default": "RegionOne"},
                "domain": {"type": "str", "default": "seedcloud.internal"},
                "internal_address": {"type": "str"},
                "public_address": {"type": "str"},
                "secrets": {"type": "dict", "default": {}, "no_log": True},
            }
        )
        try:
            result |= self._compile(args, variables)
        except CompileError as error:
            raise AnsibleActionFail("The services' configuration cannot be compiled:\n" + str(error)) from error
        except ValueError as error:
            raise AnsibleActionFail(str(error)) from error
        return result

    def _compile(self, args: Mapping[str, Any], variables: Mapping[str, Any]) -> dict[str, Any]:
        defaults, role_vars, manifests = roles.load(
            lambda path: self._loader.load_from_file(path, trusted_as_template=True)
        )
        if unknown := sorted(set(args["services"]) - set(manifests)):
            raise CompileError([f"{name}: no role of this collection holds such a manifest" for name in unknown])
        node = next((record for record in args["records"] if record["name"] == args["node"]), None)
        if node is None:
            raise CompileError([f"{args['node']}: is in no node record"])
        cloud = cloud_view(
            args["records"],
            args["networks"],
            region=args["region"],
            domain=args["domain"],
            internal_address=args["internal_address"],
            public_address=args["public_address"],
        )
        known = catalogue(list(manifests.values()))
        context = {
            **defaults,
            **variables,
            **role_vars,
            **{name: marker(name) for name in known},
            "node": node,
            "cloud": cloud,
        }
        templar = self._templar.copy_with_new_env(available_variables=context)
        rendered = [
            templar.template(prune(manifests[name], node["roles"]))
            for name in args["services"]
            if set(manifests[name]["where"]) & set(node["roles"])
        ]
        plan = compile_plan(rendered, node, cloud, known, items(list(manifests.values())))
        given = self._templar.copy_with_new_env(available_variables=variables)
        values = {
            name: given.template(variables[name]) if name in variables else args["secrets"].get(name)
            for name in plan["secrets"]
        }
        if missing := sorted(name for name, value in values.items() if not value):
            raise CompileError([f"{name}: neither the inventory nor the seed gives this secret" for name in missing])
        auth_url = f"http://{host(cloud['public_address'])}:5000/v3"
        return {"changed": False, "plan": plan, "secrets": values, "auth_url": auth_url}
