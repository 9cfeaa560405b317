# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 the seedcloud.openstack authors
"""The module pxe_config: what it writes, tells and leaves alone."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.seedcloud.openstack.plugins.modules import pxe_config

NODE1 = {
    "name": "node1",
    "macs": ["00:00:5e:00:53:01", "00-00-5E-00-53-02"],
    "boot": {"kernel": "http://192.0.2.2/vmlinuz"},
}
NODE2 = {"name": "node2", "macs": ["00:00:5e:00:53:03"]}


@pytest.fixture
def run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Any:
    def run_(*, rc: int = 0, check_mode: bool = False, **arguments: Any) -> dict[str, Any]:
        roots = {
            "ipxe": str(tmp_path / "http/boot"),
            "grub": str(tmp_path / "tftp/grub"),
            "pxelinux": str(tmp_path / "tftp"),
        }
        arguments = {"roots": roots, "_ansible_check_mode": check_mode, "_ansible_diff": True} | arguments
        with patch_module_args(arguments), pytest.raises(SystemExit) as left:
            pxe_config.main()
        assert left.value.code == rc
        result: dict[str, Any] = json.loads(capsys.readouterr().out)
        return result

    return run_


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_files_of_all_formats(run: Any, tmp_path: Path) -> None:
    predicted = run(nodes=[NODE1, NODE2], check_mode=True)
    assert files(tmp_path) == []
    result = run(nodes=[NODE1, NODE2])
    assert result | {"invocation": None} == predicted | {"invocation": None}
    assert result["changed"] is True
    assert files(tmp_path) == [
        "http/boot/00-00-5e-00-53-01.ipxe",
        "http/boot/00-00-5e-00-53-02.ipxe",
        "http/boot/00-00-5e-00-53-03.ipxe",
        "http/boot/default.ipxe",
        "tftp/grub/grub.cfg",
        "tftp/grub/grub.cfg-01-00-00-5e-00-53-01",
        "tftp/grub/grub.cfg-01-00-00-5e-00-53-02",
        "tftp/grub/grub.cfg-01-00-00-5e-00-53-03",
        "tftp/pxelinux.cfg/01-00-00-5e-00-53-01",
        "tftp/pxelinux.cfg/01-00-00-5e-00-53-02",
        "tftp/pxelinux.cfg/01-00-00-5e-00-53-03",
        "tftp/pxelinux.cfg/default",
    ]
    assert all((tmp_path / name).stat().st_mode & 0o777 == 0o644 for name in files(tmp_path))
    assert len(result["nodes"]["node1"]["files"]) == 6
    assert len(result["diff"]) == 12
    again = run(nodes=[NODE1, NODE2])
    assert again["changed"] is False
    assert again["diff"] == []
    assert [node["changed"] for node in again["nodes"].values()] == [False, False]


def test_only_what_differs_is_written(run: Any, tmp_path: Path) -> None:
    run(nodes=[NODE1, NODE2])
    before = {name: (tmp_path / name).stat().st_ino for name in files(tmp_path)}
    result = run(nodes=[NODE1 | {"boot": None}, NODE2])
    assert {name: node["changed"] for name, node in result["nodes"].items()} == {"node1": True, "node2": False}
    changed = [name for name in files(tmp_path) if (tmp_path / name).stat().st_ino != before[name]]
    assert len(changed) == 6
    assert all("53-01" in name or "53-02" in name for name in changed)
    assert "vmlinuz" in result["diff"][0]["before"]
    assert "sanboot" in result["diff"][0]["after"]


def test_absent_takes_the_files_of_these_nodes_only(run: Any, tmp_path: Path) -> None:
    run(nodes=[NODE1, NODE2])
    (tmp_path / "tftp/pxelinux.cfg/01-00-00-5e-00-53-99").write_text("foreign")
    assert run(nodes=[NODE1], state="absent", check_mode=True)["changed"] is True
    assert len(files(tmp_path)) == 13
    result = run(nodes=[NODE1], state="absent")
    assert result["nodes"]["node1"]["changed"] is True
    assert not any("53-01" in name or "53-02" in name for name in files(tmp_path))
    assert len(files(tmp_path)) == 7
    assert run(nodes=[NODE1], state="absent")["changed"] is False
    assert run(state="absent", default=True)["changed"] is True
    assert len(files(tmp_path)) == 4


def test_one_format_and_no_default(run: Any, tmp_path: Path) -> None:
    run(nodes=[NODE2], roots={"ipxe": str(tmp_path)}, default=False)
    assert files(tmp_path) == ["00-00-5e-00-53-03.ipxe"]


def test_a_uefi_node_gets_no_file_for_pxelinux(run: Any, tmp_path: Path) -> None:
    run(nodes=[NODE1 | {"firmware": "uefi"}, NODE2 | {"firmware": "bios"}])
    assert sorted(path.name for path in (tmp_path / "tftp/pxelinux.cfg").iterdir()) == [
        "01-00-00-5e-00-53-03",
        "default",
    ]


def test_nothing_is_written_when_anything_is_wrong(run: Any, tmp_path: Path) -> None:
    evil = {"name": "../evil", "macs": ["00:00:5e:00:53:01"], "boot": {"kernel": "/vmlinuz", "cmdline": ["a\nshell"]}}
    result = run(nodes=[NODE1, evil], rc=1)
    assert [(fault["node"], fault["field"]) for fault in result["faults"]] == [
        ("'../evil'", "name"),
        ("'../evil'", "boot.cmdline[0]"),
        ("'../evil'", "macs[0]"),
    ]
    assert all(fault["mend"] in result["msg"] for fault in result["faults"])
    assert files(tmp_path) == []


def test_a_name_in_the_way_is_told(run: Any, tmp_path: Path) -> None:
    (tmp_path / "http/boot/default.ipxe").mkdir(parents=True)
    assert "default.ipxe" in run(nodes=[], rc=1)["msg"]


def test_a_file_that_is_a_link_is_replaced_not_followed(run: Any, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    (tmp_path / "http/boot").mkdir(parents=True)
    (tmp_path / "http/boot/default.ipxe").symlink_to(victim)
    run()
    assert victim.read_text() == "precious"
    assert not (tmp_path / "http/boot/default.ipxe").is_symlink()


@pytest.mark.slow
def test_a_thousand_nodes(run: Any, tmp_path: Path) -> None:
    nodes = [{"name": f"n{n}", "macs": [f"00:00:5e:00:{n >> 8:02x}:{n & 255:02x}"]} for n in range(1000)]
    begin = time.process_time()  # the machine may be busy
    run(nodes=nodes)
    assert run(nodes=nodes)["changed"] is False
    assert time.process_time() - begin < 60
    assert len(files(tmp_path)) == 3003
