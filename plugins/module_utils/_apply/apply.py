# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 the seedcloud.openstack authors
"""One method for each kind of graph node: ask, change, ask again; in check mode only ask."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Mapping
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from . import database, files, health
from .graph import Node, Outcome, run_graph
from .identity import SharedKeystone
from .records import Records
from .system import ApplyError, Vault, digest, must, run
from .units import Systemd

_NOT_RELOADED = ("/etc/systemd/", "/etc/default/")  # what only a restart makes a unit read


class Applier:
    """Holds what the nodes of one run share."""

    def __init__(
        self,
        plan: Mapping[str, Any],
        vault: Vault,
        records: Records,
        *,
        check: bool,
        patience: float = 1,
        workers: int = 0,
        tell: Callable[[str, Outcome], None] = lambda name, outcome: None,
    ) -> None:
        self.plan = plan
        self.vault = vault
        self.records = records
        self.check = check
        self.workers = workers or max(4, 2 * (os.cpu_count() or 1))
        self.tell = tell
        self.diffs: list[dict[str, str]] = []
        self.restarted: list[str] = []
        self._lock = threading.Lock()
        self._systemd = Systemd()
        self._keystone = SharedKeystone(check=check)
        self._nodes: list[Node] = [
            {**node, "timeout": node["timeout"] * patience} if "timeout" in node else node for node in plan["graph"]
        ]
        self._units = {node["unit"]: node for node in self._nodes if node["kind"] == "unit"}
        self._contents = {
            file["path"]: vault.reveal(file["content"])
            for node in self._nodes
            if node["kind"] == "files"
            for file in node["files"]
            if file.get("state") != "absent"
        }
        self._gone = {
            file["path"]
            for node in self._nodes
            if node["kind"] == "files"
            for file in node["files"]
            if file.get("state") == "absent"
        }
        self._down: set[str] = set()  # in check mode: units that would have been started
        self._states: dict[str, dict[str, str]] = {}
        self._to_enable: list[str] = []  # what runs well is also to run after the next boot
        self._reloaded = False  # since the states were asked
        self._versions: dict[str, str] = {}

    # -- the run -------------------------------------------------------------------------------------------------------

    def run(self, phase: str) -> dict[str, Outcome]:
        """Apply one phase of the plan."""
        nodes = [node for node in self._nodes if node["phase"] == phase]
        self._ask_packages()
        self._states = self._systemd.show([node["unit"] for node in nodes if node["kind"] == "unit"])
        kinds: dict[str, Callable[[Node], Outcome]] = {
            "files": self._files,
            "database": self._database,
            "queue": self._queue,
            "step": self._step,
            "unit": self._unit,
            "identity": self._identity,
            "ready": self._ready,
        }
        outcomes = run_graph(nodes, lambda node: kinds[node["kind"]](node), self.workers, self.tell)
        if self._to_enable:  # in one call: systemd reads all its units again after each
            self._systemd.do("enable", sorted(self._to_enable))
        return outcomes

    def _ask_packages(self) -> None:
        """The versions of all packages in one call; what is missing is said at once."""
        packages = self.plan["packages"]
        wanted = sorted({*packages, *(name for node in self._nodes for name in node.get("versions", []))})
        if not wanted:
            return
        form = "${Package} ${db:Status-Status} ${Version}\n"
        said = run(["dpkg-query", "--show", f"--showformat={form}", *wanted], timeout=300).stdout
        rows = [line.split() for line in said.splitlines()]
        self._versions = {row[0]: row[2] for row in rows if len(row) == 3 and row[1] == "installed"}
        if missing := sorted(set(wanted) - set(self._versions)):
            raise ApplyError(f"packages are not installed: {' '.join(missing)}")

    def _reveal(self, data: Any) -> Any:
        if isinstance(data, str):
            return self.vault.reveal(data)
        if isinstance(data, Mapping):
            return {key: self._reveal(value) for key, value in data.items()}
        return [self._reveal(item) for item in data] if isinstance(data, (list, tuple)) else data

    # -- files ---------------------------------------------------------------------------------------------------------

    def _files(self, node: Node) -> Outcome:
        done: list[str] = []
        for item in node["directories"]:
            if not files.folder_is_so(item):
                done.append(item["path"])
                if not self.check:
                    files.make_folder(item)
        for item in node["files"]:
            path = Path(item["path"])
            before, owner = files.current(path)
            after = self._contents.get(item["path"])
            owner_after = files.wanted_owner(item) if after is not None else None
            if (before, owner) == (after, owner_after):
                continue
            done.append(item["path"])
            self._keep_diff(item["path"], (before, owner), (after, owner_after))
            if self.check:
                continue
            if before != after:
                self._invalidate(item["path"], before, after)
            if after is None:
                path.unlink()
            else:
                files.write(item, after)
        if not self.check and any(path.startswith("/etc/systemd/") for path in done):
            self._systemd.do("daemon-reload", [])
            self._reloaded = True
        return {"changed": bool(done), "files": done}

    def _keep_diff(self, path: str, old: tuple[str | None, str | None], new: tuple[str | None, str | None]) -> None:
        before, after = (self.vault.mask(text or "") for text in (old[0], new[0]))
        if before == after and old[0] != new[0]:
            after += "# (only masked values differ)\n"
        if old[1] != new[1]:
            before = f"# {old[1]}\n{before}" if old[1] else ""
            after = f"# {new[1]}\n{after}" if new[1] else ""
        with self._lock:
            self.diffs.append({"before_header": path, "after_header": path, "before": before, "after": after})

    def _invalidate(self, path: str, before: str | None, after: str | None) -> None:
        """Before the file changes, whoever reads the part that differs loses its record of it: a restart is owed."""
        for unit, node in self._units.items():
            for read in node["reads"]:
                if fnmatch(path, read["path"]) and files.part(before or "", read) != files.part(after or "", read):
                    self.records.forget(f"unit.{unit}", path)

    # -- units ---------------------------------------------------------------------------------------------------------

    def _read_digests(self, node: Node) -> dict[str, str]:
        """A hash of what the unit is to read, path by path, as it will lie on the disk after this run."""
        found: dict[str, str] = {}
        for read in node["reads"]:
            pattern = read["path"]
            on_disk = {str(path) for path in Path("/").glob(pattern.lstrip("/"))} if "*" in pattern else {pattern}
            planned = {path for path in self._contents if fnmatch(path, pattern)}
            for path in sorted((on_disk | planned) - self._gone):
                content = self._contents.get(path)
                if content is None:
                    content = files.current(Path(path))[0]
                if content is not None:
                    found[path] = digest([found.get(path, ""), files.part(content, read)])
        return found

    def _drifted(self, node: Node) -> set[str]:
        """In check mode: files that would be written, of which this unit reads the part that differs."""
        return {
            path
            for read in node["reads"]
            for path, content in self._contents.items()
            if fnmatch(path, read["path"])
            and files.part(files.current(Path(path))[0] or "", read) != files.part(content, read)
        }

    def _unit(self, node: Node) -> Outcome:
        unit = node["unit"]
        state = self._state(unit)
        active = state["ActiveState"] in {"active", "reloading"}
        enabled = state["UnitFileState"] in {"enabled", "static", "indirect", "generated", "alias", "enabled-runtime"}
        if node["state"] == "stopped":
            return self._stop(unit, active=active, enabled=enabled)
        want = self._read_digests(node)
        have = self.records.get(f"unit.{unit}")
        differing = {path for path in {*want, *have} if want.get(path) != have.get(path)}
        if self.check:
            differing |= self._drifted(node)
        verb = self._verb(node, active=active, differing=differing)
        enable = node["enabled"] and not enabled
        outcome: Outcome = {"changed": bool(verb or enable)}
        if verb:
            outcome["action"], outcome["because"] = verb, sorted(differing) if active else ["it was not running"]
            with self._lock:
                self.restarted.append(unit)
        if self.check:
            if not active:
                self._down.add(unit)
            return outcome
        if verb:
            self._systemd.reload_if_needed(unit)
            if state["ActiveState"] == "failed":
                self._systemd.do("reset-failed", [unit])
            self._act(node, verb)
            self.records.put(f"unit.{unit}", want)
        self._await(node)
        if enable:
            with self._lock:
                self._to_enable.append(unit)
        return outcome

    def _state(self, unit: str) -> dict[str, str]:
        state = self._states[unit]
        if self._reloaded:
            state = self._systemd.show([unit])[unit]
        if state["LoadState"] == "not-found" and f"/etc/systemd/system/{unit}" in self._contents:
            if self.check:  # its file would have been written
                return {**state, "ActiveState": "inactive", "UnitFileState": "disabled"}
            self._systemd.do("daemon-reload", [])
            state = self._systemd.show([unit])[unit]
        if state["LoadState"] != "loaded":
            raise ApplyError(f"{unit} is {state['LoadState']}")
        return state

    @staticmethod
    def _verb(node: Node, *, active: bool, differing: set[str]) -> str | None:
        if not active:
            return "start"
        if not differing or node["action"] == "none":
            return None
        if node["action"] == "reload" and not any(path.startswith(_NOT_RELOADED) for path in differing):
            return "reload"
        return "restart"

    def _stop(self, unit: str, *, active: bool, enabled: bool) -> Outcome:
        verbs = [verb for verb, needed in (("stop", active), ("disable", enabled)) if needed]
        if not self.check:
            for verb in verbs:
                self._systemd.do(verb, [unit])
            self.records.forget(f"unit.{unit}")
        return {"changed": bool(verbs), "action": " and ".join(verbs)}

    def _act(self, node: Node, verb: str) -> None:
        unit = node["unit"]
        try:
            self._systemd.do(verb, [unit], timeout=node["timeout"])
        except ApplyError as error:
            raise ApplyError(f"{error}\n{self._last_words(unit)}") from error

    def _last_words(self, unit: str) -> str:
        return self._systemd.journal(unit, self._systemd.show([unit])[unit].get("InvocationID", ""))

    def _await(self, node: Node) -> None:
        """Wait until the unit is active and every health check passes."""
        unit = node["unit"]

        def active() -> str:
            state = self._systemd.show([unit])[unit]
            if state["ActiveState"] == "failed":
                raise ApplyError(f"{unit} failed ({state['Result']}):\n{self._last_words(unit)}")
            if state["ActiveState"] not in {"active", "reloading"}:
                raise health.NotYetError(f"systemd says {state['ActiveState']}")
            return state["ControlGroup"]

        try:
            self._healthy(node, active)
        except health.NotYetError as error:
            words = self._last_words(unit)
            raise ApplyError(f"{unit} was not healthy within {node['timeout']:g} s: {error}\n{words}") from error

    def _healthy(self, node: Node, first: Callable[[], str] = str) -> None:
        """Repeat the node's checks until all pass, after `first`, which names the unit's control group.

        Raises NotYetError with what was seen last.
        """
        deadline = time.monotonic() + node["timeout"]
        checks = [self._reveal(check) for check in node["health"]]
        pause = 0.2
        while True:
            try:
                control_group = first()
                for check in checks:
                    health.probe(check, control_group)
                return
            except health.NotYetError:
                if time.monotonic() > deadline:
                    raise
            time.sleep(pause)
            pause = min(pause * 1.5, 2)

    def _ready(self, node: Node) -> Outcome:
        if not self.check:
            try:
                self._healthy(node)
            except health.NotYetError as error:
                raise ApplyError(f"does not answer within {node['timeout']:g} s: {error}") from error
        return {}

    # -- steps ---------------------------------------------------------------------------------------------------------

    def _is_so(self, question: Mapping[str, Any], user: str | None) -> bool:
        done = run(self._reveal(question["argv"]), user=user, timeout=120)
        wanted = question.get("stdout")
        return done.returncode == 0 and (wanted is None or done.stdout.strip() == str(wanted).strip())

    def _step(self, node: Node) -> Outcome:
        question = node.get("unless")
        record = f"step.{node['id'].replace(':', '.')}"
        env = self._reveal(node.get("env", {}))
        stdin = self._reveal(node.get("stdin", ""))
        versions = {name: self._versions[name] for name in node["versions"]}
        mark = digest([node["argv"], env, stdin, self._reveal(node["key"]), versions])
        if question is not None:
            if self._is_so(question, node.get("user")):
                return {}
        elif self.records.get(record).get("mark") == mark:
            return {}
        if self.check:
            return {"changed": True}
        done = run(node["argv"], user=node.get("user"), env=env, stdin=stdin, timeout=node.get("timeout", 900))
        words = " ".join(node["argv"][:3]).splitlines()[0]
        must(done, words)
        if question is not None and not self._is_so(question, node.get("user")):
            raise ApplyError(f"{words} succeeded, but {' '.join(question['argv'])} says it is not so")
        if question is None:
            self.records.put(record, {"mark": mark})
        self.records.forget(f"database.{node['service']}")
        return {"changed": True}

    # -- databases, queues, identity -----------------------------------------------------------------------------------

    def _not_yet(self, unit: str) -> bool:
        """In check mode: whether the server that would be asked is still to be started."""
        return self.check and unit in self._down

    def _database(self, node: Node) -> Outcome:
        items = self._reveal(node["databases"])
        if self._not_yet("mariadb.service"):
            return {"changed": True}
        service = node["id"].partition(":")[0]
        gaps = database.missing(items)
        # No migration of a database that is recorded as new has ended. MariaDB cannot take back the half of one that was cut.
        halves = sorted({item["name"] for item in items} & set(self.records.get(f"database.{service}")))
        if not (gaps or halves) or self.check:
            return {"changed": bool(gaps or halves)}
        if halves:
            database.drop(halves)
            gaps = database.missing(items)
        if new := {item["name"]: "new" for kind, item in gaps if kind == "database"}:
            # A new, empty database has had no migration, whatever was done to its predecessor.
            for name in self.records.names(f"step.{service}."):
                self.records.forget(name)
            self.records.put(f"database.{service}", new)
        database.create(gaps)
        if left := database.missing(items):
            raise ApplyError(f"MariaDB took the statements, but these are missing: {[kind for kind, _unused in left]}")
        return {"changed": True}

    def _queue(self, node: Node) -> Outcome:
        wanted = self._reveal(node["queue"])
        if self._not_yet("rabbitmq-server.service"):
            return {"changed": True}
        login = (wanted["address"], wanted["user"], wanted["password"], wanted["vhost"])
        try:
            if health.amqp_login(*login):
                return {}
            if self.check:
                return {"changed": True}
            must(run(["rabbitmqctl", "import_definitions", wanted["definitions"]]), "rabbitmqctl import_definitions")
            if not health.amqp_login(*login):
                raise ApplyError(f"RabbitMQ refuses {wanted['user']} after its definition was imported")
        except health.NotYetError as error:
            raise ApplyError(str(error)) from error
        return {"changed": True}

    def _identity(self, node: Node) -> Outcome:
        if self._not_yet("keystone.service"):
            return {"changed": True}
        changes = self._keystone.ensure(self._reveal(node))
        return {"changed": bool(changes), "changes": changes}
