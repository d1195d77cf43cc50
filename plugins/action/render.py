# SPDX-License-Identifier: GPL-3.0-or-later
"""Action `podnet.fabric.render`: the definitions of one role, for every node, into files."""

from __future__ import annotations

from typing import Any

from ansible.plugins.action import ActionBase

from ..plugin_utils.plan import plan_node
from ..plugin_utils.render import DEFINITIONS, MANIFEST, render_node
from ..plugin_utils.workspace import Workspace, WorkspaceError, templates, write


class ActionModule(ActionBase):  # type: ignore[misc]  # ansible ships no types
    """Runs once for the whole fleet, on the controller; opens no connection."""

    _requires_connection = False
    BYPASS_HOST_LOOP = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> Any:
        result = super().run(tmp, task_vars)
        _validation, args = self.validate_argument_spec(
            {
                "role": {"type": "str", "required": True, "choices": list(DEFINITIONS)},
                "output_dir": {"type": "path"},
            }
        )
        workspace = Workspace(args["output_dir"])
        try:
            changed, diff = self._render(workspace, args["role"])
        except WorkspaceError as error:
            return {**result, "failed": True, "msg": str(error)}
        result.update(changed=bool(changed), files=sorted(changed))
        if self._task.diff:
            result["diff"] = diff
        return result

    def _render(self, workspace: Workspace, role: str) -> tuple[list[str], list[dict[str, str]]]:
        fabric = workspace.fabric()
        loaded = templates()
        changed, diff = [], []
        if role == "cni" and not self._task.check_mode:
            changed += workspace.forget(node.name for node in fabric.nodes)
        for node in fabric.nodes:
            files = render_node(fabric, plan_node(fabric, node.name), loaded)
            names = (fabric.cni.file, MANIFEST) if role == "cni" else DEFINITIONS[role]
            for name in names:
                path = workspace.intended(node.name) / name
                before = path.read_text(encoding="utf-8") if path.is_file() else ""
                if before == files[name]:
                    continue
                changed.append(f"{node.name}/{name}")
                diff.append(
                    {
                        "before_header": str(path),
                        "after_header": str(path),
                        "before": before,
                        "after": files[name],
                    }
                )
                if not self._task.check_mode:
                    write(path, files[name])
        return changed, diff
