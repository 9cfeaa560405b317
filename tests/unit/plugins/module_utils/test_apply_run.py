# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 the seedcloud.openstack authors
"""A whole plan applied, with systemd played by a class that remembers; what a killed run owes is paid by the next."""

from __future__ import annotations

import getpass
import grp
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.seedcloud.openstack.plugins.module_utils._apply import apply, database, health
from ansible_collections.seedcloud.openstack.plugins.module_utils._apply.records import Records
from ansible_collections.seedcloud.openstack.plugins.module_utils._apply.system import ApplyError, Vault

ME = {"owner": getpass.getuser(), "group": grp.getgrgid(os.getgid()).gr_name}


class Kill(BaseException):
    """kill -9, as near as a test comes to it."""


class Systemd:
    """Units of one host; class-wide, as systemd outlives a run."""

    active: dict[str, str]
    enabled: set[str]
    said: list[str]
    dies_at: str | None

    def show(self, units: Iterable[str]) -> dict[str, dict[str, str]]:
        return {
            unit: {
                "LoadState": "not-found" if unit.startswith("missing") else "loaded",
                "ActiveState": self.active.get(unit, "inactive"),
                "UnitFileState": "enabled" if unit in self.enabled else "disabled",
                "NeedDaemonReload": "no",
                "InvocationID": "",
                "Result": "exit-code",
                "ControlGroup": "",
            }
            for unit in units
        }

    def reload_if_needed(self, unit: str) -> None:
        pass

    def do(self, verb: str, units: Iterable[str], timeout: float = 600) -> None:
        for unit in units:
            if self.dies_at == verb:
                raise Kill
            self.said.append(f"{verb} {unit}")
            if verb == "enable":
                self.enabled.add(unit)
            elif verb == "disable":
                self.enabled.discard(unit)
            else:
                self.active[unit] = {"stop": "inactive", "reset-failed": "inactive"}.get(verb, "active")
                if unit.startswith("broken"):
                    self.active[unit] = "failed"

    def journal(self, unit: str, invocation: str) -> str:
        return "its last words, with hunter2"


