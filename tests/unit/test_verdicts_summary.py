# SPDX-License-Identifier: GPL-3.0-or-later
"""Counts, the matrix on a terminal, and problems as few sentences."""

from __future__ import annotations

import pytest
from ansible_collections.podnet.fabric.plugins.plugin_utils.verdicts.problems import problems_of
from ansible_collections.podnet.fabric.plugins.plugin_utils.verdicts.sample import Sample
from ansible_collections.podnet.fabric.plugins.plugin_utils.verdicts.scene import Run
from ansible_collections.podnet.fabric.plugins.plugin_utils.verdicts.summary import (
    WIDTH,
    cells,
    matrix_lines,
    problem_lines,
    sentence,
    summary,
    verdict,
)
from observed import OUTSIDE, Observed, fabric_of, healthy


def titles(observed: Observed) -> list[str]:
    names = [node.name for node in observed.scene().nodes]
    return [p.title for p in problems_of(observed.fabric, names, observed.judge())]


def matrix(observed: Observed) -> list[str]:
    names = [node.name for node in observed.scene().nodes]
    return matrix_lines(names, cells(observed.judge()))


def totals(observed: Observed) -> dict[str, dict[str, dict[str, int]]]:
    return summary(observed.scene(), observed.probed(), observed.judge())


def test_counts_of_a_healthy_fleet() -> None:
    found = totals(healthy(fabric_of((3, 2))))
    assert found["pairs"]["total"] == found["pairs"]["verified"] == 20
    assert found["stages"]["start"] == found["stages"]["probe"] == {"nodes": 5, "looked": 5}
    assert verdict(found) == "pass"
    assert sentence(found).startswith("20 of 20 pairs verified")


def test_verdict_fails_before_it_is_unknown() -> None:
    base = healthy(fabric_of((3,)))
    assert verdict(totals(base.copy().cut("node-01", "node-02"))) == "fail"
    blind = base.copy()
    blind.probe["node-01"] = {"error": "the module ended early"}
    assert verdict(totals(blind)) == "unknown"
    assert verdict(totals(Observed(base.fabric, base.run, {}, {}))) == "unknown"
    assert verdict(totals(Observed(base.fabric, Run(()), {}, {}))) == "unknown"


def test_a_subset_says_so() -> None:
    found = totals(healthy(fabric_of((3, 2)), Run(("node-01", "node-02"), outside=OUTSIDE)))
    assert verdict(found) == "pass"
    assert "only 2 of 5 nodes were asked for" in sentence(found)


def test_a_small_matrix_has_words() -> None:
    observed = healthy(fabric_of((2, 1))).cut("node-01", "node-03")
    observed.probe["node-02"] = {"error": "the module ended early"}
    assert matrix(observed) == [
        "             1    2    3  out",
        "1 node-01   ok   ok FAIL   ok",
        "2 node-02  err  err  err  err",
        "3 node-03 FAIL   ok   ok   ok",
    ]


def test_a_large_matrix_shows_only_what_one_must_read() -> None:
    observed = healthy(fabric_of((20, 20))).down("node-17").cut("node-03", "node-34")
    lines = matrix(observed)
    assert lines[0] == "column 17 node-17: not ok in 40 of 40 rows"
    assert lines[1].startswith("37 of 40 rows: everything passed")
    shown = [line.split()[1] for line in lines if "node-" in line and line.lstrip()[0].isdigit()]
    assert shown == ["node-03", "node-17", "node-34"]
    row = next(line for line in lines if " node-03 " in line)
    assert row.endswith("." * 16 + "F" + "." * 16 + "F" + "." * 7)


@pytest.mark.parametrize("count", [1, 2, 11, 12, 13, 66])
def test_every_line_fits_eighty_columns(count: int) -> None:
    observed = healthy(fabric_of((count,)))
    if count > 1:
        observed.cut("node-01", "node-02")
    names = [node.name for node in observed.fabric.nodes]
    problems = problems_of(observed.fabric, names, observed.judge())
    lines = matrix(observed) + problem_lines(problems)
    assert max(map(len, lines), default=0) <= WIDTH


