# SPDX-License-Identifier: GPL-3.0-or-later
"""Action `podnet.fabric.allocate`: free ranges for nodes that have none, into the inventory."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleError
from ansible.plugins.action import ActionBase

from ..plugin_utils.intent import allocate as room
from ..plugin_utils.intent.hosts import host_variables
from ..plugin_utils.intent.kubespray import Translation
from ..plugin_utils.intent.parse import parse_fabric
from ..plugin_utils.intent.problems import Problem, ProblemsError
from ..plugin_utils.plan import compile_fleet
from ..plugin_utils.sources import refuse_unread
from ..plugin_utils.workspace import Workspace, WorkspaceError, write

SPEC = {
    "group": {"type": "str", "default": "podnet"},
    "file": {"type": "path"},
    "release": {"type": "list", "elements": "str", "default": []},
    "reserved": {"type": "list", "elements": "str", "default": []},
    "output_dir": {"type": "path"},
}
FILE = "podnet_allocated.yml"
# What Ansible takes for the variables of a group, when there is no folder of that name.
ENDINGS = ("", ".yml", ".yaml", ".json")


class ActionModule(ActionBase):  # type: ignore[misc]  # ansible ships no types
    """Runs once for the whole fleet, on the controller; opens no connection."""

    _requires_connection = False
    BYPASS_HOST_LOOP = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> Any:
        result = super().run(tmp, task_vars)
        _validation, args = self.validate_argument_spec(SPEC)
        variables = task_vars or {}
        workspace = Workspace(args["output_dir"])
        try:
            refuse_unread(variables)
            # This code runs in a worker; the run is its parent.
            workspace.begin(os.getppid())
            found = host_variables(variables, args["group"])
            path = Path(args["file"] or _place(variables, args["group"]))
            return {**result, **self._allocate(workspace, found, path, args)}
        except (WorkspaceError, OSError, UnicodeDecodeError) as error:
            return {**result, "failed": True, "msg": str(error)}
        except ProblemsError as error:
            return {**result, "failed": True, "msg": error.text()}
        except AnsibleError as error:
            return {**result, "failed": True, "msg": f"The inventory cannot be read: {error}"}

    def _allocate(
        self,
        workspace: Workspace,
        found: Translation,
        path: Path,
        args: dict[str, Any],
    ) -> dict[str, Any]:
        hosts = found.variables
        before = path.read_text(encoding="utf-8") if path.is_file() else ""
        old = room.read_file(before, str(path)) if before else {}
        _refuse_other(hosts, old, path)
        fabric, _problems = parse_fabric(_with(hosts, old))
        names = [node.name for node in fabric.nodes]
        kept = room.released(old, args["release"], names)
        reserved = room.read_ranges({"*": args["reserved"]}, "podnet_allocate_reserved")["*"]
        held = [*reserved, *(cidr for cidrs in kept.values() for cidr in cidrs)]
        last, addresses = _remembered(workspace)
        back = room.given_back(fabric, last, held)
        if back:
            kept |= back
            fabric, _problems = parse_fabric(_with(hosts, kept))
        taken = [*held, *(cidr for cidrs in last.values() for cidr in cidrs), *addresses]
        with found.named():
            given = room.allocate(fabric, room.lengths_of(hosts), taken)
            new = room.merged(kept, given)
            # The whole plan looks at it before anything is written.
            compile_fleet(_with(hosts, new))
        after = room.as_text(new) if new != old else before
        if after != before and not self._task.check_mode:
            write(path, after)
        done = _said(
            given, back, [name for name in new if name not in names], path, args["release"]
        )
        if before and not any(room.VARIABLE in variables for variables in hosts.values()):
            again = f"pass it to every run: -e @{path}"
            done["podnet_lines"].append(f"{path}: this inventory does not load it; {again}")
        done.update(
            changed=after != before, file=str(path), given={k: [*v] for k, v in given.items()}
        )
        if self._task.diff and after != before:
            header = {"before_header": str(path), "after_header": str(path)}
            done["diff"] = {**header, "before": before, "after": after}
        return done


def _with(hosts: dict[str, dict[str, Any]], ranges: room.Ranges) -> dict[str, dict[str, Any]]:
    """The inventory as it is with these ranges in the file."""
    plain = {name: list(cidrs) for name, cidrs in ranges.items()}
    return {host: {**variables, room.VARIABLE: plain} for host, variables in hosts.items()}


def _place(variables: Mapping[str, Any], group: str) -> Path:
    """The file of group variables: where it is, or else where Ansible is going to load it.

    A folder group_vars/GROUP hides a file group_vars/GROUP.yml, and a folder host_vars/NODE hides
    host_vars/NODE.yml, so a folder is only made where it hides nothing.
    """
    sources = [Path(str(source)) for source in variables.get("ansible_inventory_sources") or ()]
    folders = [s if s.is_dir() else s.parent for s in sources if s.exists()]
    places = [f / "group_vars" / name for f in folders for name in (group, "all")]
    for place in places:
        if (place / FILE).is_file():
            return place / FILE
    # Of several inventories the first that has group_vars at all.
    for place in sorted(places, key=lambda place: not place.parent.is_dir()):
        if not any(place.with_name(place.name + ending).is_file() for ending in ENDINGS):
            return place / FILE
    raise ProblemsError("the inventory", [_nowhere(places, group)])


def _nowhere(places: list[Path], group: str) -> Problem:
    found = f"files in the way of the folders {', '.join(map(str, places))}"
    return Problem(
        "podnet_allocated",
        "there is no place for the file that keeps the ranges",
        f"a folder group_vars/{group} or group_vars/all beside the inventory, or room for one",
        found if places else "an inventory that is no file",
        f"move group_vars/{group}.yml to group_vars/{group}/main.yml; or set podnet_allocate_file",
    )


def _refuse_other(hosts: dict[str, dict[str, Any]], old: room.Ranges, path: Path) -> None:
    """Ranges that the inventory has from another place would be forgotten here."""
    # A group's variable is one object in all of its hosts, and as long as the fleet.
    tables = {id(table): table for v in hosts.values() if (table := v.get(room.VARIABLE))}
    for table in tables.values():
        loaded = room.read_ranges(table, room.VARIABLE)
        if loaded != old:
            what = "not what the file says"
            remedy = f"move its file to {path}, or name it in podnet_allocate_file"
            expected, found = f"the {len(old)} entries of {path}", f"{len(loaded)} entries"
            problem = Problem(room.VARIABLE, what, expected, found, remedy)
            raise ProblemsError("the inventory", [problem])


def _remembered(workspace: Workspace) -> tuple[room.Ranges, list[str]]:
    """What the last plan gave to each node, and the addresses that host-local had in use when
    `status` was run last: pods may still be there."""
    plan, status = _maybe(workspace, "fabric.json"), _maybe(workspace, "status.json")
    ranges = {node["name"]: tuple(node["pod_cidrs"]) for node in plan.get("nodes", ())}
    nodes = status.get("nodes", {}).values()
    return ranges, [address for node in nodes for address, _pod in node.get("reservations", ())]


def _maybe(workspace: Workspace, name: str) -> dict[str, Any]:
    """A saved file; empty where there is none."""
    try:
        data: dict[str, Any] = workspace.load(name, "")
    except WorkspaceError:
        return {}
    return data


def _said(
    given: room.Ranges, back: room.Ranges, gone: list[str], path: Path, released: list[str]
) -> dict[str, Any]:
    lines = [f"{name}: {' '.join(given[name])}" for name in given]
    lines += [f"{name}: {' '.join(back[name])}, as in the last plan here" for name in back]
    lines += [f"given up: {name}" for name in released]
    if gone:
        lines.append(f"kept for nodes that are gone: {', '.join(gone)}")
    number = len(given | back)
    count = f"{number} node{'s get' if number > 1 else ' gets'} ranges, in {path}"
    summary = count if number else "every node has its ranges"
    return {"podnet_lines": lines, "podnet_summary": summary}