class Host:
    """One host and its plan."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.files: dict[str, str] = {"a.conf": "[x]\no = 1\n\n[y]\no = 1\n", "b.conf": "b\n"}
        self.units: list[dict[str, Any]] = [
            {"unit": "a.service", "reads": [{"path": f"{folder}/a.conf"}]},
            {"unit": "ax.service", "reads": [{"path": f"{folder}/a.conf", "sections": ["x"]}]},
            {"unit": "b.service", "reads": [{"path": f"{folder}/b.conf"}], "action": "reload"},
        ]
        self.more: list[dict[str, Any]] = []
        self.secrets: dict[str, str] = {}

    def path(self, name: str) -> Path:
        return self.folder / name

    def run(self, *, check: bool = False, phase: str = "services") -> apply.Applier:
        items = [
            {"path": str(self.path(name)), "content": text, "mode": "0600", **ME} for name, text in self.files.items()
        ]
        graph: list[dict[str, Any]] = [
            {"id": "s:files", "kind": "files", "phase": "services", "after": [], "directories": [], "files": items}
        ]
        base = {"phase": "services", "after": ["s:files"]}
        unit = {"kind": "unit", "state": "started", "enabled": True, "action": "restart", "health": [], "timeout": 5}
        graph += [{"id": f"s:{item['unit']}", **base, **unit, **item} for item in self.units]
        graph += [{**base, **item} for item in self.more]
        records = Records(self.path("state") / "applied", write=not check)
        applier = apply.Applier({"packages": [], "graph": graph}, Vault(self.secrets), records, check=check)
        self.outcomes = applier.run(phase)
        return applier

    @property
    def changed(self) -> set[str]:
        return {name for name, outcome in self.outcomes.items() if outcome["changed"]}

    def msg(self, name: str) -> str:
        return str(self.outcomes[name].get("msg", ""))


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    Systemd.active, Systemd.enabled, Systemd.said, Systemd.dies_at = {}, set(), [], None
    monkeypatch.setattr(apply, "Systemd", Systemd)
    return Host(tmp_path)


def test_first_all_then_nothing(host: Host) -> None:
    assert sorted(host.run().restarted) == ["a.service", "ax.service", "b.service"]
    assert Systemd.enabled == {"a.service", "ax.service", "b.service"}
    Systemd.said.clear()
    assert host.run().restarted == []
    assert host.changed == set()
    assert Systemd.said == []


def test_one_option_restarts_who_reads_it(host: Host) -> None:
    host.run()
    host.files["a.conf"] = "[x]\no = 1\n\n[y]\no = 2\n"
    assert host.run().restarted == ["a.service"]
    host.files["a.conf"] = "[x]\no = 2\n\n[y]\no = 2\n"
    assert sorted(host.run().restarted) == ["a.service", "ax.service"]
    host.files["b.conf"] = "c\n"
    Systemd.said.clear()
    assert host.run().restarted == ["b.service"]
    assert Systemd.said == ["reload b.service"]


def test_a_restart_that_a_killed_run_owes_is_made(host: Host) -> None:
    host.run()
    host.files["a.conf"] = "[x]\no = 9\n\n[y]\no = 1\n"
    Systemd.dies_at = "restart"
    with pytest.raises(Kill):
        host.run()
    assert "o = 9" in host.path("a.conf").read_text()  # written, and no one restarted
    Systemd.dies_at = None
    assert sorted(host.run().restarted) == ["a.service", "ax.service"]
    assert host.run().restarted == []


def test_a_hand_edit_is_undone_even_when_the_mending_run_is_killed(host: Host) -> None:
    host.run()
    host.path("a.conf").write_text("[x]\no = 1\n\n[y]\no = edited\n")
    Systemd.dies_at = "restart"
    with pytest.raises(Kill):
        host.run()
    Systemd.dies_at = None
    assert host.run().restarted == ["a.service"]  # ax.service never read what was edited


def test_check_mode_tells_and_touches_nothing(host: Host) -> None:
    applier = host.run(check=True)
    assert sorted(applier.restarted) == ["a.service", "ax.service", "b.service"]
    assert (Systemd.said, list(host.folder.iterdir())) == ([], [])
    host.run()
    Systemd.said.clear()
    host.path("a.conf").write_text("[x]\no = 1\n\n[y]\no = edited\n")
    applier = host.run(check=True)
    assert applier.restarted == ["a.service"]
    assert "-o = edited" in applier.diffs[0]["before"].replace("o = edited", "-o = edited")
    assert "edited" in host.path("a.conf").read_text()
    assert Systemd.said == []


def test_owner_and_mode_are_mended_without_a_restart(host: Host) -> None:
    host.run()
    host.path("a.conf").chmod(0o644)
    assert host.run().restarted == []
    assert host.changed == {"s:files"}
    assert host.path("a.conf").stat().st_mode & 0o777 == 0o600


def test_a_stopped_unit_is_started_and_a_disabled_one_enabled(host: Host) -> None:
    host.run()
    Systemd.active["a.service"] = "failed"
    Systemd.enabled.discard("b.service")
    Systemd.said.clear()
    host.run()
    assert sorted(Systemd.said) == ["enable b.service", "reset-failed a.service", "start a.service"]


def test_a_unit_that_shall_not_run_is_stopped(host: Host) -> None:
    host.run()
    host.units[0]["state"] = "stopped"
    host.units[0]["enabled"] = False
    Systemd.said.clear()
    host.run()
    assert Systemd.said == ["stop a.service", "disable a.service"]


def test_a_unit_that_fails_says_its_last_words_and_stops_who_waits(host: Host) -> None:
    host.units = [{"unit": "broken.service", "reads": []}]
    host.more = [{"id": "s:ready", "kind": "ready", "after": ["s:broken.service"], "health": [], "timeout": 1}]
    host.run()
    assert "broken.service failed (exit-code):\nits last words" in host.msg("s:broken.service")
    assert host.outcomes["s:ready"]["skipped"]


def test_a_unit_that_is_not_there(host: Host) -> None:
    host.units = [{"unit": "missing.service", "reads": []}]
    host.run()
    assert "missing.service is not-found" in host.msg("s:missing.service")


def test_a_unit_that_never_answers(host: Host, tmp_path: Path) -> None:
    check = [{"unix": str(tmp_path / "none")}]
    host.units = [{"unit": "a.service", "reads": [], "health": check, "timeout": 0.3}]
    host.run()
    assert "was not healthy within 0.3 s" in host.msg("s:a.service")


# -- steps -------------------------------------------------------------------------------------------------------------


def step(name: str, **data: Any) -> dict[str, Any]:
    return {"id": f"s:{name}", "kind": "step", "service": "s", "key": [], "versions": [], **data}


def test_a_step_is_done_once_for_what_it_depends_on(host: Host) -> None:
    count = host.path("count")
    host.secrets = {"p": "hunter1"}
    host.more = [step("sync", argv=["sh", "-c", f"echo $P >> {count}"], env={"P": "<secret:p>"}, key=["db1"])]
    for _unused in range(2):
        host.run()
    host.more[0]["key"] = ["db2"]
    host.run()
    host.secrets = {"p": "hunter2"}
    host.run()
    assert count.read_text() == "hunter1\nhunter1\nhunter2\n"
    assert all("hunter" not in path.read_text() for path in host.path("state").rglob("*") if path.is_file())


def test_a_step_that_failed_is_tried_again(host: Host) -> None:
    flag = host.path("flag")
    host.more = [step("sync", argv=["test", "-e", str(flag)])]
    host.run()
    assert "test -e" in host.msg("s:sync")
    flag.touch()
    host.run()
    assert host.changed == {"s:sync"}


def test_a_question_is_asked_before_and_after(host: Host) -> None:
    flag = host.path("flag")
    host.more = [step("make", argv=["touch", str(flag)], unless={"argv": ["test", "-e", str(flag)]})]
    assert host.run(check=True)
    assert "s:make" in host.changed
    assert not flag.exists()
    host.run()
    assert flag.exists()
    host.run()
    assert host.changed == set()
    host.more = [step("lie", argv=["true"], unless={"argv": ["echo", "no"], "stdout": "yes"})]
    host.run()
    assert "says it is not so" in host.msg("s:lie")


def test_a_phase_is_applied_by_itself(host: Host) -> None:
    host.more = [step("later", argv=["touch", str(host.path("later"))], phase="cluster", after=[])]
    host.run()
    assert not host.path("later").exists()
    host.run(phase="cluster")
    assert host.path("later").exists()


# -- databases and queues ----------------------------------------------------------------------------------------------


def test_a_new_database_is_migrated_again(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    there: set[str] = set()
    monkeypatch.setattr(
        database, "missing", lambda items: [("database", item) for item in items if item["name"] not in there]
    )
    monkeypatch.setattr(database, "create", lambda gaps: there.update(item["name"] for _unused, item in gaps))
    count = host.path("count")
    host.more = [
        {"id": "s:database", "kind": "database", "databases": [{"name": "d", "user": "u", "password": "p"}]},
        step("sync", argv=["sh", "-c", f"echo x >> {count}"], after=["s:database"]),
    ]
    host.run()
    host.run()
    assert count.read_text() == "x\n"
    there.clear()
    host.run(check=True)
    assert "s:database" in host.changed
    host.run()
    assert count.read_text() == "x\nx\n"


def test_a_first_migration_that_was_cut_begins_anew(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    there, dropped = set[str](), list[str]()

    def drop(names: list[str]) -> None:
        dropped.extend(names)
        there.difference_update(names)

    monkeypatch.setattr(
        database, "missing", lambda items: [("database", item) for item in items if item["name"] not in there]
    )
    monkeypatch.setattr(database, "create", lambda gaps: there.update(item["name"] for _unused, item in gaps))
    monkeypatch.setattr(database, "drop", drop)
    power, count = host.path("power"), host.path("count")
    host.more = [
        {"id": "s:database", "kind": "database", "databases": [{"name": "d", "user": "u", "password": "p"}]},
        step("sync", argv=["sh", "-c", f"test -e {power} && echo x >> {count}"], after=["s:database"]),
    ]
    host.run()
    assert host.outcomes["s:sync"]["failed"]
    power.touch()
    host.run(check=True)
    assert "s:database" in host.changed
    assert not dropped
    host.run()
    assert (dropped, count.read_text()) == (["d"], "x\n")
    host.run()
    assert dropped == ["d"], "once its migration has ended, nothing takes it away"


@pytest.mark.parametrize("helps", [True, False])
def test_a_refused_login_imports_the_definitions(host: Host, monkeypatch: pytest.MonkeyPatch, helps: bool) -> None:
    known: list[str] = []
    monkeypatch.setattr(health, "amqp_login", lambda *_unused: bool(known))

    def run(argv: list[str], **_unused: Any) -> Any:
        known.extend(["u"] if helps else [])
        return apply.run(["true"])

    queue = {"address": "h:1", "user": "u", "password": "p", "vhost": "/", "definitions": "/d.json"}
    host.more = [{"id": "s:queue", "kind": "queue", "queue": queue}]
    real = apply.run
    monkeypatch.setattr(
        apply, "run", lambda argv, **more: run(argv) if argv[0] == "rabbitmqctl" else real(argv, **more)
    )
    host.run()
    assert (host.msg("s:queue") == "") is helps
    if not helps:
        assert "refuses u after its definition was imported" in host.msg("s:queue")


def test_missing_packages_are_said_at_once(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    def query(argv: list[str], **_unused: Any) -> Any:
        said = "one installed 1.0\ntwo config-files 1.0\n"
        return apply.run(["true"]) if argv[0] != "dpkg-query" else type("Done", (), {"stdout": said})()

    monkeypatch.setattr(apply, "run", query)
    records = Records(host.path("state") / "applied")
    plan = {"packages": ["one", "two", "three"], "graph": []}
    with pytest.raises(ApplyError, match="not installed: three two"):
        apply.Applier(plan, Vault({}), records, check=False).run("services")
