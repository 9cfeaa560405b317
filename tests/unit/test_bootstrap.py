# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 the seedcloud.openstack authors
"""tools/bootstrap: which of a machine's Pythons it takes, and what it says where there is none."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

TOP = Path(__file__).resolve().parents[2]
NEEDS = ("awk", "cat", "cut", "dirname", "grep", "ls", "mkdir", "sha256sum", "sort", "tr")


def program(path: Path, *lines: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(["#!/bin/sh", *lines]) + "\n")
    path.chmod(0o755)


def python(path: Path, version: str) -> Path:
    """One that is asked for its version and answers; the script takes no answer for a refusal."""
    program(path, f'echo "{version} $0"')
    return path


class Machine:
    """A copy of the script on a machine without any Python, and with a uv that only says what it was asked for."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = [folder / "bin"]
        for name in ("bootstrap", "requirements.txt"):
            (folder / "top/tools").mkdir(parents=True, exist_ok=True)
            shutil.copy(TOP / "tools" / name, folder / "top/tools" / name)
        self.path[0].mkdir()
        for name in NEEDS:
            (self.path[0] / name).symlink_to(str(shutil.which(name)))
        program(self.path[0] / "uv", f'echo "$@" >> {folder}/asked', f"mkdir -p {folder}/top/.cache/venv")

    def bootstrap(self) -> subprocess.CompletedProcess[str]:
        folders = {"HOME": self.folder / "home", "PYENV_ROOT": self.folder / "pyenv"}
        return subprocess.run(
            ["/bin/bash", self.folder / "top/tools/bootstrap"],
            env={"PATH": ":".join(map(str, self.path))} | {name: str(path) for name, path in folders.items()},
            capture_output=True,
            text=True,
            check=False,
        )

    def chosen(self) -> str:
        """The Python that the virtual environment was made with."""
        done = self.bootstrap()
        assert done.returncode == 0, done.stderr
        return (self.folder / "asked").read_text().split("--python ")[1].split()[0]


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_none_is_said_with_what_to_do(machine: Machine) -> None:
    done = machine.bootstrap()
    assert (done.returncode, "no Python 3.12" in done.stderr, "pyenv install" in done.stderr) == (1, True, True)
    assert not (machine.folder / "asked").exists()


def test_the_newest_wins_wherever_it_lies(machine: Machine) -> None:
    python(machine.path[0] / "python3", "3.12.9")
    newer = python(machine.folder / "pyenv/versions/3.13.1/bin/python3", "3.13.1")
    assert machine.chosen() == str(newer)


def test_the_last_folder_of_the_path_counts(machine: Machine) -> None:
    machine.path.append(machine.folder / "last")
    only = python(machine.path[-1] / "python3.12", "3.12.9")
    assert machine.chosen() == str(only)


def test_a_shim_that_refuses_is_no_answer(machine: Machine) -> None:
    program(machine.path[0] / "python3.13", 'echo "pyenv: python3.13: command not found" >&2', "exit 127")
    assert machine.bootstrap().returncode == 1
    older = python(machine.folder / "pyenv/versions/3.12.9/bin/python3", "3.12.9")
    assert machine.chosen() == str(older)
