# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 the seedcloud.openstack authors
"""systemctl and the mariadb client, word by word: what they are asked and what is made of their answers."""

from __future__ import annotations

import subprocess
from typing import Any

import pytest
from ansible_collections.seedcloud.openstack.plugins.module_utils._apply import database, units
from ansible_collections.seedcloud.openstack.plugins.module_utils._apply.system import ApplyError

DB = {"name": "d", "user": "u", "password": "hunter2"}


class Script:
    """A command that answers as it is told, and keeps what it was asked."""

    def __init__(self, *answers: str, code: int = 0) -> None:
        self.answers = list(answers)
        self.code = code
        self.asked: list[tuple[list[str], str]] = []

    def __call__(self, argv: list[str], *, stdin: str = "", **_unused: Any) -> subprocess.CompletedProcess[str]:
        self.asked.append((list(argv), stdin))
        return subprocess.CompletedProcess(argv, self.code, self.answers.pop(0) if self.answers else "", "its reason")


def test_states_of_all_units_come_from_one_call(monkeypatch: pytest.MonkeyPatch) -> None:
    script = Script("ActiveState=active\nLoadState=loaded\n\nActiveState=inactive\nLoadState=not-found\n")
    monkeypatch.setattr(units, "run", script)
    states = units.Systemd().show(["a.service", "b.service"])
    assert (states["a.service"]["ActiveState"], states["b.service"]["LoadState"]) == ("active", "not-found")
    assert script.asked[0][0][-3:] == ["--", "a.service", "b.service"]
    assert units.Systemd().show([]) == {}


def test_an_answer_for_other_units_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(units, "run", Script("ActiveState=active\n"))
    with pytest.raises(ApplyError, match="1 of 2 units"):
        units.Systemd().show(["a", "b"])


@pytest.mark.parametrize(("needed", "calls"), [("yes", 2), ("no", 1)])
def test_unit_files_are_read_again_when_needed(monkeypatch: pytest.MonkeyPatch, needed: str, calls: int) -> None:
    script = Script(f"NeedDaemonReload={needed}\n")
    monkeypatch.setattr(units, "run", script)
    units.Systemd().reload_if_needed("a")
    assert len(script.asked) == calls


def test_a_verb_that_fails_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(units, "run", Script(code=1))
    with pytest.raises(ApplyError, match="systemctl start a failed with 1: its reason"):
        units.Systemd().do("start", ["a"])


def test_the_last_words_are_of_this_start(monkeypatch: pytest.MonkeyPatch) -> None:
    script = Script("words\n", "words\n")
    monkeypatch.setattr(units, "run", script)
    assert units.Systemd().journal("a", "f00") == "words"
    assert script.asked[0][0][-1] == "_SYSTEMD_INVOCATION_ID=f00"


def test_databases_are_asked_for_and_made(monkeypatch: pytest.MonkeyPatch) -> None:
    script = Script("d\t0\t0\t0\n", "", "d\t1\t1\t1\n")
    monkeypatch.setattr(database, "run", script)
    gaps = database.missing([DB])
    assert [kind for kind, _unused in gaps] == ["database", "user", "grant"]
    database.create(gaps)
    assert database.missing([DB]) == []
    argv, statements = script.asked[1]
    assert "CREATE DATABASE IF NOT EXISTS `d`;" in statements
    assert "GRANT ALL PRIVILEGES ON `d`.* TO 'u'@'%';" in statements
    assert not any("hunter2" in word for asked in script.asked for word in (*asked[0], asked[1]))
    assert "--protocol=socket" in argv
    database.drop(["d"])
    assert script.asked[-1][1] == "DROP DATABASE IF EXISTS `d`;"


def test_only_what_is_missing_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    script = Script("d\t1\t0\t1\n", "")
    monkeypatch.setattr(database, "run", script)
    database.create(database.missing([DB]))
    assert "ALTER USER" in script.asked[1][1]
    assert "CREATE DATABASE" not in script.asked[1][1]


def test_a_server_that_is_down(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "run", Script(code=1))
    with pytest.raises(ApplyError, match="mariadb failed with 1: its reason"):
        database.missing([DB])
