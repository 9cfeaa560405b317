# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 the seedcloud.openstack authors
"""Have every file of the golden plans judged by the programs that will read it, inside a golden image's root.

    validate.py ROOT            print every fault; exit 1 where there is one
    validate.py ROOT --plant    plant a misspelt option in each file first; exit 1 where one is not found

Needs root, and a ROOT with all packages of the plans. It is not changed: the files go into an overlay that is gone afterwards.
"""

from __future__ import annotations

import ipaddress
import json
import os
import re
import shlex
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
# Options of sections that no sample holds: stores have names of our choosing, privsep's contexts are named in the code that uses them.
STORES = {"local", "other", "os_glance_staging_store", "os_glance_tasks_store"}
CONTEXTS = {"nova_sys_admin", "vif_plug_ovs_privileged"}
UNSAMPLED = {f"{store}/filesystem_store_datadir" for store in STORES} | {f"{name}/helper_command" for name in CONTEXTS}

# Where a variable of a shell file must be named for anybody to read it.
INIT = ["etc/init.d/*", "usr/lib/systemd/system/*", "usr/lib/rabbitmq/lib/*/sbin/*"]
# Variables that hold options, and what takes these.
CONTROL = {
    "OVN_CTL_OPTS": "/usr/share/ovn/scripts/ovn-ctl",
    "OVS_CTL_OPTS": "/usr/share/openvswitch/scripts/ovs-ctl",
}
# What OVN is told, set in Open vSwitch's database by a step; here a file like others.
EXTERNAL_IDS = "/run/seedcloud/external_ids"
DEFINITIONS = {
    "users": {"name", "password_hash", "hashing_algorithm", "tags"},
    "vhosts": {"name"},
    "permissions": {"user", "vhost", "configure", "write", "read"},
}
# Nobody can judge these: they hold no option.
UNJUDGED = {
    "/etc/keystone/fernet-keys/": "a key, made by the seed",
    "/etc/keystone/credential-keys/": "a key, made by the seed",
    "/var/lib/rabbitmq/.erlang.cookie": "a secret, made by the seed",
    "/etc/openvswitch/system-id.conf": "a name",
}

ERLANG = """
Root = filelib:wildcard("/usr/lib/rabbitmq/lib/*/plugins"),
[code:add_pathz(P) || P <- filelib:wildcard(hd(Root) ++ "/*/ebin")],
"""
RABBITMQ_ENV = """
[io:format("~s~n", [Name]) || {Name, _} <- rabbit_env:get_used_env_vars()],
halt(0).
"""
RABBITMQ = """
Schemas = filelib:wildcard(hd(Root) ++ "/*/priv/schema/*.schema"),
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
        self._readers: str | None = None

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

    def erlang(self, program: str, *environment: str) -> subprocess.CompletedProcess[str]:
        return self.run("env", "HOME=/root", *environment, "erl", "-noshell", "-noinput", "-eval", ERLANG + program)

    def names(self, variable: str) -> bool:
        """Whether an init script, a unit or a server's own script has this variable."""
        if self._readers is None:
            found = [path for pattern in INIT for path in self.path.glob(pattern) if path.is_file()]
            self._readers = "\n".join(path.read_text(errors="replace") for path in found)
        return re.search(rf"\b{variable}\b", self._readers) is not None

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
    faults = [line for line in said if line.removeprefix("ERROR:root:").partition(" ")[0] not in UNSAMPLED]
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
    done = root.erlang(RABBITMQ)
    return [(done.stdout + done.stderr)[-2000:]] if done.returncode else []


def memcached(root: Root, file: dict[str, Any]) -> list[str]:
    known = set(re.findall(r"(--[\w-]+)", root.run("memcached", "-h").stdout))
    words = [line.partition("=")[0] for line in file["content"].splitlines()]
    return [f"memcached has no option {word}" for word in words if word not in known]


def definitions(root: Root, file: dict[str, Any]) -> list[str]:
    """RabbitMQ passes over what it does not know."""
    known: dict[str, set[str]] = {"": set(DEFINITIONS), **DEFINITIONS}
    content = json.loads(file["content"])
    places = [("", content), *((place, item) for place, items in content.items() if place in known for item in items)]
    return [f"definitions have no {place} {key}" for place, item in places for key in item if key not in known[place]]


