# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 the seedcloud.openstack authors
"""The project's own rules: what a reader may rely on in every part of the tree."""

from __future__ import annotations

import ast
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

TOP = Path(__file__).resolve().parents[2]
SHIPPED = ("plugins", "roles", "playbooks", "meta", "examples", "docs")


def tracked(*paths: str) -> list[Path]:
    """Files that git tracks or would track; a copy without git is searched whole."""
    listing = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", *paths],
        cwd=TOP,
        capture_output=True,
        check=True,
    )
    return [TOP / name for name in listing.stdout.decode().split("\0") if name and (TOP / name).is_file()]


def text(path: Path) -> str:
    try:
        return path.read_text()
    except UnicodeDecodeError:
        return ""


KINDS = ("modules", "action", "lookup", "filter")
PLUGINS = sorted((kind, path.stem) for kind in KINDS for path in (TOP / "plugins" / kind).glob("*.py"))
ROLES = sorted(p.name for p in (TOP / "roles").iterdir() if (p / "meta/main.yml").exists())
PLAYBOOKS = sorted(p.stem for p in (TOP / "playbooks").glob("*.yml"))


@pytest.fixture(scope="module")
def tests() -> list[Path]:
    me = Path(__file__).resolve()
    return [path for path in tracked("tests", "extensions") if path.resolve() != me]


@pytest.fixture(scope="module")
def tests_text(tests: list[Path]) -> str:
    """All that tests do, in one string without comments."""
    lines = (line for path in tests for line in text(path).splitlines())
    return "\n".join(line for line in lines if not line.lstrip().startswith("#"))


