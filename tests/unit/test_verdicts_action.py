# SPDX-License-Identifier: GPL-3.0-or-later
"""The stages of the action `verify` with nodes on paper: what is saved, and what is survived."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.podnet.fabric.plugins.action.verify import ActionModule
from ansible_collections.podnet.fabric.plugins.plugin_utils import node_python
from ansible_collections.podnet.fabric.plugins.plugin_utils.exchange import Answer
from ansible_collections.podnet.fabric.plugins.plugin_utils.verdicts.asked import strangers
from ansible_collections.podnet.fabric.plugins.plugin_utils.workspace import (
    Workspace,
    node_modules,
)
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
    "without": [],
}


AWAY = Answer(away="Failed to connect to the host via ssh: timed out")


class Nodes:
    """Nodes that answer from observations on paper; `faults`: "node state" → another answer."""

    def __init__(self, names: list[str], faults: dict[str, Answer]) -> None:
        self.names, self._faults = names, faults
        self.asked: list[str] = []
        self.helpers = True

    def ask(self, texts: Mapping[str, str]) -> dict[str, Answer]:
        return {name: self._said(name, text) for name, text in texts.items()}

    def _said(self, name: str, text: str) -> Answer:
        question, program = asked(text)
        if not program and not self.helpers:
            self.asked.append(f"{name} helper")
            return Answer(rc=1)
        return self._answer(name, question["params"] if program else question)

    def _answer(self, name: str, params: dict[str, Any]) -> Answer:
        about = f"{name} {params['state']}"
        self.asked.append(about)
        if about in self._faults:
            return self._faults[about]
        said: dict[str, Any] = {"changed": True, "state": params["state"]}
        if params["state"] == "started":
            said |= HEALTHY.start[name]
        if params["state"] == "probed":
            wanted = {target["id"] for target in params["targets"]}
            answers = HEALTHY.probe[name]["probes"]
            said["probes"] = [answer for answer in answers if answer["id"] in wanted]
        return Answer(stdout=f"motd\n{node_python.MARK}{json.dumps(said)}\n")


def asked(text: str) -> tuple[dict[str, Any], bool]:
    """What a node is asked by a shell text, and whether that brings its own program."""
    line = re.search(r"'([A-Za-z0-9+/=]+)' 1<>ask", text)
    packed = line[1] if line else text.splitlines()[-2]
    return dict(node_python.unpacked(packed)), line is None


class Stages(ActionModule):
    """The action without Ansible around it."""

    def __init__(self, root: Path, hosts: list[str], faults: dict[str, Answer]) -> None:
        self._args = {"bgp_password": "", "bgp_seconds": 0}
        self._vars: dict[str, Any] = {
            "ansible_play_hosts_all": hosts,
            "ansible_play_hosts": hosts,
            "ansible_play_batch": hosts,
            "hostvars": {name: {} for name in hosts},
        }
        self._workspace = Workspace(str(root))
        self._workspace.save_fabric(FABRIC)
        self._nodes = self.nodes = Nodes(hosts, faults)

    def whole(self, **arguments: Any) -> dict[str, Any]:
        """All stages in the order of the role; what the judge returned."""
        self._begin({**ARGUMENTS, **arguments})
        answer = self._observe()
        assert not answer.get("failed"), answer
        judged = self._judge()
        assert not self._stop().get("failed")
        return judged


def verify(root: Path, faults: dict[str, Answer], hosts: list[str] | None = None) -> dict[str, Any]:
    return Stages(root, hosts or NAMES, faults).whole()


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
    done = verify(tmp_path, {"node-02 started": AWAY, "node-02 probed": AWAY})
    assert done["verdict"] == "unknown"
    assert "timed out" in "\n".join(done["podnet_lines"])
    results = saved(tmp_path)
    of = {r["id"]: r["status"] for r in results}
    assert of["tcp/ipv4/node-01/node-02"] == of["tcp/ipv4/node-02/node-01"] == "error"
    assert of["tcp/ipv4/node-01/node-03"] == of["tcp/ipv4/node-03/node-01"] == "success"


def test_an_unreachable_node_is_not_asked_again(tmp_path: Path) -> None:
    stages = Stages(tmp_path, ["node-01"], {"node-01 started": AWAY})
    stages.whole()
    assert stages.nodes.asked == ["node-01 started"]


@pytest.mark.parametrize("state", ["started", "probed"])
def test_a_program_that_crashes_is_an_error_with_its_words(tmp_path: Path, state: str) -> None:
    crash = Answer(rc=127, stderr="sh: 1: x\nsh: 2: python3: not found\n")
    done = verify(tmp_path, {f"node-02 {state}": crash})
    assert done["verdict"] == "unknown"
    assert "python3: not found" in " ".join("\n".join(done["podnet_lines"]).split())


def test_probe_pods_are_stopped_even_where_probing_failed(tmp_path: Path) -> None:
    stages = Stages(tmp_path, ["node-01"], {"node-01 probed": AWAY})
    stages.whole()
    assert stages.nodes.asked == ["node-01 started", "node-01 probed", "node-01 absent"]


def test_pods_are_stopped_once_and_at_once_where_everything_holds(tmp_path: Path) -> None:
    stages = Stages(tmp_path, ["node-01"], {})
    stages._begin(ARGUMENTS)
    stages._observe()
    assert stages._judge()["verdict"] == "pass"
    assert stages.nodes.asked == ["node-01 started", "node-01 probed", "node-01 absent"]
    stages._stop()
    assert len(stages.nodes.asked) == 3


def test_pods_stay_for_who_looks_for_the_cause(tmp_path: Path) -> None:
    for number, (model, faults) in enumerate(((False, {"node-02 probed": AWAY}), (True, {}))):
        stages = Stages(tmp_path / str(number), NAMES, faults)
        stages._begin({**ARGUMENTS, "model": model})
        stages._observe()
        stages._judge()
        assert "node-01 absent" not in stages.nodes.asked
        stages._stop()
        assert "node-01 absent" in stages.nodes.asked


def test_where_nobody_waits_the_program_is_sent_again(tmp_path: Path) -> None:
    stages = Stages(tmp_path, ["node-01"], {})
    stages.nodes.helpers = False
    assert stages.whole()["verdict"] == "pass"
    after = ["node-01 helper", "node-01 probed", "node-01 helper", "node-01 absent"]
    assert stages.nodes.asked == ["node-01 started", *after]


def test_what_is_sent_runs_on_a_bare_python() -> None:
    """All modules can be imported without Ansible, and what fails is told in one line."""
    names = [name for name, _text in node_modules()]
    assert "probe_pods" in names
    wrong = {"node": "n", "pods": ["a", "a"], "state": "absent"}
    for call, params, part in (
        ("probe_pods.observed", wrong, "two different names"),
        ("stream.measured", {"most_mbit": 0}, "most_mbit"),
        ("probe_pods.nothing", {}, "nothing"),
    ):
        text = node_python.script(node_modules(), call, params)
        done = subprocess.run(["sh", "-s"], input=text, capture_output=True, text=True, check=False)
        said = node_python.answer(done.returncode, done.stdout, done.stderr)
        assert said["failed"] and part in said["msg"], said


def test_what_an_earlier_verification_saw_is_forgotten(tmp_path: Path) -> None:
    assert verify(tmp_path, {})["verdict"] == "pass"
    assert verify(tmp_path, {"node-03 started": AWAY})["verdict"] == "unknown"
    previous = tmp_path / ".podnet/observed/results.previous.json"
    assert json.loads(previous.read_text(encoding="utf-8"))["summary"]["pairs"]["verified"] == 6


def test_a_limited_run_judges_and_probes_only_what_was_asked(tmp_path: Path) -> None:
    done = verify(tmp_path, {}, ["node-03", "node-01"])
    assert done["verdict"] == "pass"
    assert "only 2 of 3 nodes were asked for" in done["podnet_summary"]
    assert not any("node-02" in (r["source"], r["target"]) for r in saved(tmp_path))


@pytest.mark.parametrize("text", ['{"observation": {"no', "[1, 2]", "", "[" * 9999, "null"])
def test_an_odd_answer_is_one_nodes_matter_and_its_pods_are_stopped(
    tmp_path: Path, text: str
) -> None:
    odd = Answer(stdout=f"motd\n{node_python.MARK}{text}\n")
    stages = Stages(tmp_path, NAMES, {"node-02 started": odd})
    assert stages.whole()["verdict"] == "unknown"
    assert {"node-01 absent", "node-02 absent", "node-03 absent"} <= set(stages.nodes.asked)


def test_a_node_that_is_left_out_is_neither_asked_nor_judged(tmp_path: Path) -> None:
    stages = Stages(tmp_path, NAMES, {"node-02 started": AWAY})
    done = stages.whole(without=["node-02"])
    assert done["verdict"] == "pass"
    assert "only 2 of 3 nodes were asked for" in done["podnet_summary"]
    assert not any(asked.startswith("node-02") for asked in stages.nodes.asked)


def test_nodes_of_other_batches_are_not_asked_for(tmp_path: Path) -> None:
    """With `serial` they are in the play and not in this batch: that they gave no observation says
    nothing of them."""
    stages = Stages(tmp_path, NAMES, {})
    stages._vars["ansible_play_batch"] = stages._nodes.names = NAMES[:2]
    done = stages.whole()
    assert done["verdict"] == "pass"
    assert "only 2 of 3 nodes were asked for" in done["podnet_summary"]


def test_nobody_can_leave_out_what_is_no_node(tmp_path: Path) -> None:
    answer = Stages(tmp_path, NAMES, {})._begin({**ARGUMENTS, "without": ["node-2"]})
    assert answer["failed"] and "found node-2" in answer["msg"]


def test_a_node_that_nobody_planned_is_an_error(tmp_path: Path) -> None:
    """It is in the inventory of the run; that all others hold is not the answer."""
    stages = Stages(tmp_path, [*NAMES, "node-04"], {})
    answer = stages._begin(ARGUMENTS)
    assert answer["failed"] and "not in the plan: node-04\n" in answer["msg"]
    assert f"this one is of {', '.join(NAMES)}\n" in answer["msg"]
    assert "podnet.fabric.verify, which plans first" in answer["msg"]
    assert not stages.nodes.asked and not (tmp_path / ".podnet/observed").exists()


def test_a_node_that_a_rollback_leaves_out_is_not_asked_for(tmp_path: Path) -> None:
    stages = Stages(tmp_path, [*NAMES, "node-04"], {})
    stages._workspace.leave_out("node-04")
    assert stages.whole()["verdict"] == "pass"
    assert not any(asked.startswith("node-04") for asked in stages.nodes.asked)


def test_a_message_names_some_of_many_strangers() -> None:
    text = strangers("f", {"a"}, {f"n{number:03}" for number in range(200)} | {"a"}, frozenset())
    assert "n009 and 190 more" in text and "n010" not in text
    assert strangers("f", {"a"}, {"a"}, {"a"}) == ""


def test_pods_are_said_to_be_left_from_before_they_start_until_they_are_gone(
    tmp_path: Path,
) -> None:
    stages = Stages(tmp_path, NAMES, {})
    said = dict(stages._begin(ARGUMENTS)["podnet_unfinished"])
    assert "removes them" in said["pods"]
    said |= stages._observe().get("podnet_unfinished", {})
    assert "removes them" in said["pods"]
    said |= stages._judge()["podnet_unfinished"]
    assert not said["pods"]


def test_a_name_as_outside_host_is_refused(tmp_path: Path) -> None:
    outside = [{"address": "example.org", "port": 80}]
    answer = Stages(tmp_path, NAMES, {})._begin({**ARGUMENTS, "outside": outside})
    assert answer["failed"] and "example.org" in answer["msg"]


def test_a_reason_is_cut_between_words_and_says_so() -> None:
    """A warning shows the lines that the node said; one line is kept with the observation."""
    said = "CNI plugin bridge: not installed\n    do:       install the CNI plugins"
    assert node_python.reason({"msg": said}).endswith("installed do: install the CNI plugins")
    assert node_python.under({"msg": said}).split("\n")[1] == f"    {said.splitlines()[1]}"
    assert node_python.reason({"msg": said}, 40) == "CNI plugin bridge: not installed do: …"
    assert node_python.reason({"msg": "x" * 50}, 40) == f"{'x' * 40} …"
    assert node_python.reason({}) == "the node gave no observation"
