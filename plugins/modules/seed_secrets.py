#!/usr/bin/python
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 the seedcloud.openstack authors
"""Make the secrets of a cloud, once."""

from __future__ import annotations

DOCUMENTATION = r"""
module: seed_secrets
short_description: Make the secrets of a cloud once, and keep them on the seed
version_added: 0.1.0
author: [The seedcloud.openstack authors (@seedcloud)]
description:
  - Returns a value for each name. What is missing is made from 256 random bits and kept, readable by root alone.
  - A value that is there is never replaced.
notes:
  - Use C(no_log) on the task that registers the result.
attributes:
  check_mode:
    support: full
    description: Says what is missing and returns values that are not kept.
  diff_mode:
    support: none
    description: A difference would show secrets.
  idempotent:
    support: full
    description: A second call changes nothing.
options:
  root:
    description: The seed's folder. The secrets lie in C(secrets/secrets.json) below it.
    type: path
    default: /var/lib/seedcloud
  names:
    description:
      - The names of the secrets that are wanted, each with its kind.
      - The kinds are V(hex), V(base64) and V(fernet) (URL-safe base64 of 32 bytes, as Keystone's keys are).
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: Have the cloud's secrets
  seedcloud.openstack.seed_secrets:
    names:
      keystone_database_password: hex
      keystone_fernet_key_0: fernet
      metadata_proxy_shared_secret: hex
  register: cloud_secrets
  no_log: true
"""

RETURN = r"""
secrets:
  description: The values by name.
  returned: success
  type: dict
  sample: {keystone_database_password: 3a6eb0790f39ac87c94f3856b2dd2c5d110e6811602261a9a923d3bb23adc8b7}
created:
  description: The names that were made by this call, sorted.
  returned: success
  type: list
  elements: str
  sample: [keystone_database_password]
"""

import re
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.seedcloud.openstack.plugins.module_utils._order.secrets import KINDS, SecretsFault, have

SPEC: dict[str, Any] = {
    "root": {"type": "path", "default": "/var/lib/seedcloud"},
    "names": {"type": "dict", "required": True},
}


def main() -> None:
    """Spec, backend, run, exit."""
    module = AnsibleModule(argument_spec=SPEC, supports_check_mode=True)
    params = module.params
    wrong = sorted(
        name for name, kind in params["names"].items() if kind not in KINDS or not re.fullmatch(r"[a-z0-9_]+", name)
    )
    if wrong:
        module.fail_json(
            msg=f"names: {', '.join(wrong)}: give a name of a-z, 0-9 and _ and a kind of {', '.join(KINDS)}"
        )
    try:
        values, created = have(Path(params["root"]), params["names"], module.check_mode)
    except (SecretsFault, OSError) as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=bool(created), secrets=values, created=created)


if __name__ == "__main__":
    main()
