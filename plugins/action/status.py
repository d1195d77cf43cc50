# SPDX-License-Identifier: GPL-3.0-or-later
"""Action `podnet.fabric.status`: what every node has, what retires, and what differs."""

from __future__ import annotations

from typing import Any

from ansible.plugins.action import ActionBase

from ..plugin_utils.fleet.gate import Ask, decide, states_of
from ..plugin_utils.fleet.preview import differences, overview, table
from ..plugin_utils.plan import digest
from ..plugin_utils.workspace import Workspace, WorkspaceError

SPEC = {"drift": {"type": "bool", "default": False}, "output_dir": {"type": "path"}}


class ActionModule(ActionBase):  # type: ignore[misc]  # ansible ships no types
    """Runs once, after the stage read of `converge`; reads what that saved, and changes nothing."""

    _requires_connection = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> Any:
        result = super().run(tmp, task_vars)
        _validation, args = self.validate_argument_spec(SPEC)
        variables = task_vars or {}
        workspace = Workspace(args["output_dir"])
        try:
            everybody = [str(host) for host in variables["ansible_play_hosts_all"]]
            hosts = [host for host in everybody if workspace.has_run(host)]
            away = [host for host in everybody if host not in hosts]
            return {**result, **_status(workspace, hosts, away, args["drift"])}
        except WorkspaceError as error:
            return {**result, "failed": True, "msg": str(error)}


def _status(workspace: Workspace, hosts: list[str], away: list[str], drift: bool) -> dict[str, Any]:
    fabric = workspace.fabric()
    runs = {host: workspace.run(host) for host in hosts}
    stale = _not_rendered(workspace, runs)
    # Two ways to the same end: what the fleet says of retiring ranges comes from the gate.
    decision = decide(fabric, runs, Ask())
    states = states_of(fabric, runs)
    due = [host for host in hosts if runs[host]["phases"]]
    lines = [*overview(states, runs), *(f"{host} was not reached" for host in away)]
    lines += [*decision.notes, *(f"not rendered: {path}" for path in stale)]
    found = differences(runs) + [f"{host}: not reached" for host in away]
    found += [f"{path}: not what the inventory says; run plan" for path in stale]
    found += [str(problem) for problem in decision.problems]
    summary = f"{len(hosts)} nodes read, {len(due)} differ"
    workspace.save("status.json", {"nodes": _plain(states, runs), "notes": decision.notes})
    done = {"changed": False, "differences": found, "podnet_summary": summary}
    if drift and found:
        text = "\n".join([*lines, "", *table(runs), "", *found])
        return {**done, "failed": True, "msg": text}
    return {**done, "podnet_lines": lines}


def _not_rendered(workspace: Workspace, runs: dict[str, Any]) -> list[str]:
    """Folders of rendered definitions that are not what the inventory gives now. None at all is no
    difference: they are for review, and nobody has to keep them."""
    found = []
    for name, run in runs.items():
        folder = workspace.intended(name)
        files = {path.name: path.read_text(encoding="utf-8") for path in folder.glob("*")}
        if files and digest(files) != run["definitions"]:
            found.append(f"intended/{name}")
    return found


def _plain(states: dict[str, Any], runs: dict[str, Any]) -> dict[str, Any]:
    return {
        name: {
            "generation": state.generation,
            "generations": list(state.generations),
            "pending": state.pending,
            "differences": {p: runs[name]["shown"][p] for p in runs[name]["phases"]},
            "reservations": [list(item) for item in state.reservations],
        }
        for name, state in states.items()
    }
