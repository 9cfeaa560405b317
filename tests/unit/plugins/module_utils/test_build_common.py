# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 the seedcloud.openstack authors
"""Where packages come from, what names an artifact, and what a killed build leaves."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from ansible_collections.seedcloud.openstack.plugins.module_utils._build import common

LIST = """\
# a comment
deb [trusted=yes] file:/srv/repo trixie main
deb [arch=amd64,i386 signed-by=/usr/share/keyrings/x.gpg] https://192.0.2.5/debian trixie-security main contrib # why
deb-src https://192.0.2.5/debian trixie main
deb https://192.0.2.5/debian bookworm main
deb https://192.0.2.6/flat ./
"""
SOURCES = """\
Types: deb deb-src
URIs: https://192.0.2.7/debian
Suites: trixie trixie-updates bookworm
Components: main
Signed-By:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 abc
 -----END PGP PUBLIC KEY BLOCK-----

Types: deb
URIs: https://192.0.2.8/debian
Suites: trixie
Components: main
Enabled: no

# a flat one on this host
Types: deb
URIs: file:/srv/flat
Suites: ./
Trusted: yes
"""


@pytest.fixture
def etc(tmp_path: Path) -> Path:
    (tmp_path / "sources.list.d").mkdir()
    return tmp_path


def test_the_hosts_sources_are_kept_as_far_as_they_carry_the_suite(etc: Path) -> None:
    (etc / "sources.list").write_text(LIST)
    (etc / "sources.list.d/more.sources").write_text(SOURCES)
    (etc / "sources.list.d/ignored.save").write_text("deb https://192.0.2.9/debian trixie main\n")
    text = common.host_sources("trixie", etc)
    assert "URIs: copy:/srv/repo\nSuites: trixie\nComponents: main\nTrusted: yes\n" in text
    assert (
        "Suites: trixie-security\nComponents: main contrib\nArchitectures: amd64 i386\nSigned-By: /usr/share/keyrings/x.gpg"
        in text
    )
    assert "URIs: https://192.0.2.7/debian\nSuites: trixie trixie-updates\n" in text
    assert " -----BEGIN PGP" in text
    assert "URIs: copy:/srv/flat\nSuites: ./" in text
    for gone in ("192.0.2.6", "192.0.2.8", "192.0.2.9", "bookworm", "deb-src", "file:"):
        assert gone not in text


def test_without_the_suite_the_hosts_sources_are_no_use(etc: Path) -> None:
    assert common.host_sources("trixie", etc) == ""
    (etc / "sources.list").write_text("deb https://192.0.2.5/debian bookworm main\n")
    assert common.host_sources("trixie", etc) == ""
    (etc / "sources.list").write_text("deb https://192.0.2.5/debian trixie-security main\n")
    assert common.host_sources("trixie", etc) == ""  # updates alone are no Debian


def test_a_flat_repository_alone_is_enough(etc: Path) -> None:
    (etc / "sources.list").write_text("deb [trusted=yes] file:/srv/flat ./\n")
    assert "copy:/srv/flat" in common.host_sources("trixie", etc)


def test_a_command_says_what_it_said(tmp_path: Path) -> None:
    assert common.run(["cat"], stdin=b"in") == "in"
    assert common.run(["pwd"], cwd=tmp_path).strip() == str(tmp_path)
    with pytest.raises(common.BuildError, match=r"sh ended with 3: two"):
        common.run(["sh", "-c", "echo one; echo two >&2; exit 3"])
    with pytest.raises(common.BuildError, match="nothing-like-it is not installed"):
        common.run(["nothing-like-it"])


def fake_mmdebstrap(folder: Path, script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    original = common.run
    tool = folder / "mmdebstrap"
    tool.write_text(f"#!/bin/sh\n{script}\n")
    tool.chmod(0o755)
    monkeypatch.setattr(
        common, "run", lambda argv, **more: original([tool if argv[0] == "mmdebstrap" else argv[0], *argv[1:]], **more)
    )


def test_what_mmdebstrap_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_mmdebstrap(tmp_path, f'printf "%s\\n" "$@" > {tmp_path}/told', monkeypatch)
    (tmp_path / "scratch").mkdir()
    spec = common.Tree("trixie", "minbase", ["sudo", "nova-api=2:31.0.0-6"], "deb x trixie main", ["/usr/share/doc/*"],
                       ["/usr/share/doc/*/copyright"], "a b c d\n", {"/etc/x.conf": "text"})  # fmt: skip
    common.make_tree(spec, tmp_path / "scratch/tree", tmp_path / "scratch")
    told = (tmp_path / "told").read_text().splitlines()
    assert {"--mode=root", "--skip=chroot/mount", "--variant=minbase", "--include=sudo,nova-api=2:31.0.0-6"} <= set(
        told
    )
    assert "--dpkgopt=path-exclude=/usr/share/doc/*" in told
    assert told[-3:] == ["trixie", str(tmp_path / "scratch/tree"), str(tmp_path / "scratch/apt.sources")]
    assert (tmp_path / "scratch/early/etc/x.conf").read_text() == "text"
    assert (tmp_path / "scratch/debconf").read_text() == "a b c d\n"


@pytest.mark.parametrize("name", ["--help", "a,b", "x y", "Upper", "", "a;b", "$(x)", "../x"])
def test_only_names_of_packages(name: str, tmp_path: Path) -> None:
    with pytest.raises(common.BuildError, match="not the name of a package"):
        common.make_tree(common.Tree("trixie", "minbase", [name]), tmp_path / "tree", tmp_path)


def test_a_failed_build_says_where_its_log_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = 'for a in "$@"; do case $a in --logfile=*) echo "E: Unable to locate package nosuch" > "${a#*=}";; esac; done; exit 25'
    fake_mmdebstrap(tmp_path, script, monkeypatch)
    (tmp_path / "work").mkdir()
    with pytest.raises(common.BuildError, match=r"minbase.log\nE: Unable to locate package nosuch"):
        common.make_tree(
            common.Tree("trixie", "minbase", ["nosuch"], "deb x trixie main"), tmp_path / "work/tree", tmp_path / "work"
        )


def test_digests(tmp_path: Path) -> None:
    assert common.digest({"a": 1, "b": [2]}) == common.digest({"b": [2], "a": 1})
    (tmp_path / "a/__pycache__").mkdir(parents=True)
    (tmp_path / "a/x.py").write_text("1")
    before = common.tree_digest(tmp_path)
    (tmp_path / "a/__pycache__/x.pyc").write_text("made by a test run")
    assert common.tree_digest(tmp_path) == before
    (tmp_path / "a/x.py").rename(tmp_path / "a/y.py")
    assert common.tree_digest(tmp_path) != before
    assert re.fullmatch("[0-9a-f]{64}", common.file_digest(tmp_path / "a/y.py"))


def test_a_scratch_folder_goes_with_its_build(tmp_path: Path) -> None:
    (tmp_path / "work/build-killed/tree").mkdir(parents=True)
    with pytest.raises(ZeroDivisionError), common.scratch_folder(tmp_path / "work") as folder:
        assert folder.is_dir() and not (tmp_path / "work/build-killed").exists()
        with (
            pytest.raises(common.BuildError, match=r"another build has held .*/lock for 1 s"),
            common.scratch_folder(tmp_path / "work", 1),
        ):
            pass
        raise ZeroDivisionError
    assert [path.name for path in (tmp_path / "work").iterdir()] == ["lock"]


def test_no_build_without_space(tmp_path: Path) -> None:
    common.need_space(tmp_path, 1)
    with pytest.raises(common.BuildError, match="MiB free; the build needs"):
        common.need_space(tmp_path, 1 << 60)


def test_the_stamp_names_the_current_ones(tmp_path: Path) -> None:
    assert common.stamp(tmp_path, "golden", "g1", check=True)
    assert not (tmp_path / "stamps").exists()
    assert common.stamp(tmp_path, "golden", "g1")
    assert common.stamp(tmp_path, "ramdisk", "r1")
    assert not common.stamp(tmp_path, "golden", "g1")
    assert not common.stamp(tmp_path, "golden", "g1", check=True)
    assert json.loads((tmp_path / "stamps/images.json").read_text()) == {"golden": "g1", "ramdisk": "r1"}
    (tmp_path / "stamps/images.json").write_text(
        '{"gol'
    )  # cut off by a power failure on a file system without ordering
    assert common.stamp(tmp_path, "golden", "g1")


def test_what_nothing_names_any_more_goes(tmp_path: Path) -> None:
    """Never what an order or a boot script names, what was current until now, or what is no artifact of ours."""
    for folder in ("nodes/node1", "nodes/node2", "awaited/192.0.2.1/boot", "awaited/.new-node2/boot", "http"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "nodes/node1/order.json").write_text('{"image": {"name": "i-ordered"}}')
    (tmp_path / "awaited/192.0.2.1/boot/aa.ipxe").write_text("kernel http://192.0.2.9/ramdisks/i-booted/vmlinuz\n")
    (tmp_path / "awaited/192.0.2.1/order.json").write_text('{"url": "/images/i-awaited.raw.zst"}')
    (tmp_path / "awaited/192.0.2.1/reports").symlink_to(tmp_path / "gone")
    known = {name: [tmp_path / f"http/{name}.json", tmp_path / f"http/{name}.raw.zst"] for name in (
        "i-ordered", "i-booted", "i-awaited", "i-kept", "i-last", "i-new", "i-older", "i-oldest",
    )}  # fmt: skip
    for path in (*(path for paths in known.values() for path in paths), tmp_path / "http/another.json"):
        path.write_text("x")
    known["i-folder"] = [tmp_path / "http/i-folder"]
    (tmp_path / "http/i-folder/inside").mkdir(parents=True)
    known["i-older"][1].unlink()  # a removal was killed here
    common.stamp(tmp_path, "golden", "i-last")
    assert common.succeed(tmp_path, "golden", "i-new", known, ["i-kept"]) == ["i-folder", "i-older", "i-oldest"]
    left = {path.name for path in (tmp_path / "http").iterdir()}
    names = ("ordered", "booted", "awaited", "kept", "last", "new")
    assert left == {f"i-{name}{end}" for name in names for end in (".json", ".raw.zst")} | {"another.json"}
    assert json.loads((tmp_path / "stamps/images.json").read_text()) == {"golden": "i-new"}


def test_the_hosts_proxy_is_told_to_mmdebstrap(monkeypatch: pytest.MonkeyPatch) -> None:
    dump = 'Acquire::http::Proxy "http://192.0.2.1:3142";\nAcquire::Retries "3";\nAcquire::http::Proxy::192.0.2.9 "DIRECT";\n'
    monkeypatch.setattr(common.shutil, "which", lambda _: "/usr/bin/apt-config")
    monkeypatch.setattr(common, "run", lambda _: dump)
    assert [line.split()[0] for line in common._proxies()] == [
        "Acquire::http::Proxy",
        "Acquire::http::Proxy::192.0.2.9",
    ]
    monkeypatch.setattr(common.shutil, "which", lambda _: None)
    assert common._proxies() == []
