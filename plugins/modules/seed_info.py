#!/usr/bin/python
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 the seedcloud.openstack authors
"""What the seed is and holds."""

from __future__ import annotations

DOCUMENTATION = r"""
module: seed_info
short_description: Ask what the seed is and holds
version_added: 0.1.0
author: [The seedcloud.openstack authors (@seedcloud)]
description:
  - Runs on the seed, whether it is deployed or not, and needs nothing there but Python.
attributes:
  check_mode:
    support: full
    description: Changes nothing in any mode.
  diff_mode:
    support: N/A
    description: Changes nothing.
  idempotent:
    support: full
    description: Changes nothing.
options:
  root:
    description: The seed's folder.
    type: path
    default: /var/lib/seedcloud
  interface:
    description: Name of the NIC on the provisioning network.
    type: str
    required: true
  image:
    description: Name of the golden image that is asked for. Without it, the one that was built last.
    type: str
"""

EXAMPLES = r"""
- name: Ask what the seed holds
  seedcloud.openstack.seed_info:
    interface: eno1
  register: seed
"""

RETURN = r"""
deployed:
  description: Whether the seed's services have been set up.
  returned: always
  type: bool
  sample: true
pyghmi:
  description: Whether the library that speaks to BMCs is there.
  returned: always
  type: bool
  sample: true
pyghmi_version:
  description: Its version; V(none) when it is not there, or does not say.
  returned: always
  type: str
  sample: 1.5.34
disk_free:
  description: Free bytes on the file system of O(root).
  returned: always
  type: int
  sample: 53687091200
addresses:
  description: IPv4 addresses of O(interface); V(none) when there is no such interface.
  returned: always
  type: list
  elements: str
  sample: [192.0.2.2]
system:
  description: C(ID) and C(VERSION_ID) of the operating system.
  returned: always
  type: dict
  sample: {id: debian, version: "13"}
images:
  description: Manifests of the golden image and of the newest ramdisk; V(none) for what there is not.
  returned: always
  type: dict
  sample:
    golden: {name: debian13-openstack-0123456789ab, size: 3221225472}
    ramdisk: {name: agent-0123456789ab}
"""

import contextlib
import importlib.metadata
import importlib.util
import json
import shutil
import socket
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule


def read_manifest(path: Path) -> dict[str, Any] | None:
    """A JSON object; None where there is none, or half of one."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None
    return value if isinstance(value, dict) else None


def images(root: Path, image: str | None) -> dict[str, dict[str, Any] | None]:
    """The manifests that the stamp of the newest build names."""
    stamp = read_manifest(root / "stamps" / "images.json") or {}
    golden, ramdisk = image or stamp.get("golden"), stamp.get("ramdisk")
    return {
        "golden": read_manifest(root / "http" / "images" / f"{golden}.json") if golden else None,
        "ramdisk": read_manifest(root / "http" / "ramdisks" / ramdisk / "manifest.json") if ramdisk else None,
    }


def addresses(module: AnsibleModule, interface: str) -> list[str] | None:
    """The IPv4 addresses of an interface."""
    if interface not in {name for _index, name in socket.if_nameindex()}:
        return None
    _rc, out, _err = module.run_command(["ip", "-json", "-4", "address", "show", "dev", interface], check_rc=True)
    return [address["local"] for link in json.loads(out) for address in link.get("addr_info", [])]


def system() -> dict[str, str | None]:
    """What /etc/os-release says."""
    known: dict[str, str] = {}
    with contextlib.suppress(FileNotFoundError):
        for line in Path("/etc/os-release").read_text(encoding="utf-8").splitlines():
            key, _unused, value = line.partition("=")
            known[key] = value.strip("\"'")
    return {"id": known.get("ID"), "version": known.get("VERSION_ID")}


def pyghmi_version() -> str | None:
    """Of the library that speaks to BMCs."""
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        return importlib.metadata.version("pyghmi")
    return None


def disk_free(root: Path) -> int:
    """Of the file system on which the folder is or would be."""
    there = next(folder for folder in (root, *root.parents) if folder.is_dir())
    return shutil.disk_usage(there).free


def main() -> None:
    """Spec, backend, run, exit."""
    spec: dict[str, Any] = {
        "root": {"type": "path", "default": "/var/lib/seedcloud"},
        "interface": {"type": "str", "required": True},
        "image": {"type": "str"},
    }
    module = AnsibleModule(argument_spec=spec, supports_check_mode=True)
    root = Path(module.params["root"])
    there = importlib.util.find_spec("pyghmi") is not None
    module.exit_json(
        changed=False,
        deployed=(root / "nodes").is_dir() and (root / "awaited").is_dir(),
        pyghmi=there,
        pyghmi_version=pyghmi_version() if there else None,
        disk_free=disk_free(root),
        addresses=addresses(module, module.params["interface"]),
        system=system(),
        images=images(root, module.params["image"]),
    )


if __name__ == "__main__":
    main()
