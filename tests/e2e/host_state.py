# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 the seedcloud.openstack authors
"""What a rack might leave behind on this machine: taken before and after, and compared."""

from __future__ import annotations

import json
import os
import re
import stat
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path

TOP = Path(__file__).resolve().parents[2]
SYSTEM = ("/etc", "/usr/local", "/var/lib", "/run")
HOMES = ("/home", "/root", "/tmp")
# What lives of its own, and this tree with its caches. $SEEDCLOUD_NOISE: what else is written meanwhile, a pattern.
NOISE = re.compile(
    "|".join(
        (
            re.escape(str(TOP)),
            r"/var/lib/(apt|chrony|containerd|dhcp\w*|docker|dpkg|logrotate|NetworkManager|[mp]locate|snapd|sudo|systemd)",
            r".*/__pycache__",
            r"/run/(blkid|chrony|containerd|dbus|docker.*|lock|log|lvm|mount|motd.*|NetworkManager|sudo|systemd|udev|user|utmp)",
            r"(/root|/home/[^/]+)/\.(ansible|cache|lesshst|viminfo|\w*history)",
            # The last two: of Ansible's own, where it was killed (a module's files, its processes' listener).
            r"/tmp/(pytest-of-.*|systemd-private-.*|\.\w+-unix|ansible_.*payload.*|pymp-.*)",
            *filter(None, [os.environ.get("SEEDCLOUD_NOISE")]),
        )
    )
)


def output(*command: str) -> str:
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def files(folder: str, noise: re.Pattern[str] = NOISE) -> Iterator[str]:
    """Everything below a folder on its own file system: of a file size and time, of a link where it leads."""
    try:
        entries, device = list(os.scandir(folder)), os.stat(folder).st_dev
    except OSError:
        return  # it went meanwhile, or was never there
    for entry in entries:
        try:
            found = entry.stat(follow_symlinks=False)
            if noise.fullmatch(entry.path) or found.st_dev != device:
                continue
            what = stat.filemode(found.st_mode)
            if entry.is_symlink():
                what = f"leads to {os.readlink(entry.path)}"
            elif entry.is_file():
                what += f" {found.st_size} bytes of {found.st_mtime_ns}"
        except FileNotFoundError:
            continue
        yield f"{entry.path} {what}"
        if entry.is_dir(follow_symlinks=False):
            yield from files(entry.path, noise)


def processes(rack: str) -> Iterator[str]:
    """Processes in the rack's cgroup or unit, and a container of its name wherever it is."""
    for path in Path("/proc").glob("[0-9]*"):
        try:
            words = (path / "cmdline").read_text(errors="replace").replace("\0", " ")
            if (path / "stat").read_text(errors="replace").rpartition(")")[2].split()[0] in "ZX":
                continue  # it has ended, and nobody has asked for its status yet
            if f"/{rack}" in (path / "cgroup").read_text() or ("systemd-nspawn" in words and rack in words):
                yield f"{path.name} {words}"
        except OSError:
            continue  # it ended meanwhile


def state(rack: str, folders: Iterable[str] = SYSTEM + HOMES) -> set[str]:
    """One line a thing; `rack` is the lab's name."""
    links = json.loads(output("ip", "-json", "address"))
    found = {
        "link": [link["ifname"] for link in links],
        "address": [f"{link['ifname']} {address['local']}" for link in links for address in link["addr_info"]],
        "route": output("ip", "route").splitlines(),
        # With their numbers: two may lie on one another.
        "mount": ["{0} {4}".format(*line.split()) for line in Path("/proc/self/mountinfo").read_text().splitlines()],
        "loop device": output("losetup", "--list", "--noheadings", "--output", "NAME,BACK-FILE").splitlines(),
        "cgroup": map(str, Path("/sys/fs/cgroup").glob(f"**/{rack}*")),
        "namespace": (path.name for path in Path("/run/netns").glob("*")),
        "process": processes(rack),
        "machine": (path.name for path in Path("/run/systemd").glob(f"*/**/*{rack}*")),
        "file": (line for folder in folders for line in files(folder)),
    }
    return {f"{kind} {line}" for kind, lines in found.items() for line in lines}


def differences(before: set[str], after: set[str]) -> list[str]:
    """Each thing that is not as before; one that changed is there twice."""
    return [f"{'was' if line in before else 'is'} {line}" for line in sorted(before ^ after)]
