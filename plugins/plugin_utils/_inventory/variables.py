# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 the seedcloud.openstack authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The roles' own variables, judged by the roles' argument specifications before any of them runs.

Each role does that itself when its turn comes, which for a service is after the nodes were written.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible.module_utils.common.yaml import yaml_load
from ansible_collections.seedcloud.openstack.plugins.module_utils._build.golden import faulty

from .read import NODE_ONLY, SEED_ONLY, SHARED, Fault, plain

_ROLES = Path(__file__).resolve().parents[3] / "roles"
_NOT_IN_THE_LINE = {"lab"}


@cache
def options() -> dict[str, tuple[str, dict[str, Any]]]:
    """Name of a variable -> the role that takes it, and what its specification says. What the inventory's own rules judge is
    left to these."""
    judged = {*SHARED, *SEED_ONLY, *NODE_ONLY}
    return {
        name: (path.parts[-3], spec)
        for path in sorted(_ROLES.glob("*/meta/argument_specs.yml"))
        if path.parts[-3] not in _NOT_IN_THE_LINE
        for entry in yaml_load(path.read_text())["argument_specs"].values()
        for name, spec in (entry.get("options") or {}).items()
        if name not in judged
    }


def variable_faults(
    hostvars: Mapping[str, Mapping[str, Any]], hosts: Iterable[str], errors: tuple[type[Exception], ...]
) -> list[Fault]:
    """What is wrong with the roles' variables of these hosts. One value that many hosts share is told once, at the first.

    What raises one of `errors` cannot be templated yet (it may need what a role finds out on its host) and is the role's to judge.
    """
    given: dict[tuple[str, str], tuple[Any, list[str]]] = {}
    for host in hosts:
        for name in sorted(options().keys() & set(hostvars[host])):
            try:
                value = plain(hostvars[host][name])
            except errors:
                continue
            given.setdefault((name, repr(value)), (value, []))[1].append(host)
    return [
        Fault(
            host=first,
            variable=name,
            fault=fault + (f" (and on {len(others)} more)" if others else ""),
            mend=f"`ansible-doc --type role seedcloud.openstack.{options()[name][0]}` says what it takes",
        )
        for (name, _shown), (value, (first, *others)) in given.items()
        for fault in _judge(name, value)
    ]


def _judge(name: str, value: object) -> list[str]:
    if value is None:
        return []
    _role, spec = options()[name]
    # By itself: what else a role needs may come from the playbook.
    result = ArgumentSpecValidator({name: spec | {"required": False}}).validate({name: value})
    said = [" ".join(str(error).split()).rstrip(".") for error in result.error_messages]
    return said or (faulty(value) if name == "image_extra_files" and isinstance(value, Mapping) else [])
