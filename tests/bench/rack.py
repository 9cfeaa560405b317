# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 the seedcloud.openstack authors
"""Figures of the rack that `make demo` made: the demos, metal to SSH, and deploy_services again, changed and unchanged.

Metal to SSH is from a node's power-on to the first SSH answer of the deployed system, as the journal on the seed has it.
Runs of deploy_services are the median of --runs; the option that is changed is put back.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import time
from datetime import datetime
from pathlib import Path
from statistics import median
from typing import Any

TOP = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(TOP / "tests/e2e"), str(TOP / "tools")]
import demo
import line
from figures import figure

GIB = 1 << 30
HOPS = ("powered_on", "claim_taken", "image_written", "ssh_up")


def metal_to_ssh(events: list[dict[str, Any]]) -> tuple[float, float] | None:
    """Seconds from power-on to SSH, and of them from claim to written, in the node's last deployment that came so far."""
    times: dict[int, dict[str, float]] = {}
    for event in events:
        if event["event"] in HOPS:
            moment = datetime.fromisoformat(event["received"]).timestamp()
            hops = times.setdefault(event["generation"], {})
            # A generation may be powered on again, and a report may come twice.
            hops[event["event"]] = min(moment, hops.get(event["event"], moment))
    whole = [hops for _generation, hops in sorted(times.items()) if len(hops) == len(HOPS)]
    if not whole:
        return None
    on, claimed, written, up = (whole[-1][hop] for hop in HOPS)
    return up - on, written - claimed


def tell_demo(title: str, path: Path) -> None:
    """A demo's stages beside their budgets, and the whole beside the target of what it was: cold, with images, or a second.

    An image that the cache had is older than the run whose report this is.
    """
    report = json.loads(path.read_text())
    image = line.SEED_ROOT / "http/images" / f"{report['images']['golden']}.json"
    built = image.stat().st_mtime > path.stat().st_mtime - report["seconds"]
    changed = sum(report["changed"].values())
    kind, most = ("cold", 1800) if built else ("with images in the cache", 1200) if changed else ("nothing to do", 180)
    print(f"  {title}, {kind}: {changed} tasks changed something")
    for stage in report["stages"]:
        figure(f"  {stage['name']}", stage["seconds"], "s", most=stage["budget"])
    figure("  together", report["seconds"], "s", most=most)
    figure("  memory in use", report["memory_peak"] / GIB, "GiB", most=14)


def tasks(output: str, names: list[str]) -> int:
    """The most tasks that a node had in a run, as the recap has them; skipped ones take their time, too."""
    recap = re.findall(r"^(\S+) +: ok=(\d+) .* skipped=(\d+)", output, re.MULTILINE)
    return max(int(ok) + int(skipped) for name, ok, skipped in recap if name in names)


def deploy(option: dict[str, Any], names: list[str]) -> tuple[float, int]:
    """Seconds and tasks of a run of deploy_services."""
    started = time.monotonic()
    code, output = line.run_stage("deploy_services", "-e", json.dumps(option))
    if code:
        sys.exit(output[-4000:])
    return time.monotonic() - started, tasks(output, names)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args()
    if not (demo.INVENTORY.exists() and demo.REPORT.exists()):
        print("  there is no rack: run `make demo` first")
        return
    report = json.loads(demo.REPORT.read_text())
    if demo.REPORT_BUILT.exists() and not any(report["changed"].values()):
        tell_demo("the last demo that built something", demo.REPORT_BUILT)
    tell_demo("the last demo", demo.REPORT)
    names = sorted(report["nodes"])
    for name in names:
        if took := metal_to_ssh(line.events(name)):
            print(f"  {name}: metal to SSH {took[0]:.0f} s, of it claim to written {took[1]:.0f} s")
    same = [deploy({}, names) for _unused in range(options.runs)]
    limits = range(26, 26 + options.runs)
    changed = [deploy({"glance_config_overrides": {"DEFAULT": {"limit_param_default": n}}}, names) for n in limits]
    deploy({}, names)
    print(f"  deploy_services, unchanged: {median(seconds for seconds, _tasks in same):.1f} s")
    figure("deploy_services, one option changed", median(seconds for seconds, _tasks in changed), "s", most=60)
    figure("deploy_services, tasks a host", max(count for _seconds, count in [*same, *changed]), most=20)


if __name__ == "__main__":
    main()
