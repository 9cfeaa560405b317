# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 the seedcloud.openstack authors
"""The agent's write path beside `curl | zstd -d | dd conv=fsync`: same image, same disk, same run, in turns.

image_write.py             in a virtual machine, onto its virtio disk, with the ramdisk and the golden image that the lab has
                           built or kept ($SEEDCLOUD_CPU: the machine's CPU model)
image_write.py --host      on this host, onto a file

Both ways end with the data on the disk (fsync). The figure is the quotient of the medians.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

TOP = Path(__file__).resolve().parents[2]
AGENT = TOP / "roles/ramdisk/files/agent"
sys.path[:0] = [str(TOP / "tests/e2e"), str(TOP / "tests/unit/agent"), str(AGENT)]

from agent_seed import SeedStandIn
from figures import figure
from image_race import race
from ramdisk_rig import Machine, empty_disk, newest_image, newest_ramdisk, order, powered
from seedcloud_agent.order import Image
from seedcloud_agent.seed import Seed

TARGET = 0.8
MIB = 1 << 20
BLOCK = 65536


def cut(source: Path, folder: Path, mib: int) -> dict[str, Any]:
    """The first part of a golden image as an image of its own: what is in it decides how it packs."""
    raw, packed = folder / "cut.raw", folder / "cut.raw.zst"
    with raw.open("wb") as out:
        unpack = subprocess.Popen(["zstd", "-dcq", source], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        assert unpack.stdout
        extents: list[list[int]] = []
        for at in range(0, mib * MIB, BLOCK):
            block = unpack.stdout.read(BLOCK)
            if len(block) < BLOCK:
                break
            if block.strip(b"\0"):
                if extents and sum(extents[-1]) == at:
                    extents[-1][1] += BLOCK
                else:
                    extents.append([at, BLOCK])
                out.seek(at)
                out.write(block)
        size = at + BLOCK
        out.truncate(size)
        unpack.kill()
        unpack.wait()
    subprocess.run(["zstd", "-qf", "-6", "-T0", raw, "-o", packed], check=True)
    raw.unlink()
    (folder / "cut.map.json").write_text(json.dumps({"schema": 1, "size": size, "extents": extents}))
    with packed.open("rb") as stream:
        sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
    return {"name": "cut", "url": "/cut.raw.zst", "block_map": "/cut.map.json", "format": "raw.zst", "size": size,
            "sha256": sha256, "compressed_size": packed.stat().st_size}  # fmt: skip


def like_a_system(folder: Path, mib: int) -> Path:
    """Without a golden image: what lies on this host, which packs much alike."""
    packed = folder / "source.raw.zst"
    line = f'tar -c --ignore-failed-read /usr/lib /usr/bin 2>/dev/null | head -c {mib}M | zstd -q -9 -T0 -fo "$0"'
    subprocess.run(["sh", "-c", line, packed], check=True)
    return packed


def bench_ramdisk(ramdisk: Path, folder: Path) -> Path:
    """The ramdisk with this tree's agent modules, the race in the agent's place, and the peer's programs from this host."""
    made, overlay = folder / "ramdisk", folder / "overlay"
    package, bench = overlay / "usr/lib/seedcloud/seedcloud_agent", overlay / "bench"
    shutil.copytree(AGENT / "seedcloud_agent", package, ignore=shutil.ignore_patterns("__pycache__", "__main__.py"))
    shutil.copy(TOP / "tests/e2e/image_race.py", package / "__main__.py")
    bench.mkdir()
    for name in ("curl", "dd"):
        program = shutil.which(name)
        assert program, f"{name} is missing"
        shutil.copy(program, bench / name)
        for library in re.findall(r"(/\S+) \(0x", subprocess.check_output(["ldd", program], text=True)):
            shutil.copy(library, bench / ("ld.so" if "ld-linux" in library else Path(library).name))
    names = [".", *sorted(str(path.relative_to(overlay)) for path in overlay.rglob("*"))]
    argv = ["cpio", "--null", "--create", "--quiet", "--format=newc", "--owner=0:0"]
    archive = subprocess.run(argv, input="\0".join(names).encode(), cwd=overlay, check=True, capture_output=True).stdout
    made.mkdir()
    (made / "vmlinuz").symlink_to((ramdisk / "vmlinuz").resolve())
    initrd = (ramdisk / "initrd").read_bytes()
    (made / "initrd").write_bytes(initrd + bytes(-len(initrd) % 4) + archive)
    return made


