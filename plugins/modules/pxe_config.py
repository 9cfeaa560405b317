#!/usr/bin/python
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 the seedcloud.openstack authors

from __future__ import annotations

DOCUMENTATION = r"""
module: pxe_config
short_description: Write what the firmware of machines boots from the network
version_added: 0.1.0
description:
  - Renders the boot files of many nodes from one model, for iPXE, GRUB (the Secure Boot path) and PXELINUX.
  - A node without a O(nodes[].boot) boots from its disk, and so does a machine that no file is for.
  - The files for iPXE and GRUB serve BIOS and UEFI alike. Every fetch is tried ten times.
  - Each file is replaced atomically. A file that has the wanted content is left alone.
  - Values are validated, not quoted. All faults of all nodes are reported at once, and then nothing is written.
author:
  - The seedcloud.openstack authors (@seedcloud)
attributes:
  check_mode:
    description: Tells what would change and changes nothing.
    support: full
  diff_mode:
    description: Returns the boot files before and after, also in C(check_mode).
    support: full
  idempotent:
    description: A second run with the same arguments changes nothing.
    support: full
options:
  roots:
    description:
      - The folder of each format. Only the formats that are given are written. Missing folders are made.
    type: dict
    required: true
    suboptions:
      ipxe:
        description: Receives C(<mac with hyphens>.ipxe) and C(default.ipxe).
        type: path
      grub:
        description: GRUB's prefix. Receives C(grub.cfg-01-<mac with hyphens>) and C(grub.cfg).
        type: path
      pxelinux:
        description:
          - The folder of the loader.
          - Receives C(pxelinux.cfg/01-<mac with hyphens>) and C(pxelinux.cfg/default).
        type: path
  nodes:
    description: The nodes. Neither a name nor a MAC may be given to two of them.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: Host name by RFC 1123.
        type: str
        required: true
      macs:
        description: MAC addresses of the NICs that the node may boot from. It gets a file for each of them.
        type: list
        elements: str
        required: true
      firmware:
        description:
          - What the node's firmware is. PXELINUX is for BIOS, so a node with V(uefi) gets no file for it.
          - iPXE and GRUB find out by themselves.
        type: str
        choices: [bios, uefi]
      boot:
        description: What to boot from the network. Without it the node boots from its disk.
        type: dict
        suboptions:
          kernel:
            description:
              - URL of the kernel, or an absolute path on the server that the boot file came from.
              - iPXE fetches by V(http), V(https) and V(tftp), GRUB and PXELINUX by V(http) and V(tftp).
                Of PXELINUX only C(lpxelinux.0) knows V(http). GRUB before 2.12 knows no port but 80,
                and the one that Debian 12 signs only V(tftp).
            type: str
            required: true
          initrd:
            description: URLs or absolute paths of the initial ramdisks.
            type: list
            elements: str
            default: []
          cmdline:
            description:
              - The kernel's arguments, one an item.
              - An argument with white space, quotes, backslashes, C($), C(#), C(|) or C(&) is refused,
                because the loaders do not agree on what it means.
            type: list
            elements: str
            default: []
  default:
    description:
      - With O(state=present), whether the file for machines without a file of their own is written. By default it is.
        They boot from their disk.
      - With O(state=absent), whether it is removed. By default it is kept.
    type: bool
  state:
    description: V(absent) removes the files of the given nodes. Files of other nodes are never touched.
    type: str
    choices: [present, absent]
    default: present
"""

EXAMPLES = r"""
- name: Let node1 boot the ramdisk and node2 its disk
  seedcloud.openstack.pxe_config:
    roots:
      ipxe: /var/lib/seedcloud/http/boot
      grub: /var/lib/seedcloud/tftp/grub
    nodes:
      - name: node1
        macs: ["00:00:5e:00:53:01"]
        boot:
          kernel: http://192.0.2.2/ramdisks/agent/vmlinuz
          initrd: [http://192.0.2.2/ramdisks/agent/initrd]
          cmdline: ["seedcloud.url=http://192.0.2.2:80", BOOTIF=01-00-00-5e-00-53-01, "console=ttyS0,115200"]
      - name: node2
        macs: ["00:00:5e:00:53:02"]

- name: Forget node2
  seedcloud.openstack.pxe_config:
    roots:
      ipxe: /var/lib/seedcloud/http/boot
    nodes:
      - name: node2
        macs: ["00:00:5e:00:53:02"]
    state: absent
"""

