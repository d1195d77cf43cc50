#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write what documents the data model from the one schema: the `plan` role's argument_specs
and the tables in inventory/README.md. `make docs` runs it; a test compares.

Usage: tools/datamodel.py [--check]
"""

from __future__ import annotations

import json
import sys
import textwrap
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / ".ansible" / "collections"))

from ansible_collections.podnet.fabric.plugins.plugin_utils.intent import schema  # noqa: E402

SPEC = ROOT / "roles" / "plan" / "meta" / "argument_specs.yml"
README = ROOT / "inventory" / "README.md"
TYPES = {
    "cidrs": "list of networks",
    "addresses": "list of addresses",
    "integer": "number",
    "choice": "word",
    "interface": "interface name",
    "families": "list of families",
    "ports": "list",
    "prefix_lengths": "mapping",
    "plugins": "list of mappings",
    "node_table": "mapping",
    "allocated": "mapping",
    "name": "name",
    "path": "path",
    "conflist_name": "file name",
    "secret": "text",
    "boolean": "true, false",
    "bgp_peers": "list of mappings",
}


def default(key: schema.Key) -> str:
    if key.default is schema.REQUIRED:
        return "required"
    if key.default is None:
        return "none" if key.kind == "secret" else "computed"
    value: Any = list(key.default) if isinstance(key.default, tuple) else key.default
    if key.kind == "plugins":
        return ", ".join(plugin["type"] for plugin in value)
    return json.dumps(value).replace('"', "")


def kind(key: schema.Key) -> str:
    if key.choices:
        return ", ".join(key.choices)
    if key.high:
        return f"{key.low} to {key.high}"
    return TYPES[key.kind]


def table(prefix: str, keys: tuple[schema.Key, ...]) -> str:
    rows = ["| Variable | Value | Default | Meaning |", "|---|---|---|---|"]
    for key in keys:
        rows.append(f"| `{prefix}{key.name}` | {kind(key)} | {default(key)} | {key.about} |")
    return "\n".join(rows) + "\n"


def readme() -> str:
    text = README.read_text(encoding="utf-8")
    for name, prefix, keys in (
        ("fleet", "", schema.FLEET_KEYS),
        ("node", "podnet_", schema.NODE_KEYS),
    ):
        begin, end = f"<!-- {name} variables -->\n", f"<!-- end of {name} variables -->"
        head, _begin, rest = text.partition(begin)
        _old, _end, tail = rest.partition(end)
        text = head + begin + table(prefix, keys) + end + tail
    return text


def spec() -> str:
    lines = [
        "# SPDX-License-Identifier: GPL-3.0-or-later",
        "# Written by tools/datamodel.py from plugins/plugin_utils/intent/schema.py.",
        "# The type is raw on purpose: podnet checks every value itself, and reports all problems",
        "# of an inventory at once, each with its place and its remedy.",
        "---",
        "argument_specs:",
        "  main:",
        "    short_description: Read and check the inventory of the whole fleet",
        "    description:",
        "      - Reads the pod network that the inventory describes, for all nodes at once, and",
        "        refuses it as a whole when anything in it is wrong. Opens no connection.",
        "    options:",
    ]
    for prefix, keys in (("", schema.FLEET_KEYS), ("podnet_", schema.NODE_KEYS)):
        for key in keys:
            shown = f"{kind(key)}; default {default(key)}"
            if key.default is schema.REQUIRED:
                shown = f"{kind(key)}; required, as a variable or in the node table"
                if not prefix:
                    shown = f"{kind(key)}; required"
            lines += [
                f"      {prefix}{key.name}:",
                "        type: raw",
                "        description:",
                "          - >-",
                *textwrap.wrap(key.about, 96, initial_indent=12 * " ", subsequent_indent=12 * " "),
                f"          - {json.dumps('Value: ' + shown + '.')}",
            ]
    lines += [
        "      podnet_group:",
        "        type: str",
        "        default: podnet",
        "        description: Inventory group that holds the nodes of the fleet.",
        "      podnet_plan_without:",
        "        type: list",
        "        elements: str",
        "        description: Nodes that are left out, as if the inventory did not have them.",
        "      podnet_output_dir:",
        "        type: path",
        "        description:",
        "          - Folder on the controller for `intended/`, `report/` and `.podnet/`.",
        "          - Left out, it is the working directory.",
    ]
    return "\n".join(lines) + "\n"


def main() -> int:
    stale = []
    for path, text in ((SPEC, spec()), (README, readme())):
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            stale.append(path.relative_to(ROOT))
            if "--check" not in sys.argv:
                path.write_text(text, encoding="utf-8")
    for path in stale:
        checking = "--check" in sys.argv
        print(f"{path}: {'differs from the schema; run make docs' if checking else 'written'}")
    return 1 if stale and "--check" in sys.argv else 0


if __name__ == "__main__":
    sys.exit(main())