def in_vm(args: argparse.Namespace, folder: Path, seed: SeedStandIn, image: dict[str, Any]) -> None:
    disk = empty_disk(folder / "disk.raw", image["size"] + 64 * MIB)
    seed.put_order(order(1, image))
    machine = Machine(folder, bench_ramdisk(args.ramdisk, folder), {"S1": disk}, memory=args.memory)
    machine.arguments = f"bench.rounds={args.rounds}" + (" bench.stages" if args.stages else "")
    with powered(machine, seed):
        watch(machine, seed)


def watch(machine: Machine, seed: SeedStandIn) -> None:
    """Note what the machine has cost this host when each report comes: other load does not count in that."""
    assert machine.process
    seen, begun = 0, 0.0
    while True:
        with seed.heard:
            if not seed.heard.wait_for(lambda seen=seen: len(seed.reports) > seen, 1800):
                raise TimeoutError("the machine says nothing any more")
        report = seed.reports[seen]
        seen += 1
        fields = Path(f"/proc/{machine.process.pid}/stat").read_text().rpartition(")")[2].split()
        spent = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
        if report["event"] == "begun":
            begun = spent
        elif report["event"] == "timed":
            report["data"]["cpu"] = round(spent - begun, 2)
            print(json.dumps(report["data"]), flush=True)
        else:
            if report["event"] == "failed":
                raise RuntimeError(report["msg"])
            return


def on_host(args: argparse.Namespace, folder: Path, seed: SeedStandIn, image: dict[str, Any]) -> None:
    disk = empty_disk(folder / "disk.raw", image["size"] + 64 * MIB)
    fields = {key: value for key, value in image.items() if key != "format"}

    def tell(event: str, msg: str = "", **data: Any) -> None:
        seed.reports.append({"event": event, "msg": msg, "data": data})

    race(
        Seed(seed.url, "0" * 32),
        replace(Image(**fields)),
        str(disk),
        {"curl": "curl", "dd": "dd"},
        args.rounds,
        args.stages,
        tell,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--host", action="store_true", help="without a virtual machine")
    parser.add_argument("--ramdisk", type=Path, help="a folder with vmlinuz and initrd; default: the lab's")
    parser.add_argument(
        "--image", type=Path, help="a golden image (.raw.zst); default: the lab's, with --host files of this host"
    )
    parser.add_argument("--mib", type=int, default=512, help="how much of it")
    parser.add_argument("--memory", type=int, default=1024, help="the machine's MiB")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--stages", action="store_true", help="time the peer's parts by themselves, too")
    parser.add_argument("--json", type=Path, help="write the figures here, too")
    args = parser.parse_args()
    if not args.host:
        try:
            args.ramdisk, args.image = args.ramdisk or newest_ramdisk(), args.image or newest_image()
        except FileNotFoundError as error:
            print(f"  {error}")
            return
    with tempfile.TemporaryDirectory(prefix="image-write-", dir=os.environ.get("TMPDIR", "/var/tmp")) as scratch:
        folder, files = Path(scratch), Path(scratch) / "http"
        files.mkdir()
        image = cut(args.image or like_a_system(folder, args.mib), files, args.mib)
        seed = SeedStandIn(files)
        try:
            (on_host if args.host else in_vm)(args, folder, seed, image)
        finally:
            seed.close()
    timed = [report["data"] for report in seed.reports if report["event"] == "timed"]
    size = image["size"] / 1e6
    print(f"{size:.0f} MB, {image['compressed_size'] / 1e6:.0f} MB packed, {'on the host' if args.host else 'in a VM'}")
    medians: dict[str, dict[str, float]] = {}
    for way in dict.fromkeys(entry["way"] for entry in timed):
        of = [entry for entry in timed if entry["way"] == way]
        medians[way] = {
            key: statistics.median(entry[key] for entry in of) for key in ("seconds", "cpu") if key in of[0]
        }
        told = f", {medians[way]['cpu']:.1f} s of CPU" if "cpu" in medians[way] else ""
        seconds = ", ".join(f"{entry['seconds']:.2f}" for entry in of)
        print(
            f"{way:10} {medians[way]['seconds']:7.2f} s {size / medians[way]['seconds']:7.1f} MB/s{told} (of {seconds})"
        )
    quotient = medians["plain"]["seconds"] / medians["agent"]["seconds"]
    figure("the agent's rate by that of plain tools", quotient, least=TARGET)
    if args.json:
        args.json.write_text(
            json.dumps({"image": image, "timed": timed, "medians": medians, "quotient": quotient}, indent=1)
        )


if __name__ == "__main__":
    main()
