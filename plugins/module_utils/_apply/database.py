# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 the seedcloud.openstack authors
"""MariaDB through its unix socket: databases, users and grants, asked before and after."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from typing import Any

from .system import ApplyError, must, run

_NAME = re.compile(r"[A-Za-z0-9_]{1,64}")


def _password_hash(password: str) -> str:
    """mysql_native_password's; so the server sees no password, and neither does any log of it."""
    return "*" + hashlib.sha1(hashlib.sha1(password.encode()).digest()).hexdigest().upper()  # noqa: S324  # its format


def _sql(statements: str) -> list[list[str]]:
    done = run(["mariadb", "--protocol=socket", "--batch", "--skip-column-names"], stdin=statements, timeout=120)
    return [line.split("\t") for line in must(done, "mariadb").splitlines()]


def _checked(items: Sequence[Mapping[str, Any]]) -> None:
    for item in items:
        for name in (item["name"], item["user"]):
            if not _NAME.fullmatch(name):
                raise ApplyError(f"{name!r} is no name for a database or its user")


def missing(items: Sequence[Mapping[str, Any]]) -> list[tuple[str, Mapping[str, Any]]]:
    """What is not as it should be: ("database" | "user" | "grant", item)."""
    _checked(items)
    questions = []
    for item in items:
        name, user, known = item["name"], item["user"], _password_hash(item["password"])
        questions.append(
            f"SELECT '{name}',"  # noqa: S608  # names are checked above, the hash is ours
            f" (SELECT COUNT(*) FROM information_schema.schemata WHERE schema_name = '{name}'),"
            f" (SELECT COUNT(*) FROM mysql.global_priv WHERE User = '{user}' AND Host = '%'"
            f"   AND JSON_VALUE(Priv, '$.authentication_string') = '{known}'),"
            f" (SELECT COUNT(*) FROM mysql.db WHERE Db = '{name}' AND User = '{user}' AND Host = '%'"
            "   AND 'Y' = ALL (SELECT Select_priv UNION SELECT Create_priv UNION SELECT Alter_priv));"
        )
    answers = {row[0]: row[1:] for row in _sql("\n".join(questions))}
    return [
        (kind, item)
        for item in items
        for kind, count in zip(("database", "user", "grant"), answers[item["name"]], strict=True)
        if count == "0"
    ]


def create(gaps: Sequence[tuple[str, Mapping[str, Any]]]) -> None:
    """Fill the gaps; every statement may be repeated."""
    statements = []
    for kind, item in gaps:
        name, user = item["name"], item["user"]
        if kind == "database":
            statements.append(f"CREATE DATABASE IF NOT EXISTS `{name}`;")
        elif kind == "user":
            known = _password_hash(item["password"])
            statements.append(f"CREATE USER IF NOT EXISTS '{user}'@'%' IDENTIFIED BY PASSWORD '{known}';")
            statements.append(f"ALTER USER '{user}'@'%' IDENTIFIED BY PASSWORD '{known}';")
        else:
            statements.append(f"GRANT ALL PRIVILEGES ON `{name}`.* TO '{user}'@'%';")
    _sql("\n".join(statements))


def drop(names: Sequence[str]) -> None:
    """Remove databases with all that they hold."""
    _sql("\n".join(f"DROP DATABASE IF EXISTS `{name}`;" for name in names))
