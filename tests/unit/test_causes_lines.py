# SPDX-License-Identifier: GPL-3.0-or-later
"""Causes as they are read: each once, and no other advice beside them."""

from __future__ import annotations

from itertools import combinations

from ansible_collections.podnet.fabric.plugins.plugin_utils.causes.lines import (
    alike,
    cause_lines,
    other_lines,
)
from ansible_collections.podnet.fabric.plugins.plugin_utils.causes.suspects import (
    Cause,
    Scene,
    Trip,
)
from ansible_collections.podnet.fabric.plugins.plugin_utils.causes.underlay import between
from ansible_collections.podnet.fabric.plugins.plugin_utils.verdicts.problems import problems_of
from ansible_collections.podnet.fabric.plugins.plugin_utils.verdicts.summary import MESSAGE
from observed import Observed, fabric_of, healthy

FABRIC = fabric_of((3, 3), ("ipv4",))
NAMES = [node.name for node in FABRIC.nodes]
KINDS = ({"icmp", "tcp", "udp"}, {"mtu_pass"}, {"icmp"})
Found = list[tuple[Cause, tuple[str, ...]]]


def paths(kinds: set[str]) -> Found:
    """What is named where two racks do not reach each other, and nothing is wrong on a node."""
    scene, found = Scene(FABRIC, {}, {}), []
    for one, two in combinations(NAMES, 2):
        if FABRIC.by_name[one].segment != FABRIC.by_name[two].segment:
            trip = Trip(scene, one, two, "ipv4", frozenset(kinds), "vxlan")
            cause = between(scene, (one, two), [trip], frozenset(kinds), True)
            assert cause is not None
            found.append((cause, (f"tcp/ipv4/{one}/{two}", f"tcp/ipv4/{two}/{one}")))
    return found


def said(lines: list[str]) -> str:
    assert max(map(len, lines), default=0) <= MESSAGE
    return " ".join(" ".join(lines).split())


def device(*nodes: str) -> Found:
    texts = ("device", "pn64", "up", "down", "ip link set dev pn64 up")
    return [(Cause(node, *texts), (f"tcp/ipv4/node-01/{node}",)) for node in nodes]


def test_a_probe_pod_is_no_node_of_a_pair() -> None:
    ((cause, _ids),) = device("node-1")
    ids = ("address/ipv4/node-1/podnet-verify-a", "tcp/ipv4/node-2/node-1")
    (group,) = alike([(cause, ids)])
    assert group.ways == "node-1 ↔ node-1, node-1 ↔ node-2"


def test_the_underlay_between_two_racks_is_named_once() -> None:
    for kinds in KINDS:
        assert len(paths(kinds)) == 9
        text = said(cause_lines(paths(kinds)))
        assert text.count("CAUSE") == text.count("repair:") == 1, text
        assert " of 9 pairs (node-01 ↔ node-04, node-01 ↔ node-05, node-01 ↔ node-06 and 6" in text
    (one, *_rest) = paths(KINDS[0])
    assert said(cause_lines([one])).startswith(
        "CAUSE node-01: underlay node-01 - node-04 (node-01 ↔ node-04) expected: "
    )


def test_one_object_on_many_nodes_is_named_once_with_the_nodes() -> None:
    text = said(cause_lines(device(*NAMES[1:])))
    assert text.startswith("CAUSE node-02, node-03, node-04 and 2 more: device pn64 (node-01 ↔")
    assert text.count("CAUSE") == 1


def test_what_differs_stays_apart_and_the_largest_comes_first() -> None:
    other = Cause("node-06", "device", "pn64", "mac a", "mac b", "ip link set dev pn64 address a")
    found = alike([(other, ("tcp/ipv4/node-01/node-06",)), *device("node-02", "node-03")])
    assert [group.title for group in found] == [
        "node-02, node-03: device pn64",
        "node-06: device pn64",
    ]


def outside_and_cut() -> Observed:
    observed = healthy(FABRIC).cut("node-01", "node-04")
    return observed.lose(lambda node, a: node == "node-02" and a["id"].startswith("outside/"))


def test_advice_of_checks_is_for_what_has_no_cause() -> None:
    observed = outside_and_cut()
    results = observed.judge()
    problems = problems_of(FABRIC, NAMES, results)
    ids = tuple(r.id for r in results if r.status == "failure" and r.source == "node-01")
    named: Found = [(device("node-04")[0][0], ids[:1])]
    text = said(other_lines(problems, named))
    assert text.startswith("OTHER node-02 → 203.0.113.10:7717: no cause found remedy: where it ")
    assert text.count("OTHER") == 1 and "node-04" not in text
    # Without any cause the same is said at once, of both.
    alone = said(other_lines(problems, []))
    assert alone.count("OTHER") == 2 and "once that is repaired" not in alone


def test_the_same_advice_is_given_once() -> None:
    observed = healthy(FABRIC)
    for node in NAMES[1:3]:
        observed.spoil(lambda n, a, of=node: n == of and "outside/" in a["id"], ok=False)
    problems = problems_of(FABRIC, NAMES, observed.judge())
    assert said(other_lines(problems, [])).count("OTHER") == len(
        {p.examples[0].remedy for p in problems}
    )


def test_a_fleet_without_problems_has_nothing_to_say() -> None:
    assert other_lines(problems_of(FABRIC, NAMES, healthy(FABRIC).judge()), []) == []
