# SPDX-License-Identifier: GPL-3.0-or-later
"""Action `podnet.fabric.report`: saved results → report.html, report.json, junit.xml, metrics."""

from __future__ import annotations

import gc
from typing import Any

from ansible.plugins.action import ActionBase

from ..plugin_utils.report.data import report_data
from ..plugin_utils.report.html import report_html
from ..plugin_utils.report.junit import junit_xml
from ..plugin_utils.report.prom import prom_text
from ..plugin_utils.verdicts.results import as_text
from ..plugin_utils.workspace import Workspace, WorkspaceError, role_file, write

GENERATOR = "podnet.fabric"
TEMPLATES = ("report.html.j2", "parts.html.j2", "style.css", "page.js")
REMEDY = "run the role verify first"


class ActionModule(ActionBase):  # type: ignore[misc]  # ansible ships no types
    """Runs once for the whole fleet, on the controller; opens no connection."""

    _requires_connection = False
    BYPASS_HOST_LOOP = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> Any:
        result = super().run(tmp, task_vars)
        _validation, args = self.validate_argument_spec(
            {"title": {"type": "str", "default": "Pod network"}, "output_dir": {"type": "path"}}
        )
        workspace = Workspace(args["output_dir"])
        gc.disable()  # as in the action verify
        try:
            saved = workspace.load("observed/results.json", REMEDY)
            previous = _maybe(workspace, "observed/results.previous.json")
            named = _maybe(workspace, "observed/causes.json") or {}
            causes = named.get("causes", ()) if named.get("began") == saved["began"] else ()
            data = report_data(saved, str(args["title"]), GENERATOR, previous, causes)
        except WorkspaceError as error:
            if self._task.check_mode:  # nothing was verified, so there is nothing to write
                return {**result, "skipped": True, "changed": False, "msg": str(error)}
            return {**result, "failed": True, "msg": str(error)}
        except (KeyError, TypeError, ValueError) as error:
            text = f"the saved results are of another version ({error!r}); {REMEDY}"
            return {**result, "failed": True, "msg": text}
        files = {
            "report.html": report_html(data, _templates()),
            "report.json": as_text(data),
            "junit.xml": junit_xml(data),
            "podnet.prom": prom_text(data, _drift(workspace)),
        }
        folder = workspace.root / "report"
        changed = [name for name, text in files.items() if self._differs(folder / name, text)]
        return {
            **result,
            "changed": bool(changed),
            "files": [str(folder / name) for name in files],
            "verdict": data["verdict"],
            "podnet_summary": self._summary(str(folder / "report.html"), data),
        }

    def _summary(self, path: str, data: dict[str, Any]) -> str:
        if not self._task.check_mode:
            return f"the report is {path}"
        day, clock = data["began"][:10], data["began"][11:16]
        return f"check mode writes none; {path} is of the verification of {day} {clock} UTC"

    def _differs(self, path: Any, text: str) -> bool:
        """Write, except in check mode; whether the file was another one."""
        if self._task.check_mode:
            return not path.is_file() or bool(path.read_text(encoding="utf-8") != text)
        return write(path, text)


def _maybe(workspace: Workspace, name: str) -> Any:
    """A saved file, or None where there is none."""
    return workspace.load(name, REMEDY) if (workspace.state / name).is_file() else None


def _drift(workspace: Workspace) -> dict[str, int] | None:
    """Differences per node, when `status` or `drift` looked last."""
    saved = _maybe(workspace, "status.json")
    if saved is None:
        return None
    nodes = saved["nodes"].items()
    return {name: sum(map(len, node["differences"].values())) for name, node in nodes}


def _templates() -> dict[str, str]:
    return {name: role_file("report", "templates", name) for name in TEMPLATES}
