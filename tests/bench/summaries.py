# SPDX-License-Identifier: GPL-3.0-or-later
"""What the rows of the topics `verify`, `kernel` and `datapath` mean, for the page.

A figure that was not measured is a dash.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from typing import Any

from page import Plot, Ratio, Summary, Table
from store import Row, median

VERIFY = """Targets are addresses of another namespace with podnet's probe server behind them,
both families. fping sends one packet to each at its fastest. All probes are ICMP, TCP, UDP and
two lengths about the MTU. A fleet is verified whole, with its probe pods, right after it was made
from nothing, in the lab, dual stack, two segments; its nodes share two processors with the
controller. The full mesh is from the real pods of all nodes at once, over open connections of plain
ssh: podnet's probes as a verification has them, and fping.

Why a whole verification takes longer than a first apply: on each node two pods get and lose an
interface by the real CNI plugins, Python starts once, and every pair is asked by every kind of
probe; that grows with the pairs, and what a first apply does for a node hardly does. All nodes
share two processors here with the controller. What it does itself, ssh included, is less than for a
first apply; nodes that have processors of their own do their part at the same time."""
BOTH = ("first apply", "verification")
WHOLE = {"time": "seconds", "CPU of the controller": "controller_cpu"}
KERNEL = """One `ip -batch` of all lines in a new namespace; seconds of its CPU, in which the kernel
does the work. One next hop for all routes is the least that the kernel can do, and what no fleet
has. ADR 0007 is about the other forms; one metric for all is podnet's own before it."""
DATAPATH = """One TCP stream of iperf3, and request and response of one byte over TCP by qperf.
A machine that is shared becomes faster and slower within minutes, so these ratios are each
round's own, of which the median is taken. By hand: bridge, veth, routes and VXLAN by `ip`,
without any filter, measured twice in each round; what is found for it again says what the noise
is. Masquerading: the same with one rule of nftables, which brings conntrack; podnet's nodes have
it, and their protections, but there VXLAN's own packets are not tracked (ADR 0009). Wires alone:
podnet without either, by `podnet_masquerade: []`, `podnet_pod_identity: any`,
`podnet_pod_sources: any` and `podnet_vxlan_from: anyone`, which is what by hand is. Pods not
tracked: podnet as it is by default, but for `podnet_pod_tracking: outside`. CPU is that of both
ends and of all that the kernel does between them, on one machine. The lab's router cuts what the
VXLAN path carries into packets of the MTU, and no network card puts them together again, so there
each packet pays for itself.

Why the default is slower than by hand: conntrack, which masquerading needs, takes a good part of
the difference, as the second table says; the rest are the rules that hold pods to their own MAC
and addresses and to their node's ranges. They are on, because a pod network that reaches nothing
outside, or that any pod can impersonate another in, is not what somebody means who leaves these
variables out. Where nothing on the nodes translates services for pods, their connections need not
be tracked."""
PATH = """A byte there and back over TCP (qperf), both ends on one processor: what the kernel does
on the way, without waking another processor, which takes several times as long. Each ratio is the
median of the rounds' own. The wirings are those of the section about packets. On separate machines
cards, interrupts and the wire come on top of it, so the same microseconds are a smaller part."""
HANDS = ("podnet", "by hand", "by hand again", "by hand, masquerading")
PODNET = {
    "podnet, wires alone": "wires alone",
    "podnet, pods not tracked": "pods not tracked",
    "podnet": "as it is by default",
}


def figure(rows: list[Row], name: str, **keys: Any) -> float | None:
    """Median over the rounds of the rows with these values."""
    return median(rows, name, lambda row: all(row.get(k) == v for k, v in keys.items()))


def different(rows: list[Row], name: str, **keys: Any) -> list[Any]:
    """Values of a field, in the order of the rows."""
    chosen = (row for row in rows if all(row.get(k) == v for k, v in keys.items()))
    return list(dict.fromkeys(row[name] for row in chosen if name in row))


def ratio(one: float | None, other: float | None) -> float | None:
    return one / other if one is not None and other else None


def text(cell: float | int | str | None) -> str:
    if cell is None:
        return "—"
    if isinstance(cell, float):
        return f"{cell:,.0f}" if cell >= 100 else f"{cell:.3g}"
    return f"{cell:,}" if isinstance(cell, int) else cell


