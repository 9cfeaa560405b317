# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 the seedcloud.openstack authors
"""Use a cloud as a person would, step by step, and leave nothing behind."""

from __future__ import annotations

import contextlib
import re
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from .._cloud.sdk import FAULTS, connect
from .._cloud.sdk import exceptions as sdk
from .rfb import RfbError, Screen, Session

try:
    import websocket

    HAS_WEBSOCKET = True
except ImportError:
    HAS_WEBSOCKET = False

LOGIN = re.compile(r"login: *\r?$", re.M)
HOST_KEY = re.compile(r"seedcloud-guest: host key (ssh-\S+ \S+)")
TAIL = 3000
POLL = 2.0  # seconds between two questions; as many as an answer took where that is more, and MOST at most
MOST = 10.0
BOOT_POLL = 5.0  # the same while an instance starts and boots, which takes the longer the more often it is asked
SILENCE = 15.0  # seconds without a word on the console before it is asked whether the instance still runs

# Nova's api-ref, "Server power states": what an instance is in that is at work, and one that nobody stopped but its hypervisor.
RUNNING = 1
STOPPED = {3: "paused", 4: "shut down", 6: "crashed"}

# Where a person looks when a step stops.
MENDS = {
    "sign in": "see auth_url, user and password in clouds.yaml, and that Keystone answers",
    "upload an image": "see glance-api's journal and the room in its store on a controller",
    "make a flavor": "sign in as an administrator, or have one make a flavor for this",
    "make a key pair": "see nova-api's journal and the project's quota",
    "make a security group": "see neutron-api's journal and the project's quota",
    "let ping and SSH in": "see neutron-api's journal and the project's quota",
    "find the external network": "see `openstack network list --external`",
    "make a network and a subnet": "see neutron-api's journal",
    "make a router": "see neutron-api's journal",
    "connect the subnet to the router": "see neutron-api's journal",
    "give the instance a floating IP": "see that the provider network's allocation has free addresses",
    "list what is there": "see the journal of the service that is named",
    "see a compute node": "see nova-compute's journal on the compute nodes, and `openstack compute service list`",
    "ask for a server": "see nova-api's journal, and the project's quota",
    "see the instance's address": "see nova-compute's and neutron-api's journals",
    "start a server": "see nova-scheduler's, nova-conductor's and nova-compute's journals",
    "read a login in the console log": "see the end of the console log; without one, nova-compute's journal and libvirt's log of the guest",
    "see the screen through noVNC": "see nova-novncproxy's journal, and that the console's URL is reached from here",
    "see who runs the instance": "see nova-api's journal",
    "ping the floating IP": "see `ovn-nbctl lr-nat-list`, and that the provider bridge and this host share a wire",
    "log in over SSH with the injected key": "see the metadata agent's journal on the compute node, and the end of the console log",
    "see the instance's MTU": "see global_physnet_mtu and the MTU of the tunnel network",
    "take the instance away again": "see nova-compute's journal",
    "see the instance's port gone": "see nova-compute's and neutron-api's journals",
    "take the network away again": "see neutron-api's journal",
    "take the way in away again": "see neutron-api's journal",
    "remove everything again": "remove by hand what the message names; the next proof tries again, too",
}  # fmt: skip


class ProofError(Exception):
    """The cloud does not do what a cloud does; the text says which step showed it."""


class StoppedError(ProofError):
    """An instance does not run any more, or never did, by its hypervisor's doing."""


# What ends a step, with a message for people; anything else is a fault of ours.
STOPS: tuple[type[Exception], ...] = (ProofError, RfbError, OSError, subprocess.SubprocessError, *FAULTS)
if HAS_WEBSOCKET:
    STOPS += (websocket.WebSocketException,)


