# SPDX-License-Identifier: GPL-3.0-or-later
"""Action `podnet.fabric.verify`: start probe pods, probe from them, stop them, judge."""

from __future__ import annotations

import datetime
import ipaddress
import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ansible.errors import AnsibleError
from ansible.plugins.action import ActionBase

from ..plugin_utils.backends import BACKENDS
from ..plugin_utils.causes.walk import needed
from ..plugin_utils.verdicts import summary as lines_of
from ..plugin_utils.verdicts.checks import targets_of
from ..plugin_utils.verdicts.judge import judge
from ..plugin_utils.verdicts.observations import read_probes, read_start
from ..plugin_utils.verdicts.problems import problems_of
from ..plugin_utils.verdicts.results import as_text
from ..plugin_utils.verdicts.scene import POD_A, Run, Scene
from ..plugin_utils.verdicts.speed import measured_pairs
from ..plugin_utils.workspace import Workspace, WorkspaceError, write

SPEC = {
    "stage": {
        "type": "str",
        "required": True,
        "choices": ["begin", "start", "probe", "measure", "stop", "judge"],
    },
    "output_dir": {"type": "path"},
    "port": {"type": "int", "default": 7717},
    "outside": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": {
            "address": {"type": "str", "required": True},
            "port": {"type": "int", "required": True},
        },
    },
    "only": {"type": "list", "elements": "str", "default": []},
    "peers": {"type": "int", "default": 64},
    "model": {"type": "bool", "default": False},
    "attempts": {"type": "int", "default": 3},
    "timeout_ms": {"type": "int", "default": 1000},
    "seconds": {"type": "int", "default": 2},
    "most_mbit": {"type": "int", "default": 1000},
}
RUN = "observed/run.json"
BEGIN_FIRST = "run the stage begin first"


