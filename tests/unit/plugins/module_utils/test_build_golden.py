# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 the seedcloud.openstack authors
"""The golden image: nobody's, and built only when it must be."""

from __future__ import annotations

import inspect
import json
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from ansible_collections.seedcloud.openstack.plugins.module_utils._build import common, golden
from ansible_collections.seedcloud.openstack.plugins.module_utils._build.common import (
    BuildError,
    run,
    scratch_folder,
    stamp,
)

SPEC = golden.Golden("debian13-openstack", "trixie", ["sudo", "linux-image-amd64"], ["ssh.service"], ["console=tty0"])
FILES = (".json", ".map.json", ".raw.zst")
STATUS = """\
Package: sudo
Status: install ok installed
Version: 1.9
Architecture: amd64
Maintainer: x
Description: x

Package: gone
Status: deinstall ok config-files
Version: 1
Architecture: amd64
Maintainer: x
Description: x
"""


def test_equal_settings_have_equal_names() -> None:
    assert SPEC.hash() == replace(SPEC, packages=["linux-image-amd64", "sudo", "sudo"]).hash()
    for change in (
        {"packages": ["sudo"]},
        {"enabled_units": []},
        {"kernel_arguments": []},
        {"suite": "sid"},
        {"excludes": ["/x"]},
        {"files": {"/etc/x": "y"}},
        {"sources": "deb https://192.0.2.5/debian trixie main"},
    ):
        assert replace(SPEC, **change).hash() != SPEC.hash()  # type: ignore[arg-type]  # fields of different types