@dataclass(frozen=True)
class Settings:
    """What the proof is made with."""

    cloud: str
    clouds_file: str | None
    image: Path
    prefix: str
    external_network: str | None
    cidr: str
    dns: list[str]
    flavor: Mapping[str, int]
    timeout: float
    starts: int  # so many instances may be started where the hypervisor stops them by itself, or never lets them begin
    folder: Path  # keys and the picture of the screen, all of this run


@dataclass
class Report:
    """What was done and seen."""

    steps: list[dict[str, Any]] = field(default_factory=list)
    seen: dict[str, Any] = field(default_factory=dict)
    console: str = ""


def _delete_router(cloud: Any, router: Any) -> None:
    for port in list(cloud.network.ports(device_id=router.id)):
        if port.device_owner in {"network:router_interface", "network:router_interface_distributed"}:
            cloud.network.remove_interface_from_router(router, port_id=port.id)
    cloud.network.delete_router(router)


@dataclass(frozen=True)
class Kind:
    """Something that a project can own."""

    service: str  # whose API has it; the APIs are asked side by side
    listed: Callable[[Any], Any]
    delete: Callable[[Any, Any], Any]


# Of one service, removed in this order, which is that of their dependence.
KINDS: dict[str, Kind] = {
    "server": Kind(
        "compute",
        lambda c: c.compute.servers(details=False),
        lambda c, x: c.compute.delete_server(x, ignore_missing=True),
    ),
    "key pair": Kind("compute", lambda c: c.compute.keypairs(), lambda c, x: c.compute.delete_keypair(x)),
    "flavor": Kind("compute", lambda c: c.compute.flavors(), lambda c, x: c.compute.delete_flavor(x)),
    "floating IP": Kind(
        "network", lambda c: c.network.ips(project_id=c.current_project_id), lambda c, x: c.network.delete_ip(x)
    ),
    "router": Kind("network", lambda c: c.network.routers(project_id=c.current_project_id), _delete_router),
    "port": Kind(
        "network", lambda c: c.network.ports(project_id=c.current_project_id), lambda c, x: c.network.delete_port(x)
    ),
    "subnet": Kind(
        "network", lambda c: c.network.subnets(project_id=c.current_project_id), lambda c, x: c.network.delete_subnet(x)
    ),
    "network": Kind(
        "network",
        lambda c: c.network.networks(project_id=c.current_project_id),
        lambda c, x: c.network.delete_network(x),
    ),
    "security group": Kind(
        "network",
        lambda c: c.network.security_groups(project_id=c.current_project_id),
        lambda c, x: c.network.delete_security_group(x),
    ),
    "image": Kind("image", lambda c: c.image.images(owner=c.current_project_id), lambda c, x: c.image.delete_image(x)),
}
SERVICES = ("compute", "network", "image")
AFTER_THE_SERVER = ("port", "subnet", "network", "security group")

Items = dict[str, dict[str, Any]]  # kind -> id -> what the SDK says of it


def _label(item: Any) -> str:
    """Floating IPs and their like carry no name: ours have it as their description."""
    return str(item.name or "") if not hasattr(item, "floating_ip_address") else str(item.description or "")


def together(*lanes: Callable[[], Any]) -> list[Any]:
    """Their results, side by side. When some stop, the others end first, and all reasons are told."""
    with ThreadPoolExecutor(len(lanes)) as pool:
        futures = [pool.submit(lane) for lane in lanes]
    faults = [fault for future in futures if (fault := future.exception())]
    for fault in faults:
        if not isinstance(fault, ProofError):
            raise fault
    if faults:
        raise ProofError("; ".join(dict.fromkeys(str(fault) for fault in faults)))
    return [future.result() for future in futures]


def listed(cloud: Any, service: str) -> Items:
    """What the project owns of one service."""
    found: Items = {}
    faults = []
    for name, kind in KINDS.items():
        if kind.service == service:
            try:
                found[name] = {str(item.id): item for item in kind.listed(cloud)}
            except FAULTS as exc:
                faults.append(f"{name}s cannot be listed: {exc}")
    if faults:
        raise ProofError("; ".join(faults))
    return found


