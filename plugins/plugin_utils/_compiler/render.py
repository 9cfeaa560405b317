# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 the seedcloud.openstack authors
"""Render the roles' manifests with a host's variables and compile them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from . import roles
from .faults import CompileError
from .manifest import items, prune
from .plan import compile_plan
from .secrets import catalogue, marker
from .view import cloud_view

Template = Callable[[Mapping[str, Any], Any], Any]  # variables, data -> rendered data


def render_plan(
    load_file: roles.Load, template: Template, variables: Mapping[str, Any], args: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The plan of args["node"] and the `cloud` that it was compiled with. Raises CompileError, ValueError."""
    defaults, role_vars, manifests = roles.load(load_file)
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
    markers = {name: marker(name) for name in known}
    context = {**defaults, **variables, **role_vars, **markers, "node": node, "cloud": cloud}
    rendered = [
        template(context, prune(manifests[name], node["roles"]))
        for name in args["services"]
        if set(manifests[name]["where"]) & set(node["roles"])
    ]
    if "loadbalancer" not in args["services"] and any(manifest.get("frontends") for manifest in rendered):
        # A role alone: HAProxy is there, and has to read this service's file.
        unit = {key: manifests["loadbalancer"][key] for key in ("name", "where", "units")}
        rendered.append(template(context, prune(unit, node["roles"])))
    return compile_plan(rendered, node, cloud, known, items(list(manifests.values()))), cloud


def secret_values(
    plan: Mapping[str, Any], template: Template, variables: Mapping[str, Any], made: Mapping[str, str]
) -> dict[str, str]:
    """The values of the plan's secrets: the inventory's before those that were made. Raises CompileError."""
    values = {
        name: template(variables, variables[name]) if name in variables else made.get(name) for name in plan["secrets"]
    }
    if missing := sorted(name for name, value in values.items() if not value):
        raise CompileError([f"{name}: neither the inventory nor the seed gives this secret" for name in missing])
    return {name: str(value) for name, value in values.items()}
