# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 the seedcloud.openstack authors
"""An order is believed only as far as it is well-formed."""

from __future__ import annotations

from typing import Any

import pytest
from seedcloud_agent.errors import AgentError
from seedcloud_agent.order import parse

GOOD: dict[str, Any] = {
    "schema": 1, "node": "node1", "generation": 3, "run": "r", "action": "deploy", "fingerprint": "f" * 64,
    "image": {"name": "i", "url": "/images/i.raw.zst", "sha256": "a" * 64, "size": 1 << 30, "compressed_size": 1 << 20,
              "format": "raw.zst", "block_map": "/images/i.map.json"},
    "root_device": {"serial": "S1"}, "wipe": {"confirmed": None},
    "files": [{"path": "/etc/hostname", "mode": "0640", "content": "node1\n"}],
    "ssh": {"user": "debian", "authorized_keys": ["ssh-ed25519 AAAA"]}, "after": "reboot",
}  # fmt: skip


def test_a_good_order() -> None:
    order = parse(GOOD)
    assert (order.node, order.generation, order.action, order.after) == ("node1", 3, "deploy", "reboot")
    assert order.image and order.image.size == 1 << 30
    assert (order.files[0].path, order.files[0].mode) == ("/etc/hostname", 0o640)
    assert order.wipe_confirmed is None


def test_an_inspection_needs_no_image() -> None:
    order = parse({"schema": 1, "node": "node1", "generation": 1, "action": "inspect"})
    assert order.image is None
    assert order.user == "debian"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"schema": 2}, "schema 2"),
        ({"node": 1}, "order.node"),
        ({"generation": True}, "order.generation"),
        ({"generation": "3"}, "order.generation"),
        ({"image": {**GOOD["image"], "sha256": "A" * 64}}, "SHA-256"),
        ({"image": {**GOOD["image"], "size": 0}}, "impossible size"),
        ({"image": {**GOOD["image"], "size": (1 << 20) + 1}}, "impossible size"),
        ({"image": {**GOOD["image"], "format": "qcow2"}}, "qcow2"),
        ({"image": None}, "order.image"),
        ({"root_device": {"colour": "red"}}, "root_device.colour"),
        ({"root_device": {"size_gib": "20"}}, "root_device.size_gib"),
        ({"root_device": {"size_gib": True}}, "root_device.size_gib"),
        ({"wipe": {"confirmed": True}}, "wipe.confirmed"),
        ({"files": [{"path": "etc/x", "content": ""}]}, "absolute"),
        ({"files": [{"path": "/etc/../root/x", "content": ""}]}, "absolute"),
        ({"files": [{"path": "/etc/", "content": ""}]}, "absolute"),
        ({"files": [{"path": "/", "content": ""}]}, "absolute"),
        ({"files": [{"path": "/etc/x", "mode": "4755", "content": ""}]}, "mode"),
        ({"files": [{"path": "/etc/x", "content": 5}]}, "content"),
        ({"files": "none"}, "order.files"),
        ({"ssh": {"user": "a b"}}, "account"),
        ({"ssh": {"user": "../x"}}, "account"),
        ({"ssh": {"user": "debian", "authorized_keys": ["a\nb"]}}, "lines"),
    ],
)
def test_what_is_wrong_is_named(change: dict[str, Any], words: str) -> None:
    with pytest.raises(AgentError, match=words.replace(".", r"\.")):
        parse({**GOOD, **change})


@pytest.mark.parametrize("value", [None, [], "order", 5])
def test_an_order_is_an_object(value: object) -> None:
    with pytest.raises(AgentError):
        parse(value)
