# SPDX-License-Identifier: GPL-3.0-or-later
"""Action `podnet.fabric.converge`: read all nodes, compare, change each as one transaction."""

from __future__ import annotations

import contextlib
import gc
import os
import time
from typing import Any

from ansible.plugins.action import ActionBase

from ..plugin_utils.changes import PHASES
from ..plugin_utils.compare import Compared, Terms, compare, plans_of
from ..plugin_utils.exchange import Exchange, called, other_batches
from ..plugin_utils.fleet.gate import Ask, Decision, decide
from ..plugin_utils.fleet.preview import table
from ..plugin_utils.fleet.words import (
    HELD,
    OVER,
    elsewhere,
    failure,
    left_alone,
    sentence,
    stays,
    unfinished,
    unreadable,
)
from ..plugin_utils.frr import with_password
from ..plugin_utils.intent.model import Fabric
from ..plugin_utils.intent.problems import ProblemsError
from ..plugin_utils.kernel.state import State
from ..plugin_utils.node import script_to_read
from ..plugin_utils.transaction import (
    clear_script,
    end_script,
    head_script,
    phase_script,
    purge_script,
)
from ..plugin_utils.workspace import Workspace, WorkspaceError, process

ENDS = ("hold", "commit", "rollback", "purge")
SPEC = {
    "stage": {
        "type": "str",
        "required": True,
        "choices": ["read", "gate", "change", *ENDS, "failed"],
    },
    "output_dir": {"type": "path"},
    "only": {"type": "list", "elements": "str", "default": []},
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    "cut_pods": {"type": "bool", "default": False},
    "generations_kept": {"type": "int", "default": 10},
    "heal_seconds": {"type": "int", "default": 0},
    "phases": {
        "type": "list",
        "elements": "str",
        "choices": list(PHASES),
        "default": list(PHASES),
    },
    "keep": {"type": "bool", "default": False},
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
            "each": {"type": "bool", "default": False},
            "install": {"type": "str", "default": "none"},
        },
    },
}


