# SPDX-License-Identifier: GPL-3.0-or-later
"""Rows of a topic → its section of docs/performance.md. Pure; `sections.py TOPIC` prints one.

Topics `controller`, `verify`, `kernel` and `datapath`. A figure that was not measured is a dash.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from store import Row, Store, median

Data = dict[str, Any]
Cell = float | int | str | None


def table(head: Sequence[str], rows: Iterable[Sequence[Cell]]) -> str:
    lines = [head, ["---"] * len(head), *([shown(cell) for cell in row] for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def shown(cell: Cell) -> str:
    if cell is None:
        return "-"
    if isinstance(cell, float):
        return f"{cell:,.0f}" if cell >= 100 else f"{cell:.3g}"
    return f"{cell:,}" if isinstance(cell, int) else cell


def ratio(one: float | None, other: float | None) -> float | None:
    return None if one is None or not other else round(one / other, 2)


def figure(data: Data, name: str, **keys: Any) -> float | None:
    """Median over the rounds of the rows with these values."""
    return median(data["rows"], name, lambda row: all(row.get(k) == v for k, v in keys.items()))


def different(data: Data, name: str, keep: Callable[[Row], bool] = lambda _row: True) -> list[Any]:
    """Values of a field, in the order of the rows."""
    return list(dict.fromkeys(row[name] for row in data["rows"] if name in row and keep(row)))


def controller(data: Data) -> str:
    """Seconds are CPU of one process, so that a second processor can halve what renders."""
    fleets = []
    for nodes in different(data, "nodes", lambda row: row["part"] == "core"):
        for segments in (1, 100):
            keys = {"part": "core", "nodes": nodes, "segments": segments}
            check, plan = (figure(data, "cpu", stage=s, **keys) for s in ("validate", "plan"))
            cpu, made = (figure(data, f, stage="render", **keys) for f in ("cpu", "made"))
            size, peak = (figure(data, f, stage="render", **keys) for f in ("bytes", "peak_mib"))
            each = None if cpu is None or not made else cpu / made
            whole = None if each is None else each * nodes
            bulk = None if size is None or not made else size / made * nodes / 1e6
            fleets.append((nodes, segments, check, plan, whole, bulk, peak))
    answers = []
    for nodes in different(data, "nodes", lambda row: row["part"] == "verdicts"):
        keys = {"part": "verdicts", "nodes": nodes}
        results = figure(data, "results", stage="judge", **keys)
        stages = ("judge", "data", "report.html", "report.json", "junit.xml")
        seconds = [figure(data, "cpu", stage=stage, **keys) for stage in stages]
        peak = figure(data, "peak_mib", stage="junit.xml", **keys)
        total = sum(s for s in seconds if s is not None)
        each = None if not results else total / results * 1e6
        answers.append((nodes, results, *seconds, each, peak))
    ansible = [
        (nodes, stage, *(figure(data, f, nodes=nodes, stage=stage) for f in ("wall", "cpu")))
        for nodes in (100, 1000)
        for stage in different(data, "stage", lambda row: row["part"] == "ansible")
    ]
    return "\n".join(
        [
            "Validated, planned, rendered; dual stack, mode auto. Seconds of CPU; where all files "
            "would be many gigabytes a sample was rendered, and its share is given for all.\n",
            table(
                ("Nodes", "Segments", "Validate", "Plan", "Render", "MB of definitions", "MiB"),
                fleets,
            ),
            "The playbook `plan`, which renders and writes, too, and Ansible's own share of it.\n",
            table(("Nodes", "What", "Wall", "CPU"), ansible),
            "From what nodes answered to the report, 64 peers of each node, both families.\n",
            table(
                ("Nodes", "Results", "Judge", "Data", "HTML", "JSON", "JUnit", "µs/result", "MiB"),
                answers,
            ),
        ]
    )


def verify(data: Data) -> str:
    """Required: ICMP at most 3 times fping, and a flat cost per target."""
    rows = []
    for count in different(data, "targets"):
        keys = {"targets": count}
        ping, icmp, full = (
            figure(data, "wall_ms", way=way, **keys)
            for way in ("fping", "podnet, icmp", "podnet, all")
        )
        cpu = figure(data, "cpu_ms", way="podnet, all", **keys)
        each = None if cpu is None else cpu * 1000 / (2 * count)
        rows.append((count, ping, icmp, ratio(icmp, ping), full, each))
    head = ("Targets", "fping", "podnet ICMP", "÷ fping (≤ 3)", "podnet, all probes", "µs CPU each")
    return "Milliseconds for all targets of one pod, both families.\n\n" + table(head, rows)


def kernel(data: Data) -> str:
    """Required: at most 1.2 times the best plain form, which is one next hop for all."""
    forms = ("podnet", "one next hop", "nexthop objects", "1024 metrics")
    rows = []
    for family in different(data, "family"):
        for count in different(data, "routes"):
            found = [figure(data, "seconds", family=family, routes=count, form=f) for f in forms]
            rows.append((family, count, *found, ratio(found[0], found[1])))
    head = ("Family", "Routes", *forms, "podnet ÷ one next hop (≤ 1.2)")
    return "Seconds of one `ip -batch`. ADR 0007 is about the difference.\n\n" + table(head, rows)


def datapath(data: Data) -> str:
    """Required: at least 0.97 of the path by hand."""
    rows = []
    for path in ("same node", "routed", "VXLAN"):
        for family in ("ipv4", "ipv6"):
            own, hand = (
                {"path": path, "family": family, "wiring": w} for w in ("podnet", "by hand")
            )
            fast, trip = (figure(data, name, **own) for name in ("gbit", "round_trip_us"))
            base, least = (figure(data, name, **hand) for name in ("gbit", "round_trip_us"))
            row = (path, family, fast, base, ratio(fast, base), trip, least, ratio(least, trip))
            rows.append(row)
    filled = [
        (count, *(figure(data, name, routes=count) for name in ("gbit", "round_trip_us")))
        for count in different(data, "routes")
    ]
    head = ("Path", "Pods", "Gbit/s", "by hand", "share (≥ 0.97)")
    head += ("Round trip µs", "by hand", "share (≥ 0.97)")
    return "\n".join(
        [
            table(head, rows),
            "Routed, IPv4, with more routes on both nodes:\n",
            table(("Routes", "Gbit/s", "Round trip µs"), filled),
        ]
    )


SECTIONS: dict[str, Callable[[Data], str]] = {
    "controller": controller,
    "verify": verify,
    "kernel": kernel,
    "datapath": datapath,
}

if __name__ == "__main__":
    print(SECTIONS[sys.argv[1]](Store(sys.argv[1]).data))
