# SPDX-License-Identifier: GPL-3.0-or-later
"""Topic `controller`: fleets without nodes, from inventory to definitions, from answers to report.

`make bench T=controller`. The pure core is measured in a fresh process for each fleet, so that the
peak of memory is that fleet's; then the whole playbook and Ansible's own share of it.
"""

from __future__ import annotations

import argparse
import gc
import ipaddress
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from store import REPO, Row, Store

sys.path[:0] = [str(REPO / ".ansible/collections"), str(REPO / "tests/unit")]

FLEETS = [(n, s, "auto") for n in (100, 1000, 5000, 10000) for s in (1, 100)]
FLEETS += [(n, 100, "bgp") for n in (1000, 5000, 10000)]
# All definitions of a larger fleet are many gigabytes: a sample says what one node costs, large
# enough for what nodes share not to count.
RENDERED = {100: 100, 1000: 1000, 5000: 1000, 10000: 1000}
VERIFIED = (60, 120, 240, 480)
COMPARED = (100, 300, 1000)
PEERS = 64  # the default of podnet_verify_peers
SHARED = {"podnet_cluster_cidrs": ["10.0.0.0/8", "fd00:64::/32"], "podnet_mode": "auto"}
# Every segment is a rack with routers of its own, and two of its nodes reflect.
ROUTERS = [{"address": address, "asn": 65000} for address in ("172.31.0.1", "2001:db8:ffff::1")]


def hosts(nodes: int, segments: int) -> dict[str, dict[str, Any]]:
    """Own variables of each host; a /24 and a /64 for its pods."""
    ranges = ipaddress.ip_network("10.0.0.0/8").subnets(new_prefix=24)
    underlay = ipaddress.ip_network("172.16.0.0/12")
    return {
        f"node-{i:05}": {
            "podnet_pod_cidrs": [str(next(ranges)), f"fd00:64:0:{i:x}::/64"],
            "podnet_underlay_addresses": [str(underlay[i + 1]), f"2001:db8::{i + 1:x}"],
            "podnet_segment": f"s{i % segments}",
        }
        for i in range(nodes)
    }


def peak_mib() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    """CPU seconds of one process, and what it made."""
    began = time.process_time()
    made = work()
    return round(time.process_time() - began, 3), made


def given(nodes: int, segments: int, mode: str) -> dict[str, dict[str, Any]]:
    """All variables of each host."""
    found = {
        name: {**SHARED, "podnet_mode": mode, **own} for name, own in hosts(nodes, segments).items()
    }
    for number, own in enumerate(found.values() if mode == "bgp" else ()):
        own |= {"podnet_bgp_peers": ROUTERS, "podnet_bgp_reflector": number < 2 * segments}
    return found


