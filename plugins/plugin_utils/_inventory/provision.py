# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 the seedcloud.openstack authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What provisioning does to which node, and what became of it: decisions as pure functions, for run, check and plan."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

Record = Mapping[str, Any]
Result = Mapping[str, Any]

LOOK_AT = {
    "bmc": "the BMC's address, cable and account (node_bmc)",
    "dhcp": "the boot NIC's MAC, cable and VLAN, and journalctl -u seedcloud-dnsmasq on the seed",
    "loader": "the node's console and the seed's TFTP",
    "kernel": "the node's console and the seed's nginx",
    "agent": "the node's console",
    "disk": "node_root_device",
    "claim": "whether two machines boot as this node",
    "image": "the node's disk, and the image on the seed",
    "configure": "the node's console",
    "reboot": "the node's console",
    "ssh": "the node's console, and node_networks.provisioning",
}


DOES = {
    "none": "nothing to do",
    "settle": "power on if it is off, and wait for SSH",
    "deploy": "order, boot from the network, write {image} to the root device",
}


def node_actions(
    records: Iterable[Record], reached: Mapping[str, Result], image: str | None, redeploy: Sequence[str]
) -> dict[str, dict[str, str]]:
    """name -> action (none, settle, deploy), why, and both as a line for people.

    A node that was written with the wanted image is never ordered anew by itself, whatever it looks like now.
    """

    def decide(name: str) -> tuple[str, str]:
        node = reached.get(name, {})
        if name in redeploy:
            return "deploy", "node_redeploy names it"
        if not node or node["code"] == "not_deployed":
            return "deploy", "it is not deployed"
        if node["image"] != image:
            return "deploy", f"it was deployed with {node['image']}"
        if node["code"] == "up":
            return "none", f"it runs {image}"
        return "settle", f"it was deployed with {image} but does not answer by SSH"

    decided = {record["name"]: decide(record["name"]) for record in records}
    does = {action: text.format(image=image or "the image, once it is built,") for action, text in DOES.items()}
    return {
        name: {"action": action, "why": why, "line": f"{name}: {does[action]} ({why})"}
        for name, (action, why) in decided.items()
    }


def node_fields(
    records: Iterable[Record], keys: Sequence[str], results: Mapping[str, Result] | None = None
) -> list[dict[str, Any]]:
    """Of each record only these keys, for modules that take no more; what the record has not, its result has."""
    return [
        {key: record[key] if key in record else (results or {})[record["name"]][key] for key in keys}
        for record in records
    ]


def nodes_where(
    records: Iterable[Record], results: Mapping[str, Result] | None, key: str, value: object
) -> list[Record]:
    """The records of nodes whose result has this value. A step that was skipped has no results."""
    return [record for record in records if (results or {}).get(record["name"], {}).get(key) == value]


def _chosen(event: Mapping[str, Any]) -> dict[str, Any] | None:
    """What an event tells of the disk that root_device chooses: hints, and the disk with its hash, or a fault."""
    name, data = event["event"], event["data"]
    if name == "wipe_refused":
        return dict(data)
    if name == "disk_refused":
        return {"hints": data.get("hints"), "fault": event["msg"]}
    chosen = data.get("root_device") if name == "inspected" else None  # a deployment's inspection looks on no disk
    if not chosen:
        return None
    disks = [disk for disk in data.get("disks", []) if disk["name"] == chosen.get("disk")]
    return {**chosen, "disks": disks, "hash": next((disk.get("hash") for disk in disks), None)}


def root_disk(events: Iterable[Mapping[str, Any]], hints: Mapping[str, Any] | None = None) -> dict[str, Any] | None:
    """What the last inspection or refusal told of the root disk, with the hashes of plans that it became part of.

    Nothing is known since a write began, nor for other hints than were asked of the agent: it chooses, nobody else.
    """
    found: dict[str, Any] | None = None
    for event in events:
        if event["event"] == "claim_taken":
            found = None
        elif event["event"] == "wipe_planned" and found is not None:
            found["plans"].append(event["data"].get("plan"))
        elif told := _chosen(event):
            found = told | {"plans": [], "generation": event["generation"], "received": event["received"]}
    asked = (found or {}).get("hints")
    return None if hints is not None and asked is not None and asked != hints else found


def root_disks(records: Iterable[Record], journals: Mapping[str, Any]) -> dict[str, dict[str, Any] | None]:
    """Of each node what is known of its root disk."""
    return {
        record["name"]: root_disk(journals.get(record["name"], {}).get("events", []), record["root_device"])
        for record in records
    }