def unit(root: Root, file: dict[str, Any]) -> list[str]:
    """A drop-in is judged with the unit that it is for; of a name that ends in a dash with one of all that begin so."""
    name = Path(file["path"]).name
    if name.endswith(".conf"):
        name = Path(file["path"]).parent.name.removesuffix(".d")
        if "-." in name:
            found = sorted((root.path / "usr/lib/systemd/system").glob(name.replace("-.", "-*.")))
            if not found:
                return [f"there is no unit {name.replace('-.', '-*.')}"]
            name = found[0].name
    done = root.run("systemd-analyze", "verify", "--man=no", name)
    # Others' units are others' business.
    mine = (file["path"], *([f"{name}: Command"] if not file["path"].endswith(".conf") else []))
    return [line for line in done.stderr.splitlines() if line.startswith(mine)]


def shell(root: Root, file: dict[str, Any]) -> list[str]:
    """Its syntax, with the line that the fault is in."""
    done = root.run("sh", "-n", file["path"])
    lines = file["content"].splitlines()
    numbers = [int(number) for number in re.findall(r": (\d+): ", done.stderr)]
    return [f"{done.stderr.strip()}: {lines[number - 1] if number <= len(lines) else ''}" for number in numbers] or (
        [done.stderr] if done.returncode else []
    )


VARIABLE = re.compile(r'^(\w+)=("[^"]*"|.*)$', re.MULTILINE)


def rabbitmq_env(root: Root, file: dict[str, Any]) -> list[str]:
    """Some its scripts read, and some the server itself, with a prefix."""
    names = [name for name, _value in VARIABLE.findall(file["content"])]
    used = root.erlang(RABBITMQ_ENV, *(f"RABBITMQ_{name}=x" for name in names)).stdout.splitlines()
    unread = [name for name in names if f"RABBITMQ_{name}" not in used and not root.names(name)]
    return shell(root, file) + [f"RabbitMQ reads no {name}" for name in unread]


def variables(root: Root, file: dict[str, Any]) -> list[str]:
    """A file that a shell or systemd reads for its variables: somebody must name each."""
    faults = shell(root, file)
    for name, value in VARIABLE.findall(file["content"]):
        if not root.names(name):
            faults.append(f"nobody reads {name}")
        if program := CONTROL.get(name):
            said = root.run(program, *shlex.split(value.strip('"')), "--help").stderr
            faults += [line for line in said.splitlines() if "unknown option" in line]
    return faults


def external_ids(root: Root, file: dict[str, Any]) -> list[str]:
    """Whoever reads a key has it in its text."""
    reader = (root.path / "usr/bin/ovn-controller").read_bytes()
    return [f"OVN has no {key}" for _unused, key in options(file["content"]) if f"\0{key}\0".encode() not in reader]


def hosts(root: Root, file: dict[str, Any]) -> list[str]:
    faults = []
    for line in file["content"].splitlines():
        address, *names = line.split()
        try:
            ipaddress.ip_address(address)
        except ValueError:
            faults.append(f"no address: {line}")
        if not names:
            faults.append(f"no name: {line}")
    return faults


Judge = Callable[[Root, dict[str, Any]], list[str]]
JUDGES: dict[str, Judge] = {
    r".*uwsgi\.ini": uwsgi,
    r"/etc/mysql/.*": mariadb,
    r"/etc/haproxy/.*": haproxy,
    r"/etc/rabbitmq/rabbitmq\.conf": rabbitmq,
    r"/etc/rabbitmq/definitions\.d/.*": definitions,
    r"/etc/rabbitmq/rabbitmq-env\.conf": rabbitmq_env,
    r"/etc/default/.*": variables,
    r"/etc/memcached\.conf": memcached,
    r"/etc/systemd/system/.*": unit,
    r"/etc/hosts": hosts,
    r"/usr/local/sbin/.*": shell,
    EXTERNAL_IDS: external_ids,
}


def judge(file: dict[str, Any]) -> Judge | None:
    """Who judges a file; None for what stands in UNJUDGED. Raises LookupError for what is in neither."""
    path = file["path"]
    if "validate" in file:
        return oslo
    if found := next((found for pattern, found in JUDGES.items() if re.fullmatch(pattern, path)), None):
        return found
    if path.startswith(tuple(UNJUDGED)):
        return None
    raise LookupError("nobody judges it: add a judge, or a reason why there can be none")


