# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 the seedcloud.openstack authors
"""Staging against real tools and a real HTTP server that can be made to misbehave."""

from __future__ import annotations

import gzip
import hashlib
import http.server
import json
import lzma
import os
import random
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import pytest
from ansible_collections.seedcloud.openstack.plugins.module_utils._image import stage as stage_module
from ansible_collections.seedcloud.openstack.plugins.module_utils._image import store
from ansible_collections.seedcloud.openstack.plugins.module_utils._image.fetch import Http, find_sum
from ansible_collections.seedcloud.openstack.plugins.module_utils._image.model import (
    Faults,
    Item,
    StageError,
    as_dest,
    parse_items,
)
from ansible_collections.seedcloud.openstack.plugins.module_utils._image.stage import Stage
from ansible_collections.seedcloud.openstack.plugins.module_utils._image.store import Attributes, Root

DATA = random.Random(1).randbytes(1_000_000)
OLD = b"what was served before"


class Server(http.server.BaseHTTPRequestHandler):
    """Serves `files` with ranges and ETags; each answer first goes through the next of `faults`."""

    files: ClassVar[dict[str, bytes]] = {}
    faults: ClassVar[list[str]] = []
    asked: ClassVar[list[tuple[str, str | None]]] = []
    etags: ClassVar[bool] = True
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        path = self.path.split("?")[0]
        wanted = self.headers.get("Range")
        self.asked.append((path, wanted))
        fault = self.faults.pop(0) if self.faults else ""
        if path not in self.files or fault.isdigit():
            self.send_error(int(fault or 404))
            return
        body = self.files[path]
        etag = f'"{hashlib.md5(body).hexdigest()}"'
        if self.etags and self.headers.get("If-None-Match") == etag:
            self.send_response(304)
            self.end_headers()
            return
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and self.headers["If-Range"] == etag else 0
        if start and start >= len(body):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(body)}")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.send_response(206 if start else 200)
        if start:
            told = start - 5 if fault == "wrong range" else start
            self.send_header("Content-Range", f"bytes {told}-{len(body) - 1}/{len(body) + (fault == 'wrong total')}")
        self.send_header("Content-Length", str(len(body) - start))
        if self.etags:
            self.send_header("ETag", etag)
        self.end_headers()
        if fault == "truncated":
            self.wfile.write(body[start : start + (len(body) - start) // 2])
            self.close_connection = True
        elif fault == "silent":
            self.wfile.write(body[start : start + 1000])
            time.sleep(2)
            self.close_connection = True
        elif fault == "slow":
            for at in range(start, len(body), 20_000):
                self.wfile.write(body[at : at + 20_000])
                time.sleep(0.05)
        else:
            self.wfile.write(body[start:])

    def log_message(self, *_message: object) -> None:
        pass


@pytest.fixture
def url() -> Iterator[str]:
    Server.files, Server.faults, Server.asked, Server.etags = {"/data": DATA}, [], [], True
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server)
    server.handle_error = lambda *_about: None  # type: ignore[method-assign]  # clients that break off are the point
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


def command(words: list[str]) -> tuple[int, str, str]:
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout, done.stderr


@dataclass
class Seed:
    """Runs as the module makes them: lock, load, act."""

    paths: list[Path]
    http: Http = field(default_factory=lambda: Http(timeout=1, pause=0.01, attempts=3))
    attributes: Attributes = field(default_factory=Attributes)

    def run(self, act: Callable[[Stage], Any], *, check_mode: bool = False) -> Any:
        roots = [Root(path) for path in self.paths]
        with ExitStack() as locks:
            for root in roots:
                if not check_mode:
                    locks.enter_context(root.locked(5))
                root.load()
            return act(Stage(roots, command, self.attributes, self.http, check_mode))

    def present(self, src: str | Path, dest: str, checksum: str = "", *, check_mode: bool = False) -> dict[str, Any]:
        (item,) = parse_items([{"src": str(src), "dest": dest, "checksum": checksum}])
        outcome: dict[str, Any] = self.run(lambda stage: stage.present(item), check_mode=check_mode)
        return outcome

    def __truediv__(self, dest: str) -> Path:
        return self.paths[0] / dest

    def leftovers(self) -> list[str]:
        """Everything that is neither served nor the record."""
        return sorted(
            str(path.relative_to(root))
            for root in self.paths
            for path in root.rglob("*")
            if any(part.startswith(".") for part in path.relative_to(root).parts)
            and path.name not in {".staging", "lock", "manifest.json"}
        )


@pytest.fixture
def seed(tmp_path: Path) -> Seed:
    return Seed([tmp_path / "http"])


def sha256(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def test_a_file_is_linked_and_then_kept(seed: Seed, tmp_path: Path) -> None:
    loader = tmp_path / "loader"
    loader.write_bytes(DATA)
    loader.chmod(0o644)
    outcome = seed.present(loader, "a/b/loader")
    assert (outcome["changed"], outcome["how"], outcome["size"]) == (True, "linked", len(DATA))
    assert loader.samefile(seed / "a/b/loader")
    assert seed.present(loader, "a/b/loader")["changed"] is False
    assert seed.leftovers() == []
    assert (seed / "a").stat().st_mode & 0o777 == 0o755
    assert (seed / ".staging").stat().st_mode & 0o777 == 0o700


def test_a_file_whose_mode_differs_is_copied_and_its_own_is_left_alone(seed: Seed, tmp_path: Path) -> None:
    loader = tmp_path / "loader"
    loader.write_bytes(DATA)
    loader.chmod(0o600)
    assert seed.present(loader, "loader")["how"] == "copied"
    assert loader.stat().st_mode & 0o777 == 0o600
    assert (seed / "loader").stat().st_mode & 0o777 == 0o644
    (seed / "loader").chmod(0o640)
    assert seed.present(loader, "loader", check_mode=True)["changed"] is True
    assert seed.present(loader, "loader") | {"paths": None} == {
        "changed": True,
        "how": "kept",
        "paths": None,
        "sha256": hashlib.sha256(DATA).hexdigest(),
        "size": len(DATA),
    }
    assert seed.present(loader, "loader")["changed"] is False


def test_another_mode_is_not_given_to_the_source(seed: Seed, tmp_path: Path) -> None:
    loader = tmp_path / "loader"
    loader.write_bytes(DATA)
    loader.chmod(0o644)
    seed.present(loader, "loader")
    seed.attributes = Attributes(0o400)
    assert seed.present(loader, "loader")["changed"] is True
    assert [path.stat().st_mode & 0o777 for path in (loader, seed / "loader")] == [0o644, 0o400]
    assert seed.present(loader, "loader")["changed"] is False


def test_a_link_is_served_as_a_file(seed: Seed, tmp_path: Path) -> None:
    (tmp_path / "real").write_bytes(DATA)
    (tmp_path / "link").symlink_to("real")
    seed.present(tmp_path / "link", "loader")
    assert not (seed / "loader").is_symlink()
    assert (seed / "loader").read_bytes() == DATA


def test_roots_share_one_copy(seed: Seed, url: str, tmp_path: Path) -> None:
    seed.paths.append(tmp_path / "tftp")
    seed.present(f"{url}/data", "kernel")
    assert (tmp_path / "tftp/kernel").samefile(seed / "kernel")
    assert (seed / "kernel").stat().st_nlink == 2
    (tmp_path / "tftp/kernel").unlink()
    assert seed.present(f"{url}/data", "kernel")["changed"] is True
    assert seed.present(f"{url}/data", "kernel")["changed"] is False
    assert (tmp_path / "tftp/kernel").read_bytes() == DATA


@pytest.mark.parametrize("suffix", [".gz", ".xz", ".zst", ""])
@pytest.mark.parametrize("dest", ["file", "file.zst", "same"])
def test_the_name_says_what_is_served(seed: Seed, tmp_path: Path, suffix: str, dest: str) -> None:
    plain = tmp_path / "plain"
    plain.write_bytes(DATA)
    source = tmp_path / f"source{suffix}"
    packed = {
        ".gz": lambda: gzip.compress(DATA, 1),
        ".xz": lambda: lzma.compress(DATA, preset=0),
        ".zst": lambda: subprocess.run(["zstd", "-qc", plain], check=True, capture_output=True).stdout,
        "": lambda: DATA,
    }[suffix]()
    source.write_bytes(packed)
    dest = f"file{suffix}" if dest == "same" else dest
    seed.present(source, dest)
    served = (seed / dest).read_bytes()
    if dest.endswith(suffix) and (suffix or dest == "file"):
        assert served == packed
    elif dest == "file.zst":
        assert subprocess.run(["zstd", "-dc"], input=served, check=True, capture_output=True).stdout == DATA
    else:
        assert served == DATA
    assert seed.present(source, dest)["changed"] is False
    assert seed.leftovers() == []


def disk(path: Path, form: str) -> bytes:
    """A disk image of 8 MiB with data at 1 MiB and at its end; returns what is in it."""
    raw = path.with_suffix(".plain")
    content = bytearray(8 << 20)
    content[1 << 20 : (1 << 20) + 100_000] = random.Random(2).randbytes(100_000)
    content[-1:] = b"x"
    raw.write_bytes(content)
    if form == "raw":
        raw.rename(path)
    else:
        subprocess.run(["qemu-img", "convert", "-f", "raw", "-O", form, raw, path], check=True)
    return bytes(content)


@pytest.mark.parametrize("form", ["raw", "qcow2"])
@pytest.mark.parametrize("packing", ["", ".xz", ".zst"])
@pytest.mark.parametrize("dest", ["images/d.raw", "images/d.raw.zst"])
def test_a_disk_image_is_raw_mapped_and_described(
    seed: Seed, tmp_path: Path, form: str, packing: str, dest: str
) -> None:
    image = tmp_path / "cloud.img"
    content = disk(image, form)
    if packing:
        subprocess.run([{".xz": "xz", ".zst": "zstd"}[packing], "-q", image], check=True)
    source = tmp_path / f"cloud.img{packing}"
    if form == "qcow2" and packing == ".zst" and dest.endswith(packing):
        with pytest.raises(StageError, match="holds a qcow2 image"):
            seed.present(source, dest)
        return
    outcome = seed.present(source, dest)
    served = (seed / dest).read_bytes()
    raw = (
        subprocess.run(["zstd", "-dc"], input=served, check=True, capture_output=True).stdout
        if "zst" in dest
        else served
    )
    assert raw == content
    assert json.loads((seed / "images/d.map.json").read_text()) == {
        "schema": 1,
        "block_size": 65536,
        "size": 8 << 20,
        "extents": [[1 << 20, 131072], [(8 << 20) - 65536, 65536]],
    }
    about = json.loads((seed / "images/d.json").read_text())
    assert about == outcome["image"]
    assert about | {"created": "", "inputs_hash": ""} == {
        "schema": 1,
        "name": "d",
        "inputs_hash": "",
        "format": "raw.zst" if "zst" in dest else "raw",
        "size": len(content),
        "compressed_size": len(served),
        "sha256": hashlib.sha256(served).hexdigest(),
        "raw_sha256": hashlib.sha256(content).hexdigest(),
        "created": "",
        "packages": {},
    }
    before = (seed / dest).stat().st_ino
    assert seed.present(source, dest)["changed"] is False
    assert (seed / dest).stat().st_ino == before
    assert seed.leftovers() == []


def test_a_lost_companion_is_made_again(seed: Seed, tmp_path: Path) -> None:
    disk(tmp_path / "d.qcow2", "qcow2")
    seed.present(tmp_path / "d.qcow2", "d.raw.zst")
    (seed / "d.map.json").unlink()
    assert seed.present(tmp_path / "d.qcow2", "d.raw.zst")["changed"] is True
    assert (seed / "d.map.json").exists()


def test_an_image_that_reads_other_files_is_refused(seed: Seed, tmp_path: Path) -> None:
    secret, image, data = tmp_path / "shadow", tmp_path / "evil.qcow2", tmp_path / "evil.data"
    secret.write_bytes(b"s" * 65536)
    for options in (["-b", secret, "-F", "raw"], ["-o", f"data_file={data},data_file_raw=on", "65536"]):
        subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", *options[:2], *([image, *options[2:]])], check=True)
        with pytest.raises(StageError, match="reads another file"):
            seed.present(image, "evil.raw")
    assert not (seed / "evil.raw").exists()


@pytest.mark.parametrize(("form", "name"), [("vmdk", "VMDK"), ("vhdx", "VHDX"), ("vpc", "VHD"), ("vdi", "VDI")])
def test_an_image_of_a_foreign_format_is_refused(seed: Seed, tmp_path: Path, form: str, name: str) -> None:
    disk(tmp_path / "image", form)
    with pytest.raises(StageError, match=f"is {name}, which is not converted"):
        seed.present(tmp_path / "image", "image.raw")


def test_a_packed_image_without_a_telling_name_is_refused(seed: Seed, tmp_path: Path) -> None:
    (tmp_path / "image").write_bytes(gzip.compress(DATA, 1))
    with pytest.raises(StageError, match=r"src lacks \.gz"):
        seed.present(tmp_path / "image", "image.raw")


@pytest.mark.parametrize("cut", [10, 80])
def test_a_broken_qcow2_is_refused(seed: Seed, tmp_path: Path, cut: int) -> None:
    disk(tmp_path / "image", "qcow2")
    os.truncate(tmp_path / "image", cut)
    with pytest.raises(StageError, match=r"cut off in its header|qemu-img: "):
        seed.present(tmp_path / "image", "image.raw")


# Downloads


def test_a_download_is_kept_until_the_server_has_another(seed: Seed, url: str) -> None:
    assert seed.present(f"{url}/data", "data")["changed"] is True
    assert seed.present(f"{url}/data", "data", check_mode=True)["changed"] is False
    assert seed.present(f"{url}/data", "data")["changed"] is False
    Server.files["/data"] = DATA[::-1]
    assert seed.present(f"{url}/data", "data", check_mode=True)["changed"] is True
    assert (seed / "data").read_bytes() == DATA
    assert seed.present(f"{url}/data", "data")["changed"] is True
    assert (seed / "data").read_bytes() == DATA[::-1]
    assert seed.leftovers() == []


def test_a_server_without_validators_is_asked_for_all_again(seed: Seed, url: str) -> None:
    Server.etags = False
    assert seed.present(f"{url}/data", "data")["changed"] is True
    assert seed.present(f"{url}/data", "data")["changed"] is False
    assert [wanted for _path, wanted in Server.asked] == [None, None]


def test_a_given_checksum_saves_the_question(seed: Seed, url: str) -> None:
    seed.present(f"{url}/data", "data", sha256(DATA))
    seed.present(f"{url}/data", "data", sha256(DATA))
    assert len(Server.asked) == 1


@pytest.mark.parametrize("fault", ["truncated", "silent", "503", "429"])
def test_a_failed_fetch_goes_on_where_it_stopped(seed: Seed, url: str, fault: str) -> None:
    Server.faults = [fault]
    seed.present(f"{url}/data", "data", sha256(DATA))
    assert (seed / "data").read_bytes() == DATA
    (_path, first), (_path, second) = Server.asked
    assert first is None
    assert (second is None) == fault.isdigit()


@pytest.mark.parametrize("fault", ["wrong range", "wrong total"])
def test_a_wrong_range_starts_over(seed: Seed, url: str, fault: str) -> None:
    Server.faults = ["truncated", fault]
    seed.present(f"{url}/data", "data")
    assert (seed / "data").read_bytes() == DATA
    assert [bool(wanted) for _path, wanted in Server.asked] == [False, True, False]


def test_a_download_that_stays_truncated_fails_and_goes_on_in_the_next_run(seed: Seed, url: str) -> None:
    seed.paths[0].mkdir()
    (seed / "data").write_bytes(OLD)
    Server.faults = ["truncated"] * 3
    with pytest.raises(StageError, match=r"/data: truncated, \d+ of 1000000 bytes came, at the last of 3 attempts"):
        seed.present(f"{url}/data?token=secret", "data")
    assert (seed / "data").read_bytes() == OLD
    assert [name.rpartition(".")[2] for name in seed.leftovers()] == ["about", "part"]
    Server.asked = []
    seed.present(f"{url}/data?token=secret", "data")
    assert (seed / "data").read_bytes() == DATA
    assert Server.asked == [("/data", "bytes=875000-")]
    assert seed.leftovers() == []
    assert "secret" not in (seed / ".staging/manifest.json").read_text()


def test_a_part_of_another_version_is_thrown_away(seed: Seed, url: str) -> None:
    Server.faults = ["truncated"] * 3
    with pytest.raises(StageError):
        seed.present(f"{url}/data", "data")
    Server.files["/data"] = DATA[::-1]
    seed.present(f"{url}/data", "data")
    assert (seed / "data").read_bytes() == DATA[::-1]


def test_a_whole_part_is_not_fetched_again(seed: Seed, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_room(*_arguments: object) -> None:
        raise StageError("no room")

    with monkeypatch.context() as patched:
        patched.setattr(stage_module, "_transform", no_room)
        with pytest.raises(StageError, match="no room"):
            seed.present(f"{url}/data", "data.zst")
    Server.asked = []
    seed.present(f"{url}/data", "data.zst")
    assert Server.asked == [("/data", "bytes=1000000-")]


def test_a_part_that_a_power_cut_spoiled_is_fetched_again(seed: Seed, url: str) -> None:
    Server.faults = ["truncated"] * 3
    with pytest.raises(StageError):
        seed.present(f"{url}/data", "data")
    (part,) = (seed / ".staging").glob("*.part")
    part.write_bytes(bytes(part.stat().st_size))
    seed.present(f"{url}/data", "data", sha256(DATA))
    assert (seed / "data").read_bytes() == DATA


@pytest.mark.parametrize(("src", "fault"), [("/missing", "HTTP 404"), ("/data", "HTTP 403")])
def test_a_refusal_is_not_repeated(seed: Seed, url: str, src: str, fault: str) -> None:
    Server.faults = ["403"] if src == "/data" else []
    with pytest.raises(StageError, match=fault):
        seed.present(url + src, "data")
    assert len(Server.asked) == 1


def test_a_server_that_is_not_there(seed: Seed) -> None:
    with pytest.raises(StageError, match=r"Connection refused.*at the last of 3 attempts"):
        seed.present("http://127.0.0.1:1/data", "data")


def test_a_wrong_checksum_serves_the_old_file(seed: Seed, url: str, tmp_path: Path) -> None:
    (tmp_path / "data").write_bytes(DATA)
    seed.paths[0].mkdir()
    (seed / "data").write_bytes(OLD)
    for src in (f"{url}/data", tmp_path / "data"):
        with pytest.raises(StageError, match=f"has {sha256(DATA)}, but {sha256(OLD + b'x')} is wanted"):
            seed.present(src, "data", sha256(OLD + b"x"))
    assert (seed / "data").read_bytes() == OLD
    assert seed.leftovers() == []


@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
@pytest.mark.parametrize("line", ["{sum}  data", "{sum} *./data", "SHA256 (data) = {sum}", "{sum}  netboot/data"])
def test_a_sums_file(seed: Seed, url: str, tmp_path: Path, algorithm: str, line: str) -> None:
    right, wrong = (hashlib.new(algorithm, data).hexdigest() for data in (DATA, OLD))
    text = f"# sums\n{wrong}  mydata\n{line.format(sum=right)}\n{wrong}  data.sig\n"
    Server.files |= {"/netboot/data": DATA, "/SUMS": text.encode()}
    (tmp_path / "SUMS").write_text(text)
    for sums in (f"{url}/SUMS", str(tmp_path / "SUMS")):
        seed.present(f"{url}/netboot/data", "data", sums)
        assert (seed / "data").read_bytes() == DATA
    seed.present(f"{url}/netboot/data", "data", f"{url}/SUMS", check_mode=True)
    Server.faults = ["503"]
    assert seed.present(f"{url}/netboot/data", "data", f"{url}/SUMS")["changed"] is False


def test_a_sums_file_that_does_not_help(seed: Seed, url: str) -> None:
    with pytest.raises(StageError, match="does not name data"):
        find_sum("# nothing\nabc  data\n", "/data")
    with pytest.raises(StageError, match="names data with 2 different sums"):
        find_sum(f"{'a' * 64}  data\n{'b' * 64}  data\n", "/x/data")
    assert find_sum(f"{'a' * 64}  data\n{'b' * 64}  x/data\n", "/x/data").value == "b" * 64
    Server.files["/SUMS"] = bytes(5 << 20)
    with pytest.raises(StageError, match="too large"):
        seed.present(f"{url}/data", "data", f"{url}/SUMS")


def test_a_damaged_packed_file_serves_the_old_one(seed: Seed, tmp_path: Path) -> None:
    source = tmp_path / "image.xz"
    source.write_bytes(lzma.compress(DATA, preset=0)[:-100])
    seed.paths[0].mkdir()
    (seed / "image").write_bytes(OLD)
    with pytest.raises(StageError, match=r"xz: .*Unexpected end of input"):
        seed.present(source, "image")
    assert (seed / "image").read_bytes() == OLD
    assert seed.leftovers() == []


def test_a_missing_tool_is_named(seed: Seed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "image.zst").write_bytes(b"")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(StageError, match="zstd is missing, install the package zstd"):
        seed.present(tmp_path / "image.zst", "image")


def test_a_source_that_is_no_file(seed: Seed, tmp_path: Path) -> None:
    for src in (tmp_path / "missing", tmp_path):
        with pytest.raises(StageError, match="is not a file"):
            seed.present(src, "data")


def test_a_source_that_went_away_is_not_missed(seed: Seed, tmp_path: Path) -> None:
    (tmp_path / "data").write_bytes(DATA)
    seed.present(tmp_path / "data", "data", sha256(DATA))
    (tmp_path / "data").unlink()
    assert seed.present(tmp_path / "data", "data", sha256(DATA))["changed"] is False


# Accidents

RUN = """
import subprocess, sys
from pathlib import Path
from ansible_collections.seedcloud.openstack.plugins.module_utils._image.fetch import Http
from ansible_collections.seedcloud.openstack.plugins.module_utils._image.model import parse_items
from ansible_collections.seedcloud.openstack.plugins.module_utils._image.stage import Stage
from ansible_collections.seedcloud.openstack.plugins.module_utils._image.store import Root
def command(words):
    done = subprocess.run(words, capture_output=True, text=True)
    return done.returncode, done.stdout, done.stderr

root = Root(Path(sys.argv[1]))
(item,) = parse_items([{"src": sys.argv[2], "dest": sys.argv[3]}])
with root.locked(30):
    root.load()
    try:
        print(Stage([root], command, http=Http(attempts=1)).present(item)["changed"])
    except Exception as error:
        sys.exit(f"{type(error).__name__}: {error}")
"""


@pytest.mark.parametrize(
    ("moment", "size"),
    [
        (".staging/lock", 0),
        (".staging/*.about", 1),
        (".staging/*.part", 1),
        (".staging/*.part", 500_000),
        (".staging/tmp*/*", 0),
    ],
)
def test_a_kill_in_the_middle(seed: Seed, url: str, tmp_path: Path, moment: str, size: int) -> None:
    seed.paths[0].mkdir()
    (seed / "data.zst").write_bytes(OLD)
    Server.faults = ["slow"]
    (tmp_path / "zstd").write_text("#!/bin/sh\nexec sleep 60\n")
    (tmp_path / "zstd").chmod(0o755)
    run = subprocess.Popen(
        [sys.executable, "-c", RUN, str(seed.paths[0]), f"{url}/data", "data.zst"],
        env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"},
        start_new_session=True,
    )
    while not any(path.stat().st_size >= size for path in seed.paths[0].glob(moment)):
        assert run.poll() is None
        time.sleep(0.002)
    os.killpg(run.pid, signal.SIGKILL)
    run.wait()
    assert (seed / "data.zst").read_bytes() == OLD
    (seed / ".staging-00").write_bytes(b"x")  # as from a kill just before a rename
    seed.present(f"{url}/data", "data.zst")
    assert subprocess.run(["zstd", "-dc", seed / "data.zst"], check=True, capture_output=True).stdout == DATA
    assert seed.leftovers() == []


def _killed(_root: Root) -> None:
    raise KeyboardInterrupt


def test_a_kill_between_rename_and_record(seed: Seed, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(Root, "save", _killed)
        with pytest.raises(KeyboardInterrupt):
            seed.present(f"{url}/data", "data", sha256(DATA))
    assert seed.present(f"{url}/data", "data", sha256(DATA))["changed"] is False
    assert seed.run(lambda stage: stage.prune([], []))[0].endswith("/data")


def test_two_runs_at_once_fetch_once(seed: Seed, url: str) -> None:
    Server.faults = ["slow"]
    command = [sys.executable, "-c", RUN, str(seed.paths[0]), f"{url}/data", "data"]
    runs = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _run in range(4)]
    assert sorted(run.communicate()[0] for run in runs) == ["False\n"] * 3 + ["True\n"]
    assert (seed / "data").read_bytes() == DATA
    assert len(Server.asked) == 4  # one download and three questions whether it changed


def test_a_lock_that_is_not_given_back_is_told(seed: Seed) -> None:
    first, second = Root(seed.paths[0]), Root(seed.paths[0])
    told = pytest.raises(StageError, match=f"process {os.getpid()} has been staging")
    with first.locked(1), told, second.locked(0.2):
        pass


needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="mounts a small tmpfs in a mount namespace of its own")


def _on_small_disk(folder: Path, script: str) -> subprocess.CompletedProcess[str]:
    folder.mkdir()
    mount = f'mount -t tmpfs -o size=2m tmpfs "{folder}" && cd "{folder}" && {script}'
    return subprocess.run(["unshare", "--mount", "sh", "-c", mount], capture_output=True, text=True, check=False)


@needs_root
@pytest.mark.parametrize("dest", ["data", "plain", "other.raw"])
@pytest.mark.parametrize("told", [True, False])
def test_a_full_disk(url: str, tmp_path: Path, dest: str, told: bool) -> None:
    (tmp_path / "run.py").write_text(RUN)
    Server.files["/data"] = DATA * 3
    if dest == "data":  # the download itself does not fit
        src = f"{url}/data"
        if not told:
            Server.send_header = _without_length(Server.send_header)  # type: ignore[method-assign]
    elif dest == "plain":  # what comes out of it does not fit
        src = str(tmp_path / "zeros.gz")
        Path(src).write_bytes(gzip.compress(bytes(4 << 20)))
    else:
        src = str(tmp_path / "other.qcow2")
        disk(Path(src), "qcow2")
        subprocess.run(["qemu-io", "-c", "write -P 1 0 4M", src], check=True, capture_output=True)
    try:
        done = _on_small_disk(
            tmp_path / "small",
            f'printf old > {dest} && {{ {sys.executable} {tmp_path}/run.py "$PWD" "{src}" {dest}; '
            f"echo rc=$?; cat {dest}; echo; find . -type f -size +100k; }}",
        )
    finally:
        vars(Server).get("send_header") and delattr(Server, "send_header")
    assert re.search(r"No space left|bytes are to come and \d+ are free", done.stderr), done
    assert done.stdout == "rc=1\nold\n"  # nothing large is left behind


def _without_length(send: Callable[..., None]) -> Callable[..., None]:
    def send_header(self: Server, name: str, value: str) -> None:
        if name == "Content-Length":
            self.close_connection = True
            name, value = "Connection", "close"
        send(self, name, value)

    return send_header


@needs_root
def test_a_root_on_two_file_systems_is_served_by_copies(url: str, tmp_path: Path) -> None:
    (tmp_path / "run.py").write_text(RUN)
    (tmp_path / "small").mkdir()
    Server.files["/data"] = DATA[:100_000]
    script = (
        f'mkdir "{tmp_path}/small/images" && mount -t tmpfs tmpfs "{tmp_path}/small/images" && '
        f'{sys.executable} {tmp_path}/run.py "{tmp_path}/small" "{url}/data" images/data && '
        f"sha256sum {tmp_path}/small/images/data"
    )
    done = subprocess.run(["unshare", "--mount", "sh", "-c", script], capture_output=True, text=True, check=True)
    assert hashlib.sha256(DATA[:100_000]).hexdigest() in done.stdout


def test_a_source_that_changes_while_it_is_copied(seed: Seed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = tmp_path / "data"
    source.write_bytes(DATA)
    source.chmod(0o600)
    copy = store._copy

    def slow_copy(source: Path, dest: Path) -> None:
        source.write_bytes(DATA + b"more")
        copy(source, dest)

    monkeypatch.setattr(store, "_copy", slow_copy)
    with pytest.raises(StageError, match="changed while it was copied"):
        seed.present(source, "data", sha256(DATA))
    assert not (seed / "data").exists()
    assert seed.leftovers() == []


def test_a_broken_record_is_told(seed: Seed) -> None:
    with Root(seed.paths[0]).locked(1):
        pass
    (seed / ".staging/manifest.json").write_text("{")
    with pytest.raises(StageError, match=r"manifest\.json cannot be read .* remove it"):
        Root(seed.paths[0]).load()


def test_old_parts_are_cleared(seed: Seed) -> None:
    with Root(seed.paths[0]).locked(1):
        for name, age in (("new", 1), ("old", 8 * 86400)):
            part = seed / f".staging/{name}.part"
            part.touch()
            os.utime(part, (time.time() - age,) * 2)
    with Root(seed.paths[0]).locked(1):
        assert seed.leftovers() == [".staging/new.part"]


# Removal


def test_absent_takes_all_that_belongs_to_it(seed: Seed, tmp_path: Path) -> None:
    disk(tmp_path / "d.qcow2", "qcow2")
    (tmp_path / "other").write_bytes(DATA)
    seed.present(tmp_path / "d.qcow2", "images/deep/d.raw.zst")
    seed.present(tmp_path / "other", "images/other")
    before = sorted(seed.paths[0].rglob("*"))
    outcome = seed.run(lambda stage: stage.absent("images/deep/d.raw.zst"), check_mode=True)
    assert outcome["changed"] is True
    assert sorted(seed.paths[0].rglob("*")) == before
    assert seed.run(lambda stage: stage.absent("images/deep/d.raw.zst")) == outcome
    assert [Path(path).name for path in outcome["paths"]] == ["d.json", "d.map.json", "d.raw.zst"]
    assert sorted(path.name for path in (seed / "images").iterdir()) == ["other"]
    assert seed.run(lambda stage: stage.absent("images/deep/d.raw.zst"))["changed"] is False


def test_prune_removes_what_nobody_names(seed: Seed, tmp_path: Path) -> None:
    for name in "abcde":
        (tmp_path / name).write_bytes(name.encode())
        seed.present(tmp_path / name, f"ramdisks/{name}")
    (seed / "ramdisks/foreign").write_bytes(DATA)
    orders = tmp_path / "nodes/node1"
    orders.mkdir(parents=True)
    (orders / "order.json").write_text('{"url": "/ramdisks/c"}')
    (orders / "gone").symlink_to("nowhere")
    keep = ["ramdisks/a", "http://192.0.2.2:8080/ramdisks/b", "/ramdisks/nothing"]

    def prune(stage: Stage) -> list[str]:
        return stage.prune(keep, [tmp_path / "nodes", tmp_path / "missing"])

    gone = [str(seed / f"ramdisks/{name}") for name in "de"]
    assert seed.run(prune, check_mode=True) == gone
    assert (seed / "ramdisks/d").exists()
    assert seed.run(prune) == gone
    assert sorted(path.name for path in (seed / "ramdisks").iterdir()) == ["a", "b", "c", "foreign"]
    assert seed.run(prune) == []


# Arguments


@pytest.mark.parametrize(
    "dest",
    [
        *(
            "../x",
            "a/../x",
            "/etc/passwd",
            "",
            ".",
            "a//b",
            "a/",
            ".hidden",
            "a/.staging/x",
            "a b",
            "a\nb",
            "-rf",
            "a/-x",
        ),
        *("a\0b", "x" * 300, "a:b", "é", "a\\b", "${x}", "a,b", "a'b"),
    ],
)
def test_a_dest_that_leaves_the_root_is_refused(dest: str) -> None:
    for removal in (True, False):
        with pytest.raises(Faults, match=r"files\[0\].dest: .* is no path below a root"):
            parse_items([{"dest": dest, "src": "/x"}], removal=removal)


@pytest.mark.parametrize(
    "src",
    [
        *("", "relative", "file:///etc/passwd", "ftp://192.0.2.1/x", "http:///x", "http://[::1/x", "http://h:99999/x"),
        *(
            "http://user:secret@192.0.2.1/x",
            "http://192.0.2.1/a b",
            "http://192.0.2.1/a\r\nHost: x",
            "/a\0b",
            "http://h/é",
        ),
    ],
)
def test_a_src_that_is_none_is_refused(src: str) -> None:
    with pytest.raises(Faults, match=r"files\[0\].src: ") as caught:
        parse_items([{"dest": "x", "src": src}])
    assert "secret" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_every_fault_is_told_at_once() -> None:
    with pytest.raises(Faults) as caught:
        parse_items(
            [
                {"dest": "../x", "src": "/x"},
                {"dest": "a.gz", "src": "/a"},
                {"dest": "b", "src": "b", "checksum": "sha256:abc"},
                {"dest": "c", "src": "/c", "checksum": "md5:abc"},
                {"dest": "d.raw", "src": "/d"},
                {"dest": "d.raw.zst", "src": "/d"},
                {"dest": "d.json", "src": "/d"},
            ]
        )
    assert [fault.field for fault in caught.value.faults] == [
        *("files[0].dest", "files[1].dest", "files[2].src", "files[2].checksum", "files[3].checksum"),
        *("files[5].dest", "files[5].dest", "files[6].dest"),
    ]
    assert all(fault.mend for fault in caught.value.faults)


def test_a_symbolic_link_out_of_the_root_is_not_followed(seed: Seed, tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "data").write_bytes(DATA)
    seed.paths[0].mkdir()
    (seed / "images").symlink_to(tmp_path / "outside")
    with pytest.raises(StageError, match="symbolic link that leaves"):
        seed.present(tmp_path / "data", "images/data")
    with pytest.raises(StageError, match="symbolic link that leaves"):
        seed.run(lambda stage: stage.absent("images/data"))
    assert list((tmp_path / "outside").iterdir()) == []


def test_a_link_in_place_of_the_file_is_replaced_not_followed(seed: Seed, tmp_path: Path) -> None:
    (tmp_path / "data").write_bytes(DATA)
    (tmp_path / "victim").write_bytes(OLD)
    seed.paths[0].mkdir()
    (seed / "data").symlink_to(tmp_path / "victim")
    seed.present(tmp_path / "data", "data")
    assert (tmp_path / "victim").read_bytes() == OLD
    assert not (seed / "data").is_symlink()


def test_a_folder_in_place_of_the_file(seed: Seed, tmp_path: Path) -> None:
    (tmp_path / "data").write_bytes(DATA)
    (seed / "data").mkdir(parents=True)
    with pytest.raises(StageError, match="is a folder"):
        seed.present(tmp_path / "data", "data")


def test_names() -> None:
    item = Item("images/d.raw.zst", "https://images.example/d.qcow2.xz?token=secret")
    assert (item.unpack, item.pack, item.image) == (".xz", ".zst", "images/d")
    assert item.shown_src == "https://images.example/d.qcow2.xz"
    assert as_dest("http://192.0.2.2:80/images/d.raw.zst?x") == as_dest("/images/d.raw.zst") == "images/d.raw.zst"
