# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 the seedcloud.openstack authors
"""Ramdisks really built, with the role's own lists: how large they are, what real metal needs is in them, and that they boot."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
import yaml
from ansible_collections.seedcloud.openstack.plugins.module_utils._build import ramdisk
from ansible_collections.seedcloud.openstack.tests.e2e.ramdisk_rig import Machine, SeedStandIn, order, powered

ROLE = Path(__file__).parents[4] / "roles/ramdisk"
MB = 1_000_000
BOOT = 300  # seconds; the machine is emulated, beside whatever else is tested
VIRTUAL = ["virtio_net", "virtio_blk", "virtio_scsi", "nvme", "ext4"]
NICS = ["bnxt_en", "i40e", "ice", "igb", "ixgbe", "mlx5_core", "tg3"]
DISKS = ["ahci", "hpsa", "megaraid_sas", "mpt3sas", "smartpqi"]


@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0, reason="mmdebstrap needs root")
@pytest.mark.parametrize(
    ("kernel", "firmware", "limit", "modules"),
    [
        ("linux-image-cloud-amd64", {}, 64 * MB, VIRTUAL),
        # Firmware from Debian's main section: what the test's mirror surely has.
        (
            "linux-image-amd64",
            {"firmware_packages": ["firmware-linux-free"], "firmware": ["isci/*"]},
            160 * MB,
            VIRTUAL + NICS + DISKS,
        ),
    ],
    ids=["cloud", "full"],
)
def test_a_ramdisk_is_small_has_its_drivers_and_boots_in_a_gibibyte(
    tmp_path: Path, kernel: str, firmware: dict[str, list[str]], limit: int, modules: list[str]
) -> None:
    defaults = yaml.safe_load((ROLE / "defaults/main.yml").read_text())
    spec = ramdisk.Ramdisk("agent", defaults["ramdisk_suite"], kernel, defaults["ramdisk_modules"], **firmware)
    made = ramdisk.ensure(tmp_path, spec, ROLE / "files/agent", check=False)
    print(
        f"\n{kernel}: {made['size'] / MB:.1f} MB, unpacked {made['unpacked_size'] / MB:.0f} MB, {made['modules']} modules"
    )
    assert made["size"] <= limit
    assert made["unpacked_size"] <= 512 * MB  # with the compressed one beside it, in a machine of 1 GiB
    initrd = tmp_path / "http/ramdisks" / made["name"] / "initrd"
    unpack = subprocess.run(["zstd", "-dcq", initrd], check=True, capture_output=True)
    names = (
        subprocess.run(["cpio", "-t", "--quiet"], input=unpack.stdout, check=True, capture_output=True)
        .stdout.decode()
        .split("\n")
    )
    held = {Path(name).name.removesuffix(".ko").replace("-", "_") for name in names if name.endswith(".ko")}
    built_in = next(name for name in names if name.endswith("/modules.builtin"))
    inside = subprocess.run(
        ["cpio", "-i", "--quiet", "--to-stdout", built_in], input=unpack.stdout, check=True, capture_output=True
    ).stdout.decode()
    held |= {Path(line).name.removesuffix(".ko").replace("-", "_") for line in inside.splitlines()}
    assert set(modules) - held == set()
    assert any(name.startswith("usr/lib/firmware/isci/") for name in names) == bool(firmware)
    seed = SeedStandIn(tmp_path / "http")
    seed.put_order(order(1))
    try:
        with powered(Machine(tmp_path, initrd.parent, {}, memory=1024, arguments="console=ttyS0"), seed):
            seed.wait("agent_started", BOOT)
    finally:
        seed.close()
