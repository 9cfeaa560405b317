# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 the seedcloud.openstack authors
"""The lab's machines are as its variables say, and a one-time boot flag serves one boot, whoever caused it.

libvirt is played: it keeps what it was told. What the machines do with that, tests/e2e shows.
"""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
import threading
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any
from xml.etree import ElementTree

import pytest
import yaml

LAB = Path(__file__).parents[2] / "roles/lab"
PROGRAMS = LAB / "files/rack/usr/local/lib/lab"
NODE = {
    "name": "node1",
    "vcpus": 3,
    "memory_mib": 2048,
    "disk_gib": 2,
    "more_disks_gib": [],
    "disk_bus": "virtio",
    "disk_serial": "LABNODE1",
    "firmware": "bios",
    "accelerator": "tcg",
    "macs": ["52:54:00:5c:0b:00", "52:54:00:5c:0b:01"],
    "bridges": ["br-prov", "br-provider"],
    "address": "127.0.0.1",
    "port": 623,
    "username": "admin",
    "password": "a-password",
}
ONCE, ALWAYS, PXE, OFF = 0x80, 0xC0, 0x1 << 2, 0
DISK_FIRST, NETWORK_FIRST = ["ua-disk0", "ua-nic0", "ua-nic1"], ["ua-nic0", "ua-nic1", "ua-disk0"]


class Domain:
    """A machine, and its connection: it has one."""

    def __init__(self) -> None:
        self.on, self.resets, self.xml = False, 0, ""
        self.running_order: dict[str, int] = {}
        self.reboot: Any = None

    def defineXML(self, xml: str) -> Domain:
        self.xml = xml
        return self

    def domainEventRegisterAny(self, _domain: Domain, event: str, callback: Any, _more: None) -> None:
        assert event == "reboot"
        self.reboot = callback

    def isAlive(self) -> bool:
        return False

    def isActive(self) -> int:
        return int(self.on)

    def create(self) -> None:
        assert not self.on
        self.on, self.running_order = True, places(self.xml)

    def destroy(self) -> None:
        self.on = False

    def reset(self) -> None:
        self.resets += 1

    def monitor(self, _domain: Domain, command: str, _flags: int) -> None:
        told = json.loads(command)
        assert told["execute"] == "qom-set" and told["arguments"]["property"] == "bootindex"
        path, value = told["arguments"]["path"], told["arguments"]["value"]
        # QEMU refuses a place that another device has.
        assert value == -1 or value not in self.running_order.values()
        self.running_order[path.removeprefix("/machine/peripheral/")] = value

    def first(self) -> list[str]:
        """The devices in the order in which the running machine's next boot tries them."""
        return sorted(self.running_order, key=self.running_order.__getitem__)


def places(xml: str) -> dict[str, int]:
    """The boot order that a domain is defined with."""
    found = {}
    for device in ElementTree.fromstring(xml).findall("devices/*"):
        alias, boot = device.find("alias"), device.find("boot")
        if alias is not None and boot is not None:
            found[alias.attrib["name"]] = int(boot.attrib["order"])
    assert sorted(found.values()) == list(range(1, len(found) + 1))
    return found


@pytest.fixture
def domain() -> Domain:
    return Domain()


