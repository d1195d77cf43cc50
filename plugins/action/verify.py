# SPDX-License-Identifier: GPL-3.0-or-later
"""Action `podnet.fabric.verify`: start probe pods, probe from them, stop them, judge."""

from __future__ import annotations

import datetime
import gc
import ipaddress
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from ansible.plugins.action import ActionBase

from ..plugin_utils.backends import BACKENDS, learns
from ..plugin_utils.causes.walk import needed
from ..plugin_utils.exchange import Answer, Exchange, called
from ..plugin_utils.frr import with_password
from ..plugin_utils.node_python import answer as answer_of
from ..plugin_utils.node_python import for_helper, reason, script, under
from ..plugin_utils.plan import plan_fleet
from ..plugin_utils.speakers.heard import Heard
from ..plugin_utils.speakers.look import script as speaker_script
from ..plugin_utils.speakers.wanted import whole
from ..plugin_utils.verdicts import summary as lines_of
from ..plugin_utils.verdicts.asked import strangers
from ..plugin_utils.verdicts.checks import targets_of
from ..plugin_utils.verdicts.judge import judge
from ..plugin_utils.verdicts.learned import read_heard
from ..plugin_utils.verdicts.observations import read_probes, read_start
from ..plugin_utils.verdicts.problems import problems_of
from ..plugin_utils.verdicts.results import Result, as_text
from ..plugin_utils.verdicts.scene import POD_A, Run, Scene
from ..plugin_utils.verdicts.speed import measured_pairs
from ..plugin_utils.workspace import Workspace, WorkspaceError, node_modules, write

