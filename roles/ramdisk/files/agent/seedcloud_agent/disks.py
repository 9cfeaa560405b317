# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 the seedcloud.openstack authors
"""The node's disks: what they are, which one is meant, and what lies on it."""

from __future__ import annotations

import hashlib
import json
import os
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from .commands import run
from .errors import AgentError
from .order import Order

MIB = 1 << 20
# The last MiB of a disk is the agent's: the backup GPT lies in its end, the mark in its beginning.
TAIL = MIB
MARK_SIZE = 4096
MAGIC = "seedcloud-mark-1"


@dataclass(frozen=True)
class Disk:
    name: str
    path: str
    size: int
    serial: str = ""
    wwn: str = ""
    model: str = ""
    vendor: str = ""
    rotational: bool = False
    read_only: bool = False
    by_path: tuple[str, ...] = ()

    @property
    def size_gib(self) -> int:
        return self.size >> 30

    def __str__(self) -> str:
        facts = [
            f"{self.size / (1 << 30):.1f} GiB",
            self.model,
            f"serial {self.serial or 'none'}",
            f"wwn {self.wwn}" * bool(self.wwn),
        ]
        return f"{self.name} ({', '.join(fact for fact in facts if fact)})"


def parse_lsblk(text: str, by_path: dict[str, list[str]]) -> list[Disk]:
    def word(entry: dict[str, Any], key: str) -> str:
        return str(entry.get(key) or "").strip()

    return [
        Disk(
            name=entry["name"],
            path=entry["path"],
            size=int(entry["size"] or 0),
            serial=word(entry, "serial"),
            wwn=word(entry, "wwn"),
            model=word(entry, "model"),
            vendor=word(entry, "vendor"),
            rotational=bool(entry["rota"]),
            read_only=bool(entry["ro"]),
            by_path=tuple(sorted(by_path.get(entry["path"], []))),
        )
        for entry in json.loads(text)["blockdevices"]
        # A floppy, an optical drive or an empty card reader is no disk to install on.
        if entry["type"] == "disk"
        and int(entry["size"] or 0) > 0
        and not entry["name"].startswith(("ram", "zram", "loop", "nbd", "fd"))
    ]


def find() -> list[Disk]:
    links: dict[str, list[str]] = {}
    folder = Path("/dev/disk/by-path")
    for link in folder.iterdir() if folder.is_dir() else []:
        links.setdefault(str(link.resolve()), []).append(str(link))
    columns = "NAME,PATH,TYPE,SIZE,SERIAL,WWN,MODEL,VENDOR,ROTA,RO"
    return sorted(
        parse_lsblk(run(["lsblk", "--json", "--bytes", "--nodeps", "-o", columns], "disk"), links),
        key=lambda disk: disk.name,
    )


def _fits(disk: Disk, hint: str, wanted: Any) -> bool:
    if hint == "by_path":
        return any(wanted in (path, Path(path).name) for path in disk.by_path)
    if hint == "name":
        return wanted in (disk.name, disk.path)
    if hint == "wwn":
        return disk.wwn.lower().removeprefix("0x") == str(wanted).lower().removeprefix("0x")
    value = getattr(disk, hint)
    if isinstance(wanted, str):
        return str(value).lower() == wanted.strip().lower()
    return bool(value == wanted)


def choose(disks: Sequence[Disk], hints: dict[str, Any]) -> Disk:
    """The one disk that all hints fit. There is no guess: none, or several, is a refusal."""
    seen = "; ".join(map(str, disks)) or "none at all"
    data = {"hints": hints, "disks": [asdict(disk) for disk in disks]}

    def refuse(msg: str) -> AgentError:
        return AgentError("disk", f"{msg}. Disks of this node: {seen}", "disk_refused", data)

    if not hints:
        raise refuse("no root device hint is given")
    fitting = [disk for disk in disks if all(_fits(disk, hint, wanted) for hint, wanted in hints.items())]
    text = ", ".join(f"{hint} {wanted!r}" for hint, wanted in hints.items())
    if len(fitting) != 1:
        raise refuse(
            f"no disk has {text}" if not fitting else f"{', '.join(disk.name for disk in fitting)} all have {text}"
        )
    if fitting[0].read_only:
        raise refuse(f"{fitting[0].name} is read-only")
    return fitting[0]


# -- what lies on a disk


def _signatures(device: str) -> list[str]:
    found = json.loads(run(["wipefs", "--no-act", "--json", device], "disk") or '{"signatures": []}')
    texts = []
    for signature in found["signatures"]:
        words = [signature["type"]]
        words += [f"{key}={signature[key]}" for key in ("label", "uuid") if signature.get(key)]
        texts.append(" ".join(words))
    return texts


def partitions(disk: str, sys: Path = Path("/sys/class/block")) -> list[str]:
    """The kernel's partitions of a disk, in their order."""
    folder = sys / Path(disk).name
    numbered = sorted((int(path.read_text()), path.parent.name) for path in folder.glob("*/partition"))
    return [str(Path(disk).with_name(name)) for _number, name in numbered]


