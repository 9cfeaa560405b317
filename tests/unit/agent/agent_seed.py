# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 the seedcloud.openstack authors
"""A stand-in for the seed's nginx: the same paths, methods and answers over real HTTP, with faults on demand."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any


class SeedStandIn:
    """State of one awaited node; `faults` maps "METHOD /path" to callables that act before the answer."""

    def __init__(self, files: Path, address: str = "127.0.0.1", port: int = 0) -> None:
        self.files = files
        self.order: dict[str, Any] | None = None
        self.claims: set[str] = set()
        self.claimed: set[str] = set()
        self.reports: list[dict[str, Any]] = []
        self.requests: list[str] = []
        self.faults: dict[str, list[Callable[[BaseHTTPRequestHandler], bool]]] = {}
        self.heard = threading.Condition()
        seed = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, format: str, *args: object) -> None:
                pass

            def answer(self, status: int, body: bytes = b"", **headers: str) -> None:
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                for name, value in headers.items():
                    self.send_header(name.replace("_", "-"), value)
                self.end_headers()
                self.wfile.write(body)

            def handle_any(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                line = f"{self.command} {self.path}"
                seed.requests.append(line)
                for prefix, faults in seed.faults.items():
                    if faults and line.startswith(prefix) and faults.pop(0)(self):
                        self.close_connection = True
                        return
                getattr(seed, self.command.lower())(self, body)

            do_GET = do_PUT = do_MOVE = handle_any

        self.server = ThreadingHTTPServer((address, port), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        self.thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_address[1]}"

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()

    def put_order(self, order: dict[str, Any] | None) -> None:
        self.claims = {str(order["generation"])} if order else set()
        self.order = order

    def events(self) -> list[str]:
        return [report["event"] for report in self.reports]

    def wait(self, event: str, timeout: float) -> dict[str, Any]:
        """The first report of this event; TimeoutError says what came instead."""
        with self.heard:
            if not self.heard.wait_for(lambda: event in self.events() or "failed" in self.events(), timeout):
                raise TimeoutError(f"no {event} in {timeout:.0f} s: {self.events()}")
        failed = [report for report in self.reports if report["event"] == "failed"]
        if failed and event != "failed":
            raise AssertionError(f"{failed[-1]['hop']}: {failed[-1]['msg']}")
        return next(report for report in self.reports if report["event"] == event)

    # -- what nginx does

    def get(self, http: Any, _body: bytes) -> None:
        if http.path == "/order":
            if self.order is None:
                return http.answer(404)
            return http.answer(200, json.dumps(self.order).encode())
        if http.path.startswith("/claimed/"):
            return http.answer(200 if http.path in self.claimed else 404)
        path = self.files / http.path.lstrip("/")
        if not path.is_file():
            return http.answer(404)
        size = path.stat().st_size
        ranged = re.fullmatch(r"bytes=(\d+)-", http.headers.get("Range") or "")
        start = int(ranged[1]) if ranged else 0
        http.send_response(206 if ranged else 200)
        http.send_header("Content-Length", str(size - start))
        if ranged:
            http.send_header("Content-Range", f"bytes {start}-{size - 1}/{size}")
        http.end_headers()
        with path.open("rb") as stream:
            stream.seek(start)
            while block := stream.read(1 << 18):
                http.wfile.write(block)
        return None

    def move(self, http: Any, _body: bytes) -> None:
        generation = http.path.removeprefix("/claim/")
        if generation not in self.claims:
            return http.answer(404)
        self.claims.remove(generation)
        self.claimed.add(http.headers["Destination"])
        return http.answer(204)

    def put(self, http: Any, body: bytes) -> None:
        if not re.fullmatch(r"/reports/\d+/[0-9a-f]{32}/\d{4}\.json", http.path) or len(body) > 65536:
            return http.answer(403)
        with self.heard:
            self.reports.append(json.loads(body))
            self.heard.notify_all()
        return http.answer(201)  # last: who has the answer may look at the reports
