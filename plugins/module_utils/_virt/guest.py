# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 the seedcloud.openstack authors
"""The guest that proves a cloud: Debian's kernel and busybox with an SSH server, up in seconds, on a disk of 16 MB.

The disk is GRUB, the kernel and the ramdisk one after the other. GRUB reads them by their sectors, so there is
no file system, and the guest never needs its disk again.
"""

from __future__ import annotations

import lzma
import shutil
import struct
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from .._build.common import (
    BuildError,
    Tree,
    chroot,
    digest,
    file_digest,
    make_tree,
    need_space,
    read_json,
    scratch_folder,
    write_json,
)
from .._build.disk import SECTOR, bios_boot
from .._build.ramdisk import Stage, pack

PACKAGES = ("busybox-static", "dropbear-bin", "grub-pc-bin")
# Not `linux`: it reads the kernel to 1 MiB with all its room for unpacking (58 MB), and moves that a byte at a time to where
# the kernel would like to be, for eight seconds of an emulated processor. `linux16` starts the kernel where it was read to.
CORE_MODULES = ("biosdisk", "linux16")
FIRST = 2048  # the sector of the kernel; what lies before it is for GRUB
# Without edd=off the kernel's real-mode part asks the BIOS about 16 disks, for seconds where an emulated processor emulates one.
ARGUMENTS = "console=tty0 console=ttyS0 quiet panic=10 edd=off"
CONFIG = "linux16 (hd0){kernel} {arguments}\ninitrd16 (hd0){initrd}\nboot\n"

INIT = """\
#!/bin/busybox sh
# Init of the guest: network by DHCP, the key from the metadata service, SSH, and a login on each console.
export PATH=/bin:/sbin
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
mkdir -p /dev/pts
mount -t devpts devpts /dev/pts
say() { echo "seedcloud-guest: $*" >/dev/console; }
# A switch in user space hands packets on as they are: they need their checksums before.
for module in MODULES; do
  case $module in *virtio_net.ko*) option=csum=0 ;; *) option= ;; esac
  insmod /lib/modules/$module $option
done
hostname seedcloud-guest
ip link set lo up
metadata() { wget -q -T 60 -O - "http://169.254.169.254/latest/meta-data/$1"; }
(
  for i in $(seq 60); do
    nic=$(ls -d /sys/class/net/e* 2>/dev/null | head -n 1)
    [ -n "$nic" ] && break
    sleep 0.5
  done
  [ -n "$nic" ] || say "there is no network interface"
  nic=${nic##*/}
  ip link set "$nic" up
  udhcpc -i "$nic" -s /etc/dhcp -O mtu -O staticroutes -t 30 -T 2 -S -n >/dev/console 2>&1 || say "no address by DHCP"
  say "address $(ip -o -4 address show dev "$nic" | awk '{print $4}') mtu $(cat /sys/class/net/$nic/mtu)"
  dropbearkey -t ed25519 -f /etc/dropbear.key >/dev/null
  say "host key $(dropbearkey -y -f /etc/dropbear.key | grep '^ssh-')"
  dropbear -s -r /etc/dropbear.key || say "the SSH server did not start"
  for i in $(seq 60); do
    key=$(metadata public-keys/0/openssh-key 2>/dev/null) && break
    sleep 2
  done
  case $key in
    ssh-*|ecdsa-*) echo "$key" >/root/.ssh/authorized_keys; say "key received" ;;
    *) say "no key from the metadata service: $(metadata public-keys/0/openssh-key 2>&1)" ;;
  esac
  name=$(metadata hostname) && hostname "${name%%.*}"
  # In a loop, for a login that ends is followed by the next.
  (while :; do getty -L 0 tty1 linux; done) </dev/null &
  while :; do getty -L 115200 ttyS0 vt100; done
) &
while :; do wait; sleep 1; done
"""

