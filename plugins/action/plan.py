# SPDX-License-Identifier: GPL-3.0-or-later
"""Action `podnet.fabric.plan`: inventory → the parsed fleet, or every problem of it."""

from __future__ import annotations

import json
from typing import Any

from ansible.errors import AnsibleError
from ansible.plugins.action import ActionBase

from ..plugin_utils.intent.problems import ProblemsError
from ..plugin_utils.intent.schema import TOOL_KEYS
from ..plugin_utils.plan import compile_fleet, overlay_overhead, pod_mtu
from ..plugin_utils.workspace import Workspace


class ActionModule(ActionBase):  # type: ignore[misc]  # ansible ships no types
    """Runs once for the whole fleet, on the controller; opens no connection."""

    _requires_connection = False
    BYPASS_HOST_LOOP = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> Any:
        result = super().run(tmp, task_vars)
        _validation, args = self.validate_argument_spec(
            {"group": {"type": "str", "default": "podnet"}, "output_dir": {"type": "path"}}
        )
        try:
            hosts = _variables(task_vars or {}, args["group"])
            fabric = compile_fleet(hosts)
        except ProblemsError as error:
            return {**result, "failed": True, "msg": error.text()}
        except AnsibleError as error:
            return {**result, "failed": True, "msg": f"The inventory cannot be read: {error}"}
        workspace = Workspace(args["output_dir"])
        workspace.save_fabric(fabric)
        segments = len(fabric.segments)
        return {
            **result,
            "changed": False,
            "nodes": [node.name for node in fabric.nodes],
            "underlay": [
                {
                    "name": node.name,
                    "segment": node.segment,
                    "underlay_addresses": list(node.underlay_addresses),
                    "underlay_mtu": node.underlay_mtu,
                }
                for node in fabric.nodes
            ],
            "families": list(fabric.families),
            "pod_mtu": pod_mtu(fabric),
            "overlay_overhead": overlay_overhead(fabric),
            "podnet_summary": (
                f"{len(fabric.nodes)} nodes in {segments} segment{'s' if segments > 1 else ''}, "
                f"mode {fabric.mode}, {' and '.join(fabric.families)}, "
                f"pod MTU {pod_mtu(fabric)}"
            ),
        }


def _variables(task_vars: dict[str, Any], group: str) -> dict[str, dict[str, Any]]:
    """The `podnet_*` variables of every host of the group, as plain data.

    Taken from the inventory of all hosts, whatever `--limit` says: what a node needs depends
    on peers that this run may not touch.
    """
    hostvars = task_vars["hostvars"]
    hosts: dict[str, dict[str, Any]] = {}
    for host in task_vars["groups"].get(group, []):
        values = hostvars[host]
        names = [n for n in values if str(n).startswith("podnet_") and n not in TOOL_KEYS]
        # Through JSON: Ansible's values are tagged subclasses, which must not travel further.
        hosts[str(host)] = {
            str(name): json.loads(json.dumps(values[name], default=str)) for name in names
        }
    return hosts
