# SPDX-License-Identifier: GPL-3.0-or-later
"""What an Ansible user expects of any collection: documentation, groups, fragments, tags."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml
from test_house import ROOT, documentation, load, modules, rel, roles

ATTRIBUTES, OUTPUT_DIR = "podnet.fabric.attributes", "podnet.fabric.output_dir"
# Names in podnet.prom, which are no variables.
METRICS = (
    *("podnet_checks", "podnet_pairs", "podnet_path_", "podnet_drift"),
    *("podnet_verify_ok", "podnet_verify_timestamp_"),
)


def tool(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"tool_{name}", ROOT / f"tools/{name}.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def specs(role: Path) -> dict[str, Any]:
    found = load(role / "meta/argument_specs.yml")["argument_specs"]["main"]
    assert isinstance(found, dict)
    return found


@pytest.mark.parametrize("role", roles(), ids=rel)
def test_a_readme_is_in_step_with_its_argument_specs(role: Path) -> None:
    text = (role / "README.md").read_text(encoding="utf-8")
    assert tool("roles").readme(role) == text, f"{rel(role)}/README.md: run make docs"


@pytest.mark.parametrize("role", roles(), ids=rel)
def test_ansible_doc_and_the_readme_describe_a_role_in_the_same_words(role: Path) -> None:
    said = " ".join((role / "README.md").read_text(encoding="utf-8").split())
    found = specs(role)
    assert found.get("description"), f"{rel(role)}: no description in its argument_specs"
    if role.name != "plan":  # whose specs are written from the schema
        for paragraph in found["description"]:
            assert paragraph in said, f"{rel(role)}/README.md does not say: {paragraph}"


@pytest.mark.parametrize("role", roles(), ids=rel)
def test_galaxy_and_ansible_doc_name_a_role_alike(role: Path) -> None:
    galaxy = load(role / "meta/main.yml")["galaxy_info"]
    assert galaxy["description"] == specs(role)["short_description"]


@pytest.mark.parametrize("path", modules(), ids=rel)
def test_a_module_has_its_attributes_from_the_fragments(path: Path) -> None:
    found = documentation(path)
    fragments = found["extends_documentation_fragment"]
    assert fragments[-1] == ATTRIBUTES, f"{rel(path)} does not extend {ATTRIBUTES}"
    told = [name for name, value in found["attributes"].items() if "description" in value]
    assert not told, f"{rel(path)}: {told} say in their own words what the fragment says"
    assert "output_dir" not in found.get("options", {}), f"{rel(path)}: extend {OUTPUT_DIR}"


def test_the_group_fleet_holds_what_knows_output_dir() -> None:
    """A default for the group fails the play in a module that does not know the option."""
    group = load(ROOT / "meta/runtime.yml")["action_groups"]["fleet"]
    knows = [
        OUTPUT_DIR in documentation(path)["extends_documentation_fragment"] for path in modules()
    ]
    assert group == [path.stem for path, known in zip(modules(), knows, strict=True) if known]


def test_a_default_of_the_group_fleet_reaches_a_module(tmp_path: Path) -> None:
    """The very play of docs/playbooks.md."""
    text = (ROOT / "docs/playbooks.md").read_text(encoding="utf-8")
    (play,) = [part for part in text.split("```") if "module_defaults:" in part]
    play = play.removeprefix("yaml").replace("/srv/podnet/berlin", str(tmp_path / "berlin"))
    (tmp_path / "play.yml").write_text(play, encoding="utf-8")
    program = str(Path(sys.executable).with_name("ansible-playbook"))
    sample = ("-i", str(ROOT / "inventory/sample"))
    command = [program, *sample, str(tmp_path / "play.yml")]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert (tmp_path / "berlin/.podnet/fabric.json").is_file()


def test_no_task_has_tags() -> None:
    """docs/playbooks.md says so: a part of a transaction must not be left out by a tag. The
    playbook verify is always there, so that `--tags measure` can ask for one thing more."""
    found = []
    for path in [*ROOT.glob("playbooks/*.yml"), *ROOT.glob("roles/*/tasks/*.yml")]:
        text = path.read_text(encoding="utf-8")
        if path.name == "verify.yml":
            text = text.replace("tags: [always]", "")
        found += [rel(path) for event in yaml.scan(text) if getattr(event, "value", "") == "tags"]
    assert not found, f"{found} have tags; document them in docs/playbooks.md"


def test_the_execution_environment_names_files_that_are_there() -> None:
    named = load(ROOT / "meta/execution-environment.yml")["dependencies"]
    assert set(named) == {"python", "system"}
    for name in named.values():
        assert (ROOT / name).read_text(encoding="utf-8").strip(), f"{name} is empty"


def guides() -> list[Path]:
    return sorted(ROOT.glob("docs/*.md"))


@pytest.mark.parametrize("path", guides(), ids=rel)
def test_a_guide_names_variables_and_pages_that_are_there(path: Path) -> None:
    from ansible_collections.podnet.fabric.plugins.plugin_utils.intent import schema, tool_keys

    known = {key.name for key in schema.FLEET_KEYS} | set(tool_keys.TOOL_KEYS) | {"podnet_yes"}
    known |= {f"podnet_{key.name}" for key in schema.NODE_KEYS}
    text = path.read_text(encoding="utf-8")
    # podnet_x_… is a family of names, and podnet_x{ or podnet_x_total a metric of the report.
    named = set(re.findall(r"(?<![\w/.-])podnet_[a-z0-9_]*[a-z0-9](?![\w{.…])", text))
    assert not {name for name in named if name not in known and not name.startswith(METRICS)}
    links = [link.partition("#")[0] for link in re.findall(r"\]\(([^)\s]+)\)", text)]
    lost = [name for name in links if "://" not in name and not (path.parent / name).exists()]
    assert not lost, f"{rel(path)}: no such page: {lost}"
