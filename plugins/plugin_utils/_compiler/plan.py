# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 the seedcloud.openstack authors
"""Rendered manifests of one node to its plan: packages, and a graph of files, databases, queues, steps and units."""

from __future__ import annotations

import functools
import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from . import haproxy, ini, ovsdb, secrets
from .faults import CompileError
from .manifest import faults as manifest_faults
from .view import host

SCHEMA = 1
DEFINITIONS = "/etc/rabbitmq/definitions.d"

Manifest = Mapping[str, Any]
Node = dict[str, Any]


class _Service:
    """One manifest on its way into the graph."""

    def __init__(self, manifest: Manifest, node: Manifest, cloud: Manifest, faults: list[str]) -> None:
        self.manifest = manifest
        self.name: str = manifest["name"]
        self.node = node
        self.cloud = cloud
        self.faults = faults
        self.first = node["name"] == cloud["controllers"][0]["name"]
        self.files = self._files()

    def _id(self, item: str) -> str:
        return item if ":" in item else f"{self.name}:{item}"

    def _items(self, field: str) -> list[Manifest]:
        return [item for item in self.manifest.get(field) or [] if self.first or not item.get("first")]

    # -- files ---------------------------------------------------------------------------------------------------------

    def _files(self) -> list[dict[str, Any]]:
        found = [self._file(item) for item in self._items("files")]
        if (frontends := self.manifest.get("frontends")) and "controller" in self.node["roles"]:
            content = haproxy.render(frontends, self.node, self.cloud["controllers"])
            found.append(_file(f"{haproxy.FOLDER}/{self.name}.cfg", content))
        if (queue := self.manifest.get("queue")) and "controller" in self.node["roles"]:
            content = self._definitions(queue)
            path = f"{DEFINITIONS}/{self.name}.json"
            found.append(_file(path, content, group="rabbitmq", mode="0640"))
        return found

    def _file(self, item: Manifest) -> dict[str, Any]:
        if item.get("state") == "absent":
            return {"path": item["path"], "state": "absent"}
        content = str(item.get("content", ""))
        if kind := next((kind for kind in ini.FORMS if kind in item), None):
            try:
                layers = [
                    layer[kind] if isinstance(layer, Mapping) and set(layer) == {"where", kind} else layer
                    for layer in item[kind]
                ]
                content = ini.render(ini.merge(layers), kind)
            except (TypeError, ValueError) as error:
                self.faults += [f"{item['path']}: {line}" for line in str(error).splitlines()]
        secret = next(secrets.names(content), None) is not None
        file = _file(
            item["path"],
            content,
            owner=item.get("owner", "root"),
            group=item.get("group", self.name if secret else "root"),
            mode=str(item.get("mode", "0640" if secret else "0644")),
        )
        if secret and int(file["mode"], 8) & 0o007:
            self.faults.append(f"{item['path']}: holds a secret and is readable by everyone ({file['mode']})")
        if "validate" in item:
            file["validate"] = item["validate"]  # for the tests, which hand the file to oslo-config-validator
        return file

    def _definitions(self, queue: Manifest) -> str:
        vhost = queue.get("vhost", "/")
        name = secrets.MARKER.fullmatch(queue["password"])
        if name is None:
            self.faults.append(f"{self.name}.queue: the password must be one declared secret")
            return ""
        user = {
            "name": queue["user"],
            "password_hash": f"<rabbitmq_hash:{name[1]}>",
            "hashing_algorithm": "rabbit_password_hashing_sha256",
            "tags": [],
        }
        grant = {"user": queue["user"], "vhost": vhost, "configure": ".*", "write": ".*", "read": ".*"}
        return _json({"users": [user], "vhosts": [{"name": vhost}], "permissions": [grant]})

    # -- the graph -----------------------------------------------------------------------------------------------------

    def nodes(self) -> list[Node]:
        foreign = [f"{name}:ready" for name in self.manifest.get("after") or []]
        nodes: list[Node] = []
        base: list[str] = []

        def add(item: str, kind: str, after: Iterable[str], phase: str = "services", **data: Any) -> str:
            node_id = self._id(item)
            nodes.append({"id": node_id, "kind": kind, "phase": phase, "after": sorted(set(after)), **data})
            return node_id

        if self.files or self._items("directories"):
            directories = [_folder(item) for item in self._items("directories")]
            base.append(add("files", "files", [], directories=directories, files=self.files))
        files = list(base)
        if (databases := self.manifest.get("databases")) and self.first:
            wanted = [{"name": name, **item} for name, item in databases.items()]
            base.append(add("database", "database", ["mariadb:ready"], databases=wanted))
        early, late = self._steps(add, [*base, *foreign], "services")
        if (queue := self.manifest.get("queue")) and self.first:
            data = {"address": self.cloud["queue"], "vhost": "/", **queue}
            data["definitions"] = f"{DEFINITIONS}/{self.name}.json"
            base.append(add("queue", "queue", [*files, "rabbitmq:ready"], queue=data))
        units = []
        for unit in self._items("units"):
            after = [*files, *map(self._id, unit["after"])] if "after" in unit else [*base, *early]
            units.append(
                add(unit["name"], "unit", [*after, *foreign], unit.get("phase", "services"), **self._unit(unit))
            )
        ready = [*base, *foreign, *early, *units, *late]
        if faces := self._faces():
            ready.append("loadbalancer:haproxy.service")
        add("ready", "ready", ready, health=faces, timeout=60)
        if (identity := self.manifest.get("identity")) and self.first:
            add("identity", "identity", ["keystone:ready"], **self._identity(identity))
        self._steps(add, [], "cluster")
        return nodes

    def _steps(self, add: Any, after: list[str], phase: str) -> tuple[list[str], list[str]]:
        """One after the other as written; those that come after a unit (late) are not waited for by units."""
        units = {self._id(unit["name"]) for unit in self._items("units")}
        early: list[str] = []
        late: list[str] = []
        last: list[str] = []
        for step in self._items("steps"):
            if step.get("phase", "services") != phase:
                continue
            wait = [self._id(item) for item in step["after"]] if "after" in step else [*after, *last]
            data = {key: step[key] for key in ("user", "env", "stdin", "unless", "timeout") if key in step}
            data["argv"] = [str(word) for word in step["argv"]]
            if (wanted := step.get("ovsdb")) is not None:
                data["argv"], question = self._ovsdb(step["name"], data["argv"], wanted)
                if not question:
                    continue
                data["unless"] = {"argv": question}
            if next(secrets.names(data["argv"]), None):
                self.faults.append(f"{self.name}.steps.{step['name']}: a secret in argv is seen by every user")
            data |= {"key": step.get("key", []), "versions": list(step.get("versions", [])), "service": self.name}
            last = [add(step["name"], "step", wait, phase, **data)]
            (late if {*units, *late} & {*wait} else early).extend(last)
        return early, late

    def _ovsdb(self, step: str, tool: list[str], wanted: Manifest) -> tuple[list[str], list[str]]:
        try:
            return ovsdb.commands(tool, wanted["record"], wanted["columns"])
        except ValueError as error:
            self.faults += [f"{self.name}.steps.{step}: {line}" for line in str(error).splitlines()]
            return [], []

    def _faces(self) -> list[dict[str, str]]:
        """Ready is what answers through HAProxy, whose own checks may lag behind."""
        if "controller" not in self.node["roles"]:
            return []
        address = host(self.node["addresses"]["internal"])
        return [
            {"tcp": f"{address}:{item['port']}"}
            if item.get("tcp")
            else {"http": f"http://{address}:{item['port']}{item.get('check', '/')}"}
            for item in (self.manifest.get("frontends") or {}).values()
        ]

    def _unit(self, unit: Manifest) -> Node:
        own = [file["path"] for file in self.files if file.get("state") != "absent" and not _is_shared(file["path"])]
        reads = [{"path": item} if isinstance(item, str) else dict(item) for item in unit.get("reads", own)]
        state = unit.get("state", "started")
        return {
            "unit": unit["name"],
            "state": state,
            "enabled": unit.get("enabled", state == "started"),
            "action": unit.get("action", "restart"),
            "reads": reads,
            "health": list(unit.get("health", [])),
            "timeout": unit.get("timeout", 300),
        }

    def _identity(self, identity: Manifest) -> Node:
        services = []
        for name, item in (identity.get("services") or {}).items():
            tail = f":{item['port']}{item.get('path', '')}"
            internal = f"http://{host(self.cloud['internal_address'])}{tail}"
            public = f"http://{host(self.cloud['public_address'])}{tail}"
            endpoints = {"public": public, "internal": internal, "admin": internal}
            services.append(
                {
                    "name": name,
                    "type": item["type"],
                    "description": item.get("description", ""),
                    "endpoints": endpoints,
                }
            )
        users = [{"name": name, **item} for name, item in (identity.get("users") or {}).items()]
        admin = {"url": self.cloud["keystone_url"], "username": "admin", "project": "admin"}
        admin["password"] = secrets.marker("keystone_admin_password")
        return {"admin": admin, "region": self.cloud["region"], "users": users, "services": services}


