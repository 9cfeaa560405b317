# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 the seedcloud.openstack authors
"""The ramdisk's parts: modules with what they need, links with what they name, bytes that are the same twice."""

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
from ansible_collections.seedcloud.openstack.plugins.module_utils._build import common, ramdisk
from ansible_collections.seedcloud.openstack.plugins.module_utils._build.common import BuildError, run, scratch_folder

SPEC = ramdisk.Ramdisk("agent", "trixie", "linux-image-cloud-amd64", ["virtio_net"])
TABLE = {
    "kernel/drivers/net/virtio_net.ko.xz": ["kernel/net/core/failover.ko.xz", "kernel/drivers/net/net_failover.ko.xz"],
    "kernel/drivers/net/net_failover.ko.xz": ["kernel/net/core/failover.ko.xz"],
    "kernel/net/core/failover.ko.xz": [],
    "kernel/drivers/net/ethernet/intel/ice/ice.ko.xz": [],
    "kernel/fs/ext4/ext4.ko": ["kernel/fs/jbd2/jbd2.ko"],
    "kernel/fs/jbd2/jbd2.ko": [],
}


@pytest.fixture
def agent(tmp_path: Path) -> Path:
    folder = tmp_path / "agent"
    (folder / "seedcloud_agent").mkdir(parents=True)
    for name in ("init", "dhcp", "seedcloud_agent/__main__.py"):
        (folder / name).write_text(name)
    return folder


@pytest.mark.parametrize(
    ("patterns", "chosen"),
    [
        (["virtio_net"], ["drivers/net/net_failover", "drivers/net/virtio_net", "net/core/failover"]),
        (["drivers/net/ethernet/*"], ["drivers/net/ethernet/intel/ice/ice"]),
        (["ext4", "no_such_module"], ["fs/ext4/ext4", "fs/jbd2/jbd2"]),
        (["net"], []),
        ([], []),
    ],
)
def test_modules_come_with_what_they_need(patterns: list[str], chosen: list[str]) -> None:
    found = ramdisk.choose_modules(patterns, TABLE)
    assert sorted(name.removeprefix("kernel/").split(".ko")[0] for name in found) == chosen


def test_the_name_follows_what_is_inside(agent: Path) -> None:
    before = SPEC.hash(agent)
    assert before == SPEC.hash(agent)
    assert replace(SPEC, modules=["ext4"]).hash(agent) != before
    assert replace(SPEC, sources="deb https://192.0.2.5/debian trixie main").hash(agent) != before
    (agent / "init").write_text("changed")
    assert SPEC.hash(agent) != before


