# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 the seedcloud.openstack authors
"""One boot: take orders until one ends in a restart. A failure is told and waited upon, never restarted into."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
import time
import traceback
from dataclasses import asdict
from pathlib import Path
from typing import Any

from . import disks, image, system
from .console import Console
from .errors import AgentError
from .order import Order, parse
from .seed import Reports, Seed

ROOT = Path("/run/deployed")
POLL = 3.0
LET_GO = 60.0  # seconds after which a boot that nobody awaits is given back to the disk
CLOCK_SLACK = 60
TOLD_MAX = 60_000  # of data: the seed takes a report of 64 KiB


def arguments(text: str) -> dict[str, str]:
    return {key: value for key, _unused, value in (word.partition("=") for word in text.split())}


def hardware(found: list[disks.Disk]) -> dict[str, Any]:
    """What the seed may want to know about a machine."""
    nics = [
        {"name": path.name, "mac": (path / "address").read_text().strip()}
        for path in sorted(Path("/sys/class/net").iterdir())
        if (path / "device").exists()
    ]
    memory = next(
        (
            int(line.split()[1])
            for line in Path("/proc/meminfo").read_text().splitlines()
            if line.startswith("MemTotal")
        ),
        0,
    )
    return {
        "cpus": os.cpu_count(),
        "memory_mib": memory >> 10,
        "firmware": "uefi" if Path("/sys/firmware/efi").exists() else "bios",
        "nics": nics,
        "disks": [asdict(disk) for disk in found],
    }


def choice(found: list[disks.Disk], hints: dict[str, Any]) -> dict[str, Any]:
    """Which disk a deployment would choose, or why none. People inspect also to find the hints: that is no failure."""
    try:
        return {"hints": hints, "disk": disks.choose(found, hints).name}
    except AgentError as error:
        return {"hints": hints, "fault": error.msg[:2000]}


def inspection(order: Order, found: list[disks.Disk]) -> dict[str, Any]:
    """The hardware, and what a deployment would find on the disks."""
    told, chosen = hardware(found), choice(found, order.root_device)
    seen = disks.look_at_all(order.node, found)
    if len(json.dumps([told, chosen, seen])) > TOLD_MAX:
        omitted = {"fault": "too much for one report"}
        seen = {name: what if name == chosen.get("disk") else omitted for name, what in seen.items()}
    return told | {"root_device": chosen, "disks": [disk | seen[disk["name"]] for disk in told["disks"]]}


class Progress:
    """Reports how far a write is, every few seconds."""

    def __init__(self, report: Reports, size: int, every: float = 5.0) -> None:
        self.report, self.size, self.every = report, size, every
        self.start = self.last = time.monotonic()

    def __call__(self, at: int) -> None:
        now = time.monotonic()
        if now - self.last >= self.every:
            self.last = now
            done, rate = at / 1e9, at / 1e6 / (now - self.start)
            self.report(
                "image_writing",
                f"{done:.1f} of {self.size / 1e9:.1f} GB, {rate:.0f} MB/s",
                hop="image",
                bytes=at,
                size=self.size,
            )


def deploy(order: Order, disk: disks.Disk, seed: Seed, report: Reports) -> None:
    """From the claim to a disk that boots as this node."""
    wanted = order.image
    assert wanted
    if disk.size < wanted.size + disks.TAIL:
        msg = f"{disk} is smaller than the image ({wanted.size >> 20} MiB)"
        raise AgentError("disk", msg, "disk_refused", {"hints": order.root_device})
    mark = disks.read_mark(disk.path, disk.size)
    if mark and (mark.node, mark.serial, mark.generation, mark.state) == (
        order.node,
        disk.serial,
        order.generation,
        "complete",
    ):
        report("rebooting", f"{disk.name} already holds generation {order.generation}", hop="reboot")
        return
    destroyed, mark = disks.admit(order, disk)
    if not seed.take_claim(order.generation):
        raise AgentError(
            "claim", f"the claim of generation {order.generation} is another boot's, or withdrawn", "claim_lost"
        )
    what = (
        f"destroying {'; '.join(destroyed)}"
        if destroyed
        else "going on with our own half"
        if mark
        else "the disk is empty"
    )
    report("claim_taken", f"{disk.name} for {wanted.name}: {what}", hop="claim", serial=disk.serial, image=wanted.name)
    value = seed.json(wanted.block_map) if wanted.block_map else None
    extents = image.parse_map(value, wanted.size) if value else [(0, wanted.size)]

    mark = disks.Mark(order.node, disk.serial, order.generation, wanted.name, "writing")
    fd = image.exclusive(disk.path)
    try:
        image.discard(fd, disk.size)
        image.zero(fd, 0, disks.MIB)
        image.zero(fd, disk.size - disks.TAIL, disks.TAIL)
        os.fsync(fd)
    finally:
        os.close(fd)
    disks.write_mark(disk.path, disk.size, mark)
    begun = time.monotonic()
    head = image.write(seed, wanted, disk.path, extents, Progress(report, wanted.size))
    seconds = time.monotonic() - begun
    rate = wanted.size / 1e6 / seconds
    report("image_written", f"{wanted.size / 1e9:.1f} GB in {seconds:.0f} s, {rate:.0f} MB/s", hop="image", seconds=round(seconds, 2),
           size=wanted.size, written=sum(length for _unused, length in extents))  # fmt: skip

    grown = system.write_head(disk.path, head, disk.size)
    disks.write_mark(disk.path, disk.size, disks.Mark(**{**asdict(mark), "head": system.head_digest(disk.path)}))
    path = system.grow(disk.path, grown)
    with system.mounted(path, ROOT) as root:
        keys = system.configure(root, order)
    os.sync()
    report("configured", f"{path}: {len(order.files)} files, account {order.user}", hop="configure")
    report("host_keys", ", ".join(key.split()[0] for key in keys), hop="configure", keys=keys)
    esp = system.esp_number(disk.path)
    firmware = system.firmware_boots(disk.path, esp) if esp else "no ESP"
    disks.write_mark(
        disk.path, disk.size, disks.Mark(**{**asdict(mark), "state": "complete", "head": system.head_digest(disk.path)})
    )
    os.sync()
    report("rebooting", firmware, hop="reboot")


def carry_out(order: Order, seed: Seed, report: Reports) -> bool:
    """Whether to restart now."""
    report("agent_started", f"order {order.generation}: {order.action} {order.node}")
    found = disks.find()
    # What lies on the disks is asked where somebody wants to know: a deployment looks at the one that it writes.
    told = inspection(order, found) if order.action == "inspect" else hardware(found)
    report("inspected", f"{len(found)} disks: {'; '.join(map(str, found)) or 'none'}", hop="disk", **told)
    if order.action == "inspect":
        report("rebooting", order.after, hop="reboot")
    elif order.action == "deploy":
        disk = disks.choose(found, order.root_device)
        report("disk_chosen", str(disk), hop="disk", **asdict(disk))
        deploy(order, disk, seed, report)
    else:
        raise AgentError("agent", f"this agent cannot carry out {order.action!r}")
    return True


def take_order(seed: Seed, console: Console, done: int) -> int | None:
    """One look at the seed: an order that is new is carried out.

    The generation that is dealt with now, 0 before any; None while nothing is awaited of this node.
    """
    try:
        value = seed.order()
        if value is None or value.get("generation") == done:
            return None if value is None else done
        generation, node = value.get("generation"), value.get("node")
        if not isinstance(generation, int) or not isinstance(node, str):
            raise AgentError("agent", "the order names no node and generation")
    except AgentError as error:
        console.say(error.msg, "error")
        return done
    report = Reports(seed, node, generation, console.say)
    try:
        order = parse(value)
        restart = carry_out(order, seed, report)
    except AgentError as error:
        if error.event:
            report(error.event, error.msg, hop=error.hop, level="error", **error.data)
        report("failed", error.msg, hop=error.hop, level="error")
        console.say("waiting for a new order", "error")
    except Exception as error:  # a fault of the agent's own: told like any other, and its trace kept
        traceback.print_exc()
        lines = traceback.format_exc().splitlines()[-20:]
        report("failed", f"{type(error).__name__}: {error}", level="error", trace=lines)
    else:
        while not report.flush(60):  # the host keys are known only here
            console.say("the seed has not heard all of it yet; waiting for it", "error")
        if restart:
            leave(order.after, console)
    report.flush(60)
    return generation


def leave(after: str, console: Console) -> None:
    console.say("powering off" if after == "poweroff" else "restarting from the disk")
    os.sync()
    subprocess.run(["poweroff" if after == "poweroff" else "reboot", "-f"], check=True)
    time.sleep(60)


def serve(seed: Seed, console: Console) -> None:
    """Take orders until one ends in a restart.

    Firmware that boots from the network first comes here once more after a deployment; the order may be withdrawn before
    it is read. Such a node restarts: the seed sends it to its disk. One whose order failed stays, and shows why.
    """
    done, idle, alone = 0, False, 0.0
    while True:
        found = take_order(seed, console, done)
        if found in (None, done) and not idle:
            console.say("no order for this node; asking again every few seconds")
        idle, done = found in (None, done), found or done
        alone = alone + POLL if found is None and not done else 0.0
        if alone > LET_GO:
            console.say("nobody awaits this boot")
            return leave("reboot", console)
        time.sleep(POLL)


def set_clock(seed: Seed) -> None:
    """A machine whose clock died must not date keys and journals to 1970."""
    date = seed.date()
    if date is not None and abs(date - time.time()) > CLOCK_SLACK:
        time.clock_settime(time.CLOCK_REALTIME, date)


def main() -> int:
    console = Console()
    given = arguments(Path("/proc/cmdline").read_text())
    if "seedcloud.url" not in given:
        console.say("seedcloud.url= is missing on the kernel's command line", "error")
        return 2
    seed = Seed(given["seedcloud.url"], secrets.token_hex(16), console.say)
    console.say(f"the agent is up; boot {seed.boot_id}; the seed is {seed.url}")
    set_clock(seed)
    serve(seed, console)
    return 0


if __name__ == "__main__":
    sys.exit(main())
