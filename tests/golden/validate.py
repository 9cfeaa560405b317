# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 the seedcloud.openstack authors
"""Have every file of the golden plans judged by the programs that will read it, inside a golden image's root.

    validate.py ROOT            print every fault; exit 1 where there is one
    validate.py ROOT --plant    plant a misspelt option in each file first; exit 1 where one is not found
    validate.py --packages      print what ROOT must have installed

Needs root. ROOT is not changed: the files go into an overlay that is gone afterwards.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import yaml

GOLDEN = Path(__file__).parent
PLANTED = "seedcloud_misspelt"

# What generates each service's sample file; the manifests' `validate` names a row.
COMMON = ["oslo.log", "oslo.policy", "oslo.middleware", "oslo.middleware.http_proxy_to_wsgi", "oslo.concurrency"]
MORE = ["oslo.db", "oslo.messaging", "oslo.cache", "oslo.service.service", "oslo.service.wsgi", "oslo.privsep"]
TOKEN = ["keystonemiddleware.auth_token"]
NAMESPACES = {
    "keystone": ["keystone", *COMMON, *MORE],
    "glance": ["glance.api", "glance.store", "glance.multi_store", *COMMON, *MORE, *TOKEN],
    "placement": ["placement.conf", *COMMON, *TOKEN],
    "nova": ["nova.conf", *COMMON, *MORE, *TOKEN, "os_vif", "oslo.reports", "oslo.limit"],
    "neutron": ["neutron", "neutron.db", "neutron.extensions", "nova.auth", "placement.auth", *COMMON, *MORE, *TOKEN],
    "neutron.ml2": ["neutron.ml2", "neutron.ml2.ovn", "neutron", *COMMON],
    "neutron.ovn.metadata.agent": [
        "neutron.ovn.metadata.agent",
        "neutron.metadata.agent",
        "neutron",
        "neutron.ml2.ovn",
        *COMMON,
    ],
}
# What oslo-config-validator passes over: options of auth plugins (keystoneauth's `password` and its loaders).
AUTH_OPTIONS = {
    *("auth_type", "auth_url", "username", "password", "project_name", "project_domain_name", "user_domain_name"),
    *("region_name", "project_domain_id", "user_domain_id", "system_scope", "valid_interfaces", "endpoint_override"),
}
# Sections with names of our choosing, which no sample can hold: the options of the store that they configure.
STORES = {"local", "other", "os_glance_staging_store", "os_glance_tasks_store"}

RABBITMQ = """
Root = filelib:wildcard("/usr/lib/rabbitmq/lib/*/plugins"),
Schemas = filelib:wildcard(hd(Root) ++ "/*/priv/schema/*.schema"),
[code:add_pathz(P) || P <- filelib:wildcard(hd(Root) ++ "/*/ebin")],
Conf = cuttlefish_conf:file("/etc/rabbitmq/rabbitmq.conf"),
case cuttlefish_generator:map(cuttlefish_schema:files(Schemas), Conf) of
  {error, Phase, {errorlist, Faults}} ->
    [io:format("~p: ~ts~n", [Phase, lists:flatten(cuttlefish_error:xlate(F))]) || {error, F} <- Faults], halt(1);
  _ -> halt(0)
