# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 the seedcloud.openstack authors
"""The deployed system: its partition grown, its identity made, its files written."""

from __future__ import annotations

import hashlib
import json
import os
import re
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from .commands import run
from .disks import MIB, TAIL
from .errors import AgentError
from .image import reread
from .order import NodeFile, Order

ROOT_LABEL = "seedcloud-root"
HOST_KEYS = ("ed25519", "ecdsa")


def grown_script(dump: str, size: int, sector: int = 512) -> tuple[str, int]:
    """An sfdisk script of the same table, with new identifiers, its last partition reaching to the tail; and its number."""
    lines: list[str] = []
    parts: dict[int, dict[str, str]] = {}
    for line in dump.splitlines():
        if match := re.match(r"(?P<device>\S+) : (?P<fields>.*)", line):
            fields = dict(re.findall(r'\s*([\w-]+)=\s*("[^"]*"|[^,\s]+)', match["fields"]))
            named = re.search(r"(\d+)$", match["device"])
            if not named:
                raise AgentError("image", f"sfdisk speaks of a partition {match['device']!r}")
            parts[int(named[1])] = fields
        elif not re.match(r"(label-id|device|last-lba):", line):
            lines.append(line)
    if not parts:
        raise AgentError("image", "the image has no partition")
    last = max(parts, key=lambda number: int(parts[number]["start"]))
    start = int(parts[last]["start"])
    parts[last]["size"] = str((size - TAIL) // MIB * MIB // sector - start)
    for number, fields in sorted(parts.items()):
        fields.pop("uuid", None)  # of its own on each node: two disks of one image must not be mistaken for each other
        lines.append(f"{number} : " + ", ".join(f"{key}={value}" for key, value in fields.items()))
    return "\n".join(lines) + "\n", last


def partition(disk: str, number: int) -> str:
    return f"{disk}p{number}" if disk[-1].isdigit() else f"{disk}{number}"


def write_head(disk: str, head: bytes, size: int) -> int:
    """The image's first MiB, then the table for this disk; the number of the partition that was grown."""
    with Path(disk).open("r+b", buffering=0) as device:
        device.write(head)
        os.fsync(device.fileno())
    script, last = grown_script(run(["sfdisk", "--dump", disk], "image"), size)
    options = ["--quiet", "--no-reread", "--no-tell-kernel", "--wipe=never", "--wipe-partitions=never"]
    run(["sfdisk", *options, disk], "image", script)
    with Path(disk).open("r+b", buffering=0) as device:
        if device.read(440) != head[:440]:  # the BIOS's boot code is not sfdisk's to change
            device.seek(0)
            device.write(head[:440])
        os.fsync(device.fileno())
    return last


def settle() -> None:
    run(["udevadm", "settle", "--timeout=30"], "image")


def root_partition(disk: str, grown: int) -> str:
    """The partition with our label, which is the one that was grown; with an image made elsewhere, its grown ext4."""
    path = partition(disk, grown)
    kind = run(["blkid", "-p", "-o", "value", "-s", "TYPE", path], "configure", ok=(0, 2)).strip()
    if kind != "ext4":
        raise AgentError(
            "configure",
            f"the image's last partition holds {kind or 'nothing'}, not ext4: the agent cannot configure it",
        )
    return path


def grow(disk: str, grown: int) -> str:
    reread(disk)
    settle()
    path = root_partition(disk, grown)
    run(["e2fsck", "-f", "-p", path], "image", ok=(0, 1))
    run(["resize2fs", path], "image")
    run(["tune2fs", "-U", str(uuid.uuid4()), path], "image")
    return path


@contextmanager
def mounted(device: str, target: Path) -> Iterator[Path]:
    target.mkdir(parents=True, exist_ok=True)
    run(["mount", "-t", "ext4", device, str(target)], "configure")
    try:
        yield target
    finally:
        run(["umount", str(target)], "configure")


def place(root: Path, path: str) -> Path:
    """Where a path of the deployed system lies for us; no link in it leads out of the root."""
    base = root.resolve()
    folder = base
    for part in Path(path).parts[1:-1]:
        folder = folder / part
        if folder.is_symlink():
            target = str(folder.readlink())
            folder = Path(
                os.path.normpath(f"{base}/{target}" if target.startswith("/") else f"{folder.parent}/{target}")
            )
        if base != folder and base not in folder.parents:
            raise AgentError("configure", f"{path} leads out of the deployed system")
        folder.mkdir(mode=0o755, exist_ok=True)
    return folder / Path(path).name


def write_file(root: Path, file: NodeFile, owner: tuple[int, int] = (0, 0)) -> None:
    """Whole or not at all; a link of that name is replaced, not followed."""
    target = place(root, file.path)
    part = target.with_name(f".{target.name}.seedcloud")
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "w") as stream:
        stream.write(file.content)
        os.fchown(stream.fileno(), *owner)
        os.fchmod(stream.fileno(), file.mode)
    part.replace(target)