def confirmed(confirm: str | None, disk: Mapping[str, Any] | None, plan: str | None) -> str | None:
    """The node's own hash, whichever hash the operator gave; one that fits nothing is the agent's to refuse."""
    fits = confirm and disk and disk.get("hash") and confirm in (plan, *disk["plans"])
    return disk["hash"] if disk and fits else confirm


def node_orders(
    records: Iterable[Record],
    seed: Mapping[str, Any],
    images: Mapping[str, Any],
    journals: Mapping[str, Any],
    *,
    action: str = "deploy",
    arguments: Sequence[str] = (),
) -> list[dict[str, Any]]:
    """What module node_order takes. `seed`: address, port, ssh (user, authorized_keys)."""
    url = f"http://{seed['address']}:{seed['port']}"
    ramdisk = f"{url}/ramdisks/{images['ramdisk']['name']}"
    golden = images["golden"]
    records = list(records)
    known = root_disks(records, journals)
    plan = plan_hash(known.values())  # as playbook plan prints it, which keeps nothing

    def order(record: Record) -> dict[str, Any]:
        common = {"action": action, "root_device": record["root_device"]}
        if action != "deploy":
            return common | {"after": "poweroff"}
        return common | {
            "after": "reboot",
            "image": {key: golden[key] for key in ("name", "sha256", "size", "compressed_size")}
            | {
                "url": f"/images/{golden['name']}.raw.zst",
                "block_map": f"/images/{golden['name']}.map.json",
                "format": "raw.zst",
            },
            "wipe": {"confirmed": confirmed(record["wipe_confirm"], known[record["name"]], plan)},
            "files": record["files"],
            "ssh": dict(seed["ssh"]),
        }

    return [
        {
            "name": record["name"],
            "boot_mac": record["boot_mac"],
            "address": record["address"],
            "firmware": record["firmware"],
            "boot": {
                "kernel": f"{ramdisk}/vmlinuz",
                "initrd": [f"{ramdisk}/initrd"],
                "cmdline": [
                    f"seedcloud.url={url}",
                    f"BOOTIF=01-{record['boot_mac'].replace(':', '-')}",
                    *arguments,
                ],
            },
            "order": order(record),
        }
        for record in records
    ]


def node_events(results: Mapping[str, Result], event: str, orders: Mapping[str, Result]) -> list[dict[str, Any]]:
    """Journal entries for the nodes that a BMC module served."""
    return [
        {
            "node": name,
            "generation": orders[name]["generation"],
            "event": event,
            "source": "bmc",
            "hop": "bmc",
            "msg": result["msg"],
            "once": True,
        }
        for name, result in results.items()
        if not result["failed"]
    ]


def plan_hash(disks: Iterable[Mapping[str, Any] | None]) -> str | None:
    """One hash that names all the disks that the run would destroy. Of one node it is the node's own."""
    ordered = sorted(disk["hash"] for disk in disks if disk and disk.get("hash"))
    return hashlib.sha256(json.dumps(ordered).encode()).hexdigest() if len(ordered) > 1 else next(iter(ordered), None)


def holding(disk: Mapping[str, Any]) -> str:
    if disk.get("fault"):
        return f"does not tell what it holds: {disk['fault']}"
    ours = "what an earlier run began to write" if disk.get("ours") else "nothing"
    return f"holds {', '.join(disk.get('contents') or [ours])}"


def disk_line(disk: Mapping[str, Any]) -> str:
    name = " ".join(str(disk[key]) for key in ("name", "serial", "wwn") if disk.get(key))
    size = f" {disk['size'] / 1024**3:.0f} GiB" if disk.get("size") else ""
    return f"{name}{size} {holding(disk)}"


def wipe_refusals(journals: Mapping[str, Any]) -> dict[str, Any]:
    """What nodes refuse to wipe, or would: the hash that confirms it, lines for people, journal entries.

    Each of these nodes' journals is told which plan it is part of, so that a later run, limited or not, knows.
    """
    known = {name: root_disk(told.get("events", [])) for name, told in sorted(journals.items())}
    nodes = {name: found for name, found in known.items() if found and found.get("hash")}
    plan = plan_hash(nodes.values())
    if not plan:
        return {"hash": None, "nodes": [], "lines": [], "events": []}
    confirm = f"node_wipe_confirm: {plan}"
    lines = [f"{name}: {disk_line(disk)}" for name, found in nodes.items() for disk in found.get("disks", [])]
    return {
        "hash": plan,
        "nodes": list(nodes),
        "lines": [*lines, f"To destroy all of this, set {confirm}"],
        "events": [
            {
                "node": name,
                "event": "wipe_planned",
                "hop": "disk",
                "msg": f"confirm with {confirm}",
                "data": {"plan": plan},
            }
            for name in nodes
        ],
    }


