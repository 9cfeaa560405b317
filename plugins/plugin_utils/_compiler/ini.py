# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 the seedcloud.openstack authors
"""Option files as data: layers are merged option by option, and written as the program that reads them wants it."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Form:
    """What one kind of option file looks like."""

    sections: re.Pattern[str]  # what may be the name of one
    options: re.Pattern[str]
    header: str  # of a section; the one named by the empty string has none
    line: str
    flag: str | None = None  # an option that is true, by its name alone; a false one is then left out
    separator: str = "\n"
    footer: str = "\n"
    word: Callable[[str], str] = str  # a value as it is written


def _quoted(value: str) -> str:
    """Within a shell's double quotes, of which systemd splits the content at blanks that are not quoted."""
    if re.search(r"""["'`$\\]""", value):
        raise ValueError("a value cannot hold quotes, $ or \\")
    return f"'{value}'" if re.search(r"\s", value) else value


# By the field of a manifest's file.
FORMS = {
    # A section as oslo.config, uwsgi, MariaDB and rabbitmq.conf ("") know it; an option may hold dots, dashes and colons.
    "ini": Form(
        sections=re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:/@ -]*|"),
        options=re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:/-]*"),
        header="[{}]\n",
        line="{} = {}",
    ),
    # `global`, `frontend x`; an option is a keyword of one or more words, such as `timeout connect`.
    "haproxy": Form(
        sections=re.compile(r"[a-z][a-z-]*( [A-Za-z0-9_.:-]+)*"),
        options=re.compile(r"[a-z][a-z0-9_.-]*( [a-z][a-z0-9_.-]*)*"),
        header="{}\n",
        line="    {} {}",
        flag="    {}",
    ),
    # A command line, as memcached has its configuration: no section but "".
    "arguments": Form(
        sections=re.compile(""), options=re.compile(r"[a-z][a-z0-9-]*"), header="", line="--{}={}", flag="--{}"
    ),
    # /etc/default/x: a section is a variable that holds a command line.
    "environment": Form(
        sections=re.compile(r"[A-Z][A-Z0-9_]*"),
        options=re.compile(r"[a-z][a-z0-9-]*"),
        header='{}="',
        line="--{}={}",
        flag="--{}",
        separator=" ",
        footer='"\n',
        word=_quoted,
    ),
}

Config = dict[str, dict[str, Any]]


def merge(layers: Sequence[Any]) -> Config:
    """Later layers win, option by option; None takes an option or a whole section away. Raises ValueError."""
    merged: Config = {}
    for layer in layers:
        if not isinstance(layer, Mapping):
            raise ValueError(f"a layer must be a mapping of sections, not {layer!r}")
        for section, options in layer.items():
            if options is None:
                merged.pop(section, None)
            elif not isinstance(options, Mapping):
                raise ValueError(f"[{section}] must be a mapping of options, not {options!r}")
            else:
                merged.setdefault(section, {}).update(options)
    return merged


def _scalar(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (str, int, float)):
        text = str(value)
        if "\n" in text or "\r" in text:
            raise ValueError("a value cannot hold a line break")
        return text
    raise ValueError(f"{value!r} is neither a scalar nor a list, nor {{multi: [...]}}")


def text(value: Any) -> str:
    """A scalar, or a list comma-joined. Raises ValueError."""
    return ",".join(map(_scalar, value)) if isinstance(value, (list, tuple)) else _scalar(value)


def _values(value: Any) -> list[str]:
    """The values under which the option is written: one, or one a repetition."""
    if isinstance(value, Mapping):
        if set(value) != {"multi"} or not isinstance(value["multi"], (list, tuple)):
            raise ValueError("a mapping must be {multi: [...]}")
        return [_scalar(item) for item in value["multi"]]
    return [text(value)]


def _lines(form: Form, option: str, value: Any) -> list[str]:
    if form.flag and isinstance(value, bool):
        return [form.flag.format(option)] if value else []
    return [form.line.format(option, form.word(each)).rstrip() for each in _values(value)]


def render(config: Config, kind: str = "ini") -> str:
    """Write merged layers in one of FORMS. Raises ValueError with every fault on a line of its own."""
    form = FORMS[kind]
    faults: list[str] = []
    blocks: list[str] = []
    for section in sorted(config, key=lambda name: (name != "", name != "DEFAULT")):  # stable: else as written
        if not isinstance(section, str) or not form.sections.fullmatch(section):
            faults.append(f"{section!r} is no name for a section")
            continue
        lines: list[str] = []
        for option, value in config[section].items():
            if value is None:
                continue
            if not isinstance(option, str) or not form.options.fullmatch(option):
                faults.append(f"[{section}] {option!r} is no name for an option")
                continue
            try:
                lines += _lines(form, option, value)
            except ValueError as error:
                faults.append(f"[{section}] {option}: {error}")
        if lines:
            header = form.header.format(section) if section else ""
            blocks.append(header + form.separator.join(lines) + form.footer)
    if faults:
        raise ValueError("\n".join(faults))
    return "\n".join(blocks)
