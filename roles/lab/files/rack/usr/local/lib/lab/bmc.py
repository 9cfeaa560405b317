# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 the seedcloud.openstack authors
"""The BMC of one virtual machine: IPMI 2.0 over LAN in front, libvirt behind.

The boot flags are kept as the IPMI specification has them, which neither VirtualBMC nor ipmi_sim does: parameter 5
reads back as it was written, a one-time flag is used up by exactly one boot, whoever caused that boot, and a flag
that no power command follows expires after 60 s unless parameter 3 says otherwise.
"""

from __future__ import annotations

import json
import sys
import threading
import uuid
from pathlib import Path
from typing import Any
from xml.sax.saxutils import quoteattr

import libvirt
import libvirt_qemu
from boot_options import DEFAULT_ORDER, PARAMETERS, BootOptions
from pyghmi.ipmi import bmc
from pyghmi.ipmi.private.session import Session

CONFIG = Path("/etc/lab/nodes")
STATE = Path("/var/lib/lab/bmc")
CONSOLES = Path("/var/lib/lab/consoles")
DISKS = Path("/var/lib/lab/disks")
OVMF = Path("/usr/share/OVMF")
# What QEMU emulates of its model "max" makes Linux slower; this is what OpenStack's software and nested KVM need.
EMULATED = (
    "ssse3",
    "sse4.1",
    "sse4.2",
    "popcnt",
    "lahf_lm",
    "svm",
    "npt",
    "aes",
    "pclmuldq",
    "sha-ni",
    "rdrand",
    "rdseed",
)
CPU = {
    "kvm": "<cpu mode='host-passthrough'/>",
    "tcg": "<cpu mode='custom' match='exact' check='none'><model fallback='forbid'>qemu64</model>"
    + "".join(f"<feature policy='require' name='{name}'/>" for name in EMULATED)
    + "</cpu>",
}

# What QEMU has translated of a node fills its 1 GiB by the time that the services stand; all of it would be dropped then,
# and translated anew. This is the largest that QEMU takes (tcg/region.c).
TRANSLATED = {"kvm": "", "tcg": "<tcg><tb-cache unit='MiB'>2048</tb-cache></tcg>"}

OK, NOT_IN_THIS_STATE, BAD_DATA, NO_PARAMETER = 0x00, 0xD5, 0xCC, 0x80


class Machine:
    """The virtual machine. Its boot order is always that of the *next* boot."""

    def __init__(self, spec: dict[str, Any], connection: libvirt.virConnect) -> None:
        self.spec, self.connection = spec, connection
        sizes = [spec["disk_gib"], *spec["more_disks_gib"]]
        # No node's name has a plus sign in it.
        self.disks = [DISKS / f"{spec['name']}{f'+{i}' if i else ''}.img" for i in range(len(sizes))]
        for disk, gib in zip(self.disks, sizes, strict=True):
            if not disk.exists():
                with disk.open("xb") as file:
                    file.truncate(int(gib) << 30)
        self.define(DEFAULT_ORDER)

    def devices(self, order: tuple[str, ...]) -> list[tuple[str, int]]:
        """Every device that can be booted from, with its place in the order."""
        classes = {
            "disk": [f"ua-disk{i}" for i in range(len(self.disks))],
            "network": [f"ua-nic{i}" for i in range(len(self.spec["macs"]))],
        }
        return [(device, place) for place, device in enumerate((d for kind in order for d in classes[kind]), start=1)]

    def define(self, order: tuple[str, ...]) -> libvirt.virDomain:
        self.domain = self.connection.defineXML(self.xml(dict(self.devices(order))))
        return self.domain

    def xml(self, place: dict[str, int]) -> str:
        spec = {key: quoteattr(str(value)) for key, value in self.spec.items()}
        nics = "".join(
            f"<interface type='bridge'><mac address={quoteattr(mac)}/><source bridge={quoteattr(bridge)}/>"
            f"<model type='virtio'/><alias name='ua-nic{i}'/><boot order='{place[f'ua-nic{i}']}'/></interface>"
            for i, (mac, bridge) in enumerate(zip(self.spec["macs"], self.spec["bridges"], strict=True))
        )
        firmware = ""
        if self.spec["firmware"] == "uefi":
            firmware = (
                f"<loader readonly='yes' type='pflash'>{OVMF}/OVMF_CODE_4M.fd</loader>"
                f"<nvram template='{OVMF}/OVMF_VARS_4M.fd'>{DISKS}/{self.spec['name']}.nvram</nvram>"
            )
        prefix = {"scsi": "sd", "virtio": "vd"}[self.spec["disk_bus"]]
        disks = "".join(
            "<disk type='file' device='disk'>"
            "<driver name='qemu' type='raw' cache='unsafe' discard='unmap' detect_zeroes='unmap'/>"
            f"<source file='{path}'/><target dev='{prefix}{chr(ord('a') + i)}' bus={spec['disk_bus']}/>"
            f"<serial>{self.spec['disk_serial']}{f'-{i}' if i else ''}</serial>"
            f"<alias name='ua-disk{i}'/><boot order='{place[f'ua-disk{i}']}'/></disk>"
            for i, path in enumerate(self.disks)
        )
        kvm = self.spec["accelerator"] == "kvm"
        return f"""
<domain type='{"kvm" if kvm else "qemu"}'>
  <name>{self.spec["name"]}</name>
  <uuid>{self.uuid()}</uuid>
  <memory unit='MiB'>{self.spec["memory_mib"]}</memory>
  <vcpu>{self.spec["vcpus"]}</vcpu>
  {CPU[self.spec["accelerator"]]}
  <os><type machine='q35'>hvm</type>{firmware}<bios useserial='yes' rebootTimeout='5000'/></os>
  <features><acpi/><apic/>{TRANSLATED[self.spec["accelerator"]]}</features>
  <on_poweroff>destroy</on_poweroff><on_reboot>restart</on_reboot><on_crash>destroy</on_crash>
  <devices>
    <emulator>/usr/bin/qemu-system-x86_64</emulator>
    <controller type='scsi' model='virtio-scsi'/>
    <controller type='usb' model='none'/>
    {disks}
    {nics}
    <serial type='pty'><log file='{CONSOLES}/{self.spec["name"]}.log' append='on'/></serial>
    <rng model='virtio'><backend model='random'>/dev/urandom</backend></rng>
    <memballoon model='none'/>
    <video><model type='none'/></video>
  </devices>
</domain>"""

    def uuid(self) -> uuid.UUID:
        return uuid.uuid5(uuid.NAMESPACE_OID, str(self.spec["macs"][0]))

    @property
    def running(self) -> bool:
        return bool(self.domain.isActive())

    def next_boot(self, order: tuple[str, ...]) -> None:
        """Change the order of a running machine; QEMU gives it to the firmware at its next reset."""
        if not self.running:
            return
        places = self.devices(order)
        for device, place in [(device, -1) for device, _unused in places] + places:
            command = {"path": f"/machine/peripheral/{device}", "property": "bootindex", "value": place}
            libvirt_qemu.qemuMonitorCommand(self.domain, json.dumps({"execute": "qom-set", "arguments": command}), 0)

    def start(self, order: tuple[str, ...]) -> None:
        self.define(order).create()


