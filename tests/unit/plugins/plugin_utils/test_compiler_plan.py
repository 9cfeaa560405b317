# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 the seedcloud.openstack authors
"""What the compiler promises: secrets stay where they belong, one option restarts one unit, faults come all at once."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml
from ansible_collections.seedcloud.openstack.plugins.module_utils._apply.files import part
from ansible_collections.seedcloud.openstack.plugins.plugin_utils._compiler import CompileError, compile_plan
from ansible_collections.seedcloud.openstack.plugins.plugin_utils._compiler import roles as role_files
from ansible_collections.seedcloud.openstack.plugins.plugin_utils._compiler.manifest import items, prune
from ansible_collections.seedcloud.openstack.plugins.plugin_utils._compiler.render import secret_values
from ansible_collections.seedcloud.openstack.plugins.plugin_utils._compiler.secrets import catalogue, marker, names
from ansible_collections.seedcloud.openstack.plugins.plugin_utils._compiler.view import cloud_view

from . import compiled

NODE = {"name": "n1", "roles": ["controller"], "addresses": {"internal": "192.0.2.1", "public": "198.51.100.1"}}
COMPUTE = {"name": "n2", "roles": ["compute"], "addresses": {"internal": "192.0.2.2", "public": None}}
MANIFESTS = role_files.load(compiled.load_file)[2]


def compile_one(manifest: dict[str, Any], node: dict[str, Any] | None = None) -> dict[str, Any]:
    cloud = cloud_view([NODE, COMPUTE], {}, region="R", domain="d")
    manifest = {"name": "x", "where": ["controller"], **manifest}
    return compile_plan([manifest], node or NODE, cloud, catalogue([manifest]), items([manifest]))


def faults(manifest: dict[str, Any], node: dict[str, Any] | None = None) -> str:
    with pytest.raises(CompileError) as caught:
        compile_one(manifest, node)
    return str(caught.value)


# -- secrets -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", compiled.CASES)
def test_a_compute_node_gets_no_database_password(case: str) -> None:
    for plan in compiled.golden(case).values():
        if "mariadb" not in plan["services"]:
            assert plan["secrets"]
            assert not [name for name in plan["secrets"] if "_db_" in name or "admin" in name or "fernet" in name]
            text = json.dumps(plan)
            assert "mysql+" not in text and "db_password" not in text


def test_a_secret_that_is_not_for_the_node_is_a_fault() -> None:
    manifest = {
        "where": ["controller", "compute"],
        "secrets": {"x_db_password": {"kind": "hex"}},
        "files": [{"path": "/etc/x", "content": marker("x_db_password")}],
    }
    assert "x_db_password: is not for compute" in faults(manifest, COMPUTE)
    assert compile_one(manifest)["secrets"] == ["x_db_password"]


def test_no_secret_in_argv() -> None:
    step = {"name": "s", "argv": ["tool", f"--password={marker('p')}"]}
    assert "seen by every user" in faults({"secrets": {"p": {"kind": "hex"}}, "steps": [step]})


def test_a_file_with_a_secret_is_for_its_service_alone() -> None:
    secret = {"secrets": {"p": {"kind": "hex"}}}
    file = compile_one({**secret, "files": [{"path": "/f", "content": marker("p")}]})["graph"][0]["files"][0]
    assert (file["owner"], file["group"], file["mode"]) == ("root", "x", "0640")
    assert "readable by everyone" in faults(
        {**secret, "files": [{"path": "/f", "content": marker("p"), "mode": "0644"}]}
    )


def test_markers_survive_urlencode() -> None:
    assert list(names(f"a {marker('p')} %3Csecret%3Aq%3E <rabbitmq_hash:r>")) == ["p", "q", "r"]


def test_the_inventorys_secret_goes_before_the_made_one() -> None:
    plan = {"secrets": ["a", "b"]}
    values = secret_values(plan, lambda _, data: data, {"a": "given"}, {"a": "made", "b": "made"})
    assert values == {"a": "given", "b": "made"}
    with pytest.raises(CompileError, match="b: neither"):
        secret_values(plan, lambda _, data: data, {"a": "given"}, {})


# -- one option, one unit ----------------------------------------------------------------------------------------------


def digests(plan: dict[str, Any]) -> dict[str, list[str]]:
    """What each unit reads, as service_apply would hash it."""
    contents = {
        file["path"]: file.get("content", "")
        for node in plan["graph"]
        if node["kind"] == "files"
        for file in node["files"]
    }
    return {
        node["unit"]: [part(contents.get(read["path"], ""), read) for read in node["reads"]]
        for node in plan["graph"]
        if node["kind"] == "unit"
    }


@pytest.mark.parametrize(
    ("overrides", "restarted"),
    [
        ({"mariadb_config_overrides": {"mariadbd": {"max_connections": 7}}}, {"mariadb.service"}),
        ({"rabbitmq_config_overrides": {"": {"heartbeat": 7}}}, {"rabbitmq-server.service"}),
        ({"memcached_memory": 7}, {"memcached.service"}),
        ({"memcached_config_overrides": {"": {"max-item-size": "7m"}}}, {"memcached.service"}),
        ({"loadbalancer_max_connections": 7}, {"haproxy.service"}),
        ({"loadbalancer_config_overrides": {"defaults": {"timeout client": "7m"}}}, {"haproxy.service"}),
        ({"keystone_config_overrides": {"token": {"expiration": 7}}}, {"keystone.service"}),
        ({"keystone_workers": 7}, {"keystone.service"}),
        ({"glance_config_overrides": {"DEFAULT": {"image_size_cap": 7}}}, {"glance-api.service"}),
        ({"placement_config_overrides": {"placement": {"randomize_allocation_candidates": True}}},
         {"placement-api.service"}),
        ({"placement_threads": 7}, {"placement-api.service"}),
        ({"nova_config_overrides": {"filter_scheduler": {"shuffle_best_same_weighed_hosts": True}}},
         {"nova-scheduler.service"}),
    ],
)  # fmt: skip
def test_one_option_restarts_one_unit(overrides: dict[str, Any], restarted: set[str]) -> None:
    before = digests(compiled.golden("two_nodes")["node1"])
    after = digests(compiled.plans("two_nodes", overrides, only="node1")["node1"])
    assert {unit for unit in before if before[unit] != after[unit]} == restarted


# -- the graph ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", compiled.CASES)
def test_the_graph_is_whole(case: str) -> None:
    for plan in compiled.golden(case).values():
        ids = [node["id"] for node in plan["graph"]]
        assert len(ids) == len(set(ids))
        assert {name for node in plan["graph"] for name in node["after"]} <= set(ids)


def test_a_role_alone_reloads_haproxy() -> None:
    plan = compiled.plans("two_nodes", services=["glance"], only="node1")["node1"]
    proxy = next(node for node in plan["graph"] if node.get("unit") == "haproxy.service")
    assert proxy["after"] == ["glance:files"]
    assert "/etc/haproxy/services/*.cfg" in [read["path"] for read in proxy["reads"]]
    assert plan["services"] == ["glance", "loadbalancer"]


def test_units_wait_for_steps_and_late_steps_for_units() -> None:
    steps = [{"name": "early", "argv": ["a"]}, {"name": "late", "argv": ["b"], "after": ["u.service"]}]
    graph = compile_one({"steps": steps, "units": [{"name": "u.service"}]})["graph"]
    after = {node["id"]: node["after"] for node in graph}
    assert after == {"x:early": [], "x:late": ["x:u.service"], "x:u.service": ["x:early"], "x:ready": ["x:late"]}


def test_cluster_steps_are_a_phase_of_their_own() -> None:
    steps = [{"name": "s", "argv": ["a"]}, {"name": "c", "argv": ["b"], "phase": "cluster", "after": ["s"]}]
    graph = compile_one({"steps": steps})["graph"]
    assert [(node["id"], node["phase"], node["after"]) for node in graph if node["kind"] == "step"] == [
        ("x:s", "services", []),
        ("x:c", "cluster", []),
    ]


def test_what_is_not_for_the_node_is_never_rendered() -> None:
    raw = {
        "files": [{"where": ["compute"], "path": "{{ nowhere }}"}, {"path": "/f", "ini": [{"where": ["controller"]}]}]
    }
    assert prune(raw, ["controller"]) == {"files": [{"path": "/f", "ini": [{"where": ["controller"]}]}]}


# -- faults ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("manifest", "fault"),
    [
        ({"unit": []}, "x: 'unit' is not known"),
        ({"units": [{"name": "u", "raeds": []}]}, "x.units.u: 'raeds' is not known"),
        ({"units": [{}]}, "'name' is missing"),
        ({"where": ["controler"]}, "'where' must be a list of"),
        ({"secrets": {"p": {"kind": "guid"}}}, "kind must be one of"),
        ({"files": [{"path": "/f"}]}, "give one of content, ini, haproxy, arguments, state"),
        ({"files": [{"path": "/f", "content": "", "state": "absent"}]}, "give one of"),
        ({"files": [{"path": "/f", "ini": [{"s": {"o": "a\nb"}}]}]}, "/f: [s] o: a value cannot hold a line break"),
        ({"files": [{"path": "/f", "content": "a"}, {"path": "/f", "content": "b"}]}, "/f: written by two"),
        ({"files": [{"path": "/f", "content": marker("p")}]}, "p: is used but declared by no manifest"),
        ({"queue": {"user": "u", "password": "plain"}}, "must be one declared secret"),
        ({"units": [{"name": "u", "after": ["nothing"]}]}, "x:u: after 'x:nothing', which no manifest has"),
        (
            {"units": [{"name": "u", "after": ["v"]}, {"name": "v", "after": ["u"]}]},
            "these wait for each other: x:ready",
        ),
        ({"units": [{"name": "u"}, {"name": "u"}]}, "x:u: there are two of it"),
        ({"units": "u"}, "must be a mapping"),
    ],
)
def test_a_fault_is_said(manifest: dict[str, Any], fault: str) -> None:
    assert fault in faults(manifest)


def test_all_faults_are_said_at_once() -> None:
    said = faults({"files": [{"path": "/f", "ini": [{"s": {"a b": 1, "o": "x\n"}}]}, {"path": "/g", "ini": ["t"]}]})
    assert len(said.splitlines()) == 3


def test_a_cloud_has_a_controller() -> None:
    with pytest.raises(ValueError, match="no node is a controller"):
        cloud_view([COMPUTE], {}, region="R", domain="d")


# -- the roles ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(MANIFESTS))
def test_secrets_and_tasks_are_the_roles_own(name: str) -> None:
    secrets = MANIFESTS[name].get("secrets") or {}
    assert all(secret.startswith(f"{name}_") for secret in secrets)
    tasks = yaml.safe_load((compiled.ROLES / name / "tasks/main.yml").read_text())
    assert {"service_engine_services": [name]} in [task.get("vars") for task in tasks]
