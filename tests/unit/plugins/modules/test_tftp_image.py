# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 the seedcloud.openstack authors
"""The module tftp_image: its arguments, results and failures. test_image_stage.py has the accidents."""

from __future__ import annotations

import hashlib
import json
import os
import pwd
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.seedcloud.openstack.plugins.modules import tftp_image

DATA = os.urandom(400_000)


@pytest.fixture
def run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Any:
    def run_(*, rc: int = 0, check_mode: bool = False, **arguments: Any) -> dict[str, Any]:
        arguments = {"roots": [str(tmp_path / "http")], "_ansible_check_mode": check_mode} | arguments
        with patch_module_args(arguments), pytest.raises(SystemExit) as left:
            tftp_image.main()
        assert left.value.code == rc
        result: dict[str, Any] = json.loads(capsys.readouterr().out)
        return result

    return run_


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "kernel"
    path.write_bytes(DATA)
    return path


def test_check_mode_tells_and_does_nothing(run: Any, source: Path, tmp_path: Path) -> None:
    files = [{"src": str(source), "dest": "a/kernel"}]
    predicted = run(files=files, check_mode=True)
    assert (predicted["changed"], predicted["files"]["a/kernel"]["how"]) == (True, "staged")
    assert not (tmp_path / "http").exists()
    result = run(files=files)
    sha256 = hashlib.sha256(DATA).hexdigest()
    assert result["files"]["a/kernel"] == {
        "changed": True,
        "how": "linked",
        "paths": [str(tmp_path / "http/a/kernel")],
        "sha256": sha256,
        "size": len(DATA),
    }
    assert result["diff"][0] | {"before_header": "", "after_header": ""} == {
        "before_header": "",
        "after_header": "",
        "before": "",
        "after": f"sha256: {sha256}\n",
    }
    for check_mode in (True, False):
        again = run(files=files, check_mode=check_mode)
        assert (again["changed"], again["diff"], again["files"]["a/kernel"]["how"]) == (False, [], "kept")
    removed = run(files=[{"dest": "a/kernel"}], state="absent")
    assert (removed["changed"], removed["diff"][0]["after"]) == (True, "")
    assert run(files=[{"dest": "a/kernel"}], state="absent")["changed"] is False


def test_a_failing_file_does_not_stop_the_others_and_nothing_is_pruned(run: Any, source: Path, tmp_path: Path) -> None:
    run(files=[{"src": str(source), "dest": "old"}])
    files = [{"src": str(tmp_path / "missing"), "dest": "missing"}, {"src": str(source), "dest": "new"}]
    result = run(files=files, prune=True, rc=1)
    assert list(result["failed_files"]) == ["missing"]
    assert "missing is not a file" in result["msg"]
    assert result["files"]["new"]["changed"] is True
    assert (tmp_path / "http/old").exists()
    result = run(files=files[1:], prune=True, keep=["/none"])
    assert result["pruned"] == [str(tmp_path / "http/old")]
    assert result["changed"] is True


def test_faults_of_all_arguments(run: Any, tmp_path: Path) -> None:
    result = run(files=[{"src": "x", "dest": "../x"}, {"dest": "y"}], rc=1)
    assert [fault["field"] for fault in result["faults"]] == ["files[0].dest", "files[1].src"]
    result = run(mode="rw", owner="nobody-there", group="nobody-there", rc=1)
    assert [fault["field"] for fault in result["faults"]] == ["mode", "owner", "group"]
    assert run(mode="7777", rc=1)["faults"][0]["field"] == "mode"
    assert not (tmp_path / "http").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="gives files away")
def test_owner_and_mode(run: Any, source: Path, tmp_path: Path) -> None:
    files = [{"src": str(source), "dest": "kernel"}]
    arguments = {"files": files, "owner": "nobody", "group": "nogroup", "mode": "0440"}
    assert run(**arguments)["files"]["kernel"]["how"] == "copied"
    served = (tmp_path / "http/kernel").stat()
    assert (served.st_mode & 0o777, served.st_uid) == (0o440, pwd.getpwnam("nobody").pw_uid)
    assert source.stat().st_uid == 0
    assert run(**arguments)["changed"] is False
    assert run(**arguments | {"owner": "root"})["changed"] is True


def test_a_root_that_cannot_be_written_is_told(run: Any, source: Path, tmp_path: Path) -> None:
    (tmp_path / "http").write_text("a file")
    assert "what was served before still is" in run(files=[{"src": str(source), "dest": "kernel"}], rc=1)["msg"]


@pytest.fixture
def nginx(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """A real server, slow enough to be interrupted."""
    (tmp_path / "served").mkdir(mode=0o755)
    (tmp_path / "served/kernel").write_bytes(DATA)
    tmp_path.chmod(0o755)
    log, configuration = tmp_path / "access.log", tmp_path / "nginx.conf"
    port = _free_port()
    configuration.write_text(
        f"daemon off; user root; pid {tmp_path}/pid; error_log stderr; events {{}}\n"
        f"http {{ log_format f '$status $http_range $body_bytes_sent'; access_log {log} f;\n"
        f"server {{ listen 127.0.0.1:{port}; root {tmp_path}/served; limit_rate 200k; }} }}\n"
    )
    server = subprocess.Popen(["nginx", "-c", configuration, "-p", tmp_path])
    while not (tmp_path / "pid").exists():
        assert server.poll() is None
        time.sleep(0.01)
    yield f"http://127.0.0.1:{port}", log
    server.send_signal(signal.SIGQUIT)
    server.wait()


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


def test_nginx_is_asked_for_the_rest_only(run: Any, tmp_path: Path, nginx: tuple[str, Path]) -> None:
    url, log = nginx
    files = [{"src": f"{url}/kernel", "dest": "kernel"}]
    child = os.fork()
    if not child:
        try:
            run(files=files)
        finally:
            os._exit(1)
    while not any(part.stat().st_size > 100_000 for part in tmp_path.glob("http/.staging/*.part")):
        time.sleep(0.01)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    assert run(files=files)["changed"] is True
    assert (tmp_path / "http/kernel").read_bytes() == DATA
    assert run(files=files)["changed"] is False
    time.sleep(0.1)  # nginx logs after it has answered
    told = [line.split() for line in log.read_text().splitlines()]
    resumed, asked = told[-2:]
    assert resumed[0] == "206"
    assert int(resumed[2]) < 300_000
    assert asked[0] == "304"