@pytest.mark.parametrize("module", [ramdisk, common])
def test_the_builder_is_part_of_the_name(module: ModuleType, agent: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before, source = SPEC.hash(agent), inspect.getsource
    monkeypatch.setattr(inspect, "getsource", lambda what: source(what) + "# changed\n" * (what is module))
    assert SPEC.hash(agent) != before


def test_the_hosts_own_sources_are_part_of_the_name(agent: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = SPEC.hash(agent)
    monkeypatch.setattr(ramdisk, "host_sources", lambda suite: f"Suites: {suite}\n")
    assert SPEC.hash(agent) != before


@pytest.fixture
def stage(tmp_path: Path) -> ramdisk.Stage:
    tree = tmp_path / "tree"
    (tree / "usr/bin").mkdir(parents=True)
    (tree / "usr/lib").mkdir()
    (tree / "usr/lib/real").write_text("data")
    (tree / "usr/bin/relative").symlink_to("../lib/real")
    (tree / "usr/bin/absolute").symlink_to("/usr/lib/real")
    (tree / "usr/bin/broken").symlink_to("none")
    (tmp_path / "stage").mkdir()
    return ramdisk.Stage(tree, tmp_path / "stage")


@pytest.mark.parametrize("name", ["relative", "absolute"])
def test_a_link_comes_with_its_file(stage: ramdisk.Stage, name: str) -> None:
    stage.copy(f"usr/bin/{name}")
    stage.copy(f"usr/bin/{name}")  # twice is once
    assert (stage.folder / "usr/bin" / name).is_symlink()
    assert (stage.folder / "usr/lib/real").read_text() == "data"


def test_a_file_that_no_package_has(stage: ramdisk.Stage) -> None:
    for name in ("usr/bin/none", "usr/bin/broken"):
        with pytest.raises(BuildError, match="the packages hold no"):
            stage.copy(name)


def test_libraries_are_what_the_loader_maps(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    listed = (
        "\tlinux-vdso.so.1 (0x00007ffd)\n\tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f)\n"
        "\tlibz.so.1 => /usr/lib/x86_64-linux-gnu/libz.so.1 (0x00007f)\n\t/lib64/ld-linux-x86-64.so.2 (0x00007f)\n"
    )
    monkeypatch.setattr(ramdisk, "chroot", lambda *_: listed)
    assert ramdisk.libraries(tmp_path, "usr/bin/x") == [
        "usr/lib/x86_64-linux-gnu/libc.so.6", "usr/lib/x86_64-linux-gnu/libz.so.1", "usr/lib64/ld-linux-x86-64.so.2",
    ]  # fmt: skip
    monkeypatch.setattr(ramdisk, "chroot", lambda *_: "\tlibx.so.1 => not found\n")
    with pytest.raises(BuildError, match=r"/usr/bin/x misses libx\.so\.1"):
        ramdisk.libraries(tmp_path, "usr/bin/x")


def test_the_same_folder_gives_the_same_bytes(stage: ramdisk.Stage, tmp_path: Path) -> None:
    stage.copy("usr/bin/relative")
    stage.write("init", "#!/bin/sh\n", 0o755)
    packed = []
    for number in (1, 2):
        folder = tmp_path / str(number)
        folder.mkdir()
        run(["cp", "-a", stage.folder, folder / "stage"])
        (folder / "stage/usr/lib/real").touch()  # another time
        ramdisk.pack(folder / "stage", folder / "initrd", folder)
        packed.append((folder / "initrd").read_bytes())
    assert packed[0] == packed[1]
    archive = run(["cpio", "-itv", "--quiet", f"--file={tmp_path}/1/initrd.cpio"])
    assert "-rwxr-xr-x   1 root     root" in next(line for line in archive.splitlines() if line.endswith(" init"))
    assert "usr/bin/relative -> ../lib/real" in archive and "lib -> usr/lib" in archive


def test_a_build_that_outlived_its_run_is_waited_for(
    tmp_path: Path, agent: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ramdisk, "build", lambda *_: pytest.fail("built a second time"))
    name = ramdisk.ensure(tmp_path, SPEC, agent, check=True)["name"]
    folder = tmp_path / "http/ramdisks" / name
    with ThreadPoolExecutor(1) as pool:
        with scratch_folder(tmp_path / "images/ramdisk"):
            rerun = pool.submit(ramdisk.ensure, tmp_path, SPEC, agent, check=False)
            time.sleep(0.5)
            assert not rerun.done()
            folder.mkdir(parents=True)
            told = {"name": name, "inputs_hash": SPEC.hash(agent), "files": {}}
            (folder / "manifest.json").write_text(json.dumps(told))
        found = rerun.result(30)
    assert (found["name"], found["built"]) == (name, False)


def test_what_is_missing_is_built_once(tmp_path: Path, agent: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ramdisk, "need_space", lambda *_: None)
    kernels = ["vmlinuz-6.12"]

    def make_tree(_spec: Any, tree: Path, _scratch: Path) -> None:
        (tree / "boot").mkdir(parents=True)
        for name in kernels:
            (tree / "boot" / name).write_bytes(b"kernel")

    def fill(stage: ramdisk.Stage, release: str, _spec: Any, _agent: Path) -> int:
        assert release == "6.12"
        stage.write("init", "x", 0o755)
        return 3

    monkeypatch.setattr(ramdisk, "make_tree", make_tree)
    monkeypatch.setattr(ramdisk, "fill", fill)
    told = ramdisk.ensure(tmp_path, SPEC, agent, check=True)
    assert told["changed"] and not told["built"] and not (tmp_path / "http").exists()
    made = ramdisk.ensure(tmp_path, SPEC, agent, check=False)
    assert made["built"] and made["name"] == told["name"] and made["kernel"] == "6.12"
    folder = tmp_path / "http/ramdisks" / made["name"]
    assert sorted(path.name for path in folder.iterdir()) == ["initrd", "manifest.json", "vmlinuz"]
    assert made["size"] == sum((folder / name).stat().st_size for name in ("initrd", "vmlinuz"))
    assert json.loads((tmp_path / "stamps/images.json").read_text()) == {"ramdisk": made["name"]}
    assert not ramdisk.ensure(tmp_path, SPEC, agent, check=False)["changed"]
    newer = [ramdisk.ensure(tmp_path, replace(SPEC, modules=[name]), agent, check=False) for name in ("a", "b")]
    assert [told["removed"] for told in newer] == [[], [made["name"]]]
    assert not folder.exists() and (folder.parent / newer[0]["name"]).is_dir()
    folder = folder.parent / ramdisk.ensure(tmp_path, SPEC, agent, check=False)["name"]
    (folder / "initrd").write_bytes(b"cut")  # found out by its size, and mended
    assert ramdisk.ensure(tmp_path, SPEC, agent, check=False)["built"]
    kernels.append("vmlinuz-6.13")
    with pytest.raises(BuildError, match="brought 2 kernels"):
        ramdisk.ensure(tmp_path, replace(SPEC, modules=[]), agent, check=False)
