# SPDX-License-Identifier: GPL-3.0-or-later
"""Saved results → the content of report.json, from which every other form is made. Pure."""

from __future__ import annotations

import re
import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ..backends import BACKENDS
from ..intent.model import Fabric
from ..peers import overlay_overhead, pod_mtu
from ..verdicts.checks import PROMISES
from ..verdicts.problems import problems_of
from ..verdicts.results import WORST, Result, Status
from ..verdicts.speed import compared
from ..verdicts.summary import cells, count, verdict
from .protections import protections
from .since import since

SCHEMA = "podnet-report/1"
DIGITS = re.compile(r"([0-9]+)")
SHORT_PROMISES: Mapping[int, str] = {
    1: "Real addresses",
    2: "Shared pod network",
    3: "Bridge on the node",
    4: "Across nodes",
    5: "MTU",
}


def report_data(
    saved: Mapping[str, Any],
    title: str,
    generator: str,
    previous: Mapping[str, Any] | None = None,
    causes: Sequence[Mapping[str, Any]] = (),
) -> dict[str, Any]:
    """``saved``: the results file of the action `verify`, ``previous``: that of the verification
    before it, ``causes``: what the action `cause` named. The shape is docs/report-schema.md.

    Raises:
        KeyError, TypeError, ValueError: not such a file.
    """
    fabric = Fabric.from_dict(saved["fabric"])
    totals = saved["summary"]
    asked = [str(name) for name in saved["run"]["asked"]]
    items = _explained(fabric, asked, saved["results"], causes)
    results = [Result.from_dict(item) for item in items]
    return {
        "schema": SCHEMA,
        "title": title,
        "generator": generator,
        "began": saved["began"],
        "ended": saved["ended"],
        "verdict": verdict(totals),
        "complete": totals["nodes"]["asked"] == totals["nodes"]["fleet"],
        "summary": totals,
        "promises": _promises(totals),
        "fabric": _fabric(fabric),
        "protections": protections(fabric),
        "nodes": _nodes(fabric, saved["pods"], asked, results),
        "paths": _paths(fabric, results),
        "measured": compared(saved.get("measured", ())),
        "causes": [dict(cause) for cause in causes],
        "since": since(previous, items),
        "problems": [problem.to_dict() for problem in problems_of(fabric, asked, results)],
        "results": items,
    }


def _explained(
    fabric: Fabric,
    asked: Sequence[str],
    items: list[dict[str, Any]],
    causes: Sequence[Mapping[str, Any]],
) -> list[dict[str, Any]]:
    """What repairs a cause is the remedy of all that it explains, and of what is one problem with
    that, so that nothing else is advised beside it."""
    if not causes:
        return items
    remedies: dict[str, str] = {}
    for cause in causes:
        text = f"on {cause['node']}, {cause['kind']} {cause['object']}: `{cause['repair']}`"
        for id in cause["results"]:
            remedies.setdefault(id, text)
    for problem in problems_of(fabric, asked, map(Result.from_dict, items)):
        if text := next((remedies[id] for id in problem.ids if id in remedies), ""):
            remedies |= {id: text for id in problem.ids if id not in remedies}
    # What nothing explains is passed on as it is, not copied.
    return [
        {**item, "remedy": remedies[item["id"]]} if item["id"] in remedies else item
        for item in items
    ]


def _promises(totals: Mapping[str, Any]) -> list[dict[str, Any]]:
    empty = count(())
    return [
        {
            "number": number,
            "name": SHORT_PROMISES[number],
            "text": text,
            **totals["promises"].get(str(number), empty),
        }
        for number, text in PROMISES.items()
    ]


def _fabric(fabric: Fabric) -> dict[str, Any]:
    return {
        "mode": fabric.mode,
        "families": list(fabric.families),
        "cluster_cidrs": list(fabric.cluster_cidrs),
        "pod_mtu": pod_mtu(fabric),
        "overlay_overhead": overlay_overhead(fabric),
        "bridge": fabric.bridge,
        "vni": fabric.vni,
        "vxlan_port": fabric.vxlan_port,
        "vxlan_device": fabric.vxlan_device,
        "underlay_family": fabric.underlay_family,
        "masquerade": list(fabric.masquerade),
        "segments": {name: [n.name for n in nodes] for name, nodes in fabric.segments.items()},
    }


def _nodes(
    fabric: Fabric, pods: Mapping[str, Any], asked: Sequence[str], results: Sequence[Result]
) -> list[dict[str, Any]]:
    of = cells(results)
    return [
        {
            "name": node.name,
            "segment": node.segment,
            "asked": node.name in asked,
            "status": _node_status(node.name, asked, of),
            "pod_cidrs": list(node.pod_cidrs),
            "gateways": list(node.gateways.values()),
            "underlay_addresses": list(node.underlay_addresses),
            "underlay_mtu": node.underlay_mtu,
            "pods": pods.get(node.name, {}),
        }
        for node in sorted(fabric.nodes, key=lambda node: _natural(node.name))
    ]


def _natural(name: str) -> list[tuple[int, str]]:
    """Orders node-2 before node-10, as people count."""
    return [(int(part), "") if part.isdigit() else (0, part) for part in DIGITS.split(name)]


def _node_status(name: str, asked: Sequence[str], of: Mapping[tuple[str, str], Status]) -> Status:
    """The node's own checks; or failure when no pair with it works."""
    own = of.get((name, name), "skipped")
    others = [of[pair] for pair in ((name, o) for o in asked if o != name) if pair in of]
    others += [of[pair] for pair in ((o, name) for o in asked if o != name) if pair in of]
    if own != "error" and others and "success" not in others and "failure" in others:
        return "failure"
    return own


def _paths(fabric: Fabric, results: Sequence[Result]) -> list[dict[str, Any]]:
    """What each way between nodes costs, and what was measured on it."""
    groups: dict[tuple[str, str], list[Result]] = {}
    for result in results:
        backend, family = result.backend or "", result.family or ""
        if backend in BACKENDS and family and result.source != result.target:
            groups.setdefault((backend, family), []).append(result)
    return [
        {
            "backend": backend,
            "family": family,
            "pairs": len({(r.source, r.target) for r in found}),
            "overhead": BACKENDS[backend].overhead(fabric),
            "underlay_mtu": fabric.underlay_mtu,
            "pod_mtu": pod_mtu(fabric),
            "passes": count(r.status for r in found if r.kind == "mtu_pass"),
            "exceeds": count(r.status for r in found if r.kind == "mtu_exceed"),
            "status": worst(r.status for r in found),
            "rtt_us": _median(r.rtt_us for r in found if r.kind == "icmp"),
        }
        for (backend, family), found in sorted(groups.items())
    ]


def _median(values: Iterable[int | None]) -> int | None:
    known = [value for value in values if value is not None]
    return int(statistics.median(known)) if known else None


def worst(statuses: Iterable[Status]) -> Status:
    """The status that a person must know first; skipped when there is none."""
    return min(statuses, key=WORST.index, default="skipped")