POWER = {
    ("none", None): [],
    ("settle", "off"): ["power on"],
    ("deploy", "off"): ["boot from the network once", "power on", "restart into the image"],
    ("deploy", "on"): ["power off", "boot from the network once", "power on", "restart into the image"],
}


def node_plan(
    records: Iterable[Record],
    actions: Mapping[str, Mapping[str, str]],
    bmcs: Mapping[str, Result],
    journals: Mapping[str, Any],
) -> list[str]:
    """For people: what a run would do to each node's power and disks, and the hash that lets it."""
    records = list(records)
    known = root_disks((record for record in records if actions[record["name"]]["action"] == "deploy"), journals)
    plan = plan_hash(known.values())
    lines: list[str] = []
    for record in records:
        name, action = record["name"], actions[record["name"]]["action"]
        bmc = bmcs.get(name)
        state = (bmc["power"] if not bmc["failed"] else "unknown") if bmc else "unknown"
        power = POWER.get((action, None if action == "none" else state), [])
        lines.append(actions[name]["line"])
        if bmc and bmc["failed"]:
            lines.append(f"{name}: power: its BMC does not tell it: {bmc['msg']}")
        elif power:
            lines.append(f"{name}: power: is {state}; {', '.join(power)}")
        if action == "deploy":
            lines.append(f"{name}: disk: {root_disk_line(record, known[name], plan)}")
    return [*lines, f"To destroy all of this, set node_wipe_confirm: {plan}"] if plan else lines


def root_disk_line(record: Record, known: Mapping[str, Any] | None, plan: str | None) -> str:
    """What would be destroyed, when that was told, and the hash that confirms it of this node alone."""
    if not known:
        hints = ", ".join(f"{key} {value}" for key, value in record["root_device"].items())
        return (
            f"the one with {hints}; what it holds is not known: inspect_nodes finds out, unless the node is deployed;"
            " a run stops at a disk that holds something, and prints what, and its hash"
        )
    told = f"told {known['received'][:16].replace('T', ' ')} UTC, generation {known['generation']}"
    if known.get("fault"):
        return f"refused: {known['fault']} ({told})"
    line = f"{', '.join(disk_line(disk) for disk in known['disks'])} ({told})"
    if any(disk.get("fault") for disk in known["disks"]):
        return line
    if not known.get("hash"):
        return f"{line}; that needs no node_wipe_confirm"
    return line if known["hash"] == plan else f"{line}; to destroy this alone, set node_wipe_confirm: {known['hash']}"


def node_hardware(journals: Mapping[str, Any]) -> list[str]:
    """For people: what inspected nodes are made of, in the words of node_root_device and node_nics."""
    lines: list[str] = []
    for name, told in sorted(journals.items()):
        found = [event["data"] for event in told.get("events", []) if event["event"] == "inspected"]
        if not found:
            continue
        data = found[-1]
        lines.append(f"{name}: {data.get('cpus')} CPUs, {data.get('memory_mib')} MiB, {data.get('firmware')}")
        lines += [f"{name}: NIC {nic.get('name')}: mac {nic.get('mac')}" for nic in data.get("nics", [])]
        for disk in data.get("disks", []):
            hints = (("serial", disk.get("serial")), ("wwn", disk.get("wwn")), ("model", disk.get("model")))
            told_hints = ", ".join(f"{key} {value}" for key, value in hints if value)
            lines.append(f"{name}: disk {disk.get('name')}: size_gib {int(disk.get('size', 0)) >> 30}, {told_hints}")
            if "contents" in disk or "fault" in disk:
                lines.append(f"{name}: disk {disk.get('name')} {holding(disk)}")
    return lines


def node_verdicts(results: Sequence[Mapping[str, Result]], again: Collection[str] = ()) -> dict[str, dict[str, Any]]:
    """name -> {hop, code, msg} of the nodes that failed, by the first result that says so.

    `again` names nodes that got another boot, after one in which they hung.
    """
    failed: dict[str, dict[str, Any]] = {}
    for result in results:
        for name, node in (result.get("nodes") or {}).items():
            if node["failed"] and name not in failed:
                hop = node.get("hop") or ("bmc" if str(node["code"]).startswith("bmc_") else None)
                # What the seed says itself, and what node_wait says of a silence, tells already where to look.
                look = f"; look at {LOOK_AT[hop]}" if hop and node["code"] not in ("hung", "timeout") else ""
                where = f"{'in its second boot, ' if name in again else ''}at {f'hop {hop}' if hop else 'its order'}"
                msg = f"{name} stopped {where} ({node['code']}): {node['msg']}{look}"
                failed[name] = {"hop": hop, "code": node["code"], "msg": msg}
    return failed
