# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 the seedcloud.openstack authors
"""The golden image: Debian and the packages, nothing configured, nothing that tells one node from another."""

from __future__ import annotations

import itertools
import os
import re
import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from .._image.block_map import block_map
from . import common, disk
from .common import (
    BuildError,
    Tree,
    builder_digest,
    chroot,
    digest,
    file_digest,
    host_sources,
    make_tree,
    need_space,
    read_json,
    run,
    scratch_folder,
    stamp,
    succeed,
    write_json,
)

# Made by maintainer scripts or by the build, and different, or secret, on each node. Globs below the tree.
IDENTITY = (
    "etc/ssh/ssh_host_*", "var/lib/dbus/machine-id", "var/lib/systemd/random-seed", "var/lib/systemd/credential.secret",
    "var/lib/rabbitmq/.erlang.cookie", "var/lib/rabbitmq/*", "var/lib/mysql/*",
    "etc/openvswitch/conf.db", "etc/openvswitch/.conf.db*", "etc/openvswitch/system-id.conf", "var/lib/openvswitch/*",
    "var/lib/ovn/*", "etc/ovn/*.db", "etc/libvirt/qemu/networks/*", "etc/libvirt/nwfilter/*", "var/lib/libvirt/dnsmasq/*",
    "etc/ssl/private/ssl-cert-snakeoil.key", "etc/ssl/certs/ssl-cert-snakeoil.pem", "etc/iscsi/initiatorname.iscsi",
    "etc/nvme/hostnqn", "etc/nvme/hostid", "etc/keystone/fernet-keys/*", "etc/keystone/credential-keys/*",
    "var/lib/*/*.sqlite", "var/lib/*/*.db", "var/lib/*/.ssh", "root/.ssh", "etc/machine-info",
)  # fmt: skip

# What only the build or an older state needs.
LEFTOVERS = (
    "var/lib/apt/lists/*", "var/cache/apt/*", "var/cache/debconf/*-old", "var/cache/ldconfig/*", "var/lib/dpkg/*-old",
    "var/log/*.log", "var/log/*/*", "var/log/[bw]tmp", "var/log/lastlog", "var/log/faillog", "tmp/*", "var/tmp/*", "run/*",
    "etc/passwd-", "etc/group-", "etc/shadow-", "etc/gshadow-", "etc/subuid-", "etc/subgid-", "etc/.pwd.lock",
    "etc/apt/apt.conf.d/99mmdebstrap", "etc/dpkg/dpkg.cfg.d/99mmdebstrap",
    "root/.*_history", "proc/*", "vmlinuz.old", "initrd.img.old", "var/lib/wtmpdb/*",
)  # fmt: skip

FILES = {
    "etc/machine-id": "",  # made at the first boot; empty, not missing: then no "first boot" asks anyone for anything
    "etc/hostname": "localhost\n",
    "etc/hosts": "127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n",
    "etc/resolv.conf": "",
    "etc/fstab": "# The root comes with the kernel's command line.\n",
    "etc/systemd/system/systemd-networkd-wait-online.service.d/seedcloud.conf": (
        "[Service]\nExecStart=\nExecStart=/usr/lib/systemd/systemd-networkd-wait-online --any --timeout=30\n"
    ),
}

EARLY = {
    # No resume device is waited for; the image must boot on hardware that the build has not seen.
    "etc/initramfs-tools/conf.d/seedcloud": "RESUME=none\nMODULES=most\nCOMPRESS=zstd\n",
    "etc/kernel-img.conf": "do_symlinks = yes\nlink_in_boot = no\n",
    # Nova's script asks for the address behind the default route; nothing of this host's shall get into nova.conf.
    "proc/net/route": "Iface\tDestination\tGateway\nlo\t00000000\t00000000\n",
}


