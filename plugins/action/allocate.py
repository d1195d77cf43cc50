# SPDX-License-Identifier: GPL-3.0-or-later
"""Action `podnet.fabric.allocate`: free ranges for nodes that have none, into the inventory."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleError
from ansible.plugins.action import ActionBase

from ..plugin_utils.intent import allocate as room
from ..plugin_utils.intent.astray import outside
from ..plugin_utils.intent.hosts import host_variables
from ..plugin_utils.intent.kubespray import Translation
from ..plugin_utils.intent.parse import parse_fabric
from ..plugin_utils.intent.problems import Problem, ProblemsError
from ..plugin_utils.plan import compile_fleet
from ..plugin_utils.sources import refuse_sources
from ..plugin_utils.workspace import Workspace, WorkspaceError, write

SPEC = {
    "group": {"type": "str", "default": "podnet"},
    "file": {"type": "path"},
    "release": {"type": "list", "elements": "str", "default": []},
    "renumber": {"type": "bool", "default": False},
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
            refuse_sources(variables)
            # This code runs in a worker; the run is its parent.
            workspace.begin(os.getppid())
            found = host_variables(variables, args["group"])
            path = Path(args["file"] or _place(variables, args["group"]))
            heard = _will_be_loaded(path, variables, args["group"])
            return {**result, **self._allocate(workspace, found, path, args, heard)}
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
        heard: bool,
    ) -> dict[str, Any]:
        """``heard``: whether Ansible is going to load the file where there is none so far."""
        hosts = found.variables
        before = path.read_text(encoding="utf-8") if path.is_file() else ""
        old = room.read_file(before, str(path)) if before else {}
        _refuse_other(hosts, old, path)
        changes = _decided(found, old, args, _remembered(workspace))
        after = room.as_text(changes.new) if changes.new != old else before
        if after != before and not self._task.check_mode:
            write(path, after)
        if before:
            heard = any(room.VARIABLE in variables for variables in hosts.values())
        done = _said(changes, path, args["release"])
        if after and not heard:
            again = f"pass it to every run: -e @{path}"
            done["podnet_lines"].append(f"{path}: this inventory does not load it; {again}")
        given, back = _lists(changes.given), _lists(changes.taken_back)
        done.update(changed=after != before, file=str(path), given=given, taken_back=back)
        if self._task.diff and after != before:
            header = {"before_header": str(path), "after_header": str(path)}
            done["diff"] = {**header, "before": before, "after": after}
        return done


@dataclass(frozen=True)
class Changes:
    """What becomes of the file.

    Attributes:
        new: all that is in it afterwards.
        given: ranges that nodes get.
        restored: those that they get again, because the last plan had them.
        taken_back: those that nodes have no more, because the cluster does not hold them.
        gone: nodes in the file that are not in the inventory.
    """

    new: room.Ranges
    given: room.Ranges
    restored: room.Ranges
    taken_back: room.Ranges
    gone: list[str]


def _decided(
    found: Translation,
    old: room.Ranges,
    args: dict[str, Any],
    remembered: tuple[room.Ranges, list[str]],
) -> Changes:
    """Nothing is written yet.

    Raises:
        ProblemsError: too little room, a wrong call, or what the plan would refuse.
    """
    hosts = found.variables
    fabric, _problems = parse_fabric(_with(hosts, old))
    names = [node.name for node in fabric.nodes]
    kept = room.released(old, args["release"], names)
    taken_back = outside(fabric, kept) if args["renumber"] else {}
    kept = room.without(kept, taken_back)
    if taken_back:
        fabric, _problems = parse_fabric(_with(hosts, kept))
    reserved = room.read_ranges({"*": args["reserved"]}, "podnet_allocate_reserved")["*"]
    # Pods have addresses of what is taken back, and a smaller cluster may hold a part of it.
    held = [*reserved, *_cidrs(kept), *_cidrs(taken_back)]
    last, addresses = remembered
    restored = room.given_back(fabric, last, held)
    if restored:
        kept |= restored
        fabric, _problems = parse_fabric(_with(hosts, kept))
    with found.named():
        lengths = room.lengths_of(hosts)
        given = room.allocate(fabric, lengths, [*held, *_cidrs(last), *addresses])
        new = room.merged(kept, given)
        # The whole plan looks at it before anything is written.
        compile_fleet(_with(hosts, new))
    gone = [name for name in new if name not in names]
    return Changes(new, given, restored, taken_back, gone)


def _cidrs(ranges: room.Ranges) -> Iterator[str]:
    return (cidr for cidrs in ranges.values() for cidr in cidrs)


def _lists(ranges: room.Ranges) -> dict[str, list[str]]:
    return {name: list(cidrs) for name, cidrs in ranges.items()}


def _with(hosts: dict[str, dict[str, Any]], ranges: room.Ranges) -> dict[str, dict[str, Any]]:
    """The inventory as it is with these ranges in the file."""
    plain = _lists(ranges)
    return {host: {**variables, room.VARIABLE: plain} for host, variables in hosts.items()}


def _place(variables: Mapping[str, Any], group: str) -> Path:
    """The file of group variables: where it is, or else where Ansible is going to load it.

    A folder group_vars/GROUP hides a file group_vars/GROUP.yml, and a folder host_vars/NODE hides
    host_vars/NODE.yml, so a folder is only made where it hides nothing.
    """
    names = dict.fromkeys((group, "all"))
    places = [f / "group_vars" / name for f in _folders(variables) for name in names]
    for place in places:
        if (place / FILE).is_file():
            return place / FILE
    # Of several inventories the first that has group_vars at all.
    for place in sorted(places, key=lambda place: not place.parent.is_dir()):
        if not _in_the_way(place):
            return place / FILE
    raise ProblemsError("the inventory", [_nowhere(places, list(names))])


def _folders(variables: Mapping[str, Any]) -> list[Path]:
    """Those beside which Ansible looks for variables of the inventory's groups."""
    sources = [Path(str(source)) for source in variables.get("ansible_inventory_sources") or ()]
    return [s if s.is_dir() else s.parent for s in sources if s.exists()]