end.
"""


class Root:
    """A throw-away overlay of the image's root."""

    def __init__(self, lower: str) -> None:
        work = Path(tempfile.mkdtemp(prefix="seedcloud-validate-"))
        subprocess.run(["mount", "-t", "tmpfs", "none", work], check=True)  # in our own mount namespace: goes with us
        self.path = work / "root"
        for folder in ("root", "upper", "work"):
            (work / folder).mkdir()
        options = f"lowerdir={lower},upperdir={work}/upper,workdir={work}/work"
        subprocess.run(["mount", "-t", "overlay", "overlay", "-o", options, self.path], check=True)
        for folder in ("dev", "proc"):
            subprocess.run(["mount", "--rbind", f"/{folder}", self.path / folder], check=True)
        self._uwsgi: set[str] | None = None

    def close(self) -> None:
        """The mounts go with our namespace; the folder that they lie on would stay."""
        subprocess.run(["umount", "--recursive", "--lazy", self.path.parent], check=True)
        self.path.parent.rmdir()

    def run(self, *argv: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(["chroot", str(self.path), *argv], capture_output=True, text=True, check=False)

    def write(self, path: str, content: str) -> None:
        target = self.path / path.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(content)
        target.chmod(0o644)

    def uwsgi_options(self) -> set[str]:
        """Its own list of what it knows, its Python plugin's among it."""
        if self._uwsgi is None:
            help_text = self.run("uwsgi_python3", "--help").stdout
            self._uwsgi = set(re.findall(r"^\s+(?:-\w\|)?--([\w-]+)", help_text, re.MULTILINE))
            self._uwsgi |= set(re.findall(r"\|--([\w-]+)", help_text)) | {"apparmor-profile", "plugins"}
        return self._uwsgi


def options(content: str) -> Iterator[tuple[str, str]]:
    section = ""
    for line in content.splitlines():
        if line.startswith("["):
            section = line.strip("[]")
        elif "=" in line and not line.startswith("#"):
            yield section, line.partition("=")[0].strip()


def oslo(root: Root, file: dict[str, Any]) -> list[str]:
    spaces = [word for name in NAMESPACES[file["validate"]] for word in ("--namespace", name)]
    done = root.run("oslo-config-validator", *spaces, "--input-file", file["path"])
    said = [line for line in done.stderr.splitlines() if line.startswith(("ERROR", "CRITICAL"))]
    if done.returncode and not said:
        return [done.stderr[-2000:]]
    known = {f"{store}/filesystem_store_datadir" for store in STORES}
    faults = [line for line in said if line.removeprefix("ERROR:root:").partition(" ")[0] not in known]
    for section, option in options(file["content"]):  # its blind spot
        missed = f'Ignoring missing option "{option}" from group "{section}"' in done.stderr
        if missed and option not in AUTH_OPTIONS:
            faults.append(f"[{section}] {option} is not an option of an auth plugin")
    return faults


def mariadb(root: Root, file: dict[str, Any]) -> list[str]:
    done = root.run("mariadbd", f"--defaults-file={file['path']}", "--user=mysql", "--help", "--verbose")
    # It takes a unique beginning for the whole option, and says so in passing.
    bad = [line for line in done.stderr.splitlines() if "unique option prefix" in line or "[ERROR]" in line]
    return bad or ([done.stderr[-2000:]] if done.returncode else [])


def uwsgi(root: Root, file: dict[str, Any]) -> list[str]:
    known = root.uwsgi_options()
    return [f"uwsgi has no option {option}" for _unused, option in options(file["content"]) if option not in known]


def haproxy(root: Root, file: dict[str, Any]) -> list[str]:
    done = root.run("haproxy", "-c", "-f", "/etc/haproxy/haproxy.cfg", "-f", "/etc/haproxy/services")
    return [done.stderr[-2000:]] if done.returncode else []


def rabbitmq(root: Root, file: dict[str, Any]) -> list[str]:
    done = root.run("env", "HOME=/root", "erl", "-noshell", "-noinput", "-eval", RABBITMQ)
    return [(done.stdout + done.stderr)[-2000:]] if done.returncode else []


def memcached(root: Root, file: dict[str, Any]) -> list[str]:
    known = set(re.findall(r"(--[\w-]+)", root.run("memcached", "-h").stdout))
    words = [line.partition("=")[0] for line in file["content"].splitlines()]
    return [f"memcached has no option {word}" for word in words if word not in known]


Judge = Callable[[Root, dict[str, Any]], list[str]]


def judge(file: dict[str, Any]) -> Judge | None:
    path = file["path"]
    if "validate" in file:
        return oslo
    if path.endswith("uwsgi.ini"):
        return uwsgi
    for start, found in {
        "/etc/mysql/": mariadb,
        "/etc/haproxy/": haproxy,
        "/etc/rabbitmq/rabbitmq.conf": rabbitmq,
        "/etc/memcached.conf": memcached,
    }.items():
        if path.startswith(start):
            return found
    return None


def plant(file: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The file with a misspelt option: in its first section, and where a service user logs in."""
    content = file["content"]
    if file["path"].startswith("/etc/haproxy/"):
        yield {**file, "content": content + f"    {PLANTED} 1\n"}
    elif file["path"] == "/etc/memcached.conf":
        yield {**file, "content": content + f"--{PLANTED}=1\n"}
    else:
        yield {**file, "content": re.sub(r"(?m)^(\[.*\]\n)?", rf"\g<1>{PLANTED} = 1\n", content, count=1)}
        if "[keystone_authtoken]\n" in content:
            planted = content.replace("[keystone_authtoken]\n", f"[keystone_authtoken]\n{PLANTED} = 1\n")
            yield {**file, "content": planted}


def files() -> Iterator[tuple[str, dict[str, Any]]]:
    for plan in sorted(GOLDEN.glob("*/*.plan.yml")):
        for node in yaml.safe_load(plan.read_text())["graph"]:
            for file in node.get("files", []):
                if file.get("state") != "absent":
                    content = re.sub(r"<secret:(\w+)>|%3Csecret%3A(\w+)%3E", "f00d", file["content"])
                    yield f"{plan.parent.name}/{plan.name}", {**file, "content": content}


def packages() -> set[str]:
    plans = [yaml.safe_load(plan.read_text()) for plan in GOLDEN.glob("*/*.plan.yml")]
    return {package for plan in plans for package in plan["packages"]}


def check(root: Root, planting: bool) -> int:
    faults, judged = 0, 0
    seen: set[str] = set()  # the same content in another plan is not judged again
    tried: set[str] = set()
    everything = list(files())
    for plan in dict.fromkeys(name for name, _unused in everything):
        mine = [file for name, file in everything if name == plan]
        for file in mine:
            root.write(file["path"], file["content"])
        for file in mine:
            found = judge(file)
            key = json.dumps(file, sort_keys=True)
            if found is None or key in seen:
                continue
            seen.add(key)
            judged += 1
            for said in found(root, file):
                faults += 1
                print(f"{plan}: {file['path']}: {said}")
            for planted in plant(file) if planting and file["path"] not in tried else ():
                root.write(file["path"], planted["content"])
                if not any(PLANTED in said for said in found(root, planted)):
                    faults += 1
                    print(f"{plan}: {file['path']}: a planted fault was not found")
                root.write(file["path"], file["content"])
            tried.add(file["path"])
    print(f"{judged} files judged, {faults} faults")
    return 1 if faults or not judged else 0


def main() -> int:
    if "--packages" in sys.argv:
        print(*sorted(packages()))
        return 0
    if "--inside" not in sys.argv:
        os.execvp("unshare", ["unshare", "--mount", "--propagation=private", sys.executable, *sys.argv, "--inside"])
    root = Root(sys.argv[1])
    try:
        return check(root, "--plant" in sys.argv)
    finally:
        root.close()


if __name__ == "__main__":
    sys.exit(main())
