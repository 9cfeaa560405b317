# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 the seedcloud.openstack authors
"""Figures of the rack that `make demo` made: its stages, metal to SSH, and deploy_services again, changed and unchanged.

Metal to SSH is from a node's power-on to the first SSH answer of the deployed system, as the journal on the seed has it.
Runs of deploy_services are the median of --runs; the option that is changed is put back.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from datetime import datetime
from pathlib import Path
from typing import Any

TOP = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(TOP / "tests/e2e"), str(TOP / "tools")]
import demo
import line


def moments(events: list[dict[str, Any]], node: str, name: str) -> list[float]:
    """When an event of a node was received, in seconds since the epoch."""
    return sorted(
        datetime.fromisoformat(event.get("received", event["time"])).timestamp()
        for event in events
        if (event["node"], event["event"]) == (node, name)
    )


def metal_to_ssh(names: list[str]) -> None:
    events = line.journal()
    for name in names:
        on, wrote, written, up = (
            moments(events, name, event) for event in ("powered_on", "claim_taken", "image_written", "ssh_up")
        )
        write = written[-1] - wrote[-1]
        print(f"  {name}: metal to SSH {up[-1] - on[0]:.0f} s, of it claim to written {write:.0f} s")


def deploy(option: dict[str, Any]) -> float:
    started = time.monotonic()
    code, output = line.run_stage("deploy_services", "-e", json.dumps(option))
    if code:
        sys.exit(output[-4000:])
    return time.monotonic() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args()
    if not demo.INVENTORY.exists():
        print("  there is no rack: run `make demo` first")
        return
    report = json.loads((demo.DEMO / "report.json").read_text())
    for stage in report["stages"]:
        print(f"  {stage['name']}: {stage['seconds']:.0f} s (budget {stage['budget']} s, changed: {stage['changed']})")
    print(f"  the whole demo: {report['seconds']:.0f} s, memory in use at most {report['memory_peak'] / 2**30:.1f} GiB")
    metal_to_ssh(sorted(report["nodes"]))
    same = statistics.median(deploy({}) for _unused in range(options.runs))
    changes = (
        {"glance_config_overrides": {"DEFAULT": {"limit_param_default": n}}} for n in range(26, 26 + options.runs)
    )
    changed = statistics.median(deploy(option) for option in changes)
    deploy({})
    print(f"  deploy_services: unchanged {same:.1f} s, one option changed {changed:.1f} s (target 60 s)")


if __name__ == "__main__":
    main()