DHCP = """\
#!/bin/busybox sh
# What udhcpc calls: option 121 (classless routes) excludes option 3 (router), as RFC 3442 says.
case $1 in
  deconfig) ip address flush dev "$interface" ;;
  bound|renew)
    ip address replace "$ip/$mask" dev "$interface"
    [ -z "$mtu" ] || ip link set "$interface" mtu "$mtu"
    if [ -n "$staticroutes" ]; then
      set -- $staticroutes
      while [ $# -ge 2 ]; do
        [ "$2" = 0.0.0.0 ] && ip route replace "$1" dev "$interface" || ip route replace "$1" via "$2" dev "$interface"
        shift 2
      done
    else
      for gateway in $router; do ip route replace default via "$gateway" dev "$interface"; done
    fi
    : >/etc/resolv.conf
    for server in $dns; do echo "nameserver $server" >>/etc/resolv.conf; done ;;
esac
"""


@dataclass(frozen=True)
class Guest:
    """What the guest is made of."""

    suite: str
    kernel: str
    modules: Sequence[str]

    def hash(self) -> str:
        """Whatever changes one of its parts makes another image."""
        parts = (PACKAGES, CORE_MODULES, FIRST, ARGUMENTS, CONFIG, INIT, DHCP)
        return digest({**asdict(self), "layout": 2, "parts": parts})


def load_order(wanted: Sequence[str], table: str) -> list[str]:
    """Paths of the modules and all that they need (modules.dep), each after what it needs; built-in ones have none."""
    needs = {path: rest.split() for path, _unused, rest in (line.partition(":") for line in table.splitlines())}
    named = {Path(path).name.split(".")[0].replace("-", "_"): path for path in needs}
    chosen = [named[name] for name in wanted if name in named]
    return list(dict.fromkeys(path for module in chosen for path in (*reversed(needs[module]), module)))


def add_modules(stage: Stage, release: str, wanted: Sequence[str]) -> list[str]:
    """Put the modules into the ramdisk, unpacked, and return their names in the order in which they are loaded."""
    chroot(stage.tree, "/sbin/depmod", release)
    folder = stage.tree / "usr/lib/modules" / release
    names = []
    (stage.folder / "usr/lib/modules").mkdir(parents=True)
    for path in load_order(wanted, (folder / "modules.dep").read_text(encoding="ascii")):
        data = (folder / path).read_bytes()
        names.append(Path(path).name.removesuffix(".xz"))
        (stage.folder / "usr/lib/modules" / names[-1]).write_bytes(
            lzma.decompress(data) if path.endswith(".xz") else data
        )
    return names


def fill(stage: Stage, release: str, modules: Sequence[str]) -> None:
    """Put into the ramdisk what runs in the guest."""
    found = next(
        (name for name in ("usr/bin/busybox", "bin/busybox") if (stage.tree / name).is_file()), "usr/bin/busybox"
    )
    stage.copy(found)
    if not (stage.folder / "bin/busybox").is_file():
        raise BuildError("busybox-static brought no busybox")
    for name in ("usr/sbin/dropbear", "usr/bin/dropbearkey"):
        stage.program(name)
    stage.copy("usr/lib64/ld-linux-x86-64.so.2")
    stage.write("init", INIT.replace("MODULES", " ".join(add_modules(stage, release, modules))), 0o755)
    stage.write("etc/dhcp", DHCP, 0o755)
    stage.write("etc/passwd", "root:*:0:0:root:/root:/bin/sh\n")
    stage.write("etc/group", "root:x:0:\n")
    stage.write("etc/shells", "/bin/sh\n")
    (stage.folder / "root/.ssh").mkdir(mode=0o700, exist_ok=True)


