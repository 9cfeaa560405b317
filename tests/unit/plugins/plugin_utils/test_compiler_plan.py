# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 the seedcloud.openstack authors
"""What the compiler promises: secrets stay where they belong, one option restarts one unit, faults come all at once."""

from __future__ import annotations

import json
from pathlib import Path
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


def digests(plan: dict[str, Any]) -> dict[str, Any]:
    """What each unit reads and each step is, as service_apply would hash it."""
    contents = {
        file["path"]: file.get("content", "")
        for node in plan["graph"]
        if node["kind"] == "files"
        for file in node["files"]
    }
    units = {
        node["unit"]: [part(contents.get(read["path"], ""), read) for read in node["reads"]]
        for node in plan["graph"]
        if node["kind"] == "unit"
    }
    return units | {node["id"]: node for node in plan["graph"] if node["kind"] == "step"}


def acted(case: str, overrides: dict[str, Any]) -> set[str]:
    """The units that would restart and the steps that would run again, `node/what`, with an operator's variables."""
    found = set()
    for name, plan in compiled.plans(case, overrides).items():
        before, after = digests(compiled.golden(case)[name]), digests(plan)
        found |= {f"{name}/{what}" for what in before.keys() | after.keys() if before.get(what) != after.get(what)}
    return found


# node1 is the controller, node2 the compute node.
ONE_OPTION: list[tuple[dict[str, Any], set[str]]] = [
    ({"mariadb_config_overrides": {"mariadbd": {"max_connections": 7}}}, {"node1/mariadb.service"}),
    ({"mariadb_max_connections": 7}, {"node1/mariadb.service"}),
    ({"rabbitmq_config_overrides": {"": {"heartbeat": 7}}}, {"node1/rabbitmq-server.service"}),
    ({"memcached_memory": 7}, {"node1/memcached.service"}),
    ({"memcached_config_overrides": {"": {"max-item-size": "7m"}}}, {"node1/memcached.service"}),
    ({"loadbalancer_max_connections": 7}, {"node1/haproxy.service"}),
    ({"loadbalancer_config_overrides": {"defaults": {"timeout client": "7m"}}}, {"node1/haproxy.service"}),
    ({"keystone_config_overrides": {"token": {"expiration": 7}}}, {"node1/keystone.service"}),
    ({"keystone_workers": 7}, {"node1/keystone.service"}),
    ({"glance_config_overrides": {"DEFAULT": {"image_size_cap": 7}}}, {"node1/glance-api.service"}),
    ({"glance_workers": 7}, {"node1/glance-api.service"}),
    (
        {"placement_config_overrides": {"placement": {"randomize_allocation_candidates": True}}},
        {"node1/placement-api.service"},
    ),
    ({"placement_threads": 7}, {"node1/placement-api.service"}),
    # What is set in a database, for every chassis or once: no unit has to know.
    ({"ovn_config_overrides": {"external_ids": {"ovn-monitor-all": True}}}, {"node1/ovn:chassis", "node2/ovn:chassis"}),
    ({"ovn_config_overrides": {"other_config": {"max-idle": 7}}}, {"node1/ovn:chassis", "node2/ovn:chassis"}),
    ({"ovn_config_overrides": {"NB_Global": {"northd_probe_interval": 7}}}, {"node1/ovn:northbound"}),
    ({"ovn_config_overrides": {"ovn-central": {"ovn-northd-n-threads": 7}}}, {"node1/ovn-central.service"}),
    (
        {"ovn_config_overrides": {"ovn-host": {"ovn-controller-log": "-vfile:dbg"}}},
        {"node1/ovn-host.service", "node2/ovn-host.service"},
    ),
    (
        {"ovn_config_overrides": {"openvswitch-switch": {"no-mlockall": True}}},
        {"node1/openvswitch-switch.service", "node2/openvswitch-switch.service"},
    ),
    # Who keeps OVN's hash ring has to know how many there are.
    (
        {"neutron_workers": 7},
        {
            "node1/neutron-api.service",
            "node1/neutron-periodic-workers.service",
            "node1/neutron-ovn-maintenance-worker.service",
        },
    ),
    ({"neutron_api_database_driver": "mysqldb"}, {"node1/neutron-api.service"}),
    ({"neutron_metadata_workers": 7}, {"node2/neutron-ovn-metadata-agent.service"}),
    (
        {"neutron_metadata_config_overrides": {"DEFAULT": {"debug": True}}},
        {"node2/neutron-ovn-metadata-agent.service"},
    ),
    ({"nova_workers": 7}, {"node1/nova-api.service"}),
    ({"nova_metadata_workers": 7}, {"node1/nova-api-metadata.service"}),
    ({"nova_conductor_workers": 7}, {"node1/nova-conductor.service"}),
    ({"nova_scheduler_workers": 7}, {"node1/nova-scheduler.service"}),
    (
        {"nova_config_overrides": {"filter_scheduler": {"shuffle_best_same_weighed_hosts": True}}},
        {"node1/nova-scheduler.service"},
    ),
    ({"nova_config_overrides": {"libvirt": {"images_type": "raw"}}}, {"node2/nova-compute.service"}),
    ({"nova_virt_type": "qemu"}, {"node2/nova-compute.service"}),
    ({"nova_reserved_host_memory_mb": 7}, {"node2/nova-compute.service"}),
    *(
        ({f"{name}_uwsgi_config_overrides": {"uwsgi": {"harakiri": 7}}}, {f"node1/{unit}.service"})
        for name, unit in {
            "keystone": "keystone",
            "placement": "placement-api",
            "neutron": "neutron-api",
            "nova": "nova-api",
            "nova_metadata": "nova-api-metadata",
        }.items()
    ),
]
# What several programs read is changed for all of them, and for no one else.
NEUTRON = {"neutron-api.service", "neutron-periodic-workers.service", "neutron-ovn-maintenance-worker.service"}
NOVA = {"nova-api.service", "nova-api-metadata.service", "nova-conductor.service", "nova-scheduler.service"}
SHARED_OPTION: list[tuple[dict[str, Any], set[str]]] = [
    ({"neutron_config_overrides": {"DEFAULT": {"debug": True}}}, {f"node1/{unit}" for unit in NEUTRON}),
    ({"neutron_ml2_config_overrides": {"ovn": {"ovsdb_log_level": "INFO"}}}, {f"node1/{unit}" for unit in NEUTRON}),
    (
        {"nova_config_overrides": {"vnc": {"enabled": False}}},
        {"node1/nova-novncproxy.service", "node2/nova-compute.service"},
    ),
    (
        {"nova_config_overrides": {"DEFAULT": {"debug": True}}},
        {"node2/nova-compute.service", *(f"node1/{unit}" for unit in {*NOVA, "nova-novncproxy.service"})},
    ),
]