@pytest.mark.parametrize("module", [golden, common, golden.disk])
def test_the_builder_is_part_of_the_name(module: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    before, source = SPEC.hash(), inspect.getsource
    monkeypatch.setattr(inspect, "getsource", lambda what: source(what) + "# changed\n" * (what is module))
    assert SPEC.hash() != before


def test_the_hosts_own_sources_are_part_of_the_name(monkeypatch: pytest.MonkeyPatch) -> None:
    named = replace(SPEC, sources="deb https://192.0.2.5/debian trixie main")
    before = SPEC.hash(), named.hash()
    monkeypatch.setattr(golden, "host_sources", lambda suite: f"Suites: {suite}\n")
    assert (SPEC.hash() != before[0], named.hash() != before[1]) == (True, False)


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What maintainer scripts leave, here in little."""
    tree = tmp_path / "tree"
    for name in (
        "etc/ssh/ssh_host_rsa_key", "etc/ssh/ssh_host_rsa_key.pub", "etc/ssh/sshd_config", "var/lib/dbus/machine-id",
        "var/lib/rabbitmq/.erlang.cookie", "var/lib/rabbitmq/mnesia/x", "var/lib/mysql/ibdata1", "etc/openvswitch/conf.db",
        "etc/openvswitch/system-id.conf", "etc/libvirt/qemu/networks/default.xml", "etc/ssl/private/ssl-cert-snakeoil.key",
        "etc/iscsi/initiatorname.iscsi", "var/lib/keystone/keystone.sqlite", "var/lib/nova/.ssh/id_rsa", "root/.ssh/id",
        "var/log/dpkg.log", "var/log/apt/term.log", "var/cache/apt/archives/x.deb", "tmp/x", "run/x/y", "proc/net/route",
        "etc/passwd-", "etc/machine-id", "etc/systemd/system/multi-user.target.wants/haproxy.service",
        "usr/lib/systemd/system/ssh.service", "etc/systemd/system/x.service", "boot/vmlinuz-1", "boot/initrd.img-1", "etc/passwd",
    ):  # fmt: skip
        path = tree / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("4711\n")
    (tree / "etc/resolv.conf").write_text("nameserver 192.0.2.53\n")
    (tree / "etc/hostname").write_text("the-seed\n")
    (tree / "vmlinuz").symlink_to("boot/vmlinuz-1")
    (tree / "initrd.img").symlink_to("boot/initrd.img-1")
    (tree / "etc/rc2.d").mkdir()
    (tree / "etc/rc2.d/S01haproxy").symlink_to("../init.d/haproxy")
    (tree / "var/lib/dpkg").mkdir(parents=True)
    (tree / "var/lib/dpkg/status").write_text(STATUS)
    (tree / "etc/apt/sources.list.d").mkdir(parents=True)
    (tree / "etc/apt/sources.list").write_text("deb copy:/srv/repo trixie main\n")
    monkeypatch.setattr(golden, "chroot", lambda *_: "")
    return tree


def test_a_finished_tree_is_nobodys(tree: Path) -> None:
    golden.finish(tree, SPEC)
    left = {str(path.relative_to(tree)) for path in tree.rglob("*") if path.is_file() and not path.is_symlink()}
    assert left == {
        "etc/ssh/sshd_config", "etc/machine-id", "etc/hostname", "etc/hosts", "etc/fstab", "etc/resolv.conf", "etc/passwd",
        "etc/systemd/system/systemd-networkd-wait-online.service.d/seedcloud.conf", "boot/grub/grub.cfg",
        "etc/systemd/system-preset/00-seedcloud.preset", "usr/lib/systemd/system/ssh.service", "etc/systemd/system/x.service",
        "boot/vmlinuz-1", "boot/initrd.img-1", "var/lib/dpkg/status", "etc/apt/sources.list",
    }  # fmt: skip
    assert (tree / "etc/machine-id").read_text() == (tree / "etc/resolv.conf").read_text() == ""
    assert "the-seed" not in (tree / "etc/hostname").read_text()
    assert (tree / "etc/rc2.d/K01haproxy").is_symlink() and not (tree / "etc/rc2.d/S01haproxy").is_symlink()
    assert (
        (tree / "etc/systemd/system-preset/00-seedcloud.preset").read_text().endswith("enable ssh.service\ndisable *\n")
    )
    assert "copy:" not in (tree / "etc/apt/sources.list").read_text()
    config = (tree / "boot/grub/grub.cfg").read_text()
    assert "root=PARTUUID=$part rw console=tty0\n" in config


def test_files_of_the_operators_own(tree: Path, tmp_path: Path) -> None:
    """They go where they are told, also over a link, and not over what tells nodes apart."""
    (tree / "etc/motd").symlink_to("../run/motd")
    files = {
        "/opt/site/x.conf": "x = 1\n",
        "/etc/motd": "ours\n",
        "/etc/machine-id": "4712\n",
        "/root/.ssh/id": "key\n",
    }
    golden.finish(tree, replace(SPEC, files=files))
    assert (tree / "opt/site/x.conf").read_text() == "x = 1\n" and (
        tree / "opt/site/x.conf"
    ).stat().st_mode & 0o777 == 0o644
    assert (tree / "etc/motd").read_text() == "ours\n" and not (tree / "etc/motd").is_symlink()
    assert (tree / "etc/machine-id").read_text() == "" and not (tree / "root/.ssh/id").exists()
    (tree / "var/lock").symlink_to(tmp_path)
    for path in ("/var/lock/x", "/var/lock/folder/x", "/etc", "/etc/passwd/x"):
        with pytest.raises(BuildError, match=f"extra_files: {path}: the image has no folder"):
            golden.lay(tree, {path: "y"})
    assert not (tmp_path / "x").exists() and not (tmp_path / "folder").exists()


@pytest.mark.parametrize("path", ["etc/x", "/", "/etc/", "/etc/../x", "/etc/./x", "//x", "/..", "/x\0y", ""])
def test_a_path_that_is_none(path: str) -> None:
    assert len(golden.faulty({path: "x", "/etc/..x/.y": "z"})) == 1


def test_a_content_that_is_none() -> None:
    assert golden.faulty({"/etc/x": 1}) == ["'/etc/x': its content is no text"]


def test_a_unit_that_is_not_there(tree: Path) -> None:
    with pytest.raises(BuildError, match=r"no unit chrony\.service"):
        golden.finish(tree, replace(SPEC, enabled_units=["ssh.service", "chrony.service"]))


def test_an_image_without_a_kernel(tree: Path) -> None:
    (tree / "boot/vmlinuz-1").unlink()
    with pytest.raises(BuildError, match="/vmlinuz: a kernel package"):
        golden.finish(tree, SPEC)


def test_what_is_removed_stays_within_the_tree(tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "tree/var/lib").mkdir(parents=True)
    (tmp_path / "tree/var/lib/mysql").symlink_to(tmp_path / "outside")
    (tmp_path / "outside/x").touch()
    golden.remove(tmp_path / "tree", ["var/lib/mysql"])
    assert (tmp_path / "outside/x").exists() and not (tmp_path / "tree/var/lib/mysql").is_symlink()


def test_installed_packages_are_told(tree: Path) -> None:
    assert golden.versions(tree) == {"sudo": "1.9"}


def publish(root: Path, name: str, created: str, settings: str = SPEC.hash(), size: int = 4) -> None:
    images = root / "http/images"
    images.mkdir(parents=True, exist_ok=True)
    (images / f"{name}.raw.zst").write_bytes(b"data")
    told = {"schema": 1, "name": name, "settings_hash": settings, "compressed_size": size, "created": created}
    (images / f"{name}.json").write_text(json.dumps(told))


def test_the_newest_complete_image_of_these_settings_is_kept(tmp_path: Path) -> None:
    images = tmp_path / "http/images"
    assert golden.find(images, SPEC.hash()) is None
    publish(tmp_path, "old", "2026-01-01T00:00:00Z")
    publish(tmp_path, "new", "2026-02-01T00:00:00Z")
    publish(tmp_path, "cut", "2026-03-01T00:00:00Z", size=5)
    publish(tmp_path, "other", "2026-04-01T00:00:00Z", settings="x")
    publish(tmp_path, "gone", "2026-05-01T00:00:00Z")
    (images / "gone.raw.zst").unlink()
    (images / "broken.json").write_text("{")
    (images / "new.map.json").write_text("[]")
    found = golden.find(images, SPEC.hash())
    assert found and found["name"] == "new"
    kept = golden.ensure(tmp_path, SPEC, 3, check=True, update=False)
    assert (kept["changed"], kept["built"], kept["name"]) == (True, False, "new")  # the stamp would change
    assert golden.ensure(tmp_path, SPEC, 3, check=False, update=False)["changed"]
    assert not golden.ensure(tmp_path, SPEC, 3, check=False, update=False)["changed"]
    assert golden.ensure(tmp_path, SPEC, 3, check=True, update=True)["name"] is None


@pytest.mark.parametrize("update", [False, True])
def test_a_build_that_outlived_its_run_is_waited_for(
    tmp_path: Path, update: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(golden, "build", lambda *_: pytest.fail("built a second time"))
    if update:
        publish(tmp_path, "yesterdays", "2026-01-01T00:00:00Z")
    with ThreadPoolExecutor(1) as pool:
        with scratch_folder(tmp_path / "images/golden"):
            rerun = pool.submit(golden.ensure, tmp_path, SPEC, 3, check=False, update=update)
            time.sleep(0.5)
            assert not rerun.done()
            publish(tmp_path, "made", "2999-01-01T00:00:00Z")
        found = rerun.result(30)
    assert (found["name"], found["built"], found["changed"]) == ("made", False, True)
    assert json.loads((tmp_path / "stamps/images.json").read_text()) == {"golden": "made"}


def test_what_is_missing_is_built_and_published(tmp_path: Path, tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(golden, "need_space", lambda *_: None)
    monkeypatch.setattr(golden, "make_tree", lambda _spec, target, _scratch: tree.rename(target))

    def assemble(_tree: Path, target: Path, _scratch: Path, _reserve: int) -> Any:
        with target.open("wb") as disk:
            disk.write(b"x" * 65536)
            disk.truncate(4 << 20)
        return golden.disk.Layout((4 << 20) - golden.disk.ROOT_START - golden.disk.TAIL)

    monkeypatch.setattr(golden.disk, "assemble", assemble)
    assert golden.ensure(tmp_path, SPEC, 3, check=True, update=False) == {
        "name": None,
        "changed": True,
        "built": False,
        "removed": [],
        "seconds": {},
    }
    for name in ("older", "last", "pinned", "elsewhere"):
        publish(tmp_path, name, "2026-01-01T00:00:00Z", settings="x")
        (tmp_path / f"http/images/{name}.map.json").write_text("{}")
    (tmp_path / "http/images/elsewhere.json").write_text('{"name": "elsewhere"}')  # as tftp_image writes it
    (tmp_path / "http/images/elsewhere.map.json").unlink()
    stamp(tmp_path, "golden", "last")
    made = golden.ensure(tmp_path, SPEC, 3, check=False, update=False, keep=["pinned"])
    assert made["built"] and made["changed"] and made["packages"] == {"sudo": "1.9"}
    assert made["name"] == f"debian13-openstack-{made['inputs_hash'][:12]}"
    assert (made["size"], made["data_size"]) == (4 << 20, 65536)
    images = tmp_path / "http/images"
    assert json.loads((images / f"{made['name']}.map.json").read_text())["extents"] == [[0, 65536]]
    packed = images / f"{made['name']}.raw.zst"
    assert packed.stat().st_size == made["compressed_size"]
    assert run(["sha256sum", packed]).split()[0] == made["sha256"]
    assert json.loads((tmp_path / "stamps/images.json").read_text()) == {"golden": made["name"]}
    assert not list((tmp_path / "images/golden").glob("build-*"))
    assert made["removed"] == ["older"]
    assert sorted(path.name for path in images.iterdir()) == sorted(
        [name + end for name in (made["name"], "last", "pinned") for end in FILES]
        + ["elsewhere.json", "elsewhere.raw.zst"]
    )
    again = golden.ensure(tmp_path, SPEC, 3, check=False, update=False)
    assert not again["changed"] and not again["built"]
