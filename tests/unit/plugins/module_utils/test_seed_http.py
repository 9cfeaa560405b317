# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 the seedcloud.openstack authors
"""The seed's nginx, real, against machines that follow the contract and machines that do not."""

from __future__ import annotations

import grp
import json
import secrets
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.seedcloud.openstack.plugins.module_utils._journal import store
from ansible_collections.seedcloud.openstack.plugins.module_utils._order.batch import (
    Settings,
    order_nodes,
    withdraw_nodes,
)
from ansible_collections.seedcloud.openstack.plugins.module_utils._order.orders import Orders
from ansible_collections.seedcloud.openstack.tests.unit.plugins.seed_rack import (
    HOSTS,
    PORT,
    SEED,
    WORKER,
    Rack,
    rack,
    why_not,
)

pytestmark = pytest.mark.skipif(why_not() is not None, reason=str(why_not()))
SETTINGS = Settings("run-1", lease=60, lock_timeout=0, stalled_after=600, check_mode=False)
MACS = {"node1": "00:00:5e:00:53:01", "node2": "00:00:5e:00:53:02"}


def node(name: str, **order: Any) -> dict[str, Any]:
    image = {"name": "i", "url": "/images/i.raw.zst", "sha256": "0" * 64, "size": 1}
    return {
        "name": name,
        "boot_mac": MACS[name],
        "address": HOSTS[name],
        "boot": {"kernel": f"http://{SEED}:{PORT}/ramdisks/a/vmlinuz", "initrd": [], "cmdline": ["quiet"]},
        "order": {"action": "deploy", "image": image, **order},
    }


@pytest.fixture(scope="module")
def seed() -> Iterator[Rack]:
    with rack() as made:
        made.start_nginx()
        (made.root / "http" / "boot" / "default.ipxe").write_text("#!ipxe\n# the disk\n")
        (made.root / "http" / "images" / "i.raw.zst").write_bytes(b"image")
        yield made


@pytest.fixture
def orders(seed: Rack) -> Orders:
    return Orders(seed.root, grp.getgrnam(WORKER).gr_gid, seed.dhcp_pid_file)


@pytest.fixture
def generation(orders: Orders) -> int:
    """Both nodes are awaited, node1 by this generation."""
    withdraw_nodes(orders, SETTINGS, [{"name": name} for name in MACS], forget=False)
    told = order_nodes(orders, SETTINGS, [node("node1"), node("node2")])
    assert not any(answer["failed"] for answer in told.values()), told
    return int(told["node1"]["generation"])


def claim(seed: Rack, generation: int, boot_id: str, host: str = "node1") -> int:
    return seed.ask(
        host, "MOVE", f"/claim/{generation}", Destination=f"http://{SEED}:{PORT}/claimed/{generation}/{boot_id}"
    )[0]


def test_boot_script_order_and_image(seed: Rack, generation: int) -> None:
    path = "/boot/00-00-5e-00-53-01.ipxe"
    assert b"/ramdisks/a/vmlinuz quiet" in seed.ask("node1", "GET", path)[1]
    # Another machine's script, or one that nobody awaits: boot from the disk.
    for host in ("node2", "stranger"):
        assert seed.ask(host, "GET", path) == (200, b"#!ipxe\n# the disk\n")
    status, text = seed.ask("node1", "GET", "/order")
    order = json.loads(text)
    assert (status, order["node"], order["generation"]) == (200, "node1", generation)
    assert json.loads(seed.ask("node2", "GET", "/order")[1])["node"] == "node2"
    assert seed.ask("stranger", "GET", "/order")[0] == 404
    assert seed.ask("stranger", "GET", "/images/i.raw.zst") == (200, b"image")


def test_fifty_race_and_one_wins(seed: Rack, generation: int) -> None:
    ids = [secrets.token_hex(16) for _unused in range(50)]
    answers = seed.at_once(50, lambda n: claim(seed, generation, ids[n]))
    won = [ids[n] for n, status in enumerate(answers) if status in (201, 204)]
    assert len(won) == 1, answers
    assert set(answers) - {201, 204} <= {404, 409}, answers
    folder = seed.root / "nodes" / "node1" / "claimed" / str(generation)
    assert [path.name for path in folder.iterdir()] == won
    for boot_id in ids:
        status = seed.ask("node1", "GET", f"/claimed/{generation}/{boot_id}")[0]
        assert status == (200 if boot_id in won else 404)


