# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 the seedcloud.openstack authors
"""The whole line on a cold rack: accidents on the way, the proof, a second run that changes nothing, and a clean end.

Run by `make e2e`; it prints what it does and ends with status 1 at the first thing that is not as it should be.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

TOP = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(TOP / "tools"))
import demo

# The journal's events at which ansible-playbook is killed, each once (docs/interfaces.md, section 4).
EVENTS = [
    "ordered",
    "boot_device_set",
    "powered_on",
    "agent_started",
    "claim_taken",
    "image_writing",
    "image_written",
    "rebooting",
    "ssh_up",
]
STARTED = time.monotonic()


def say(text: str) -> None:
    print(f"[{time.monotonic() - STARTED:6.0f} s] {text}", flush=True)


def check(truth: object, text: str) -> None:
    """End the run unless truth holds."""
    if not truth:
        say(f"FAILED: {text}")
        sys.exit(1)
    say(f"ok: {text}")


def ssh(command: str) -> str:
    """Run a command on the seed, as root."""
    done = subprocess.run(
        [*demo.seed_ssh(), "sudo", "sh", "-c", f"'{command}'"], stdout=subprocess.PIPE, text=True, check=True
    )
    return done.stdout


def journal() -> list[dict[str, Any]]:
    """All events of all nodes: what modules wrote and what agents reported."""
    text = ssh(
        "cat /var/lib/seedcloud/nodes/*/journal.jsonl 2>/dev/null; "
        "find /var/lib/seedcloud/nodes -path */reports/* -name *.json -exec cat {} + -exec echo \\;"
    )
    decoder, found = json.JSONDecoder(), []
    text = text.strip()
    while text:
        event, end = decoder.raw_decode(text)
        found.append(event)
        text = text[end:].lstrip()
    return found


def run_stage(name: str, kill_at: str | None = None, kill_after: float | None = None) -> tuple[int, str]:
    """Run a stage as a user does; kill -9 the whole of it at an event, or after some seconds."""
    with demo.LOG.open("a") as log:
        log.write(f"$ ansible-playbook seedcloud.openstack.{name} (killed at {kill_at or kill_after})\n")
    process = subprocess.Popen(
        ["ansible-playbook", f"seedcloud.openstack.{name}", "-i", str(demo.INVENTORY)],
        cwd=demo.DEMO / "empty",
        env=demo.user_environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    deadline = time.monotonic() + kill_after if kill_after else None
    output, killed = [], False
    if deadline:
        try:
            text, _unused = process.communicate(timeout=kill_after)
            output.append(text)
        except subprocess.TimeoutExpired:
            killed = True
    else:
        for line in process.stdout:
            output.append(line)
            if kill_at and f" {kill_at}" in line and not line.startswith(("TASK", "PLAY")):
                killed = True
                break
    if killed:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
    with demo.LOG.open("a") as log:
        log.writelines(output)
    return (-9 if killed else process.wait()), "".join(output)


def accidents() -> None:
    """Provision while ansible-playbook is killed at each event and at random moments; nobody writes a disk twice."""
    seed = random.randrange(1 << 32)
    chance = random.Random(seed)
    say(f"random moments of this run: seed {seed}")
    moments = [chance.uniform(3, 30) for _unused in range(int(os.environ.get("E2E_MOMENTS", "3")))]
    for number, event in enumerate(EVENTS):
        code, output = run_stage("provision_nodes", kill_at=event)
        if code == 0:
            say(f"provision_nodes ended before {event} was seen again")
            break
        check(
            code == -9, f"provision_nodes was killed at {event}" if code == -9 else f"provision_nodes: {output[-3000:]}"
        )
        if number < len(moments):
            code, _unused = run_stage("provision_nodes", kill_after=moments[number])
            say(f"killed after {moments[number]:.0f} s" if code == -9 else f"ended with {code}")
    code, output = run_stage("provision_nodes")
    check(code == 0, "provision_nodes ends well after all that" if code == 0 else output[-4000:])
    claims = Counter(event["node"] for event in journal() if event["event"] == "claim_taken")
    check(claims and set(claims.values()) == {1}, f"each disk was written once: {dict(claims)}")
    code, output = run_stage("provision_nodes")
    check(code == 0 and "changed=0" in output, "another run touches no node")


def host_state() -> dict[str, Any]:
    """What of this machine the rack might leave behind."""

    def lines(*argv: str) -> list[str]:
        return sorted(subprocess.run(argv, stdout=subprocess.PIPE, text=True, check=True).stdout.splitlines())

    return {
        "mounts": sorted(line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()),
        "links": [line.split()[1] for line in lines("ip", "-o", "link")],
        "routes": lines("ip", "route"),
        "loops": lines("losetup", "--list", "--noheadings"),
        "machines": sorted(p.name for p in Path("/proc").iterdir() if p.name.isdigit() and "systemd-nspawn" in comm(p)),
    }


def comm(process: Path) -> str:
    try:
        return (process / "comm").read_text()
    except OSError:
        return ""


def make(target: str) -> str:
    done = subprocess.run(
        ["make", "--no-print-directory", target],
        cwd=TOP,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    check(done.returncode == 0, f"make {target}" if done.returncode == 0 else f"make {target}: {done.stdout[-6000:]}")
    return done.stdout


def paste_commands(report: dict[str, Any]) -> None:
    """Every command that the report prints works in a user's own shell."""
    for what, command in report["commands"].items():
        if what == "remove it":
            continue
        line = f"{command} true" if what.endswith("by SSH") else command
        done = subprocess.run(
            ["env", "-i", f"HOME={os.environ['HOME']}", "PATH=/usr/bin:/bin:/usr/sbin:/sbin", "bash", "-c", line],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=300,
        )
        check(done.returncode == 0, f"pasted: {what}" if done.returncode == 0 else f"{line}: {done.stdout[-2000:]}")


def main() -> None:
    """From a cold rack to a clean machine."""
    make("demo-clean")
    before = host_state()
    if os.environ.get("E2E_ACCIDENTS", "1") == "1":
        make("lab")
        demo.DEMO.mkdir(exist_ok=True)
        with demo.LOG.open("a") as log:
            demo.install_artifact(demo.Show(log))
        (demo.DEMO / "empty").mkdir(exist_ok=True)
        for stage in ("check", "deploy_seed", "build_images"):
            code, output = run_stage(stage)
            check(code == 0, stage if code == 0 else f"{stage}: {output[-4000:]}")
        accidents()
    print(make("demo"), flush=True)
    report = json.loads((demo.DEMO / "report.json").read_text())
    paste_commands(report)
    make("demo")
    second = json.loads((demo.DEMO / "report.json").read_text())
    check(sum(second["changed"].values()) == 0, f"the second demo changed nothing: {second['changed']}")
    say(f"the second demo took {second['seconds']} s")
    make("demo-clean")
    after = host_state()
    check(after == before, "the machine is as it was" if after == before else f"{before} became {after}")


if __name__ == "__main__":
    main()
