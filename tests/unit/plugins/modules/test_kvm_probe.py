# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 the seedcloud.openstack authors
"""kvm_probe: the answer is what a guest did, and it is asked once a boot."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.seedcloud.openstack.plugins.module_utils._virt import kvm
from ansible_collections.seedcloud.openstack.plugins.modules import kvm_probe


class Probe:
    """A host with a device, a kernel and a QEMU that does what the test says."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in ("kvm", "vmlinuz"):
            (folder / name).touch()

    def qemu(self, script: str) -> None:
        path = self.folder / "qemu"
        path.write_text(f'#!/bin/sh\necho "$@" >>{self.folder}/calls\n{script}\n')
        path.chmod(0o755)

    @property
    def calls(self) -> list[str]:
        path = self.folder / "calls"
        return path.read_text().splitlines() if path.exists() else []

    def ask(self, capsys: pytest.CaptureFixture[str], **args: object) -> dict[str, object]:
        given = {
            "qemu": str(self.folder / "qemu"),
            "device": str(self.folder / "kvm"),
            "kernel": str(self.folder / "vmlinuz"),
            "cache": str(self.folder / "run/answer.json"),
            "timeout": 60,
            **args,
        }
        with patch_module_args(given), pytest.raises(SystemExit):
            kvm_probe.main()
        answer: dict[str, object] = json.loads(capsys.readouterr().out)
        return answer


@pytest.fixture
def host(tmp_path: Path) -> Probe:
    return Probe(tmp_path)


def test_a_guest_that_comes_up_is_kvm_and_is_asked_once(host: Probe, capsys: pytest.CaptureFixture[str]) -> None:
    host.qemu(f"echo 'Kernel panic - not syncing: VFS: {kvm.REACHED} on unknown-block(0,0)'")
    first, second = host.ask(capsys), host.ask(capsys)
    assert (first["virt_type"], first["cached"], second["virt_type"], second["cached"]) == ("kvm", False, "kvm", True)
    assert len(host.calls) == 1 and "-accel kvm" in host.calls[0]
    assert host.ask(capsys, force=True)["cached"] is False


def test_a_guest_that_hangs_is_given_up(host: Probe, capsys: pytest.CaptureFixture[str]) -> None:
    host.qemu("echo Booting from ROM..; exec sleep 300")
    answer = host.ask(capsys, timeout=2)
    assert answer["virt_type"] == "qemu" and "not up after 2 s" in str(answer["reason"])
    assert "Booting from ROM" in str(answer["console"]) and len(host.calls) == 2


def test_a_qemu_that_ends_early_is_no(host: Probe, capsys: pytest.CaptureFixture[str]) -> None:
    host.qemu("echo 'failed to initialize kvm: Operation not permitted' >&2; exit 1")
    answer = host.ask(capsys, attempts=1)
    assert answer["available"] is False and "ended with 1" in str(answer["reason"])
    assert "not permitted" in str(answer["console"])


def test_the_second_attempt_counts(host: Probe, capsys: pytest.CaptureFixture[str]) -> None:
    host.qemu(f"[ $(wc -l <{host.folder}/calls) -gt 1 ] && echo {kvm.REACHED}")
    assert host.ask(capsys)["available"] is True


def test_no_device_is_an_answer_without_a_guest(host: Probe, capsys: pytest.CaptureFixture[str]) -> None:
    (host.folder / "kvm").unlink()
    answer = host.ask(capsys)
    assert answer["virt_type"] == "qemu" and "there is no" in str(answer["reason"]) and not host.calls


def test_no_device_is_an_answer_where_there_is_no_kernel(
    host: Probe, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (host.folder / "kvm").unlink()
    newest = kvm.newest_kernel
    monkeypatch.setattr(kvm, "newest_kernel", lambda _boot: newest(host.folder / "boot"))
    assert host.ask(capsys, kernel=None)["virt_type"] == "qemu"


def test_another_boot_or_a_torn_answer_is_asked_again(host: Probe, capsys: pytest.CaptureFixture[str]) -> None:
    host.qemu(f"echo {kvm.REACHED}")
    host.ask(capsys)
    cache = host.folder / "run/answer.json"
    kept = json.loads(cache.read_text())
    assert host.ask(capsys)["cached"] is True, "a yes holds for this processor and kernel"
    cache.write_text(json.dumps({**kept, "key": f"another processor {kept['key']}"}))
    assert host.ask(capsys)["cached"] is False
    host.qemu("exit 1")
    assert host.ask(capsys, force=True)["available"] is False
    assert host.ask(capsys)["cached"] is True
    told = json.loads(cache.read_text())
    cache.write_text(json.dumps({**told, "key": f"00000000 {told['key'].partition(' ')[2]}"}))
    assert host.ask(capsys)["cached"] is False, "a no holds until the next boot"
    cache.write_text(cache.read_text()[:20])
    assert host.ask(capsys)["cached"] is False


def test_what_cannot_be_tried_fails(host: Probe, capsys: pytest.CaptureFixture[str]) -> None:
    answer = host.ask(capsys, qemu="/nonexistent/qemu")
    assert answer["failed"] is True and "not installed" in str(answer["msg"])
    with pytest.raises(kvm.ProbeError, match="no kernel"):
        kvm.newest_kernel(host.folder / "boot")
