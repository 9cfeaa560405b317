# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 the seedcloud.openstack authors
"""What a golden image carries that it must not: an identity, a secret, or a service that starts by itself.

image_identity.py IMAGE...    (.raw or .raw.zst; no mount and no loop device) prints the findings, ends with 1 when there are any
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

SECTOR = 512
# Where a package's script or a running service leaves something; all of it is read out of the image.
FOLDERS = ("/etc", "/root", "/home", "/var", "/usr/lib/systemd/system", "/usr/lib/systemd/user")

# By name, whatever is in them. Globs below the root; the builder's own list is not asked.
FORBIDDEN = {
    "etc/ssh/ssh_host_*": "an SSH host key",
    "var/lib/dbus/machine-id": "a machine-id",
    "var/lib/systemd/random-seed": "a random seed",
    "var/lib/systemd/credential.secret": "the key of systemd's credentials",
    "**/.erlang.cookie": "an Erlang cookie",
    "var/lib/rabbitmq/mnesia": "RabbitMQ's state",
    "var/lib/mysql/*": "MariaDB's data",
    "etc/openvswitch/conf.db": "Open vSwitch's database",
    "etc/openvswitch/system-id.conf": "Open vSwitch's system-id",
    "var/lib/o[pv][en]*/**/*.db": "a database of Open vSwitch or OVN",
    "var/lib/**/*.sqlite*": "an SQLite database",
    "etc/*/fernet-keys/*": "Fernet keys",
    "etc/*/credential-keys/*": "credential keys",
    "etc/iscsi/initiatorname.iscsi": "an iSCSI initiator's name",
    "etc/nvme/host*": "an NVMe host's name",
    "etc/libvirt/qemu/networks/*.xml": "a libvirt network with a UUID and MAC",
    "**/.ssh/*": "SSH keys of an account",
    "**/.*_history": "a shell's history",
    "var/log/**/*.log": "a log of the build",
    "var/lib/apt/lists/*_Packages": "apt's lists",
    "var/cache/apt/archives/*.deb": "packages",
    "var/lib/cloud/*": "cloud-init's state",
    "etc/seedcloud/image.json": "a node's image.json",
}  # fmt: skip
EMPTY = ("etc/machine-id", "etc/resolv.conf")

# SSH, network and time, and the console.
ENABLED = {
    "ssh.service", "systemd-networkd.service", "systemd-networkd.socket", "systemd-networkd-wait-online.service",
    "systemd-network-generator.service", "systemd-timesyncd.service", "getty@tty1.service",
}  # fmt: skip
ALIASES = {"sshd.service", "dbus-org.freedesktop.network1.service", "dbus-org.freedesktop.timesync1.service"}
# What Debian links below /usr/lib, which is the system itself and nobody's to enable: systemd's own, the bus, consoles.
STATIC = re.compile(
    r"systemd-.*|dbus\.(socket|service)|getty\.target|getty-static\.service|kmod-static-nodes\.service|ldconfig\.service"
    r"|.*\.(mount|automount|target)"
)
USER = re.compile(r"systemd-.*|ssh-agent\.(socket|service)|dbus\.(socket|service)|.*\.target")
WANTS = ("wants", "requires", "upholds")


def root_offset(raw: Path) -> int:
    """Where the last partition begins; 0 in a file system without a table."""
    done = subprocess.run(["sfdisk", "--json", raw], capture_output=True, text=True, check=False)
    if done.returncode:
        return 0
    table = json.loads(done.stdout)["partitiontable"]
    return max(int(entry["start"]) for entry in table["partitions"]) * int(table.get("sectorsize", SECTOR))


def read_out(raw: Path, target: Path) -> None:
    """The folders that matter, as files below target."""
    image = f"{raw}?offset={root_offset(raw)}"
    script = ""
    for folder in FOLDERS:
        parent = target / folder.lstrip("/")
        parent.parent.mkdir(parents=True, exist_ok=True)
        script += f'rdump "{folder}" "{parent.parent}"\n'
    done = subprocess.run(["debugfs", "-f", "-", image], input=script, capture_output=True, text=True, check=False)
    said = [line for line in done.stderr.splitlines() if not line.startswith("debugfs 1.")]
    missing = {line.split(":")[0] for line in said if "File not found by ext2_lookup" in line}
    faults = [line for line in said if "File not found by ext2_lookup" not in line]
    if done.returncode or faults or "/etc" in missing:
        raise RuntimeError(f"{raw} cannot be read: {'; '.join(said) or done.returncode}")


def units(root: Path) -> Iterator[str]:
    """Every unit that starts though nobody asked for it."""
    for kind in WANTS:
        for path in sorted(root.glob(f"etc/systemd/system/*.{kind}/*")):
            if path.name not in ENABLED:
                yield f"/{path.relative_to(root)}: {path.name} is enabled"
        for path in sorted(root.glob(f"usr/lib/systemd/system/*.{kind}/*")):
            if path.name not in ENABLED and not STATIC.fullmatch(path.name):
                yield f"/{path.relative_to(root)}: {path.name} is always enabled by its package"
        for path in sorted(
            [*root.glob(f"etc/systemd/user/*.{kind}/*"), *root.glob(f"usr/lib/systemd/user/*.{kind}/*")]
        ):
            if not USER.fullmatch(path.name):
                yield f"/{path.relative_to(root)}: {path.name} is enabled for every user"
    for path in sorted((root / "etc/systemd/system").glob("*.*")):
        # A link to another unit is an alias that enabling it made; one to /dev/null is a mask.
        alias = path.is_symlink() and str(path.readlink()) != "/dev/null"
        if alias and path.name not in ALIASES and path.name != "default.target":
            yield f"/{path.relative_to(root)}: {path.readlink()} is enabled by an alias"
    native = {
        path.stem for folder in ("usr/lib", "etc") for path in (root / folder / "systemd/system").glob("*.service")
    }
    for path in sorted(root.glob("etc/rc[2345S].d/S*")):
        # In rcS.d those with a unit of the same name are not run; in the others enabling follows the link.
        if path.parent.name != "rcS.d" or path.name[3:] not in native:
            yield f"/{path.relative_to(root)}: the init script {path.name[3:]} is enabled"
    presets = "".join(path.read_text() for path in sorted((root / "etc/systemd/system-preset").glob("*.preset")))
    if "disable *" not in presets.splitlines():
        yield "/etc/systemd/system-preset: without `disable *` a package that is installed later is enabled"


def secrets(root: Path) -> Iterator[str]:
    for path in sorted(root.rglob("*")):
        if path.is_symlink() or not path.is_file():
            continue
        with path.open("rb") as stream:
            data = stream.read(1 << 20)
        if re.search(rb"-----BEGIN [A-Z ]*PRIVATE KEY-----", data):
            yield f"/{path.relative_to(root)}: holds a private key"
        if data.startswith(b"SQLite format 3\0"):
            yield f"/{path.relative_to(root)}: is an SQLite database"
    shadow = root / "etc/shadow"
    for line in shadow.read_text().splitlines() if shadow.exists() else []:
        name, password = line.split(":")[:2]
        if not re.fullmatch(r"[!*]+", password):
            yield f"/etc/shadow: {name} has {'a password' if password else 'no password and no lock'}"


def findings(raw: Path) -> list[str]:
    """One line each, beginning with the path in the image; empty for an image that is nobody's and does nothing."""
    found: list[str] = []
    with tempfile.TemporaryDirectory(prefix="image-identity-") as folder:
        root = Path(folder)
        read_out(raw, root)
        for glob, what in FORBIDDEN.items():
            for path in sorted(root.glob(glob)):
                shared = path.is_symlink() and str(path.readlink()) == "/etc/machine-id"
                if not shared and not path.is_dir():
                    found.append(f"/{path.relative_to(root)}: {what}")
        for name in EMPTY:
            path = root / name
            if not path.is_file():
                found.append(f"/{name}: is missing")
            elif path.read_text():
                found.append(f"/{name}: is not empty")
        found += secrets(root)
        found += units(root)
    return list(dict.fromkeys(found))


def main(argv: list[str]) -> int:
    if not argv or argv[0].startswith("-"):
        print(__doc__)
        return 2
    count = 0
    for name in argv:
        with tempfile.TemporaryDirectory(prefix="image-identity-", dir=Path(name).resolve().parent) as folder:
            raw = Path(name)
            if raw.suffix == ".zst":
                raw = Path(folder) / "disk.raw"
                subprocess.run(["zstd", "-dq", "--sparse", name, "-o", raw], check=True)
            found = findings(raw)
        print("\n".join(found) or f"{name}: carries no identity and enables SSH, network and time only")
        count += len(found)
    return 1 if count else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
