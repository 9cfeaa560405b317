# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 the seedcloud.openstack authors
"""The rendered boot files in the hands of their real readers: iPXE, GRUB and PXELINUX, started by QEMU.

Each boot takes 5 to 15 s without hardware virtualisation. Nothing leaves loopback: QEMU's user network forwards.
"""

from __future__ import annotations

import contextlib
import functools
import gzip
import http.server
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import pytest
from ansible_collections.seedcloud.openstack.plugins.module_utils._pxe import (
    Boot,
    Format,
    Node,
    boot_filename,
    default_filename,
    render,
    render_default,
)

rendering = sys.modules[render.__module__]

pytestmark = pytest.mark.slow

MAC = "52:54:00:5e:53:01"
PACKAGES = (
    "qemu-system-x86 ipxe ipxe-qemu ovmf pxelinux syslinux-common grub-pc-bin grub-efi-amd64-bin mtools dosfstools"
)
CMDLINE = ("console=ttyS0,115200", "panic=-1", "seedcloud.url=http://192.0.2.2:80", "odd=a?b*~{};(c)<d>^[e]!")
GRUB_MODULES = [
    *(
        "boot",
        "chain",
        "configfile",
        "echo",
        "http",
        "linux",
        "normal",
        "part_msdos",
        "reboot",
        "regexp",
        "search",
        "sleep",
        "test",
    ),
    *("tftp", "biosdisk", "minicmd", "pxe"),
]


class Faulty(http.server.SimpleHTTPRequestHandler):
    """Serves files, but fails a path as often as `faults` says: once with an error, then with half a body."""

    faults: ClassVar[dict[str, int]] = {}
    served: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        left = self.faults.get(self.path, 0)
        if not left:
            self.served.append(self.path)
            super().do_GET()
            return
        self.faults[self.path] = left - 1
        if left % 2:
            self.send_error(503)
            return
        self.send_response(200)
        self.send_header("Content-Length", "20000000")
        self.end_headers()
        self.wfile.write(b"\0" * 4096)
        self.close_connection = True

    def log_message(self, *_message: object) -> None:
        pass


@dataclass
class Rack:
    """One machine, its TFTP folder and an HTTP server."""

    folder: Path
    port: int
    arguments: list[str] = field(default_factory=list)

    @property
    def tftp(self) -> Path:
        return self.folder / "tftp"

    def write(self, fmt: Format, boot: Boot | None, *, root: str = "", known: bool = True) -> None:
        """The node's file and the default; the latter alone for a machine that is not known."""
        base = self.tftp / root
        files = {default_filename(fmt): render_default(fmt)}
        if known:
            files[boot_filename(MAC, fmt)] = render(Node("node1", (MAC,), boot), fmt)
        for name, text in files.items():
            (base / name).parent.mkdir(parents=True, exist_ok=True)
            (base / name).write_text(text)

    def boot(self, bootfile: str, until: str, *, firmware: str = "bios", timeout: float = 900) -> str:
        """Start the machine from the network and return what it said, up to and including `until`."""
        command = ["qemu-system-x86_64", "-accel", "tcg", "-m", "512", "-nographic", "-no-reboot", *self.arguments]
        command += ["-netdev", f"user,id=n,tftp={self.tftp},bootfile={bootfile}", "-device", "virtio-rng-pci"]
        nic = f"e1000,netdev=n,mac={MAC}"
        if firmware == "bios":
            return _output([*command, "-device", f"{nic},bootindex=1"], re.compile(until), timeout)
        # OVMF tries four more ways to boot from a NIC before it goes to the disk, and slirp answers none of them: so
        # iPXE starts from a disk of its own, and what follows it is the next boot option as on a machine.
        ipxe = self.folder / "ipxe" / "EFI" / "BOOT"
        ipxe.mkdir(parents=True)
        shutil.copyfile("/usr/lib/ipxe/ipxe.efi", ipxe / "BOOTX64.EFI")
        variables = self.folder / "vars.fd"
        shutil.copyfile("/usr/share/OVMF/OVMF_VARS_4M.fd", variables)
        code = "if=pflash,format=raw,unit=0,readonly=on,file=/usr/share/OVMF/OVMF_CODE_4M.fd"
        command += ["-machine", "q35", "-drive", code, "-drive", f"if=pflash,format=raw,unit=1,file={variables}"]
        command += ["-drive", f"file=fat:{self.folder / 'ipxe'},format=raw,if=none,id=ipxe,readonly=on"]
        command += ["-device", "virtio-blk-pci,drive=ipxe,bootindex=1", "-device", f"{nic},romfile="]
        return _output(command, re.compile(until), timeout)