class ActionModule(ActionBase):  # type: ignore[misc]  # ansible ships no types
    """Runs once for all nodes of the play. Needs a POSIX shell, iproute2 and nftables on a node,
    and no Python."""

    _requires_connection = False
    BYPASS_HOST_LOOP = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> Any:
        gc.disable()  # as in the action verify
        result = super().run(tmp, task_vars)
        _validation, args = self.validate_argument_spec(SPEC)
        variables = task_vars or {}
        self._workspace = Workspace(args["output_dir"])
        self._nodes = Exchange(self, variables)
        self._names = [n for n in self._nodes.names if not args["only"] or n in args["only"]]
        stage = args["stage"]
        if stage == "rollback":
            # What failed on one node has failed the play for all of them.
            self._names = called(variables)
        try:
            self._names = [n for n in self._names if not self._workspace.is_left_out(n)]
            if stage == "read":
                unread, compared = self._read(args)
                for name, found in compared.items():
                    self._workspace.save_run(name, found.run)
                # A stage of which nothing came is none of the summary's, which would call it ok.
                blind = {"skipped": True} if unread and not compared else {}
                return {**result, **_seen(unread, compared), **blind}
            if stage == "gate":
                self._workspace.insist_on_plan(os.getppid())
                return {**result, **self._gate(variables, args)}
            if stage == "failed":
                return {**result, **self._failed(variables)}
            if stage == "change":
                return {**result, **self._change(args)}
            if stage == "purge":
                return {**result, **self._purge()}
            return {**result, **self._end(stage)}
        except WorkspaceError as error:
            return {**result, "failed": True, "msg": str(error)}

    # --- read ----------------------------------------------------------------------------------

    def _read(self, args: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Compared]]:
        """The nodes that could not be read, each with the reason, and what the others are going to
        do."""
        fabric, absent = self._workspace.fabric(), args["state"] == "absent"
        kept, heal = args["generations_kept"], args["heal_seconds"]
        terms = Terms(kept, heal, absent, args["cut_pods"])
        known = [name for name in self._names if absent or name in fabric.by_name]
        unread = {
            name: _unread(f"{name} is not in the fleet that was planned")
            for name in self._names
            if name not in known
        }
        for name in self._names:
            self._workspace.drop_run(name)
        found = self._compared(fabric, terms, known, unread)
        over = [name for name, node in found.items() if self._is_over(node.state)]
        if over and not self._task.check_mode:
            # An earlier run did not come to its end: what it did is taken back first.
            self._nodes.ask({n: clear_script(found[n].state.transaction) for n in over})
            found = {name: node for name, node in found.items() if name not in over}
            found |= self._compared(fabric, terms, over, unread)
        return unread, {name: found[name] for name in known if name in found}

    def _compared(
        self, fabric: Fabric, terms: Terms, names: list[str], unread: dict[str, Any]
    ) -> dict[str, Compared]:
        """What nodes say of themselves, compared; those that cannot be read go into ``unread``."""
        plans = zip(names, plans_of(fabric, terms, names), strict=True)
        texts = {name: script_to_read(fabric, plan) for name, plan in plans}
        answers = self._nodes.ask(texts)
        said = {name: answer.stdout for name, answer in answers.items() if not answer.away}
        unread |= {n: _unread(a.away, unreachable=True) for n, a in answers.items() if a.away}
        found = {}
        for name, node in compare(fabric, terms, said).items():
            if isinstance(node, Compared):
                found[name] = node
                continue
            unread[name] = _unread(unreadable(name, str(node), answers[name].stderr.strip()))
        return found

    def _is_over(self, have: State) -> bool:
        """Whether the node has a transaction of a run that is going to do nothing more."""
        mine = have.pending == "waiting" and self._workspace.is_over(have.transaction)
        return have.pending == "dead" or mine

    # --- change --------------------------------------------------------------------------------

    def _runs(self) -> dict[str, dict[str, Any]]:
        """What was settled for the nodes that were read."""
        return {n: self._workspace.run(n) for n in self._names if self._workspace.has_run(n)}

    def _change(self, args: dict[str, Any]) -> dict[str, Any]:
        """Phase after phase on all nodes, and, where nobody has to prove it first, its end: over
        the same connections, which a task for each would make anew."""
        runs, diff = self._runs(), []
        if not runs:  # none was read, which is not well
            return {"changed": False, "kept": False, "skipped": True, **OVER}
        done: dict[str, Any] = {"changed": False, "commands": 0, "kept": False}
        for phase in filter(args["phases"].__contains__, PHASES):
            mine = {name: run for name, run in runs.items() if phase in run["phases"]}
            if not mine:
                continue
            shown = {name: run["shown"][phase] for name, run in mine.items()}
            done["changed"] = True
            done["commands"] += sum(map(len, shown.values()))
            diff += [
                {"prepared": f"{name}, {phase}:\n" + "\n".join(lines) + "\n"}
                for name, lines in sorted(shown.items())
            ]
            try:
                failures = [] if self._task.check_mode else self._phase(mine, phase, args)
            except ValueError as error:
                failures = [str(error)]
            if failures:
                return {"failed": True, "msg": "\n".join(failures)}
        if args["keep"]:
            held = self._end("hold")
            if held.get("failed"):
                return held
            # What does not arrive is tried again by a task that takes nothing back. Some nodes have
            # kept the change by then, so nothing fails here, not even for a full disk.
            with contextlib.suppress(OSError, WorkspaceError):
                done["kept"] = not self._end("commit").get("failed")
        if self._task.diff:
            done["diff"] = diff
        waits = any(run["window"] and run["phases"] for run in runs.values())
        return {**done, **(OVER if done["kept"] or not waits else {})}

    def _phase(
        self, runs: dict[str, dict[str, Any]], phase: str, args: dict[str, Any]
    ) -> list[str]:
        """Run one phase on each node; what failed. The time of those that wait begins.

        Raises:
            ValueError: the password is not the one that the fleet was planned with.
        """
        fabric, texts = self._workspace.fabric(), {}
        if self._workspace.begun() is None:
            self._workspace.save_begun(time.monotonic())
        for name, run in runs.items():
            first, last = run["phases"][0] == phase, run["phases"][-1] == phase
            staged = head_script(run["window"], run["number"]) + run["staged"] if first else ""
            commit = last and not run["window"]
            text = staged + phase_script(run["ident"], phase, commit=commit)
            texts[name] = with_password(fabric, text, args["bgp_password"])
        answers = self._nodes.ask(texts)
        failures = {n: failure(f"{n}, phase {phase}", answer) for n, answer in answers.items()}
        return [text for text in failures.values() if text]

    def _end(self, verb: str) -> dict[str, Any]:
        """Confirm the transactions that wait, give them more time, or take them back at once."""
        runs = {
            name: run
            for name, run in self._runs().items()
            if run["window"] and run["phases"] and run.get("ended") not in (verb, "commit")
        }
        if verb == "hold" and not self._is_late(runs):
            runs = {name: run for name, run in runs.items() if run["anew"]}
        if self._task.check_mode:
            text = "check mode changes nothing, so nothing is confirmed or taken back"
            return {"changed": False, "skipped": True, "msg": text}
        if not runs:
            return {"changed": False, **(HELD if verb == "hold" else {})}
        texts = {name: end_script(run["ident"], verb) for name, run in runs.items()}
        answers = self._nodes.ask(texts, fresh=verb == "hold")
        bad = {name: said for name, said in answers.items() if said.away or said.rc}
        for name in runs.keys() - bad.keys():
            self._workspace.save_run(name, {**runs[name], "ended": verb})
        said = {name: (a.away or a.stderr).strip() for name, a in bad.items()}
        if verb == "rollback":
            # A node that cannot be asked now goes back by itself when its time ends.
            return {"changed": len(bad) < len(runs), "warnings": list(said.values())}
        if bad:
            again = "it goes back by itself when its time ends; the next run brings it forward"
            lines = [f"{name}: {verb} failed: {why}\n    {again}" for name, why in said.items()]
            return {"failed": True, "msg": "\n".join(lines)}
        return {"changed": False, **{"hold": HELD, "commit": OVER}.get(verb, {})}

    def _is_late(self, runs: dict[str, dict[str, Any]]) -> bool:
        """Whether a node may go back before all have committed, so that each needs more time."""
        least = min((run["window"] for run in runs.values()), default=0)
        return time.monotonic() - (self._workspace.begun() or 0) > least / 3

    def _purge(self) -> dict[str, Any]:
        """When everything is gone from the nodes, take podnet's own folder away."""
        names = list(self._runs())
        if self._task.check_mode:
            return {"changed": bool(names)}
        answers = self._nodes.ask(dict.fromkeys(names, purge_script()))
        bad = [f"{n}: {(a.away or a.stderr).strip()}" for n, a in answers.items() if a.away or a.rc]
        if bad:
            return {"failed": True, "msg": "\n".join(bad)}
        return {"changed": any("purged" in answer.stdout for answer in answers.values())}

    # --- once for the fleet --------------------------------------------------------------------

    def _gate(self, variables: dict[str, Any], args: dict[str, Any]) -> dict[str, Any]:
        """Read the nodes, and decide for the whole fleet before any is changed."""
        unread, compared = self._read(args)
        runs = {name: node.run for name, node in compared.items()}
        if args["only"]:  # the others were read before
            rest = [n for n in self._nodes.names if n not in runs and self._workspace.has_run(n)]
            runs |= {name: self._workspace.run(name) for name in rest}
            runs = {name: runs[name] for name in self._nodes.names if name in runs}
        numbers, mine = self._workspace.numbers(), process(os.getppid())
        ask, asked = args["ask"], _asked(variables, args, numbers.least(mine))
        states = {name: node.state for name, node in compared.items()}
        self._workspace.save_begun(None)
        decision = decide(self._workspace.fabric(), runs, asked, states)
        for host, run in runs.items():
            self._workspace.save_run(host, run)
        gives = not (decision.problems or self._task.check_mode)
        if (known := numbers.after(mine, runs, gives)) != numbers:
            self._workspace.save_numbers(known)
        if decision.problems:
            return _refused(decision, unread)
        changing = [host for host, run in runs.items() if run["phases"]]
        left_out = self._workspace.is_left_out
        away = [h for h in called(variables) if h not in runs and not left_out(h)]
        others = [h for h in other_batches(variables) if h not in runs and not left_out(h)]
        lines = [*left_alone(away, unread), *elsewhere(others), *decision.notes]
        if self._task.check_mode and changing:
            lines += [*table(runs), f"plan digest {decision.digest}"]
        window = max((run["window"] for run in runs.values() if run["phases"]), default=0)
        left = unfinished(window) if changing and not self._task.check_mode else ""
        return {
            **_seen(unread, compared),
            "idle": not changing and not decision.missing,
            "each": bool(ask["each"] or unread or decision.missing or len(decision.batches) > 1),
            "waits": window > 0,
            # Nothing was changed on either, and there is nothing to prove of them.
            "away": [n for n in (*away, *others) if n in self._workspace.fabric().by_name],
            "batches": [list(batch) for batch in decision.batches],
            "digest": decision.digest,
            "install": list(decision.missing) if asked.install else [],
            "podnet_summary": sentence(runs, len(changing)),
            "podnet_lines": lines,
            "podnet_unfinished": {"change": left},
        }

    def _failed(self, variables: dict[str, Any]) -> dict[str, Any]:
        """After a change failed somewhere and every node was told to go back: what came of it."""
        runs = {h: self._workspace.run(h) for h in called(variables) if self._workspace.has_run(h)}
        waited = {host: run for host, run in runs.items() if run["window"] and run["phases"]}
        back = [host for host, run in waited.items() if run.get("ended") == "rollback"]
        alone = [host for host in waited if host not in back]
        lines = ["the run failed; what failed stands above"]
        if back:
            lines.append(f"taken back on {', '.join(back)}")
        if alone:
            seconds = max(run["window"] for run in waited.values())
            lines.append(f"not reached: {', '.join(alone)}; goes back within {seconds} seconds")
        if self._task.check_mode:
            lines = lines[:1]
        elif not any(run["phases"] for run in runs.values()):
            lines.append("nothing was to be changed, and nothing was")
        elif not waited:
            lines.append("what was added elsewhere stays; it alters nothing that is in use")
        return {"failed": True, "msg": "\n".join(lines), **OVER}