def core(nodes: int, segments: int, mode: str) -> Iterator[dict[str, Any]]:
    """Rows of one fleet in the pure core."""
    from ansible_collections.podnet.fabric.plugins.plugin_utils.plan import (
        compile_fleet,
        plan_fleet,
    )
    from ansible_collections.podnet.fabric.plugins.plugin_utils.render import render_node
    from ansible_collections.podnet.fabric.plugins.plugin_utils.workspace import templates

    variables = given(nodes, segments, mode)
    fleet = {"nodes": nodes, "segments": segments, "mode": mode}
    seconds, fabric = timed(lambda: compile_fleet(variables))
    yield {**fleet, "stage": "validate", "cpu": seconds, "peak_mib": peak_mib()}
    names = [node.name for node in fabric.nodes]
    seconds, _ = timed(lambda: [None for _plan in plan_fleet(fabric, names)])
    yield {**fleet, "stage": "plan", "cpu": seconds, "peak_mib": peak_mib(), "made": nodes}
    few, loaded = names[:: nodes // RENDERED[nodes]], templates()
    seconds, sizes = timed(
        lambda: [
            sum(map(len, render_node(fabric, plan, loaded).values()))
            for plan in plan_fleet(fabric, few)
        ]
    )
    of = {"made": len(few), "bytes": sum(sizes)}
    yield {**fleet, "stage": "render", "cpu": seconds, "peak_mib": peak_mib(), **of}


def verdicts(nodes: int, _segments: int, _mode: str) -> Iterator[dict[str, Any]]:
    """Rows of a verification: what nodes answered → results, saved, read, reported."""
    from ansible_collections.podnet.fabric.plugins.plugin_utils.report.data import report_data
    from ansible_collections.podnet.fabric.plugins.plugin_utils.report.html import report_html
    from ansible_collections.podnet.fabric.plugins.plugin_utils.report.junit import junit_xml
    from ansible_collections.podnet.fabric.plugins.plugin_utils.verdicts.results import as_text
    from ansible_collections.podnet.fabric.plugins.plugin_utils.verdicts.sample import Sample
    from ansible_collections.podnet.fabric.plugins.plugin_utils.verdicts.scene import Run
    from ansible_collections.podnet.fabric.plugins.plugin_utils.workspace import role_file
    from observed import fabric_of, healthy

    fabric = fabric_of((nodes // 4,) * 4)
    names = tuple(node.name for node in fabric.nodes)
    observed = healthy(fabric, Run(names, sample=Sample(most=PEERS)))
    sources = ("report.html.j2", "parts.html.j2", "style.css", "page.js")
    pages = {name: role_file("report", "templates", name) for name in sources}
    fleet: dict[str, Any] = {"nodes": nodes}
    seconds, saved = timed(observed.saved)
    text = as_text(saved)
    fleet["results"] = len(saved["results"])
    yield {**fleet, "stage": "judge", "cpu": seconds, "peak_mib": peak_mib(), "bytes": len(text)}
    del saved, observed
    stages: dict[str, Callable[[Any], Any]] = {
        "read": lambda _: json.loads(text),
        "data": lambda saved: report_data(saved, "", "", saved),
    }
    made: Any = None
    for stage, work in stages.items():
        seconds, made = timed(lambda work=work, made=made: work(made))  # type: ignore[misc]
        yield {**fleet, "stage": stage, "cpu": seconds, "peak_mib": peak_mib()}
    forms: dict[str, Callable[[], str]] = {
        "report.html": lambda: report_html(made, pages),
        "report.json": lambda: as_text(made),
        "junit.xml": lambda: junit_xml(made),
    }
    for stage, form in forms.items():
        seconds, page = timed(form)
        size = {"bytes": len(page)}
        yield {**fleet, "stage": stage, "cpu": seconds, "peak_mib": peak_mib(), **size}


def compared(nodes: int, _segments: int, mode: str) -> Iterator[dict[str, Any]]:
    """A row of the gate of a run: all nodes' answers compared with the plan, and decided. One
    node's recorded answer stands for all, so that everything of the others is to be changed."""
    import bench_push as push
    from ansible_collections.podnet.fabric.plugins.plugin_utils.compare import (
        Compared,
        Terms,
        compare,
    )
    from ansible_collections.podnet.fabric.plugins.plugin_utils.fleet.gate import Ask, decide

    gc.disable()  # as in the action converge
    fabric = push.compile_fleet(push.hosts(nodes, mode))
    plan = next(push.plan_fleet(fabric, [push.NAME]))
    answer = push.recorded(fabric, plan, push.render_node(fabric, plan, push.templates()))
    # Each node's own text, as it would come.
    answers = {node.name: f"{answer}\n{number}" for number, node in enumerate(fabric.nodes)}
    began = time.monotonic()
    found = {
        n: of for n, of in compare(fabric, Terms(10), answers).items() if isinstance(of, Compared)
    }
    if len(found) != nodes:
        raise AssertionError(f"{nodes - len(found)} answers of {nodes} cannot be read")
    decide(
        fabric,
        {n: of.run for n, of in found.items()},
        Ask(180),
        {n: of.state for n, of in found.items()},
    )
    usage = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    yield {
        "nodes": nodes,
        "mode": mode,
        "stage": "gate",
        "wall": round(time.monotonic() - began, 1),
        "cpu": round(sum(of.ru_utime + of.ru_stime for of in usage), 1),
        "peak_mib": usage[0].ru_maxrss // 1024,
        "process_mib": usage[1].ru_maxrss // 1024,
    }


PARTS = {"core": core, "verdicts": verdicts, "compared": compared}


def in_its_own_process(part: str, nodes: int, segments: int, mode: str) -> list[dict[str, Any]]:
    command = [sys.executable, __file__, "--part", part, str(nodes), str(segments), mode]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return [{"part": part, **json.loads(line)} for line in done.stdout.splitlines()]


def inventory(nodes: int, form: str) -> dict[str, Any]:
    """`hosts`: each host has its own variables; `table`: one table in the group's variables."""
    own = hosts(nodes, 100 if nodes > 100 else 1)
    if form == "hosts":
        return {"podnet": {"hosts": own, "vars": SHARED}}
    rows = {name: {k.removeprefix("podnet_"): v for k, v in of.items()} for name, of in own.items()}
    return {"podnet": {"hosts": dict.fromkeys(own), "vars": {**SHARED, "podnet_nodes": rows}}}


EMPTY = "- {hosts: podnet, gather_facts: false, tasks: []}\n"
ONE_TASK = """
- hosts: podnet
  gather_facts: false
  tasks: [{assert: {that: true, quiet: true}}]
"""


def ansible(nodes: int) -> Iterator[dict[str, Any]]:
    """The playbook `plan`, which renders, too; and what Ansible takes for a play of such a fleet
    that does nothing, or one thing per host on the controller."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for form in ("hosts", "table"):
            (folder / f"{form}.json").write_text(json.dumps(inventory(nodes, form)))
        (folder / "empty.yml").write_text(EMPTY)
        (folder / "task.yml").write_text(ONE_TASK)
        runs = {
            "start, load the inventory, an empty play": ("hosts", str(folder / "empty.yml")),
            "the same and one action per host": ("hosts", str(folder / "task.yml")),
            "plan and render, first": ("hosts", "podnet.fabric.plan"),
            "plan and render, no change": ("hosts", "podnet.fabric.plan"),
            "plan and render, from a node table": ("table", "podnet.fabric.plan"),
        }
        for what, (form, playbook) in runs.items():
            yield {
                "part": "ansible",
                "nodes": nodes,
                "stage": what,
                **played(folder, form, playbook),
            }


def played(folder: Path, form: str, playbook: str) -> dict[str, Any]:
    program = Path(sys.executable).with_name("ansible-playbook")
    command = [str(program), "-i", str(folder / f"{form}.json"), playbook]
    command += ["-e", f"podnet_output_dir={folder / 'out'}"]
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd=REPO)
    after, wall = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic() - began
    cpu = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
    # The largest process of all so far; the fleet's own files are smaller than the core's peaks.
    return {"wall": round(wall, 2), "cpu": round(cpu, 2), "peak_mib": after.ru_maxrss // 1024}


def summary(rows: list[Row]) -> Any:
    """For the page. Imported late, because who only measures needs nothing that draws."""
    from summary_controller import summary as of_controller

    return of_controller(rows)


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__)
    words.add_argument("--rounds", type=int, default=int(os.environ.get("ROUNDS") or 1))
    words.add_argument("--part", nargs=4, help=argparse.SUPPRESS)
    asked = words.parse_args()
    if asked.part:
        part, nodes, segments, mode = asked.part
        for row in PARTS[part](int(nodes), int(segments), mode):
            print(json.dumps(row), flush=True)
        return
    store = Store("controller", fresh=True)
    for number in range(asked.rounds):
        # First, while no other child has had more memory.
        for row in (row for nodes in (100, 1000) for row in ansible(nodes)):
            store.add({"round": number, **row})
        jobs = [("core", *fleet) for fleet in FLEETS] + [
            ("verdicts", n, 4, "auto") for n in VERIFIED
        ]
        jobs += [("compared", n, 1, "vxlan") for n in COMPARED]
        for row in (row for job in jobs for row in in_its_own_process(*job)):
            store.add({"round": number, **row})


if __name__ == "__main__":
    main()
