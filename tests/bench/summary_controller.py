# SPDX-License-Identifier: GPL-3.0-or-later
"""What the rows of the topic `controller` mean, for the page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from page import Plot, Ratio, Summary, Table
from store import Row
from summaries import different, figure, ratio, table

CONTROLLER = """No node is needed here. Seconds are CPU of one process; `render` of the larger
fleets is that of a sample of nodes, and its share for all. The playbook `plan` also renders and
writes, on two processors; what Ansible takes for the same inventory without podnet stands beside
it. In mode `bgp` every segment has routers and two reflectors, and nodes name few peers. Required:
1000 nodes planned, validated and rendered in 10 s and 1 GiB, 5000 validated and planned in 60 s,
and that all of it grows no more than what is written."""
GROWTH = "growth from 5000 to 10,000 nodes, {}: time ÷ what is written"
FLEETS = ("Nodes", "Segments", "Mode", "Validate s", "Plan s", "Render s", "MB", "MiB at the peak")
CURVES = {
    "1 segment": (1, "auto"),
    "100 segments": (100, "auto"),
    "100 segments, BGP": (100, "bgp"),
}


def in_all(rows: list[Row], **fleet: Any) -> tuple[float | None, float | None]:
    """Seconds and megabytes of all nodes' definitions, by what those that were rendered took."""
    keys = {**fleet, "stage": "render"}
    cpu, size, made = (figure(rows, name, **keys) for name in ("cpu", "bytes", "made"))
    share = ratio(fleet["nodes"], made)
    if share is None or cpu is None or size is None:
        return None, None
    return cpu * share, size * share / 1e6


def growth(
    core: Mapping[tuple[int, int, str], tuple[float | None, ...]], segments: int
) -> float | None:
    """How much longer all takes than what is written grows, from 5000 to 10,000 nodes."""
    few, many = (core.get((n, segments, "auto"), (None,)) for n in (5000, 10000))
    if None in few or None in many:
        return None
    return ratio(ratio(sum(many[:3]), sum(few[:3])), ratio(many[3], few[3]))


def summary(rows: list[Row]) -> Summary:
    core: dict[tuple[int, int, str], tuple[float | None, ...]] = {}
    for row in rows:
        if row["part"] == "core" and row["stage"] == "render":
            keys = {name: row[name] for name in ("part", "nodes", "segments", "mode")}
            parts = [figure(rows, "cpu", stage=stage, **keys) for stage in ("validate", "plan")]
            peak = figure(rows, "peak_mib", stage="render", **keys)
            place = (row["nodes"], row["segments"], row["mode"])
            core[place] = (*parts, *in_all(rows, **keys), peak)
    ansible = [
        (nodes, stage, *(figure(rows, f, nodes=nodes, stage=stage) for f in ("wall", "cpu")))
        for nodes in different(rows, "nodes", part="ansible")
        for stage in different(rows, "stage", part="ansible")
    ]
    thousand, large = (core.get((n, 100, "auto"), ()) for n in (1000, 5000))
    whole, planned = (None if None in of or not of else sum(of) for of in (thousand[:3], large[:2]))
    curves = {
        name: [(n, of[1]) for (n, *fleet), of in core.items() if tuple(fleet) == kind and of[1]]
        for name, kind in CURVES.items()
    }
    return Summary(
        "The controller",
        CONTROLLER,
        [
            Ratio("1000 nodes validated, planned, rendered", whole, 10, 10, unit=" s"),
            Ratio("1000 nodes: memory", thousand[4] if thousand else None, 1024, 1024, unit=" MiB"),
            Ratio("5000 nodes validated and planned", planned, 60, 60, unit=" s"),
            Ratio(GROWTH.format("1 segment"), growth(core, 1), 1, 1),
            Ratio(GROWTH.format("100 segments"), growth(core, 100), 1, 1),
        ],
        [
            table("Fleets, dual stack", FLEETS, [(*of, *found) for of, found in core.items()]),
            table(
                "Playbooks, and Ansible's own share", ("Nodes", "What", "Wall s", "CPU s"), ansible
            ),
            table(
                "The gate of a run, everything to be changed, VXLAN between all",
                ("Nodes", "Wall s", "CPU s", "MiB at the peak", "MiB of a process of it"),
                [
                    tuple(
                        figure(rows, name, part="compared", nodes=nodes) if name else nodes
                        for name in ("", "wall", "cpu", "peak_mib", "process_mib")
                    )
                    for nodes in different(rows, "nodes", part="compared")
                ],
            ),
            answers(rows),
        ],
        [Plot("controller", "Planning all nodes", "nodes", "seconds of CPU", curves)],
    )


def answers(rows: list[Row]) -> Table:
    stages = ("judge", "data", "report.html", "report.json", "junit.xml")
    made: list[tuple[Any, ...]] = []
    for nodes in different(rows, "nodes", part="verdicts"):
        keys = {"part": "verdicts", "nodes": nodes}
        results = figure(rows, "results", stage="judge", **keys)
        seconds = [figure(rows, "cpu", stage=stage, **keys) for stage in stages]
        whole = sum(s for s in seconds if s is not None)
        peak = figure(rows, "peak_mib", stage="junit.xml", **keys)
        each = ratio(whole * 1e6, results)
        made.append((nodes, results, *seconds, each, peak))
    head = ("Nodes", "Results", *(f"{stage} s" for stage in stages), "µs for a result", "MiB")
    return table("From answers to the report, 64 peers of each node", head, made)
