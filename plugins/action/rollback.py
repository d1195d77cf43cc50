# SPDX-License-Identifier: GPL-3.0-or-later
"""Action `podnet.fabric.rollback`: the intent of an earlier generation, ready to be converged."""

from __future__ import annotations

import os
from dataclasses import asdict
from typing import Any

from ansible.plugins.action import ActionBase

from ..plugin_utils.fleet import history
from ..plugin_utils.intent.problems import ProblemsError
from ..plugin_utils.intent.variables import variables_of
from ..plugin_utils.plan import compile_fleet
from ..plugin_utils.workspace import Workspace, WorkspaceError

SPEC = {
    "stage": {"type": "str", "required": True, "choices": ["begin", "read", "choose"]},
    "group": {"type": "str", "default": "podnet"},
    "to": {"type": "str", "default": history.PREVIOUS},
    "nodes": {"type": "list", "elements": "str", "default": []},
    "output_dir": {"type": "path"},
}


class ActionModule(ActionBase):  # type: ignore[misc]  # ansible ships no types
    """Changes nothing on a node: what it chooses goes the way of every change."""

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> Any:
        result = super().run(tmp, task_vars)
        _validation, args = self.validate_argument_spec(SPEC)
        variables = task_vars or {}
        workspace = Workspace(args["output_dir"])
        name = str(variables["inventory_hostname"])
        try:
            if args["stage"] == "begin":
                workspace.begin(os.getppid())
                return {**result, "changed": False}
            if args["stage"] == "read":
                return {**result, **self._read(workspace, name)}
            return {**result, **self._choose(workspace, variables, args)}
        except (WorkspaceError, ProblemsError) as error:
            return {**result, "failed": True, "msg": str(error)}

    def _read(self, workspace: Workspace, name: str) -> dict[str, Any]:
        answer = self._low_level_execute_command(
            "sh -s", in_data=history.SCRIPT.encode(), sudoable=True
        )
        found = history.read(answer["stdout"])
        workspace.save(f"run/{name}.history.json", asdict(found))
        return {"changed": False, "generations": sorted(found.intents), "current": found.current}

    def _choose(
        self, workspace: Workspace, variables: dict[str, Any], args: dict[str, Any]
    ) -> dict[str, Any]:
        """Runs once, after every node was read."""
        histories = {}
        for host in map(str, variables["ansible_play_hosts"]):
            saved = workspace.load(f"run/{host}.history.json", "run the stage read first")
            intents = {int(number): intent for number, intent in saved["intents"].items()}
            if intents:
                histories[host] = history.History(saved["current"], intents)
        group = [str(host) for host in variables["groups"].get(args["group"], [])]
        others = _last_known(workspace, [host for host in group if host not in histories])
        if args["nodes"]:
            found = history.nodes_before(histories, others, args["to"], args["nodes"])
        else:
            found = history.fleet_before(histories, others, args["to"])
        workspace.save_fabric(compile_fleet(found.hosts))
        return {
            "changed": False,
            "podnet_lines": [*found.notes, *found.changes],
            "podnet_summary": "the inventory still says otherwise; change it back, too"
            if found.changes
            else "the fleet is there already",
        }


def _last_known(workspace: Workspace, names: list[str]) -> dict[str, Any]:
    """Variables of nodes that could not be asked, as the last plan had them. A node that no plan
    has seen has nothing to go back to, and stays out."""
    try:
        fabric = workspace.fabric()
    except WorkspaceError:
        return {}
    known = fabric.by_name
    return {name: variables_of(fabric, known[name]) for name in names if name in known}
