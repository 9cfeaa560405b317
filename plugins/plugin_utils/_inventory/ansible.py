# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 the seedcloud.openstack authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Where Ansible's errors are met: a variable that cannot be templated is a fault like any other."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible.errors import AnsibleError, AnsibleFilterError
from jinja2.exceptions import TemplateError

from .faults import inventory_faults
from .read import Inventory, read_inventory

ERRORS = (AnsibleError, TemplateError)


def read(hostvars: Mapping[str, Any], groups: Mapping[str, list[str]]) -> Inventory:
    return read_inventory(hostvars, groups, ERRORS)


def faultless(hostvars: Mapping[str, Any], groups: Mapping[str, list[str]]) -> Inventory:
    inventory = read(hostvars, groups)
    if faults := inventory_faults(inventory):
        raise AnsibleFilterError("The inventory has faults:\n" + "\n".join(str(fault) for fault in faults))
    return inventory
