# SPDX-License-Identifier: GPL-3.0-or-later
"""What the rows of the topic `fleet` mean."""

from __future__ import annotations

from collections.abc import Mapping

from page import Plot, Ratio, Summary, Table
from store import Row, median

CASES = {
    "first": "first apply",
    "again": "no change",
    "cold": "no change, new connections",
    "cidr": "one CIDR changed",
    "added": "one node added",
}
TEXT = """Nodes of the embedded lab (`lab_up`), dual stack, two segments, mode `auto`, over SSH with
OpenSSH's own choice of algorithms for every contender. `first apply` and `plain ssh, cold` make
their connections; `no change` is the run after it, within `ControlPersist`; a node whose devices,
addresses, settings or rules change is connected to anew before the change is kept. Node CPU is that
of all processes of the nodes, by control groups; bytes are what nodes received on the management
interface; sessions are commands over SSH. The usual role (`tests/bench/usual_role/`) takes minutes,
so it has fewer rounds and sizes; see the column. Peak memory is that of the controller's control
group.

What a first apply costs beside plain ssh: before the first node is asked, Ansible starts, plans and
renders on one of the two processors, while plain ssh has both busy from its first moment; and a
node is asked for its state before it is changed. A change of what is in use comes to each node in
four sessions, because all have to add before one removes, and none keeps what another took back. Of
the node's CPU without a change `ip` and `nft` take most, each by starting. Python suffers more from
other work on the machine than ssh's arithmetic does, so these ratios are larger in busy hours."""


def summary(rows: list[Row], labels: Mapping[str, str]) -> Summary:
    sizes = sorted({row["nodes"] for row in rows})
    plots = [plot(rows, labels, case, sizes) for case in ("first", "again")]
    tables = [figures(rows, labels, nodes) for nodes in reversed(sizes)]
    return Summary("A fleet over SSH", TEXT, ratios(rows), tables, plots)


def value(rows: list[Row], who: str, case: str, nodes: int, figure: str = "wall") -> float | None:
    keys = {"contender": who, "case": case, "nodes": nodes}
    return median(rows, figure, lambda row: all(row[k] == v for k, v in keys.items()))


def ratio(one: float | None, other: float | None) -> float | None:
    return one / other if one is not None and other else None


def ratios(rows: list[Row]) -> list[Ratio]:
    def of(who: str, case: str, nodes: int, to: tuple[str, str]) -> float | None:
        return ratio(value(rows, who, case, nodes), value(rows, *to, nodes))

    def per_node(nodes: int, case: str) -> float | None:
        return ratio(value(rows, "podnet", case, nodes), nodes)

    over = [value(rows, who, "again", 50, "node_cpu") for who in ("podnet", "true")]
    above = None if None in over else (over[0] - over[1]) / 50 * 1000  # type: ignore[operator]
    floor = ("floor", "first")
    return [
        Ratio("N = 50: first apply ÷ plain ssh, cold", of("podnet", "first", 50, floor), 2.0, 1.5),
        Ratio("N = 50: no change ÷ plain ssh, cold", of("podnet", "again", 50, floor), 0.9, 0.6),
        Ratio(
            "N = 50: one CIDR changed ÷ plain ssh, cold", of("podnet", "cidr", 50, floor), 1.5, 1.0
        ),
        Ratio(
            "N = 25: usual role ÷ podnet, first apply",
            of("usual", "first", 25, ("podnet", "first")),
            *(20, 40),
            most=False,
        ),
        Ratio(
            "N = 25: usual role ÷ podnet, no change",
            of("usual", "again", 25, ("podnet", "again")),
            *(40, 80),
            most=False,
        ),
        *(
            Ratio(
                f"time per node, {CASES[case]}: N = 50 ÷ N = 10",
                ratio(per_node(50, case), per_node(10, case)),
                *(1.2, 1.0),
            )
            for case in ("first", "again", "cidr")
        ),
        Ratio("node CPU per node, no change, above `ssh node true`", above, 15, 5, unit=" ms"),
    ]


def figures(rows: list[Row], labels: Mapping[str, str], nodes: int) -> Table:
    head = ["Case", "Contender", "rounds", "seconds", "controller CPU s", "node CPU ms per node"]
    head += ["peak MiB", "sessions per node", "connections per node", "kB per node"]
    lines = []
    for case, words in CASES.items():
        for who, label in labels.items():
            wall = value(rows, who, case, nodes)
            if wall is None:
                continue
            keys = {"contender": who, "case": case, "nodes": nodes}
            count = sum(all(row[k] == v for k, v in keys.items()) for row in rows)
            cpu, node, peak, sessions, connections, sent = (
                value(rows, who, case, nodes, figure) or 0.0
                for figure in (
                    *("controller_cpu", "node_cpu", "peak_memory"),
                    *("sessions", "connections", "bytes"),
                )
            )
            per = [sessions / nodes, connections / nodes, sent / nodes / 1000]
            figures = [f"{wall:.2f}", f"{cpu:.2f}", f"{node / nodes * 1000:.0f}"]
            figures += [f"{peak / 2**20:.0f}", *(f"{number:.1f}" for number in per)]
            lines.append([words, label, str(count), *figures])
    return Table(f"{nodes} nodes, medians", head, lines)


def plot(rows: list[Row], labels: Mapping[str, str], case: str, sizes: list[int]) -> Plot:
    curves = {
        label: [(n, wall) for n in sizes if (wall := value(rows, who, case, n)) is not None]
        for who, label in labels.items()
        if who not in ("usual", "true")
    }
    kept = {label: points for label, points in curves.items() if points}
    return Plot(f"fleet-{case}", f"{CASES[case]}: seconds by nodes", "nodes", "seconds", kept)
