# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 the seedcloud.openstack authors
"""The whole line on a cold rack: accidents on the way, the proof, a second run that changes nothing, and a clean end.

Run by `make e2e`, with `aio` by `make e2e-aio` (one node in both roles, no accidents); it prints what it does and ends
with status 1 at the first thing that is not as it should be.
"""

from __future__ import annotations

import json
import math
import os
import random
import re
import shlex
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

TOP = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(TOP / "tools"), str(TOP / "tests/e2e")]
import demo
import host_state
import image_identity
from ansible_collections.seedcloud.openstack.plugins.module_utils._journal.store import Cursor, read

# The journal's events of a deployment that goes well, at each of which ansible-playbook is killed once (docs/interfaces.md,
# section 4).
EVENTS = [
    *("ordered", "boot_device_set", "powered_on"),
    *("dhcp_leased", "loader_sent", "loader_fetched", "kernel_fetched"),
    *("agent_started", "inspected", "disk_chosen", "claim_taken", "image_writing", "image_written"),
    *("configured", "host_keys", "rebooting"),
    *("ssh_up", "deployed"),
]
# Those of them that the machine makes, a few of them within a second: it would be past the next before a run that was killed
# is followed by another.
OWN = EVENTS[EVENTS.index("dhcp_leased") : EVENTS.index("ssh_up")]
CHANGED = re.compile(r"\bchanged=[1-9]")
# The seed's folder, as this machine sees it.
SEED_ROOT = demo.LAB / "rack/var/lib/seedcloud"
STARTED = time.monotonic()


def say(text: str) -> None:
    print(f"[{time.monotonic() - STARTED:6.0f} s] {text}", flush=True)


def check(truth: object, text: str, why: str = "") -> None:
    """End the run unless truth holds; `why` is what may tell the reason, mostly the end of an output."""
    say(f"ok: {text}" if truth else f"FAILED: {text}\n{why[-4000:]}".rstrip())
    if not truth:
        tell_consoles()
        sys.exit(1)


def tell_consoles() -> None:
    """The last words of each machine's console: where CI runs, nobody can open them."""
    for log in sorted((demo.LAB / "consoles").glob("*.log")):
        with log.open("rb") as console:
            console.seek(max(0, log.stat().st_size - 4000))
            lines = console.read().decode(errors="replace").splitlines()[-15:]
        print(
            f"-- {log}", *(f"   {''.join(filter(str.isprintable, line))[:200]}" for line in lines), sep="\n", flush=True
        )


def ssh(command: str) -> str:
    """Run a command on the seed, as root."""
    done = subprocess.run(
        [*demo.seed_ssh(), "sudo", "sh", "-c", f"'{command}'"], stdout=subprocess.PIPE, text=True, check=True
    )
    return done.stdout


def events(name: str, cursor: Cursor | None = None) -> list[dict[str, Any]]:
    """What has happened to a node (since the cursor, which moves on), from the seed's disk: to ask by SSH is too slow."""
    return read(SEED_ROOT, name, cursor or Cursor(1))


def seed_files() -> set[str]:
    """What is configured and kept on the seed."""
    return {str(path) for folder in (SEED_ROOT, demo.LAB / "rack/etc") for path in folder.rglob("*")}


def claims(name: str) -> dict[int, int]:
    """How often the disk of a node was given to an agent to write, by generation."""
    return Counter(event["generation"] for event in events(name) if event["event"] == "claim_taken")


def hold(name: str, number: signal.Signals) -> None:
    """Stop a machine of the rack, or let it go on: a second of its time is as long as we want.

    The rack has a network namespace of its own: a guest of this host that goes by the same name is none of ours.
    """
    ours = Path("/proc/self/ns/net").stat().st_ino
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(FileNotFoundError, ProcessLookupError):
            is_guest = f"guest={name},".encode() in (process / "cmdline").read_bytes()
            if is_guest and (process / "ns/net").stat().st_ino != ours:
                os.kill(int(process.name), number)


