# SPDX-License-Identifier: GPL-3.0-or-later
"""Action `podnet.fabric.cause`: look at the nodes of failed pairs, and name what is wrong."""

from __future__ import annotations

import textwrap
from typing import Any

from ansible.plugins.action import ActionBase

from ..plugin_utils.causes import landscape, look
from ..plugin_utils.causes.lines import cause_lines, model_lines, other_lines
from ..plugin_utils.causes.suspects import Scene
from ..plugin_utils.causes.walk import causes, disagreements
from ..plugin_utils.exchange import Exchange
from ..plugin_utils.fleet.history import elsewhere
from ..plugin_utils.frr import with_password
from ..plugin_utils.kernel.state import UnreadableError
from ..plugin_utils.report.since import failed_before
from ..plugin_utils.verdicts.observations import read_start
from ..plugin_utils.verdicts.problems import problems_of
from ..plugin_utils.verdicts.results import Result
from ..plugin_utils.verdicts.summary import MESSAGE, verdict
from ..plugin_utils.workspace import Workspace, WorkspaceError

SPEC = {
    "stage": {"type": "str", "required": True, "choices": ["look", "name"]},
    "output_dir": {"type": "path"},
    "bgp_password": {"type": "str", "default": "", "no_log": True},
}
LEAVE_OUT = (
    "Where a change is not to blame and cannot wait, podnet_verify_without leaves nodes out of its "
    "proof."
)
JUDGE_FIRST = "run the stage judge of verify first"


class ActionModule(ActionBase):  # type: ignore[misc]  # ansible ships no types
    """Runs once for all nodes of the play. Needs a POSIX shell on a node; changes nothing there."""

    _requires_connection = False
    BYPASS_HOST_LOOP = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> Any:
        result = super().run(tmp, task_vars)
        _validation, args = self.validate_argument_spec(SPEC)
        variables = task_vars or {}
        workspace = Workspace(args["output_dir"])
        try:
            if args["stage"] == "look":
                looked = _look(workspace, Exchange(self, variables), args["bgp_password"])
                return {**result, "changed": False, **looked}
            hosts = [str(host) for host in variables["ansible_play_hosts_all"]]
            return {**result, "changed": False, **_name(workspace, hosts)}
        except (WorkspaceError, ValueError) as error:
            return {**result, "failed": True, "msg": str(error)}


def _look(workspace: Workspace, nodes: Exchange, password: str) -> dict[str, Any]:
    """Nodes without a part in any failed pair are not asked. That one does not answer is what there
    is to see of it.

    Raises:
        ValueError: the password is not the one of the plan.
    """
    task, fabric = workspace.load("observed/look.json", JUDGE_FIRST), workspace.fabric()
    texts = {}
    for name in (name for name in nodes.names if name in task["nodes"]):
        others = [a for node, pod in task["pods"].items() if node != name for a in pod.values()]
        text = look.script(fabric, name, task["pods"].get(name, {}), others)
        texts[name] = with_password(fabric, text, password)
    for name, answer in nodes.ask(texts).items():
        if not answer.away:
            workspace.save(f"observed/look/{name}.json", {"answer": answer.stdout})
    return {}


def _name(workspace: Workspace, hosts: list[str]) -> dict[str, Any]:
    """Runs once; fails when verification has failed, after everybody concerned was looked at."""
    saved = workspace.load("observed/results.json", JUDGE_FIRST)
    fabric = workspace.fabric()
    looks, started, checksums, blind = {}, {}, {}, []
    for host in hosts:
        start = _maybe(workspace, f"observed/start/{host}.json")
        started[host] = read_start(start)
        counters = (start or {}).get("observation", {}).get("counters", {})
        if "udp_checksums" in counters:
            checksums[host] = int(counters["udp_checksums"])
        answer = _maybe(workspace, f"observed/look/{host}.json")
        if answer is None:
            continue
        try:
            looks[host] = landscape.read(fabric, host, answer["answer"])
        except UnreadableError as error:
            blind.append(f"{host} could not be looked at: {error}")
    results = [Result.from_dict(item) for item in saved["results"]]
    heard = {host: item.heard for host, item in looks.items() if item.heard}
    scene = Scene(fabric, looks, started, int(saved["run"]["port"]), checksums, heard)
    notes: dict[str, Any] = {}
    if saved["run"].get("model"):
        lines = model_lines(disagreements(scene, results))
        workspace.save("observed/model.json", {"began": saved["began"], "disagreements": lines})
        notes = {"podnet_lines": ["", *lines, ""]} if lines else {}
    if verdict(saved["summary"]) == "pass":
        return {**notes, "warnings": blind} if blind else notes
    found = causes(scene, results)
    data = [{**cause.to_dict(), "results": list(ids)} for cause, ids in found]
    workspace.save("observed/causes.json", {"began": saved["began"], "causes": data})
    others = other_lines(problems_of(fabric, saved["run"]["asked"], results), found)
    lines = [*cause_lines(found), *others, *blind] or ["what failed stands above"]
    # In the middle of a change nodes have the generation before it.
    settled = {host: item.manifest for host, item in looks.items() if not item.state.pending}
    if other := elsewhere(fabric, settled):
        lines = [*str(other).splitlines(), "", *lines]
    previous = _maybe(workspace, "observed/results.previous.json")
    if began := failed_before(previous, saved["results"]):
        text = f"All of it failed in the verification that began {began} as well. {LEAVE_OUT}"
        lines += ["", *textwrap.wrap(text, MESSAGE)]
    return {**notes, "failed": True, "causes": data, "msg": "\n".join(lines)}


def _maybe(workspace: Workspace, file: str) -> dict[str, Any] | None:
    """None when the node was gone before that stage."""
    if not (workspace.state / file).is_file():
        return None
    saved: dict[str, Any] = workspace.load(file, JUDGE_FIRST)
    return saved