def _asked(variables: dict[str, Any], args: dict[str, Any], number: int) -> Ask:
    """What the fleet is asked for, as the role was told; ``number``: see `Ask`."""
    ask = args["ask"]
    return Ask(
        confirm_seconds=ask["confirm_seconds"],
        phases=tuple(phase for phase in PHASES if phase in ask["phases"]),
        canary=tuple(map(str, ask["canary"])),
        serial=tuple(ask["serial"]),
        digest=ask["digest"],
        called=frozenset(called(variables)),
        lost=frozenset(map(str, ask["lost"])),
        # A survey answers with an empty text where there is none.
        released=frozenset(map(str, filter(None, ask["released"]))),
        install=ask["install"] != "none",
        # The role asks for these again when it has installed CNI plugins there.
        tried=frozenset(args["only"]),
        absent=args["state"] == "absent",
        number=number,
    )


def _seen(unread: dict[str, Any], compared: dict[str, Compared]) -> dict[str, Any]:
    """What the rest of a playbook has to know of the nodes that were asked."""
    current = {name: node.state.generation for name, node in compared.items()}
    return {"changed": False, "unread": unread, "generations": current}


def _refused(decision: Decision, unread: dict[str, Any]) -> dict[str, Any]:
    """Some problems are there because a node is away."""
    text = ProblemsError("the nodes", decision.problems).text()
    why = (f"{stays(host, unread)}\n    {item['msg']}" for host, item in unread.items())
    return {"failed": True, "msg": "\n\n".join([text, *why])}


def _unread(text: str, unreachable: bool = False) -> dict[str, Any]:
    return {"msg": text, "unreachable": unreachable}
