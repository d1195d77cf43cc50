# SPDX-License-Identifier: GPL-3.0-or-later
"""What docs/least-privilege.md says of the code, for whatever code there is: two command lines run
as root, and nobody's host key is accepted unseen."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from test_house import ROOT, load, rel, tracked

ACTIONS = sorted(ROOT.glob("plugins/action/*.py"))
RULES = (ROOT / "docs/podnet.sudoers").read_text(encoding="utf-8")
# What Ansible itself does on the controller, and this collection's own.
ON_THE_CONTROLLER = {"assert", "debug", "fail", "meta", "pause", "set_fact"}
INCLUDES = {"import_role", "import_tasks", "include_role", "include_tasks"}
WEAK = re.compile(
    r"StrictHostKeyChecking[= ]+(no|off|accept-new|ask)|host_key_checking\W+(false|no|off|0)\b"
    r"|HOST_KEY_CHECKING\W+(false|no|off|0)\b|AutoAddPolicy|WarningPolicy|UserKnownHostsFile\W+/dev/null",
    re.IGNORECASE,
)


def calls(path: Path, name: str) -> list[ast.Call]:
    found = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    return [
        node
        for node in found
        if isinstance(node, ast.Call) and getattr(node.func, "attr", "") == name
    ]


def test_actions_run_one_command_line_on_nodes() -> None:
    """`sh -s`, as a word in the code: neither built from values nor another one."""
    found = [(rel(p), c) for p in ACTIONS for c in calls(p, "_low_level_execute_command")]
    assert len(found) >= 3, "the seam to the node has moved"
    for name, call in found:
        command = call.args[0] if call.args else None
        literal = command.value if isinstance(command, ast.Constant) else "built from values"
        assert literal == "sh -s", f"{name}:{call.lineno} runs {literal}"
    assert " ; sh -s$" in RULES


@pytest.mark.parametrize("verb", ["_transfer_data", "_transfer_file", "put_file", "exec_command"])
def test_actions_use_no_other_way_to_a_node(verb: str) -> None:
    found = [f"{rel(path)}:{call.lineno}" for path in ACTIONS for call in calls(path, verb)]
    assert not found, f"{found} uses {verb}, which the sudo rules do not allow"


def tasks(items: Any) -> Iterator[dict[str, Any]]:
    for item in items or ():
        inner = [item.get(word) for word in ("block", "rescue", "always") if word in item]
        for block in inner:
            yield from tasks(block)
        if not inner:
            yield item


@pytest.mark.parametrize("path", sorted(ROOT.glob("roles/*/tasks/*.yml")), ids=rel)
def test_roles_run_nothing_on_nodes_but_our_own_actions(path: Path) -> None:
    """A value in a `shell` or `raw` task would be one word away from being a command."""
    for task in tasks(load(path)):
        modules = [key for key in task if "." in key]
        assert len(modules) == 1, f"{rel(path)}: {task.get('name')}: {modules}"
        space, _dot, name = modules[0].rpartition(".")
        allowed = space == "podnet.fabric" or name in ON_THE_CONTROLLER | INCLUDES
        assert allowed, f"{rel(path)}: {task.get('name')} uses {modules[0]}"


def test_no_host_key_is_accepted_unseen() -> None:
    found = []
    for path in tracked():
        if path.name == Path(__file__).name:
            continue
        for number, line in enumerate(path.read_text("utf-8", "replace").splitlines(), 1):
            if WEAK.search(line):
                found.append(f"{rel(path)}:{number}: {line.strip()}")
    assert not found, "\n".join(found)
    assert re.search(r"^host_key_checking = True$", (ROOT / "ansible.cfg").read_text(), re.M)


@pytest.mark.parametrize(
    "line",
    [
        "ssh_args = -o StrictHostKeyChecking=no",
        "StrictHostKeyChecking accept-new",
        "host_key_checking = False",
        "ANSIBLE_HOST_KEY_CHECKING=0",
        "ansible_host_key_checking: false",
        "client.set_missing_host_key_policy(paramiko.AutoAddPolicy())",
        "UserKnownHostsFile=/dev/null",
    ],
)
def test_what_is_weak_is_known(line: str) -> None:
    assert WEAK.search(line)
