# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 the seedcloud.openstack authors
"""Start, stop and probe the container that is the rack.

Everything that runs for the rack is in one cgroup (or, where systemd runs, one unit), entered before the first of
its processes starts: so "what belongs to the rack" has an exact answer at any moment, also after a kill. Mounts are
made in mount namespaces of its own and end with it, and so does the link to the host with its addresses and routes.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

CGROUPS = Path("/sys/fs/cgroup")
NSPAWN = Path("/run/systemd/nspawn")
MODES = {"etc/lab/nodes/": 0o600, "etc/sudoers.d/": 0o440, "usr/local/lib/lab/": 0o755}
CLONE_NEWNS = 0x00020000


class Fault(Exception):
    """Something that the person at the keyboard must know, in one line."""


def run(*command: str, check: bool = True) -> str:
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if check and done.returncode:
        raise Fault(f"{' '.join(command[:4])}: {(done.stderr or done.stdout).strip()}")
    return done.stdout


def wait_for(what: str, seconds: float, probe: Callable[[], bool]) -> None:
    deadline = time.monotonic() + seconds
    while not probe():
        if time.monotonic() > deadline:
            raise Fault(f"{what} did not happen within {seconds:.0f} s")
        time.sleep(0.1)


def nspawn(options: argparse.Namespace, *more: str) -> list[str]:
    return [
        "systemd-nspawn",
        "--quiet",
        "--settings=no",
        "--register=no",
        "--keep-unit",
        f"--machine={options.name}",
        f"--directory={options.root}",
        "--link-journal=no",
        "--resolv-conf=off",
        "--timezone=off",
        "--capability=all",
        # The clock, the modules and the log buffer are the host's.
        "--drop-capability=CAP_SYS_TIME,CAP_SYS_MODULE,CAP_SYSLOG",
        "--bind=/dev/net/tun",
        *more,
    ]


def boot(options: argparse.Namespace) -> list[str]:
    return nspawn(
        options,
        "--boot",
        f"--network-veth-extra={options.link}:host0",
        *(f"--bind={bind}" for bind in options.bind),
        *(f"--bind-ro={bind}" for bind in options.bind_ro),
    )


class Unit:
    """The rack as a transient unit of the host's systemd."""

    def __init__(self, name: str) -> None:
        self.unit = f"{name}.service"

    def running(self) -> bool:
        return run("systemctl", "show", "--property=ActiveState", "--value", self.unit).strip() == "active"

    def start(self, command: list[str], log: Path) -> None:
        properties = ["Type=notify", "Delegate=yes", "KillMode=mixed", "TasksMax=infinity"]
        properties += [f"StandardOutput=append:{log}", "StandardError=inherit", "TimeoutStopSec=10"]
        run("systemctl", "reset-failed", self.unit, check=False)
        run(
            *("systemd-run", "--quiet", "--collect", f"--unit={self.unit}", "--slice=machine.slice"),
            *(f"--property={value}" for value in properties),
            *command,
        )

    def stop(self) -> bool:
        known = run("systemctl", "show", "--property=LoadState", "--value", self.unit).strip() != "not-found"
        if known:
            run("systemctl", "kill", "--signal=KILL", self.unit, check=False)
            run("systemctl", "stop", self.unit, check=False)
            run("systemctl", "reset-failed", self.unit, check=False)
        return known


class Cgroup:
    """The rack as a cgroup of its own, where PID 1 is not systemd."""

    def __init__(self, name: str) -> None:
        private_cgroup2()
        self.path = CGROUPS / name

    def running(self) -> bool:
        try:
            return "populated 1" in (self.path / "cgroup.events").read_text(encoding="ascii")
        except FileNotFoundError:
            return False

    def enter(self) -> None:
        # nspawn wants to make groups beside the one that it runs in.
        supervisor = self.path / "supervisor"
        supervisor.mkdir(parents=True, exist_ok=True)
        (supervisor / "cgroup.procs").write_text(str(os.getpid()), encoding="ascii")

    def start(self, command: list[str], log: Path) -> None:
        with log.open("ab") as output:
            subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                preexec_fn=self.enter,  # noqa: PLW1509 - one thread; it must be in the group before it is nspawn
            )

    def stop(self) -> bool:
        if not self.path.exists():
            return False
        (self.path / "cgroup.kill").write_text("1", encoding="ascii")
        wait_for(f"the end of the processes in {self.path}", 30, lambda: not self.running())
        for folder, _unused, _unused in os.walk(self.path, topdown=False):
            Path(folder).rmdir()
        return True