def inventory(cloud: Any) -> Items:
    """Everything that the project owns."""
    return merged(together(*(lambda service=service: listed(cloud, service) for service in SERVICES)))


def merged(lists: Iterable[Items]) -> Items:
    """The services' lists as one, in the order of KINDS."""
    found = {kind: items for of_service in lists for kind, items in of_service.items()}
    return {kind: found[kind] for kind in KINDS}


def labelled(items: Items, prefix: str) -> Items:
    """Those of them that a proof made: this one, or one that was killed."""
    return {
        kind: {identity: item for identity, item in of_kind.items() if _label(item).startswith(f"{prefix}-")}
        for kind, of_kind in items.items()
    }


class Proof:
    """One run."""

    def __init__(self, cloud: Any, settings: Settings, run: str, tell: Callable[[str], None]) -> None:
        self.cloud, self.settings, self.tell = cloud, settings, tell
        self.name = f"{settings.prefix}-{run}"
        self.report = Report()
        self.before: Items | None = None  # what there was, where that is known
        self.made: Items = {kind: {} for kind in KINDS}
        # What has happened to an instance, or will not: Nova was asked for it, it shows a login, it was reached, it is gone.
        self.asked, self.started, self.reached, self.gone = (threading.Event() for _unused in range(4))
        self.landed: tuple[Any, str] | None = None  # that instance, and its SSH host key

    # -- time

    @contextlib.contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Note how long it took; say where it stopped."""
        begun = time.monotonic()
        self.tell(f"{name} ...")
        try:
            yield
        except STOPS as exc:
            self.tell(f"{name}: failed ({time.monotonic() - begun:.0f} s)")
            mend = f" ({MENDS[name]})" if name in MENDS else ""
            kind = type(exc) if isinstance(exc, ProofError) else ProofError
            raise kind(f"{name}: {exc}{mend}") from exc
        self.note(name, time.monotonic() - begun)

    def note(self, step: str, seconds: float) -> None:
        """A step, or what a step met, that is over."""
        self.report.steps.append({"step": step, "seconds": round(seconds, 1)})
        self.tell(f"{step}: done ({seconds:.0f} s)")

    def until(self, what: str, ask: Callable[[], Any], every: float | None = None) -> Any:
        """Ask until there is an answer, every so many seconds (POLL).

        A server error (5xx) is none: a person asks again, and so does this. They are noted among the steps, and told
        where no answer comes in time.
        """
        end = time.monotonic() + self.settings.timeout
        faults: list[str] = []
        lost = 0.0
        try:
            while True:
                asked = time.monotonic()
                try:
                    if answer := ask():
                        return answer
                except sdk.HttpException as exc:
                    if (exc.status_code or 0) < 500:
                        raise
                    faults.append(str(exc))
                    lost += time.monotonic() - asked
                now = time.monotonic()
                if now > end:
                    last = f"; {len(faults)} questions met a server error, the last: {faults[-1]}" if faults else ""
                    raise ProofError(f"{what} did not happen within {self.settings.timeout:g} s{last}")
                time.sleep(max(every or POLL, min(now - asked, MOST)))  # who is slow is not made slower by questions
        finally:
            if faults:
                told = f"meet {len(faults)} server errors before {what} (the last: {faults[-1]})"
                self.note(told, lost)

    # -- removal

    def remove(self, items: Items) -> None:
        """Remove these, the services' side by side, and forget what is gone. Goes on after a fault."""
        server_gone = threading.Event()

        def lane(service: str) -> None:
            faults = []
            for name, kind in KINDS.items():
                if kind.service != service:
                    continue
                if name == AFTER_THE_SERVER[0]:
                    server_gone.wait()
                for identity, item in list(items[name].items()):
                    if name == "subnet" and item.network_id in items["network"]:
                        continue  # it goes with its network
                    try:
                        with contextlib.suppress(sdk.NotFoundException):
                            kind.delete(self.cloud, item)
                    except FAULTS as exc:
                        faults.append(f"{name} {identity}: {exc}")
                        continue
                    if name != "server":  # which takes its time
                        del items[name][identity]
                    if name == "network":
                        for subnet in [key for key, one in items["subnet"].items() if one.network_id == identity]:
                            del items["subnet"][subnet]
                if name == "server" and items[name]:
                    try:
                        self.until("the removal of the server", lambda: self._are_gone(items["server"]))
                        items["server"].clear()
                    except STOPS as exc:
                        faults.append(str(exc))
                    server_gone.set()
            if faults:
                raise ProofError("; ".join(faults))

        def compute() -> None:
            try:
                lane("compute")
            finally:
                server_gone.set()

        together(compute, lambda: lane("network"), lambda: lane("image"))

    def _are_gone(self, servers: Mapping[str, Any]) -> bool:
        return not any(server.id in servers for server in self.cloud.compute.servers(details=False))

    # -- the steps

    def run(self) -> None:
        """All of it, from the image to the answer over SSH."""
        image, (flavor, key), (external, group, network, subnet) = self._parts()
        together(
            lambda: self._see(lambda: self._ask(image, flavor, network)),
            lambda: self._reach(external, group, network, subnet, key),
        )

    def _parts(self) -> list[Any]:
        """What an instance is made of: of each service as soon as nothing of an earlier proof is in it.

        The services are listed side by side, and a list of Nova's that takes its time is not waited for where networks are made.
        """
        with ThreadPoolExecutor(len(SERVICES) + 1) as pool:
            lists = {service: pool.submit(listed, self.cloud, service) for service in SERVICES}
            cleared = pool.submit(self._clear, lists)

            def lane(service: str, make: Callable[[], Any]) -> Any:
                mine = lists[service]
                if mine.exception() or any(labelled(mine.result(), self.settings.prefix).values()):
                    cleared.result()
                return make()

            makers = {"image": self._image, "compute": self._account, "network": self._network}
            lanes = (partial(lane, service, make) for service, make in makers.items())
            return together(cleared.result, *lanes)[1:]

    def _clear(self, lists: Mapping[str, Future[Items]]) -> None:
        """Note what there is, and remove what an earlier proof left because it was killed."""
        with self.step("list what is there"):
            found = merged(together(*(future.result for future in lists.values())))
        self.before = found
        if any((left := labelled(found, self.settings.prefix)).values()):
            with self.step("remove what an earlier proof left"):
                self.remove(left)

    def _see(self, ask: Callable[[], Any]) -> None:
        """The instance as the cloud shows it: its console, its screen, and who runs it. It goes when it was reached, too."""
        try:
            first = ask()
            self.asked.set()
            server, _host_key = self.landed = self._last_of(first, ask)
            self.started.set()
            together(lambda: self._see_screen(server), lambda: self._see_who(server))
            self.reached.wait()
            self._take_away("the instance", "server")
        finally:
            for event in (self.gone, self.started, self.asked):
                event.set()

    def _take_away(self, what: str, *kinds: str) -> None:
        """Some of what was made, while something else still goes on."""
        with self.step(f"take {what} away again"):
            self.remove({kind: self.made[kind] if kind in kinds else {} for kind in KINDS})

    def _see_screen(self, server: Any) -> None:
        with self.step("see the screen through noVNC"):
            self.report.seen["screen"] = self._screen(server)

    def _see_who(self, server: Any) -> None:
        with self.step("see who runs the instance"):
            told = self.until("an answer", lambda: self.cloud.compute.get_server(server.id))
            self.report.seen["hypervisor"] = told.hypervisor_hostname

    def _reach(self, external: Any, group: Any, network: Any, subnet: Any, key: Path) -> None:
        """The instance from outside, by a way in that is made while it boots, and goes while its screen is looked at."""
        try:
            way_in = self._way_in(external, group, subnet)
            self.started.wait()
            if way_in is None or self.landed is None:
                return
            self._use(way_in, self.landed, network, key)
        finally:
            self.reached.set()
        self._take_away("the way in", "floating IP", "router")
        with self.step("see the instance's port gone"):
            # Nova takes it away long before it has done with the instance. Where it stays, the network stays until the end.
            last = self.until("that", lambda: "gone" if not self._port() else "stays" if self.gone.is_set() else None)
        if last == "gone":
            self._take_away("the network", "subnet", "network", "security group")

    def _use(self, way_in: tuple[Any, str], landed: tuple[Any, str], network: Any, key: Path) -> None:
        """The way in, which an instance that was lost may have."""
        (floating, holder), (server, host_key) = way_in, landed
        if holder != server.id:
            with self.step("give the floating IP to the instance that stayed"):
                self.cloud.network.update_ip(floating, port_id=self._port(server).id)
        address = str(floating.floating_ip_address)
        with self.step("ping the floating IP"):
            self.until("an answer", lambda: _ok(["ping", "-c", "1", "-W", "2", address]))
        with self.step("log in over SSH with the injected key"):
            self.report.seen["ssh"] = self._ssh(address, key, host_key)
        self.report.seen |= {"floating_ip": address, "mtu": network.mtu}
        with self.step("see the instance's MTU"):
            if network.mtu and (mtu := self.report.seen["ssh"]["mtu"]) != network.mtu:
                raise ProofError(f"the instance's MTU is {mtu}, its network's is {network.mtu}")

    def _keep(self, kind: str, item: Any) -> Any:
        self.made[kind][str(item.id)] = item
        return item

    def _image(self) -> Any:
        with self.step("upload an image"):
            return self._keep(
                "image",
                self.cloud.create_image(
                    self.name, filename=str(self.settings.image), disk_format="raw", container_format="bare", wait=True,
                    timeout=int(self.settings.timeout), allow_duplicates=True, hw_rng_model="virtio",
                ),
            )  # fmt: skip

    def _account(self) -> tuple[Any, Path]:
        with self.step("make a flavor"):
            flavor = self._flavor()
        with self.step("make a key pair"):
            key = self._key()
        with self.step("see a compute node"):
            self.until("a compute node that takes instances", self._has_hypervisor)
        return flavor, key

    def _network(self) -> tuple[Any, Any, Any, Any]:
        """Where a floating IP will come from, and what an instance needs to start: its security group, network and subnet."""
        api, name = self.cloud.network, self.name
        with self.step("find the external network"):
            external = self._external()
        with self.step("make a security group"):
            group = self._keep("security group", api.create_security_group(name=name))
        with self.step("make a network and a subnet"):
            network = self._keep("network", api.create_network(name=name))
            subnet = self._keep(
                "subnet",
                api.create_subnet(
                    name=name, network_id=network.id, ip_version=4,
                    cidr=self.settings.cidr, dns_nameservers=self.settings.dns,
                ),
            )  # fmt: skip
        return external, group, network, subnet

    def _way_in(self, external: Any, group: Any, subnet: Any) -> tuple[Any, str] | None:
        """What it needs to be reached, made while it boots: a floating IP, and the id of the instance that has it.

        None where there will be no instance. Neutron has little to do while Nova takes the request for the instance, and nothing
        while Nova looks for a place for it: the rules and the router are made then. From there until the instance has its network
        Nova asks it again and again, and each question would wait behind a dear request; a guest that boots asks for little.
        """
        api, gateway = self.cloud.network, {"network_id": external.id}
        with self.step("let ping and SSH in"):
            rules = ({"protocol": "icmp"}, {"protocol": "tcp", "port_range_min": 22, "port_range_max": 22})
            every = {"security_group_id": group.id, "direction": "ingress", "ethertype": "IPv4"}
            api.create_security_group_rules([every | rule for rule in rules])
        self.asked.wait()
        if self._is_over():
            return None
        with self.step("make a router"):
            router = self._keep("router", api.create_router(name=self.name, external_gateway_info=gateway))
        with self.step("see the instance's address"):
            # Whether there will be an instance is known first to who waits for it.
            self.until("an address", lambda: self._has_address() or self.started.is_set())
        if self._is_over():
            return None
        with self.step("connect the subnet to the router"):
            api.add_interface_to_router(router, subnet_id=subnet.id)
        with self.step("give the instance a floating IP"):
            for left in reversed(range(self.settings.starts)):
                # Nova makes its port.
                port = self.until("a port of the instance", lambda: self._port() or self.started.is_set())
                if port is True and not (port := self._port()):
                    return None
                wanted = {"floating_network_id": external.id, "port_id": port.id, "description": self.name}
                try:
                    return self._keep("floating IP", api.create_ip(**wanted)), port.device_id
                except sdk.NotFoundException:  # the port went with an instance that was lost
                    if not left:
                        raise
        raise AssertionError("starts is at least 1")

    def _is_over(self) -> bool:
        """Whether there is no instance, and will be none."""
        return self.started.is_set() and self.landed is None

    def _server(self) -> Any:
        """The one that there is; None between one that was lost and the next."""
        return next(iter(self.made["server"].values()), None)

    def _has_address(self) -> bool:
        """Whether Nova has an instance's network: it tells the addresses from its own notes, and asks nobody."""
        if (server := self._server()) is None:
            return False
        # Not the SDK's server_ips(), which takes an error for an answer.
        answer = self.cloud.compute.get(f"/servers/{server.id}/ips")
        if answer.status_code == 404:  # lost in between
            return False
        sdk.raise_from_response(answer)
        return any(answer.json()["addresses"].values())

    def _port(self, server: Any = None) -> Any:
        """The port of a server, or of the one that there is; None without one."""
        server = server or self._server()
        return server and next(self.cloud.network.ports(device_id=server.id), None)

    def _last_of(self, server: Any, ask: Callable[[], Any]) -> tuple[Any, str]:
        """The instance that a person can log in to, another one where the hypervisor lost it, and its SSH host key."""
        for left in reversed(range(self.settings.starts)):
            self._see_start(server)
            begun = time.monotonic()
            try:
                with self.step("read a login in the console log"):
                    return server, self._login(server, another=left > 0)
            except StoppedError as exc:
                if not left:
                    raise
                self.note(f"lose the instance ({exc})", time.monotonic() - begun)
            with self.step("remove the instance that was lost"):
                self.cloud.compute.delete_server(server)
                self.until("the removal of the server", lambda: self._are_gone(self.made["server"]))
                self.made["server"].clear()
            server = ask()
        raise AssertionError("starts is at least 1")

    def _ask(self, image: Any, flavor: Any, network: Any) -> Any:
        with self.step("ask for a server"):
            return self._keep(
                "server",
                self.cloud.compute.create_server(
                    name=self.name, image_id=image.id, flavor_id=flavor.id, key_name=self.name,
                    networks=[{"uuid": network.id}], security_groups=[{"name": self.name}],
                ),
            )  # fmt: skip

    def _see_start(self, server: Any) -> None:
        with self.step("start a server"):
            self.until("the start", lambda: self._is_active(server.id), BOOT_POLL)

    def _flavor(self) -> Any:
        wanted = self.settings.flavor
        try:
            return self._keep("flavor", self.cloud.compute.create_flavor(name=self.name, is_public=True, **wanted))
        except sdk.ForbiddenException:  # not an administrator: take what there is
            fits = [f for f in self.cloud.compute.flavors() if f.ram >= wanted["ram"] and f.disk >= wanted["disk"]]
            if not fits:
                raise ProofError("no flavor is large enough and none may be made") from None
            return min(fits, key=lambda flavor: (flavor.ram, flavor.disk))

    def _key(self) -> Path:
        key = self.settings.folder / "id"
        for left in (key, key.with_name("id.pub")):
            left.unlink(missing_ok=True)
        subprocess.run(  # pylint: disable=ansible-bad-function  # a library
            ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", self.name, "-f", str(key)],
            check=True,
            capture_output=True,
        )
        public = key.with_name("id.pub").read_text(encoding="ascii")
        self._keep("key pair", self.cloud.compute.create_keypair(name=self.name, public_key=public))
        return key

    def _external(self) -> Any:
        found = list(self.cloud.network.networks(is_router_external=True))
        if wanted := self.settings.external_network:
            found = [network for network in found if network.name == wanted]
        if not found:
            raise ProofError(f"there is no external network{f' {wanted!r}' if wanted else ''}")
        return found[0]

    def _has_hypervisor(self) -> bool:
        try:
            return any(node.state == "up" for node in self.cloud.compute.hypervisors(details=True))
        except sdk.ForbiddenException:  # only an administrator sees them
            return True

    def _is_active(self, identity: str) -> bool:
        if not self._fits(identity, status=["ACTIVE", "ERROR"]):
            return False
        if not self._fits(identity, status=["ERROR"]):
            return True
        fault = getattr(self.cloud.compute.get_server(identity), "fault", None)
        raise ProofError((fault or {}).get("message", "the server is in state ERROR"))

    def _fits(self, identity: str, **filters: Any) -> bool:
        """Whether the server is what the filters of Nova's list ask for.

        Nova tells all of one server only after it has asked Neutron for its security groups, and Neutron is at work for the
        way in, for minutes in an emulated cloud; a list of names costs neither.
        """
        return identity in {one.id for one in self.cloud.compute.servers(details=False, name=self.name, **filters)}

    def _power_state(self, server: Any) -> Any:
        return self.cloud.compute.get_server(server.id).power_state

    def _console(self, server: Any) -> str:
        self.report.console = self.cloud.compute.get_server_console_output(server)["output"] or ""
        return self.report.console

    def _login(self, server: Any, another: bool) -> str:
        """The SSH host key of an instance that shows a login. One that is mute is given up before the time is over, where there
        may be `another`: QEMU's emulation of SVM may leave a processor halted, with its interrupts off, while its firmware is at work.
        """
        begun = heard = time.monotonic()
        patience = self.settings.timeout / 3

        def ask() -> str | None:
            nonlocal heard
            before, now = self.report.console, time.monotonic()
            if LOGIN.search(self._console(server)):
                return self.report.console
            if self.report.console != before:
                heard = now
            elif now - heard >= SILENCE:
                heard = now
                if not self._fits(server.id, power_state=RUNNING) and (state := self._power_state(server)) in STOPPED:
                    raise StoppedError(f"the hypervisor has it {STOPPED[state]}, and nobody asked for that")
            if another and not self.report.console and now - begun >= patience:
                raise StoppedError(f"it has printed nothing for {patience:.0f} s")
            return None

        text = self.until("a login", ask, BOOT_POLL)
        if not (found := HOST_KEY.search(text)):
            raise ProofError("the console shows a login, and no SSH host key of our guest before it")
        return found[1]

    def _screen(self, server: Any) -> dict[str, Any]:
        url = self.until(
            "an address of the screen", lambda: self.cloud.compute.create_console(server, console_type="novnc")["url"]
        )
        connection = websocket.create_connection(
            console_socket(url), subprotocols=["binary"], timeout=min(60, self.settings.timeout)
        )
        try:

            def read() -> bytes | None:
                kind, data = connection.recv_data()
                return None if kind == websocket.ABNF.OPCODE_CLOSE else data

            session = Session(read, connection.send_binary)

            def lit() -> Screen | None:
                screen = session.screen()
                return screen if screen.lit else None

            screen: Screen = self.until("a screen that is not black", lit)
        finally:
            connection.close()
        picture = self.settings.folder / "screen.png"
        picture.write_bytes(screen.png())
        return {"width": screen.width, "height": screen.height, "lit": screen.lit, "picture": str(picture)}

    def _ssh(self, address: str, key: Path, host_key: str) -> dict[str, Any]:
        known = key.with_name("known_hosts")
        known.write_text(f"{address} {host_key}\n", encoding="ascii")
        argv = [
            *(
                "ssh",
                "-F",
                "none",
                "-i",
                str(key),
                "-o",
                f"UserKnownHostsFile={known}",
                "-o",
                "GlobalKnownHostsFile=none",
            ),
            *("-o", "StrictHostKeyChecking=yes", "-o", "BatchMode=yes", "-o", "ConnectTimeout=20", f"root@{address}"),
            "hostname; uname -r; cat /sys/class/net/e*/mtu",
        ]
        said = ""

        def ask() -> str | None:
            nonlocal said
            done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)  # pylint: disable=ansible-bad-function  # a library
            said = done.stderr.strip()
            return done.stdout if done.returncode == 0 else None

        try:
            answer: str = self.until("a login", ask)
        except ProofError as exc:
            raise ProofError(f"{exc}; the last attempt said: {said}") from exc
        if not (words := re.fullmatch(r"(\S+)\s+(\S+)\s+(\d+)\s*", answer)):
            raise ProofError(f"the guest answered {answer!r}, not host name, kernel and MTU")
        return {"hostname": words[1], "kernel": words[2], "mtu": int(words[3])}


