# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 the seedcloud.openstack authors
"""bmc_power over many BMCs (one ipmi_sim each) beside an empty play and community.general.ipmi_power at 20 forks.

Each figure is the median wall time of whole `ansible-playbook` runs that power every node on or off in turn;
after each run every BMC is looked at.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from ansible_collections.seedcloud.openstack.tests.unit.plugins.module_utils import ipmi_peer as peers
from figures import figure

PORT = 6230
SIM_BYTES = 8 * 2**20  # what an ipmi_sim and its power script need, with room
EMPTY = """
- hosts: all
  gather_facts: false
"""
OURS = (
    EMPTY
    + """
  tasks:
    - name: Power the rack
      seedcloud.openstack.bmc_power:
        nodes: "{{ groups['all'] | map('extract', hostvars, 'bmc') }}"
        state: "{{ state }}"
      register: power
      run_once: true
      delegate_to: localhost
"""
)
PEER = (
    EMPTY
    + """
  tasks:
    - name: Power the node
      community.general.ipmi_power:
        name: "{{ bmc.address }}"
        port: "{{ bmc.port }}"
        user: "{{ bmc.username }}"
        password: "{{ bmc.password }}"
        state: "{{ state }}"
      delegate_to: localhost
"""
)


def play(folder: Path, name: str, state: str) -> float:
    """Seconds of one ansible-playbook run in a folder without an ansible.cfg."""
    command = ["ansible-playbook", "-i", "inventory.json", f"{name}.yml", "-f", "20", "-e", f"state={state}"]
    begin = time.monotonic()
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    seconds = time.monotonic() - begin
    if done.returncode:
        sys.exit(f"{name} failed:\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}")
    return seconds


def measure(folder: Path, count: int, names: list[str], runs: int) -> dict[str, float]:
    """Median seconds of each playbook over that many BMCs; the runs take turns, so that load hits all alike."""
    bmcs: list[peers.Peer] = []
    took: dict[str, list[float]] = {name: [] for name in names}
    try:
        for number in range(count):
            address = f"127.1.{number // 250}.{number % 250 + 1}"
            bmcs.append(peers.start_sim(folder / f"bmc{number}", address, PORT))
        peers.await_peers(*bmcs, seconds=120)
        hosts = {
            f"node{number}": {
                "ansible_connection": "local",
                "ansible_python_interpreter": sys.executable,
                "bmc": {
                    "name": f"node{number}",
                    "address": bmc.address,
                    "port": bmc.port,
                    "username": peers.USER,
                    "password": peers.PASSWORD,
                },
            }
            for number, bmc in enumerate(bmcs)
        }
        local = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
        inventory = {"nodes": {"hosts": hosts}, "all": {"vars": local}}
        (folder / "inventory.json").write_text(json.dumps(inventory))
        for name, text in {"empty": EMPTY, "bmc_power": OURS, "ipmi_power": PEER}.items():
            (folder / f"{name}.yml").write_text(text)
        state = "off"
        for _number in range(runs):
            for name in names:
                if name != "empty":
                    state = "on" if state == "off" else "off"
                took[name].append(play(folder, name, state))
                wrong = [bmc for bmc in bmcs if bmc.read("power") != ("1" if state == "on" else "0")]
                if wrong:
                    sys.exit(f"{name} left {len(wrong)} nodes not {state}, the first is {wrong[0]}")
    finally:
        peers.stop_peers(*bmcs)
    return {name: round(statistics.median(times), 2) for name, times in took.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bmcs", type=int, default=100)
    parser.add_argument("--most", type=int, default=1000, help="BMCs of the large rack, as far as memory goes")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--json", type=Path, help="write the figures there, too")
    args = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended"))  # so that the BMCs end, too
    free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    most = min(args.most, free // 2 // SIM_BYTES)
    with tempfile.TemporaryDirectory(prefix="bmc-bench-") as folder:
        small = measure(Path(folder, "small"), args.bmcs, ["empty", "bmc_power", "ipmi_power"], args.runs)
        large = measure(Path(folder, "large"), most, ["empty", "bmc_power"], args.runs)
    above, times = small["bmc_power"] - small["empty"], small["ipmi_power"] / small["bmc_power"]
    print(
        f"{args.bmcs} BMCs: empty play {small['empty']} s, bmc_power {small['bmc_power']} s, "
        f"community.general.ipmi_power {small['ipmi_power']} s"
    )
    print(f"{most} BMCs: empty play {large['empty']} s, bmc_power {large['bmc_power']} s")
    figure(f"{args.bmcs} BMCs, above the empty play", above, "s", most=2)
    figure(f"{args.bmcs} BMCs, the peer's time by ours", times, least=10)
    figure(f"{most} BMCs, bmc_power", large["bmc_power"], "s", most=15)
    if args.json:
        figures = {"small": {"bmcs": args.bmcs, **small}, "large": {"bmcs": most, **large}, "runs": args.runs}
        args.json.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
