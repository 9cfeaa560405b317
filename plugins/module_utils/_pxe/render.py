# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 the seedcloud.openstack authors
"""The boot files. Values come from validated nodes only, so no quoting rule decides about safety."""

from __future__ import annotations

from collections.abc import Callable

from .model import Boot, Faults, Format, Node, command_line, node_faults, normal_mac

_TRIES = 10
_PAUSE = 3  # seconds between two tries: a switch port that still learns, a server that restarts


def _ipxe_boot(boot: Boot) -> list[str]:
    return [
        "set attempt:int32 0",
        ":fetch",
        "imgfree",
        " ".join(("kernel", "--name", "kernel", boot.kernel, *command_line(boot), "|| goto failed")),
        *(f"initrd --name initrd{n} {location} || goto failed" for n, location in enumerate(boot.initrd)),
        "boot || goto failed",
        ":failed",
        "inc attempt",
        f"iseq ${{attempt}} {_TRIES} && goto give_up ||",
        f"echo Attempt ${{attempt}} of {_TRIES} failed, the next one follows in {_PAUSE} seconds",
        f"sleep {_PAUSE}",
        "goto fetch",
        ":give_up",
        f"echo {_TRIES} attempts failed, restarting",
        f"sleep {_PAUSE}",
        "reboot",
    ]


def _ipxe_disk() -> list[str]:
    # iPXE knows what it runs on, the inventory may be wrong. UEFI tries its next boot option after a failure only.
    return [
        "iseq ${platform} efi && exit 1 ||",
        "sanboot --no-describe --drive 0x80 || exit 1",
    ]


def _grub_file(location: str) -> str:
    if location.startswith("/"):
        return f"'{location}'"
    scheme, rest = location.split("://", 1)
    host, path = rest.split("/", 1)
    return f"'({scheme},{host})/{path}'"


def _grub_boot(boot: Boot) -> list[str]:
    arguments = "".join(f" '{argument}'" for argument in boot.cmdline)
    attempt = [f"if linux {_grub_file(boot.kernel)}{arguments}; then", "boot", "fi"]
    if boot.initrd:
        attempt[1:2] = [f"if initrd {' '.join(map(_grub_file, boot.initrd))}; then", "boot", "fi"]
    return [
        f"for attempt in {' '.join(str(n + 1) for n in range(_TRIES))}; do",
        *attempt,
        f'echo "Attempt $attempt of {_TRIES} failed, the next one follows in {_PAUSE} seconds"',
        f"sleep {_PAUSE}",
        "done",
        "reboot",
    ]


_GRUB_DISK = """\
if [ "$grub_platform" = efi ]; then
for loader in debian/shimx64.efi debian/grubx64.efi BOOT/BOOTX64.EFI BOOT/BOOTAA64.EFI; do
if search --no-floppy --set=esp --file "/EFI/$loader"; then
chainloader "($esp)/EFI/$loader"
boot
fi
done
exit 1
fi
set root=hd0
chainloader +1
boot
exit 1"""


def _grub_disk() -> list[str]:
    # EFI's `exit` starts the menu of some firmware, so the loader on the disk is started where there is one.
    return _GRUB_DISK.splitlines()


def _pxelinux_boot(boot: Boot) -> list[str]:
    # A failed fetch falls to the prompt, where TIMEOUT (in tenths of a second) starts the next attempt.
    return [
        "DEFAULT network",
        "PROMPT 0",
        f"TIMEOUT {_PAUSE * 10}",
        "LABEL network",
        f"LINUX {boot.kernel}",
        *([f"INITRD {','.join(boot.initrd)}"] if boot.initrd else []),
        *([f"APPEND {' '.join(boot.cmdline)}"] if boot.cmdline else []),
    ]


def _pxelinux_disk() -> list[str]:
    return ["DEFAULT disk", "PROMPT 0", "LABEL disk", "LOCALBOOT 0"]


_BOOT: dict[Format, Callable[[Boot], list[str]]] = {"ipxe": _ipxe_boot, "grub": _grub_boot, "pxelinux": _pxelinux_boot}
_DISK: dict[Format, Callable[[], list[str]]] = {
    "ipxe": _ipxe_disk,
    "grub": _grub_disk,
    "pxelinux": _pxelinux_disk,
}
# GRUB that was started with a configuration of its own does not look for the node's file by itself.
_GRUB_DISPATCH = [
    f"regexp {' '.join(f'--set={n}:m{n}' for n in range(1, 7))} '{':'.join(['(..)'] * 6)}' \"$net_default_mac\"",
    # No test whether it exists: GRUB tests by listing the folder, which TFTP cannot do.
    'source "$prefix/grub.cfg-01-$m1-$m2-$m3-$m4-$m5-$m6"',
]


def _text(fmt: Format, title: str, lines: list[str]) -> str:
    head = ["#!ipxe"] if fmt == "ipxe" else []
    return "\n".join([*head, f"# {title}; written by seedcloud.openstack", *lines, ""])


def render(node: Node, fmt: Format) -> str:
    """The boot file of a node; raises Faults when the node holds anything that this loader would not take literally."""
    faults = node_faults(node, [fmt])
    if faults:
        raise Faults(faults)
    return _text(fmt, node.name, _BOOT[fmt](node.boot) if node.boot else _DISK[fmt]())


def render_default(fmt: Format) -> str:
    """The boot file of a machine that nobody ordered anything for: it boots from its disk."""
    return _text(fmt, "any other machine", [*(_GRUB_DISPATCH if fmt == "grub" else []), *_DISK[fmt]()])


def boot_filename(mac: str, fmt: Format) -> str:
    """The file that a loader of this format asks for on behalf of this NIC, relative to the format's root."""
    hyphens = normal_mac(mac).replace(":", "-")
    return {"ipxe": f"{hyphens}.ipxe", "grub": f"grub.cfg-01-{hyphens}", "pxelinux": f"pxelinux.cfg/01-{hyphens}"}[fmt]


def default_filename(fmt: Format) -> str:
    """The file that a loader of this format gets when there is none for its NIC, relative to the format's root."""
    return {"ipxe": "default.ipxe", "grub": "grub.cfg", "pxelinux": "pxelinux.cfg/default"}[fmt]
