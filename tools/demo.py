# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 the seedcloud.openstack authors
"""The demo: a virtual rack, and on it exactly what a user of real metal runs. `make demo` runs it.

Everything that Ansible says is in .demo/demo.log; what is shown is the same, shorter and with the time.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import yaml

TOP = Path(__file__).resolve().parent.parent
CACHE = TOP / ".cache"
DEMO = TOP / ".demo"
LAB = CACHE / "lab"
LAB_CACHE = CACHE / "lab-cache"
INVENTORY = LAB / "inventory"
COLLECTIONS = DEMO / "collections"
COLLECTION = COLLECTIONS / "ansible_collections/seedcloud/openstack"
LOG = DEMO / "demo.log"
REPORT = DEMO / "report.json"
REPORT_BUILT = DEMO / "report-built.json"  # of the last run that changed something: the next one does not
SSH_CONFIG = DEMO / "ssh_config"
CLOUDS = DEMO / "clouds.yaml"

# Seconds a stage, on the 2-core test machine: together the half hour that a cold demo may take. The proof's four minutes are
# given, too; the others share the rest as they were measured.
BUDGETS = {
    "artifact": 20,
    "rack": 110,
    "check": 20,
    "deploy_seed": 50,
    "build_images": 390,
    "provision_nodes": 250,
    "deploy_services": 720,
    "verify_overcloud": 240,
}
PROOF_SKIPPED = "The proof was not run again: nothing has changed since it passed. `make verify` runs it."


class Failed(Exception):
    """A step failed; what it said is in the log."""


@dataclass
class Stage:
    name: str
    started: float
    seconds: float = 0.0
    changed: list[str] = field(default_factory=list)  # the tasks that changed something
    proved: bool = False


@dataclass
class Show:
    """What the person sees: one line an event, with the time since the start, in a terminal as in a log."""

    log: IO[str]
    started: float = field(default_factory=time.monotonic)
    stages: list[Stage] = field(default_factory=list)

    def say(self, text: str) -> None:
        seconds = int(time.monotonic() - self.started)
        line = f"[{seconds // 60:3d}:{seconds % 60:02d}] {text}"
        print(line, flush=True)
        self.log.write(line + "\n")

    def enter(self, name: str) -> None:
        if self.stages and self.stages[-1].name == name:
            return
        self.leave()
        self.stages.append(Stage(name, time.monotonic()))
        self.say(f"== {name} (at most {BUDGETS[name]} s)")

    def leave(self) -> None:
        if self.stages and not self.stages[-1].seconds:
            stage = self.stages[-1]
            stage.seconds = time.monotonic() - stage.started


class Memory(threading.Thread):
    """The most memory that was in use on this machine, sampled."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.before = self.peak = self.used()

    @staticmethod
    def used() -> int:
        lines = (line.split() for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines())
        fields = {words[0]: int(words[1]) for words in lines}
        return (fields["MemTotal:"] - fields["MemAvailable:"]) * 1024

    def run(self) -> None:
        while True:
            self.peak = max(self.peak, self.used())
            time.sleep(1)


PLAY = re.compile(r"^PLAY \[(.*)\] \**$")
TASK = re.compile(r"^(?:TASK|RUNNING HANDLER) \[(?:[\w.]+ : )?(.*)\] \**$")
RESULT = re.compile(r"^(changed|fatal|failed|unreachable|included): (?:\[([^]]+)\])?(.*)$")
RECAP = re.compile(r"^(\S+)\s+: ok=(\d+)\s+changed=(\d+)\s+unreachable=(\d+)\s+failed=(\d+)")
# The journal's events, as node_wait prints them, and what modules tell of their progress (plugin_utils/_watched.py).
EVENT = re.compile(r"^[\w.-]+ +\+\d+s  ")


QUIET = 10  # seconds without a line, after which a person wants to know what is at work


