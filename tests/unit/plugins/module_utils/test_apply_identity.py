# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 the seedcloud.openstack authors
"""The Keystone client against a small Keystone that keeps what it is told."""

from __future__ import annotations

import http.server
import itertools
import json
import threading
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
from ansible_collections.seedcloud.openstack.plugins.module_utils._apply.identity import SharedKeystone
from ansible_collections.seedcloud.openstack.plugins.module_utils._apply.system import ApplyError

ADMIN = {"username": "admin", "password": "root", "project": "admin"}


class Keystone(http.server.ThreadingHTTPServer):
    """v3, as far as the client goes."""

    def __init__(self) -> None:
        self.ids = itertools.count()
        self.kept: dict[str, dict[str, dict[str, Any]]] = {
            "users": {"a": {"id": "a", "name": "admin", "password": "root"}},
            "projects": {"p": {"id": "p", "name": "admin", "domain_id": "default"}},
            "roles": {"r": {"id": "r", "name": "admin"}},
            "services": {},
            "endpoints": {},
            "regions": {"North": {"id": "North"}},
        }
        self.granted: set[str] = set()
        self.changes: list[str] = []
        self.broken = False
        super().__init__(("127.0.0.1", 0), Handler)


class Handler(http.server.BaseHTTPRequestHandler):
    server: Keystone

    def log_message(self, *_: Any) -> None:
        pass

    def answer(self, status: int, data: Any = None, **headers: str) -> None:
        body = b"" if data is None else json.dumps(data).encode()
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def handle_any(self) -> None:
        kept = self.server.kept
        length = int(self.headers.get("Content-Length") or 0)
        body = json.loads(self.rfile.read(length)) if length else {}
        path = urlsplit(self.path).path.removeprefix("/v3")
        words = path.strip("/").split("/")
        if self.server.broken:
            return self.answer(503, {"error": {"message": "no database"}})
        if path == "/auth/tokens":
            user = body["auth"]["identity"]["password"]["user"]
            known = {item["name"]: item["password"] for item in kept["users"].values()}
            if known.get(user["name"]) != user["password"]:
                return self.answer(401, {"error": {"message": "no"}})
            return self.answer(201, {}, X_Subject_Token="token-" + user["name"])
        if self.headers.get("X-Auth-Token") != "token-admin":
            return self.answer(403, {"error": {"message": "not the administrator"}})
        if self.command != "GET" and self.command != "HEAD":
            self.server.changes.append(f"{self.command} {path}")
        if len(words) == 6:
            if self.command == "PUT":
                self.server.granted.add(path)
            return self.answer(204 if path in self.server.granted else 404)
        kind = words[0]
        if self.command == "GET":
            return self.answer(200, {kind: list(kept[kind].values())})
        one = kind.removesuffix("s")
        key = words[1] if len(words) > 1 else f"id{next(self.server.ids)}"
        item = kept[kind].setdefault(key, {"id": key})
        item |= body[one]
        if kind == "endpoints":
            item["region"] = item.get("region_id")
        return self.answer(201 if self.command == "POST" else 200, {one: item})

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = handle_any


@pytest.fixture
def keystone() -> Iterator[Keystone]:
    with Keystone() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def wanted(keystone: Keystone, **changes: Any) -> dict[str, Any]:
    endpoints = {face: f"http://192.0.2.1:9292/{face}" for face in ("public", "internal", "admin")}
    return {
        "admin": {**ADMIN, "url": f"http://127.0.0.1:{keystone.server_port}/v3"},
        "region": "North",
        "users": [{"name": "glance", "password": "pw", "roles": {"service": ["admin", "service"]}}],
        "services": [{"name": "glance", "type": "image", "description": "Images", "endpoints": endpoints}],
        **changes,
    }


def ensure(node: dict[str, Any], *, check: bool = False) -> list[str]:
    return SharedKeystone(check=check).ensure(node)


def test_all_is_made_and_then_nothing_is_changed(keystone: Keystone) -> None:
    first = ensure(wanted(keystone))
    assert "user glance made" in first
    assert {item["url"] for item in keystone.kept["endpoints"].values()} == {
        f"http://192.0.2.1:9292/{face}" for face in ("public", "internal", "admin")
    }
    assert len(keystone.granted) == 2
    keystone.changes.clear()
    assert ensure(wanted(keystone)) == []
    assert keystone.changes == []


def test_check_mode_says_the_same_and_changes_nothing(keystone: Keystone) -> None:
    said = ensure(wanted(keystone), check=True)
    assert keystone.changes == []
    assert "user glance made" in said
    assert "service glance made" in said
    assert sum("endpoint" in line for line in said) == 3


def test_drift_is_mended(keystone: Keystone) -> None:
    ensure(wanted(keystone))
    user = next(item for item in keystone.kept["users"].values() if item["name"] == "glance")
    endpoint = next(item for item in keystone.kept["endpoints"].values() if item["interface"] == "public")
    service = next(iter(keystone.kept["services"].values()))
    user["password"], endpoint["url"], service["description"] = "other", "http://192.0.2.9/", "?"
    keystone.granted.clear()
    assert sorted(ensure(wanted(keystone))) == [
        "endpoint glance public: url changed",
        "glance is admin in service",
        "glance is service in service",
        "service glance: description changed",
        "user glance: password set",
    ]
    assert (user["password"], service["description"]) == ("pw", "Images")
    assert ensure(wanted(keystone)) == []


def test_one_login_serves_all_services_of_a_run(keystone: Keystone) -> None:
    shared = SharedKeystone(check=False)
    shared.ensure(wanted(keystone))
    nova = {"name": "nova", "type": "compute", "description": "", "endpoints": {}}
    assert shared.ensure(wanted(keystone, services=[nova])) == ["service nova made"]


def test_the_administrators_password_is_refused(keystone: Keystone) -> None:
    keystone.kept["users"]["a"]["password"] = "changed by hand"
    with pytest.raises(ApplyError, match="refuses the administrator's password"):
        ensure(wanted(keystone))


def test_a_keystone_that_cannot_answer(keystone: Keystone) -> None:
    keystone.broken = True
    with pytest.raises(ApplyError, match=r"503 .*no database"):
        ensure(wanted(keystone))
    node = wanted(keystone)
    node["admin"]["url"] = "http://127.0.0.1:1/v3"
    with pytest.raises(ApplyError, match="Keystone at"):
        ensure(node)