SPEC = {
    "stage": {
        "type": "str",
        "required": True,
        "choices": ["begin", "observe", "measure", "judge", "stop"],
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
    "without": {"type": "list", "elements": "str", "default": []},
    "peers": {"type": "int", "default": 64},
    "model": {"type": "bool", "default": False},
    "attempts": {"type": "int", "default": 3},
    "timeout_ms": {"type": "int", "default": 1000},
    "bgp_seconds": {"type": "int", "default": 15},
    "bgp_password": {"type": "str", "default": "", "no_log": True},
    "seconds": {"type": "int", "default": 2},
    "most_mbit": {"type": "int", "default": 1000},
}
RUN = "observed/run.json"
PODS_LEFT = "probe pods may be left; the next verification removes them"
BEGIN_FIRST = "run the stage begin first"


class ActionModule(ActionBase):  # type: ignore[misc]  # ansible ships no types
    """Runs once for all nodes of the play. What a node reported is saved as it came; the judge
    reads nothing else."""

    _requires_connection = False
    BYPASS_HOST_LOOP = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> Any:
        result = super().run(tmp, task_vars)
        _validation, args = self.validate_argument_spec(SPEC)
        if self._task.check_mode:
            text = "verification starts probe pods, so check mode leaves it out"
            return {**result, "skipped": True, "changed": False, "msg": text}
        self._vars, self._args = task_vars or {}, args
        self._nodes = Exchange(self, self._vars)
        self._workspace = Workspace(args["output_dir"])
        stages = {
            "begin": lambda: self._begin(args),
            "observe": self._observe,
            "measure": lambda: self._measure(args),
            "judge": self._judge,
            "stop": self._stop,
        }
        # Ansible runs this in a process of its own, which ends afterwards; what it has loaded is
        # much, and going through it whenever a few thousand answers have come takes a second.
        gc.disable()
        try:
            return {**result, "changed": False, **stages[args["stage"]]()}
        except (WorkspaceError, ValueError) as error:
            return {**result, "failed": True, "msg": str(error)}

    # --- stages -------------------------------------------------------------------------------

    def _begin(self, args: Mapping[str, Any]) -> dict[str, Any]:
        """Forget what an earlier verification saw, and note what this one is asked for."""
        known = set(self._workspace.fabric().by_name)
        play = called(self._vars)
        # A rollback has nothing to do with a node that was not there then.
        here = {host for host in play if host in known or not self._workspace.is_left_out(host)}
        without = {str(name) for name in args["without"]}
        if wrong := strangers(str(self._workspace.state), known, here, without):
            return {"failed": True, "msg": wrong}
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
            "asked": sorted(here - without),
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
        return {
            "msg": f"{len(run['asked'])} of {len(known)} nodes are asked for",
            "podnet_unfinished": {"pods": PODS_LEFT},
        }

    def _observe(self) -> dict[str, Any]:
        """Over the same connections, because to make them ready costs more than to talk."""
        started, probed = self._start(), self._probe()
        warnings = [*started.get("warnings", ()), *probed.get("warnings", ())]
        return {**probed, **({"warnings": warnings} if warnings else {})}

    def _start(self) -> dict[str, Any]:
        asked = self._run()["asked"]
        started = {name: {"state": "started"} for name in self._nodes.names if name in asked}
        said = self._ask(started)
        warnings = []
        for name, answer in said.items():
            if "observation" not in answer:
                warnings.append(self._blind("start", name, answer))
                continue
            observation = answer["observation"]
            self._workspace.save_raw(_file("start", name), {"observation": observation})
            warnings += [f"{name}: {text}" for text in observation.get("errors") or ()]
        return {"warnings": warnings} if warnings else {}

    def _probe(self) -> dict[str, Any]:
        """From every node whose probe pods were started."""
        scene, run = self._scene(), self._run()
        more = {"attempts": run["attempts"], "timeout_ms": run["timeout_ms"]}
        own = {name: self._saved("start", name) for name in self._nodes.names}
        questions = {
            name: {"state": "probed", "targets": targets_of(scene, name), **more}
            for name, start in own.items()
            if start is not None and "error" not in start
        }
        warnings = []
        if learns(scene.fabric) and not run["only"]:
            self._hear(list(questions), self._args["bgp_password"], self._args["bgp_seconds"])
        for name, answer in self._ask(questions).items():
            if "probes" in answer:
                self._workspace.save_raw(_file("probe", name), {"probes": answer["probes"]})
            else:
                warnings.append(self._blind("probe", name, answer))
        probes = sum(len(question["targets"]) for question in questions.values())
        return {"probes": probes, **({"warnings": warnings} if warnings else {})}

    def _hear(self, names: list[str], password: str, seconds: int) -> None:
        """What nodes' FRR has learned, once all is there or the time is over: sessions come one by
        one after a change.

        Raises:
            ValueError: the password is not the one of the plan.
        """
        fabric, end = self._workspace.fabric(), time.monotonic() + seconds
        asked = frozenset(self._run()["asked"])
        plans = {plan.node.name: plan for plan in plan_fleet(fabric, names)}
        # The password is in the text alone, as when a node is changed.
        text, left = with_password(fabric, speaker_script(tables=False), password), names
        while left:
            waiting = []
            for name, answer in self._nodes.ask(dict.fromkeys(left, text)).items():
                saved = {"error": answer.away} if answer.away else {"answer": answer.stdout}
                self._workspace.save_raw(_file("heard", name), saved)
                heard = read_heard(saved)
                if isinstance(heard, Heard) and not whole(fabric, plans[name], heard, asked):
                    waiting.append(name)
            left = waiting if time.monotonic() < end else []
            time.sleep(1 if left else 0)

    def _measure(self, args: Mapping[str, Any]) -> dict[str, Any]:
        """How fast one way of each kind is, one after the other."""
        scene = self._scene()
        overheads = {name: backend.overhead(scene.fabric) for name, backend in BACKENDS.items()}
        speeds: dict[str, list[dict[str, Any]]] = {}
        warnings = []
        most = {"most_mbit": args["most_mbit"]}
        for pair in measured_pairs(scene):
            name = pair["source"]
            given = {"port": scene.run.port, "seconds": args["seconds"], **most}
            question = {"pod": POD_A, "targets": [pair["address"]], **given}
            answer = self._call("stream.measured", {name: question})[name]
            if "speeds" not in answer:
                warnings.append(self._blind("measure", name, answer))
                continue
            of_pair = {**pair, "overhead": overheads[pair["backend"]], **most}
            speeds.setdefault(name, []).append({**of_pair, **answer["speeds"][0]})
        for name, found in speeds.items():
            self._workspace.save_raw(_file("measure", name), {"speeds": found})
        measured = sum(map(len, speeds.values()))
        return {"measured": measured, **({"warnings": warnings} if warnings else {})}

    def _stop(self) -> dict[str, Any]:
        """Wherever pods may have been started, whatever has failed since."""
        run = self._run()
        if run.get("stopped"):
            return {}
        own = {name: self._saved("start", name) for name in run["asked"]}
        there = [n for n, start in own.items() if not (start or {}).get("unreachable")]
        said = self._ask({name: {"state": "absent"} for name in there})
        self._workspace.save(RUN, {**run, "stopped": True})
        failed = {name: answer for name, answer in said.items() if answer.get("failed")}
        warnings = [f"{name}: {PODS_LEFT}:\n{under(answer)}" for name, answer in failed.items()]
        over = {"podnet_unfinished": {"pods": ""}}
        return {**over, **({"warnings": warnings} if warnings else {})}

    def _judge(self) -> dict[str, Any]:
        scene = self._scene()
        names = [node.name for node in scene.nodes]
        probed = {name: read_probes(self._saved("probe", name)) for name in names}
        results = judge(scene, probed)
        totals, of = lines_of.summary(scene, probed, results), lines_of.cells(results)
        verdict = lines_of.verdict(totals)
        done = {
            "verdict": verdict,
            "summary": totals,
            "stdout_lines": lines_of.matrix_lines(names, of),
            "podnet_summary": lines_of.sentence(totals),
        }
        run = self._run()
        with ThreadPoolExecutor(1) as beside:
            # Where all holds nobody is going to look at the pods: they end while this is written.
            over = verdict == "pass" and not run["model"]
            stopping = beside.submit(self._stop) if over else None
            self._save_results(scene, run, totals, results)
            stopped = stopping.result() if stopping else {}
        nodes = names if run["model"] else sorted(needed(scene.fabric, results))
        look = {"nodes": nodes, "pods": _talked_to(scene)}
        self._workspace.save("observed/look.json", look)
        if verdict == "pass":
            return {**done, **stopped, "podnet_lines": ["", *done["stdout_lines"], ""]}
        problems = problems_of(scene.fabric, names, results)
        matrix = lines_of.matrix_lines(names, of, lines_of.MESSAGE)
        # The run fails with the causes, after the nodes concerned were looked at.
        return {**done, "podnet_lines": ["", *matrix, "", *lines_of.problem_lines(problems), ""]}

    # --- the nodes ----------------------------------------------------------------------------

    def _ask(self, questions: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
        """What `reachability` answers on each node. A node that does not answer is an observation,
        too, and must not end the verification of the others."""
        fabric, port = self._workspace.fabric(), self._run()["port"]
        # The conflist that a container runtime takes, whatever stands before podnet's.
        given = {"conf_dir": fabric.cni.conf_dir, "bin_dirs": [fabric.cni.bin_dir], "port": port}
        whole = {name: {"node": name, **given, **more} for name, more in questions.items()}
        # Who has started the pods waits for what comes next; where nobody does, as after a crash,
        # the program is sent once more.
        texts = {n: for_helper(of) for n, of in whole.items() if of["state"] != "started"}
        said = {name: _said(answer) for name, answer in self._nodes.ask(texts).items()}
        done = {
            name: answer
            for name, answer in said.items()
            if answer.get("unreachable") or answer.get("state") == whole[name]["state"]
        }
        left = {n: {**of, "stay": True} for n, of in whole.items() if n not in done}
        found = {**done, **self._call("probe_pods.observed", left)}
        return {name: found[name] for name in whole}

    def _call(self, call: str, params: Mapping[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
        """A function of podnet's node-side code on each node: node → what it returned."""
        sources = node_modules()
        texts = {n: script(sources, call, of, self._python(n)) for n, of in params.items()}
        return {name: _said(answer) for name, answer in self._nodes.ask(texts).items()}

    def _python(self, name: str) -> str:
        """The interpreter that the inventory names; what Ansible would discover is left to it."""
        told = str(self._vars["hostvars"][name].get("ansible_python_interpreter") or "")
        return "" if told.startswith("auto") else told

    def _blind(self, stage: str, name: str, answer: Mapping[str, Any]) -> str:
        saved = {"error": reason(answer), "unreachable": bool(answer.get("unreachable"))}
        self._workspace.save_raw(_file(stage, name), saved)
        return f"{name} could not be looked at:\n{under(answer)}"

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
        fabric, run = self._workspace.fabric(), Run.from_dict(self._run())
        started = {name: read_start(self._saved("start", name)) for name in run.asked}
        spoke = run.asked if learns(fabric) else ()
        heard = {name: read_heard(self._saved("heard", name)) for name in spoke}
        return Scene(fabric, run, started, heard)

    def _saved(self, stage: str, name: str) -> dict[str, Any] | None:
        """None when there is nothing: the node was gone before this stage."""
        file = _file(stage, name)
        if not (self._workspace.state / file).is_file():
            return None
        saved: dict[str, Any] = self._workspace.load(file, BEGIN_FIRST)
        return saved

    def _forget(self) -> None:
        observed = self._workspace.state / "observed"
        for stage in ("start", "probe", "heard", "measure", "look"):
            for path in sorted((observed / stage).glob("*.json")):
                path.unlink()
        last, run = observed / "results.json", observed / "run.json"
        # What was looked at between two batches of a change is nothing to compare with.
        partial = run.is_file() and self._run().get("only")
        if last.is_file() and not partial:
            last.replace(observed / "results.previous.json")

    def _save_results(
        self,
        scene: Scene,
        run: Mapping[str, Any],
        totals: Mapping[str, Any],
        results: list[Result],
    ) -> None:
        saved = {
            "schema": 1,
            "began": run["began"],
            "ended": _now(),
            "run": run,
            "summary": totals,
            "fabric": scene.fabric.to_dict(),
            "pods": {node.name: _addresses(scene, node.name) for node in scene.nodes},
            "measured": self._speeds(scene),
            "results": [result.to_dict() for result in results],
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


def _file(stage: str, name: str) -> str:
    return f"observed/{stage}/{name}.json"


def _said(answer: Answer) -> dict[str, Any]:
    if answer.away:
        return {"failed": True, "unreachable": True, "msg": answer.away}
    return answer_of(answer.rc, answer.stdout, answer.stderr)


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
