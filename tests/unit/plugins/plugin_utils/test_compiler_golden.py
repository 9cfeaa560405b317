# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 the seedcloud.openstack authors
"""The compiled plans of several inventories, whole. After a change that was meant: GOLDEN_UPDATE=1; read the diff."""

from __future__ import annotations

import json
import os
from typing import Any

import pytest
import yaml
from ansible_collections.seedcloud.openstack.tests.golden import validate

from . import compiled


class Readable(yaml.SafeDumper):
    """Files in a plan stand there as they are written; lists are indented, as ansible-lint wants them."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, False)


def _text(dumper: yaml.SafeDumper, data: str) -> yaml.Node:
    return dumper.represent_scalar("tag:yaml.org,2002:str", data, style="|" if "\n" in data else None)


Readable.add_representer(str, _text)
Readable.ignore_aliases = lambda *_: True  # type: ignore[method-assign]  # a plan is read by people


HEAD = """# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 the seedcloud.openstack authors
---
"""


def readable(plan: dict[str, Any]) -> str:
    return HEAD + yaml.dump(json.loads(json.dumps(plan)), Dumper=Readable, sort_keys=False, width=1000)


@pytest.mark.parametrize("case", compiled.CASES)
def test_plans_are_the_golden_ones(case: str) -> None:
    for node, plan in compiled.golden(case).items():
        golden = compiled.GOLDEN / case / f"{node}.plan.yml"
        if os.environ.get("GOLDEN_UPDATE"):
            golden.write_text(readable(plan))
        assert readable(plan) == golden.read_text(), f"{golden} is not what compiles now"


def test_every_file_has_a_judge_or_a_reason_why_not() -> None:
    """`tools/test validate` runs the judges; that there is one can be said without them."""
    files = [file for _plan, file in validate.files()]
    unjudged = {file["path"] for file in files if validate.judge(file) is None}
    assert all(any(path.startswith(start) for path in unjudged) for start in validate.UNJUDGED), (
        "a reason without a file"
    )
    assert {file["service"] for file in files if validate.judge(file)} == set(compiled.SERVICES)
    with pytest.raises(LookupError, match="nobody judges it"):
        validate.judge({"path": "/etc/new.conf", "content": ""})


def test_a_fault_is_planted_in_every_file_that_is_judged() -> None:
    for _plan, file in validate.files():
        if validate.judge(file):
            planted = list(validate.plant(file))
            assert planted and all(validate.PLANTED in each["content"] for each in planted), file["path"]