def _output(command: list[str], until: re.Pattern[str], timeout: float) -> str:
    raw, said = b"", ""
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as qemu:
        timer = threading.Timer(timeout, qemu.kill)
        timer.start()
        try:
            assert qemu.stdout
            while chunk := qemu.stdout.read1(65536):
                raw += chunk  # an escape sequence may come in two chunks
                said = re.sub(r"\x1b\[[0-9;=?]*[A-Za-z]", "", raw.decode(errors="replace")).replace("\r", "")
                if until.search(said):
                    return said
        finally:
            timer.cancel()
            with contextlib.suppress(ProcessLookupError):
                qemu.send_signal(signal.SIGKILL)
    raise AssertionError(f"{until.pattern!r} did not come; the machine said:\n{said[-3000:]}")


@pytest.fixture(scope="session")
def kernel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Debian's cloud kernel, by apt as the user would; kept in the tree's cache."""
    cached = Path(__file__).parents[4] / ".cache" / "tests" / "vmlinuz"
    if not cached.exists():
        folder = tmp_path_factory.mktemp("kernel")
        depends = subprocess.run(
            ["apt-cache", "depends", "linux-image-cloud-amd64"], check=True, capture_output=True, text=True
        ).stdout
        package = re.search(r"Depends: (linux-image-\S+)", depends)
        assert package, depends
        subprocess.run(["apt-get", "download", "-q", package[1]], cwd=folder, check=True)
        (deb,) = folder.glob("*.deb")
        subprocess.run(["dpkg-deb", "--extract", deb, folder], check=True)
        cached.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(next(folder.glob("boot/vmlinuz*")), cached.with_suffix(".new"))
        cached.with_suffix(".new").replace(cached)
    return cached


def _initrd() -> bytes:
    """A cpio archive that holds one file and no init."""

    def member(name: str, data: bytes, mode: int) -> bytes:
        fields = (1, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name) + 1, 0)
        head = b"070701" + b"".join(b"%08x" % value for value in fields) + name.encode() + b"\0"
        return head + bytes(-len(head) % 4) + data + bytes(-len(data) % 4)

    return gzip.compress(member("marker", b"x" * 4096, 0o100644) + member("TRAILER!!!", b"", 0))


def _disk(path: Path) -> list[str]:
    """A disk whose boot sector says so on the serial port."""
    code = bytes.fromhex("31c08ed8be157cbaf803ac84c07403eeebf8f4ebfd") + b"booted from the disk\n\0"
    path.write_bytes(code.ljust(510, b"\0") + b"\x55\xaa" + bytes(1024 * 1024))
    return ["-drive", f"file={path},format=raw,if=none,id=disk", "-device", "virtio-blk-pci,drive=disk,bootindex=2"]


def _esp(rack: Rack, loader: str) -> list[str]:
    """A disk with an EFI system partition, whose loader says so."""
    config = rack.folder / "disk.cfg"
    config.write_text("echo booted from the disk\nsleep 60\n")
    efi, image = rack.folder / "disk.efi", rack.folder / "disk.raw"
    _grub_image("x86_64-efi", efi, "/", config, ["echo", "sleep", "normal"])
    with image.open("wb") as raw:
        raw.truncate(64 << 20)
    subprocess.run(["mkfs.vfat", "-F", "32", image], check=True, capture_output=True)
    parents = [str(parent) for parent in reversed(Path(loader).parents)][1:]
    subprocess.run(["mmd", "-i", image, *(f"::{parent}" for parent in parents)], check=True)
    subprocess.run(["mcopy", "-i", image, efi, f"::{loader}"], check=True)
    return ["-drive", f"file={image},format=raw,if=none,id=disk", "-device", "virtio-blk-pci,drive=disk,bootindex=2"]


def _grub_image(target: str, path: Path, prefix: str, config: Path | None, modules: list[str]) -> None:
    command = ["grub-mkimage", "-O", target, "-o", str(path), "-p", prefix, *(["-c", str(config)] if config else [])]
    subprocess.run([*command, *modules], check=True)


@pytest.fixture
def rack(tmp_path: Path, kernel: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Rack]:
    tools = ("qemu-system-x86_64", "grub-mkimage", "mcopy", "mkfs.vfat")
    missing = [tool for tool in tools if not shutil.which(tool)]
    assert not missing, f"install {PACKAGES}"
    monkeypatch.setattr(rendering, "_PAUSE", 1)
    monkeypatch.setattr(rendering, "_TRIES", 5)
    Faulty.faults = {}
    served = tmp_path / "tftp"
    served.mkdir()
    shutil.copyfile(kernel, served / "vmlinuz")
    (served / "initrd").write_bytes(_initrd())
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Faulty, directory=str(served)))
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield Rack(tmp_path, server.server_port)
    server.shutdown()
    server.server_close()
    thread.join()


def _assert_booted(said: str, *, attempts: int = 1) -> None:
    line = re.search(r"\] Command line: (.*)", said)
    assert line, said[-3000:]
    loaders_own = re.compile(r"initrd=\S+|BOOT_IMAGE=\S+|kernel")
    assert tuple(word for word in line[1].split() if not loaders_own.fullmatch(word)) == CMDLINE
    assert len(re.findall(r"Attempt \d+ of", said)) >= attempts - 1  # a busy server makes more


KERNEL_IS_UP = r"Freeing initrd memory: \d+K"


@pytest.mark.parametrize("firmware", ["bios", "uefi"])
def test_ipxe_boots_the_kernel_after_failed_fetches(rack: Rack, firmware: str) -> None:
    base = f"http://10.0.2.2:{rack.port}"
    rack.write("ipxe", Boot(f"{base}/vmlinuz", (f"{base}/initrd",), CMDLINE))
    Faulty.faults = {"/vmlinuz": 2, "/initrd": 1}
    said = rack.boot(boot_filename(MAC, "ipxe"), KERNEL_IS_UP, firmware=firmware)
    _assert_booted(said, attempts=4)


def test_ipxe_restarts_the_machine_when_all_attempts_fail(rack: Rack) -> None:
    rack.write("ipxe", Boot(f"http://10.0.2.2:{rack.port}/vmlinuz"))
    Faulty.faults = {"/vmlinuz": 99}
    said = rack.boot(boot_filename(MAC, "ipxe"), r"attempts failed, restarting")
    assert "booted from the disk" not in said


def test_ipxe_boots_the_disk_on_bios(rack: Rack) -> None:
    rack.write("ipxe", None, known=False)
    rack.arguments = _disk(rack.folder / "disk.raw")
    rack.boot(default_filename("ipxe"), "booted from the disk")


def test_ipxe_boots_the_disk_on_uefi(rack: Rack) -> None:
    rack.write("ipxe", None)
    rack.arguments = _esp(rack, "EFI/BOOT/BOOTX64.EFI")
    rack.boot(boot_filename(MAC, "ipxe"), "booted from the disk", firmware="uefi")


def _write_grub(rack: Rack, firmware: str) -> str:
    if firmware == "uefi":
        # What Debian signs for Secure Boot; it looks below /grub on the TFTP server.
        shutil.copyfile("/usr/lib/grub/x86_64-efi/monolithic/grubnetx64.efi", rack.tftp / "grubnetx64.efi")
        return "grubnetx64.efi"
    _grub_image("i386-pc-pxe", rack.tftp / "core.0", "(pxe)/grub", None, GRUB_MODULES)
    return "core.0"


@pytest.mark.parametrize("firmware", ["bios", "uefi"])
def test_grub_boots_the_kernel(rack: Rack, firmware: str) -> None:
    rack.write("grub", Boot("/vmlinuz", ("/initrd",), CMDLINE), root="grub")
    loader = _write_grub(rack, firmware)
    _assert_booted(rack.boot(loader, KERNEL_IS_UP, firmware=firmware))


def test_grub_tries_again(rack: Rack) -> None:
    rack.write("grub", Boot("/missing"), root="grub")
    rack.boot(_write_grub(rack, "bios"), r"Attempt 2 of \d+ failed")


@pytest.mark.parametrize("known", [True, False])
def test_grub_boots_the_disk_on_bios(rack: Rack, known: bool) -> None:
    rack.write("grub", None, root="grub", known=known)
    rack.arguments = _disk(rack.folder / "disk.raw")
    rack.boot(_write_grub(rack, "bios"), "booted from the disk")


def test_grub_boots_the_disk_on_uefi(rack: Rack) -> None:
    rack.write("grub", None, root="grub")
    rack.arguments = _esp(rack, "EFI/debian/shimx64.efi")
    rack.boot(_write_grub(rack, "uefi"), "booted from the disk", firmware="uefi")


def _write_pxelinux(rack: Rack) -> str:
    shutil.copyfile("/usr/lib/PXELINUX/lpxelinux.0", rack.tftp / "lpxelinux.0")
    shutil.copyfile("/usr/lib/syslinux/modules/bios/ldlinux.c32", rack.tftp / "ldlinux.c32")
    return "lpxelinux.0"


def test_pxelinux_boots_the_kernel_after_a_failed_fetch(rack: Rack) -> None:
    # PXELINUX takes 40 s for Debian's kernel here. iPXE's own is small and runs its arguments, so it echoes the rest.
    shutil.copyfile("/usr/lib/ipxe/ipxe.lkrn", rack.tftp / "vmlinuz")
    base = f"http://10.0.2.2:{rack.port}"
    rack.write("pxelinux", Boot(f"{base}/vmlinuz", (f"{base}/initrd",), ("echo", *CMDLINE[::3])))
    Faulty.faults = {"/vmlinuz": 1}
    Faulty.served = []
    rack.boot(_write_pxelinux(rack), "\n" + re.escape(" ".join(CMDLINE[::3])))
    assert Faulty.served == ["/vmlinuz", "/initrd"]


def test_pxelinux_boots_the_disk(rack: Rack) -> None:
    rack.write("pxelinux", None, known=False)
    rack.arguments = _disk(rack.folder / "disk.raw")
    rack.boot(_write_pxelinux(rack), "booted from the disk")