def contents(path: str, size: int) -> list[str]:
    """Everything that says that the disk is somebody's; empty for an empty disk."""
    texts = sorted(set(_signatures(path)))
    for number, partition in enumerate(partitions(path), 1):
        texts += [f"part{number}: {text}" for text in sorted(set(_signatures(partition))) or ["unknown"]]
    with Path(path).open("rb", buffering=0) as disk:
        for where, offset in (("first", 0), ("last", max(0, size - MIB))):
            disk.seek(offset)
            block = disk.read(MIB)
            if not texts and block.strip(b"\0"):
                texts.append(f"data in the {where} MiB")
    return texts


def wipe_hash(node: str, serial: str, found: Sequence[str]) -> str:
    """What the operator repeats to have this disk, with these contents, destroyed."""
    value = {"node": node, "serial": serial, "contents": list(found)}
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


# -- our own mark


@dataclass(frozen=True)
class Mark:
    """Who writes, or wrote, this disk: kept in its last MiB, where no partition reaches."""

    node: str
    serial: str
    generation: int
    image: str
    state: str  # writing | complete
    head: str = ""  # sha256 of the first MiB that the agent left, once it wrote one
    extra: dict[str, Any] = field(default_factory=dict)


def read_mark(path: str, size: int) -> Mark | None:
    with Path(path).open("rb", buffering=0) as disk:
        disk.seek(size - TAIL)
        block = disk.read(MARK_SIZE)
    try:
        value = json.loads(block.rstrip(b"\0"))
        if value.pop("magic") != MAGIC:
            return None
        return Mark(**value)
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def write_mark(path: str, size: int, mark: Mark) -> None:
    block = json.dumps({"magic": MAGIC, **asdict(mark)}).encode().ljust(MARK_SIZE, b"\0")
    with Path(path).open("r+b", buffering=0) as disk:
        disk.seek(size - TAIL)
        disk.write(block)
        os.fsync(disk.fileno())


def half_written(mark: Mark | None, path: str, node: str, serial: str) -> bool:
    """Whether the disk holds nothing but what the agent itself began to write, for this node, and did not finish."""
    if mark is None or mark.state != "writing" or (mark.node, mark.serial) != (node, serial):
        return False
    with Path(path).open("rb", buffering=0) as disk:
        head = disk.read(MIB)
    # Not begun to boot yet, or just as we left it: somebody else's table in front of our mark is somebody else's disk.
    return not head.strip(b"\0") or (bool(mark.head) and hashlib.sha256(head).hexdigest() == mark.head)


def held(node: str, disk: Disk) -> tuple[list[str], Mark | None]:
    """What a write would destroy, and the mark; nothing on an empty disk and on one that we began to write ourselves."""
    mark = read_mark(disk.path, disk.size)
    ours = half_written(mark, disk.path, node, disk.serial)
    return [] if ours else contents(disk.path, disk.size), mark


def admit(order: Order, disk: Disk) -> tuple[list[str], Mark | None]:
    """What will be destroyed, confirmed or nobody's; otherwise a refusal with the hash that confirms it."""
    found, mark = held(order.node, disk)
    wanted = wipe_hash(order.node, disk.serial, found)
    if found and order.wipe_confirmed != wanted:
        described = {"name": disk.name, "serial": disk.serial, "wwn": disk.wwn, "size": disk.size, "contents": found}
        raise AgentError(
            "disk",
            f"{disk} holds {'; '.join(found)}. To have it destroyed, set node_wipe_confirm to {wanted}",
            "wipe_refused",
            {"hints": order.root_device, "hash": wanted, "disks": [described]},
        )
    return found, mark


def look(node: str, disk: Disk) -> dict[str, Any]:
    """What an inspection tells of a disk: what it holds, and the hash that has it destroyed, where one is needed."""
    try:
        found, mark = held(node, disk)
    except Exception as error:  # a broken disk must not keep the node from telling of the others
        return {"fault": str(error) or type(error).__name__}
    return {
        "contents": found,
        "hash": wipe_hash(node, disk.serial, found) if found else None,
        "ours": mark is not None and not found,
    }


def look_at_all(node: str, disks: Sequence[Disk], patience: float = 60.0) -> dict[str, dict[str, Any]]:
    """The same of each disk, by name, all at once: one that hangs in its kernel's retries holds up none."""
    seen: dict[str, dict[str, Any]] = {}

    def one(disk: Disk) -> None:
        seen[disk.name] = look(node, disk)

    threads = [threading.Thread(target=one, args=(disk,), daemon=True) for disk in disks]
    for thread in threads:
        thread.start()
    end = time.monotonic() + patience
    for thread in threads:
        thread.join(max(0.0, end - time.monotonic()))
    silent = {"fault": f"it did not answer within {patience:.0f} s"}
    return {disk.name: seen.get(disk.name, silent) for disk in disks}