def run_stage(
    name: str, *more: str, node: str = "", kill_at: Collection[str] = (), kill_after: float = math.inf
) -> tuple[str | int, str]:
    """Run a stage as a user does; kill -9 it as soon as one of some events happens to a node, or after some seconds.

    The exit status, or for one that was killed what it was killed at; and what it said. Ansible's workers have sessions of
    their own: one that is at work goes on for a while, beside the next run. A machine at one of whose own events a run was
    killed stands still until the next run says its first word.
    """
    argv = ["ansible-playbook", f"seedcloud.openstack.{name}", "-i", str(demo.INVENTORY), *more]
    cursor, deadline, killed = Cursor(1), time.monotonic() + kill_after, ""
    if node:
        events(node, cursor)
    with demo.LOG.open("a") as log, tempfile.TemporaryFile("w+") as output:
        log.write(f"$ {shlex.join(argv)}\n")
        process = subprocess.Popen(
            argv,
            cwd=demo.DEMO / "empty",
            env=demo.user_environment(),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        speaks = False  # before its first word, a run that is killed leaves nothing
        while process.poll() is None and not killed:
            time.sleep(0.02)
            new = {event["event"] for event in events(node, cursor)} & set(kill_at) if kill_at else set()
            if not speaks and os.fstat(output.fileno()).st_size:
                speaks = True
                hold(node, signal.SIGCONT)
            if new and speaks:
                killed = min(new, key=EVENTS.index)
            elif time.monotonic() > deadline:
                killed = f"{kill_after:.1f} s"
        hold(node, signal.SIGSTOP if killed in OWN else signal.SIGCONT)
        if killed:
            os.killpg(process.pid, signal.SIGKILL)
        code = process.wait()
        output.seek(0)
        said = output.read()
        log.write(said + (f"(killed at {killed})\n" if killed else ""))
    return killed or code, said


def side_by_side(*calls: Callable[[], Any]) -> list[Any]:
    """What the calls return, when all have ended; where one ends the run, the others end what they are at first."""
    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(lambda call: call(), calls))


def redeploy(name: str) -> dict[str, Any]:
    """The variables that let a deployed node be written again: its disk holds something, so the run has to be told the hash."""
    wanted: dict[str, Any] = {"node_redeploy": [name]}
    code, output = run_stage("provision_nodes", "--limit", name, "-e", json.dumps(wanted))
    found = re.search(r"node_wipe_confirm: ([0-9a-f]{64})", output)
    check(code == 2 and found, f"{name}: a disk that holds something is not written", output)
    assert found
    return wanted | {"node_wipe_confirm": found[1]}


def accidents(names: list[str]) -> None:
    """Provision while ansible-playbook is killed at each event and at ten random moments; nobody writes a disk twice.

    The nodes are deployed side by side, each by runs of its own. What passes together with another event is had with the other
    node, or in another deployment, which is asked for and confirmed. Two runs at once are had with the last node while the
    others have their second deployment.
    """
    seed = int(os.environ.get("E2E_SEED") or random.randrange(1 << 32))
    chance = random.Random(seed)
    moments = [chance.uniform(2, 15) for _unused in range(10)]
    say(f"random moments of this run: E2E_SEED={seed}")
    left = list(EVENTS)
    side_by_side(*(partial(deploy_through, name, {}, left, moments) for name in names))
    say(f"left for the next deployments: {left} {moments}")

    def again(name: str) -> None:
        deploy_through(name, redeploy(name), left, moments)

    side_by_side(partial(two_at_once, names[-1]), *(partial(again, name) for name in names[:-1] if left or moments))
    for _unused in range(2):
        if left or moments:
            side_by_side(*(partial(again, name) for name in names))
    check(not left and not moments, f"all kills were had{f', but not {left} {moments}' if left or moments else ''}")
    code, output = run_stage("provision_nodes")
    check(code == 0 and not CHANGED.search(output), "another run touches no node", output)


def two_at_once(name: str) -> None:
    """Two runs that want the same of a node give it one order and let it write once."""
    arguments = ["--limit", name, "-e", json.dumps(redeploy(name))]
    before = claims(name)
    ended = side_by_side(*[partial(run_stage, "provision_nodes", *arguments)] * 2)
    check(
        [code for code, _output in ended] == [0, 0], "two runs at once end well", "\n".join(said for _c, said in ended)
    )
    written = {generation: times for generation, times in claims(name).items() if generation not in before}
    check(list(written.values()) == [1], f"{name}: its disk was written once by both: by generation {written}")


def deploy_through(name: str, wanted: dict[str, Any], left: list[str], moments: list[float]) -> None:
    """Deploy a node in as many runs as it takes, each killed at one of the events or moments that are left, which go."""
    before, code = claims(name), ""
    while code != 0:
        if claims(name) != before:
            wanted.pop("node_redeploy", None)  # it is asked for once
        after = moments.pop() if moments else math.inf  # each is one node's, and comes back unless it was had
        arguments = ["--limit", name, "-e", json.dumps(wanted)]
        code, output = run_stage("provision_nodes", *arguments, node=name, kill_at=left, kill_after=after)
        check(
            code == 0 or isinstance(code, str),
            f"{name}: {f'killed at {code}' if code else 'the run ends well'}",
            output,
        )
        with suppress(ValueError):  # it was no event, or the other node's run was killed at it, too
            left.remove(str(code))
        if code != f"{after:.1f} s" and after < math.inf:
            moments.append(after)
    written = {generation: times for generation, times in claims(name).items() if generation not in before}
    check(list(written.values()) == [1], f"{name} is deployed, its disk was written once: by generation {written}")


