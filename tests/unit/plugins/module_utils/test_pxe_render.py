# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 the seedcloud.openstack authors
"""The model of a boot: what is refused, and what comes out of the rest. test_pxe_boot.py boots it."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.seedcloud.openstack.plugins.module_utils._pxe import (
    FORMATS,
    Boot,
    Faults,
    Format,
    Node,
    boot_filename,
    default_filename,
    normal_mac,
    parse_nodes,
    render,
    render_default,
)

MAC = "00:00:5e:00:53:01"


def node(**changes: Any) -> dict[str, Any]:
    return {"name": "node1", "macs": [MAC], "boot": {"kernel": "http://192.0.2.2/vmlinuz"}} | changes


def boot(**changes: Any) -> dict[str, Any]:
    return node(boot={"kernel": "http://192.0.2.2/vmlinuz"} | changes)


def faults(*nodes: dict[str, Any], formats: tuple[Format, ...] = FORMATS) -> list[tuple[str, str]]:
    with pytest.raises(Faults) as caught:
        parse_nodes(nodes, formats)
    assert all(fault.mend and "\n" not in str(fault) and len(str(fault)) < 400 for fault in caught.value.faults)
    return [(fault.node, fault.field) for fault in caught.value.faults]


HOSTILE = [
    "../../etc/passwd",
    "a\nb",
    "a\rb",
    "a\0b",
    "a b",
    "a\tb",
    "a\u00a0b",
    "a\u2028b",
    "${net0/mac}",
    "a||shell",
    "||",
    "&&",
    "a&&b",
    "#",
    "a#b",
    "'",
    'a"b',
    "a\\b",
    "`id`",
    "$(id)",
    "$prefix",
    "a|b",
    "é",
    "",
    "x" * 300 + "\n",
]


@pytest.mark.parametrize(
    "value", [*HOSTILE, "-node", "node-", "a..b", ".", "..", "a_b", "a/b", "x" * 64, ("x" * 60 + ".") * 5, 7]
)
def test_a_name_that_is_no_host_name_is_refused(value: Any) -> None:
    assert [field for _node, field in faults(node(name=value))] == ["name"]


@pytest.mark.parametrize("value", [*(h for h in HOSTILE if h), "||shell", "=a", "a" * 3000])
def test_an_argument_that_would_leave_its_line_is_refused(value: str) -> None:
    # Dots and slashes are fine in an argument, as they are in no path.
    if value == HOSTILE[0]:
        value = f"{value};"
    assert faults(boot(cmdline=["quiet", value]))[0][0] == "node1"


@pytest.mark.parametrize(
    "value",
    [
        *HOSTILE,
        "http://192.0.2.2/../etc/passwd",
        "http://192.0.2.2/%2e%2E/passwd",
        "http://192.0.2.2/a%2Fb",
        "http://192.0.2.2/a%00b",
        "/../x",
        "/a//b",
        "/",
        "relative/path",
        "http://192.0.2.2",
        "http://192.0.2.2/a b",
        "http://192.0.2.2/a?x=1",
        "http://192.0.2.2/a,b",
        "http://192.0.2.2/${mac}",
        "http://192.0.2.2/a||shell",
        "http://user:secret@192.0.2.2/a",
        "http://192.0.2.2:0/a",
        "http://192.0.2.2:70000/a",
        "http://192.0.2.256/a",
        "http://[2001:db8::1::]/a",
        "http://-bad-/a",
        "http:///a",
        "file:///etc/passwd",
        "ftp://192.0.2.2/a",
        "HTTP://192.0.2.2/a",
        "http://192.0.2.2/" + "a" * 300,
        None,
        ["http://192.0.2.2/a"],
    ],
)
@pytest.mark.parametrize("field", ["kernel", "initrd"])
def test_a_location_that_is_no_plain_url_is_refused(field: str, value: Any) -> None:
    given = boot(kernel=value) if field == "kernel" else boot(initrd=["/initrd", value])
    assert faults(given) == [("node1", "boot.kernel" if field == "kernel" else "boot.initrd[1]")]


@pytest.mark.parametrize(
    "value",
    [
        *HOSTILE,
        *("00:00:5e:00:53", "00:00:5e:00:53:01:02", "00:00:5e-00:53:01", "01:00:5e:00:53:01", "00:00:00:00:00:00"),
        *("ff:ff:ff:ff:ff:ff", "0:0:5e:0:53:1", "00005e005301", "../../../../etc/x", "00:00:5e:00:53:0\u0661", 12),
    ],
)
def test_a_mac_that_is_none_is_refused(value: Any) -> None:
    assert faults(node(macs=[MAC, value])) == [("node1", "macs[1]")]
    with pytest.raises(ValueError, match="is not"):
        boot_filename(value, "ipxe")


def test_every_fault_of_all_nodes_is_told_at_once() -> None:
    assert faults(
        node(name="a b", firmware="coreboot"),
        node(name="node2", macs=["00-00-5E-00-53-01", "00:00:5e:00:53:02", "00:00:5e:00:53:02"]),
        node(name="NODE2", macs=[], boot={"kernel": "x", "cmdline": ["a b", "c"], "initrd": "/initrd"}),
        node(name="node3", macs="00:00:5e:00:53:03", boot="/vmlinuz"),
    ) == [
        ("'a b'", "name"),
        ("'a b'", "firmware"),
        ("node2", "macs[2]"),
        ("node2", "macs[0]"),
        ("NODE2", "boot.initrd"),
        ("NODE2", "macs"),
        ("NODE2", "boot.kernel"),
        ("NODE2", "boot.cmdline[0]"),
        ("NODE2", "name"),
        ("node3", "boot"),
        ("node3", "macs"),
        ("node3", "macs"),
    ]


def test_a_mac_of_two_nodes_names_both() -> None:
    with pytest.raises(Faults, match=r"node2: macs\[0\]: 00:00:5e:00:53:01 belongs to node1"):
        parse_nodes([node(), node(name="node2", macs=["00-00-5E-00-53-01"])])


def test_the_same_node_twice_is_told() -> None:
    assert faults(node(), node(macs=["00:00:5e:00:53:02"])) == [("node1", "name")]


def test_a_scheme_is_refused_for_the_loader_that_lacks_it() -> None:
    secure = boot(kernel="https://seed.example/vmlinuz")
    assert parse_nodes([secure], ["ipxe"])
    for fmt in ("grub", "pxelinux"):
        assert faults(secure, formats=("ipxe", fmt)) == [("node1", "boot.kernel")]


def test_render_trusts_no_node_that_it_has_not_checked() -> None:
    for fmt in FORMATS:
        with pytest.raises(Faults, match=r"boot.cmdline\[0\]"):
            render(Node("node1", (MAC,), Boot("/vmlinuz", (), ("a\nshell",))), fmt)
        with pytest.raises(Faults, match="name"):
            render(Node("node1\nshell", (MAC,)), fmt)


def test_a_long_command_line_is_refused_as_a_whole() -> None:
    assert faults(boot(cmdline=[f"a{n}={'x' * 50}" for n in range(40)])) == [("node1", "boot.cmdline")]


def test_file_names() -> None:
    assert normal_mac("00-00-5E-00-53-01") == MAC
    assert [boot_filename("00-00-5E-00-53-01", fmt) for fmt in FORMATS] == [
        "00-00-5e-00-53-01.ipxe",
        "grub.cfg-01-00-00-5e-00-53-01",
        "pxelinux.cfg/01-00-00-5e-00-53-01",
    ]
    assert [default_filename(fmt) for fmt in FORMATS] == ["default.ipxe", "grub.cfg", "pxelinux.cfg/default"]


FULL = Boot(
    "http://192.0.2.2:8080/ramdisks/agent/vmlinuz",
    ("http://[2001:db8::2]/initrd", "tftp://seed.example/more"),
    ("seedcloud.url=http://192.0.2.2:8080", "console=ttyS0,115200", "---"),
)


def test_lines_of_each_loader() -> None:
    full = Node("node1", (MAC,), FULL)
    ipxe, grub, pxelinux = (render(full, fmt).splitlines() for fmt in FORMATS)
    assert ipxe[0] == "#!ipxe"
    assert [line for line in ipxe if line.startswith(("kernel", "initrd"))] == [
        "kernel --name kernel http://192.0.2.2:8080/ramdisks/agent/vmlinuz initrd=initrd0 initrd=initrd1"
        " seedcloud.url=http://192.0.2.2:8080 console=ttyS0,115200 --- || goto failed",
        "initrd --name initrd0 http://[2001:db8::2]/initrd || goto failed",
        "initrd --name initrd1 tftp://seed.example/more || goto failed",
    ]
    assert (
        "if linux '(http,192.0.2.2:8080)/ramdisks/agent/vmlinuz' 'seedcloud.url=http://192.0.2.2:8080'"
        " 'console=ttyS0,115200' '---'; then" in grub
    )
    assert "if initrd '(http,[2001:db8::2])/initrd' '(tftp,seed.example)/more'; then" in grub
    assert pxelinux[-3:] == [
        "LINUX http://192.0.2.2:8080/ramdisks/agent/vmlinuz",
        "INITRD http://[2001:db8::2]/initrd,tftp://seed.example/more",
        "APPEND seedcloud.url=http://192.0.2.2:8080 console=ttyS0,115200 ---",
    ]


@pytest.mark.parametrize("boot", [None, FULL, Boot("/vmlinuz")])
def test_grub_accepts_the_script(tmp_path: Path, boot: Boot | None) -> None:
    check = shutil.which("grub-script-check")
    assert check, "install grub-common"
    script = tmp_path / "grub.cfg"
    for text in (render(Node("node1", (MAC,), boot), "grub"), render_default("grub")):
        script.write_text(text)
        subprocess.run([check, script], check=True)
