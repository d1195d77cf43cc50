# SPDX-License-Identifier: GPL-3.0-or-later
"""What changed since the last verification, and the metrics, read by Prometheus' own parser."""

from __future__ import annotations

import json
from typing import Any

from ansible_collections.podnet.fabric.plugins.action.report import TEMPLATES
from ansible_collections.podnet.fabric.plugins.plugin_utils.report.data import report_data
from ansible_collections.podnet.fabric.plugins.plugin_utils.report.html import report_html
from ansible_collections.podnet.fabric.plugins.plugin_utils.report.junit import junit_xml
from ansible_collections.podnet.fabric.plugins.plugin_utils.report.prom import prom_text
from ansible_collections.podnet.fabric.plugins.plugin_utils.report.since import failed_before
from ansible_collections.podnet.fabric.plugins.plugin_utils.workspace import role_file
from observed import Observed, fabric_of, healthy
from prometheus_client.parser import text_string_to_metric_families


def saved(observed: Observed) -> dict[str, Any]:
    return json.loads(json.dumps(observed.saved()))  # type: ignore[no-any-return]


def data(now: Observed, before: Observed | None = None) -> dict[str, Any]:
    previous = saved(before) if before else None
    return report_data(saved(now), "Pod network", "podnet.fabric", previous)


WELL = healthy(fabric_of((2, 1)))
CUT = healthy(fabric_of((2, 1))).cut("node-01", "node-03")


def test_without_an_earlier_verification_nothing_is_compared() -> None:
    found = data(WELL)["since"]
    assert found == {"began": None, "worse": [], "better": [], "new": 0, "gone": 0}


def test_what_failed_before_as_well_is_told_from_what_is_new() -> None:
    more = healthy(fabric_of((2, 1))).cut("node-01", "node-03").cut("node-02", "node-03")
    pairs = [(CUT, CUT, True), (CUT, more, True), (more, CUT, False), (CUT, WELL, False)]
    for now, before, expected in pairs:
        then = saved(before)
        assert bool(failed_before(then, saved(now)["results"])) == expected
    assert failed_before(saved(CUT), saved(CUT)["results"]) == saved(CUT)["began"]
    assert failed_before(saved(WELL), saved(WELL)["results"]) == ""
    assert failed_before(None, saved(CUT)["results"]) == ""


def test_worse_and_better_are_named() -> None:
    worse = data(CUT, WELL)["since"]
    failed = {r["id"] for r in data(CUT)["results"] if r["status"] == "failure"}
    assert failed and set(worse["worse"]) == failed
    assert worse["better"] == [] and worse["began"]
    assert set(data(WELL, CUT)["since"]["better"]) == failed
    assert data(WELL, WELL)["since"]["worse"] == []


def test_what_only_one_of_two_has_is_counted() -> None:
    larger = healthy(fabric_of((2, 2)))
    found = data(larger, WELL)["since"]
    assert found["new"] == len(data(larger)["results"]) - len(data(WELL)["results"])
    assert found["gone"] == 0 and data(WELL, larger)["since"]["gone"] == found["new"]


def test_causes_are_in_every_form() -> None:
    failed = [r["id"] for r in data(CUT)["results"] if r["status"] == "failure"]
    cause = {
        "node": "node-01",
        "kind": "route",
        "object": "10.64.3.0/24 <b>",
        "expected": "there",
        "found": "missing",
        "repair": "ip route add",
        "results": failed,
    }
    report = report_data(saved(CUT), "Pod network", "podnet.fabric", None, [cause])
    assert report["causes"] == [cause]
    remedies = {r["id"]: r["remedy"] for r in report["results"]}
    assert {remedies[i] for i in failed} == {"on node-01, route 10.64.3.0/24 <b>: `ip route add`"}
    assert "cause on node-01: route 10.64.3.0/24" in junit_xml(report)
    page = report_html(report, {name: role_file("report", "templates", name) for name in TEMPLATES})
    assert "node-01: route 10.64.3.0/24 &lt;b&gt;" in page and "<dd>ip route add</dd>" in page


def test_nothing_else_is_advised_for_the_rest_of_a_problem_that_has_a_cause() -> None:
    """The way to the outside of a node that reaches nobody is the same trouble as that."""
    observed = healthy(fabric_of((3,))).cut("node-01", "node-02").cut("node-01", "node-03")
    observed.lose(lambda node, a: node == "node-01" and a["id"].startswith("outside/"))
    observed.lose(lambda node, a: node == "node-03" and a["id"].startswith("gateway/"))
    failed = {r["id"] for r in saved(observed)["results"] if r["status"] == "failure"}
    far = sorted(i for i in failed if i.startswith("tcp/"))
    texts = dict.fromkeys(("expected", "found", "repair"), "x")
    cause = {"node": "node-01", "kind": "device", "object": "cbr0", **texts, "results": far}
    report = report_data(saved(observed), "Pod network", "podnet.fabric", None, [cause])
    remedies = {r["id"]: r["remedy"] for r in report["results"] if r["id"] in failed}
    (problem, other) = report["problems"]
    assert {remedies[i] for i in problem["results"]} == {"on node-01, device cbr0: `x`"}
    assert any(i.startswith("outside/") for i in problem["results"])
    assert not any("device cbr0" in remedies[i] for i in other["results"])


def test_the_page_says_the_same_of_many_paths_once() -> None:
    cause = {"kind": "underlay", "expected": "passes", "found": "nothing", "repair": "cables"}
    causes = [
        {**cause, "node": one, "object": f"{one} - node-03", "results": [f"tcp/ipv4/{one}/node-03"]}
        for one in ("node-01", "node-02")
    ]
    report = report_data(saved(CUT), "Pod network", "podnet.fabric", None, causes)
    assert report["causes"] == causes
    page = report_html(report, {name: role_file("report", "templates", name) for name in TEMPLATES})
    assert "<b>underlay of 2 pairs</b>" in page and page.count("<dd>cables</dd>") == 1
    assert "explains 2 checks: node-01 ↔ node-03, node-02 ↔ node-03" in page


def samples(text: str) -> dict[tuple[str, ...], float]:
    return {
        (sample.name, *(f"{k}={v}" for k, v in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_metrics_say_what_the_report_says() -> None:
    report = data(CUT)
    found = samples(prom_text(report, {"node-01": 3, 'a"\\b': 0}))
    assert (
        found["podnet_verify_ok",] == 0 and samples(prom_text(data(WELL)))["podnet_verify_ok",] == 1
    )
    for status, number in report["summary"]["pairs"].items():
        if status in ("success", "failure", "error", "skipped"):
            assert found["podnet_pairs", f"status={status}"] == number
    assert found["podnet_drift", "node=node-01"] == 3 and found["podnet_drift", 'node=a"\\b'] == 0
    assert found["podnet_verify_timestamp_seconds",] > 1e9
    losses = [value for key, value in found.items() if key[0] == "podnet_path_loss_ratio"]
    assert max(losses) > 0
    well = samples(prom_text(data(WELL)))
    assert {v for key, v in well.items() if key[0] == "podnet_path_loss_ratio"} == {0.0}
    assert not any(key[0] == "podnet_drift" for key in well)