@pytest.mark.parametrize(("overrides", "restarted"), [*ONE_OPTION, *SHARED_OPTION])
def test_one_option_restarts_who_reads_it_and_nothing_else(overrides: dict[str, Any], restarted: set[str]) -> None:
    assert acted("two_nodes", overrides) == restarted


@pytest.mark.parametrize(
    ("overrides", "restarted"),
    [
        ({"nova_scheduler_workers": 7}, {"node1/nova-scheduler.service"}),
        ({"nova_config_overrides": {"libvirt": {"images_type": "raw"}}}, {"node1/nova-compute.service"}),
        ({"nova_config_overrides": {"nova_sys_admin": {"thread_pool_size": 7}}}, {"node1/nova-compute.service"}),
    ],
)
def test_so_it_is_where_one_file_is_read_by_both_roles(overrides: dict[str, Any], restarted: set[str]) -> None:
    assert acted("all_in_one", overrides) == restarted


def test_a_node_that_is_added_is_known_to_all_and_restarts_nothing(tmp_path: Path) -> None:
    inventory = yaml.safe_load((compiled.GOLDEN / "two_nodes/hosts.yml").read_text())
    computes = inventory["all"]["children"]["seedcloud_nodes"]["children"]["seedcloud_computes"]["hosts"]
    text = json.dumps(computes["node2"])
    for old, new in (
        ("0.2.132", "0.2.133"),
        (":53:03", ":53:05"),
        (":53:04", ":53:06"),
        ("TWO", "THREE"),
        (".12", ".13"),
    ):
        text = text.replace(old, new)
    computes["node3"] = json.loads(text)
    (tmp_path / "hosts.yml").write_text(json.dumps(inventory))
    plans = compiled.plans(str(tmp_path))
    for name, golden in compiled.golden("two_nodes").items():
        [hosts] = [
            file for node in plans[name]["graph"] for file in node.get("files", []) if file["path"] == "/etc/hosts"
        ]
        assert hosts["content"].endswith(
            "192.0.2.12 node2.seedcloud.internal node2\n192.0.2.13 node3.seedcloud.internal node3\n"
        )
        assert digests(plans[name]) == digests(golden)


def test_every_service_and_unit_has_its_case() -> None:
    services = {option.partition("_")[0] for overrides, _units in ONE_OPTION for option in overrides}
    assert services == set(MANIFESTS)
    options = {option for overrides, _units in [*ONE_OPTION, *SHARED_OPTION] for option in overrides}
    assert {f"{name}_config_overrides" for name in MANIFESTS} <= options
    tried = {what.partition("/")[2] for _overrides, units in [*ONE_OPTION, *SHARED_OPTION] for what in units}
    units = {
        node["unit"]
        for plan in compiled.golden("two_nodes").values()
        for node in plan["graph"]
        if node["kind"] == "unit" and node["reads"]
    }
    assert units <= tried


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


# -- databases of Open vSwitch and OVN ---------------------------------------------------------------------------------


def ovsdb(*layers: Any) -> dict[str, Any]:
    return {"steps": [{"name": "s", "argv": ["tool", "--db=x"], "ovsdb": {"record": "R", "columns": list(layers)}}]}