def assemble(tree: Path, kernel: Path, initrd: Path, target: Path) -> None:
    """Write GRUB, kernel and ramdisk to where GRUB is told that they are."""

    def sectors(path: Path) -> int:
        return -(-path.stat().st_size // SECTOR)

    ramdisk = FIRST + sectors(kernel)
    config = CONFIG.format(
        kernel=f"{FIRST}+{sectors(kernel)}", initrd=f"{ramdisk}+{sectors(initrd)}", arguments=ARGUMENTS
    )
    made = tree / "seedcloud"
    made.mkdir()
    (made / "grub.cfg").write_text(config, encoding="ascii")
    paths = ["-c", "/seedcloud/grub.cfg", "-o", "/seedcloud/core.img"]
    chroot(tree, "grub-mkimage", "-O", "i386-pc", "-p", "/", *paths, *CORE_MODULES)
    boot = (tree / "usr/lib/grub/i386-pc/boot.img").read_bytes()
    mbr, core = bios_boot(boot, (made / "core.img").read_bytes(), 1)
    if len(core) > (FIRST - 1) * SECTOR:
        raise BuildError("GRUB's core.img reaches into the kernel")
    end = -(-(ramdisk + sectors(initrd)) // FIRST) * FIRST
    # Glance and Nova take a boot sector without a partition for an attack: one of type "no file system", and LBA only.
    partition = struct.pack("<B3sB3sII", 0x80, b"\xff\xff\xff", 0xDA, b"\xff\xff\xff", FIRST, end - FIRST)
    with target.open("wb") as disk:
        disk.write(mbr[:446] + partition.ljust(64, b"\0") + mbr[510:] + core)
        for path, sector in ((kernel, FIRST), (initrd, ramdisk)):
            disk.seek(sector * SECTOR)
            disk.write(path.read_bytes())
        disk.truncate(end * SECTOR)


def build(folder: Path, scratch: Path, spec: Guest, sources: str) -> dict[str, Any]:
    """Build the image below a name of its own and give it its place in one step."""
    name = f"guest-{spec.hash()[:12]}"
    start = time.monotonic()
    need_space(scratch, 1 << 30)
    tree = scratch / "tree"
    make_tree(Tree(spec.suite, "extract", [*PACKAGES, spec.kernel], sources), tree, scratch)
    for link in ("bin", "sbin", "lib", "lib64"):  # Debian 12 makes them when base-files is configured
        if not (tree / link).exists():
            (tree / link).symlink_to(f"usr/{link}")
    kernels = sorted((tree / "boot").glob("vmlinuz-*"))
    if len(kernels) != 1:
        raise BuildError(f"{spec.kernel} brought {len(kernels)} kernels; exactly one is wanted")
    stage = Stage(tree, scratch / "stage")
    fill(stage, kernels[0].name.removeprefix("vmlinuz-"), spec.modules)
    pack(stage.folder, scratch / "initrd", scratch)
    assemble(tree, kernels[0], scratch / "initrd", scratch / "disk")
    image = scratch / "disk"
    manifest = {
        "schema": 1,
        "name": name,
        "path": str(folder / f"{name}.img"),
        "size": image.stat().st_size,
        "sha256": file_digest(image),
        "kernel": kernels[0].name.removeprefix("vmlinuz-"),
    }
    image.chmod(0o644)
    shutil.move(image, folder / f"{name}.img")
    write_json(folder / f"{name}.json", manifest)
    return {**manifest, "seconds": round(time.monotonic() - start, 1)}


def ensure(folder: Path, spec: Guest, sources: str, check: bool) -> dict[str, Any]:
    """The image that fits the settings; built where it is missing."""
    name = f"guest-{spec.hash()[:12]}"
    image = folder / f"{name}.img"

    def known() -> dict[str, Any] | None:
        found = read_json(folder / f"{name}.json")
        if isinstance(found, dict) and image.is_file() and image.stat().st_size == found["size"]:
            return {**found, "changed": False}
        return None

    if found := known():
        return found
    if check:
        return {"name": name, "path": str(image), "changed": True}
    with scratch_folder(folder) as scratch:
        return known() or {**build(folder, scratch, spec, sources), "changed": True}
