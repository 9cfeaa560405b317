# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 the seedcloud.openstack authors
"""What the lab does on the host: lays files into the rack, and ends exactly what it started."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

FILES = Path(__file__).parents[2] / "roles/lab/files"
NODE = {"name": "node1", "address": "198.18.48.11", "password": "a-password"}
needs_cgroup2 = pytest.mark.skipif(
    os.geteuid() != 0 or Path("/run/systemd/system").is_dir() or "cgroup2" not in Path("/proc/filesystems").read_text(),
    reason="the cgroup of the rack is made by root, and only where systemd does not run",
)


def rack(*arguments: str, given: object = None) -> str:
    done = subprocess.run(
        [sys.executable, FILES / "rack.py", *arguments],
        input=json.dumps(given),
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


def configuration(**more: Any) -> dict[str, Any]:
    return {"nodes": [NODE], "links": {"br-bmc": ["198.18.48.11/24"]}, "files": {"etc/hostname": "seed\n"}} | more


def test_configure_is_idempotent_and_removes_nodes(tmp_path: Path) -> None:
    arguments = ("configure", "--name=unit", f"--root={tmp_path}")
    assert rack(*arguments, given=configuration()) == "changed"
    assert rack(*arguments, given=configuration()) == "unchanged"
    node = tmp_path / "etc/lab/nodes/node1.json"
    assert json.loads(node.read_text()) == NODE
    assert node.stat().st_mode & 0o777 == 0o600, "it holds the BMC's password"
    assert (tmp_path / "etc/sudoers.d/lab").stat().st_mode & 0o777 == 0o440
    assert "Address=198.18.48.11/24" in (tmp_path / "etc/systemd/network/10-lab-br-bmc.network").read_text()
    assert rack(*arguments, given=configuration(nodes=[])) == "changed"
    assert not node.exists()


def test_configure_repairs_a_mode(tmp_path: Path) -> None:
    arguments = ("configure", "--name=unit", f"--root={tmp_path}")
    rack(*arguments, given=configuration())
    (tmp_path / "etc/lab/nodes/node1.json").chmod(0o644)
    assert rack(*arguments, given=configuration()) == "changed"
    assert (tmp_path / "etc/lab/nodes/node1.json").stat().st_mode & 0o777 == 0o600


@needs_cgroup2
def test_stop_ends_what_is_in_the_cgroup_and_nothing_else() -> None:
    name = f"labunit{os.getpid()}"
    program = f"""
import sys; sys.path.insert(0, {str(FILES)!r})
import rack
from pathlib import Path
group = rack.Cgroup({name!r})
# A daemon that left its parent and its session is still the rack's.
group.start(["sh", "-c", "setsid sleep 600 & sleep 600"], Path("/dev/null"))
"""
    subprocess.run([sys.executable, "-c", program], check=True)
    bystander = subprocess.Popen(["sleep", "600"])
    try:
        deadline = time.monotonic() + 10
        while len(members(name)) < 3 and time.monotonic() < deadline:
            time.sleep(0.05)
        pids = members(name)
        assert len(pids) == 3
        assert rack("stop", f"--name={name}") == "changed"
        assert not any(alive(pid) for pid in pids)
        assert bystander.poll() is None
        assert rack("stop", f"--name={name}") == "unchanged"
    finally:
        bystander.kill()
        bystander.wait()


def members(name: str) -> list[int]:
    """Processes in the rack's cgroup, as /proc tells."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cgroup"):
        try:
            if f"0::/{name}/" in path.read_text():
                found.append(int(path.parent.name))
        except OSError:
            continue
    return found


def alive(pid: int) -> bool:
    try:
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False


def test_the_archives_are_those_that_the_host_names(tmp_path: Path) -> None:
    """Also where apt has fetched nothing of them, as on a fresh machine."""
    suite = "bookworm" if "bookworm" in Path("/etc/os-release").read_text() else "trixie"
    (tmp_path / "debian.sources").write_text(
        f"Types: deb\nURIs: http://192.0.2.1/debian\nSuites: {suite} {suite}-updates\nComponents: main\n\n"
        f"Types: deb\nURIs: http://192.0.2.1/debian-security\nSuites: {suite}-security\nComponents: main\n"
    )
    (tmp_path / "lists/partial").mkdir(parents=True)
    (tmp_path / "apt.conf").write_text(
        f'Dir::Etc::SourceList "/dev/null";\nDir::Etc::SourceParts "{tmp_path}";\nDir::State::Lists "{tmp_path}/lists";\n'
    )
    done = subprocess.run(
        [sys.executable, "-c", "import mirror, json; print(json.dumps(mirror.archives('trixie')))"],
        cwd=FILES,
        env={**os.environ, "APT_CONFIG": str(tmp_path / "apt.conf")},
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(done.stdout) == {
        "debian": "http://192.0.2.1/debian",
        "debian-security": "http://192.0.2.1/debian-security",
    }


@needs_cgroup2
def test_stop_removes_what_a_killed_nspawn_leaves() -> None:
    """Of systemd 252 a folder, since 256 also a mount, which refuses the next container of this name; nobody else's."""
    name = f"unit-left-{os.getpid()}"
    folders = [Path("/run/systemd/nspawn", kind, name) for kind in ("propagate", "unix-export")]
    other = folders[0].with_name(f"{name}-other")
    for folder in (*folders, other):
        folder.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", folders[1]], check=True)
    try:
        assert rack("stop", f"--name={name}") == "unchanged"
        assert not any(folder.exists() for folder in folders) and other.exists()
        assert name not in Path("/proc/self/mountinfo").read_text()
    finally:
        other.rmdir()
