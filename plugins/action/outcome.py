# SPDX-License-Identifier: GPL-3.0-or-later
"""Action `podnet.fabric.outcome`: what a run, whose stages serve all nodes, came to on one."""

from __future__ import annotations

from typing import Any

from ansible.plugins.action import ActionBase

from ..plugin_utils.workspace import Workspace, WorkspaceError

SPEC = {
    "unread": {"type": "dict", "default": {}},
    "looked": {"type": "bool", "default": False},
    "output_dir": {"type": "path"},
}


class ActionModule(ActionBase):  # type: ignore[misc]  # ansible ships no types
    """Runs for each node; reads what the run has saved, and opens no connection."""

    _requires_connection = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> Any:
        result = super().run(tmp, task_vars)
        _validation, args = self.validate_argument_spec(SPEC)
        name = str((task_vars or {})["inventory_hostname"])
        if unread := args["unread"].get(name):
            if unread["unreachable"]:
                said = not args["looked"]  # by who decided, with the reason
                return {**result, **unread, "changed": False, "podnet_said": said}
            return {**result, "failed": True, "msg": unread["msg"]}
        try:
            workspace = Workspace(args["output_dir"])
            if workspace.is_left_out(name):
                return {**result, "skipped": True, "changed": False, "msg": "left out"}
            run = workspace.run(name)
        except WorkspaceError as error:
            return {**result, "failed": True, "msg": str(error)}
        if args["looked"]:
            return {**result, "changed": False}
        commands = sum(len(run["shown"][phase]) for phase in run["phases"])
        return {**result, "changed": bool(run["phases"]), "commands": commands}
