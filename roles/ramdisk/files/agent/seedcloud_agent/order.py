# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 the seedcloud.openstack authors
"""The order: read once, believed only as far as it is well-formed."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from .errors import AgentError

HINTS = {
    "serial": str,
    "wwn": str,
    "by_path": str,
    "name": str,
    "model": str,
    "vendor": str,
    "size_gib": int,
    "rotational": bool,
}
SHA256 = re.compile(r"[0-9a-f]{64}")
USER = re.compile(r"[a-z_][a-z0-9_-]{0,30}")


@dataclass(frozen=True)
class Image:
    name: str
    url: str
    sha256: str
    size: int
    compressed_size: int
    block_map: str | None


@dataclass(frozen=True)
class NodeFile:
    path: str
    mode: int
    content: str


@dataclass(frozen=True)
class Order:
    node: str
    generation: int
    action: str
    fingerprint: str
    after: str
    image: Image | None
    root_device: dict[str, Any]
    wipe_confirmed: str | None
    files: tuple[NodeFile, ...]
    user: str
    authorized_keys: tuple[str, ...]


class _Reader:
    """Typed access to JSON; the first thing that is wrong names its place."""

    def __init__(self, value: Any, place: str) -> None:
        self.value = self._typed(value, dict, place)
        self.place = place

    @staticmethod
    def _typed(value: Any, kind: type, place: str) -> Any:
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            raise AgentError("agent", f"the order's {place} is not of type {kind.__name__}")
        return value

    def get(self, key: str, kind: type, default: Any = None) -> Any:
        value = self.value.get(key, default)
        return default if value is None and default is not None else self._typed(value, kind, f"{self.place}.{key}")

    def optional(self, key: str, kind: type) -> Any:
        return None if self.value.get(key) is None else self.get(key, kind)

    def child(self, key: str) -> _Reader:
        return _Reader(self.value.get(key, {}), f"{self.place}.{key}")


def _image(reader: _Reader) -> Image:
    image = Image(
        name=reader.get("name", str),
        url=reader.get("url", str),
        sha256=reader.get("sha256", str),
        size=reader.get("size", int),
        compressed_size=reader.get("compressed_size", int),
        block_map=reader.optional("block_map", str),
    )
    if not SHA256.fullmatch(image.sha256):
        raise AgentError("agent", "the order's image.sha256 is not a SHA-256")
    if image.size < 1 << 20 or image.size % 512 or image.compressed_size < 1:
        raise AgentError("agent", "the order's image has an impossible size")
    if reader.get("format", str, "raw.zst") != "raw.zst":
        raise AgentError("agent", f"the agent cannot write an image of format {reader.value['format']!r}")
    return image


def _file(value: Any, place: str) -> NodeFile:
    reader = _Reader(value, place)
    path, mode = reader.get("path", str), reader.get("mode", str, "0644")
    parts = PurePosixPath(path).parts
    if not path.startswith("/") or len(parts) < 2 or ".." in parts or "\0" in path or path.endswith("/"):
        raise AgentError("agent", f"the order's {place}.path {path!r} is not the absolute path of a file")
    if not re.fullmatch(r"0?[0-7]{3}", mode):
        raise AgentError("agent", f"the order's {place}.mode {mode!r} is not a mode like 0644")
    return NodeFile(path, int(mode, 8), reader.get("content", str))


def parse(value: Any) -> Order:
    reader = _Reader(value, "order")
    if reader.get("schema", int) != 1:
        raise AgentError(
            "agent", f"the order has schema {reader.value['schema']!r}, this agent knows 1: rebuild the ramdisk"
        )
    action = reader.get("action", str)
    hints: dict[str, Any] = reader.get("root_device", dict, {})
    for name, hint in hints.items():
        kind = HINTS.get(name)
        if kind is None or not isinstance(hint, kind) or (kind is int and isinstance(hint, bool)):
            raise AgentError(
                "disk", f"root_device.{name} is not a root device hint, or not of its type", "disk_refused"
            )
    ssh = reader.child("ssh")
    user = ssh.get("user", str, "debian")
    if not USER.fullmatch(user):
        raise AgentError("agent", f"the order's ssh.user {user!r} is not the name of an account")
    keys = ssh.get("authorized_keys", list, [])
    if not all(isinstance(key, str) and "\n" not in key for key in keys):
        raise AgentError("agent", "the order's ssh.authorized_keys are not lines of text")
    return Order(
        node=reader.get("node", str),
        generation=reader.get("generation", int),
        action=action,
        fingerprint=reader.get("fingerprint", str, ""),
        after=reader.get("after", str, "reboot"),
        image=_image(reader.child("image")) if action == "deploy" else None,
        root_device=hints,
        wipe_confirmed=reader.child("wipe").optional("confirmed", str),
        files=tuple(_file(each, f"files[{n}]") for n, each in enumerate(reader.get("files", list, []))),
        user=user,
        authorized_keys=tuple(keys),
    )
