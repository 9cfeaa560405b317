# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 the seedcloud.openstack authors
"""Follow nodes' journals on the seed and print every event as it comes: a module could not stream."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

from ansible.errors import AnsibleActionFail, AnsibleConnectionFailure
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display
from ansible_collections.seedcloud.openstack.plugins.module_utils._journal.events import printable, seconds_of
from ansible_collections.seedcloud.openstack.plugins.plugin_utils._run import Run

display = Display()

_MODULE = "seedcloud.openstack.node_journal"
_SEED_TRIES = 6
# What a node that went silent was about to do, and where a person sees more.
_NEXT: dict[str, tuple[str, str]] = {
    "": ("bmc", "nothing was ordered for it"),
    "ordered": ("bmc", "it was not switched on: its BMC's address, account and power state"),
    "boot_device_set": ("bmc", "it was not switched on: its BMC's power state and event log"),
    "powered_on": (
        "dhcp",
        "its firmware got no address: the boot NIC's MAC, its link and VLAN, network boot in the firmware, "
        "a second DHCP server; on the seed: journalctl -u seedcloud-dnsmasq; the node's console",
    ),
    "dhcp_leased": ("loader", "its firmware fetched no loader: TFTP and MTU; journalctl -u seedcloud-dnsmasq"),
    "loader_sent": ("loader", "the loader did not ask for its boot script: Secure Boot, the node's console"),
    "loader_fetched": ("kernel", "its loader fetched no kernel: the ramdisk on the seed, the node's console"),
    "kernel_fetched": (
        "agent",
        "the agent did not report: at least 1 GiB of memory, the NIC's driver, the node's console",
    ),
    "agent_started": ("disk", "the agent found no answer on its disks: the node's console"),
    "inspected": ("disk", "the agent chose no disk: node_root_device, the node's console"),
    "disk_chosen": ("claim", "the agent took no claim: journalctl -u seedcloud-nginx"),
    "claim_taken": ("image", "the agent wrote nothing: the image on the seed, journalctl -u seedcloud-nginx"),
    "image_writing": ("image", "the write came to a stop: the disk, the link, the node's console"),
    "image_written": ("configure", "the agent did not finish the system on the disk: the node's console"),
    "configured": ("reboot", "the agent did not restart the node: the node's console"),
    "host_keys": ("reboot", "the agent did not restart the node: the node's console"),
    "rebooting": ("ssh", "the deployed system did not answer: its boot order, network and console"),
}

# From the first answer of DHCP to the agent's first report: a machine that says nothing there has hung.
_BOOTING = {"dhcp_leased", "loader_sent", "loader_fetched", "kernel_fetched"}
_PROGRESS = 30.0  # seconds between two lines of one write

_ORDER = {event: place for place, event in enumerate(_NEXT)}


@dataclass
class Watched:
    """One node, and what is known of it."""

    name: str
    timeout: float
    generation: int | None = None
    cursor: str | None = None
    base: float | None = None  # the seed's clock when it was ordered
    last: dict[str, Any] = field(default_factory=dict)
    heard: float = 0.0  # our clock
    shown: float = 0.0  # the seed's clock when its progress was last worth a line
    trail: list[str] = field(default_factory=list)
    result: dict[str, Any] | None = None

    def end(self, code: str, msg: str, hop: str | None = None, event: dict[str, Any] | None = None) -> None:
        """The node is no longer waited for."""
        self.result = {
            "changed": False,
            "failed": code != "reached",
            "code": code,
            "msg": msg,
            "hop": hop,
            "event": event,
            "last_event": self.last.get("event", ""),
            "generation": self.generation,
            "trail": self.trail,
        }

    def worth_a_line(self, event: dict[str, Any]) -> bool:
        """How far a write is, agents tell every few seconds; a log wants it less often."""
        if event["event"] == "image_writing":
            at = seconds_of(event["received"])
            if at - self.shown < _PROGRESS:
                return False
            self.shown = at
        return True

    def take(self, event: dict[str, Any], until: set[str]) -> None:
        """Note one event, and end where it ends something."""
        self.last = event
        if not self.trail or self.trail[-1] != event["event"]:
            self.trail.append(event["event"])
        if self.generation is not None and event["generation"] > self.generation:
            self.end("superseded", f"another run ordered generation {event['generation']}", event=event)
        elif event["event"] in until:
            self.end("reached", "", event["hop"], event)
        elif event["event"] == "withdrawn":
            self.end("withdrawn", "its order was withdrawn", event=event)
        # What nginx refused is the agent's to deal with; everything else that fails ends the order.
        elif event["level"] == "error" and event["source"] != "http":
            self.end("failed", f"{event['event']} at hop {event['hop']}: {event['msg']}", event["hop"], event)


def line(node: Watched, event: dict[str, Any], width: int) -> str:
    """An event as a person reads it."""
    elapsed = seconds_of(event["received"]) - (node.base or 0)
    text = f"{node.name:<{width}}  {f'+{max(0, elapsed):.0f}s':>7}  {event['event']:<16}  {event['msg']}"
    return printable(text.rstrip())


class ActionModule(ActionBase):
    """The action; what it does on the seed is node_journal's."""

    TRANSFERS_FILES = False
    _supports_check_mode = True
    _supports_async = False

    def run(self, tmp: Any = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Wait for all nodes."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        _unused, args = self.validate_argument_spec(
            {
                "nodes": {
                    "type": "list",
                    "elements": "dict",
                    "required": True,
                    "options": {
                        "name": {"type": "str", "required": True},
                        "generation": {"type": "int"},
                        "timeout": {"type": "int"},
                    },
                },
                "until": {"type": "list", "elements": "str", "required": True},
                "timeout": {"type": "int", "default": 1800},
                "silence": {"type": "int", "default": 600},
                "boot_silence": {"type": "int", "default": 300},
                "poll": {"type": "int", "default": 10},
                "root": {"type": "path", "default": "/var/lib/seedcloud"},
                "run": {"type": "str"},
            }
        )
        nodes = [Watched(n["name"], n["timeout"] or args["timeout"], n["generation"]) for n in args["nodes"]]
        if self._task.check_mode:
            for node in nodes:
                node.end("reached", "check mode: not waited for")
        else:
            self._wait(nodes, args, task_vars or {})
        ended = {node.name: node.result or {} for node in nodes}
        result.update(
            changed=False, nodes=ended, failed_nodes=sorted(name for name, end in ended.items() if end["failed"])
        )
        return result

    def _wait(self, nodes: list[Watched], args: dict[str, Any], task_vars: dict[str, Any]) -> None:
        until, width = set(args["until"]), max((len(node.name) for node in nodes), default=0)
        run, start = Run(), time.monotonic()
        for node in nodes:
            node.heard = start
        while pending := [node for node in nodes if node.result is None]:
            run.must_live()  # each call says that it does
            told = self._journal(
                {
                    "nodes": [{"name": n.name, "cursor": n.cursor, "generation": n.generation} for n in pending],
                    "wait": args["poll"],
                    "run": args["run"],
                    "root": args["root"],
                },
                task_vars,
            )
            now = time.monotonic()
            self._hear(pending, told["nodes"], until, width, now)
            for node in pending:
                if node.result is None:
                    self._lose_patience(node, now - start, now - node.heard, args)
                    if node.result is not None:
                        display.display(f"{node.name:<{width}}  {node.result['msg']}", color="red")
            self._note_failures(
                [n for n in pending if n.result and n.result["code"] in ("hung", "timeout")], args, task_vars
            )

    def _hear(self, pending: list[Watched], told: dict[str, Any], until: set[str], width: int, now: float) -> None:
        events = []
        for node in pending:
            answer = told[node.name]
            if answer["failed"]:
                node.end(answer["code"], answer["msg"])
                continue
            node.cursor = answer["cursor"]
            if node.generation is None:
                node.generation = answer["generation"]
            if node.base is None and answer["events"]:
                node.base = seconds_of(answer["events"][0]["received"])
            events += [(event["received"], event, node) for event in answer["events"]]
        for _unused, event, node in sorted(events, key=lambda item: item[0]):
            if node.result is None:
                if node.worth_a_line(event):
                    display.display(line(node, event, width), color="red" if event["level"] == "error" else None)
                node.heard = now
                node.take(event, until)

    def _lose_patience(self, node: Watched, waited: float, silent: float, args: dict[str, Any]) -> None:
        # The furthest it came, not the last: the ramdisk asks for an address, too.
        last = max(node.trail, key=lambda event: _ORDER.get(event, 0), default="")
        late = waited >= node.timeout
        booting = last in _BOOTING
        if not late and silent < (min(args["silence"], args["boot_silence"]) if booting else args["silence"]):
            return
        hop, look = _NEXT.get(last, (node.last.get("hop") or "agent", "the node's console"))
        how = f"not done after {waited:.0f} s" if late else f"silent for {silent:.0f} s"
        node.end(
            "hung" if booting and not late else "timeout",
            f"{how}, stopped at hop {hop} after {last or 'nothing'}: {look}",
            hop,
            node.last or None,
        )

    def _note_failures(self, nodes: list[Watched], args: dict[str, Any], task_vars: dict[str, Any]) -> None:
        """A rerun must not join what nobody waits for any more."""
        events = [
            {
                "node": node.name,
                "generation": node.generation,
                "event": "failed",
                "level": "error",
                "hop": node.result["hop"],
                "msg": node.result["msg"],
                "once": True,
            }
            for node in nodes
            if node.result and node.generation
        ]
        if events:
            self._journal({"append": events, "root": args["root"]}, task_vars)

    def _journal(self, args: dict[str, Any], task_vars: dict[str, Any]) -> dict[str, Any]:
        """One call on the seed; a connection that drops is made again."""
        for attempt in range(1, _SEED_TRIES + 1):
            try:
                told: dict[str, Any] = self._execute_module(module_name=_MODULE, module_args=args, task_vars=task_vars)
                problem = told.get("msg", "no answer") if told.get("failed") or "nodes" not in told else ""
            except AnsibleConnectionFailure as error:
                told, problem = {}, str(error)
            if not problem:
                return told
            if attempt < _SEED_TRIES:
                display.warning(f"The seed does not tell the journals (attempt {attempt}): {printable(problem)}")
                time.sleep(2 * attempt)
        raise AnsibleActionFail(f"The seed did not tell the nodes' journals {_SEED_TRIES} times: {printable(problem)}")