def make(target: str, *variables: str) -> None:
    """Run a target; what it says is seen while it runs, for it may take half an hour."""
    say(f"make {target} {' '.join(variables)}".rstrip())
    argv = ["make", "--no-print-directory", target, *variables]
    begun = time.time()
    done = subprocess.run(argv, cwd=TOP, stderr=subprocess.STDOUT, check=False)
    for bundle in demo.DEMO.glob("*.tar.gz") if done.returncode else ():
        if bundle.stat().st_mtime > begun:
            tell_logs(bundle)
    check(done.returncode == 0, f"make {target}")


def tell_logs(bundle: Path) -> None:
    """The services' last words, from a support bundle: where CI runs, nobody can open it."""
    with tarfile.open(bundle) as tar:
        for member in tar:
            if not re.search(r"/var/log/(nova|neutron|glance|libvirt/qemu)/[^/]+\.log$", member.name):
                continue
            lines = tar.extractfile(member).read().decode(errors="replace").splitlines()  # type: ignore[union-attr]
            told = [line for line in lines[:-2] if re.search(r" (ERROR|CRITICAL|WARNING) ", line)][-4:] + lines[-2:]
            print(f"-- {member.name}", *(f"   {line[:300]}" for line in told), sep="\n", flush=True)


def judge_image(report: dict[str, Any]) -> None:
    """The golden image is nobody's, and no larger than promised."""
    images = demo.LAB / "rack/var/lib/seedcloud/http/images"
    image = images / f"{report['images']['golden']}.raw.zst"
    check(image.stat().st_size <= 800e6, f"the golden image has {image.stat().st_size / 1e6:.0f} MB compressed")
    check(image_identity.main([str(image)]) == 0, "the golden image carries no identity")


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
        check(done.returncode == 0, f"pasted: {line}", done.stdout)


def on_node(name: str, command: str) -> str:
    """Run a command on a deployed node, as root."""
    done = subprocess.run(
        ["ssh", "-F", str(demo.SSH_CONFIG), name, f"sudo sh -c {shlex.quote(command)}"],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        timeout=300,
    )
    return done.stdout


def compare_nodes(names: list[str]) -> None:
    """Deployed from one image, and nothing that tells machines apart is the same on two of them."""
    # Of each node: what must differ, and what the image gave.
    identity = (
        'cat /etc/machine-id; cut -d" " -f2 /etc/ssh/ssh_host_*_key.pub; sha256sum < /var/lib/systemd/random-seed; '
        "hostname; cat /etc/openvswitch/system-id.conf; "
        "for file in /etc/iscsi/initiatorname.iscsi /etc/nvme/host*; do test ! -e $file || cat $file; done"
    )
    found = {name: on_node(name, identity).splitlines() for name in names}
    shared = [
        line for line, times in Counter(line for lines in found.values() for line in set(lines)).items() if times > 1
    ]
    check(all(len(lines) >= 5 for lines in found.values()) and not shared, f"no two nodes share an identity: {shared}")
    system = "dpkg-query -W; uname -r; cat /etc/os-release; find /etc/passwd /etc/group /boot -type f | sort | xargs sha256sum"
    same = {on_node(name, system) for name in names}
    check(len(same) == 1, "all nodes have the same packages, kernel, boot files and accounts")


def invocations(names: list[str]) -> dict[tuple[str, str], str]:
    """The InvocationID of each running service of each node, by node and unit."""
    found = {}
    for name in names:
        lines = on_node(
            name,
            'for unit in $(systemctl list-units --type=service --state=running --plain --no-legend | cut -d" " -f1); '
            "do echo $unit $(systemctl show -p InvocationID --value $unit); done",
        )
        found |= {(name, unit): number for unit, number in (line.split() for line in lines.splitlines())}
    # Of a login, not of a service: they come and go with this very question.
    return {key: number for key, number in found.items() if not key[1].startswith(("user@", "ssh@", "sshd@"))}


def change_one_option(names: list[str]) -> None:
    """An option of one service, changed: its unit is restarted and nothing else."""
    before = invocations(names)
    option = json.dumps({"glance_config_overrides": {"DEFAULT": {"limit_param_default": 26}}})
    compute = json.dumps({"nova_cpu_mode": "maximum"})
    ended = side_by_side(*(partial(run_stage, "plan", "-e", change) for change in (option, compute)))
    for shown, unit, (code, output) in (
        ("limit_param_default = 26", "glance-api.service", ended[0]),
        ("cpu_mode = maximum", "nova-compute.service", ended[1]),
    ):
        told = output.rpartition("Tell which units deploy_services would restart")[2]
        check(code == 0 and f"+{shown}" in output, f"plan shows the difference: {shown}", output)
        check(set(re.findall(r"[\w-]+\.service", told)) == {unit}, f"plan tells that {unit} would be restarted", told)
    check(invocations(names) == before, "plan restarts nothing")
    started = time.monotonic()
    code, output = run_stage("deploy_services", "-e", option)
    check(code == 0, f"one option was changed in {time.monotonic() - started:.0f} s", output)
    after = invocations(names)
    moved = sorted({unit for unit in before.keys() | after.keys() if before.get(unit) != after.get(unit)})
    check({unit for _node, unit in moved} == {"glance-api.service"}, f"only Glance's API was restarted: {moved}")


