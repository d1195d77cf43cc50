# SPDX-License-Identifier: GPL-3.0-or-later
"""The stages of the action `verify` with nodes on paper: what is saved, and what is survived."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from ansible.errors import AnsibleConnectionFailure
from ansible_collections.podnet.fabric.plugins.action.verify import ActionModule
from ansible_collections.podnet.fabric.plugins.plugin_utils.workspace import Workspace
from observed import OUTSIDE, fabric_of, healthy

FABRIC = fabric_of((2, 1))
NAMES = [node.name for node in FABRIC.nodes]
HEALTHY = healthy(FABRIC)
ARGUMENTS = {
    "port": 7717,
    "peers": 0,
    "model": False,
    "attempts": 3,
    "timeout_ms": 1000,
    "outside": [{"address": address, "port": port} for address, port in OUTSIDE],
    "only": [],
}


class Stage(ActionModule):
    """The action of one host, with the module's answers from observations on paper."""

    def __init__(self, root: Path, name: str, hosts: list[str], faults: dict[str, Any]) -> None:
        self._vars: dict[str, Any] = {"ansible_play_hosts_all": hosts}
        self._name, self._faults = name, faults
        self._workspace = Workspace(str(root))
        self.asked: list[str] = []

    def _execute_module(self, **given: Any) -> dict[str, Any]:
        arguments = given["module_args"]
        self.asked.append(arguments["state"])
        fault = self._faults.get(f"{self._name} {arguments['state']}")
        if isinstance(fault, Exception):
            raise fault
        if fault:
            return dict(fault)
        if arguments["state"] == "started":
            return {"changed": True, **HEALTHY.start[self._name]}
        if arguments["state"] == "probed":
            wanted = {target["id"] for target in arguments["targets"]}
            answers = HEALTHY.probe[self._name]["probes"]
            return {"probes": [answer for answer in answers if answer["id"] in wanted]}
        return {"changed": True}


def verify(root: Path, faults: dict[str, Any], hosts: list[str] | None = None) -> dict[str, Any]:
    """All stages in the order of the role; what the judge returned."""
    hosts = hosts or NAMES
    Workspace(str(root)).save_fabric(FABRIC)
    actions = {name: Stage(root, name, hosts, faults) for name in hosts}
    first = actions[hosts[0]]
    first._begin(ARGUMENTS)
    for stage in ("_start", "_probe", "_stop"):
        for action in actions.values():
            answer = getattr(action, stage)()
            assert not answer.get("failed"), answer
    return first._judge()


def saved(root: Path) -> list[dict[str, Any]]:
    text = (root / ".podnet/observed/results.json").read_text(encoding="utf-8")
    results: list[dict[str, Any]] = json.loads(text)["results"]
    return results


def test_a_healthy_fleet_passes(tmp_path: Path) -> None:
    done = verify(tmp_path, {})
    assert done["verdict"] == "pass" and not done.get("failed")
    assert done["podnet_lines"][1:-1] == done["stdout_lines"]
    assert {result["status"] for result in saved(tmp_path)} == {"success"}
    json.dumps(done)


def test_an_unreachable_node_is_an_error_and_the_others_are_verified(tmp_path: Path) -> None:
    fault = AnsibleConnectionFailure("Failed to connect to the host via ssh: timed out")
    done = verify(tmp_path, {"node-02 started": fault, "node-02 probed": fault})
    assert done["verdict"] == "unknown"
    assert "timed out" in "\n".join(done["podnet_lines"])
    results = saved(tmp_path)
    of = {r["id"]: r["status"] for r in results}
    assert of["tcp/ipv4/node-01/node-02"] == of["tcp/ipv4/node-02/node-01"] == "error"
    assert of["tcp/ipv4/node-01/node-03"] == of["tcp/ipv4/node-03/node-01"] == "success"


def test_an_unreachable_node_is_not_asked_again(tmp_path: Path) -> None:
    Workspace(str(tmp_path)).save_fabric(FABRIC)
    stage = Stage(tmp_path, "node-01", NAMES, {"node-01 started": AnsibleConnectionFailure("no")})
    stage._begin(ARGUMENTS)
    for name in ("_start", "_probe", "_stop"):
        getattr(stage, name)()
    assert stage.asked == ["started"]


@pytest.mark.parametrize("state", ["started", "probed"])
def test_a_module_that_crashes_is_an_error_with_its_words(tmp_path: Path, state: str) -> None:
    crash = {"failed": True, "msg": "MODULE FAILURE", "module_stderr": "Traceback: no python"}
    done = verify(tmp_path, {f"node-02 {state}": crash})
    assert done["verdict"] == "unknown" and "MODULE FAILURE" in "\n".join(done["podnet_lines"])


def test_probe_pods_are_stopped_even_where_probing_failed(tmp_path: Path) -> None:
    Workspace(str(tmp_path)).save_fabric(FABRIC)
    fault = {"node-01 probed": AnsibleConnectionFailure("no")}
    stage = Stage(tmp_path, "node-01", NAMES, fault)
    stage._begin(ARGUMENTS)
    for name in ("_start", "_probe", "_stop"):
        getattr(stage, name)()
    assert stage.asked == ["started", "probed", "absent"]


def test_what_an_earlier_verification_saw_is_forgotten(tmp_path: Path) -> None:
    assert verify(tmp_path, {})["verdict"] == "pass"
    gone = AnsibleConnectionFailure("no")
    assert verify(tmp_path, {"node-03 started": gone})["verdict"] == "unknown"
    previous = tmp_path / ".podnet/observed/results.previous.json"
    assert json.loads(previous.read_text(encoding="utf-8"))["summary"]["pairs"]["verified"] == 6


def test_a_limited_run_judges_and_probes_only_what_was_asked(tmp_path: Path) -> None:
    done = verify(tmp_path, {}, ["node-03", "node-01"])
    assert done["verdict"] == "pass"
    assert "only 2 of 3 nodes were asked for" in done["podnet_summary"]
    assert not any("node-02" in (r["source"], r["target"]) for r in saved(tmp_path))


def test_a_name_as_outside_host_is_refused(tmp_path: Path) -> None:
    Workspace(str(tmp_path)).save_fabric(FABRIC)
    stage = Stage(tmp_path, "node-01", NAMES, {})
    outside = [{"address": "example.org", "port": 80}]
    answer = stage._begin({**ARGUMENTS, "outside": outside})
    assert answer["failed"] and "example.org" in answer["msg"]
