# SPDX-License-Identifier: GPL-3.0-or-later
"""Action `podnet.fabric.status`: what every node has, what retires, and what differs."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

from ansible.plugins.action import ActionBase

from ..plugin_utils.backends import learns
from ..plugin_utils.causes.lines import cause_lines
from ..plugin_utils.causes.speakers import astray
from ..plugin_utils.causes.suspects import Cause, Scene
from ..plugin_utils.exchange import Exchange, called, other_batches
from ..plugin_utils.fleet.gate import Ask, Decision, decide, states_of
from ..plugin_utils.fleet.preview import differences, overview, table
from ..plugin_utils.fleet.words import elsewhere, nodes_read
from ..plugin_utils.frr import with_password
from ..plugin_utils.intent.model import Fabric
from ..plugin_utils.kernel.state import State, UnreadableError
from ..plugin_utils.plan import digest, plan_fleet
from ..plugin_utils.speakers.heard import Heard, read
from ..plugin_utils.speakers.look import script
from ..plugin_utils.speakers.wanted import reflectors_of, whole
from ..plugin_utils.workspace import Workspace, WorkspaceError

SPEC = {
    "drift": {"type": "bool", "default": False},
    "output_dir": {"type": "path"},
    "bgp_seconds": {"type": "int", "default": 15},
    "bgp_password": {"type": "str", "default": "", "no_log": True},
}


class ActionModule(ActionBase):  # type: ignore[misc]  # ansible ships no types
    """Runs once, after the stage read of `converge`; reads what that saved, and in mode bgp asks
    the nodes what their FRR does. Changes nothing."""

    _requires_connection = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> Any:
        result = super().run(tmp, task_vars)
        _validation, args = self.validate_argument_spec(SPEC)
        variables = task_vars or {}
        workspace = Workspace(args["output_dir"])
        try:
            everybody = called(variables)
            hosts = [host for host in everybody if workspace.has_run(host)]
            away = [host for host in everybody if host not in hosts]
            fabric, runs = workspace.fabric(), {host: workspace.run(host) for host in hosts}
            # Before the fleet is heard, which has ranges that retire stay in the definitions.
            stale = _not_rendered(workspace, runs)
            # Two ways to the same end: what the fleet says of retiring ranges comes from the gate.
            states, wrong = states_of(fabric, runs), Astray()
            decision = decide(fabric, runs, Ask(), states)
            if learns(fabric):
                self._exchange, self._args = Exchange(self, variables), args
                # A run would bring the rest to the plan, and what others lack of them.
                settled = [n for n in runs if states[n].frr_conf and not runs[n]["stale"]]
                but = [n for n in (*away, *runs) if n in fabric.by_name and n not in settled]
                wrong = self._astray(fabric, runs, settled, but)
            said = _status(workspace, runs, decision, states, stale, away, wrong, args["drift"])
            if "podnet_lines" in said:
                said["podnet_lines"] += elsewhere(other_batches(variables))
            return {**result, **said}
        except (WorkspaceError, ValueError) as error:
            return {**result, "failed": True, "msg": str(error)}

    def _astray(
        self, fabric: Fabric, runs: dict[str, Any], names: list[str], but: list[str]
    ) -> Astray:
        """What is wrong with FRR on some nodes; what they lack of others, ``but``, is not.

        Raises:
            ValueError: the password is not the one of the plan.
        """
        end = time.monotonic() + self._args["bgp_seconds"]
        heard, blind = self._hear(fabric, names, tables=False)
        plans = {plan.node.name: plan for plan in plan_fleet(fabric, heard)}
        # Sessions come one by one after a change.
        while again := {n for n, one in heard.items() if not whole(fabric, plans[n], one, names)}:
            again |= reflectors_of(fabric, again) & heard.keys()
            found, more = self._hear(fabric, sorted(again), tables=True)
            heard, blind = heard | found, blind + more
            if time.monotonic() > end or more:
                break
            time.sleep(1)
        foreign = {name: runs[name]["foreign"] for name in heard}
        return Astray(astray(Scene(fabric, {}, {}, heard=heard), foreign, but), blind)

    def _hear(
        self, fabric: Fabric, names: list[str], tables: bool
    ) -> tuple[dict[str, Heard], list[str]]:
        """What their FRR says, and a line for each that cannot be read."""
        text = with_password(fabric, script(tables), self._args["bgp_password"])
        heard, blind = {}, []
        for name, answer in self._exchange.ask(dict.fromkeys(names, text)).items():
            try:
                heard[name] = read(answer.stdout)
            except UnreadableError as error:
                blind.append(f"{name}: {answer.away or error}")
        return heard, blind


@dataclass(frozen=True)
class Astray:
    """What is wrong with FRR, with what each explains; and nodes whose FRR could not be read."""

    causes: list[tuple[Cause, tuple[str, ...]]] = field(default_factory=list)
    blind: list[str] = field(default_factory=list)


def _status(
    workspace: Workspace,
    runs: dict[str, Any],
    decision: Decision,
    states: dict[str, State],
    stale: list[str],
    away: list[str],
    wrong: Astray,
    drift: bool,
) -> dict[str, Any]:
    hosts = list(runs)
    due = [host for host in hosts if runs[host]["phases"]]
    more = [f"{host} was not reached" for host in away]
    other = [f"{path}: not what the inventory says; run plan" for path in stale]
    # What concerns a device is a problem of each family's address on it.
    problems = list(dict.fromkeys(map(str, decision.problems)))
    found = differences(runs) + [f"{host}: not reached" for host in away]
    found += other
    named = [*problems, *wrong.blind, *cause_lines(wrong.causes)]
    found = [*dict.fromkeys(found), *named]
    summary = f"{nodes_read(len(hosts))}, {len(due)} differ"
    if problems:
        summary += f", {len(problems)} problem{'s' if len(problems) > 1 else ''}"
    if wrong.causes:
        summary += f", FRR wrong on {len({cause.node for cause, _ids in wrong.causes})}"
    causes = [{**cause.to_dict(), "results": list(ids)} for cause, ids in wrong.causes]
    saved = {"nodes": _plain(states, runs), "notes": decision.notes, "causes": causes}
    workspace.save("status.json", saved)
    done = {"changed": False, "differences": found, "causes": causes, "podnet_summary": summary}
    # What is a difference as well is said there.
    lines = [*overview(states, runs), *(n for n in decision.notes if not drift or n not in found)]
    if drift and found:
        blocks = ["\n".join(block) for block in (lines, table(runs), found) if block]
        text = "\n\n".join(blocks)
        return {**done, "failed": True, "msg": text}
    return {**done, "podnet_lines": [*lines, *more, *other, *"\n".join(named).splitlines()]}


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
