# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 the seedcloud.openstack authors
"""The agent's HTTP against a real server that fails in the ways that servers do."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
from agent_seed import SeedStandIn
from seedcloud_agent.errors import AgentError
from seedcloud_agent.seed import Reports, Seed

BOOT = "0123456789abcdef0123456789abcdef"


@pytest.fixture
def seed(stand_in: SeedStandIn) -> Seed:
    return Seed(stand_in.url, BOOT)


def unavailable(http: Any) -> bool:
    http.answer(503)
    return True


def hang_up(_http: Any) -> bool:
    return True  # the connection is closed without an answer


def test_no_order_yet(seed: Seed) -> None:
    assert seed.order() is None


def test_the_order_survives_a_seed_that_restarts(stand_in: SeedStandIn, seed: Seed) -> None:
    stand_in.put_order({"generation": 1})
    stand_in.faults["GET /order"] = [hang_up, unavailable, hang_up]
    assert seed.order() == {"generation": 1}
    assert len(stand_in.requests) == 4


@pytest.mark.parametrize("url", ["https://192.0.2.1", "ftp://192.0.2.1", "192.0.2.1", "http://"])
def test_only_http_urls(url: str) -> None:
    with pytest.raises(AgentError, match="not an http URL"):
        Seed(url, BOOT)


def test_the_claim_is_taken_once(stand_in: SeedStandIn, seed: Seed) -> None:
    stand_in.put_order({"generation": 7})
    assert seed.take_claim(7)
    assert stand_in.claimed == {f"/claimed/7/{BOOT}"}
    assert not Seed(stand_in.url, BOOT[::-1]).take_claim(7)
    assert seed.take_claim(7)  # a retry finds its own


def test_a_lost_answer_does_not_lose_the_claim(stand_in: SeedStandIn, seed: Seed) -> None:
    stand_in.put_order({"generation": 7})

    def take_and_hang_up(http: Any) -> bool:
        stand_in.claims.discard("7")
        stand_in.claimed.add(http.headers["Destination"])
        return True

    stand_in.faults["MOVE /claim/7"] = [take_and_hang_up]
    assert seed.take_claim(7)


def test_one_winner_of_many(stand_in: SeedStandIn) -> None:
    stand_in.put_order({"generation": 1})
    won: list[bool] = []
    threads = [
        threading.Thread(target=lambda n=n: won.append(Seed(stand_in.url, f"{n:032x}").take_claim(1)))
        for n in range(10)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(won) == [False] * 9 + [True]


def cut_after(count: int, claimed: int | None = None) -> Any:
    def fault(http: Any) -> bool:
        data = b"x" * 300_000
        start = int((http.headers.get("Range") or "bytes=0-")[6:-1])
        http.send_response(206 if start else 200)
        http.send_header("Content-Length", str((claimed or len(data)) - start))
        if start:
            http.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{claimed or len(data)}")
        http.end_headers()
        http.wfile.write(data[start : start + count])
        return True

    return fault


def test_a_stream_goes_on_where_it_stopped(stand_in: SeedStandIn, seed: Seed) -> None:
    data = bytes(range(250)) * 1200
    (stand_in.files / "image").write_bytes(data)
    said: list[str] = []
    seed.say = said.append
    stand_in.faults["GET /image"] = [hang_up, unavailable]
    got = b"".join(bytes(block) for block in seed.stream("/image", len(data), block=7000))
    assert got == data
    assert len(said) == 2


def test_a_stream_cut_in_the_middle_asks_for_the_rest(stand_in: SeedStandIn, seed: Seed) -> None:
    (stand_in.files / "image").write_bytes(b"x" * 300_000)
    stand_in.faults["GET /image"] = [cut_after(100_000), cut_after(100_000)]
    asked: list[str | None] = []
    original = stand_in.get

    def spy(http: Any, body: bytes) -> None:
        asked.append(http.headers.get("Range"))
        original(http, body)

    stand_in.get = spy  # type: ignore[method-assign]  # the spy is the point
    assert sum(len(block) for block in seed.stream("/image", 300_000)) == 300_000
    assert asked == ["bytes=200000-"]


def test_another_size_on_the_seed_is_refused(stand_in: SeedStandIn, seed: Seed) -> None:
    (stand_in.files / "image").write_bytes(b"x" * 1000)
    with pytest.raises(AgentError, match="1000 bytes on the seed, the order says 1001"):
        list(seed.stream("/image", 1001))
    with pytest.raises(AgentError, match="status 404"):
        list(seed.stream("/other", 5))


def test_a_stream_that_stays_away_ends(stand_in: SeedStandIn, seed: Seed) -> None:
    stand_in.faults["GET /image"] = [unavailable] * 1000
    with pytest.raises(AgentError, match="stopped at 0 of 5 bytes: status 503"):
        list(seed.stream("/image", 5, patience=0.05))


def test_the_block_map_must_be_json(stand_in: SeedStandIn, seed: Seed) -> None:
    (stand_in.files / "map").write_bytes(b"{")
    with pytest.raises(AgentError, match="not JSON"):
        seed.json("/map")
    with pytest.raises(AgentError, match="404"):
        seed.json("/none")


def test_the_clock_of_the_seed(seed: Seed) -> None:
    date = seed.date()
    assert date is not None and date > 1_700_000_000
    assert Seed("http://127.0.0.1:1", BOOT).date() is None


def test_reports_are_numbered_and_come_in_order(stand_in: SeedStandIn, seed: Seed) -> None:
    said: list[tuple[str, str]] = []
    report = Reports(seed, "node1", 3, lambda text, level: said.append((text, level)))
    stand_in.faults[f"PUT /reports/3/{BOOT}/0001"] = [unavailable, hang_up]
    report("agent_started")
    report("failed", "it broke", hop="disk", level="error", detail=5)
    assert report.flush(10)
    assert [(r["seq"], r["event"], r["hop"]) for r in stand_in.reports] == [
        (1, "agent_started", "agent"),
        (2, "failed", "disk"),
    ]
    assert stand_in.reports[1]["data"] == {"detail": 5}
    assert stand_in.reports[1]["time"].endswith("Z")
    assert said == [("agent_started", "info"), ("failed: it broke", "error")]


def test_a_report_that_is_too_large_is_cut(stand_in: SeedStandIn, seed: Seed) -> None:
    report = Reports(seed, "node1", 3, lambda *_: None)
    report("inspected", disks=["x" * 70_000])
    assert report.flush(10)
    assert "too many" in stand_in.reports[0]["data"]["omitted"]


def test_reports_of_a_withdrawn_order_hold_nothing_up(stand_in: SeedStandIn, seed: Seed, tmp_path: Path) -> None:
    report = Reports(seed, "node1", 3, lambda *_: None)
    stand_in.faults["PUT"] = [lambda http: (http.answer(403), True)[1]]
    report("image_writing")
    assert report.flush(10)
    assert report.refused


def test_a_seed_that_is_away_is_waited_for() -> None:
    report = Reports(Seed("http://127.0.0.1:1", BOOT), "node1", 3, lambda *_: None)
    report("rebooting")
    assert not report.flush(0.2)
