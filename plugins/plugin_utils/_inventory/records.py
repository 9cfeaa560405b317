# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 the seedcloud.openstack authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Node records: what a node is, resolved, for modules that never look at the inventory."""

from __future__ import annotations

from typing import Any

from .files import hosts_file, name_files, network_files, node_links, provider_port
from .networks import network_map
from .read import Inventory

ADDRESSED = ("provisioning", "internal", "tunnel", "public")


def names(host: str, domain: str) -> tuple[str, str]:
    """(fqdn, short name) of an inventory host, which may itself be an fqdn."""
    return (host if "." in host else f"{host}.{domain}", host.partition(".")[0])


def boot_nic(node: dict[str, Any]) -> str:
    link: str = node["node_boot_nic"] or node["node_networks"]["provisioning"]["link"]
    bond = node["node_bonds"].get(link)
    return str(bond["nics"][0]) if bond else link


def node_records(inventory: Inventory) -> list[dict[str, Any]]:
    """Sorted by name. The inventory has been found without fault."""
    seed = inventory.seed
    domain = seed["seedcloud_domain"]
    networks = network_map(seed["seedcloud_networks"])
    present = {host: node for host, node in inventory.nodes.items() if node["node_state"] == "present"}

    def addresses(node: dict[str, Any]) -> dict[str, str | None]:
        at = node["node_networks"]
        serving = {role: networks[role] for role in ADDRESSED}
        return {
            role: at.get(network["network"], {}).get("address") if network else None
            for role, network in serving.items()
        }

    resolved = {host: addresses(node) for host, node in present.items()}
    known = [(seed["seed_address"], *names(inventory.seed_name, domain))] + [
        (resolved[host]["internal"] or "", *names(host, domain)) for host in present
    ]
    hosts = hosts_file(known)
    provisioning = networks["provisioning"] or {}

    def record(host: str, node: dict[str, Any]) -> dict[str, Any]:
        links = node_links(node, networks)
        fqdn, short = names(host, domain)
        bmc = {"driver": "ipmi", "port": 623, "allow_ipmi15": False} | node["node_bmc"]
        return {
            "name": host,
            "fqdn": fqdn,
            "roles": inventory.roles[host],
            "bmc": bmc | {"name": host},
            "firmware": node["node_firmware"],
            "boot_mac": links.nics[boot_nic(node)],
            "macs": sorted(links.nics.values()),
            "address": resolved[host]["provisioning"],
            "addresses": resolved[host],
            "root_device": node["node_root_device"],
            "wipe_confirm": node["node_wipe_confirm"],
            "files": network_files(links) + name_files(short, domain, hosts, provisioning["dns"], seed["seed_address"]),
            "provider": provider_port(links),
        }

    return [record(host, node) for host, node in present.items()]


def seed_record(inventory: Inventory) -> dict[str, Any]:
    """Where the seed is, and what it gives to nodes."""
    seed = inventory.seed
    return {
        "name": inventory.seed_name,
        "address": seed["seed_address"],
        "port": seed["seed_http_port"],
        "interface": seed["seed_interface"],
        "root": seed["seed_root"],
        "domain": seed["seedcloud_domain"],
        "region": seed["seedcloud_region"],
        "image": (seed["seedcloud_image"] or {}).get("name"),
        "ssh": {"user": seed["seedcloud_ssh_user"], "authorized_keys": seed["seedcloud_ssh_authorized_keys"]},
    }
