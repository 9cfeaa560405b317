# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 the seedcloud.openstack authors
"""A golden image opened: what it carries and what it starts. First planted faults, then an image that was really built."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from ansible_collections.seedcloud.openstack.plugins.module_utils._build import disk, golden

TOP = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(TOP / "tests/e2e"))

import image_identity

MIB = 1 << 20
ROOT = 192 * MIB  # sparse; the journal needs it
UNITS = "etc/systemd/system"
PRESET = f"{UNITS}-preset/00-seedcloud.preset"
CLEAN = {
    "etc/machine-id": "",
    "etc/resolv.conf": "",
    "etc/shadow": "root:*:20000::::::\ndaemon:!:20000::::::\n",
    PRESET: "enable ssh.service\ndisable *\n",
    "etc/ssh/sshd_config": "",
    "etc/rc2.d/K01haproxy": "",
    "etc/rcS.d/S01udev": "",
    "usr/lib/systemd/system/udev.service": "",
    "usr/lib/systemd/system/multi-user.target.wants/systemd-logind.service": "",
    f"{UNITS}/multi-user.target.wants/ssh.service": "",
    f"{UNITS}/sshd.service": "-> /usr/lib/systemd/system/ssh.service",
    f"{UNITS}/masked.service": "-> /dev/null",
    "var/lib/dbus/machine-id": "-> /etc/machine-id",
    "root/.bashrc": "",
    "home/.keep": "",
    "usr/lib/systemd/user/.keep": "",
}
PLANTED = {
    "etc/ssh/ssh_host_ed25519_key": "k",
    "etc/machine-id": "0123456789abcdef0123456789abcdef\n",
    "etc/resolv.conf": "nameserver 192.0.2.1\n",
    "etc/shadow": "root:$y$j9T$x:20000::::::\n",
    "var/lib/dbus/machine-id": "0123456789abcdef0123456789abcdef\n",
    "var/lib/systemd/random-seed": "s",
    "var/lib/systemd/credential.secret": "s",
    "var/lib/rabbitmq/.erlang.cookie": "COOKIE",
    "root/.erlang.cookie": "COOKIE",
    "var/lib/mysql/ibdata1": "d",
    "var/lib/nova/nova.sqlite": "",
    "var/lib/hidden/state": "SQLite format 3\0",
    "etc/openvswitch/system-id.conf": "id",
    "var/lib/openvswitch/pki/x.db": "d",
    "var/lib/ovn/ovnnb_db.db": "d",
    "etc/keystone/fernet-keys/0": "k",
    "etc/nova/tls.conf": "x\n-----BEGIN RSA PRIVATE KEY-----\n",
    "etc/libvirt/qemu/networks/default.xml": "<network/>",
    "home/debian/.ssh/authorized_keys": "ssh-ed25519 AAAA",
    "root/.bash_history": "ls\n",
    "var/log/apt/term.log": "x",
    "etc/seedcloud/image.json": "{}",
    f"{UNITS}/multi-user.target.wants/haproxy.service": "-> /usr/lib/systemd/system/haproxy.service",
    f"{UNITS}/timers.target.wants/logrotate.timer": "-> /usr/lib/systemd/system/logrotate.timer",
    f"{UNITS}/ssh.service.requires/x.socket": "-> /usr/lib/systemd/system/x.socket",
    f"{UNITS}/dbus-org.bluez.service": "-> /usr/lib/systemd/system/bluetooth.service",
    "usr/lib/systemd/system/timers.target.wants/e2scrub_all.timer": "-> ../e2scrub_all.timer",
    "etc/rc3.d/S01haproxy": "-> ../init.d/haproxy",
    "etc/rcS.d/S10nothing-native": "-> ../init.d/nothing-native",
    "etc/systemd/user/default.target.wants/agent.service": "-> /usr/lib/systemd/user/agent.service",
    PRESET: "enable ssh.service\n",
}


def image(folder: Path, files: dict[str, str], table: bool = False) -> Path:
    """A file system of these files (`-> x` is a link), alone or as the last partition of a disk."""
    tree, root = folder / "tree", folder / "root.img"
    for name, content in files.items():
        path = tree / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if content.startswith("-> "):
            path.symlink_to(content[3:])
        else:
            path.write_text(content)
    disk.make_root(tree, root, ROOT)
    if not table:
        return root
    layout, raw = disk.Layout(ROOT), folder / "disk.raw"
    subprocess.run(["truncate", "-s", str(layout.size), raw], check=True)
    subprocess.run(["sfdisk", "-q", raw], input=layout.sfdisk().encode(), check=True)
    seek = f"seek={disk.ROOT_START // MIB}"
    subprocess.run(["dd", f"if={root}", f"of={raw}", "bs=1M", seek, "conv=notrunc,sparse", "status=none"], check=True)
    return raw


def test_an_image_that_is_nobodys(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    raw = image(tmp_path, CLEAN, table=True)
    assert image_identity.findings(raw) == []
    subprocess.run(["zstd", "-q", "-1", raw, "-o", tmp_path / "disk.raw.zst"], check=True)
    assert image_identity.main([str(tmp_path / "disk.raw.zst")]) == 0
    assert "no identity" in capsys.readouterr().out


def test_each_planted_fault_is_found(tmp_path: Path) -> None:
    """All at once, and none of them hides another."""
    found = image_identity.findings(image(tmp_path, CLEAN | PLANTED))
    named = {line.split(": ")[0].lstrip("/") for line in found}
    assert set(PLANTED) - {PRESET} - named == set()
    assert named - set(PLANTED) == {"etc/systemd/system-preset"}


def test_what_is_missing(tmp_path: Path) -> None:
    files = {name: content for name, content in CLEAN.items() if name not in ("etc/machine-id", PRESET)}
    assert [line.split(":")[0] for line in image_identity.findings(image(tmp_path, files))] == [
        "/etc/machine-id",
        "/etc/systemd/system-preset",
    ]


def test_what_cannot_be_read_is_no_clean_image(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(bytes(MIB))
    with pytest.raises(RuntimeError, match="cannot be read"):
        image_identity.findings(tmp_path / "x")
    with pytest.raises(RuntimeError, match="cannot be read"):
        image_identity.findings(image(tmp_path, {"usr/x": ""}))


@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0, reason="mmdebstrap needs root")
def test_a_built_image_is_nobodys(tmp_path: Path) -> None:
    """Built as the role builds it, with packages that bring timers, units of init scripts, host keys and a database."""
    defaults = yaml.safe_load((TOP / "roles/image/defaults/main.yml").read_text())
    more = [
        "haproxy",
        "linux-image-cloud-amd64",
        "logrotate",
        "man-db",
        "memcached",
        "open-iscsi",
        "openvswitch-switch",
    ]
    spec = golden.Golden(
        "test", defaults["image_suite"], [*defaults["image_base_packages"], *more], defaults["image_enabled_units"],
        excludes=defaults["image_excluded_paths"], includes=defaults["image_included_paths"],
    )  # fmt: skip
    made = golden.ensure(tmp_path, spec, 1, check=False, update=False)
    raw = tmp_path / "disk.raw"
    subprocess.run(["zstd", "-dq", "--sparse", tmp_path / f"http/images/{made['name']}.raw.zst", "-o", raw], check=True)
    assert image_identity.findings(raw) == []