@dataclass(frozen=True)
class Golden:
    """What the operator decides about the image; equal settings make the same image."""

    prefix: str
    suite: str
    packages: Sequence[str]
    enabled_units: Sequence[str]
    kernel_arguments: Sequence[str] = ()
    excludes: Sequence[str] = ()
    includes: Sequence[str] = ()
    debconf: Sequence[str] = ()
    files: Mapping[str, str] = field(default_factory=dict)  # content by absolute path
    sources: str = ""  # empty: the host's own
    reserve: int = 128 << 20

    def hash(self) -> str:
        """Settings, where packages come from and this builder: whatever changes one of them makes another image."""
        return digest(
            asdict(self)
            | {
                "packages": sorted(set(self.packages)),
                "sources": self.sources or host_sources(self.suite),
                "builder": builder_digest(sys.modules[__name__], common, disk),
            }
        )


def remove(tree: Path, globs: Sequence[str]) -> None:
    for glob in globs:
        for path in tree.glob(glob):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()


def preset(units: Sequence[str]) -> str:
    return "".join(f"enable {unit}\n" for unit in units) + "disable *\n"


def faulty(files: Mapping[str, Any]) -> list[str]:
    """What is wrong with files that are to be laid into an image: each an absolute path and a text."""
    return [
        f"{path!r}: a path of a file from / on, without . and .."
        for path in files
        if not re.fullmatch(r"(/(?!\.{1,2}(/|$))[^/\0]+)+", path)
    ] + [f"{path!r}: its content is no text" for path, content in files.items() if not isinstance(content, str)]


def lay(tree: Path, files: Mapping[str, str]) -> None:
    """Write files of the operator's own. None of them leaves the tree by a link in it."""
    top = tree.resolve()
    for name, content in files.items():
        path = tree / name.lstrip("/")
        folders = [folder for folder in path.parents if folder.is_relative_to(tree) and os.path.lexists(folder)]
        inside = path.parent.resolve().is_relative_to(top) and all(folder.is_dir() for folder in folders)
        if not inside or path.is_dir():
            raise BuildError(f"extra_files: {name}: the image has no folder for it that is its own, or a folder in its place")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        path.write_text(content)
        path.chmod(0o644)


def finish(tree: Path, spec: Golden) -> None:
    """Make the tree nobody's: no identity, no cache, nothing enabled but what the preset says."""
    lay(tree, spec.files)
    presets = tree / "etc/systemd/system-preset/00-seedcloud.preset"
    presets.parent.mkdir(parents=True, exist_ok=True)
    presets.write_text("# Roles enable what a node runs.\n" + preset(spec.enabled_units))
    known = {path.name for folder in ("usr/lib", "etc") for path in (tree / folder / "systemd/system").iterdir()}
    if unknown := sorted(set(spec.enabled_units) - known):
        raise BuildError(f"the image has no unit {', '.join(unknown)}")
    for path in (tree / "etc/systemd/system").glob("*.wants/*"):
        path.unlink()  # preset-all does not see links to units that are gone or generated
    chroot(tree, "systemctl", "--root=/", "preset-all")
    chroot(tree, "systemctl", "--root=/", "--global", "preset-all")
    remove(tree, IDENTITY + LEFTOVERS)
    for name, content in FILES.items():
        path = tree / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
        path.chmod(0o644)
    for link in tree.glob("etc/rc[2-5].d/S*"):  # what `update-rc.d disable` does: units made from init scripts
        link.rename(link.with_name("K01" + link.name[3:]))
    for path in [tree / "etc/apt/sources.list", *(tree / "etc/apt/sources.list.d").glob("*")]:
        if path.is_file() and "copy:" in path.read_text():
            path.write_text("# Built from a repository on the seed; a node has no source of its own.\n")
    grub = tree / "boot/grub/grub.cfg"
    grub.parent.mkdir(parents=True, exist_ok=True)
    grub.write_text(disk.GRUB_CONFIG.format(arguments=" ".join(spec.kernel_arguments)))
    for name in ("vmlinuz", "initrd.img"):
        if not (tree / name).exists():
            raise BuildError(f"the tree has no /{name}: a kernel package belongs into the image")


def versions(tree: Path) -> dict[str, str]:
    lines = run(
        ["dpkg-query", f"--admindir={tree}/var/lib/dpkg", "-W", "-f", "${db:Status-Abbrev}${Package} ${Version}\n"]
    )
    installed = [line[3:].split() for line in lines.splitlines() if line.startswith("ii ")]
    return dict(installed)


