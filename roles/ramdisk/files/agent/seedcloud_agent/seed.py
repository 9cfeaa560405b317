# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 the seedcloud.openstack authors
"""The seed as the agent sees it: one HTTP server that may be slow, restarted or away for a while."""

from __future__ import annotations

import http.client
import json
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from queue import Queue
from typing import Any
from urllib.parse import urljoin, urlsplit

from .errors import AgentError

TIMEOUT = 20.0
# What may pass by itself: no connection, a seed that restarts, a server that is over its limits.
NETWORK_ERRORS = (OSError, http.client.HTTPException)


def passes(status: int) -> bool:
    return status >= 500 or status in (408, 429)


def backoff() -> Iterator[float]:
    """Seconds to wait between tries, with jitter: a thousand nodes must not come back at once."""
    wait = 0.25
    while True:
        yield random.uniform(wait / 2, wait)  # noqa: S311 - no secret
        wait = min(wait * 2, 8.0)


class Seed:
    def __init__(self, url: str, boot_id: str, say: Callable[[str], None] = lambda text: None) -> None:
        parts = urlsplit(url)
        if parts.scheme != "http" or not parts.hostname:
            raise AgentError("agent", f"seedcloud.url={url!r} is not an http URL")
        self.host, self.port = parts.hostname, parts.port or 80
        self.url, self.boot_id, self.say = f"http://{self.host}:{self.port}", boot_id, say

    @contextmanager
    def request(
        self, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None
    ) -> Iterator[http.client.HTTPResponse]:
        """One exchange on a connection of its own; whatever status comes is the caller's."""
        address = urlsplit(urljoin(self.url, path))  # an image may lie on another server
        connection = http.client.HTTPConnection(address.hostname or self.host, address.port or 80, timeout=TIMEOUT)
        try:
            connection.request(method, address.path, body, {"Connection": "close", **(headers or {})})
            yield connection.getresponse()
        finally:
            connection.close()

    def exchange(
        self, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None
    ) -> tuple[int, bytes]:
        with self.request(method, path, body, headers) as answer:
            return answer.status, answer.read()

    def patiently(self, what: str, method: str, path: str, headers: dict[str, str] | None = None) -> tuple[int, bytes]:
        """Until there is an answer that means something."""
        for tries, wait in enumerate(backoff(), 1):
            try:
                status, body = self.exchange(method, path, None, headers)
                if not passes(status):
                    return status, body
                fault = f"status {status}"
            except NETWORK_ERRORS as error:
                fault = str(error) or type(error).__name__
            if tries in (2, 6) or tries % 20 == 0:
                self.say(f"{what}: {self.url}{path}: {fault}; trying again")
            time.sleep(wait)
        raise AssertionError("backoff ends never")

    def order(self) -> dict[str, Any] | None:
        """What this node is to become; None while nothing is awaited of it."""
        status, body = self.patiently("asking for the order", "GET", "/order")
        if status in (403, 404):
            return None
        if status != 200:
            raise AgentError("agent", f"GET /order: status {status}")
        try:
            value = json.loads(body)
        except ValueError as error:
            raise AgentError("agent", f"the order is not JSON: {error}") from error
        if not isinstance(value, dict):
            raise AgentError("agent", "the order is not an object")
        return value

    def take_claim(self, generation: int) -> bool:
        """Whether the claim is ours now. A lost answer is no answer: the name it was moved to tells."""
        mine = f"/claimed/{generation}/{self.boot_id}"
        status, _unused = self.patiently("taking the claim", "MOVE", f"/claim/{generation}", {"Destination": mine})
        if status in (200, 201, 204):
            return True
        if status not in (403, 404):
            raise AgentError("claim", f"MOVE /claim/{generation}: status {status}")
        return self.patiently("asking for the claim", "GET", mine)[0] == 200

    def date(self) -> float | None:
        """The seed's clock, from any answer's Date."""
        try:
            with self.request("GET", "/order") as answer:
                return parsedate_to_datetime(answer.headers["Date"]).timestamp()
        except (*NETWORK_ERRORS, TypeError, ValueError):
            return None

    def json(self, path: str, limit: int = 64 << 20) -> Any:
        status, body = self.patiently("fetching the block map", "GET", path)
        if status != 200 or len(body) > limit:
            raise AgentError("image", f"GET {path}: status {status}")
        try:
            return json.loads(body)
        except ValueError as error:
            raise AgentError("image", f"{path} is not JSON: {error}") from error

    def stream(self, path: str, size: int, patience: float = 600.0, block: int = 1 << 20) -> Iterator[memoryview]:
        """The bytes of a file, over as many connections as it takes. The view is valid until the next one."""
        buffer = memoryview(bytearray(block))
        at, waits, last = 0, backoff(), time.monotonic()
        while at < size:
            fault = "the connection ended early"
            try:
                with self.request("GET", path, headers={"Range": f"bytes={at}-"} if at else {}) as answer:
                    if not passes(answer.status):
                        self._check(path, answer, at, size)
                        while at < size and (got := answer.readinto(buffer)):
                            at, waits, last = at + got, backoff(), time.monotonic()
                            yield buffer[:got]
                    else:
                        fault = f"status {answer.status}"
            except NETWORK_ERRORS as error:
                fault = str(error) or type(error).__name__
            if at < size:
                if time.monotonic() - last > patience:
                    raise AgentError("image", f"GET {path} stopped at {at} of {size} bytes: {fault}")
                self.say(f"the image stopped at {at >> 20} of {size >> 20} MiB ({fault}); going on from there")
                time.sleep(next(waits, 1.0))

    @staticmethod
    def _check(path: str, answer: http.client.HTTPResponse, at: int, size: int) -> None:
        if answer.status != (206 if at else 200):
            raise AgentError("image", f"GET {path} from byte {at}: status {answer.status}")
        whole = (
            answer.headers.get("Content-Range", "").rpartition("/")[2]
            if at
            else answer.headers.get("Content-Length", "")
        )
        if whole != str(size):
            raise AgentError(
                "image", f"{path} has {whole or 'an unknown number of'} bytes on the seed, the order says {size}"
            )