def table(title: str, head: tuple[str, ...], rows: list[tuple[Any, ...]]) -> Table:
    return Table(title, head, [[text(cell) for cell in row] for row in rows])


def one_pod(rows: list[Row]) -> list[tuple[Any, ...]]:
    """Of each number of targets, what the table `ONE_POD` has."""
    made: list[tuple[Any, ...]] = []
    for count in different(rows, "targets"):
        ways = ("fping", "podnet, icmp", "podnet, all")
        ping, icmp, full = (figure(rows, "wall_ms", targets=count, way=way) for way in ways)
        cpu = figure(rows, "cpu_ms", targets=count, way="podnet, all")
        each = ratio(None if cpu is None else cpu * 1000, 2 * count)
        made.append((count, ping, icmp, ratio(icmp, ping), full, each))
    return made


ONE_POD = (
    "Targets",
    "fping ms",
    "ICMP ms",
    "÷ fping",
    "all probes ms",
    "µs CPU, target and family",
)


def verify(rows: list[Row]) -> Summary:
    made = one_pod(rows)
    by_count = {row[0]: row for row in made}
    few, many = by_count.get(50), by_count.get(200)
    fleets = [
        (nodes, *(figure(rows, f, nodes=nodes, what=w) for f in WHOLE.values() for w in BOTH))
        for nodes in different(rows, "nodes")
    ]
    shares = {row[0]: (ratio(row[2], row[1]), ratio(row[4], row[3])) for row in fleets}
    meshes = []
    for nodes in different(rows, "nodes"):
        times = [
            figure(rows, "seconds", nodes=nodes, mesh=way) for way in ("fping", "podnet, icmp")
        ]
        meshes.append((nodes, nodes * (nodes - 1), *times, ratio(times[1], times[0])))
    real = {row[0]: row[-1] for row in meshes}
    return Summary(
        "Verification",
        VERIFY,
        [
            *(
                Ratio(f"50 nodes, {of}: whole verification ÷ first apply", share, 1, 1)
                for of, share in zip(WHOLE, shares.get(50, (None, None)), strict=True)
            ),
            Ratio("50 nodes, full mesh of real pods: ICMP ÷ fping", real.get(50), 3, 3),
            Ratio("50 targets: ICMP ÷ fping", few and few[3], 3, 3),
            Ratio(
                "CPU for a target: 200 ÷ 50 targets",
                few and many and ratio(many[5], few[5]),
                1.2,
                1,
            ),
        ],
        [
            table("One pod to all", ONE_POD, made),
            table("A fleet", ("Nodes", *(f"{of}: {w} s" for of in WHOLE for w in BOTH)), fleets),
            table("Full mesh", ("Nodes", "Pairs", "fping s", "ICMP s", "÷ fping"), meshes),
        ],
    )


def kernel(rows: list[Row]) -> Summary:
    forms = ("podnet", "one next hop", "nexthop objects", "a metric each", "one metric")
    made: list[tuple[Any, ...]] = []
    for family in different(rows, "family"):
        for count in different(rows, "routes", family=family):
            of = [figure(rows, "cpu", family=family, routes=count, form=f) for f in forms]
            made.append((family, count, *of, ratio(of[0], of[1])))
    found = {(row[0], row[1]): row[-1] for row in made}
    head = ("Family", "Routes", *(f"{form} s" for form in forms), "podnet ÷ one next hop")
    curves = {
        form: [(row[1], row[2 + i]) for row in made if row[0] == "ipv4" and row[2 + i]]
        for i, form in enumerate(forms)
    }
    return Summary(
        "Routes in the kernel",
        KERNEL,
        [
            Ratio(f"10,000 {family} routes ÷ one next hop", found.get((family, 10000)), 1.2, 1.2)
            for family in ("ipv4", "ipv6")
        ],
        [table("Routes", head, made)],
        [Plot("kernel", "IPv4 routes", "routes", "seconds of CPU", curves)],
    )


