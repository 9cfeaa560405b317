# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 the seedcloud.openstack authors
"""The parts of service_apply, each by itself."""

from __future__ import annotations

import getpass
import grp
import os
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.seedcloud.openstack.plugins.module_utils._apply import database, files, graph
from ansible_collections.seedcloud.openstack.plugins.module_utils._apply.records import Records
from ansible_collections.seedcloud.openstack.plugins.module_utils._apply.system import (
    ApplyError,
    Vault,
    must,
    rabbitmq_hash,
    run,
    write_atomic,
)

ME = {"owner": getpass.getuser(), "group": grp.getgrgid(os.getgid()).gr_name}


# -- secrets -----------------------------------------------------------------------------------------------------------


def test_markers_become_values_and_values_are_masked() -> None:
    vault = Vault({"p": "sesame open/1", "q": "x9"})
    text = "a <secret:p> %3Csecret%3Ap%3E <rabbitmq_hash:q> b"
    shown = vault.reveal(text)
    assert shown == f"a sesame open/1 sesame%20open%2F1 {rabbitmq_hash('x9')} b"
    assert vault.mask(shown) == "a ******** ******** ******** b"


def test_a_secret_that_was_not_given_is_named() -> None:
    with pytest.raises(ApplyError, match="'p'"):
        Vault({}).reveal("<secret:p>")


@pytest.mark.parametrize(
    "line",
    [
        "connection = mysql+pymysql://u:yesterday@h/d",
        "admin_password: yesterday",
        '"password_hash": "yesterday"',
        "transport_url=rabbit://u:yesterday@h/",
        "  metadata_proxy_shared_secret = yesterday",
    ],
)
def test_yesterdays_secrets_are_masked_by_their_options(line: str) -> None:
    masked = Vault({}).mask(f"[s]\n{line}\nplain = yesterday-ish\n")
    assert line not in masked
    assert masked.endswith("plain = yesterday-ish\n")


def test_rabbitmqs_hash_is_salted_sha256() -> None:
    """As RabbitMQ's documentation computes it, with the salt in front."""
    import base64
    import hashlib

    raw = base64.b64decode(rabbitmq_hash("secret"))
    assert raw[4:] == hashlib.sha256(raw[:4] + b"secret").digest()
    assert rabbitmq_hash("secret") == rabbitmq_hash("secret") != rabbitmq_hash("other")


def test_a_database_password_is_known_by_its_hash() -> None:
    """SELECT PASSWORD('mypass') in MariaDB's manual."""
    assert database._password_hash("mypass") == "*6C8989366EAF75BB670AD8EA7A7FC1176A95CEF4"


@pytest.mark.parametrize("name", ["x; DROP", "a'b", "", "`"])
def test_a_database_has_a_plain_name(name: str) -> None:
    with pytest.raises(ApplyError, match="is no name"):
        database.missing([{"name": name, "user": "u", "password": "p"}])


# -- commands ----------------------------------------------------------------------------------------------------------


def test_a_command_gets_its_input_and_a_clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LEAK", "1")
    done = run(["sh", "-c", 'cat; echo "$LEAK-$GIVEN-$PWD"'], stdin="in\n", env={"GIVEN": "g"})
    assert done.stdout == "in\n-g-/\n"


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become someone else")
def test_a_command_runs_as_its_user() -> None:
    assert run(["id", "-un"], user="nobody").stdout == "nobody\n"


@pytest.mark.parametrize(
    ("argv", "options", "said"),
    [
        (["/nonexistent"], {}, "cannot be run"),
        (["sleep", "5"], {"timeout": 0.1}, "did not end within"),
        (["true"], {"user": "no-such-user"}, "there is no user"),
    ],
)
def test_what_cannot_be_run_says_so(argv: list[str], options: dict[str, Any], said: str) -> None:
    with pytest.raises(ApplyError, match=said):
        run(argv, **options)


def test_a_failure_tells_the_last_lines() -> None:
    with pytest.raises(ApplyError, match=r"(?s)tool failed with 3: .*the reason"):
        must(run(["sh", "-c", "echo the reason >&2; exit 3"]), "tool")


# -- files -------------------------------------------------------------------------------------------------------------


def test_a_file_is_compared_by_content_owner_and_mode(tmp_path: Path) -> None:
    item = {"path": str(tmp_path / "new" / "f"), "mode": "0640", **ME}
    assert files.current(Path(item["path"])) == (None, None)
    files.write(item, "text\n")
    assert files.current(Path(item["path"])) == ("text\n", files.wanted_owner(item))
    Path(item["path"]).chmod(0o600)
    assert files.current(Path(item["path"]))[1] != files.wanted_owner(item)


def test_a_link_is_replaced_and_not_followed(tmp_path: Path) -> None:
    victim, link = tmp_path / "victim", tmp_path / "link"
    victim.write_text("untouched")
    link.symlink_to(victim)
    assert files.current(link)[0] is None
    files.write({"path": str(link), "mode": "0600", **ME}, "mine")
    assert (victim.read_text(), link.read_text(), link.is_symlink()) == ("untouched", "mine", False)


