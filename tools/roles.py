#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write the part of each role's README.md that its argument_specs know: what it does in one
sentence, and its variables. `make docs` runs it; lint compares.

Usage: tools/roles.py [--check]
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[1]
BEGIN = "<!-- variables, from meta/argument_specs.yml by `make docs` -->\n"
END = "<!-- end of variables -->\n"
# One table with a README of its own has the variables of the fleet.
PLAN_KEYS = ("podnet_group", "podnet_plan_without", "podnet_output_dir")


def sentence(option: dict[str, Any]) -> str:
    """Description of an option in one cell: str or list of str → one line, with no bar in it."""
    about = option["description"]
    text = " ".join(about) if isinstance(about, list) else about
    if "choices" in option:
        text += " One of " + ", ".join(f"`{choice}`" for choice in option["choices"]) + "."
    return " ".join(text.split()).replace("|", "\\|")


def default(option: dict[str, Any]) -> str:
    if option.get("required"):
        return "required"
    if "default" not in option:
        return ""
    value = option["default"]
    return f"`{value if isinstance(value, str) and value else json.dumps(value)}`"


def kind(option: dict[str, Any]) -> str:
    name = option.get("type", "str")
    return f"list of {option['elements']}" if "elements" in option else str(name)


def table(options: dict[str, Any]) -> str:
    if not options:
        return "The role has no variables of its own.\n"
    rows = ["| Variable | Type | Default | Meaning |", "|---|---|---|---|"]
    for name, option in options.items():
        rows.append(f"| `{name}` | {kind(option)} | {default(option)} | {sentence(option)} |")
    return "\n".join(rows) + "\n"


def callers(role: str) -> str:
    """Which playbooks name the role, not counting those that import such a playbook."""
    found = []
    for path in sorted(ROOT.glob("playbooks/*.yml")):
        plays = yaml.safe_load(path.read_text(encoding="utf-8"))
        entries = [entry for play in plays for entry in play.get("roles", [])]
        named = [entry["role"] if isinstance(entry, dict) else entry for entry in entries]
        tasks = [task for play in plays for task in play.get("tasks", [])]
        named += [task.get("ansible.builtin.import_role", {}).get("name") for task in tasks]
        if f"podnet.fabric.{role}" in named:
            found.append(f"`podnet.fabric.{path.stem}`")
    return f"Playbooks that use it: {', '.join(found)}.\n\n" if found else ""


def section(role: str, spec: dict[str, Any]) -> str:
    options = spec.get("options", {})
    text = callers(role) + "## Variables\n\n"
    if role == "plan":
        options = {name: options[name] for name in PLAN_KEYS}
        text += (
            "The variables of the fleet and of its nodes: `inventory/README.md`. Beside them:\n\n"
        )
    return text + table(options)


def readme(folder: Path) -> str:
    """The README as it shall be: title, the specs' sentence, text of a person, variables."""
    specs = yaml.safe_load((folder / "meta/argument_specs.yml").read_text(encoding="utf-8"))
    spec = specs["argument_specs"]["main"]
    text = (folder / "README.md").read_text(encoding="utf-8")
    body, _begin, rest = text.partition(BEGIN)
    _old, _end, tail = rest.partition(END)
    head = f"# podnet.fabric.{folder.name}\n\n{spec['short_description']}.\n"
    own = body.split("\n", 3)[3] if body.count("\n") > 3 else ""
    own = own.rstrip("\n")
    return head + own + "\n\n" + BEGIN + section(folder.name, spec) + END + tail


def main() -> int:
    checking = "--check" in sys.argv
    stale = []
    for folder in sorted(path.parent.parent for path in ROOT.glob("roles/*/tasks/main.yml")):
        path, text = folder / "README.md", readme(folder)
        if path.read_text(encoding="utf-8") == text:
            continue
        stale.append(path.relative_to(ROOT))
        if not checking:
            path.write_text(text, encoding="utf-8")
    for name in stale:
        print(
            f"{name}: {'differs from its argument_specs; run make docs' if checking else 'written'}"
        )
    return 1 if stale and checking else 0


if __name__ == "__main__":
    sys.exit(main())
