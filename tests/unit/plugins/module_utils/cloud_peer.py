# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 the seedcloud.openstack authors
"""A small cloud over real HTTP, for the real SDK: it keeps what it is given, takes away what it is told to, and fails on demand."""

from __future__ import annotations

import http.server
import itertools
import json
import re
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

QEMU = shutil.which("qemu-system-x86_64")
PROJECT = "5eedc10d00000000000000000000feed"
PASSWORD = "pl4nted-s3cret"
SERVICES = {"identity": "/identity/v3", "compute": "/compute/v2.1", "network": "/network", "image": "/image"}
# What Neutron calls a thing in the path, and in the body.
NETWORK = {
    "networks": "network", "subnets": "subnet", "ports": "port", "routers": "router", "floatingips": "floatingip",
    "security-groups": "security_group", "security-group-rules": "security_group_rule",
}  # fmt: skip


class Cloud(http.server.ThreadingHTTPServer):
    """`faults`: a regular expression of "METHOD /path" -> what is answered instead, as (status, body).

    `passing`: of these, as often as `faults` is to answer before the cloud does, where that is not always.
    `held`: "METHOD /path" -> an event before which nothing is answered, for a minute.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.numbers = itertools.count(1)
        self.kept: dict[str, dict[str, dict[str, Any]]] = {}
        self.faults: dict[str, tuple[int, Any]] = {}
        self.passing: dict[str, int] = {}
        self.held: dict[str, threading.Event] = {}
        self.asked: list[str] = []
        self.console = "seedcloud-guest: host key ssh-ed25519 AAAA\nguest login: \n"
        self.screen = "http://127.0.0.1:9/vnc.html?path=/"
        self.server_state: dict[str, Any] = {"status": "ACTIVE"}
        # So many servers are stopped by their hypervisor before they print anything, once there is a floating IP.
        self.stopped = 0
        self.mute = 0  # so many servers run, and never print anything
        self.servers_stay = False
        self.hypervisors = [{"id": 1, "hypervisor_hostname": "node2", "state": "up", "status": "enabled"}]
        self.add("networks", name="public", mtu=1500, **{"router:external": True}, project_id="admin")
        self.add("flavors", name="m1.huge", ram=65536, disk=100, vcpus=8)
        self.before = self.owned()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def clouds(self) -> str:
        """A clouds.yaml."""
        auth = {"auth_url": f"{self.url}/identity/v3", "username": "admin", "password": PASSWORD, "project_name": "admin",
                "user_domain_name": "Default", "project_domain_name": "Default"}  # fmt: skip
        return json.dumps({"clouds": {"overcloud": {"auth": auth, "region_name": "RegionOne"}}})

    def add(self, kind: str, **item: Any) -> dict[str, Any]:
        identity = f"{kind}-{next(self.numbers)}"
        item = {"id": identity, "project_id": PROJECT, "tenant_id": PROJECT} | item
        self.kept.setdefault(kind, {})[item["id"]] = item
        return item

    def owned(self) -> set[str]:
        """Everything there is, less what goes with its owner."""
        return {identity for kind, items in self.kept.items() if kind != "security-group-rules" for identity in items}

    @property
    def left(self) -> set[str]:
        return self.owned() - self.before


class Handler(http.server.BaseHTTPRequestHandler):
    server: Cloud
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        pass

    def answer(self, status: int, data: Any = None, **headers: str) -> None:
        body = b"" if data is None else json.dumps(data).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") == "chunked":
            data = b""
            while size := int(self.rfile.readline(), 16):
                data += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return data
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def handle_any(self) -> None:
        data, parts = self.body(), urlsplit(self.path)
        line = f"{self.command} {parts.path}"
        self.server.asked.append(line)
        if line in self.server.held:
            self.server.held[line].wait(60)
        for pattern, (status, body) in self.server.faults.items():
            if re.match(pattern, line) and self.server.passing.get(pattern, 1) > 0:
                if pattern in self.server.passing:
                    self.server.passing[pattern] -= 1
                return self.answer(status, body)
        service, _unused, rest = parts.path.strip("/").partition("/")
        query = {key: values[0] for key, values in parse_qs(parts.query).items()}
        words = [word for word in rest.split("/") if word and not re.fullmatch(r"v[\d.]+", word)]
        given = json.loads(data) if data and "json" in (self.headers.get("Content-Type") or "") else {}
        if not words:
            return self.version(service)
        return getattr(self, service)(words, query, given)

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = handle_any

    def version(self, service: str) -> None:
        path = f"{self.server.url}/{service}"
        told = {
            "identity": ("v3.14", "v3"),
            "compute": ("v2.1", "v2.1"),
            "network": ("v2.0", "v2.0"),
            "image": ("v2.9", "v2"),
        }
        number, folder = told[service]
        one = {"id": number, "status": "CURRENT", "links": [{"rel": "self", "href": f"{path}/{folder}/"}]}
        if service == "compute":
            one |= {"version": "2.96", "min_version": "2.1"}
        if self.path.rstrip("/").endswith(folder):
            return self.answer(200, {"version": one})
        return self.answer(200, {"versions": {"values": [one]} if service == "identity" else [one]})

    def identity(self, words: list[str], _query: dict[str, str], given: dict[str, Any]) -> None:
        if words != ["auth", "tokens"]:
            return self.answer(404)
        if given["auth"]["identity"]["password"]["user"]["password"] != PASSWORD:
            return self.answer(401, {"error": {"message": "wrong password", "code": 401}})
        endpoint = {"interface": "public", "region": "RegionOne", "region_id": "RegionOne"}
        catalog = [
            {
                "type": kind,
                "name": kind,
                "id": kind,
                "endpoints": [endpoint | {"id": kind, "url": self.server.url + path}],
            }
            for kind, path in SERVICES.items()
        ]
        domain = {"id": "default", "name": "Default"}
        token = {"expires_at": "2999-01-01T00:00:00.000000Z", "issued_at": "2026-01-01T00:00:00.000000Z", "methods": ["password"],
                 "user": {"id": "u", "name": "admin", "domain": domain}, "roles": [{"id": "r", "name": "admin"}], "catalog": catalog,
                 "project": {"id": PROJECT, "name": "admin", "domain": domain}}  # fmt: skip
        return self.answer(201, {"token": token}, X_Subject_Token="t")

    def crud(
        self, kind: str, one: str, words: list[str], query: dict[str, str], given: dict[str, Any], code: int
    ) -> None:
        """POST, GET, PUT and DELETE of one kind of thing; a query filters by what the things hold."""
        kept = self.server.kept.setdefault(kind, {})
        if self.command == "POST":
            return self.answer(code, {one: self.server.add(kind, **given[one])})
        if not words:
            fits = [item for item in kept.values() if all(str(item[k]) == v for k, v in query.items() if k in item)]
            return self.answer(200, {kind.replace("-", "_"): fits})
        if words[0] not in kept:
            return self.answer(404, {"error": {"message": f"no {one} {words[0]}"}})
        if self.command == "DELETE":
            del kept[words[0]]
            return self.answer(204)
        if self.command == "PUT":
            kept[words[0]] |= given[one]
        return self.answer(200, {one: kept[words[0]]})

    def network(self, words: list[str], query: dict[str, str], given: dict[str, Any]) -> None:
        kind, rest = words[0], words[1:]
        if kind == "extensions" or kind not in NETWORK:
            return self.answer(200, {"extensions": []} if kind == "extensions" else {kind: []})
        query = {k: v for k, v in query.items() if k != "router:external"} | (
            {"router:external": "True"} if query.get("router:external", "").lower() == "true" else {}
        )
        if rest[1:] == ["add_router_interface"]:
            subnet = given["subnet_id"]
            port = self.server.add(
                "ports", name="", device_id=rest[0], device_owner="network:router_interface", subnet=subnet
            )
            return self.answer(200, {"id": rest[0], "subnet_id": subnet, "port_id": port["id"]})
        if rest[1:] == ["remove_router_interface"]:
            del self.server.kept["ports"][given["port_id"]]
            return self.answer(200, {"id": rest[0]})
        ports = self.server.kept.get("ports", {}).values()
        if kind == "floatingips" and given and given["floatingip"]["port_id"] not in self.server.kept["ports"]:
            return self.answer(404, {"NeutronError": {"message": "no such port", "type": "PortNotFound", "detail": ""}})
        if self.command == "DELETE":
            if kind == "routers" and any(port.get("device_id") == rest[0] for port in ports):
                return self.answer(
                    409, {"NeutronError": {"message": "the router is in use", "type": "x", "detail": ""}}
                )
            if kind == "networks" and any(port.get("network_id") == rest[0] for port in ports):
                return self.answer(
                    409, {"NeutronError": {"message": "the network is in use", "type": "x", "detail": ""}}
                )
            if kind == "networks":
                subnets = self.server.kept.get("subnets", {})
                for identity in [key for key, subnet in subnets.items() if subnet["network_id"] == rest[0]]:
                    del subnets[identity]
        elif (plural := kind.replace("-", "_")) in given:  # several at once
            return self.answer(201, {plural: [self.server.add(kind, **item) for item in given[plural]]})
        elif self.command == "POST":
            body = given[NETWORK[kind]]
            if kind == "networks":
                given = {"network": {"mtu": 1442, "router:external": False} | body}
            if kind == "floatingips":
                body |= {"floating_ip_address": "203.0.113.107"}
                for doomed in (item for item in self.server.kept["servers"].values() if item["doomed"]):
                    doomed["OS-EXT-STS:power_state"] = 3
            if kind == "ports":
                body.setdefault("device_id", "")
        return self.crud(kind, NETWORK[kind], rest, query, given, 201)

    def image(self, words: list[str], query: dict[str, str], given: dict[str, Any]) -> None:
        if words[0] != "images":
            return self.answer(404)
        kept = self.server.kept.setdefault("images", {})
        if words[2:] == ["file"]:
            kept[words[1]]["status"] = "active"
            return self.answer(204)
        if self.command == "POST":
            return self.answer(201, self.server.add("images", owner=PROJECT, status="queued", **given))
        if self.command == "GET" and words[1:]:
            return self.answer(200, kept[words[1]]) if words[1] in kept else self.answer(404)
        return self.crud("images", "image", words[1:], query, given, 201)

    def compute(self, words: list[str], query: dict[str, str], given: dict[str, Any]) -> None:
        kind, rest, server = words[0], words[1:], self.server
        if kind == "os-hypervisors":
            return self.answer(200, {"hypervisors": server.hypervisors})
        if kind == "os-keypairs":
            kept = server.kept.setdefault(kind, {})
            if self.command == "POST":
                server.add(kind, **given["keypair"] | {"id": given["keypair"]["name"]})
                return self.answer(201, given)
            if self.command == "DELETE":
                return self.answer(202 if kept.pop(rest[0], None) else 404)
            return self.answer(200, {"keypairs": [{"keypair": item} for item in kept.values()]})
        if kind == "flavors":
            return self.crud(kind, "flavor", [word for word in rest if word != "detail"], {}, given, 200)
        if rest[1:] == ["ips"]:
            there = rest[0] in server.kept[kind] and server.kept[kind][rest[0]]["status"] == "ACTIVE"
            return self.answer(200, {"addresses": {"net": [{"addr": "172.31.255.9", "version": 4}]} if there else {}})
        if rest[1:] == ["action"]:
            lost = server.kept[kind][rest[0]]["doomed"] or server.kept[kind][rest[0]]["mute"]
            return self.answer(200, {"output": "" if lost else server.console})
        if rest[1:] == ["remote-consoles"]:
            return self.answer(200, {"remote_console": {"type": "novnc", "protocol": "vnc", "url": server.screen}})
        if self.command == "DELETE" and server.servers_stay:
            return self.answer(204)
        if self.command == "DELETE":  # Nova takes the ports away that it made
            ports = server.kept.get("ports", {})
            for identity in [key for key, port in ports.items() if port["device_id"] == rest[0]]:
                del ports[identity]
        if self.command == "POST":
            state = {
                "OS-EXT-SRV-ATTR:hypervisor_hostname": "node2",
                "OS-EXT-STS:power_state": 3 if server.stopped and server.kept.get("floatingips") else 1,
                "doomed": server.stopped > 0,
                "mute": server.mute > 0,
            }
            server.stopped, server.mute = max(0, server.stopped - 1), max(0, server.mute - 1)
            made = server.add(kind, name=given["server"]["name"], **server.server_state, **state)
            if made["status"] == "ACTIVE":
                [network] = given["server"]["networks"]
                server.add(
                    "ports", name="", device_id=made["id"], device_owner="compute:nova", network_id=network["uuid"]
                )
            return self.answer(202, {"server": made})
        if not rest:
            asked = parse_qs(urlsplit(self.path).query)
            keys = {"name": "name", "status": "status", "power_state": "OS-EXT-STS:power_state"}
            fits = [
                item
                for item in server.kept.get(kind, {}).values()
                if all(str(item[key]) in asked[name] for name, key in keys.items() if name in asked)
            ]
            return self.answer(200, {"servers": fits})
        return self.crud(kind, "server", [word for word in rest if word != "detail"], {}, given, 202)


@contextmanager
def serve() -> Iterator[Cloud]:
    with Cloud() as cloud:
        thread = threading.Thread(target=cloud.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        try:
            yield cloud
        finally:
            cloud.shutdown()
            thread.join()


@contextmanager
def screen(cloud: Cloud) -> Iterator[None]:
    """A real machine's screen behind a real websocket."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    vnc = f"127.0.0.1:0,to=99,websocket=127.0.0.1:{port}"
    argv = [str(QEMU), "-accel", "tcg", "-m", "16", "-display", "none", "-vnc", vnc, "-nic", "none"]
    machine = subprocess.Popen(argv, stdin=subprocess.DEVNULL)
    cloud.screen = f"http://127.0.0.1:{port}/vnc.html?path=/"
    try:
        for _unused in range(500):
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                time.sleep(0.02)
        yield
    finally:
        machine.kill()
        machine.wait()


def program(folder: Path, name: str, script: str) -> None:
    """A program in a folder that comes first in PATH."""
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f"#!/bin/sh\n{script}\n")
    (folder / name).chmod(0o755)


def guest(folder: Path) -> None:
    """Programs in place of ping and ssh, for nobody has the floating IP. The proof lies beside their folder."""
    program(folder, "ping", '[ "$5" = 203.0.113.107 ]')
    known = 'grep -q "^203.0.113.107 ssh-ed25519 AAAA" "${0%/bin/*}/proof/known_hosts"'
    program(folder, "ssh", f'{known} && echo "guest 6.12.0 1442"')