def find(images: Path, settings_hash: str) -> dict[str, Any] | None:
    """The newest complete image of these settings."""
    found = []
    for path in images.glob("*.json"):
        manifest = read_json(path)
        if not isinstance(manifest, dict) or manifest.get("settings_hash") != settings_hash:
            continue
        image = images / f"{manifest['name']}.raw.zst"
        if image.is_file() and image.stat().st_size == manifest["compressed_size"]:
            found.append(manifest)
    return max(found, key=lambda manifest: str(manifest["created"]), default=None)


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def build(root: Path, scratch: Path, spec: Golden, level: int) -> dict[str, Any]:
    """Build and publish below `root`; the manifest. The caller has looked that there is none."""
    images = root / "http/images"
    images.mkdir(parents=True, exist_ok=True)
    clock = [("start", time.monotonic())]
    need_space(scratch, 10 << 30)
    tree, raw = scratch / "tree", scratch / "disk.raw"
    make_tree(
        Tree(
            spec.suite, "minbase", sorted(set(spec.packages)), spec.sources, spec.excludes, spec.includes,
            "".join(line + "\n" for line in spec.debconf), EARLY,
        ),
        tree,
        scratch,
    )  # fmt: skip
    clock.append(("packages", time.monotonic()))
    finish(tree, spec)
    packages = versions(tree)
    inputs_hash = digest({"settings": spec.hash(), "packages": packages})
    name = f"{spec.prefix}-{inputs_hash[:12]}"
    layout = disk.assemble(tree, raw, scratch, spec.reserve)
    shutil.rmtree(tree)
    clock.append(("disk", time.monotonic()))
    packed = scratch / f"{name}.raw.zst"
    run(["zstd", "-q", "-T0", f"-{level}", raw, "-o", packed])
    clock.append(("compress", time.monotonic()))
    blocks = block_map(raw)
    manifest = {
        "schema": 1,
        "name": name,
        "settings_hash": spec.hash(),
        "inputs_hash": inputs_hash,
        "size": layout.size,
        "data_size": sum(length for _offset, length in blocks["extents"]),
        "compressed_size": packed.stat().st_size,
        "sha256": file_digest(packed),
        "raw_sha256": file_digest(raw),
        "created": _now(),
        "packages": packages,
    }
    clock.append(("hash", time.monotonic()))
    packed.chmod(0o644)
    with packed.open("rb") as stream:
        os.fsync(stream.fileno())
    packed.replace(images / packed.name)
    write_json(images / f"{name}.map.json", blocks)
    write_json(images / f"{name}.json", manifest)  # last: it makes the image known
    seconds = {name: round(now - last, 1) for (name, now), (_unused, last) in itertools.pairwise(reversed(clock))}
    return {**manifest, "seconds": seconds}


def ours(images: Path) -> dict[str, list[Path]]:
    """The images that were built here, with their files. What `tftp_image` made of others' has no settings."""
    return {
        path.stem: [path, images / f"{path.stem}.map.json", images / f"{path.stem}.raw.zst"]
        for path in images.glob("*.json")
        if isinstance(manifest := read_json(path), dict) and "settings_hash" in manifest and manifest["name"] == path.stem
    }


def ensure(
    root: Path, spec: Golden, level: int, *, check: bool, update: bool, keep: Sequence[str] = ()
) -> Mapping[str, Any]:
    """The image of these settings, built where there is none (or where `update` asks for today's packages)."""
    asked = _now()

    def known() -> Mapping[str, Any] | None:
        found = find(root / "http/images", spec.hash())
        if found is None or (update and found["created"] < asked):
            return None
        return {**found, "changed": stamp(root, "golden", found["name"], check), "built": False, "removed": [], "seconds": {}}

    if found := known():
        return found
    if check:
        return {"name": None, "changed": True, "built": False, "removed": [], "seconds": {}}
    with scratch_folder(root / "images/golden") as scratch:
        if found := known():
            return found
        made = build(root, scratch, spec, level)
        removed = succeed(root, "golden", made["name"], ours(root / "http/images"), keep)
    return {**made, "changed": True, "built": True, "removed": removed}
