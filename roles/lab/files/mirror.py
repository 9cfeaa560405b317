# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 the seedcloud.openstack authors
"""Keep a partial mirror of a Debian release: its signed indexes as they are, and only the packages asked for.

The rack has no way out, so what it may install is brought to it. Indexes are Debian's own, so apt in the rack
verifies what it installs as everywhere else. Package sets may conflict with each other: each is resolved alone.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import lzma
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
BASE = "?or(?essential, ?priority(required), ?priority(important))"


def archives(suite: str) -> dict[str, str]:
    """URIs of the Debian archives that this host itself uses, by the name of their folder in the mirror."""
    release = dict(
        line.split("=", 1) for line in Path("/etc/os-release").read_text(encoding="utf-8").splitlines() if "=" in line
    )
    codename = release.get("VERSION_CODENAME", "").strip('"')
    # Without the releases, which nobody may have fetched on this host yet, it tells what the sources name.
    listing = subprocess.run(
        ["apt-get", "indextargets", "--no-release-info", "--format", "$(REPO_URI) $(RELEASE)", "Created-By: Packages"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    found: dict[str, str] = {}
    for line in listing.splitlines():
        uri, name = line.split()
        if name in (codename, suite):
            found.setdefault("debian", uri.rstrip("/"))
        elif name in (f"{codename}-security", f"{suite}-security"):
            found.setdefault("debian-security", uri.rstrip("/"))
    return found


def suites(archive: str, suite: str) -> list[str]:
    return [f"{suite}-security"] if archive == "debian-security" else [suite, f"{suite}-updates"]


class Apt:
    """apt with folders of its own and no package installed, so that it resolves whole closures."""

    def __init__(self, root: Path, uris: dict[str, str], suite: str) -> None:
        self.root, self.uris, self.suite = root, uris, suite
        self.archives = root / "cache/archives"
        for folder in ("etc", "state/lists/partial", "cache/archives/partial"):
            (root / folder).mkdir(parents=True, exist_ok=True)
        (root / "state/status").touch()
        (root / "etc/sources.list").write_text(
            "".join(
                f"deb [signed-by={KEYRING} arch=amd64] {uri} {name} main\n"
                for archive, uri in uris.items()
                for name in suites(archive, suite)
            ),
            encoding="ascii",
        )

    def __call__(self, *args: str) -> None:
        options = {
            "Dir::Etc": f"{self.root}/etc",
            "Dir::Etc::sourceparts": "-",
            "Dir::State": f"{self.root}/state",
            "Dir::State::status": f"{self.root}/state/status",
            "Dir::Cache": f"{self.root}/cache",
            "Dir::Cache::pkgcache": "pkgcache.bin",  # hosts made of container images switch it off
            "Dir::Cache::srcpkgcache": "srcpkgcache.bin",
            "APT::Architecture": "amd64",
            "APT::Architectures": "amd64",
            "APT::Install-Recommends": "false",
            "APT::Keep-Downloaded-Packages": "true",
            "APT::Sandbox::User": "root",
            "Acquire::Languages": "none",
            "Acquire::PDiffs": "false",
            # Looking records up in a compressed index takes apt minutes.
            "Acquire::IndexTargets::deb::Packages::KeepCompressed": "false",
            "Acquire::GzipIndexes": "false",
            "Acquire::Retries": "3",
            "Dpkg::Use-Pty": "false",
        }
        command = ["apt-get", "-qq", *(f"-o{key}={value}" for key, value in options.items()), *args]
        done = subprocess.run(command, check=False, capture_output=True, text=True)
        if done.returncode:
            sys.exit(f"apt-get {' '.join(args[:2])} failed for the rack's packages:\n{done.stdout}{done.stderr}")

    def lists(self, archive: str, name: str) -> Path:
        uri = self.uris[archive].split("://", 1)[-1]
        return self.root / "state/lists" / f"{uri}/dists/{name}/".replace("/", "_")


def stanzas(index: bytes) -> Iterator[dict[str, str]]:
    for block in index.decode().split("\n\n"):
        fields = (line.split(": ", 1) for line in block.splitlines() if ": " in line and not line.startswith(" "))
        yield {field[0]: field[1] for field in fields}


def link(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.new")
    temporary.unlink(missing_ok=True)
    os.link(source, temporary)
    temporary.replace(target)


def publish(apt: Apt, archive: str, name: str, mirror: Path) -> None:
    """Copy a suite's signed index and link those of its packages that were downloaded."""
    release = Path(f"{apt.lists(archive, name)}InRelease")
    index = apt.root / "cache" / f"{name}.xz"
    signed = re.search(
        r"^ ([0-9a-f]{64}) +\d+ main/binary-amd64/Packages\.xz$", release.read_text("utf-8"), re.MULTILINE
    )
    if not signed:
        sys.exit(f"{release} names no index of packages")
    if not index.exists() or hashlib.sha256(index.read_bytes()).hexdigest() != signed[1]:
        index.unlink(missing_ok=True)
        folder = f"{apt.uris[archive]}/dists/{name}/main/binary-amd64"
        fetch = ["/usr/lib/apt/apt-helper", "download-file", f"{folder}/by-hash/SHA256/{signed[1]}", str(index)]
        done = subprocess.run([*fetch, f"SHA256:{signed[1]}"], check=False, capture_output=True, text=True)
        if done.returncode:
            sys.exit(f"the index of {name} cannot be fetched:\n{done.stdout}{done.stderr}")
    content = index.read_bytes()
    dists = mirror / archive / "dists" / name
    link(index, dists / "main/binary-amd64/Packages.xz")
    link(release, dists / "InRelease")
    for package in stanzas(lzma.decompress(content)):
        if "Filename" not in package:
            continue
        version = package["Version"].replace(":", "%3a")
        source = apt.archives / f"{package['Package']}_{version}_{package['Architecture']}.deb"
        if source.exists():
            link(source, mirror / archive / package["Filename"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mirror", type=Path, required=True)
    parser.add_argument("--suite", required=True)
    parser.add_argument("--uri", default="", help="the Debian archive; default: the one this host uses")
    parser.add_argument("--security-uri", default="")
    options = parser.parse_args()
    sets: dict[str, list[str]] = json.load(sys.stdin)
    stamp = options.mirror / "stamp.json"
    wanted = json.dumps({"suite": options.suite, "sets": sets}, sort_keys=True)
    if stamp.exists() and stamp.read_text(encoding="utf-8") == wanted:
        print("unchanged")
        return
    uris = archives(options.suite)
    uris |= {k: v for k, v in {"debian": options.uri, "debian-security": options.security_uri}.items() if v}
    if len(uris) < 2:
        sys.exit("This host's apt does not name Debian's archives: set lab_mirror_uri and lab_mirror_security_uri.")
    apt = Apt(options.mirror / "apt", uris, options.suite)
    apt("update")
    for packages in sets.values():
        apt("install", "--download-only", "--yes", BASE, *packages)
    for archive in uris:
        for name in suites(archive, options.suite):
            publish(apt, archive, name, options.mirror)
    temporary = stamp.with_suffix(".new")
    temporary.write_text(wanted, encoding="utf-8")
    temporary.replace(stamp)
    print("changed")


if __name__ == "__main__":
    main()
