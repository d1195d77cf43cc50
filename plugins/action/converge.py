# SPDX-License-Identifier: GPL-3.0-or-later
"""Action `podnet.fabric.converge`: read a node, compare, change it as one transaction."""

from __future__ import annotations

import secrets
from typing import Any

from ansible.plugins.action import ActionBase

from ..plugin_utils import node as node_room
from ..plugin_utils.changes import PHASES
from ..plugin_utils.fleet.gate import Ask, decide
from ..plugin_utils.fleet.preview import table
from ..plugin_utils.frr import with_password
from ..plugin_utils.intent.model import Fabric
from ..plugin_utils.intent.problems import ProblemsError
from ..plugin_utils.kernel.state import State, UnreadableError
from ..plugin_utils.plan import NodePlan, plan_node, plan_nothing
from ..plugin_utils.preflight import missing_plugins
from ..plugin_utils.settle import settle, settle_nothing
from ..plugin_utils.transaction import (
    clear_script,
    end_script,
    head_script,
    outcome,
    phase_script,
    purge_script,
)
from ..plugin_utils.workspace import Workspace, WorkspaceError

ENDS = ("hold", "commit", "rollback", "purge")
SPEC = {
    "stage": {
        "type": "str",
        "required": True,
        "choices": ["read", "gate", *PHASES, *ENDS, "failed"],
    },
    "output_dir": {"type": "path"},
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    "cut_pods": {"type": "bool", "default": False},
    "generations_kept": {"type": "int", "default": 10},
    "heal_seconds": {"type": "int", "default": 0},
    "bgp_password": {"type": "str", "default": "", "no_log": True},
    "ask": {
        "type": "dict",
        "default": {},
        "options": {
            "confirm_seconds": {"type": "int", "default": 0},
            "phases": {
                "type": "list",
                "elements": "str",
                "choices": list(PHASES),
                "default": list(PHASES),
            },
            "canary": {"type": "list", "elements": "str", "default": []},
            "serial": {"type": "list", "elements": "raw", "default": []},
            "digest": {"type": "str", "default": ""},
            "lost": {"type": "list", "elements": "str", "default": []},
            "released": {"type": "list", "elements": "str", "default": []},
            "install": {"type": "str", "default": "none"},
        },
    },
}


