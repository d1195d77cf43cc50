# SPDX-License-Identifier: GPL-3.0-or-later
"""Action `podnet.fabric.rollback`: the intent of an earlier generation, ready to be converged."""

from __future__ import annotations

import contextlib
import os
from dataclasses import asdict
from typing import Any

from ansible.errors import AnsibleError
from ansible.plugins.action import ActionBase

from ..plugin_utils.exchange import called, other_batches
from ..plugin_utils.fleet import history
from ..plugin_utils.intent.hosts import host_variables
from ..plugin_utils.intent.model import Fabric
from ..plugin_utils.intent.problems import ProblemsError
from ..plugin_utils.intent.variables import variables_of
from ..plugin_utils.plan import compile_fleet
from ..plugin_utils.sources import refuse_sources
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
            if args["stage"] != "read":
                refuse_batches(variables)
            if args["stage"] == "begin":
                refuse_sources(variables)
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
        try:
            if answer["rc"]:
                raise ValueError(f"exit code {answer['rc']}. {answer['stderr'].strip()}")
            found = history.read(answer["stdout"])
        except ValueError as error:
            return {"failed": True, "msg": str(history.not_read(name, str(error)))}
        workspace.save(f"run/history/{name}.json", asdict(found))
        return {"changed": False, "generations": sorted(found.intents), "current": found.current}

    def _choose(
        self, workspace: Workspace, variables: dict[str, Any], args: dict[str, Any]
    ) -> dict[str, Any]:
        """Runs once, after every node was read."""
        histories, bare = {}, []
        for host in map(str, variables["ansible_play_batch"]):
            saved = workspace.load(f"run/history/{host}.json", "run the stage read first")
            intents = {int(number): intent for number, intent in saved["intents"].items()}
            current = saved["current"]
            # What the others have is what they have now, where only some nodes go back.
            if current in intents or (intents and not args["nodes"]):
                histories[host] = history.History(current, intents)
            elif not current and not intents:
                bare.append(host)
        group = [str(host) for host in variables["groups"].get(args["group"], [])]
        rest = [host for host in group if host not in histories and host not in bare]
        others, notes = _last_known(workspace, variables, args["group"], rest)
        away = [h for h in called(variables) if h not in histories and h not in bare]
        if args["nodes"]:
            found = history.nodes_before(histories, others, args["to"], args["nodes"])
        else:
            numbers = workspace.numbers()
            found = history.fleet_before(histories, others, args["to"], numbers, away)
        fabric = compile_fleet(found.hosts)
        workspace.save_fabric(fabric)
        for host in bare:
            workspace.leave_out(host)
            notes.append(f"{host} keeps no generation; it stays as it is")
        said = "the nodes that were read are there already"
        if found.changes:
            said = "the inventory still says otherwise; change it back, too"
            if _is_said(variables, args["group"], fabric):
                said = "the inventory says the same"
        return {
            "changed": False,
            "podnet_lines": [*found.notes, *notes, *found.changes],
            "podnet_summary": said,
        }


def refuse_batches(variables: dict[str, Any]) -> None:
    """What to go back to is chosen once, of what all nodes keep."""
    if others := other_batches(variables):
        batch = [str(host) for host in variables["ansible_play_batch"]]
        problem = history.in_batches(batch, others)
        raise ProblemsError("the rollback", [problem])


def _last_known(
    workspace: Workspace, variables: dict[str, Any], group: str, names: list[str]
) -> tuple[dict[str, Any], list[str]]:
    """Variables of nodes that did not say what they have, as the last plan had them; of those that
    no plan has seen here as the inventory has them, because without them the others would lose
    their routes there. And a line for each, which names the source.

    Raises:
        ProblemsError: neither knows one of them.
    """
    if not names:
        return {}, []
    known: dict[str, Fabric] = {}
    with contextlib.suppress(WorkspaceError):
        known["the last plan here"] = workspace.fabric()
    if not all(any(name in fabric.by_name for fabric in known.values()) for name in names):
        known["the inventory"] = _needed(variables, group, names)
    found, notes = {}, []
    for name in names:
        source, fabric = next(item for item in known.items() if name in item[1].by_name)
        found[name] = variables_of(fabric, fabric.by_name[name])
        notes.append(f"{name} was not read; its own settings are those of {source}")
    return found, notes


def _is_said(variables: dict[str, Any], group: str, fabric: Fabric) -> bool:
    """Whether the inventory says a fleet; one that cannot be read says another."""
    try:
        return _inventory(variables, group) == fabric
    except (ProblemsError, AnsibleError):
        return False


def _inventory(variables: dict[str, Any], group: str) -> Fabric:
    found = host_variables(variables, group)
    with found.named():
        return compile_fleet(found.variables)


def _needed(variables: dict[str, Any], group: str, names: list[str]) -> Fabric:
    try:
        return _inventory(variables, group)
    except ProblemsError as error:
        problems = [history.not_known(name, "none of them") for name in names]
        raise ProblemsError("the rollback", [*problems, *error.problems]) from None
    except AnsibleError as error:
        said = f"an inventory that cannot be read: {error}"
        problems = [history.not_known(name, said) for name in names]
        raise ProblemsError("the rollback", problems) from None