RETURN = r"""
nodes:
  description: What became of each node.
  returned: success
  type: dict
  sample:
    node1:
      changed: true
      files: [/var/lib/seedcloud/http/boot/00-00-5e-00-53-01.ipxe]
faults:
  description: Everything that is wrong with the arguments.
  returned: when an argument is refused
  type: list
  elements: dict
  sample:
    - node: node1
      field: macs[0]
      fault: "'00:00:5e:00:53' is not a MAC address"
      mend: write it as 00:00:5e:00:53:01
"""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ..module_utils._image import atomic
from ..module_utils._pxe import (
    FORMATS,
    Faults,
    boot_filename,
    default_filename,
    parse_nodes,
    render,
    render_default,
)

ARGUMENTS: dict[str, Any] = {
    "roots": {
        "type": "dict",
        "required": True,
        "options": {fmt: {"type": "path"} for fmt in FORMATS},
        "required_one_of": [FORMATS],
    },
    "nodes": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": {
            "name": {"type": "str", "required": True},
            "macs": {"type": "list", "elements": "str", "required": True},
            "firmware": {"type": "str", "choices": ["bios", "uefi"]},
            "boot": {
                "type": "dict",
                "options": {
                    "kernel": {"type": "str", "required": True},
                    "initrd": {"type": "list", "elements": "str", "default": []},
                    "cmdline": {"type": "list", "elements": "str", "default": []},
                },
            },
        },
    },
    "default": {"type": "bool"},
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
}


@dataclass(frozen=True)
class File:
    """A boot file: what it holds and what it should; None is no file."""

    node: str | None  # None: of machines without a file of their own
    path: Path
    before: str | None
    after: str | None

    @property
    def changed(self) -> bool:
        """Whether there is anything to do."""
        return self.before != self.after


def plan(params: dict[str, Any]) -> list[File]:
    """Every file that the parameters speak of."""
    roots = {fmt: Path(params["roots"][fmt]) for fmt in FORMATS if params["roots"][fmt]}
    present = params["state"] == "present"
    wanted: dict[Path, tuple[str | None, str | None]] = {}
    for node in parse_nodes(params["nodes"], list(roots)):
        for fmt, root in roots.items():
            if present and fmt == "pxelinux" and node.firmware == "uefi":
                continue
            text = render(node, fmt) if present else None
            wanted.update((root / boot_filename(mac, fmt), (node.name, text)) for mac in node.macs)
    if present if params["default"] is None else params["default"]:
        for fmt, root in roots.items():
            wanted[root / default_filename(fmt)] = (None, render_default(fmt) if present else None)
    return [File(node, path, _content(path), text) for path, (node, text) in wanted.items()]


def _content(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8", errors="surrogateescape")
    except FileNotFoundError:
        return None


def apply(files: list[File]) -> None:
    """Write and remove what differs."""
    for file in files:
        if file.after is None:
            file.path.unlink(missing_ok=True)
        else:
            atomic.make_folder(file.path.parent)
            atomic.write(file.path, file.after.encode())


def result(files: list[File]) -> dict[str, Any]:
    """What the module returns."""
    nodes: dict[str, dict[str, Any]] = {}
    for file in files:
        if file.node is not None:
            node = nodes.setdefault(file.node, {"changed": False, "files": []})
            node["changed"] |= file.changed
            node["files"].append(str(file.path))
    return {
        "changed": any(file.changed for file in files),
        "nodes": nodes,
        "diff": [
            {
                "before_header": str(file.path),
                "after_header": str(file.path),
                "before": file.before or "",
                "after": file.after or "",
            }
            for file in files
            if file.changed
        ],
    }


def main() -> None:
    """Specification, plan, run, exit."""
    module = AnsibleModule(ARGUMENTS, supports_check_mode=True)
    try:
        files = plan(module.params)
        if not module.check_mode:
            apply([file for file in files if file.changed])
    except Faults as error:
        module.fail_json(
            msg=f"Nothing was written, because the arguments have faults:\n{error}",
            faults=[asdict(fault) for fault in error.faults],
        )
    except OSError as error:
        module.fail_json(msg=f"{error}: files not yet replaced are served as they were")
    module.exit_json(**result(files))


if __name__ == "__main__":
    main()
