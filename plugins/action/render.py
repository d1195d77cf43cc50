# SPDX-License-Identifier: GPL-3.0-or-later
"""Action `podnet.fabric.render`: definitions of every node into files, of one role or of all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from ansible.plugins.action import ActionBase

from ..plugin_utils.frr import CONF
from ..plugin_utils.parallel import in_parts
from ..plugin_utils.plan import plan_fleet
from ..plugin_utils.render import DEFINITIONS, rendered
from ..plugin_utils.workspace import Workspace, WorkspaceError, content, templates, write

# A process more costs what a dozen nodes do.
WORTH_A_PROCESS = 25
# Characters of differences that are shown; the fleet's definitions can be gigabytes.
MOST_SHOWN = 32_000_000


@dataclass(frozen=True)
class Task:
    """What is done with the definitions of nodes: those of one role, or all."""

    root: Path
    role: str | None
    writes: bool
    shows: bool


@dataclass(frozen=True)
class Outcome:
    """``changed``: node/file. ``diff``: as Ansible prints it, of the first of them."""

    changed: list[str]
    diff: list[dict[str, str]]


class ActionModule(ActionBase):  # type: ignore[misc]  # ansible ships no types
    """Runs once for the whole fleet, on the controller; opens no connection."""

    _requires_connection = False
    BYPASS_HOST_LOOP = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> Any:
        result = super().run(tmp, task_vars)
        _validation, args = self.validate_argument_spec(
            {
                "role": {"type": "str", "choices": list(DEFINITIONS)},
                "output_dir": {"type": "path"},
            }
        )
        workspace, role = Workspace(args["output_dir"]), args["role"]
        writes = not self._task.check_mode
        try:
            names = [node.name for node in workspace.fabric().nodes]
            gone = workspace.forget(names) if role in (None, "cni") and writes else []
            templates()  # compiled once, and then there in every process
            task = Task(workspace.root, role, writes, bool(self._task.diff))
            outcomes = list(in_parts(partial(render_nodes, task), names, WORTH_A_PROCESS))
        except WorkspaceError as error:
            return {**result, "failed": True, "msg": str(error)}
        changed = [*gone, *(name for outcome in outcomes for name in outcome.changed)]
        result.update(changed=bool(changed), files=sorted(changed))
        if self._task.diff:
            result["diff"] = [item for outcome in outcomes for item in outcome.diff]
        return result


def render_nodes(task: Task, names: Sequence[str]) -> Outcome:
    """Write what differs from what is there."""
    workspace, loaded = Workspace(str(task.root)), templates()
    fabric = workspace.fabric()
    outcome, shown = Outcome([], []), 0
    for plan in plan_fleet(fabric, names):
        folder = workspace.intended(plan.node.name)
        texts = dict(rendered(fabric, plan, loaded, task.role))
        if task.role is None:
            # Of an earlier inventory: another mode, or another name of the conflist.
            old = (*folder.glob(CONF), *folder.glob("*.conflist"))
            texts |= {path.name: "" for path in old if path.name not in texts}
        for name, text in texts.items():
            path = folder / name
            before = content(path)
            if before == (text or None):  # a file that shall not be has no text
                continue
            outcome.changed.append(f"{plan.node.name}/{name}")
            if task.shows and shown < MOST_SHOWN:
                shown += len(before or "") + len(text)
                outcome.diff.append(_difference(str(path), before or "", text))
            if task.writes and text:
                write(path, text)
            elif task.writes:
                path.unlink()
    if shown >= MOST_SHOWN:
        outcome.diff.append({"prepared": "… and more; git diff shows all of intended/\n"})
    return outcome


def _difference(path: str, before: str, after: str) -> dict[str, str]:
    return {"before_header": path, "after_header": path, "before": before, "after": after}
