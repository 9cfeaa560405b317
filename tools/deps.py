# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 the seedcloud.openstack authors
"""Put the collections that galaxy.yml and tests/requirements.yml name, and what those need, into a folder.

From Galaxy where it answers; else out of the `ansible` wheel, which holds each collection with its manifest.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import yaml
from ansible.galaxy.dependency_resolution.versioning import meets_requirements

TOP = Path(__file__).resolve().parent.parent
ANSIBLE_WHEEL = "ansible==14.5.0"


def wanted(files: list[Path]) -> dict[str, str]:
    """Return collection names with their version ranges, out of galaxy.yml and requirement files."""
    found: dict[str, str] = {}
    for file in files:
        data = yaml.safe_load(file.read_text())
        found.update(data.get("dependencies") or {})
        for entry in data.get("collections") or []:
            found[entry["name"]] = str(entry.get("version", "*"))
    return found


def from_galaxy(names: dict[str, str], target: Path) -> bool:
    """Install with ansible-galaxy; False, with the reason told, where it cannot."""
    command = ["ansible-galaxy", "collection", "install", "--timeout", "10", "-p", str(target)]
    done = subprocess.run(
        [*command, *(f"{name}:{version}" for name, version in names.items())],
        check=False,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        lines = done.stderr.strip().splitlines()
        errors = [line.removeprefix("[ERROR]: ") for line in lines if line.startswith("[ERROR]: ")]
        print("    ansible-galaxy:", *(errors or lines[-1:])[:1])
    return done.returncode == 0


def from_wheel(names: dict[str, str], target: Path) -> None:
    """Unpack the named collections and, by their manifests, what they depend on."""
    with tempfile.TemporaryDirectory() as folder:
        pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "download", "--quiet"]
        subprocess.run([*pip, "--no-deps", "--only-binary", ":all:", "-d", folder, ANSIBLE_WHEEL], check=True)
        (wheel,) = Path(folder).glob("ansible-*.whl")
        with zipfile.ZipFile(wheel) as archive:
            members = archive.namelist()
            todo, done = list(names.items()), set()
            while todo:
                name, version = todo.pop()
                prefix = f"ansible_collections/{name.replace('.', '/')}/"
                inside = [member for member in members if member.startswith(prefix)]
                if not inside:
                    sys.exit(f"deps: {ANSIBLE_WHEEL} holds no collection {name}")
                info = json.loads(archive.read(f"{prefix}MANIFEST.json"))["collection_info"]
                if not meets_requirements(info["version"], version):
                    sys.exit(f"deps: {ANSIBLE_WHEEL} holds {name} {info['version']}, which is not {version}")
                if name in done:
                    continue
                done.add(name)
                archive.extractall(target, inside)
                todo += info["dependencies"].items()
                print(f"    {name} {info['version']}")


def main() -> None:
    """Bring `.cache/collections` up to what the tree names."""
    target = TOP / ".cache/collections"
    names = wanted([TOP / "galaxy.yml", TOP / "tests/requirements.yml"])
    stamp = target / ".wanted.json"
    state = json.dumps([ANSIBLE_WHEEL, names], sort_keys=True)
    if stamp.exists() and stamp.read_text() == state:
        return
    print("==> Collections into .cache/collections")
    target.mkdir(parents=True, exist_ok=True)
    if names and not from_galaxy(names, target):
        print(f"    taking them from {ANSIBLE_WHEEL}")
        from_wheel(names, target)
    stamp.write_text(state)


if __name__ == "__main__":
    main()
