# SPDX-License-Identifier: GPL-3.0-or-later
"""Action `podnet.fabric.converge`: read a node, compare, change it as one transaction."""

from __future__ import annotations

import secrets
from typing import Any

from ansible.plugins.action import ActionBase

from ..plugin_utils import node as node_room
from ..plugin_utils.changes import PHASES
from ..plugin_utils.intent.model import Fabric
from ..plugin_utils.intent.problems import Problem, ProblemsError
from ..plugin_utils.kernel.state import State, UnreadableError
from ..plugin_utils.plan import NodePlan, plan_node
from ..plugin_utils.preflight import PLUGINS_MISSING, missing_plugins
from ..plugin_utils.settle import settle, settle_fleet
from ..plugin_utils.transaction import (
    clear_script,
    end_script,
    outcome,
    phase_script,
    window_script,
)
from ..plugin_utils.workspace import Workspace, WorkspaceError

SPEC = {
    "stage": {
        "type": "str",
        "required": True,
        "choices": ["read", "gate", *PHASES, "commit", "rollback"],
    },
    "output_dir": {"type": "path"},
    "generations_kept": {"type": "int", "default": 10},
    "install": {"type": "str", "default": "none"},
    "confirm_seconds": {"type": "int", "default": 0},
}


class ActionModule(ActionBase):  # type: ignore[misc]  # ansible ships no types
    """Needs a POSIX shell, iproute2 and nftables on the node, and no Python."""

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> Any:
        result = super().run(tmp, task_vars)
        _validation, args = self.validate_argument_spec(SPEC)
        variables = task_vars or {}
        workspace = Workspace(args["output_dir"])
        name = str(variables["inventory_hostname"])
        try:
            if args["stage"] == "gate":
                return {**result, **self._gate(workspace, variables, args)}
            if args["stage"] == "read":
                return {**result, **self._read(workspace, name, args["generations_kept"])}
            if args["stage"] in PHASES:
                return {**result, **self._apply(workspace, name, args["stage"])}
            return {**result, **self._end(workspace, name, args["stage"])}
        except WorkspaceError as error:
            return {**result, "failed": True, "msg": str(error)}

    def _shell(self, text: str) -> tuple[int, str, str]:
        """The one seam to the node: a shell text in, its answer out, one round trip."""
        answer = self._low_level_execute_command("sh -s", in_data=text.encode(), sudoable=True)
        return answer["rc"], answer["stdout"], answer["stderr"]

    def _read(self, workspace: Workspace, name: str, generations: int) -> dict[str, Any]:
        fabric = workspace.fabric()
        plan = plan_node(fabric, name)
        try:
            output, have = self._state(fabric, plan)
            if have.pending == "dead" and not self._task.check_mode:
                # An earlier run did not come to its end: what it did is taken back first.
                self._shell(clear_script())
                output, have = self._state(fabric, plan)
        except UnreadableError as error:
            return {"failed": True, "msg": f"{name}: the node's state cannot be read: {error}"}
        found = settle(fabric, name, have, generations, secrets.token_hex(4))
        missing = list(missing_plugins(fabric, have))
        run = {
            **found,
            "answer": output,
            "missing_plugins": missing,
            "generations": generations,
            "window": 0,
        }
        workspace.save(f"run/{name}.json", run)
        return {
            "changed": False,
            "phases": found["phases"],
            "generation": have.generation,
            "warnings": found["warnings"],
        }

    def _state(self, fabric: Fabric, plan: NodePlan) -> tuple[str, State]:
        """What the node says of itself, as it said it and parsed."""
        _rc, output, errors = self._shell(node_room.script_to_read(fabric, plan))
        try:
            return output, node_room.read(fabric, plan, output)
        except UnreadableError as error:
            raise UnreadableError(f"{error}. {errors.strip()}") from error

    def _gate(
        self, workspace: Workspace, variables: dict[str, Any], args: dict[str, Any]
    ) -> dict[str, Any]:
        """Runs once, after every node was read and before any is changed."""
        hosts = [str(host) for host in variables["ansible_play_hosts"]]
        runs = {
            host: workspace.load(f"run/{host}.json", "run the stage read first") for host in hosts
        }
        fabric, install = workspace.fabric(), args["install"]
        problems, notes = [], []
        # What the fleet has to say matters only where something would be switched or removed,
        # and only such a change can hurt what is in use: it waits for a confirmation.
        if any(run["interesting"] for run in runs.values()):
            problems, notes = settle_fleet(fabric, runs)
            for host, run in runs.items():
                run["window"] = args["confirm_seconds"]
                workspace.save(f"run/{host}.json", run)
        missing = [host for host, run in runs.items() if run["missing_plugins"]]
        for host, run in runs.items():
            known = install != "none" and host in missing
            found = [Problem(**item) for item in run["problems"]]
            problems += [p for p in found if not (known and p.what == PLUGINS_MISSING)]
        if problems:
            return {"failed": True, "msg": ProblemsError("the nodes", problems).text()}
        phases = {host: run["phases"] for host, run in runs.items()}
        changing = [host for host in hosts if phases[host]]
        return {
            "changed": False,
            "idle": not changing and not missing,
            "waits": any(run["window"] and run["phases"] for run in runs.values()),
            "phases": phases,
            "install": missing if install != "none" else [],
            "podnet_summary": f"{len(hosts)} nodes read, {len(changing)} to change",
            "podnet_lines": notes + [w for run in runs.values() for w in run["warnings"]],
        }

    def _apply(self, workspace: Workspace, name: str, phase: str) -> dict[str, Any]:
        run = workspace.load(f"run/{name}.json", "run the stage read first")
        if phase not in run["phases"]:
            return {"changed": False}
        done: dict[str, Any] = {"changed": True, "commands": len(run["shown"][phase])}
        if self._task.diff:
            done["diff"] = {"prepared": f"{phase}:\n" + "\n".join(run["shown"][phase]) + "\n"}
        if self._task.check_mode:
            return done
        first, last = run["phases"][0] == phase, run["phases"][-1] == phase
        staged = window_script(run["window"]) + run["staged"] if first else ""
        text = staged + phase_script(run["ident"], phase, commit=last and not run["window"])
        rc, output, errors = self._shell(text)
        came = outcome(output)
        if rc == 0 and came.state in ("applied", "committed"):
            return done
        back = {
            "undone": "everything was taken back; the node is as it was before",
            "broken": "taking it back failed in part; run podnet-node rollback on the node",
        }.get(came.state, "nothing was changed in this phase")
        what = came.command or "staging the transaction"
        said = came.error or errors.strip() or f"exit code {rc}"
        return {"failed": True, "msg": f"{name}, phase {phase}: {what}\n    {said}\n    {back}"}

    def _end(self, workspace: Workspace, name: str, verb: str) -> dict[str, Any]:
        """Confirm a transaction that waits, or take it back now instead of at its time."""
        run = workspace.load(f"run/{name}.json", "run the stage read first")
        if not run["window"] or not run["phases"] or self._task.check_mode:
            return {"changed": False}
        rc, _output, errors = self._shell(end_script(run["ident"], verb))
        if rc:
            text = f"{name}: {verb} failed: {errors.strip()}"
            return {"failed": True, "msg": f"{text}\n    run the playbook again; it heals the node"}
        return {"changed": verb == "rollback"}
