# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 the seedcloud.openstack authors
"""Keystone over plain HTTP: users, projects, roles, services and endpoints, read once and changed where they differ.

A process of the openstack client costs seconds for each of thirty calls; this costs one request a question.
"""

from __future__ import annotations

import http.client
import json
import threading
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlencode, urlsplit

from .system import ApplyError

Json = dict[str, Any]


class Keystone:
    """A client that knows what the engine needs and no more."""

    def __init__(self, admin: Mapping[str, str], *, check: bool = False) -> None:
        self.admin = admin
        self.check = check
        self.changes: list[str] = []
        self._token: str | None = None
        self._lists: dict[str, list[Json]] = {}

    # -- HTTP ----------------------------------------------------------------------------------------------------------

    def _request(self, method: str, path: str, body: Json | None = None) -> tuple[int, Json, Mapping[str, str]]:
        base = urlsplit(self.admin["url"])
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        if self._token:
            headers["X-Auth-Token"] = self._token
        connection = http.client.HTTPConnection(base.hostname or "", base.port or 80, timeout=120)
        try:
            connection.request(method, base.path + path, json.dumps(body) if body is not None else None, headers)
            answer = connection.getresponse()
            text = answer.read()
            head = {name.lower(): value for name, value in answer.getheaders()}
            return answer.status, json.loads(text) if text else {}, head
        except (OSError, ValueError, http.client.HTTPException) as error:
            raise ApplyError(f"Keystone at {self.admin['url']}: {error}") from error
        finally:
            connection.close()

    def _do(self, method: str, path: str, body: Json | None = None) -> Json:
        status, data, _unused = self._request(method, path, body)
        if status >= 300:
            raise ApplyError(f"Keystone answers {status} to {method} {path}: {data.get('error', data)}")
        return data

    def _login(self, user: str, password: str, project: str | None) -> str | None:
        """A token, or None where the password is refused."""
        identity = {"methods": ["password"], "password": {"user": {"name": user, "password": password}}}
        identity["password"]["user"]["domain"] = {"id": "default"}  # type: ignore[index]  # a literal of mixed types
        auth: Json = {"identity": identity}
        if project:
            auth["scope"] = {"project": {"name": project, "domain": {"id": "default"}}}
        else:
            auth["scope"] = "unscoped"
        token, self._token = self._token, None
        try:
            status, data, headers = self._request("POST", "/auth/tokens", {"auth": auth})
        finally:
            self._token = token
        if status == 401:
            return None
        if status != 201:
            raise ApplyError(f"Keystone answers {status} to {user}'s login: {data.get('error', data)}")
        return headers["x-subject-token"]

    def open(self) -> None:
        """Log in as the administrator."""
        self._token = self._login(self.admin["username"], self.admin["password"], self.admin["project"])
        if self._token is None:
            raise ApplyError(
                "Keystone refuses the administrator's password (keystone_admin_password); was it changed by hand?"
            )

    def _list(self, kind: str) -> list[Json]:
        if kind not in self._lists:
            query = "?" + urlencode({"domain_id": "default"}) if kind in {"users", "projects"} else ""
            self._lists[kind] = self._do("GET", f"/{kind}{query}")[kind]
        return self._lists[kind]

    def _find(self, kind: str, **match: str) -> Json | None:
        return next((item for item in self._list(kind) if all(item.get(k) == v for k, v in match.items())), None)

    def _ensure(self, kind: str, label: str, match: Json, rest: Json | None = None) -> Json:
        """Find or make one object, and bring the rest of its fields to what is wanted."""
        one = kind.rstrip("s")
        found = self._find(kind, **match)
        if found is None:
            self.changes.append(f"{one} {label} made")
            if self.check:
                return {"id": ""}
            made: Json = self._do("POST", f"/{kind}", {one: {**match, **(rest or {})}})[one]
            self._list(kind).append(made)
            return made
        stale = {key: value for key, value in (rest or {}).items() if found.get(key) != value}
        if stale:
            self.changes.append(f"{one} {label}: {', '.join(sorted(stale))} changed")
            if not self.check:
                found |= self._do("PATCH", f"/{kind}/{found['id']}", {one: stale})[one]
        return found

    # -- what is wanted ------------------------------------------------------------------------------------------------

    def ensure_user(self, user: Mapping[str, Any]) -> None:
        """A service user, its password tried and set only when it does not work, and its roles."""
        name = user["name"]
        found = self._find("users", name=name)
        if found is None:
            self.changes.append(f"user {name} made")
            if self.check:
                return
            body = {"name": name, "password": user["password"], "domain_id": "default"}
            found = self._do("POST", "/users", {"user": body})["user"]
            self._list("users").append(found)
        elif self._login(name, user["password"], None) is None:
            self.changes.append(f"user {name}: password set")
            if not self.check:
                self._do("PATCH", f"/users/{found['id']}", {"user": {"password": user["password"], "enabled": True}})
        for project_name, roles in user.get("roles", {}).items():
            project = self._ensure("projects", project_name, {"name": project_name, "domain_id": "default"})
            for role_name in roles:
                role = self._ensure("roles", role_name, {"name": role_name})
                self._grant(project, found, role, f"{name} is {role_name} in {project_name}")

    def _grant(self, project: Json, user: Json, role: Json, label: str) -> None:
        path = f"/projects/{project['id']}/users/{user['id']}/roles/{role['id']}"
        if project["id"] and role["id"] and self._request("HEAD", path)[0] == 204:
            return
        self.changes.append(label)
        if not self.check:
            self._do("PUT", path)

    def ensure_service(self, service: Mapping[str, Any], region: str) -> None:
        """A service of the catalogue with its endpoints."""
        rest = {"description": service["description"]}
        found = self._ensure("services", service["name"], {"name": service["name"], "type": service["type"]}, rest)
        for interface, url in service["endpoints"].items():
            match = {"service_id": found["id"], "interface": interface, "region": region}
            label = f"{service['name']} {interface}"
            if self._find("endpoints", **match) is None and not self.check:
                self._ensure("regions", region, {"id": region})
                match = {**match, "region_id": region}
                self.changes.append(f"endpoint {label} made")
                made = self._do("POST", "/endpoints", {"endpoint": {**match, "url": url}})["endpoint"]
                self._list("endpoints").append(made)
            else:
                self._ensure("endpoints", label, match, {"url": url})

    def ensure(
        self, users: Sequence[Mapping[str, Any]], services: Sequence[Mapping[str, Any]], region: str
    ) -> list[str]:
        """All of one service; returns what was (or, in check mode, would be) changed."""
        if self._token is None:
            self.open()
        self.changes = []
        for user in users:
            self.ensure_user(user)
        for service in services:
            self.ensure_service(service, region)
        return self.changes


class SharedKeystone:
    """One login and one set of lists for all services of a run, taken by one thread at a time."""

    def __init__(self, *, check: bool) -> None:
        self._check = check
        self._lock = threading.Lock()
        self._client: Keystone | None = None

    def ensure(self, node: Mapping[str, Any]) -> list[str]:
        """Bring one service's identity to what the plan says."""
        with self._lock:
            if self._client is None or self._client.admin != node["admin"]:
                self._client = Keystone(node["admin"], check=self._check)
            return list(self._client.ensure(node["users"], node["services"], node["region"]))