def _file(path: str, content: str, owner: str = "root", group: str = "root", mode: str = "0644") -> dict[str, Any]:
    if content and not content.endswith("\n"):
        content += "\n"
    return {"path": path, "owner": owner, "group": group, "mode": mode, "content": content}


def _folder(item: Manifest) -> dict[str, Any]:
    return {"owner": "root", "group": "root", "mode": "0755", **{k: v for k, v in item.items() if k != "where"}}


def _is_users(path: str) -> bool:
    return path.startswith(f"{DEFINITIONS}/")


def _is_shared(path: str) -> bool:
    """Files that another service's unit reads."""
    return path.startswith(f"{haproxy.FOLDER}/") or _is_users(path)


def _json(data: Any) -> str:
    return json.dumps(data, indent=2) + "\n"


def _tie(nodes: list[Node], items: Collection[str]) -> list[str]:
    """Tie HAProxy to the files it reads, drop edges to what is not on this host; return edges that lead nowhere."""
    known = {node["id"]: node for node in nodes}
    frontends = {
        node["id"]
        for node in nodes
        if node["kind"] == "files" and any(f["path"].startswith(haproxy.FOLDER + "/") for f in node["files"])
    }
    users = {
        node["id"] for node in nodes if node["kind"] == "files" and any(_is_users(f["path"]) for f in node["files"])
    }
    platform = ("mariadb:", "rabbitmq:", "memcached:", "loadbalancer:", "ovn:")
    lost = []
    for node in nodes:
        after = {*node["after"]}
        if node.get("unit") == "haproxy.service":
            after |= frontends
        elif node.get("unit") == "rabbitmq-server.service":
            after |= users  # it takes the definitions that are there when it first starts
        elif node["kind"] == "unit" and not node["id"].startswith(platform):
            # Debian's units want these two, and would start them unconfigured.
            after |= {"rabbitmq:ready", "keystone:keystone.service"} & (set(known) - {node["id"]})
        lost += [f"{node['id']}: after {name!r}, which no manifest has" for name in sorted(after - set(items))]
        node["after"] = sorted(name for name in after if name in known and known[name]["phase"] == node["phase"])
    return lost


