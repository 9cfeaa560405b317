# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 the seedcloud.openstack authors
"""Compile a host's plan on the controller (plugins/modules/service_plan.py documents it)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase
from ansible_collections.seedcloud.openstack.plugins.plugin_utils._compiler import CompileError
from ansible_collections.seedcloud.openstack.plugins.plugin_utils._compiler.render import render_plan, secret_values
from ansible_collections.seedcloud.openstack.plugins.plugin_utils._compiler.view import host


class ActionModule(ActionBase):
    """Render the manifests with the host's variables and hand them to the compiler."""

    _requires_connection = False
    _supports_check_mode = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        variables = task_vars or {}
        _unused, args = self.validate_argument_spec(
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

        def template(context: Mapping[str, Any], data: Any) -> Any:
            return self._templar.copy_with_new_env(available_variables=context).template(data)

        def load_file(path: str) -> Any:
            return self._loader.load_from_file(path, trusted_as_template=True)

        try:
            plan, cloud = render_plan(load_file, template, variables, args)
            values = secret_values(plan, template, variables, args["secrets"])
        except (CompileError, ValueError) as error:
            raise AnsibleActionFail(f"The services cannot be compiled for {args['node']}:\n{error}") from error
        auth_url = f"http://{host(cloud['public_address'])}:5000/v3"
        return {**result, "changed": False, "plan": plan, "secrets": values, "auth_url": auth_url}