class ActionModule(ActionBase):  # type: ignore[misc]  # ansible ships no types
    """Needs a POSIX shell, iproute2 and nftables on the node, and no Python."""

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> Any:
        result = super().run(tmp, task_vars)
        _validation, args = self.validate_argument_spec(SPEC)
        variables = task_vars or {}
        self._workspace = Workspace(args["output_dir"])
        self._name = str(variables["inventory_hostname"])
        stage = args["stage"]
        try:
            if stage == "read":
                return {**result, **self._read(args)}
            if stage == "gate":
                absent = args["state"] == "absent"
                return {**result, **self._gate(variables, args["ask"], absent)}
            if stage == "failed":
                return {**result, **self._failed(variables)}
            if stage in PHASES:
                return {**result, **self._apply(stage, args["bgp_password"])}
            return {**result, **self._end(stage)}
        except WorkspaceError as error:
            return {**result, "failed": True, "msg": str(error)}

    def _shell(self, text: str) -> tuple[int, str, str]:
        """The one seam to the node: a shell text in, its answer out, one round trip."""
        answer = self._low_level_execute_command("sh -s", in_data=text.encode(), sudoable=True)
        return answer["rc"], answer["stdout"], answer["stderr"]

    # --- one node ------------------------------------------------------------------------------

    def _read(self, args: dict[str, Any]) -> dict[str, Any]:
        fabric, absent = self._workspace.fabric(), args["state"] == "absent"
        if not absent and self._name not in fabric.by_name:
            return {"failed": True, "msg": f"{self._name} is not in the fleet that was planned"}
        plan = plan_nothing(self._name) if absent else plan_node(fabric, self._name)
        try:
            output, have = self._state(fabric, plan)
            if self._is_over(have) and not self._task.check_mode:
                # An earlier run did not come to its end: what it did is taken back first.
                self._shell(clear_script())
                output, have = self._state(fabric, plan)
        except UnreadableError as error:
            text = f"{self._name}: the node's state cannot be read: {error}"
            return {"failed": True, "msg": text}
        kept, ident = args["generations_kept"], secrets.token_hex(4)
        if absent:
            found = settle_nothing(fabric, self._name, have, kept, ident, args["cut_pods"])
        else:
            heal = args["heal_seconds"]
            found = settle(fabric, self._name, have, kept, ident, heal_seconds=heal)
        run = {
            **found,
            "answer": output,
            "missing_plugins": [] if absent else list(missing_plugins(fabric, have)),
            "generations": kept,
            "heal_seconds": args["heal_seconds"],
            "generation": max((have.generation or 0, *have.generations)),
            "window": 0,
        }
        self._workspace.save_run(self._name, run)
        return {"changed": False, "generation": have.generation}

    def _is_over(self, have: State) -> bool:
        """Whether the node has a transaction of a run that is going to do nothing more."""
        mine = have.pending == "waiting" and self._workspace.is_over(have.transaction)
        return have.pending == "dead" or mine

    def _state(self, fabric: Fabric, plan: NodePlan) -> tuple[str, State]:
        """What the node says of itself, as it said it and parsed."""
        _rc, output, errors = self._shell(node_room.script_to_read(fabric, plan))
        try:
            return output, node_room.read(fabric, plan, output)
        except UnreadableError as error:
            raise UnreadableError(f"{error}. {errors.strip()}") from error

    def _apply(self, phase: str, password: str) -> dict[str, Any]:
        run = self._workspace.run(self._name)
        if phase not in run["phases"]:
            return {"changed": False}
        done: dict[str, Any] = {"changed": True, "commands": len(run["shown"][phase])}
        if self._task.diff:
            done["diff"] = {"prepared": f"{phase}:\n" + "\n".join(run["shown"][phase]) + "\n"}
        if self._task.check_mode:
            return done
        first, last = run["phases"][0] == phase, run["phases"][-1] == phase
        staged = head_script(run["window"], run["number"]) + run["staged"] if first else ""
        text = staged + phase_script(run["ident"], phase, commit=last and not run["window"])
        try:
            text = with_password(self._workspace.fabric(), text, password)
        except ValueError as error:
            return {"failed": True, "msg": str(error)}
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
        text = f"{self._name}, phase {phase}: {what}\n    {said}\n    {back}"
        return {"failed": True, "msg": text}

    def _end(self, verb: str) -> dict[str, Any]:
        """Confirm a transaction that waits, give it more time, or take it back at once; and when
        everything is gone from a node, take podnet's own folder away."""
        run = self._workspace.run(self._name)
        if verb == "purge":
            return self._purge()
        if not run["window"] or not run["phases"] or self._task.check_mode:
            return {"changed": False}
        rc, _output, errors = self._shell(end_script(run["ident"], verb))
        if verb == "rollback":
            # A node that cannot be asked now goes back by itself when its time ends.
            self._workspace.save_run(self._name, {**run, "back": rc == 0})
            return {"changed": rc == 0, "warnings": [errors.strip()] if rc else []}
        if rc:
            text = f"{self._name}: {verb} failed: {errors.strip()}"
            again = "it goes back by itself when its time ends; the next run brings it forward"
            return {"failed": True, "msg": f"{text}\n    {again}"}
        return {"changed": False}

    def _purge(self) -> dict[str, Any]:
        if self._task.check_mode:
            return {"changed": True}
        rc, output, errors = self._shell(purge_script())
        if rc:
            return {"failed": True, "msg": f"{self._name}: {errors.strip()}"}
        return {"changed": "purged" in output}

    # --- once for the fleet --------------------------------------------------------------------

    def _gate(self, variables: dict[str, Any], ask: dict[str, Any], absent: bool) -> dict[str, Any]:
        """After every node was read and before any is changed."""
        hosts = [str(host) for host in variables["ansible_play_hosts"]]
        runs = {host: self._workspace.run(host) for host in hosts}
        asked = Ask(
            confirm_seconds=ask["confirm_seconds"],
            phases=tuple(phase for phase in PHASES if phase in ask["phases"]),
            canary=tuple(map(str, ask["canary"])),
            serial=tuple(ask["serial"]),
            digest=ask["digest"],
            lost=frozenset(map(str, ask["lost"])),
            # A survey answers with an empty text where there is none.
            released=frozenset(map(str, filter(None, ask["released"]))),
            install=ask["install"] != "none",
            absent=absent,
        )
        decision = decide(self._workspace.fabric(), runs, asked)
        if decision.problems:
            return {"failed": True, "msg": ProblemsError("the nodes", decision.problems).text()}
        for host, run in runs.items():
            self._workspace.save_run(host, run)
        phases = {host: run["phases"] for host, run in runs.items()}
        changing = [host for host in hosts if phases[host]]
        away = [str(h) for h in variables["ansible_play_hosts_all"] if str(h) not in runs]
        lines = [f"{host} was not reached and stays as it is" for host in away]
        lines += decision.notes
        if self._task.check_mode and changing:
            lines += [*table(runs), f"plan digest {decision.digest}"]
        return {
            "changed": False,
            "idle": not changing and not decision.missing,
            "waits": any(run["window"] and run["phases"] for run in runs.values()),
            "phases": phases,
            "batches": [list(batch) for batch in decision.batches],
            "digest": decision.digest,
            "install": list(decision.missing) if asked.install else [],
            "podnet_summary": f"{len(hosts)} nodes read, {len(changing)} to change",
            "podnet_lines": lines,
        }

    def _failed(self, variables: dict[str, Any]) -> dict[str, Any]:
        """After a change failed somewhere and every node was told to go back: what came of it."""
        hosts = [str(host) for host in variables["ansible_play_hosts_all"]]
        runs = {h: self._workspace.run(h) for h in hosts if self._workspace.has_run(h)}
        waited = {host: run for host, run in runs.items() if run["window"] and run["phases"]}
        back = [host for host, run in waited.items() if run.get("back")]
        alone = [host for host in waited if host not in back]
        lines = ["the run failed; what failed stands above"]
        if back:
            lines.append(f"taken back on {', '.join(back)}")
        if alone:
            seconds = max(run["window"] for run in waited.values())
            lines.append(f"not reached: {', '.join(alone)}; goes back within {seconds} seconds")
        if self._task.check_mode:
            lines = lines[:1]
        elif not waited:
            lines.append("what was added elsewhere stays; it alters nothing that is in use")
        return {"failed": True, "msg": "\n".join(lines)}
