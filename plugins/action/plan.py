# SPDX-License-Identifier: GPL-3.0-or-later
"""Action `podnet.fabric.plan`: inventory → the parsed fleet, or every problem of it."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sized
from typing import Any

from ansible import constants as C
from ansible import context
from ansible.errors import AnsibleError
from ansible.plugins.action import ActionBase

from ..plugin_utils.bgp import orphaned
from ..plugin_utils.fleet.rolling import order_problems
from ..plugin_utils.hints import Settings, hint
from ..plugin_utils.intent.hosts import host_variables, not_templated
from ..plugin_utils.intent.model import Fabric
from ..plugin_utils.intent.parse import parse_fabric
from ..plugin_utils.intent.problems import Problem, ProblemsError, few, shown
from ..plugin_utils.intent.run_values import CHECKED, SERIAL, as_list, run_problems
from ..plugin_utils.peers import overlay_overhead, pod_mtu
from ..plugin_utils.plan import compile_fleet
from ..plugin_utils.sources import no_nodes, refuse_sources
from ..plugin_utils.workspace import Workspace, WorkspaceError

SPEC = {
    "group": {"type": "str", "default": "podnet"},
    "output_dir": {"type": "path"},
    "without": {"type": "list", "elements": "str", "default": []},
    "look": {"type": "bool", "default": False},
}


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
            if args["look"]:
                return {**result, **_looked(variables, args["group"])}
            # This code runs in a worker; the run is its parent.
            workspace.begin(os.getppid())
            found = host_variables(variables, args["group"])
            wrong = self._run_problems(variables, found.variables)
            with found.named():
                fabric = _compiled(found.variables, frozenset(args["without"]), wrong)
        except WorkspaceError as error:
            return {**result, "failed": True, "msg": str(error)}
        except ProblemsError as error:
            return {**result, "failed": True, "msg": error.text()}
        except AnsibleError as error:
            return {**result, "failed": True, "msg": f"The inventory cannot be read: {error}"}
        workspace.save_fabric(fabric)
        return {
            **result,
            "changed": False,
            "nodes": [node.name for node in fabric.nodes],
            "underlay": [
                {
                    "name": node.name,
                    "segment": node.segment,
                    "underlay_addresses": list(node.underlay_addresses),
                    "underlay_mtu": node.underlay_mtu,
                }
                for node in fabric.nodes
            ],
            "families": list(fabric.families),
            "pod_mtu": pod_mtu(fabric),
            "overlay_overhead": overlay_overhead(fabric),
            "podnet_lines": [*found.notes(), *_elsewhere(fabric, found.variables)],
            "podnet_hint": self._hint(len(fabric.nodes)),
            "podnet_summary": (
                f"{_counted(fabric.nodes, 'node')} in {_counted(fabric.segments, 'segment')}, "
                f"mode {fabric.mode}, {' and '.join(fabric.families)}, "
                f"pod MTU {pod_mtu(fabric)}"
            ),
        }

    def _run_problems(
        self, variables: Mapping[str, Any], hosts: Mapping[str, Mapping[str, Any]]
    ) -> list[Problem]:
        """Of the variables that say how to run, as the first node has them."""
        values, problems = {}, []
        for name in (name for name in CHECKED if name in variables):
            try:
                values[name] = self._templar.template(variables[name])
            except AnsibleError as error:
                problems.append(not_templated(name, error))
        wrong = [*problems, *run_problems(values)]
        unread = any(problem.where == "podnet_canary" for problem in wrong)
        canary = () if unread else as_list(values.get("podnet_canary"))
        given = values.get(SERIAL, [])
        serial = given if isinstance(given, list) else [given]
        return [*wrong, *order_problems(_names(hosts), canary, serial)]

    def _hint(self, nodes: int) -> str:
        """At most one line; other connections than ssh have settings of their own."""
        connection = self._connection
        if getattr(connection, "transport", "") != "ssh":
            return ""
        names = ("ssh_args", "ssh_common_args", "ssh_extra_args")
        args = " ".join(str(connection.get_option(name) or "") for name in names)
        forks = context.CLIARGS.get("forks") or C.DEFAULT_FORKS
        return hint(Settings(forks, bool(connection.get_option("pipelining")), args), nodes)


def _names(hosts: Mapping[str, Mapping[str, Any]]) -> frozenset[str]:
    """Of the fleet, whatever else is wrong with it: hosts, and nodes of the table."""
    tables = {id(table): table for of in hosts.values() if (table := of.get("podnet_nodes"))}
    rows = (table for table in tables.values() if isinstance(table, dict))
    return frozenset(hosts).union(*(map(str, table) for table in rows))


def _elsewhere(fabric: Fabric, hosts: Collection[str]) -> list[str]:
    """One line on nodes that only the table has. A slice means them to be elsewhere; where nobody
    does, no run would ever change them."""
    names = [node.name for node in fabric.nodes if node.name not in hosts]
    if not names:
        return []
    noun, them = ("host", "it") if len(names) == 1 else ("hosts", "them")
    said = f"in podnet_nodes and no {noun} of this inventory"
    return [f"{few(names)}: {said}; others get ways to {them}, nothing changes {them}"]


def _counted(items: Sized, word: str) -> str:
    return f"{len(items)} {word}{'s' if len(items) != 1 else ''}"


def _looked(variables: Mapping[str, Any], group: str) -> dict[str, Any]:
    """Nothing to say of a fleet that has nodes, as of a task that was skipped."""
    if problem := no_nodes(variables, group):
        raise ProblemsError("the inventory", [problem])
    return {"changed": False, "skipped": True}


def _compiled(
    hosts: dict[str, dict[str, Any]], without: frozenset[str], wrong: list[Problem]
) -> Fabric:
    """The fleet as if some nodes were not in the inventory. ``wrong``: problems of other variables.

    Raises:
        ProblemsError: all problems of what is left, or what keeps these nodes from being left out.
    """
    if strangers := sorted(without - hosts.keys()):
        raise ProblemsError("the call", [_stranger(name) for name in strangers])
    try:
        fabric = compile_fleet(_without(hosts, without))
    except ProblemsError as error:
        raise ProblemsError(error.stage, [*error.problems, *wrong]) from None
    if wrong:
        raise ProblemsError("the inventory", wrong)
    if without and (lost := list(orphaned(parse_fabric(hosts)[0], fabric))):
        raise ProblemsError("the call", lost)
    return fabric


def _stranger(name: str) -> Problem:
    return Problem(
        "podnet_remove_nodes",
        "names no node of the fleet",
        "names of nodes in the inventory, such as -e podnet_remove_nodes=node-3",
        shown(name),
        "correct the name; a node that is not in the inventory any more needs no removal here",
    )


def _without(hosts: dict[str, dict[str, Any]], names: frozenset[str]) -> dict[str, dict[str, Any]]:
    if not names:
        return hosts
    kept = {host: dict(values) for host, values in hosts.items() if host not in names}
    for values in kept.values():
        if isinstance(table := values.get("podnet_nodes"), dict):
            values["podnet_nodes"] = {n: row for n, row in table.items() if n not in names}
    return kept