class Follower:
    """Turn the output of ansible-playbook into what is worth a line."""

    def __init__(self, show: Show, stage_of: dict[str, str]) -> None:
        self.show, self.stage_of = show, stage_of
        self.task = self.told = ""
        self.still = threading.Timer(QUIET, show.say)
        self.changed: dict[str, int] = {}

    def line(self, line: str) -> None:
        """Take a line of the output; a task that begins and says nothing for a while is told."""
        self.still.cancel()
        self._judge(line)
        if TASK.match(line):
            self.still = threading.Timer(QUIET, self.show.say, [f"   {self.task} ..."])
            self.still.daemon = True
            self.still.start()

    def end(self) -> None:
        """No line will follow."""
        self.still.cancel()

    def _judge(self, line: str) -> None:
        if match := PLAY.match(line):
            if match[1] in self.stage_of:
                self.show.enter(self.stage_of[match[1]])
        elif match := TASK.match(line):
            self.task = match[1]
        elif match := RECAP.match(line):
            self.changed[match[1]] = int(match[3])
        elif match := RESULT.match(line):
            state, host, rest = match.groups()
            if state == "included" and "/verify/tasks/prove.yml" in rest and self.show.stages:
                self.show.stages[-1].proved = True
            elif state == "changed":
                if self.show.stages and self.task not in self.show.stages[-1].changed:
                    self.show.stages[-1].changed.append(self.task)
                told = f"   {host}: {self.task}"
                if told != self.told:  # a loop's items are in the log
                    self.show.say(told)
                self.told = told
            elif state in ("fatal", "failed", "unreachable"):
                self.show.say(f"   {host}: FAILED: {self.task}{rest[:2000]}")
        elif line.startswith(("[WARNING]", "[ERROR]")) or EVENT.match(line):
            self.show.say(f"   {line}")


def user_environment() -> dict[str, str]:
    """As a user's shell has it: the artifact is the only seedcloud.openstack, and no setting is ours."""
    keep = {k: v for k, v in os.environ.items() if not k.startswith("ANSIBLE_") and k not in ("PYTHONPATH", "MYPYPATH")}
    return keep | {
        "ANSIBLE_COLLECTIONS_PATH": f"{COLLECTIONS}:{CACHE / 'collections'}",
        "ANSIBLE_NOCOLOR": "1",
        "PYTHONUNBUFFERED": "1",
    }