def test_long_names_are_cut_and_numbered() -> None:
    names = ["worker-in-a-far-away-datacentre-01", "b"]
    lines = matrix_lines(names, {(a, b): "success" for a in names for b in names})
    assert lines[1].startswith("1 worker-in-a-far-a…")
    assert lines[2].split() == ["2", "b", "ok", "ok"]


def test_one_dead_node_is_one_problem() -> None:
    assert titles(healthy(fabric_of((5, 5))).down("node-04")) == [
        "node-04 could not be looked at, and does not answer"
    ]


def test_one_pair_is_one_problem_both_ways() -> None:
    assert titles(healthy(fabric_of((2, 2))).cut("node-01", "node-04")) == ["node-01 ↔ node-04"]


def test_two_segments_are_one_problem() -> None:
    observed = healthy(fabric_of((2, 2, 2)))
    for first in ("node-01", "node-02"):
        for second in ("node-03", "node-04"):
            observed.cut(first, second)
    assert titles(observed) == ["Between segments rack-a and rack-b"]


def test_a_fault_of_the_whole_fleet_is_one_problem() -> None:
    observed = healthy(fabric_of((3, 2)))
    observed.lose(lambda _node, a: a["id"].startswith("mtu_pass/") and _two(a["id"]))
    assert titles(observed) == ["Every pair of nodes"]


def _two(name: str) -> bool:
    source, target = name.split("/")[2:]
    return source != target


def test_a_node_that_translates_addresses_is_one_problem_with_its_direction() -> None:
    observed = healthy(fabric_of((3, 2)))
    observed.spoil(
        lambda node, a: node == "node-02" and a["id"].startswith(("tcp/", "udp/")),
        source_seen="192.0.2.12",
    )
    assert titles(observed) == ["node-02 → every other node", "On node-02"]


def test_a_node_that_is_down_is_one_problem_in_a_sample_too() -> None:
    fabric = fabric_of((12, 12))
    run = Run(tuple(node.name for node in fabric.nodes), sample=Sample(most=6))
    assert titles(healthy(fabric, run).down("node-05")) == [
        "node-05 could not be looked at, and does not answer"
    ]


def test_an_unreachable_outside_host_is_one_problem() -> None:
    observed = healthy(fabric_of((3,)))
    observed.lose(lambda _node, a: a["id"].startswith("outside/ipv4"))
    assert titles(observed) == ["3 nodes → 203.0.113.10:7717"]


@pytest.mark.parametrize("cuts", [[], [(1, 4)], [(1, 4), (2, 3)], [(1, 2), (1, 3), (1, 4)]])
def test_every_failed_result_is_in_exactly_one_problem(cuts: list[tuple[int, int]]) -> None:
    observed = healthy(fabric_of((2, 2)))
    for first, second in cuts:
        observed.cut(f"node-0{first}", f"node-0{second}")
    observed.lose(lambda node, a: node == "node-04" and "gateway" in a["id"])
    results = observed.judge()
    names = [node.name for node in observed.fabric.nodes]
    ids = [i for p in problems_of(observed.fabric, names, results) for i in p.ids]
    assert sorted(ids) == sorted(r.id for r in results if r.status in ("failure", "error"))


def test_a_failure_says_how_many_of_which_kind_and_leaves_advice_to_the_causes() -> None:
    """What a check can advise by itself contradicted what was found when nodes were looked at."""
    observed = healthy(fabric_of((3,)))
    observed.lose(lambda node, a: node == "node-02" and a["id"].endswith("/node-02"))
    names = [node.name for node in observed.fabric.nodes]
    lines = problem_lines(problems_of(observed.fabric, names, observed.judge()))
    text = " ".join(" ".join(lines).split())
    assert text.startswith("FAIL On node-02 (") and " checks: 2 tcp, 2 udp, 2 icmp, " in text
    assert "such as: tcp ipv4 on node-02 expected: " in text
    assert "remedy" not in text and "converge" not in text


def test_one_check_needs_no_example() -> None:
    observed = healthy(fabric_of((3,)))
    observed.lose(lambda node, a: node == "node-02" and a["id"].startswith("outside/ipv4"))
    names = [node.name for node in observed.fabric.nodes]
    lines = problem_lines(problems_of(observed.fabric, names, observed.judge()))
    assert "(1 check: 1 outside ipv4)" in " ".join(lines[0].split()) and "such as" not in str(lines)