class ActionModule(ActionBase):  # type: ignore[misc]  # ansible ships no types
    """What a node reported is saved as it came; the judge reads nothing else."""

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> Any:
        result = super().run(tmp, task_vars)
        _validation, args = self.validate_argument_spec(SPEC)
        if self._task.check_mode:
            text = "verification starts probe pods, so check mode leaves it out"
            return {**result, "skipped": True, "changed": False, "msg": text}
        self._vars = task_vars or {}
        self._name = str(self._vars["inventory_hostname"])
        self._workspace = Workspace(args["output_dir"])
        stages = {
            "begin": lambda: self._begin(args),
            "start": self._start,
            "probe": self._probe,
            "measure": lambda: self._measure(args),
            "stop": self._stop,
            "judge": self._judge,
        }
        try:
            return {**result, "changed": False, **stages[args["stage"]]()}
        except WorkspaceError as error:
            return {**result, "failed": True, "msg": str(error)}

    # --- stages -------------------------------------------------------------------------------

    def _begin(self, args: Mapping[str, Any]) -> dict[str, Any]:
        """Forget what an earlier verification saw, and note what this one is asked for."""
        fabric = self._workspace.fabric()
        known = {node.name for node in fabric.nodes}
        hosts = sorted(str(host) for host in self._vars["ansible_play_hosts_all"])
        outside = []
        for item in args["outside"]:
            try:
                address = str(ipaddress.ip_address(str(item["address"])))
            except ValueError:
                text = f"podnet_verify_outside: expected addresses, found {item['address']!r}"
                return {"failed": True, "msg": f"{text}; write each as {{address: …, port: …}}"}
            outside.append({"address": address, "port": int(item["port"])})
        turn = self._turn(bool(args["only"]))
        self._forget()
        run = {
            "asked": [host for host in hosts if host in known],
            "port": int(args["port"]),
            "outside": outside,
            "only": [str(name) for name in args["only"]],
            "sample": {"most": int(args["peers"]), "turn": turn},
            "model": bool(args["model"]),
            "attempts": int(args["attempts"]),
            "timeout_ms": int(args["timeout_ms"]),
            "began": _now(),
        }
        self._workspace.save(RUN, run)
        return {"msg": f"{len(run['asked'])} of {len(known)} nodes are asked for"}

    def _start(self) -> dict[str, Any]:
        answer = self._ask({"state": "started"})
        if "observation" not in answer:
            return self._blind("start", answer)
        saved = {"observation": answer["observation"]}
        self._workspace.save(self._file("start"), saved)
        errors = [str(text) for text in saved["observation"].get("errors") or ()]
        return {"warnings": [f"{self._name}: {text}" for text in errors]} if errors else {}

    def _probe(self) -> dict[str, Any]:
        own = self._saved("start", self._name)
        if own is None or "error" in own:
            return {"skipped": True, "msg": "its probe pods were not started"}
        targets = targets_of(self._near(), self._name)
        run = self._run()
        answer = self._ask(
            {
                "state": "probed",
                "targets": targets,
                "attempts": run["attempts"],
                "timeout_ms": run["timeout_ms"],
            }
        )
        if "probes" not in answer:
            return self._blind("probe", answer)
        self._workspace.save(self._file("probe"), {"probes": answer["probes"]})
        return {"probes": len(targets)}

    def _measure(self, args: Mapping[str, Any]) -> dict[str, Any]:
        """How fast the ways are that this node was chosen for; most nodes have none."""
        scene = self._scene()
        pairs = [pair for pair in measured_pairs(scene) if pair["source"] == self._name]
        if not pairs:
            return {"skipped": True, "msg": "no way is measured from here"}
        given = {
            "pod": POD_A,
            "targets": [pair["address"] for pair in pairs],
            "port": scene.run.port,
            "seconds": args["seconds"],
            "most_mbit": args["most_mbit"],
        }
        answer = self._module("podnet.fabric.way_speed", given)
        if "speeds" not in answer:
            return self._blind("measure", answer)
        overheads = {name: backend.overhead(scene.fabric) for name, backend in BACKENDS.items()}
        speeds = [
            {
                **pair,
                "overhead": overheads[pair["backend"]],
                "most_mbit": args["most_mbit"],
                **speed,
            }
            for pair, speed in zip(pairs, answer["speeds"], strict=True)
        ]
        self._workspace.save(self._file("measure"), {"speeds": speeds})
        return {"measured": len(speeds)}

    def _stop(self) -> dict[str, Any]:
        own = self._saved("start", self._name)
        if own is None or own.get("unreachable"):
            return {"skipped": True, "msg": "no probe pods were started there"}
        answer = self._ask({"state": "absent"})
        if not answer.get("failed"):
            return {}
        text = f"{self._name}: probe pods may be left; the next verification removes them"
        return {"warnings": [f"{text} ({_reason(answer)})"]}

    def _judge(self) -> dict[str, Any]:
        scene = self._scene()
        names = [node.name for node in scene.nodes]
        probed = {name: read_probes(self._saved("probe", name)) for name in names}
        results = judge(scene, probed)
        totals = lines_of.summary(scene, probed, results)
        problems = problems_of(scene.fabric, names, results)
        self._save_results(scene, totals, [result.to_dict() for result in results])
        of, verdict = lines_of.cells(results), lines_of.verdict(totals)
        done = {
            "verdict": verdict,
            "summary": totals,
            "stdout_lines": lines_of.matrix_lines(names, of),
            "podnet_summary": lines_of.sentence(totals),
        }
        nodes = names if self._run()["model"] else sorted(needed(results))
        look = {"nodes": nodes, "pods": _talked_to(scene)}
        self._workspace.save("observed/look.json", look)
        if verdict == "pass":
            return {**done, "podnet_lines": ["", *done["stdout_lines"], ""]}
        matrix = lines_of.matrix_lines(names, of, lines_of.MESSAGE)
        # The run fails with the causes, after the nodes concerned were looked at.
        return {**done, "podnet_lines": ["", *matrix, "", *lines_of.problem_lines(problems), ""]}

    # --- the node -----------------------------------------------------------------------------

    def _ask(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """Run `reachability` on the node. A node that does not answer is an observation, too,
        and must not end the verification of the others."""
        fabric = self._workspace.fabric()
        given = {
            "node": self._name,
            # The one that a container runtime takes, whatever stands before podnet's.
            "conf_dir": fabric.cni.conf_dir,
            "bin_dirs": [fabric.cni.bin_dir],
            "port": self._run()["port"],
            **arguments,
        }
        return self._module("podnet.fabric.reachability", given)

    def _module(self, name: str, given: dict[str, Any]) -> dict[str, Any]:
        try:
            answer = self._execute_module(module_name=name, module_args=given, task_vars=self._vars)
        except AnsibleError as error:
            return {"failed": True, "unreachable": True, "msg": str(error)}
        # Through JSON: Ansible's values are tagged subclasses, which must not travel further.
        plain: dict[str, Any] = json.loads(json.dumps(answer, default=str))
        return plain

    def _blind(self, stage: str, answer: Mapping[str, Any]) -> dict[str, Any]:
        reason = _reason(answer)
        unreachable = bool(answer.get("unreachable"))
        self._workspace.save(self._file(stage), {"error": reason, "unreachable": unreachable})
        return {"warnings": [f"{self._name} could not be looked at: {reason}"]}

    # --- the saved observations -----------------------------------------------------------------

    def _turn(self, partial: bool) -> int:
        """Of the sample: it goes on from one whole verification to the next, however they end."""
        if not (self._workspace.state / RUN).is_file():
            return 0
        return int(self._run().get("sample", {}).get("turn", -1)) + (not partial)

    def _run(self) -> dict[str, Any]:
        run: dict[str, Any] = self._workspace.load(RUN, BEGIN_FIRST)
        return run

    def _scene(self) -> Scene:
        run = Run.from_dict(self._run())
        started = {name: read_start(self._saved("start", name)) for name in run.asked}
        return Scene(self._workspace.fabric(), run, started)

    def _near(self) -> Scene:
        """The scene as far as this node's probes need it: there is a file for each node, and every
        node reads those of the peers that it probes."""
        run = Run.from_dict(self._run())
        bare = Scene(self._workspace.fabric(), run, {})
        names = {self._name, *(peer.name for peer in bare.ring.peers(self._name))}
        return replace(bare, started={n: read_start(self._saved("start", n)) for n in names})

    def _file(self, stage: str) -> str:
        return f"observed/{stage}/{self._name}.json"

    def _saved(self, stage: str, name: str) -> dict[str, Any] | None:
        """None when there is nothing: the node was gone before this stage."""
        file = f"observed/{stage}/{name}.json"
        if not (self._workspace.state / file).is_file():
            return None
        saved: dict[str, Any] = self._workspace.load(file, BEGIN_FIRST)
        return saved

    def _forget(self) -> None:
        observed = self._workspace.state / "observed"
        for stage in ("start", "probe", "measure", "look"):
            for path in sorted((observed / stage).glob("*.json")):
                path.unlink()
        last, run = observed / "results.json", observed / "run.json"
        # What was looked at between two batches of a change is nothing to compare with.
        partial = run.is_file() and self._run().get("only")
        if last.is_file() and not partial:
            last.replace(observed / "results.previous.json")

    def _save_results(
        self, scene: Scene, totals: Mapping[str, Any], results: list[dict[str, Any]]
    ) -> None:
        run = self._run()
        saved = {
            "schema": 1,
            "began": run["began"],
            "ended": _now(),
            "run": run,
            "summary": totals,
            "fabric": scene.fabric.to_dict(),
            "pods": {node.name: _addresses(scene, node.name) for node in scene.nodes},
            "measured": self._speeds(scene),
            "results": results,
        }
        write(self._workspace.state / "observed" / "results.json", as_text(saved))

    def _speeds(self, scene: Scene) -> list[dict[str, Any]]:
        saved = (self._saved("measure", node.name) or {} for node in scene.nodes)
        return [speed for item in saved for speed in item.get("speeds", ())]


def _addresses(scene: Scene, name: str) -> dict[str, dict[str, str]]:
    """Probe pod → family → address, of a node; empty when nothing was started there."""
    pods = getattr(scene.start(name), "pods", {})
    return {pod.name: dict(pod.addresses) for pod in pods.values()}


def _talked_to(scene: Scene) -> dict[str, dict[str, str]]:
    """Node → family → address of the probe pod that other nodes talk to."""
    return {n.name: _addresses(scene, n.name).get(POD_A, {}) for n in scene.nodes}


def _reason(answer: Mapping[str, Any]) -> str:
    """Why a module gave no observation, in one line."""
    texts = [str(answer.get(key) or "").strip() for key in ("msg", "module_stderr")]
    found = next((text for text in texts if text), "the module gave no observation")
    return " ".join(found.split())[:300]


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