def _reduce(nodes: list[Node]) -> None:
    """Leave out the edges that follow from others: the plan is read by people, too."""
    after = {node["id"]: set(node["after"]) for node in nodes}

    @functools.cache
    def above(name: str) -> set[str]:
        return after[name].union(*(above(other) for other in after[name]))

    for node in nodes:
        implied = set().union(*(above(other) for other in node["after"]))
        node["after"] = sorted(set(node["after"]) - implied)


def _cycle(nodes: list[Node]) -> list[str]:
    """The nodes that can never run because they wait for each other."""
    left = {node["id"]: set(node["after"]) for node in nodes}
    while free := [name for name, after in left.items() if not after & set(left)]:
        for name in free:
            del left[name]
    return sorted(left)


def compile_plan(
    manifests: Sequence[Manifest],
    node: Manifest,
    cloud: Manifest,
    catalogue: Mapping[str, Mapping[str, Any]],
    items: Collection[str],
) -> dict[str, Any]:
    """One node's plan. `manifests` are pruned for this node and rendered.

    `catalogue` is of all declared secrets, `items` names the graph's nodes, on this node or elsewhere.
    """
    faults = [fault for manifest in manifests for fault in manifest_faults(manifest)]
    if faults:
        raise CompileError(faults)
    here = [manifest for manifest in manifests if set(manifest["where"]) & set(node["roles"])]
    services = [_Service(manifest, node, cloud, faults) for manifest in here]
    nodes = [item for service in services for item in service.nodes()]
    faults += _tie(nodes, items)
    ids = [item["id"] for item in nodes]
    faults += [f"{name}: there are two of it" for name in sorted({name for name in ids if ids.count(name) > 1})]
    paths = [file["path"] for service in services for file in service.files]
    faults += [f"{path}: written by two" for path in sorted({path for path in paths if paths.count(path) > 1})]
    if cycle := _cycle(nodes):
        faults.append(f"these wait for each other: {', '.join(cycle)}")
    used = sorted(set(secrets.names(nodes)))
    for name in used:
        if name not in catalogue:
            faults.append(f"{name}: is used but declared by no manifest")
        elif not set(catalogue[name]["where"]) & set(node["roles"]):
            faults.append(f"{name}: is not for {' and '.join(node['roles'])}, but {node['name']}'s plan uses it")
    if faults:
        raise CompileError(faults)
    _reduce(nodes)
    return {
        "schema": SCHEMA,
        "node": node["name"],
        "services": [service.name for service in services],
        "packages": sorted({name for manifest in here for name in manifest.get("packages") or []}),
        "secrets": used,
        "graph": nodes,
    }
