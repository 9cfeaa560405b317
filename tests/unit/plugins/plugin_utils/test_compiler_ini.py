# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 the seedcloud.openstack authors
"""Option files as data."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.seedcloud.openstack.plugins.plugin_utils._compiler.ini import merge, render


@pytest.mark.parametrize(
    ("value", "lines"),
    [
        (True, "o = true\n"),
        (False, "o = false\n"),
        (0, "o = 0\n"),
        (1.5, "o = 1.5\n"),
        ("", "o =\n"),
        ("a = b # c", "o = a = b # c\n"),
        (["a", 1, True], "o = a,1,true\n"),
        ([], "o =\n"),
        ({"multi": ["x", "y"]}, "o = x\no = y\n"),
        ({"multi": []}, ""),
        (None, ""),
    ],
)
def test_a_value_is_written(value: Any, lines: str) -> None:
    assert render({"s": {"o": value}}) == (f"[s]\n{lines}" if lines else "")


@pytest.mark.parametrize(
    ("kind", "config", "text"),
    [
        (
            "haproxy",
            {"global": {"maxconn": 7}, "frontend x": {"bind": {"multi": [":1", ":2 ssl"]}, "option httplog": True}},
            "global\n    maxconn 7\n\nfrontend x\n    bind :1\n    bind :2 ssl\n    option httplog\n",
        ),
        ("haproxy", {"defaults": {"option redispatch": False, "timeout queue": None}}, ""),
        ("arguments", {"": {"port": 7, "disable-cas": True, "lock-memory": False}}, "--port=7\n--disable-cas\n"),
        (
            "environment",
            {"A_OPTS": {"n": 7, "log": "-v a  b", "list": ["x", "y"], "on": True, "off": False, "gone": None}, "B": {}},
            "A_OPTS=\"--n=7 --log='-v a  b' --list=x,y --on\"\n",
        ),
    ],
)
def test_other_forms(kind: str, config: Any, text: str) -> None:
    assert render(config, kind) == text


@pytest.mark.parametrize(
    ("kind", "config"),
    [
        ("haproxy", {"": {"maxconn": 7}}),
        ("haproxy", {"frontend": {"bind x\n": 1}}),
        ("haproxy", {"frontend x\ny": {"bind": 1}}),
        ("haproxy", {"global": {"# maxconn": 7}}),
        ("arguments", {"memcached": {"port": 7}}),
        ("arguments", {"": {"-p": 7}}),
        ("environment", {"": {"port": 7}}),
        ("environment", {"A=1 B": {"port": 7}}),
        ("environment", {"A": {"--port": 7}}),
    ],
)
def test_names_of_another_form_are_refused(kind: str, config: Any) -> None:
    with pytest.raises(ValueError, match="no name for"):
        render(config, kind)


@pytest.mark.parametrize(
    ("config", "fault"),
    [
        ({"s": {"o": "a\nb"}}, "line break"),
        ({"s": {"o": "a\r"}}, "line break"),
        ({"s": {"o": ["a\n[t]"]}}, "line break"),
        ({"s": {"o": {"x": 1}}}, "multi"),
        ({"s": {"o": {"multi": "x"}}}, "multi"),
        ({"s": {"o": [["x"]]}}, "neither a scalar"),
        ({"s": {"a b": 1}}, "no name for an option"),
        ({"s": {"o =": 1}}, "no name for an option"),
        ({"s]\n[t": {"o": 1}}, "no name for a section"),
    ],
)
def test_what_would_leave_its_line_is_refused(config: Any, fault: str) -> None:
    with pytest.raises(ValueError, match=fault):
        render(config)


def test_all_faults_come_at_once() -> None:
    with pytest.raises(ValueError, match=r"(?s)a b.*\[t\] o"):
        render({"s": {"a b": 1}, "t": {"o": "x\n"}})


def test_later_layers_win_option_by_option() -> None:
    base = {"DEFAULT": {"a": 1, "b": [1, 2]}, "gone": {"x": 1}}
    over = {"DEFAULT": {"b": [3], "a": None}, "gone": None, "new": {"y": "z"}}
    assert render(merge([base, {}, over])) == "[DEFAULT]\nb = 3\n\n[new]\ny = z\n"
    assert base["DEFAULT"] == {"a": 1, "b": [1, 2]}


@pytest.mark.parametrize("layer", ["text", {"s": "text"}, ["s"]])
def test_a_layer_is_a_mapping_of_mappings(layer: Any) -> None:
    with pytest.raises(ValueError, match="must be a mapping"):
        merge([layer])


def test_no_section_comes_first_and_has_no_header() -> None:
    assert render({"b": {"x": 1}, "DEFAULT": {"d": 1}, "": {"y": 2}}) == "y = 2\n\n[DEFAULT]\nd = 1\n\n[b]\nx = 1\n"


@pytest.mark.parametrize("value", ['a"b', "a'b", "$b", "`b`", "a\\b"])
def test_what_would_leave_its_quotes_is_refused(value: str) -> None:
    with pytest.raises(ValueError, match=r"\[A\] o: a value cannot hold quotes"):
        render({"A": {"o": value}}, "environment")