class Reports:
    """Numbered reports, sent in their order by a thread of their own: a slow seed does not slow the disk."""

    def __init__(self, seed: Seed, node: str, generation: int, say: Callable[[str, str], None]) -> None:
        self.seed, self.node, self.generation, self.say = seed, node, generation, say
        self.number = 0
        self._queue: Queue[tuple[int, bytes]] = Queue()
        self._refused = threading.Event()
        self._thread = threading.Thread(target=self._send, daemon=True)
        self._thread.start()

    def __call__(self, event: str, msg: str = "", *, hop: str = "agent", level: str = "info", **data: Any) -> None:
        self.number += 1
        self.say(f"{event}: {msg}" if msg else event, level)
        now = datetime.now(timezone.utc)  # noqa: UP017 - tests run it on Debian 12's Python
        report = {
            "time": now.strftime("%Y-%m-%dT%H:%M:%S.") + f"{now.microsecond // 1000:03d}Z",
            "node": self.node,
            "generation": self.generation,
            "boot_id": self.seed.boot_id,
            "seq": self.number,
            "source": "agent",
            "event": event,
            "level": level,
            "hop": hop,
            "msg": msg[:2000],
            "data": data,
        }
        body = json.dumps(report).encode()
        if len(body) > 65536:
            body = json.dumps({**report, "data": {"omitted": f"{len(body)} bytes are too many"}}).encode()
        self._queue.put((self.number, body))

    def _send(self) -> None:
        while True:
            number, body = self._queue.get()
            path = f"/reports/{self.generation}/{self.seed.boot_id}/{number:04d}.json"
            for wait in backoff():
                try:
                    status, _unused = self.seed.exchange("PUT", path, body)
                    if not passes(status):
                        break
                except NETWORK_ERRORS:
                    pass
                time.sleep(wait)
            if status >= 400:  # the order was withdrawn: nobody waits for this
                self._refused.set()
            self._queue.task_done()

    @property
    def refused(self) -> bool:
        return self._refused.is_set()

    def flush(self, timeout: float) -> bool:
        """Wait until all is told; False when the seed stayed away."""
        end = time.monotonic() + timeout
        while self._queue.unfinished_tasks and time.monotonic() < end:
            time.sleep(0.05)
        return not self._queue.unfinished_tasks