def plant(file: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The file with a misspelt option: in its first section, and where a service user logs in."""
    content = file["content"]
    ends = {
        haproxy: f"    {PLANTED} 1\n",
        memcached: f"--{PLANTED}=1\n",
        rabbitmq_env: f"{PLANTED}=1\n",
        variables: f"{PLANTED}=1\n",
        shell: f"){PLANTED}\n",
        hosts: f"{PLANTED} 192.0.2.1\n",
    }
    found = judge(file)
    if found in ends:
        yield {**file, "content": content + ends[found]}
        for option in ("--delete-transient-ports", "--db-nb-addr"):
            if option in content:
                yield {**file, "content": content.replace(option, f"--{PLANTED}")}
    elif found is definitions:
        yield {**file, "content": json.dumps(json.loads(content) | {PLANTED: []})}
    elif found is unit:
        yield {**file, "content": re.sub(r"(?m)^(\[.*\]\n)", rf"\g<1>{PLANTED}=1\n", content, count=1)}
    else:
        yield {**file, "content": re.sub(r"(?m)^(\[.*\]\n)?", rf"\g<1>{PLANTED} = 1\n", content, count=1)}
        if "[keystone_authtoken]\n" in content:
            planted = content.replace("[keystone_authtoken]\n", f"[keystone_authtoken]\n{PLANTED} = 1\n")
            yield {**file, "content": planted}


def files() -> Iterator[tuple[str, dict[str, Any]]]:
    """Every file of every plan, by the plan's name; each knows its service."""
    for plan in sorted(GOLDEN.glob("*/*.plan.yml")):
        for node in yaml.safe_load(plan.read_text())["graph"]:
            found = [file for file in node.get("files", []) if file.get("state") != "absent"]
            argv = node.get("argv", [])
            if ids := [word.partition(":")[2] for word in argv if word.startswith("external_ids:")]:
                found.append({"path": EXTERNAL_IDS, "content": "\n".join(ids) + "\n"})
            for file in found:
                content = re.sub(r"<secret:(\w+)>|%3Csecret%3A(\w+)%3E", "f00d", file["content"])
                service = node["id"].partition(":")[0]
                yield f"{plan.parent.name}/{plan.name}", {**file, "content": content, "service": service}


def missing(root: Root) -> set[str]:
    """The packages of the plans that the root has not."""
    plans = [yaml.safe_load(plan.read_text()) for plan in GOLDEN.glob("*/*.plan.yml")]
    wanted = {package for plan in plans for package in plan["packages"]}
    return wanted - set(root.run("dpkg-query", "-f", "${Package}\\n", "-W").stdout.splitlines())


def check(root: Root, planting: bool) -> int:
    faults, judged = 0, 0
    seen: set[str] = set()  # the same content in another plan is not judged again
    tried: set[str] = set()
    proved: set[str] = set()  # services in which a planted fault was found
    everything = list(files())
    for plan in dict.fromkeys(name for name, _unused in everything):
        mine = [file for name, file in everything if name == plan]
        for file in mine:
            root.write(file["path"], file["content"])
        for file in mine:
            try:
                found = judge(file)
            except LookupError as error:
                faults += 1
                print(f"{plan}: {file['path']}: {error}")
                continue
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
                if any(PLANTED in said for said in found(root, planted)):
                    proved.add(file["service"])
                else:
                    faults += 1
                    print(f"{plan}: {file['path']}: a planted fault was not found")
                root.write(file["path"], file["content"])
            tried.add(file["path"])
    for service in {file["service"] for _unused, file in everything} - proved if planting else ():
        faults += 1
        print(f"{service}: no planted fault was found in any of its files")
    print(f"{judged} files judged, {faults} faults")
    return 1 if faults or not judged else 0


def main() -> int:
    if "--inside" not in sys.argv:
        os.execvp("unshare", ["unshare", "--mount", "--propagation=private", sys.executable, *sys.argv, "--inside"])
    root = Root(sys.argv[1])
    try:
        if lacks := missing(root):
            print(f"{sys.argv[1]} lacks packages of the plans: {', '.join(sorted(lacks))}")
            return 1
        return check(root, "--plant" in sys.argv)
    finally:
        root.close()


if __name__ == "__main__":
    sys.exit(main())
