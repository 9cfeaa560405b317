# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 the seedcloud.openstack authors
"""What image_write.py times: the agent's write path and its peer, one after the other on one disk.

Beside the agent's modules it also runs in the ramdisk, in the agent's place.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from seedcloud_agent import image
from seedcloud_agent.order import Image
from seedcloud_agent.seed import Seed

PARTS = {  # what the peer is made of, by itself: where its time goes
    "curl": "{curl} -s {url} >/dev/null",
    "curl-zstd": "{curl} -s {url} | zstd -dcq >/dev/null",
    "dd": "{dd} if=/dev/zero of={device} bs=1M count={mib} conv=fsync,notrunc status=none",
    "dd-direct": "{dd} if=/dev/zero of={device} bs=1M count={mib} oflag=direct conv=fsync,notrunc status=none",
}
PLAIN = "{curl} -sS {url} | zstd -dcq | {dd} of={device} bs=1M iflag=fullblock conv=fsync,notrunc status=none"


def settle(device: str) -> None:
    """Nothing that one run left in memory may help or burden the next."""
    fd = os.open(device, os.O_RDWR)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
    with Path("/proc/sys/vm/drop_caches").open("w") as caches:
        caches.write("1")


def race(seed: Seed, wanted: Image, device: str, tools: dict[str, str], rounds: int, stages: bool,
         tell: Callable[..., None]) -> None:  # fmt: skip
    extents = image.parse_map(seed.json(wanted.block_map or ""), wanted.size)
    words = {"url": seed.url + wanted.url, "device": device, "mib": wanted.size >> 20, **tools}

    def agent() -> None:
        image.write(seed, wanted, device, extents, lambda at: None)

    def shell(line: str) -> Callable[[], None]:
        return lambda: void(subprocess.run(["sh", "-c", line.format(**words)], check=True))

    runners: list[tuple[str, Callable[[], None]]] = [("agent", agent), ("plain", shell(PLAIN))]
    if stages:
        runners += [(name, shell(line)) for name, line in PARTS.items()]
    for turn in range(rounds):
        for name, runner in runners if turn % 2 == 0 else reversed(runners):
            settle(device)
            tell("begun", name)
            began = time.monotonic()
            runner()
            tell("timed", name, way=name, seconds=round(time.monotonic() - began, 3))


def void(_unused: Any) -> None:
    pass


def main(argv: Sequence[str]) -> int:  # in the ramdisk
    from seedcloud_agent import disks
    from seedcloud_agent.console import Console
    from seedcloud_agent.order import parse
    from seedcloud_agent.seed import Reports

    line = dict(word.partition("=")[::2] for word in Path("/proc/cmdline").read_text().split())
    seed = Seed(line["seedcloud.url"], "0" * 32)
    order = parse(seed.order())
    report = Reports(seed, order.node, order.generation, Console().say)
    assert order.image
    tools = {name: f"/bench/ld.so --library-path /bench /bench/{name}" for name in ("curl", "dd")}
    try:
        device = disks.choose(disks.find(), order.root_device).path
        race(seed, order.image, device, tools, int(line["bench.rounds"]), "bench.stages" in line, report)
        report("done")
    except Exception as error:  # told to the host, which ends the run
        report("failed", f"{type(error).__name__}: {error}", level="error")
    report.flush(60)
    subprocess.run(["poweroff", "-f"], check=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