def private_cgroup2() -> None:
    """Go to a mount namespace in which /sys/fs/cgroup is cgroup2 alone, as systemd-nspawn wants it."""
    if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNS):
        raise Fault(f"unshare: {os.strerror(ctypes.get_errno())}")
    run("mount", "--make-rprivate", "/")
    if not (CGROUPS / "cgroup.procs").exists():
        run("umount", "--recursive", "--lazy", str(CGROUPS), check=False)
        run("mount", "-t", "cgroup2", "cgroup2", str(CGROUPS))


def supervisor(name: str) -> Unit | Cgroup:
    return Unit(name) if Path("/run/systemd/system").is_dir() else Cgroup(name)


def connect(options: argparse.Namespace) -> bool:
    """Give the host its end of the link, and its routes into the rack."""
    wait_for(f"the link {options.link}", 30, lambda: Path("/sys/class/net", options.link).exists())
    changed = False
    link = json.loads(run("ip", "-json", "address", "show", "dev", options.link))[0]
    if options.address not in [f"{a['local']}/{a['prefixlen']}" for a in link["addr_info"]]:
        run("ip", "address", "replace", options.address, "dev", options.link)
        changed = True
    if "UP" not in link["flags"]:
        run("ip", "link", "set", options.link, "up")
        changed = True
    routes = {route["dst"] for route in json.loads(run("ip", "-json", "route", "show", "dev", options.link) or "[]")}
    for route in options.route:
        if route not in routes:
            run("ip", "route", "replace", route, "via", options.gateway, "dev", options.link)
            changed = True
    return changed


def answers(address: str) -> bool:
    """Whether an SSH server greets there."""
    try:
        with socket.create_connection((address, 22), timeout=2) as connection:
            return connection.recv(4) == b"SSH-"
    except OSError:
        return False


def start(options: argparse.Namespace) -> bool:
    rack = supervisor(options.name)
    changed = False
    if not rack.running():
        rack.stop()
        sweep(options.name)
        rack.start(boot(options), options.log)
        wait_for("the start of the rack", 10, rack.running)
        changed = True
    changed = connect(options) or changed
    wait_for("the first answer of the rack's SSH server", 120, lambda: answers(options.gateway))
    return changed


def stop(options: argparse.Namespace) -> bool:
    changed = supervisor(options.name).stop()
    # The kernel takes a namespace apart when it finds the time; routes into a rack that is gone must not wait for it.
    if options.link and Path("/sys/class/net", options.link).exists():
        run("ip", "link", "delete", options.link, check=False)
        wait_for(f"the end of the link {options.link}", 30, lambda: not Path("/sys/class/net", options.link).exists())
        changed = True
    sweep(options.name)
    return changed


def sweep(name: str) -> None:
    """Remove what a systemd-nspawn that was killed leaves: folders in which it shares mounts and sockets with a container.

    Since systemd 256 one of them (unix-export) is a mount, and with it nspawn refuses to start a container of this name.
    """
    for folder in NSPAWN.glob(f"*/{name}"):
        if folder.is_mount():
            run("umount", "--lazy", str(folder))
        folder.rmdir()


def rendered(configuration: dict[str, Any]) -> dict[str, str]:
    files: dict[str, str] = dict(configuration["files"])
    for node in configuration["nodes"]:
        files[f"etc/lab/nodes/{node['name']}.json"] = json.dumps(node, indent=2)
    for name, addresses in configuration["links"].items():
        # Bridges have no carrier while the nodes are off; the way to the host is what "online" means here.
        required = "yes" if name == "host0" else "no"
        lines = ["[Match]", f"Name={name}", "[Link]", f"RequiredForOnline={required}", "[Network]"]
        lines += ["ConfigureWithoutCarrier=yes", "LinkLocalAddressing=no", *(f"Address={a}" for a in addresses), ""]
        files[f"etc/systemd/network/10-lab-{name}.network"] = "\n".join(lines)
    return files


