#!/usr/bin/python
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 the seedcloud.openstack authors

from __future__ import annotations

DOCUMENTATION = r"""
module: tftp_image
short_description: Stage files that machines fetch over TFTP and HTTP
version_added: 0.1.0
description:
  - Puts loaders, kernels, ramdisks and disk images into folders that are served, from a path or a URL.
  - A file is fetched, checked, unpacked, converted and packed aside, and then replaces the old one atomically.
    Whatever goes wrong before that, the old one is still served. An interrupted download goes on where it stopped.
  - The name O(files[].dest) says what is served. A source C(.gz), C(.xz) or C(.zst) is unpacked unless O(files[].dest)
    ends in the same. What is to be C(.zst) is packed. What is to be C(.raw) or C(.raw.zst) is a disk image,
    and qcow2 is converted.
  - C(NAME.raw) and C(NAME.raw.zst) come with a block map C(NAME.map.json), which tells where the image holds data,
    and with a manifest C(NAME.json).
  - One run works below a root at a time, others wait for it.
author:
  - The seedcloud.openstack authors (@seedcloud)
requirements:
  - zstd, for C(.zst)
  - xz-utils, for C(.xz)
  - qemu-utils, for qcow2
attributes:
  check_mode:
    description: Tells what would change and changes nothing. Sums files are fetched, images are not.
    support: full
  diff_mode:
    description: Returns the checksums of what is served before and after. After is unknown in C(check_mode).
    support: full
  idempotent:
    description: >-
      What is served is compared by its checksum. A URL without O(files[].checksum) is fetched again
      unless its server says that it did not change.
    support: full
options:
  roots:
    description:
      - Folders that are served. Every file is put below each of them, by hard links where they share a file system.
      - In each, C(.staging) holds a record of what was staged, and unfinished work. No server can enter it.
    type: list
    elements: path
    required: true
  files:
    description: The files.
    type: list
    elements: dict
    default: []
    suboptions:
      dest:
        description: The name to serve it under, relative to the root. Nothing in it begins with a dot.
        type: str
        required: true
      src:
        description:
          - Absolute path on the host, or URL. Required with O(state=present).
          - A file that has the wanted mode and owner is served by a hard link where that can be.
            So replace it to change it, do not write into it.
        type: str
      checksum:
        description:
          - Of the source as it is fetched, V(sha256:HEX) or V(sha512:HEX).
          - Or the path or URL of a file that lists sums, in which the source is found by its name.
        type: str
  mode:
    description: Mode of what is served, in octal.
    type: str
    default: "0644"
  owner:
    description: Owner of what is served.
    type: str
  group:
    description: Group of what is served.
    type: str
  state:
    description: V(absent) removes the files with what came with them.
    type: str
    choices: [present, absent]
    default: present
  prune:
    description:
      - Remove what was staged by this module below O(roots) and is neither in O(files) nor in O(keep) nor named
        in O(keep_named_in). Other files are never removed.
      - Nothing is pruned when a file cannot be staged.
    type: bool
    default: false
  keep:
    description: Names, URLs or paths on the server, of files that are still referred to.
    type: list
    elements: str
    default: []
  keep_named_in:
    description:
      - Files, or folders with files, whose text may name files that are still referred to.
        Boot files and orders are such.
    type: list
    elements: path
    default: []
  validate_certs:
    description: Whether to insist on valid certificates.
    type: bool
    default: true
  use_proxy:
    description: Whether to obey the proxy variables of the environment.
    type: bool
    default: true
  timeout:
    description: Seconds of silence after which a connection is given up. Every fetch is tried five times.
    type: int
    default: 30
  lock_timeout:
    description: Seconds to wait for another run below the same root.
    type: int
    default: 600
"""

EXAMPLES = r"""
- name: Serve the loaders
  seedcloud.openstack.tftp_image:
    roots: [/var/lib/seedcloud/tftp]
    files:
      - src: /usr/lib/ipxe/undionly.kpxe
        dest: undionly.kpxe
      - src: /usr/lib/ipxe/snponly.efi
        dest: snponly.efi

- name: Serve a cloud image, converted once, and remove images that no order names
  seedcloud.openstack.tftp_image:
    roots: [/var/lib/seedcloud/http]
    files:
      - src: https://images.example/debian-13-generic-amd64.qcow2
        checksum: https://images.example/SHA512SUMS
        dest: images/debian-13.raw.zst
    prune: true
    keep_named_in: [/var/lib/seedcloud/nodes]

- name: Serve it no more
  seedcloud.openstack.tftp_image:
    roots: [/var/lib/seedcloud/http]
    files:
      - dest: images/debian-13.raw.zst
    state: absent
"""

RETURN = r"""
files:
  description: What became of each file.
  returned: always, unless an argument is refused
  type: dict
  contains:
    changed:
      description: Whether anything changed.
      type: bool
    how:
      description: V(kept), V(linked), V(copied), V(removed), or V(staged) in check mode.
      type: str
    paths:
      description: Where it is served, or was.
      type: list
      elements: str
    sha256:
      description: The checksum of what is served.
      type: str
    size:
      description: Its size in bytes.
      type: int
    image:
      description: The manifest of a disk image.
      type: dict
  sample:
    images/debian-13.raw.zst:
      changed: true
      how: linked
      paths: [/var/lib/seedcloud/http/images/debian-13.raw.zst]
      sha256: 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08
      size: 346521600
      image:
        schema: 1
        name: debian-13
        inputs_hash: 2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae
        format: raw.zst
        size: 3221225472
        compressed_size: 346521600
        sha256: 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08
        raw_sha256: fcde2b2edba56bf408601fb721fe9b5c338d10ee429ea04fae5511b68fbf8fb9
        created: "2026-11-22T19:00:00Z"
        packages: {}
failed_files:
  description: Why files could not be staged.
  returned: always, unless an argument is refused
  type: dict
  sample:
    initrd: "https://images.example/initrd: truncated, 1024 of 4096 bytes came, at the last of 5 attempts"
pruned:
  description: Paths that were removed because nothing refers to them.
  returned: always, unless an argument is refused
  type: list
  elements: str
  sample: [/var/lib/seedcloud/http/images/debian-12.raw.zst]
faults:
  description: Everything that is wrong with the arguments.
  returned: when an argument is refused
  type: list
  elements: dict
  sample:
    - field: files[0].dest
      fault: "'../etc/passwd' is no path below a root"
      mend: give a relative path of letters, digits and ._+@=-, in which nothing begins with a dot or a hyphen
"""