def command(show: Show, argv: list[str], follower: Follower | None = None, **options: Any) -> None:
    show.log.write(f"$ {shlex.join(argv)}\n")
    with subprocess.Popen(
        argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **options
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            show.log.write(line)
            if follower:
                follower.line(line.rstrip("\n"))
        if follower:
            follower.end()
    if process.returncode:
        raise Failed(f"{Path(argv[0]).name} {argv[1] if len(argv) > 1 else ''} ended with {process.returncode}")


def lab(show: Show, state: str, *more: str) -> Follower:
    """The rack itself is made by this tree's playbook; `more` are its further arguments."""
    follower = Follower(show, {"Build the virtual rack or take it away": "rack"})
    command(
        show,
        [
            *("ansible-playbook", str(TOP / "playbooks/lab.yml"), "-i", "localhost,"),
            *("-e", f"lab_root={LAB}", "-e", f"lab_cache={LAB_CACHE}", "-e", f"lab_state={state}", *more),
        ],
        follower,
        cwd=TOP,
        env=os.environ | {"ANSIBLE_NOCOLOR": "1", "PYTHONUNBUFFERED": "1"},
    )
    return follower


def install_artifact(show: Show) -> None:
    """Build the collection and install it as a user would, into an empty folder."""
    show.enter("artifact")
    shutil.rmtree(COLLECTIONS, ignore_errors=True)
    artifacts = DEMO / "artifact"
    shutil.rmtree(artifacts, ignore_errors=True)
    tree = subprocess.run([TOP / "tools/tree", "demo"], check=True, stdout=subprocess.PIPE, text=True).stdout.strip()
    command(show, ["ansible-galaxy", "collection", "build", "--output-path", str(artifacts), tree])
    (artifact,) = artifacts.glob("*.tar.gz")
    install = ["ansible-galaxy", "collection", "install", "--offline", "-p", str(COLLECTIONS), str(artifact)]
    command(show, install, env=user_environment())


def stages() -> dict[str, str]:
    """Which stage a play belongs to, by the play's name; deploy_overcloud names the stages."""
    found = {}
    for step in yaml.safe_load((COLLECTION / "playbooks/deploy_overcloud.yml").read_text(encoding="utf-8")):
        name = step["ansible.builtin.import_playbook"].rpartition(".")[2]
        for play in yaml.safe_load((COLLECTION / f"playbooks/{name}.yml").read_text(encoding="utf-8")):
            found[play["name"]] = name
    return found


def playbook(show: Show, name: str, *more: str) -> Follower:
    """What a user of real metal runs, from an empty folder without an ansible.cfg."""
    empty = DEMO / "empty"
    shutil.rmtree(empty, ignore_errors=True)
    empty.mkdir()
    follower = Follower(show, stages())
    argv = ["ansible-playbook", f"seedcloud.openstack.{name}", "-i", str(INVENTORY), *more]
    command(show, argv, follower, cwd=empty, env=user_environment())
    return follower


def inventory() -> dict[str, Any]:
    return dict(yaml.safe_load((INVENTORY / "hosts.yml").read_text(encoding="utf-8"))["all"])


def seed_root() -> str:
    """The folder of all state on the seed."""
    everything = inventory()
    seed = everything["children"]["seedcloud_seed"]["hosts"]["seed"]
    return str((everything["vars"] | seed).get("seed_root", "/var/lib/seedcloud"))


def seed_ssh() -> list[str]:
    everything = inventory()
    seed = everything["children"]["seedcloud_seed"]["hosts"]["seed"]
    return [
        *("ssh", "-F", "none", "-i", everything["vars"]["ansible_ssh_private_key_file"]),
        *shlex.split(seed["ansible_ssh_common_args"]),
        f"{seed['ansible_user']}@{seed['ansible_host']}",
    ]


def from_seed(path: str) -> str:
    done = subprocess.run([*seed_ssh(), "sudo", "cat", path], check=True, stdout=subprocess.PIPE, text=True)
    return done.stdout


def private(path: Path, content: str) -> None:
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(content)


def write_access() -> dict[str, str]:
    """Write what the user's own shell needs to get in, and return the commands."""
    everything = inventory()
    variables, children = everything["vars"], everything["children"]
    seed, root = children["seedcloud_seed"]["hosts"]["seed"], seed_root()
    nodes = children["seedcloud_nodes"]["hosts"]
    known = DEMO / "known_hosts"
    keys = [(LAB / "ssh/known_hosts").read_text(encoding="ascii")]
    hosts = [f"Host seed\n  HostName {seed['ansible_host']}\n  User {seed['ansible_user']}\n"]
    for name, node in nodes.items():
        keys.append(from_seed(f"{root}/nodes/{name}/host_keys"))
        address = node["node_networks"]["provisioning"]["address"]
        hosts.append(f"Host {name}\n  HostName {address}\n  User {variables.get('seedcloud_ssh_user', 'debian')}\n")
    private(known, "".join(keys))
    common = f"Host *\n  IdentityFile {variables['ansible_ssh_private_key_file']}\n  IdentitiesOnly yes\n"
    common += f"  UserKnownHostsFile {known}\n  StrictHostKeyChecking yes\n"
    private(SSH_CONFIG, "".join(hosts) + common)
    private(CLOUDS, from_seed(f"{root}/clouds.yaml"))
    ssh = f"ssh -F {shlex.quote(str(SSH_CONFIG))}"
    openstack = shlex.quote(str(CACHE / "venv/bin/openstack"))
    return {
        "the cloud": f"OS_CLIENT_CONFIG_FILE={shlex.quote(str(CLOUDS))} {openstack} --os-cloud overcloud service list",
        **{f"{name} by SSH": f"{ssh} {name}" for name in ("seed", *nodes)},
        **{f"console of {name}": f"tail -n 50 {shlex.quote(str(LAB / 'consoles'))}/{name}.log" for name in nodes},
        "remove it": f"make -C {shlex.quote(str(TOP))} demo-clean",
    }


def api() -> str:
    clouds = yaml.safe_load(CLOUDS.read_text(encoding="utf-8"))
    return str(clouds["clouds"]["overcloud"]["auth"]["auth_url"])


def report(show: Show, memory: Memory, changed: dict[str, int]) -> None:
    show.leave()
    commands = write_access()
    stamp = json.loads(from_seed(f"{seed_root()}/stamps/images.json"))
    nodes = inventory()["children"]["seedcloud_nodes"]["hosts"]
    data = {
        "nodes": {name: node["node_networks"]["provisioning"]["address"] for name, node in nodes.items()},
        "images": stamp,
        "api": api(),
        "clouds_yaml": str(CLOUDS),
        "stages": [
            {"name": s.name, "seconds": round(s.seconds, 1), "budget": BUDGETS[s.name], "changed": s.changed}
            for s in show.stages
        ],
        "proof": "ran" if any(stage.proved for stage in show.stages) else "skipped",
        "seconds": round(time.monotonic() - show.started, 1),
        "changed": changed,
        "memory_peak": memory.peak,
        "memory_before": memory.before,
        "commands": commands,
        "log": str(LOG),
    }
    for file in (REPORT, *([REPORT_BUILT] if any(changed.values()) else [])):
        file.write_text(json.dumps(data, indent=2) + "\n", encoding="utf-8")
    lines = ["", "What was built"]
    lines += [f"  {name:8} {address}" for name, address in data["nodes"].items()]
    lines += [f"  image    {stamp['golden']}", f"  API      {data['api']}", "", "How long it took, in seconds (budget)"]
    lines += [f"  {s.name:18}{s.seconds:7.0f}  ({BUDGETS[s.name]})" for s in show.stages]
    total, gib = data["seconds"], 1 << 30
    lines += [f"  {'together':18}{total:7.0f}", f"  memory in use at most {memory.peak / gib:.1f} GiB"]
    lines += [f"  changed: {sum(changed.values())} tasks"]
    if data["proof"] == "skipped":
        lines += [f"  {PROOF_SKIPPED}"]
    lines += ["", "How to get in and out"] + [f"  {what + ':':20} {how}" for what, how in commands.items()]
    text = "\n".join(lines) + "\n"
    (DEMO / "report.txt").write_text(text, encoding="utf-8")
    print(text)


def up(show: Show, rack: list[str]) -> None:
    memory = Memory()
    memory.start()
    install_artifact(show)
    changed = {"rack": lab(show, "present", *rack).changed.get("localhost", 0)}
    changed |= playbook(show, "deploy_overcloud").changed
    report(show, memory, changed)


def bundle(show: Show) -> None:
    playbook(show, "support_bundle", "-e", f"support_bundle_fetch_to={DEMO}")


@contextlib.contextmanager
def stage_folder() -> Iterator[IO[str]]:
    """One demo at a time, with its log."""
    DEMO.mkdir(exist_ok=True)
    with (DEMO / "lock").open("w") as lock, LOG.open("a", buffering=1, encoding="utf-8") as log:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            sys.exit("demo: another demo is under way in this tree")
        yield log


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("action", choices=["up", "lab", "verify", "logs", "clean"])
    parser.add_argument("--lab", type=Path, help="with up and lab: another rack, a file of the lab role's variables")
    parser.add_argument("--purge", action="store_true", help="with clean: packages and cache, too")
    options = parser.parse_args()
    rack = ["-e", f"@{options.lab.resolve()}"] if options.lab else []
    with stage_folder() as log:
        show = Show(log)
        try:
            if options.action == "up":
                up(show, rack)
            elif options.action == "lab":
                lab(show, "present", *rack)
            elif options.action == "verify":
                playbook(show, "verify_overcloud", "-e", '{"verify_force": true}')
            elif options.action == "logs":
                bundle(show)
            else:
                lab(show, "absent", "-e", json.dumps({"lab_purge": options.purge}))
        except Failed as failed:
            show.say(f"FAILED: {failed}; everything that was said is in {LOG}")
            if options.action in ("up", "verify") and INVENTORY.exists() and COLLECTION.exists():
                with contextlib.suppress(Failed):
                    bundle(show)
            return 1
    if options.action == "clean":
        shutil.rmtree(DEMO)
    return 0


if __name__ == "__main__":
    sys.exit(main())