def console_socket(url: str) -> str:
    """The websocket behind a console's page: its token is in the query, or in the `path` that noVNC is told."""
    parts = urlsplit(url)
    query = parse_qs(parts.query)
    path = query["path"][0] if "path" in query else f"websockify?{parts.query}"
    return f"{'wss' if parts.scheme == 'https' else 'ws'}://{parts.netloc}/{path.lstrip('/')}"


def _ok(argv: list[str]) -> bool:
    return subprocess.run(argv, capture_output=True, check=False).returncode == 0  # pylint: disable=ansible-bad-function  # a library


def prove(
    settings: Settings, run: str, check: bool = False, tell: Callable[[str], None] = lambda text: None
) -> tuple[Report, str | None, list[str]]:
    """The proof, and the removal of what it made whatever came of it: report, fault, what remains.

    `tell` hears of each step when it begins and when it has ended or failed.
    """
    try:
        cloud = connect(settings.cloud, settings.clouds_file)
    except FAULTS as exc:
        return Report(), str(exc), []
    proof = Proof(cloud, settings, run, tell)
    try:
        with proof.step("sign in"):
            cloud.authorize()
        if check:
            return proof.report, None, []
    except ProofError as exc:
        return proof.report, str(exc), []
    faults: list[str] = []
    remaining: list[str] = []
    try:
        proof.run()
    except ProofError as exc:
        faults.append(str(exc))
    finally:
        try:
            with proof.step("remove everything again"):
                proof.remove(proof.made)
            if proof.before is not None:
                with proof.step("see that nothing remains"):
                    after = inventory(cloud)
                    # An answer that was lost, or a killed one's late success: made, and not known to us until now.
                    if any((left := labelled(after, settings.prefix)).values()):
                        proof.remove(left)
                        after = inventory(cloud)
                    remaining = new(proof.before, after)
        except ProofError as exc:
            faults.append(str(exc))
    return proof.report, "; ".join(faults) or None, remaining


def new(before: Items, after: Items) -> list[str]:
    """What is in the second inventory and not in the first."""
    return [
        f"{kind} {identity} {_label(item)}".strip()
        for kind, items in after.items()
        for identity, item in items.items()
        if identity not in before[kind]
    ]