def test_a_file_that_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    target = tmp_path / "folder"
    target.mkdir()
    with pytest.raises(OSError):
        write_atomic(target, "text")
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


def test_a_folder_gets_its_mode(tmp_path: Path) -> None:
    item = {"path": str(tmp_path / "d"), "mode": "0750", **ME}
    assert not files.folder_is_so(item)
    files.make_folder(item)
    assert files.folder_is_so(item)


INI = "[a]\nx = 1\n\n[b]\ny = 2\n\n[c]\nz = 3\n"


@pytest.mark.parametrize(
    ("read", "seen"),
    [
        ({}, "xyz"),
        ({"sections": ["a"]}, "x"),
        ({"sections": ["a", "c"]}, "xz"),
        ({"except": ["b"]}, "xz"),
        ({"except": []}, "xyz"),
        ({"sections": []}, ""),
    ],
)
def test_a_unit_reads_its_sections(read: dict[str, Any], seen: str) -> None:
    assert "".join(letter for letter in "xyz" if f"{letter} = " in files.part(INI, read)) == seen


# -- records -----------------------------------------------------------------------------------------------------------


def test_records_are_kept_and_forgotten(tmp_path: Path) -> None:
    records = Records(tmp_path / "a" / "applied")
    records.put("unit.x", {"f": "1", "g": "2"})
    records.forget("unit.x", "f")
    assert records.get("unit.x") == {"g": "2"}
    records.forget("unit.x", "not there")
    records.forget("unit.x")
    records.forget("unit.x")
    assert records.get("unit.x") == {}
    assert (tmp_path / "a" / "applied").stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("damage", ["", "{", "[]", "\0"])
def test_a_damaged_record_counts_as_none(tmp_path: Path, damage: str) -> None:
    records = Records(tmp_path / "applied")
    (records.root / "unit.x").write_text(damage)
    assert records.get("unit.x") == {}


def test_two_runs_take_turns(tmp_path: Path) -> None:
    first, second = Records(tmp_path / "applied"), Records(tmp_path / "applied")
    with first.turn(), pytest.raises(ApplyError, match="another run"), second.turn(patience=0.1):
        pass
    with second.turn(patience=0.1):
        pass


def test_nothing_is_made_in_check_mode(tmp_path: Path) -> None:
    assert Records(tmp_path / "a" / "applied", write=False).get("unit.x") == {}
    assert not (tmp_path / "a").exists()


# -- the graph ---------------------------------------------------------------------------------------------------------


def node(name: str, *after: str) -> dict[str, Any]:
    return {"id": name, "after": list(after)}


def test_nodes_run_side_by_side_and_in_order() -> None:
    order: list[str] = []
    together = threading.Barrier(2, timeout=60)

    def apply(item: graph.Node) -> graph.Outcome:
        if item["id"] in {"left", "right"}:
            together.wait()  # neither ends before the other has begun
        order.append(item["id"])
        return {"changed": True}

    nodes = [node("end", "left", "right"), node("left", "start"), node("right", "start"), node("start")]
    outcomes = graph.run_graph(nodes, apply, workers=4)
    assert order[0] == "start"
    assert order[-1] == "end"
    assert all(outcome["changed"] for outcome in outcomes.values())


def test_what_most_wait_for_is_taken_first_and_no_more_than_allowed_at_once() -> None:
    order: list[str] = []
    nodes = [node("alone"), node("other"), node("end", "middle"), node("middle", "start"), node("start")]

    def apply(item: graph.Node) -> graph.Outcome:
        order.append(item["id"])
        return {}

    graph.run_graph(nodes, apply, workers=1)
    assert order == ["start", "middle", "alone", "other", "end"]  # as long a chain: as the plan has it


def test_a_failure_stops_what_depends_on_it_and_nothing_else() -> None:
    def apply(item: graph.Node) -> graph.Outcome:
        if item["id"] == "bad":
            raise ApplyError("no")
        return {}

    nodes = [node("bad"), node("next", "bad"), node("last", "next"), node("other")]
    outcomes = graph.run_graph(nodes, apply, workers=2)
    assert (outcomes["bad"]["failed"], outcomes["bad"]["msg"]) == (True, "no")
    assert outcomes["next"]["skipped"]
    assert outcomes["last"]["skipped"]
    assert "skipped" not in outcomes["other"]


@pytest.mark.parametrize("nodes", [[node("a", "b"), node("b", "a")], [node("a", "nowhere")]])
def test_a_graph_that_cannot_end_is_refused(nodes: list[graph.Node]) -> None:
    start = time.process_time()  # neither waiting nor going round
    with pytest.raises(ApplyError, match="a cycle or a gap"):
        graph.run_graph(nodes, lambda _: {}, workers=1)
    assert time.process_time() - start < 5


def test_a_surprise_is_not_swallowed() -> None:
    with pytest.raises(ZeroDivisionError):
        graph.run_graph([node("a")], lambda _: {"x": 1 // 0}, workers=1)
