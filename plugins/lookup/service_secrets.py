# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 the seedcloud.openstack authors
"""Which secrets the services need and the inventory does not give."""

from __future__ import annotations

DOCUMENTATION = r"""
name: service_secrets
short_description: Secrets that the services declare and the inventory does not give
version_added: 0.1.0
author:
  - The seedcloud.openstack authors (@seedcloud)
description:
  - Reads the manifests of this collection's service roles and returns the secrets that no variable of the host gives,
    each with its kind, as M(seedcloud.openstack.seed_secrets) takes them.
options: {}
"""

EXAMPLES = r"""
- name: Have the secrets that the inventory does not give
  seedcloud.openstack.seed_secrets:
    names: "{{ lookup('seedcloud.openstack.service_secrets') }}"
  delegate_to: seed1
  run_once: true
  no_log: true
"""

RETURN = r"""
_raw:
  description: The kind of each secret, by name.
  type: list
  elements: dict
  sample: [{keystone_db_password: hex, keystone_fernet_key_0: fernet}]
"""

from typing import Any

from ansible.plugins.lookup import LookupBase
from ansible_collections.seedcloud.openstack.plugins.plugin_utils._compiler import roles
from ansible_collections.seedcloud.openstack.plugins.plugin_utils._compiler.secrets import catalogue


class LookupModule(LookupBase):
    """See DOCUMENTATION."""

    def run(self, terms: list[Any], variables: dict[str, Any] | None = None, **kwargs: Any) -> list[dict[str, str]]:
        def load_file(path: str) -> Any:  # trusted, as in service_plan: the loader's cache serves both
            return self._loader.load_from_file(path, trusted_as_template=True)

        manifests = roles.load(load_file)[2]
        known = catalogue(list(manifests.values()))
        return [{name: item["kind"] for name, item in known.items() if name not in (variables or {})}]