class Bmc(bmc.Bmc):  # type: ignore[misc]  # pyghmi has no types
    def __init__(self, spec: dict[str, Any], machine: Machine) -> None:
        self.machine = machine
        self.boot = BootOptions(STATE / f"{spec['name']}.json")
        self.lock = threading.RLock()
        super().__init__({spec["username"]: spec["password"]}, address=spec["address"], port=spec["port"])

    def get_system_guid(self) -> uuid.UUID:
        return self.machine.uuid()

    def get_power_state(self) -> str:
        return "on" if self.machine.running else "off"

    def _power_on(self) -> None:
        self.machine.start(self.boot.order())
        self.booted()

    def booted(self) -> None:
        with self.lock:
            self.boot.booted()
            self.machine.next_boot(self.boot.order())

    def power_on(self) -> int:
        if not self.machine.running:
            self._power_on()
        return OK

    def power_off(self) -> int:
        if self.machine.running:
            self.machine.domain.destroy()
        return OK

    def power_cycle(self) -> int:
        if not self.machine.running:
            return NOT_IN_THIS_STATE
        self.machine.domain.destroy()
        self._power_on()
        return OK

    def power_reset(self) -> int:
        if not self.machine.running:
            return NOT_IN_THIS_STATE
        # The REBOOT event that follows uses the flag up.
        self.machine.domain.reset()
        return OK

    def pulse_diag(self) -> int:
        if not self.machine.running:
            return NOT_IN_THIS_STATE
        self.machine.domain.injectNMI()
        return OK

    def power_shutdown(self) -> int:
        if self.machine.running:
            self.machine.domain.shutdownFlags(libvirt.VIR_DOMAIN_SHUTDOWN_ACPI_POWER_BTN)
        return OK

    def control_chassis(self, request: dict[str, Any], session: Any) -> None:
        with self.lock:
            self.boot.expire()
            self.boot.restart_timer()
            super().control_chassis(request, session)

    def get_system_boot_options(self, request: dict[str, Any], session: Any) -> None:
        number = request["data"][0] & 0x7F
        with self.lock:
            self.expire()
            if number not in PARAMETERS:
                session.send_ipmi_response(code=NO_PARAMETER)
            else:
                session.send_ipmi_response(data=[1, number, *self.boot.data[number]])

    def set_system_boot_options(self, request: dict[str, Any], session: Any) -> None:
        number, data = request["data"][0] & 0x7F, list(request["data"][1:])
        if number not in PARAMETERS:
            session.send_ipmi_response(code=NO_PARAMETER)
        elif len(data) != PARAMETERS[number]:
            session.send_ipmi_response(code=BAD_DATA)
        else:
            with self.lock:
                self.boot.write(number, data)
                self.machine.next_boot(self.boot.order())
            session.send_ipmi_response()

    def expire(self) -> None:
        with self.lock:
            if self.boot.expire():
                self.machine.next_boot(self.boot.order())


def events() -> None:
    while True:
        libvirt.virEventRunDefaultImpl()


def main() -> None:
    for folder in (STATE, CONSOLES, DISKS):
        folder.mkdir(parents=True, exist_ok=True)
    spec = json.loads((CONFIG / f"{sys.argv[1]}.json").read_text(encoding="utf-8"))
    libvirt.virEventRegisterDefaultImpl()
    connection = libvirt.open("qemu:///system")
    machine = Machine(spec, connection)
    controller = Bmc(spec, machine)
    connection.domainEventRegisterAny(
        machine.domain, libvirt.VIR_DOMAIN_EVENT_ID_REBOOT, lambda *_unused: controller.booted(), None
    )
    threading.Thread(target=events, daemon=True).start()
    while connection.isAlive():
        Session.wait_for_rsp(1)
        controller.expire()
    sys.exit("libvirt went away")  # systemd starts us again


if __name__ == "__main__":
    main()