def datapath(rows: list[Row]) -> Summary:
    made: list[tuple[Any, ...]] = []
    ratios: list[Ratio] = []
    for path in different(rows, "path"):
        for family in different(rows, "family", path=path, wiring="podnet"):
            keys = {"path": path, "family": family}
            fast, base = (figure(rows, "gbit", wiring=w, **keys) for w in HANDS[:2])
            dear, *least = (figure(rows, "cpu_s_per_gb", wiring=w, **keys) for w in HANDS)
            trip, short = (figure(rows, "round_trip_us", wiring=w, **keys) for w in HANDS[:2])
            made.append((path, family, fast, base, dear, *least, trip, short))
    for wiring, name in PODNET.items():
        there = wiring in different(rows, "wiring")
        ratios += [one for row in made if there for one in by_hand(rows, wiring, name, *row[:2])]
    names = ("gbit", "cpu_s_per_gb", "round_trip_us")
    filled = [
        (count, *(figure(rows, name, routes=count) for name in names))
        for count in different(rows, "routes")
    ]
    beside = [
        (path, wiring, *worth(rows, wiring, path=path, family="ipv4"))
        for path in different(rows, "path")
        for wiring in HANDS[2:]
    ]
    head = ("Path", "Pods", "Gbit/s", "by hand", "CPU s for a GB", "by hand", "again")
    head += ("masquerading", "Round trip µs", "by hand")
    more = ("Routes", "Gbit/s", "CPU s for a GB", "Round trip µs")
    return Summary(
        "Packets",
        DATAPATH,
        ratios,
        [
            table("Paths, medians", head, made),
            table("IPv4 by hand ÷ by hand", ("Path", "Wiring", *WORTH), beside),
            table("Routed, with more routes", more, filled),
        ],
    )


def path(rows: list[Row]) -> Summary:
    wirings = ("by hand", *HANDS[2:], *reversed(PODNET))
    made: list[tuple[Any, ...]] = []
    ratios: list[Ratio] = []
    for way in different(rows, "path"):
        for family in different(rows, "family", path=way):
            keys = {"path": way, "family": family}
            trips = [figure(rows, "round_trip_us", wiring=w, **keys) for w in wirings]
            made.append((way, family, *trips))
            alone = worth(rows, "podnet, wires alone", TRIPS, **keys)
            what = f"wires alone: {way}, {family}: round trips ÷ by hand"
            ratios.append(Ratio(what, alone[0], 0.97, 1, most=False))
    head = ("Path", "Pods", "by hand µs", "again", "masquerading")
    head += ("podnet", "pods not tracked", "wires alone")
    return Summary("The way of a packet", PATH, ratios, [table("Round trips, medians", head, made)])


def by_hand(rows: list[Row], wiring: str, name: str, path: str, family: str) -> list[Ratio]:
    """What podnet's path is worth, in what the same path by hand is."""
    found = worth(rows, wiring, path=path, family=family)
    return [
        Ratio(f"{name}: {path}, {family}: {what} ÷ by hand", one, 0.97, 1, most=False)
        for what, one in zip(WORTH, found, strict=True)
    ]


# What is compared → the field, and whether more of it is better.
WORTH = {
    "throughput": ("gbit", True),
    "bytes for a second of CPU": ("cpu_s_per_gb", False),
    "round trips": ("round_trip_us", False),
}
TRIPS = {"round trips": WORTH["round trips"]}


def worth(
    rows: list[Row], wiring: str, what: dict[str, tuple[str, bool]] | None = None, **keys: Any
) -> list[float | None]:
    """Medians of the ratios of each round's own pair, as WORTH has them; 1 is by hand. ``what``:
    some of them."""
    chosen = [row for row in rows if all(row.get(k) == v for k, v in keys.items())]
    hand, other = (
        {row["round"]: row for row in chosen if row.get("wiring") == one}
        for one in ("by hand", wiring)
    )
    pairs = [(other[n], hand[n]) for n in other if n in hand]
    return [
        round(statistics.median((a[of] / b[of]) ** (1 if more else -1) for a, b in pairs), 3)
        if pairs
        else None
        for of, more in (what or WORTH).values()
    ]


SUMMARIES: dict[str, Callable[[list[Row]], Summary]] = {
    "verify": verify,
    "kernel": kernel,
    "datapath": datapath,
    "path": path,
}