def test_a_record_is_set_and_asked_for_the_same() -> None:
    ours = {"external_ids": {"a": "tcp:[::1]:6642", "b": 'say "so"', "gone": 1}, "other_config": {"off": False}}
    [step, _ready] = compile_one(ovsdb(ours, {"external_ids": {"a": [1, "é"], "gone": None}}))["graph"]
    pairs = ['external_ids:a="1,\\u00e9"', 'external_ids:b="say \\"so\\""', 'other_config:off="false"']
    remove = ["--", "remove", "R", ".", "external_ids", "gone"]
    assert step["argv"] == ["tool", "--db=x", "set", "R", ".", *pairs, *remove]
    asked = ["--timeout=2", "wait-until", "R", ".", *pairs, "external_ids:gone{=}[]"]
    assert step["unless"] == {"argv": ["tool", "--db=x", *asked]}
    [step, _ready] = compile_one(ovsdb({"options": {"gone": None}}))["graph"]
    assert step["argv"] == ["tool", "--db=x", *[word if word != "external_ids" else "options" for word in remove[1:]]]


def test_nothing_to_set_is_no_step() -> None:
    assert [node["id"] for node in compile_one(ovsdb({"options": {}}, {}))["graph"]] == ["x:ready"]


def test_ours_is_changed_and_removed_in_the_databases_of_the_network() -> None:
    """A key is set once, as the operator wants it; without overrides the controllers' database is let alone."""
    overrides = {"external_ids": {"ovn-encap-type": "vxlan", "hostname": None}}
    plan = compiled.plans("two_nodes", {"ovn_config_overrides": overrides}, only="node2")["node2"]
    [argv] = [node["argv"] for node in plan["graph"] if node["id"] == "ovn:chassis"]
    assert [word for word in argv if "encap-type" in word] == ['external_ids:ovn-encap-type="vxlan"']
    assert argv[-6:] == ["--", "remove", "Open_vSwitch", ".", "external_ids", "hostname"]
    assert not [node for node in compiled.golden("two_nodes")["node1"]["graph"] if node["id"] == "ovn:northbound"]


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        ({"external-ids": {"ovn-monitor-all": True}}, "ovn.steps.chassis: 'external-ids' is no name for a section"),
        ({"ovn_central": {"x": 1}}, "ovn.steps.chassis: 'ovn_central' is no name for a section"),
        (["external_ids"], "ovn.steps.chassis: a layer must be a mapping of sections, not ['external_ids']"),
        ({"NB_Global": 7}, "ovn.steps.northbound: [options] must be a mapping"),
        ({"ovn-host": 7}, "/etc/default/ovn-host: [OVN_CTL_OPTS] must be a mapping"),
        ({"ovn-central": {"--x": 7}}, "/etc/default/ovn-central: [OVN_CTL_OPTS] '--x' is no name for an option"),
    ],
)
def test_an_override_of_ovn_that_is_none_is_a_fault(overrides: Any, said: str) -> None:
    with pytest.raises(CompileError) as caught:
        compiled.plans("all_in_one", {"ovn_config_overrides": overrides})
    assert said in str(caught.value)


# -- faults ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("manifest", "fault"),
    [
        ({"unit": []}, "x: 'unit' is not known"),
        ({"units": [{"name": "u", "raeds": []}]}, "x.units.u: 'raeds' is not known"),
        ({"units": [{}]}, "'name' is missing"),
        ({"where": ["controler"]}, "'where' must be a list of"),
        ({"secrets": {"p": {"kind": "guid"}}}, "kind must be one of"),
        ({"files": [{"path": "/f"}]}, "give one of content, ini, haproxy, arguments, environment, state"),
        ({"files": [{"path": "/f", "content": "", "state": "absent"}]}, "give one of"),
        ({"files": [{"path": "/f", "ini": [{"s": {"o": "a\nb"}}]}]}, "/f: [s] o: a value cannot hold a line break"),
        ({"files": [{"path": "/f", "ini": [{}, None]}]}, "/f: a layer must be a mapping of sections, not None"),
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
        (ovsdb({"external-ids": {"k": 1}}), "x.steps.s: 'external-ids' is no name for a section"),
        (ovsdb({"options": {"k=1 -- del": 1}}), "x.steps.s: [options] 'k=1 -- del' is no name for an option"),
        (ovsdb({"options": {"k": {"multi": [1]}}}), "x.steps.s: [options] k: {'multi': [1]} is neither a scalar"),
        (ovsdb({"options": {"k": "a\nb"}}), "x.steps.s: [options] k: a value cannot hold a line break"),
        (ovsdb({"options": 1}), "x.steps.s: [options] must be a mapping"),
        (ovsdb(None), "x.steps.s: a layer must be a mapping"),
        ({"steps": [{"name": "s", "argv": ["t"], "ovsdb": {"record": "R"}}]}, "x.steps.s.ovsdb: 'columns' is missing"),
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
