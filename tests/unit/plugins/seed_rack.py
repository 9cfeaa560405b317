# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 the seedcloud.openstack authors
"""A provisioning network in network namespaces, with the seed's real nginx and dnsmasq as its role configures them."""

from __future__ import annotations

import contextlib
import grp
import http.client
import os
import pwd
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jinja2
import yaml

ROLE = Path(__file__).parents[3] / "roles" / "seed"
SEED = "192.0.2.1"
CIDR = "192.0.2.0/24"
PORT = 8080
HOSTS = {"node1": "192.0.2.11", "node2": "192.0.2.12", "stranger": "192.0.2.99"}
WORKER = "www-data"


def run(*command: str, check: bool = True) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0 or not check, f"{command}: {done.stderr}"
    return done.stdout


def why_not() -> str | None:
    """What this machine lacks for a rack, if anything."""
    if os.geteuid() != 0:
        return "needs root for network namespaces"
    missing = [tool for tool in ("ip", "nginx", "dnsmasq", "setpriv") if not shutil.which(tool)]
    return f"needs {', '.join(missing)}" if missing else None


class Rack:
    """One seed and a few machines on a bridge."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.etc = root.parent / "etc"
        self.run_dir = root.parent / "run"
        self._names = {name: f"sc{os.getpid()}{name}" for name in ("seed", *HOSTS)}
        self._processes: list[subprocess.Popen[bytes]] = []
        self._logs: dict[str, Path] = {}

    # -- the network

    def build(self) -> None:
        for name in self._names.values():
            run("ip", "netns", "add", name)
            run("ip", "-n", name, "link", "set", "lo", "up")
        seed = self._names["seed"]
        run("ip", "-n", seed, "link", "add", "prov", "type", "bridge")
        run("ip", "-n", seed, "address", "add", f"{SEED}/24", "dev", "prov")
        run("ip", "-n", seed, "link", "set", "prov", "up")
        for other, address in (("other", "198.51.100.1/24"),):
            run("ip", "-n", seed, "link", "add", other, "type", "bridge")
            run("ip", "-n", seed, "address", "add", address, "dev", other)
            run("ip", "-n", seed, "link", "set", other, "up")
        for n, (host, address) in enumerate(HOSTS.items()):
            run("ip", "-n", seed, "link", "add", f"p{n}", "type", "veth", "peer", "eth0", "netns", self._names[host])
            run("ip", "-n", seed, "link", "set", f"p{n}", "master", "prov", "up")
            run("ip", "-n", self._names[host], "address", "add", f"{address}/24", "dev", "eth0")
            run("ip", "-n", self._names[host], "link", "set", "eth0", "up")

    def close(self) -> None:
        for process in reversed(self._processes):
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGTERM)
            process.wait(10)
        for name in self._names.values():
            run("ip", "netns", "delete", name, check=False)

    @contextlib.contextmanager
    def inside(self, host: str) -> Iterator[None]:
        """This thread's new sockets belong to that machine."""
        # setns acts on the calling thread only, so that fifty threads may be on several machines.
        home = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        there = os.open(f"/run/netns/{self._names[host]}", os.O_RDONLY)
        try:
            os.setns(there, os.CLONE_NEWNET)
            yield
        finally:
            os.setns(home, os.CLONE_NEWNET)
            os.close(there)
            os.close(home)

    # -- the servers

    def start(self, host: str, *command: str, log: str) -> subprocess.Popen[bytes]:
        self._logs[log] = self.run_dir / f"{log}.log"
        with self._logs[log].open("ab") as out:
            process = subprocess.Popen(
                ["ip", "netns", "exec", self._names[host], *command], stdout=out, stderr=out, stdin=subprocess.DEVNULL
            )
        self._processes.append(process)
        return process

    def log(self, name: str) -> str:
        return self._logs[name].read_text(errors="replace")

    def configure(self) -> None:
        """The role's folders and files, less what is Debian's."""
        variables: dict[str, Any] = yaml.safe_load((ROLE / "defaults" / "main.yml").read_text())
        internal: dict[str, Any] = yaml.safe_load((ROLE / "vars" / "main.yml").read_text())
        variables.update(
            seed_root=str(self.root),
            seed_address=SEED,
            seed_cidr=CIDR,
            seed_interface="prov",
            seed_http_port=PORT,
            ansible_managed="test",
        )
        environment = jinja2.Environment(
            loader=jinja2.FileSystemLoader(ROLE / "templates"), trim_blocks=True, undefined=jinja2.StrictUndefined
        )
        environment.filters.update(comment=lambda text: f"# {text}", regex_escape=re.escape)
        self.etc.mkdir()
        self.run_dir.mkdir()
        self.run_dir.chmod(0o777)
        for folder in internal["__seed_folders"]:
            if folder["path"].startswith("/"):
                continue
            path = self.root / folder["path"]
            path.mkdir(exist_ok=True)
            if "group" in folder:
                os.chown(path, -1, grp.getgrnam(WORKER).gr_gid)
            path.chmod(int(folder["mode"], 8))
        for name in ("nginx", "dnsmasq"):
            text = environment.get_template(f"{name}.conf.j2").render(variables)
            text = text.replace(f"/run/seedcloud-{name}", str(self.run_dir)).replace("/etc/seedcloud", str(self.etc))
            (self.etc / f"{name}.conf").write_text(text)
        (self.etc / "dhcp-event").write_text(environment.get_template("dhcp-event.j2").render(variables))
        (self.etc / "dhcp-event").chmod(0o755)

    def start_nginx(self) -> None:
        worker = pwd.getpwnam(WORKER)
        self.start(
            "seed",
            *("setpriv", f"--reuid={worker.pw_uid}", f"--regid={worker.pw_gid}", "--clear-groups"),
            *("nginx", "-e", "stderr", "-c", str(self.etc / "nginx.conf"), "-g", "daemon off;"),
            log="nginx",
        )
        self.until(lambda: self._answers(SEED, PORT), "nginx")

    def start_dnsmasq(self) -> None:
        self.start(
            "seed",
            *("dnsmasq", "--keep-in-foreground", "--log-facility=-", f"--conf-file={self.etc / 'dnsmasq.conf'}"),
            f"--pid-file={self.dhcp_pid_file}",
            log="dnsmasq",
        )
        self.until(self.dhcp_pid_file.exists, "dnsmasq")

    @property
    def dhcp_pid_file(self) -> Path:
        return self.run_dir / "dnsmasq.pid"

    def _answers(self, address: str, port: int) -> bool:
        with self.inside("seed"), contextlib.suppress(OSError):
            socket.create_connection((address, port), 1).close()
            return True
        return False

    def until(self, condition: Any, what: str, seconds: float = 10) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, f"{what}: " + "\n".join(map(self.log, self._logs))
            time.sleep(0.02)

    # -- what machines do

    def ask(self, host: str, method: str, path: str, body: bytes | None = None, **headers: str) -> tuple[int, bytes]:
        """One request of a machine."""
        with self.inside(host):
            connection = http.client.HTTPConnection(SEED, PORT, timeout=10)
            try:
                connection.connect()
            except BaseException:
                connection.close()
                raise
        try:
            connection.request(method, path, body, {k.replace("_", "-"): v for k, v in headers.items()})
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def at_once(self, count: int, action: Any) -> list[Any]:
        """Do something many times at the same moment."""
        barrier, results = threading.Barrier(count), [None] * count

        def one(n: int) -> None:
            barrier.wait()
            results[n] = action(n)

        threads = [threading.Thread(target=one, args=(n,)) for n in range(count)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return results


@contextlib.contextmanager
def rack() -> Iterator[Rack]:
    """A rack with its folders and configuration, nothing running yet."""
    base = Path(tempfile.mkdtemp(prefix="seedcloud-rack-"))
    base.chmod(0o755)  # the worker goes through it
    (base / "seed").mkdir()
    made = Rack(base / "seed")
    try:
        made.configure()
        made.build()
        yield made
    finally:
        made.close()
        shutil.rmtree(base)