def _in_the_way(place: Path) -> list[Path]:
    """Files that Ansible would not look at any more if this were a folder."""
    files = (place.with_name(place.name + ending) for ending in ENDINGS)
    return [file for file in files if file.is_file()]


def _nowhere(places: list[Path], names: list[str]) -> Problem:
    files = [file for place in places for file in _in_the_way(place)]
    found, remedy = "an inventory that is no file", "set podnet_allocate_file"
    if files:
        one = files[0].name.removesuffix(files[0].suffix if files[0].suffix in ENDINGS else "")
        hidden = "folders of those names" if files[1:] else "a folder of that name"
        found = f"{', '.join(map(str, files))}, which {hidden} would hide"
        remedy = f"move group_vars/{files[0].name} to group_vars/{one}/main.yml; or {remedy}"
    return Problem(
        room.VARIABLE,
        "there is no place for the file that keeps the ranges",
        f"room for a folder {' or '.join(f'group_vars/{n}' for n in names)} beside the inventory",
        found,
        remedy,
    )


def _will_be_loaded(path: Path, variables: Mapping[str, Any], group: str) -> bool:
    """Whether the file is a place for the variables of a group that has all of these nodes, beside
    the inventory or the playbook. Ansible itself can be asked only when the file is there."""
    folders = [*map(str, _folders(variables)), str(variables.get("playbook_dir") or "")]
    beside = {os.path.realpath(folder) for folder in folders if folder}
    hosts = variables["groups"]
    nodes = frozenset(hosts.get(group, ()))
    whole = Path(os.path.abspath(path))
    for above in whole.parents:
        if above.name == "group_vars" and os.path.realpath(above.parent) in beside:
            first, *more = whole.relative_to(above).parts
            names = {first} if more else {first.removesuffix(ending) for ending in ENDINGS}
            meant = any(nodes <= frozenset(hosts.get(name, ())) for name in names)
            return bool(nodes) and meant and (not more or whole.suffix in ENDINGS)
    return False


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


def _said(changes: Changes, path: Path, released: list[str]) -> dict[str, Any]:
    given, restored, back = changes.given, changes.restored, changes.taken_back
    lines = [f"taken back from {name}: {' '.join(back[name])}" for name in back]
    lines += [f"{name}: {' '.join(given[name])}" for name in given]
    lines += [f"{name}: {' '.join(restored[name])}, as in the last plan here" for name in restored]
    lines += [f"given up: {name}" for name in released]
    if changes.gone:
        lines.append(f"kept for nodes that are gone: {', '.join(changes.gone)}")
    number = len(given | restored)
    counts = [f"{number} node{'s get' if number > 1 else ' gets'} ranges"] if number else []
    if back:
        counts.append(f"ranges of {len(back)} node{'s' if len(back) > 1 else ''} taken back")
    summary = f"{', '.join(counts)}, in {path}" if counts else "every node has its ranges"
    return {"podnet_lines": lines, "podnet_summary": summary}