def test_lost_answer_and_retry(seed: Rack, generation: int) -> None:
    boot_id = secrets.token_hex(16)
    path = f"/claimed/{generation}/{boot_id}"
    with seed.inside("node1"):
        connection = socket.create_connection((SEED, PORT))
    connection.sendall(f"MOVE /claim/{generation} HTTP/1.1\r\nHost: x\r\nDestination: {path}\r\n\r\n".encode())
    seed.until((seed.root / "nodes/node1" / path[1:]).exists, "claim")
    connection.close()  # the answer is never read
    assert claim(seed, generation, boot_id) == 404
    assert seed.ask("node1", "GET", path)[0] == 200
    assert claim(seed, generation, secrets.token_hex(16)) == 404


def test_old_generation_has_no_claim(seed: Rack, orders: Orders, generation: int) -> None:
    told = order_nodes(orders, SETTINGS, [node("node1", after="poweroff")])["node1"]
    assert told["generation"] == generation + 1 and not told["joined"]
    assert claim(seed, generation, secrets.token_hex(16)) == 404
    assert claim(seed, generation + 1, secrets.token_hex(16)) in (201, 204)


def files(root: Path) -> dict[str, bytes]:
    """Everything below the root but nginx's logs."""
    return {
        str(path): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file() and "/access" not in str(path) and "/http-tmp/" not in str(path)
    }


HOSTILE = [
    ("MOVE", "/claim/{g}", "/order"),
    ("MOVE", "/claim/{g}", "/claimed/{g}/../../order"),
    ("MOVE", "/claim/{g}", "/claimed/{g}/../{id}"),
    ("MOVE", "/claim/{g}", "/claimed/{g}/%2e%2e%2f{id}"),
    ("MOVE", "/claim/{g}", "/claimed%2f{g}%2f{id}"),
    ("MOVE", "/claim/{g}", "/claimed/{g}/{id}/x"),
    ("MOVE", "/claim/{g}", "/claimed/{g}/{id}?x"),
    ("MOVE", "/claim/{g}", "/claimed/{g}/{ID}"),
    ("MOVE", "/claim/{g}", "/claimed/99/{id}"),
    ("MOVE", "/claim/{g}", "/reports/{g}/{id}"),
    ("MOVE", "/claim/{g}", "http://198.51.100.7/claimed/{g}/{id}"),
    ("MOVE", "/claim/{g}", "https://192.0.2.1:8080/claimed/{g}/{id}"),
    ("MOVE", "/claim/{g}", "//192.0.2.1/claimed/{g}/{id}"),
    ("MOVE", "/claim/{g}", ""),
    ("MOVE", "/claim/{g}/", "/claimed/{g}/{id}"),
    ("MOVE", "/claim/%7Bg%7D", "/claimed/{g}/{id}"),
    ("MOVE", "/claim/./{g}", "/claimed/{g}/{id}"),
    ("MOVE", "/claim/", "/claimed/{g}/{id}"),
    ("MOVE", "/order", "/claimed/{g}/{id}"),
    ("MOVE", "/node", "/claimed/{g}/{id}"),
    ("MOVE", "/images/i.raw.zst", "/claimed/{g}/{id}"),
    ("COPY", "/claim/{g}", "/claimed/{g}/{id}"),
    ("COPY", "/order", "/claimed/{g}/{id}"),
    ("MKCOL", "/reports/{g}/{id}/", ""),
    ("PROPFIND", "/", ""),
    ("DELETE", "/order", ""),
    ("DELETE", "/claim/{g}", ""),
    ("DELETE", "/claimed/{g}/{id}", ""),
    ("DELETE", "/reports/{g}/{id}/0001.json", ""),
    ("DELETE", "/images/i.raw.zst", ""),
    ("DELETE", "/", ""),
    ("PUT", "/order", ""),
    ("PUT", "/node", ""),
    ("PUT", "/claim/{g}", ""),
    ("PUT", "/claimed/{g}/{id}", ""),
    ("PUT", "/images/i.raw.zst", ""),
    ("PUT", "/boot/00-00-5e-00-53-01.ipxe", ""),
    ("PUT", "/reports/{g}/{id}/1.json", ""),
    ("PUT", "/reports/{g}/{id}/00001.json", ""),
    ("PUT", "/reports/{g}/{id}/0001.json/", ""),
    ("PUT", "/reports/{g}/{id}/../0001.json", ""),
    ("PUT", "/reports/{g}/..%2f..%2forder.json", ""),
    ("PUT", "/reports/{g}/{ID}/0001.json", ""),
    ("PUT", "/reports/99/{id}/0001.json", ""),
    ("POST", "/reports/{g}/{id}/0001.json", ""),
    ("POST", "/order", ""),
    ("GET", "/reports/{g}/{id}/0001.json", ""),
    ("GET", "/node", ""),
    ("GET", "/access.jsonl", ""),
    ("GET", "/claim/{g}", ""),
    ("GET", "/claimed/{g}/", ""),
    ("GET", "/images/", ""),
    ("GET", "/images/../boot/default.ipxe/../../../secrets/secrets.json", ""),
    ("GET", "/images/%2e%2e/%2e%2e/secrets/secrets.json", ""),
    ("GET", "/../order", ""),
    ("TRACE", "/order", ""),
]


