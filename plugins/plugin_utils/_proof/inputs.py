# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 the seedcloud.openstack authors
"""What a proof was made of, as far as the controller has it: the inventory, and the collection that deployed it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[3]
PARTS = ("playbooks", "plugins", "roles")


def options(load_file: Callable[[str], Any], root: Path = ROOT) -> set[str]:
    """The public variables of this collection's roles."""
    return {name for path in root.glob("roles/*/defaults/main.yml") for name in load_file(str(path)) or {}}


def collection_digest(root: Path = ROOT) -> str:
    """Of an installed collection its own list of checksums; of a source tree the files themselves."""
    listed = root / "FILES.json"
    if listed.is_file():
        return hashlib.sha256(listed.read_bytes()).hexdigest()
    sha = hashlib.sha256()
    files = sorted(path for part in PARTS for path in (root / part).rglob("*"))
    for path in files:
        if path.is_file() and "__pycache__" not in path.parts:
            sha.update(f"{path.relative_to(root)}\0".encode())
            sha.update(hashlib.sha256(path.read_bytes()).digest())
    return sha.hexdigest()


def proof_inputs(
    resolved: Any, raw: Mapping[str, Mapping[str, Any]], names: Iterable[str], collection: str, skipped: str = "verify_"
) -> str:
    """One hash over all of it that could make another cloud. The proof's own options make none."""
    known = sorted(name for name in names if not name.startswith(skipped))
    chosen = {host: {name: given[name] for name in known if name in given} for host, given in sorted(raw.items())}
    data = json.dumps([resolved, chosen, collection], sort_keys=True, default=str)
    return hashlib.sha256(data.encode()).hexdigest()
