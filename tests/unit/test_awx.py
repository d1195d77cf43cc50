# SPDX-License-Identifier: GPL-3.0-or-later
"""The file that AWX imports: against awxkit, which imports it, and against this collection."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from awxkit.api import pages
from test_house import ROOT

DATA: dict[str, list[dict[str, Any]]] = json.loads(
    (ROOT / "extensions/awx/podnet.json").read_text(encoding="utf-8")
)
KINDS = {
    "projects": pages.Project,
    "inventory": pages.Inventory,
    "inventory_sources": pages.InventorySource,
    "job_templates": pages.JobTemplate,
    "workflow_job_templates": pages.WorkflowJobTemplate,
    "workflow_nodes": pages.WorkflowJobTemplateNode,
}
TYPES = {
    "organization": pages.Organization,
    "project": pages.Project,
    "inventory": pages.Inventory,
    "inventory_source": pages.InventorySource,
    "job_template": pages.JobTemplate,
    "workflow_job_template": pages.WorkflowJobTemplate,
    "workflow_job_template_node": pages.WorkflowJobTemplateNode,
}
(WORKFLOW,) = DATA["workflow_job_templates"]
NODES = {node["identifier"]: node for node in WORKFLOW["related"]["workflow_nodes"]}
# Types of AWX's surveys that are used, and what Ansible's argument specs accept of them.
SURVEY = {"integer": {"int"}, "multiplechoice": {"bool", "str"}, "text": {"str", "list"}}


def objects() -> Iterator[tuple[str, dict[str, Any]]]:
    yield from ((kind, item) for kind, items in DATA.items() for item in items)
    yield from (("workflow_nodes", node) for node in NODES.values())


def keys(item: Any) -> Iterator[dict[str, Any]]:
    """Every natural key below, those in keys as well."""
    if isinstance(item, dict):
        if item.get("type") in TYPES and "workflow_nodes" not in item:
            yield item
        for value in item.values():
            yield from keys(value)
    elif isinstance(item, list):
        for value in item:
            yield from keys(value)


def test_natural_keys_are_those_of_awxkit() -> None:
    found = list(keys(DATA))
    assert len(found) > 30
    for key in found:
        assert set(key) == {*TYPES[key["type"]].NATURAL_KEY, "type"}, key


def test_every_reference_is_resolved_but_the_organization() -> None:
    here = [json.dumps(item["natural_key"], sort_keys=True) for _kind, item in objects()]
    assert len(set(here)) == len(here), "two objects of one name"
    for key in keys(DATA):
        known = key["type"] == "organization" or json.dumps(key, sort_keys=True) in here
        assert known, f"no {key}"


@pytest.mark.parametrize(
    ("kind", "item"), list(objects()), ids=lambda x: x if isinstance(x, str) else ""
)
def test_awxkit_knows_every_field(kind: str, item: dict[str, Any]) -> None:
    source = inspect.getsource(inspect.getmodule(KINDS[kind]) or KINDS[kind])
    words = set(re.findall(r"\w+", source))
    unknown = set(item) - words - {"natural_key", "related"}
    assert not unknown, f"{item.get('name')}: {sorted(unknown)}"


def test_no_slice_begins_a_phase_before_all_have_ended_the_one_before() -> None:
    """A node of the workflow ends when all slices of its template have. So every way through the
    graph must hold the phases in their order, and no phase may have two nodes."""
    after = {
        name: {key["identifier"] for key in node["related"]["success_nodes"]}
        for name, node in NODES.items()
    }
    assert not any(node["related"][k] for node in NODES.values() for k in ("always_nodes",))
    assert set().union(*after.values()) <= set(NODES)

    def below(name: str) -> set[str]:
        return after[name].union(*map(below, after[name]))

    playbooks = {t["name"]: t["playbook"] for t in DATA["job_templates"]}
    node_of = {playbooks[n["unified_job_template"]["name"]]: name for name, n in NODES.items()}
    assert len(node_of) == len(NODES)
    order = [node_of[f"playbooks/{p}.yml"] for p in ("plan", "add", "switch", "remove", "verify")]
    for index, name in enumerate(order):
        assert below(name) == set(order[index + 1 :])


def test_templates_run_playbooks_that_are_there() -> None:
    sliced = {}
    for template in DATA["job_templates"]:
        assert (ROOT / template["playbook"]).is_file()
        sliced[template["playbook"]] = template["job_slice_count"]
        assert template["ask_variables_on_launch"], "or the survey's answers do not arrive"
        assert not template["allow_simultaneous"]
    assert sliced["playbooks/verify.yml"] == 1, "pairs of nodes in two slices are probed, too"
    assert min(sliced[f"playbooks/{phase}.yml"] for phase in ("add", "switch", "remove")) > 1


def test_the_survey_asks_for_variables_of_roles() -> None:
    options: dict[str, Any] = {}
    for path in ROOT.glob("roles/*/meta/argument_specs.yml"):
        specs = yaml.safe_load(path.read_text(encoding="utf-8"))["argument_specs"]
        options |= specs["main"].get("options", {})
    for question in WORKFLOW["related"]["survey_spec"]["spec"]:
        option = options[question["variable"]]
        assert option["type"] in SURVEY[question["type"]], question["variable"]
        if question["required"]:
            assert str(question["default"]).lower() == str(option["default"]).lower()