@pytest.fixture(scope="module")
def imported(tests: list[Path]) -> set[tuple[str, str]]:
    """The plugins that tests import, by kind and name."""
    top, found = "ansible_collections.seedcloud.openstack.plugins.", set()
    for node in (node for path in tests if path.suffix == ".py" for node in ast.walk(ast.parse(text(path)))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(top):
            parts = (node.module or "").removeprefix(top).split(".")
            found |= {(parts[0], name) for name in (parts[1:] or [alias.name for alias in node.names])}
    return found


def in_a_play(kind: str, name: str, said: str) -> bool:
    """Whether a play has a plugin: a module by its task's key, a filter or lookup by its use."""
    fqcn = rf"seedcloud\.openstack\.{name}"
    return bool(re.search(rf"{fqcn}[\"']?:\s" if kind in ("modules", "action") else rf"[|('\"] *{fqcn}\b", said))


def is_run(playbook: str, said: str) -> bool:
    """Whether a test runs a playbook: on the rack, on machines that are played, from a container's, or by its file."""
    return bool(
        re.search(
            rf'run_stage(?:\(\s*|, )"{playbook}"|playbook(?:=|: str = )"{playbook}"'
            rf"|import_playbook: seedcloud\.openstack\.{playbook}\b"
            rf'|"ansible-playbook",[^\n]*playbooks/{playbook}\.yml"',
            said,
        )
    )


@pytest.mark.parametrize(("kind", "name"), PLUGINS)
def test_plugin_is_tried(kind: str, name: str, tests_text: str, imported: set[tuple[str, str]]) -> None:
    assert (kind, name) in imported or in_a_play(kind, name, tests_text), f"no test imports {name} or has it in a play"


def test_a_word_tries_nothing() -> None:
    prose = "A plan: check the lab by node_wait and seedcloud.openstack.node_fields, as `playbooks/plan.yml` does."
    assert not any(is_run(name, prose) for name in PLAYBOOKS)
    assert not any(in_a_play(kind, name, prose) for kind, name in PLUGINS)


@pytest.mark.parametrize("name", ROLES)
def test_role_has_documentation_and_specification(name: str) -> None:
    role = TOP / "roles" / name
    assert (role / "README.md").stat().st_size > 200, f"roles/{name}/README.md says too little"
    spec = yaml.safe_load((role / "meta/argument_specs.yml").read_text())["argument_specs"]
    assert "main" in spec, f"roles/{name}: no specification of its main entry point"


def named(file: Path) -> set[str]:
    """What of ours a file of Ansible names, itself and in the playbooks that it imports."""
    found: set[str] = set()
    for line in text(file).splitlines():
        for name in re.findall(r"\bseedcloud\.openstack\.(\w+)", line):
            found |= named(TOP / f"playbooks/{name}.yml") if "import_playbook:" in line else {name}
    return found


def test_every_role_is_run_by_a_molecule_scenario() -> None:
    """All but the lab, which is what such containers would run in."""
    files = [path for path in tracked("extensions/molecule") if path.name in ("converge.yml", "verify.yml")]
    assert set(ROLES) - {"lab"} <= set().union(*map(named, files))


@pytest.mark.parametrize("name", ROLES)
def test_role_defaults_agree_with_its_specification(name: str) -> None:
    role = TOP / "roles" / name
    spec = yaml.safe_load((role / "meta/argument_specs.yml").read_text())["argument_specs"]
    options: dict[str, Any] = {}
    for entry in spec.values():
        options.update(entry.get("options") or {})
    file = role / "defaults/main.yml"
    defaults: dict[str, Any] = yaml.safe_load(file.read_text()) or {} if file.exists() else {}
    assert set(defaults) <= set(options), f"roles/{name}: defaults that the specification does not know"
    for key, value in defaults.items():
        said = options[key].get("default")
        if isinstance(value, str) and "{{" in value:
            continue  # computed; the specification describes it in words
        if said is not None or not isinstance(value, dict | list):
            assert said == value, f"roles/{name}: {key} is {value!r} in defaults, {said!r} in the specification"


def test_nothing_outside_the_lab_knows_the_lab() -> None:
    """Its names and addresses (RFC 2544's network) are in its role and playbook alone."""
    lab = re.compile(r"198\.1[89]\.\d|\blab_\w+|seedcloud[-_]lab|roles/lab|role: *\S*\blab\b")
    found = []
    for path in tracked(*SHIPPED):
        name = path.relative_to(TOP).as_posix()
        if name.startswith("roles/lab/") or name in ("playbooks/lab.yml", "docs/interfaces.md"):
            continue
        found += [
            f"{name}:{n}: {line.strip()}" for n, line in enumerate(text(path).splitlines(), 1) if lab.search(line)
        ]
    assert not found, "\n".join(found)


def test_every_source_file_names_its_licence() -> None:
    missing = [
        path.relative_to(TOP).as_posix()
        for path in tracked("plugins", "roles", "playbooks", "tests", "tools", "meta", "examples")
        if path.suffix in (".py", ".yml", ".yaml", ".sh", ".j2")
        and path.stat().st_size  # nothing is nobody's
        and "SPDX-License-Identifier" not in text(path)[:600]
    ]
    assert not missing, "\n".join(missing)


def test_no_registry_and_no_path_of_one_machine() -> None:
    """A tool knows its own mirror; this tree works wherever it is cloned."""
    registries = [f"{name}.org" for name in ("deb.debian", "security.debian", "pypi", "python" + "hosted", "npmjs")]
    hosts = re.compile("|".join(map(re.escape, [*registries, f"{Path.home()}/.pyenv", f"{TOP}/"])))
    me = Path(__file__).resolve()
    found = [
        f"{path.relative_to(TOP)}:{n}"
        for path in tracked()
        if path.resolve() != me
        for n, line in enumerate(text(path).splitlines(), 1)
        if hosts.search(line)
    ]
    assert not found, "\n".join(found)


@pytest.mark.parametrize("name", PLAYBOOKS)
def test_playbook_is_documented_and_tried(name: str, tests_text: str) -> None:
    readme = text(TOP / "README.md")
    assert re.search(rf"`{name}`|seedcloud\.openstack\.{name}\b", readme), f"README.md does not mention {name}"
    assert is_run(name, tests_text), f"no test runs the playbook {name}"


def test_playbooks_hold_roles_and_imports_only() -> None:
    """A playbook is a list of plays; what is done stands in roles."""
    line = yaml.safe_load((TOP / "playbooks/deploy_overcloud.yml").read_text())
    assert all(set(play) <= {"name", "ansible.builtin.import_playbook"} for play in line)


def test_every_test_and_benchmark_is_run_by_a_make_target() -> None:
    """The unit tests are found by pytest; the others have to be named, and their parts be in `make test-all`."""
    runner = text(TOP / "tools/test")
    run = [path for path in (TOP / "tests/e2e").glob("*.py") if "\ndef test_" in text(path)]
    run += [path for path in (TOP / "tests/bench").glob("*.py") if "__main__" in text(path)]
    missing = [path.name for path in run if not re.search(rf"\b{path.stem}\b", runner)]
    assert len(run) >= 6 and not missing, missing
    everything = re.search(r"^ +everything\) parts=\((.*)\)", runner, re.MULTILINE)
    assert everything
    parts = set(re.findall(r"^([\w-]+)\(\) \{", runner, re.MULTILINE)) - {
        "run",
        "packages",
        "part",
        "together",
        "measure",
        "unit-quick",
        "bench",
    }
    assert parts == set(re.findall(r"[\w-]+", everything[1]))  # also those that go side by side