@pytest.fixture
def lab(tmp_path: Path, domain: Domain, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    libvirt = SimpleNamespace(
        open=lambda _uri: domain,
        VIR_DOMAIN_EVENT_ID_REBOOT="reboot",
        virEventRegisterDefaultImpl=lambda: None,
        virEventRunDefaultImpl=threading.Event().wait,
    )
    monkeypatch.setitem(sys.modules, "libvirt", libvirt)
    monkeypatch.setitem(sys.modules, "libvirt_qemu", SimpleNamespace(qemuMonitorCommand=domain.monitor))
    monkeypatch.syspath_prepend(str(PROGRAMS))
    spec = importlib.util.spec_from_file_location("lab_bmc", PROGRAMS / "bmc.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    for name in ("CONFIG", "STATE", "CONSOLES", "DISKS"):
        monkeypatch.setattr(module, name, tmp_path / name.lower())
        (tmp_path / name.lower()).mkdir()
    # Nothing listens: what a BMC does with a request is called as pyghmi calls it.
    monkeypatch.setattr(module.bmc.Bmc, "__init__", lambda *_unused, **_more: None)
    return module


def defined(lab: ModuleType, domain: Domain, **more: Any) -> ElementTree.Element:
    lab.Machine(NODE | more, domain)
    return ElementTree.fromstring(domain.xml)


def attributes(found: ElementTree.Element, path: str, name: str) -> list[str]:
    return [each.attrib[name] for each in found.findall(path)]


def test_processors_memory_and_nics(lab: ModuleType, domain: Domain) -> None:
    macs = [f"52:54:00:5c:0b:0{number}" for number in range(3)]
    found = defined(lab, domain, macs=macs, bridges=["br-prov", "br-provider", "br-provider"])
    assert found.findtext("vcpu") == "3"
    assert found.findtext("memory") == "2048" and attributes(found, "memory", "unit") == ["MiB"]
    assert attributes(found, "devices/interface/mac", "address") == macs
    assert attributes(found, "devices/interface/source", "bridge") == ["br-prov", "br-provider", "br-provider"]
    assert places(domain.xml) == {"ua-disk0": 1, "ua-nic0": 2, "ua-nic1": 3, "ua-nic2": 4}


@pytest.mark.parametrize(("bus", "targets"), [("virtio", ["vda", "vdb", "vdc"]), ("scsi", ["sda", "sdb", "sdc"])])
def test_disks(lab: ModuleType, domain: Domain, bus: str, targets: list[str]) -> None:
    found = defined(lab, domain, disk_bus=bus, more_disks_gib=[5, 1])
    assert attributes(found, "devices/disk/target", "dev") == targets
    assert attributes(found, "devices/disk/target", "bus") == [bus] * 3
    assert [each.text for each in found.findall("devices/disk/serial")] == ["LABNODE1", "LABNODE1-1", "LABNODE1-2"]
    files = [Path(file) for file in attributes(found, "devices/disk/source", "file")]
    assert [file.stat().st_size >> 30 for file in files] == [2, 5, 1]
    assert [file.stat().st_blocks for file in files] == [0, 0, 0], "they take only what is written"
    assert places(domain.xml) == {"ua-disk0": 1, "ua-disk1": 2, "ua-disk2": 3, "ua-nic0": 4, "ua-nic1": 5}


def test_a_disk_that_is_there_is_kept(lab: ModuleType, domain: Domain) -> None:
    defined(lab, domain)
    (lab.DISKS / "node1.img").write_text("what was deployed")
    defined(lab, domain)
    assert (lab.DISKS / "node1.img").read_text() == "what was deployed"


def test_firmware(lab: ModuleType, domain: Domain) -> None:
    assert defined(lab, domain).find("os/loader") is None
    found = defined(lab, domain, firmware="uefi")
    assert str(found.findtext("os/loader")).endswith("OVMF_CODE_4M.fd")
    assert found.findtext("os/nvram") == f"{lab.DISKS}/node1.nvram"


@pytest.mark.parametrize(
    ("accelerator", "kind", "cpu"), [("tcg", "qemu", "custom"), ("kvm", "kvm", "host-passthrough")]
)
def test_accelerator(lab: ModuleType, domain: Domain, accelerator: str, kind: str, cpu: str) -> None:
    found = defined(lab, domain, accelerator=accelerator)
    assert (found.attrib["type"], attributes(found, "cpu", "mode")) == (kind, [cpu])


class Session:
    def send_ipmi_response(self, data: list[int] | None = None, code: int = 0) -> None:
        self.code, self.data = code, data


def flag(bmc: Any, *data: int) -> None:
    """Set the boot flags as a client does, and read them back."""
    session = Session()
    bmc.set_system_boot_options({"data": [5, *data]}, session)
    assert session.code == 0
    bmc.get_system_boot_options({"data": [5, 0, 0]}, session)
    assert session.data == [1, 5, *data]


@pytest.mark.parametrize("power", ["power_on", "power_cycle"])
def test_a_one_time_flag_serves_the_boot_that_a_power_command_makes(
    lab: ModuleType, domain: Domain, power: str
) -> None:
    bmc = lab.Bmc(NODE, lab.Machine(NODE, domain))
    if power == "power_cycle":
        bmc.power_on()
    flag(bmc, ONCE, PXE, 0, 0, 0)
    assert getattr(bmc, power)() == 0
    order = places(domain.xml)
    assert sorted(order, key=order.__getitem__) == NETWORK_FIRST, "this boot"
    assert domain.first() == DISK_FIRST, "the one after it"
    assert bmc.boot.data[5] == [OFF, PXE, 0, 0, 0]
    bmc.power_cycle()
    assert domain.first() == DISK_FIRST and places(domain.xml)["ua-disk0"] == 1


def test_a_flag_of_a_running_machine_waits_for_its_reset(lab: ModuleType, domain: Domain) -> None:
    bmc = lab.Bmc(NODE, lab.Machine(NODE, domain))
    bmc.power_on()
    flag(bmc, ONCE, PXE, 0, 0, 0)
    assert domain.first() == NETWORK_FIRST
    bmc.power_reset()
    assert domain.resets == 1 and bmc.boot.valid, "the event of the reset uses it up"


@pytest.mark.parametrize(("valid", "then"), [(ONCE, DISK_FIRST), (ALWAYS, NETWORK_FIRST)])
def test_a_reboot_uses_a_one_time_flag_up(
    lab: ModuleType, domain: Domain, monkeypatch: pytest.MonkeyPatch, valid: int, then: list[str]
) -> None:
    """As the program wires it: the machine resets itself, libvirt tells."""
    (lab.CONFIG / "node1.json").write_text(json.dumps(NODE))
    (lab.STATE / "node1.json").write_text(json.dumps({5: [valid, PXE, 0, 0, 0]}))
    monkeypatch.setattr(sys, "argv", ["bmc.py", "node1"])
    with pytest.raises(SystemExit, match="libvirt went away"):
        lab.main()
    domain.create()
    domain.reboot("the connection", domain)
    assert domain.first() == then
    assert json.loads((lab.STATE / "node1.json").read_text())["5"][0] == (OFF if valid == ONCE else ALWAYS)


def test_the_inventory_describes_the_machines(tmp_path: Path) -> None:
    (tmp_path / "ssh").mkdir()
    (tmp_path / "ssh/id_ed25519.pub").write_text("ssh-ed25519 AAAA lab")
    nodes = [
        {"name": "one", "groups": ["seedcloud_controllers"], "memory_mib": 1024, "firmware": "uefi", "nics": 1},
        {
            **{"name": "many", "groups": ["seedcloud_computes"], "memory_mib": 512, "firmware": "bios", "nics": 4},
            "more_disks_gib": [3],
        },
    ]
    play = {
        "hosts": "localhost",
        "gather_facts": False,
        "vars_files": [str(LAB / "defaults/main.yml"), str(LAB / "vars/main.yml")],
        "tasks": [
            {"ansible.builtin.copy": {"dest": str(tmp_path / "machines"), "content": "{{ __lab_machines | to_json }}"}},
            {"ansible.builtin.template": {"src": str(LAB / "templates/hosts.yml.j2"), "dest": str(tmp_path / "hosts")}},
        ],
    }
    variables = {"lab_root": str(tmp_path), "lab_nodes": nodes, "lab_accelerator": "tcg"}
    (tmp_path / "play.yml").write_text(json.dumps([play]))
    argv = ["ansible-playbook", "-i", "localhost,", "-c", "local", "-e", f"ansible_python_interpreter={sys.executable}"]
    done = subprocess.run(
        [*argv, "-e", json.dumps(variables), tmp_path / "play.yml"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout
    one, many = json.loads((tmp_path / "machines").read_text())
    assert (one["bridges"], one["more_disks_gib"], one["vcpus"]) == (["br-prov"], [], 2)
    assert many["bridges"] == ["br-prov"] + ["br-provider"] * 3 and many["more_disks_gib"] == [3]
    assert len({*one["macs"], *many["macs"]}) == 5
    hosts = yaml.safe_load((tmp_path / "hosts").read_text())["all"]["children"]["seedcloud_nodes"]["hosts"]
    assert [hosts[name]["node_networks"]["provider"]["link"] for name in ("one", "many")] == ["nic0", "nic1"]
    assert [nic["mac"] for nic in hosts["many"]["node_nics"].values()] == many["macs"]
    assert hosts["many"]["node_root_device"] == {"serial": "LABMANY"}