import contextlib
import grp
import pwd
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ..module_utils._image.fetch import Http
from ..module_utils._image.model import Fault, Faults, Item, Run, StageError, parse_items
from ..module_utils._image.stage import Stage
from ..module_utils._image.store import Attributes, Root

ARGUMENTS: dict[str, Any] = {
    "roots": {"type": "list", "elements": "path", "required": True},
    "files": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": {
            "dest": {"type": "str", "required": True},
            "src": {"type": "str"},
            "checksum": {"type": "str"},
        },
    },
    "mode": {"type": "str", "default": "0644"},
    "owner": {"type": "str"},
    "group": {"type": "str"},
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    "prune": {"type": "bool", "default": False},
    "keep": {"type": "list", "elements": "str", "default": []},
    "keep_named_in": {"type": "list", "elements": "path", "default": []},
    "validate_certs": {"type": "bool", "default": True},
    "use_proxy": {"type": "bool", "default": True},
    "timeout": {"type": "int", "default": 30},
    "lock_timeout": {"type": "int", "default": 600},
}


def attributes(params: dict[str, Any]) -> Attributes:
    """Mode and owner; raises Faults."""
    faults = []
    mode, uid, gid = 0, None, None
    try:
        mode = int(params["mode"], 8)
        if not 0 <= mode <= 0o777:
            raise ValueError
    except ValueError:
        faults.append(Fault("mode", f"{params['mode']!r} is no octal mode", "give one like '0644', in quotes"))
    try:
        uid = params["owner"] and pwd.getpwnam(params["owner"]).pw_uid
    except KeyError:
        faults.append(Fault("owner", f"there is no user {params['owner']!r}", "name one that the host knows"))
    try:
        gid = params["group"] and grp.getgrnam(params["group"]).gr_gid
    except KeyError:
        faults.append(Fault("group", f"there is no group {params['group']!r}", "name one that the host knows"))
    if faults:
        raise Faults(faults)
    return Attributes(mode, uid, gid)


def run(params: dict[str, Any], check_mode: bool, command: Run) -> dict[str, Any]:
    """Stage or remove every file, then prune."""
    present = params["state"] == "present"
    items = parse_items(params["files"], removal=not present)
    roots = [Root(Path(path)) for path in dict.fromkeys(params["roots"])]
    http = Http(params["timeout"], params["validate_certs"], params["use_proxy"])
    stage = Stage(roots, command, attributes(params), http, check_mode)
    files: dict[str, dict[str, Any]] = {}
    failed: dict[str, str] = {}
    diff: list[dict[str, str]] = []
    pruned: list[str] = []
    with contextlib.ExitStack() as locks:
        for root in sorted(roots, key=lambda root: root.path):  # in one order, or two runs could wait for each other
            if not check_mode:
                locks.enter_context(root.locked(params["lock_timeout"]))
            root.load()
        for item in items:
            try:
                before = roots[0].sha256(item.dest)
                files[item.dest] = stage.present(item) if present else stage.absent(item.dest)
                diff += _difference(roots[0], item, before, files[item.dest], check_mode)
            except (StageError, OSError) as error:
                failed[item.dest] = str(error)
        if params["prune"] and not failed:
            keep = [*params["keep"], *(item.dest for item in items if present)]
            pruned = stage.prune(keep, map(Path, params["keep_named_in"]))
    changed = bool(pruned) or any(file["changed"] for file in files.values())
    return {"changed": changed, "files": files, "failed_files": failed, "pruned": pruned, "diff": diff}


def _difference(
    root: Root, item: Item, before: str | None, outcome: dict[str, Any], check_mode: bool
) -> list[dict[str, str]]:
    if not outcome["changed"]:
        return []
    after = "unknown before it is staged" if check_mode else root.sha256(item.dest)
    if outcome["how"] == "removed":
        after = None
    header = str(root.path / item.dest)
    sides = {"before": before, "after": after}
    return [
        {f"{side}_header": header for side in sides}
        | {side: f"sha256: {value}\n" if value else "" for side, value in sides.items()}
    ]


def main() -> None:
    """Specification, run, exit."""
    module = AnsibleModule(ARGUMENTS, supports_check_mode=True)
    try:
        result = run(module.params, module.check_mode, module.run_command)
    except Faults as error:
        module.fail_json(
            msg=f"Nothing was staged, because the arguments have faults:\n{error}",
            faults=[asdict(fault) for fault in error.faults],
        )
    except (StageError, OSError) as error:
        module.fail_json(msg=f"{error}; what was served before still is")
    if result["failed_files"]:
        reasons = "\n".join(f"{dest}: {reason}" for dest, reason in result["failed_files"].items())
        module.fail_json(msg=f"Not staged, what was served before still is:\n{reasons}", **result)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