@pytest.mark.parametrize(("method", "path", "destination"), HOSTILE)
def test_hostile_request_changes_nothing(seed: Rack, generation: int, method: str, path: str, destination: str) -> None:
    boot_id = "ab" * 16
    names = {"g": str(generation), "id": boot_id, "ID": boot_id.upper()}

    def filled(text: str) -> str:
        for key, value in names.items():
            text = text.replace(f"{{{key}}}", value)
        return text

    before = files(seed.root)
    headers = {"Destination": filled(destination)} if destination or method == "MOVE" else {}
    body = b'{"event": "x"}' if method in ("PUT", "POST") else None
    status, _unused = seed.ask("node1", method, filled(path), body, **headers)
    assert status in (400, 403, 404, 405), status
    assert files(seed.root) == before


def test_another_address_gets_nothing(seed: Rack, generation: int) -> None:
    for host in ("node2", "stranger"):
        before = files(seed.root)
        # node2 has orders of its own; its generation may have the same number, so it names node1's boot.
        if host == "stranger":
            assert claim(seed, generation, "ab" * 16, host) in (403, 404, 409)
        status, _unused = seed.ask(host, "GET", "/claimed/1/" + "ab" * 16, X_Forwarded_For=HOSTS["node1"])
        assert status == 404
        assert files(seed.root) == before
    assert seed.ask("stranger", "PUT", f"/reports/{generation}/{'ab' * 16}/0001.json", b"{}")[0] == 404


def put(seed: Rack, generation: int, boot_id: str, number: int, body: bytes, **headers: str) -> int:
    return seed.ask("node1", "PUT", f"/reports/{generation}/{boot_id}/{number:04d}.json", body, **headers)[0]


def test_reports(seed: Rack, generation: int) -> None:
    boot_id = secrets.token_hex(16)
    report = {"event": "agent_started", "hop": "agent", "msg": "x"}
    assert put(seed, generation, boot_id, 1, json.dumps(report).encode()) == 201
    # A retry after a lost answer succeeds and does not rewrite the report.
    assert put(seed, generation, boot_id, 1, b'{"event": "inspected"}') == 204
    assert put(seed, generation, boot_id, 2, b"x" * 65537) == 413
    assert put(seed, generation, boot_id, 2, b"{}", Content_Range="bytes 0-1/2") == 400
    assert put(seed, generation, boot_id, 2, b" " * 65536) == 201
    events = [e for e in store.history(seed.root, "node1", generation) if e["boot_id"] == boot_id]
    assert [(e["event"], e["seq"]) for e in events] == [("agent_started", 1), ("report_malformed", 2)]


def test_chunked_report_is_limited_too(seed: Rack, generation: int) -> None:
    with seed.inside("node1"):
        connection = socket.create_connection((SEED, PORT), 10)
    head = f"PUT /reports/{generation}/{'cd' * 16}/0001.json HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    connection.sendall(
        head.encode() + b"".join(b"4000\r\n" + b"x" * 0x4000 + b"\r\n" for _unused in range(5)) + b"0\r\n\r\n"
    )
    assert connection.recv(64).startswith(b"HTTP/1.1 413")
    connection.close()
    assert not (seed.root / f"nodes/node1/reports/{generation}/{'cd' * 16}").exists()


def test_withdrawn_node_gets_nothing(seed: Rack, orders: Orders, generation: int) -> None:
    withdraw_nodes(orders, SETTINGS, [{"name": "node1"}], forget=False)
    assert seed.ask("node1", "GET", "/order")[0] == 404
    assert claim(seed, generation, "ab" * 16) in (404, 409)
    assert seed.ask("node1", "GET", "/boot/00-00-5e-00-53-01.ipxe") == (200, b"#!ipxe\n# the disk\n")
    assert put(seed, generation, "ab" * 16, 1, b"{}") == 404
    assert json.loads(seed.ask("node2", "GET", "/order")[1])["node"] == "node2"


def test_access_becomes_events(seed: Rack, generation: int) -> None:
    seed.ask("node1", "GET", "/boot/00-00-5e-00-53-01.ipxe")
    seed.ask("node1", "GET", "/images/missing.raw.zst")
    events = [e for e in store.history(seed.root, "node1", generation) if e["source"] == "http"]
    assert [(e["event"], e["level"], e["hop"]) for e in events] == [
        ("loader_fetched", "info", "loader"),
        ("http_refused", "error", "image"),
    ]
    assert {e["generation"] for e in events} == {generation}