def configure(options: argparse.Namespace) -> bool:
    """Lay the rack's files over its system: those beside this program, and those that came by standard input."""
    here = Path(__file__).with_name("rack")
    files = {str(path.relative_to(here)): path.read_bytes() for path in here.rglob("*") if path.is_file()}
    files |= {name: content.encode() for name, content in rendered(json.load(sys.stdin)).items()}
    changed = False
    for name, content in files.items():
        target = Path(options.root, name)
        # An artifact of a collection keeps no modes.
        mode = next((mode for start, mode in MODES.items() if name.startswith(start)), 0o644)
        if target.is_file() and target.read_bytes() == content and target.stat().st_mode & 0o777 == mode:
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = target.with_name(f".{target.name}.new")
        temporary.touch(mode=0o600)
        temporary.write_bytes(content)
        temporary.chmod(mode)
        temporary.replace(target)
        changed = True
    nodes = Path(options.root, "etc/lab/nodes")
    for path in nodes.glob("*.json"):
        if str(path.relative_to(options.root)) not in files:
            path.unlink()
            changed = True
    return changed


def probe(options: argparse.Namespace) -> str:
    """Which accelerator runs a real kernel: opening /dev/kvm, and even QEMU's start on it, prove nothing."""
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return "tcg"
    qemu = ["qemu-system-x86_64", "-accel", "kvm", "-cpu", "host", "-machine", "q35", "-m", "256"]
    qemu += ["-nodefaults", "-display", "none", "-serial", "stdio", "-no-reboot", "-kernel", "/run/vmlinuz"]
    qemu += ["-append", "console=ttyS0 panic=-1"]
    command = nspawn(
        options, "--pipe", "--bind=/dev/kvm", f"--bind-ro={options.kernel}:/run/vmlinuz", "--private-network", *qemu
    )
    rack = Cgroup(f"{options.name}-probe") if not Path("/run/systemd/system").is_dir() else None
    if rack is None:
        limits = ["--property=Delegate=yes", f"--property=RuntimeMaxSec={options.timeout}"]
        command = ["systemd-run", "--quiet", "--pipe", "--wait", "--collect", *limits, *command]
    try:
        done = subprocess.run(
            command,
            check=False,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=options.timeout,
            preexec_fn=rack.enter if rack else None,
        )
        output = done.stdout
    except subprocess.TimeoutExpired as expired:
        output = expired.stdout or b""
    finally:
        if rack:
            rack.stop()
    # It has no root file system: this panic is the last thing that a kernel says which got all the way.
    return "kvm" if re.search(rb"Unable to mount root fs", output) else "tcg"


ACTIONS = {"configure": configure, "start": start, "stop": stop}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("action", choices=["configure", "start", "stop", "probe"])
    parser.add_argument("--name", required=True)
    parser.add_argument("--root", type=Path)
    parser.add_argument("--log", type=Path, default=Path("/dev/null"))
    parser.add_argument("--link", help="name of the host's end of the link")
    parser.add_argument("--address", help="the host's address on the link, with prefix length")
    parser.add_argument("--gateway", help="the rack's address on the link")
    parser.add_argument("--route", action="append", default=[], help="a network that lies in the rack")
    parser.add_argument("--bind", action="append", default=[])
    parser.add_argument("--bind-ro", action="append", default=[])
    parser.add_argument("--kernel", default="")
    parser.add_argument("--timeout", type=float, default=20)
    options = parser.parse_args()
    try:
        if options.action == "probe":
            print(probe(options))
        else:
            print("changed" if ACTIONS[options.action](options) else "unchanged")
    except Fault as fault:
        sys.exit(f"rack: {fault}")


if __name__ == "__main__":
    main()