def account(root: Path, user: str) -> tuple[int, int, str]:
    """The account's ids and home; made when the image has none."""

    def known() -> tuple[int, int, str] | None:
        for line in (root / "etc/passwd").read_text().splitlines():
            fields = line.split(":")
            if fields[0] == user:
                return int(fields[2]), int(fields[3]), fields[5]
        return None

    if known() is None:
        run(["chroot", str(root), "/usr/sbin/useradd", "--create-home", "--shell", "/bin/bash", user], "configure")
    found = known()
    if found is None:
        raise AgentError("configure", f"the account {user} could not be made")
    return found


def authorize(root: Path, user: str, keys: Sequence[str]) -> None:
    uid, gid, home = account(root, user)
    content = "".join(f"{key}\n" for key in keys)
    write_file(root, NodeFile(f"{home}/.ssh/authorized_keys", 0o600, content), (uid, gid))
    folder = place(root, f"{home}/.ssh/authorized_keys").parent
    os.chown(folder, uid, gid)
    folder.chmod(0o700)
    if uid:
        rule = f"{user} ALL=(ALL:ALL) NOPASSWD: ALL\n"
        write_file(root, NodeFile("/etc/sudoers.d/90-seedcloud", 0o440, rule))


def make_host_keys(root: Path) -> list[str]:
    """New SSH host keys; their public halves, as known_hosts has them behind the name."""
    folder = place(root, "/etc/ssh/x").parent
    for old in folder.glob("ssh_host_*_key*"):
        old.unlink()
    public = []
    for kind in HOST_KEYS:
        key = folder / f"ssh_host_{kind}_key"
        run(["ssh-keygen", "-q", "-t", kind, "-N", "", "-C", "", "-f", str(key)], "configure")
        public.append(" ".join(key.with_suffix(".pub").read_text().split()[:2]))
    return public


def configure(root: Path, order: Order) -> list[str]:
    """Make the mounted image this node; its public SSH host keys."""
    assert order.image
    for file in order.files:
        write_file(root, file)
    authorize(root, order.user, order.authorized_keys)
    told = {"name": order.image.name, "sha256": order.image.sha256, "node": order.node, "generation": order.generation,
            "fingerprint": order.fingerprint}  # fmt: skip
    write_file(root, NodeFile("/etc/seedcloud/image.json", 0o644, json.dumps(told, indent=1) + "\n"))
    # Made by the system itself at its first boot; one that came with a foreign image is everybody's.
    write_file(root, NodeFile("/etc/machine-id", 0o444, ""))
    return make_host_keys(root)


# -- UEFI


def boot_order(text: str) -> tuple[str | None, list[str], Mapping[str, str]]:
    """efibootmgr's listing: the entry that we were booted from, the order, and the entries' names."""
    current = re.search(r"^BootCurrent: (\w{4})$", text, re.M)
    order = re.search(r"^BootOrder: ([\w,]+)$", text, re.M)
    entries = dict(re.findall(r"^Boot([0-9A-F]{4})\*? ([^\t\n]*)", text, re.M))
    return current[1] if current else None, order[1].split(",") if order else [], entries


def firmware_boots(disk: str, esp: int, efi: Path = Path("/sys/firmware/efi/efivars")) -> str:
    """UEFI: from this disk at the next start, and from the network first ever after. What was done, in words."""
    if not efi.is_dir() or not any(efi.iterdir()):
        return "BIOS: the boot order is the BMC's"
    current, order, entries = boot_order(run(["efibootmgr"], "reboot"))
    for number, name in entries.items():
        if name == "seedcloud":
            run(["efibootmgr", "--quiet", "--delete-bootnum", "--bootnum", number], "reboot")
    loader = "\\EFI\\BOOT\\BOOTX64.EFI"
    create = [
        "efibootmgr",
        "--quiet",
        "--create-only",
        "--disk",
        disk,
        "--part",
        str(esp),
        "--label",
        "seedcloud",
        "--loader",
        loader,
    ]
    run(create, "reboot")
    entries = boot_order(run(["efibootmgr"], "reboot"))[2]
    ours = next((number for number, name in entries.items() if name == "seedcloud"), None)
    if ours is None:
        raise AgentError("reboot", "the firmware did not keep the boot entry of the disk")
    rest = [number for number in order if number in entries and number not in (current, ours)]
    first = [current] if current and current in entries else []
    run(["efibootmgr", "--quiet", "--bootorder", ",".join([*first, *rest, ours])], "reboot")
    run(["efibootmgr", "--quiet", "--bootnext", ours], "reboot")
    return (
        f"UEFI: the disk's entry {ours} next, {entries[first[0]] if first else 'the order as it was'} first after that"
    )


def esp_number(disk: str) -> int | None:
    """The partition with the EFI system partition's type."""
    for entry in json.loads(run(["sfdisk", "--json", disk], "reboot"))["partitiontable"]["partitions"]:
        if entry["type"].upper() == "C12A7328-F81F-11D2-BA4B-00A0C93EC93B":
            return int(re.search(r"(\d+)$", entry["node"])[1])  # type: ignore[index]  # sfdisk numbers every partition
    return None


def head_digest(disk: str) -> str:
    with Path(disk).open("rb", buffering=0) as device:
        return hashlib.sha256(device.read(MIB)).hexdigest()
