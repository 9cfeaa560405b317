# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 the seedcloud.openstack authors
from __future__ import annotations

DOCUMENTATION = r"""
module: support_bundle
short_description: Collect what explains a fault into one tarball, secrets masked
version_added: 0.1.0
author: [The seedcloud.openstack authors (@seedcloud)]
description:
  - Reads files and runs commands on a host, masks every secret in them, and packs them.
  - With O(path) the tarball is written there; without it, it comes back as RV(content), to be merged into another one with O(parts).
  - A file or command that fails is told inside of the bundle and does not cost the others.
attributes:
  check_mode:
    description: Can run in check mode and returns what it would do, without changing the host.
    support: full
  diff_mode:
    description: Returns what changed in diff mode.
    support: none
    details: [The tarball is a snapshot.]
  idempotent:
    description: A second run changes nothing.
    support: none
    details: [Every run takes a new snapshot.]
options:
  files:
    description: Absolute paths; shell patterns (C(*), C(**)) are expanded. Symbolic links are left out.
    type: list
    elements: str
    default: []
  commands:
    description: Commands to run, as lists of arguments, by the name of their output in the bundle. Nothing may change the host.
    type: dict
    default: {}
  units_since:
    description:
      - From when on, as C(journalctl --since) reads it, the journals of units that failed, do not come up or had to be
        started again are taken, each on its own. None of them without it.
    type: str
  secrets:
    description:
      - Values that must not be in the bundle.
      - What looks like a secret (V(password = x), credentials in URLs, private keys) is masked besides.
    type: list
    elements: str
    default: []
  secret_files:
    description: JSON files on the host, all of whose string values are secrets.
    type: list
    elements: path
    default: []
  parts:
    description: Bundles of other hosts (their RV(content)), by host name; each is put into a folder of that name.
    type: dict
    default: {}
  path:
    description: Where to write the tarball, readable by root alone.
    type: path
  limit:
    description: Of each file or output, at most so many of its last bytes.
    type: int
    default: 1048576
"""

EXAMPLES = r"""
- name: Collect what nginx says
  seedcloud.openstack.support_bundle:
    files: [/var/log/nginx/*.log]
    commands:
      units: [systemctl, list-units, --failed]
    path: /var/lib/seedcloud/support/nginx.tar.gz
"""

RETURN = r"""
content:
  description: The tarball, base64.
  returned: when O(path) is not given
  type: str
  sample: H4sIAAAAAAAA
path:
  description: Where the tarball is.
  returned: always
  type: str
  sample: /var/lib/seedcloud/support/nginx.tar.gz
members:
  description: What is in it.
  returned: always
  type: list
  elements: str
  sample: [commands/units.txt, var/log/nginx/error.log]
"""

import base64
import json
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.seedcloud.openstack.plugins.module_utils._support import (
    Member,
    pack,
    read_files,
    run_commands,
    unit_journals,
    unpack,
)


def strings(value: Any) -> Iterator[str]:
    """Yield all strings inside of a JSON value."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for inner in value.values():
            yield from strings(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from strings(inner)


def collect(params: dict[str, Any]) -> Iterator[Member]:
    """Yield all that goes into the bundle."""
    yield from read_files(params["files"], params["limit"])
    yield from run_commands(params["commands"], params["limit"])
    if since := params["units_since"]:
        yield from run_commands(unit_journals(since), params["limit"])
    for host, content in sorted(params["parts"].items()):
        yield from unpack(base64.b64decode(content), host)


def write(path: Path, data: bytes) -> None:
    """Put data at path, whole or not at all, for root alone."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent)
    with os.fdopen(handle, "wb") as file:
        file.write(data)
    Path(name).rename(path)


def main() -> None:
    """Specification, collection, result."""
    module = AnsibleModule(
        argument_spec={
            "files": {"type": "list", "elements": "str", "default": []},
            "commands": {"type": "dict", "default": {}},
            "units_since": {"type": "str"},
            "secrets": {"type": "list", "elements": "str", "default": [], "no_log": True},
            "secret_files": {"type": "list", "elements": "path", "default": [], "no_log": False},
            "parts": {"type": "dict", "default": {}},
            "path": {"type": "path"},
            "limit": {"type": "int", "default": 1 << 20},
        },
        supports_check_mode=True,
    )
    params = module.params
    secrets = list(params["secrets"])
    for name in params["secret_files"]:
        if Path(name).exists():
            secrets += strings(json.loads(Path(name).read_text()))
    members = list(collect(params))
    data = pack(members, secrets, time=time.time())
    result: dict[str, Any] = {"members": [member.name for member in members], "changed": bool(params["path"])}
    if not params["path"]:
        result["content"] = base64.b64encode(data).decode()
    elif not module.check_mode:
        write(Path(params["path"]), data)
    module.exit_json(path=params["path"], **result)


if __name__ == "__main__":
    main()