def fail_a_stage(names: list[str]) -> None:
    """A stage that fails says why, and leaves what may tell more on the seed, also what the nodes know."""
    (code, output), services = side_by_side(
        partial(run_stage, "build_images", "-e", json.dumps({"image_extra_packages": ["no-such-package"]})),
        partial(run_stage, "deploy_services", "-e", "neutron_clouds_file=/no/clouds.yaml"),
    )
    check(code == 2 and "no-such-package" in output, "build_images names the package that does not exist")
    members = bundle_of(output)
    check("var/lib/lab/consoles/node1.log" in members, "the consoles are in it", "\n".join(members))
    code, output = services
    check(code == 2 and "/no/clouds.yaml" in output, "deploy_services names the file that does not exist", output)
    members = bundle_of(output)
    missing = [name for name in names if f"{name}/commands/journal.txt" not in members]
    check(not missing, f"the nodes' journals are in it, but {missing}", "\n".join(members))


def bundle_of(output: str) -> list[str]:
    """The files in the support bundle that a failed stage told of."""
    found = re.search(r"What may tell more: (\S+\.tar\.gz) on seed", output)
    check(found, "it says where the support bundle is", output)
    assert found
    members = ssh(f"tar --list --file {found[1]}").splitlines()
    check(len(members) > 5, f"the support bundle has {len(members)} files")
    return members


def main(aio: bool) -> None:
    """From a cold rack to a clean machine."""
    rack = ["LAB=tests/e2e/aio.yml"] if aio else []
    make("demo-clean")
    # Others may work here for as long as this takes: what is in homes and /tmp is compared by lab_clean.py, in minutes.
    before = host_state.state("sclab", host_state.SYSTEM)
    if not aio and os.environ.get("E2E_ACCIDENTS", "1") == "1":
        make("lab")
        demo.DEMO.mkdir(exist_ok=True)
        with demo.LOG.open("a") as log:
            demo.install_artifact(demo.Show(log))
        (demo.DEMO / "empty").mkdir(exist_ok=True)
        before_check = seed_files()
        code, output = run_stage("deploy_overcloud", "--check")
        check(code == 0, "--check of the line goes through on a rack that is dark", output)
        check(seed_files() == before_check, "it changes nothing on the seed")
        check("node1: order, boot from the network" in output, "it tells what would be done", output)
        for stage in ("check", "deploy_seed", "build_images"):
            code, output = run_stage(stage)
            check(code == 0, stage, output)
        check(
            [*(SEED_ROOT / "proof/guest").glob("guest-*.img")],
            "the guest of the proof is built before a machine is switched on",
        )
        accidents(sorted(demo.inventory()["children"]["seedcloud_nodes"]["hosts"]))
    make("demo", *rack)
    report = json.loads((demo.DEMO / "report.json").read_text())
    names = sorted(report["nodes"])
    check(report["proof"] == "ran", "the first demo proved the cloud")
    paste_commands(report)
    if not aio:
        judge_image(report)
        compare_nodes(names)
    make("demo", *rack)
    second = json.loads((demo.DEMO / "report.json").read_text())
    check(sum(second["changed"].values()) == 0, f"the second demo changed nothing: {second['changed']}")
    told = (demo.DEMO / "report.txt").read_text()
    check(second["proof"] == "skipped" and demo.PROOF_SKIPPED in told, "it skipped the proof and said so", told)
    say(f"the second demo took {second['seconds']} s")
    ways = ["--check"], ["--limit", names[-1]]
    ended = side_by_side(*(partial(run_stage, "deploy_overcloud", *more) for more in ways))
    for more, (code, output) in zip(ways, ended, strict=True):
        check(code == 0 and not CHANGED.search(output), f"deploy_overcloud {' '.join(more)} changes nothing", output)
    change_one_option(names)
    if not aio:
        fail_a_stage(names)
    make("demo-clean")
    left = host_state.differences(before, host_state.state("sclab", host_state.SYSTEM))
    check(not left, "the machine is as it was", "\n".join(left))


if __name__ == "__main__":
    main(aio=sys.argv[1:] == ["aio"])
