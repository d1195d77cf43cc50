# SPDX-License-Identifier: GPL-3.0-or-later
"""The report: the same facts in three forms, and nothing hostile gets through."""

from __future__ import annotations

import dataclasses
import functools
import html.parser
import json
import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from ansible_collections.podnet.fabric.plugins.action.report import TEMPLATES
from ansible_collections.podnet.fabric.plugins.plugin_utils.report.data import report_data
from ansible_collections.podnet.fabric.plugins.plugin_utils.report.html import (
    report_html,
    topology_of,
)
from ansible_collections.podnet.fabric.plugins.plugin_utils.report.junit import junit_xml
from ansible_collections.podnet.fabric.plugins.plugin_utils.report.matrix import details, matrix
from ansible_collections.podnet.fabric.plugins.plugin_utils.report.topology import (
    Drawing,
    Topology,
    draw,
)
from ansible_collections.podnet.fabric.plugins.plugin_utils.verdicts.results import Result
from ansible_collections.podnet.fabric.plugins.plugin_utils.verdicts.sample import Sample
from ansible_collections.podnet.fabric.plugins.plugin_utils.verdicts.scene import Run
from ansible_collections.podnet.fabric.plugins.plugin_utils.workspace import role_file
from observed import OUTSIDE, Observed, fabric_of, healthy

ROOT = Path(__file__).resolve().parents[2]
SOURCES = {name: role_file("report", "templates", name) for name in TEMPLATES}
HOSTILE = "<script>alert('x')</script>\"&amp;\x07"


def data_of(observed: Observed, title: str = "Pod network") -> dict[str, Any]:
    saved = json.loads(json.dumps(observed.saved()))
    return json.loads(json.dumps(report_data(saved, title, "podnet.fabric")))  # type: ignore[no-any-return]


def broken() -> Observed:
    observed = healthy(fabric_of((3, 2))).cut("node-01", "node-04")
    return observed.unreachable("node-03")


def results_of(data: dict[str, Any]) -> list[Result]:
    return [Result.from_dict(item) for item in data["results"]]


class Page(html.parser.HTMLParser):
    """Collects what a test asks about: tags with attributes, and text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "link", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open[-1] == tag, f"</{tag}> closes {self.open[-1:]}"
        self.open.pop()

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] not in ("script", "style"):
            self.text += data


# --- report.json -------------------------------------------------------------------------------


def test_json_has_the_documented_fields_and_no_others() -> None:
    data = data_of(broken())
    text = (ROOT / "docs" / "report-schema.md").read_text(encoding="utf-8")
    documented = set(re.findall(r"`([a-z_]+)`", text.split("Counts are objects")[0]))
    assert set(data) <= documented
    for item in (*data["nodes"], *data["paths"], *data["problems"]):
        assert set(item) <= documented, set(item) - documented
    of_result = set(re.findall(r"`([a-z_]+)`", text.split("## A result")[1]))
    assert {field.name for field in dataclasses.fields(Result)} <= of_result
    assert {r["kind"] for r in data["results"]} <= of_result


def test_verdict_and_problems() -> None:
    assert data_of(healthy(fabric_of((3, 2))))["verdict"] == "pass"
    data = data_of(broken())
    assert data["verdict"] == "fail"
    bad = {r["id"] for r in data["results"] if r["status"] in ("failure", "error")}
    assert {i for problem in data["problems"] for i in problem["results"]} == bad


def test_paths_say_what_each_way_costs() -> None:
    paths = {(p["backend"], p["family"]): p for p in data_of(healthy(fabric_of((3, 2))))["paths"]}
    assert paths["host_routes", "ipv4"]["overhead"] == 0
    assert paths["vxlan", "ipv6"]["overhead"] == 50
    assert paths["vxlan", "ipv6"]["pairs"] == 12
    assert paths["vxlan", "ipv6"]["passes"]["success"] == 12


def test_a_node_that_reaches_nobody_is_marked() -> None:
    observed = healthy(fabric_of((3,)))
    observed.cut("node-01", "node-02").cut("node-01", "node-03")
    status = {node["name"]: node["status"] for node in data_of(observed)["nodes"]}
    assert status == {"node-01": "failure", "node-02": "success", "node-03": "success"}


# --- junit.xml ---------------------------------------------------------------------------------


def test_junit_has_one_case_per_result_and_right_counts() -> None:
    data = data_of(broken())
    root = ET.fromstring(junit_xml(data))
    cases = root.findall("testsuite/testcase")
    assert len(cases) == len(data["results"]) == int(root.get("tests", "0"))
    names = [(case.get("classname"), case.get("name")) for case in cases]
    assert len(set(names)) == len(names)
    counts = data["summary"]["status"]
    for tag, attribute, status in (
        ("failure", "failures", "failure"),
        ("error", "errors", "error"),
        ("skipped", "skipped", "skipped"),
    ):
        assert len(root.findall(f"testsuite/testcase/{tag}")) == counts[status]
        assert int(root.get(attribute, "-1")) == counts[status]
        of_suites = sum(int(suite.get(attribute, "-1")) for suite in root.findall("testsuite"))
        assert of_suites == counts[status]
    failure = root.find("testsuite/testcase/failure")
    assert failure is not None and failure.text is not None
    assert "expected: " in failure.text and "remedy: " in failure.text


def test_junit_survives_what_xml_cannot_hold() -> None:
    data = data_of(healthy(fabric_of((2,))), title=HOSTILE)
    data["results"][0].update(status="failure", found=HOSTILE, remedy="\x00\ud800")
    root = ET.fromstring(junit_xml(data))
    assert "alert" in str(root.get("name"))


@pytest.mark.parametrize(
    ("ended", "said"),
    [
        ("2026-11-23T10:14:45+00:00", "23 Nov 2026, from 10:14:05 to 10:14:45 UTC"),
        (
            "2026-11-23T10:15:01+00:00",
            "from 23 Nov 2026, 10:14 UTC to 23 Nov 2026, 10:15 UTC",
        ),
    ],
)
def test_times_that_differ_are_told_apart(ended: str, said: str) -> None:
    data = data_of(healthy(fabric_of()))
    data |= {"began": "2026-11-23T10:14:05+00:00", "ended": ended}
    assert said in Page(report_html(data, SOURCES)).text


# --- report.html -------------------------------------------------------------------------------


def test_page_is_whole_and_asks_the_network_for_nothing() -> None:
    text = report_html(data_of(broken()), SOURCES)
    page = Page(text)
    assert not page.open
    for tag, attributes in page.tags:
        for name in ("src", "href", "action", "data", "srcset"):
            assert (attributes.get(name) or "data:").startswith(("data:", "#")), (tag, attributes)
    assert "url(" not in text and "@import" not in text
    policy = next(a for t, a in page.tags if a.get("http-equiv") == "Content-Security-Policy")
    assert "default-src 'none'" in str(policy["content"])


def test_page_says_the_verdict_first() -> None:
    assert "All 20 pairs verified" in Page(report_html(data_of(healthy(fabric_of())), SOURCES)).text
    text = Page(report_html(data_of(broken()), SOURCES)).text
    assert text.index("pairs fail") < text.index("What is wrong") < text.index("Topology")
    assert "node-03 could not be looked at" in text


@pytest.mark.parametrize("where", ["title", "node", "found", "remedy", "segment"])
def test_hostile_names_stay_text(where: str) -> None:
    clean = data_of(broken())
    expected = [tag for tag, _attributes in Page(report_html(clean, SOURCES)).tags]
    raw = json.dumps(clean)
    if where == "title":
        data = {**clean, "title": HOSTILE}
    elif where in ("node", "segment"):
        old = "node-04" if where == "node" else "rack-b"
        data = json.loads(raw.replace(old, json.dumps(HOSTILE)[1:-1]))
    else:
        data = json.loads(raw)
        for result in (*data["results"], *(e for p in data["problems"] for e in p["examples"])):
            result[where] = HOSTILE
    text = report_html(data, SOURCES)
    assert "<script>alert" not in text
    found = [tag for tag, _attributes in Page(text).tags]
    if where in ("node", "title", "segment"):
        assert found == expected
    assert found.count("script") == 2


def test_a_title_cannot_end_the_embedded_data() -> None:
    data = json.loads(json.dumps(data_of(broken())).replace("node-04", "</script><b>x"))
    assert "</script><b>" not in report_html(data, SOURCES)


def test_matrix_and_details_agree_with_the_results() -> None:
    data = data_of(broken())
    results = results_of(data)
    table, cells = matrix(data, results), details(matrix(data, results), results)["cells"]
    assert table["columns"][-1] == "outside"
    for i, row in enumerate(table["rows"]):
        for j, status in enumerate(row):
            numbers = cells[f"{i},{j}"]["n"]
            worst = "failure" if numbers[1] else "error" if numbers[2] else "success"
            assert status == worst
    assert sum(sum(cell["n"]) for cell in cells.values()) == len(results)


def test_a_subset_is_said_in_the_page() -> None:
    text = report_html(data_of(healthy(fabric_of((3, 2)), Run(("node-01", "node-02")))), SOURCES)
    assert "Only 2 of 5 nodes were asked for" in text


@functools.cache
def large() -> Observed:
    """More nodes than a matrix holds, each probing a few peers."""
    fabric = fabric_of((60, 60))
    names = tuple(node.name for node in fabric.nodes)
    return healthy(fabric, Run(names, outside=OUTSIDE, sample=Sample(most=5)))


def test_a_sample_is_not_said_to_be_all() -> None:
    data = data_of(large().copy())
    pairs = data["summary"]["pairs"]
    assert 0 < pairs["verified"] < pairs["total"] == 120 * 119
    text = Page(report_html(data, SOURCES)).text
    assert f"{pairs['verified']:,} of 14,280 pairs asked, all verified" in text
    assert "sample 1 of 24" in text and "All 14,280" not in text


def test_a_large_matrix_shows_the_nodes_with_findings_alone() -> None:
    data = data_of(large().copy())
    grid = matrix(data, results_of(data))
    assert (grid["names"], grid["ways"], grid["ways_found"]) == ([], 4, [])
    assert grid["well"] == grid["left_out"] == 120
    text = Page(report_html(data, SOURCES)).text
    assert "4 of 4 ways from segment to segment" in text
    broken_one = large().copy().down("node-17")
    data = data_of(broken_one)
    grid = matrix(data, results_of(data))
    assert grid["names"][0] == "node-17"
    bad = {
        name
        for r in results_of(data)
        if r.status in ("failure", "error")
        for name in (r.source, r.target)
    }
    assert set(grid["names"]) == bad & {node["name"] for node in data["nodes"]}
    assert len(grid["names"]) + grid["well"] == 120
    assert sum(way["failure"] for way in grid["ways_found"]) == data["summary"]["pairs"]["failure"]
    cells_of = details(grid, results_of(data))["cells"]
    assert all(max(map(int, key.split(","))) <= len(grid["names"]) for key in cells_of)


def test_nodes_are_in_the_order_in_which_people_count() -> None:
    names = [node["name"] for node in data_of(large().copy())["nodes"]]
    assert names.index("node-99") < names.index("node-100")


# --- topology ----------------------------------------------------------------------------------


def inside(drawing: Drawing) -> None:
    for shape in drawing.shapes:
        if shape.tag == "rect":
            a = shape.attrs
            assert a["x"] >= 0 and a["x"] + a["width"] <= drawing.width + 0.5, a
            assert a["y"] >= 0 and a["y"] + a["height"] <= drawing.height, a


@functools.cache
def topology_of_size(sizes: tuple[int, ...]) -> Topology:
    """Kept, because a large fleet takes a while to observe; a sample, for the same reason."""
    fabric = fabric_of(sizes)
    names = tuple(node.name for node in fabric.nodes)
    observed = healthy(fabric, Run(names, sample=Sample(most=3)))
    data = report_data(observed.saved(), "", "")
    return topology_of(data, [r for r in results_of(data) if r.kind == "tcp"])


@pytest.mark.parametrize("width", [360, 1120])
@pytest.mark.parametrize(
    "sizes", [(1,), (3,), (3, 2), (1, 30), (2,) * 4, (5,) * 6, (40,), (70,) * 3]
)
def test_drawing_holds_every_node_once_and_nothing_sticks_out(
    width: int, sizes: tuple[int, ...]
) -> None:
    drawing = draw(topology_of_size(sizes), width)
    nodes = [s for s in drawing.shapes if s.tag == "rect" and s.attrs["class"].startswith("node")]
    assert len(nodes) == sum(sizes)
    places = [(s.attrs["x"], s.attrs["y"]) for s in nodes]
    assert len(set(places)) == len(places)
    inside(drawing)


def test_links_are_drawn_by_kind() -> None:
    data = data_of(healthy(fabric_of((3, 2))))
    topology = topology_of(data, results_of(data))
    assert [link.kind for link in topology.between] == ["overlay"]
    assert {link.kind for segment in topology.segments for link in segment.inside} == {"direct"}
    data = data_of(healthy(fabric_of((3, 2), podnet_mode="vxlan")))
    topology = topology_of(data, results_of(data))
    assert {link.kind for segment in topology.segments for link in segment.inside} == {"overlay"}


def test_a_broken_link_is_drawn_broken() -> None:
    data = data_of(healthy(fabric_of((3, 2))).cut("node-01", "node-04"))
    topology = topology_of(data, results_of(data))
    assert [link.status for link in topology.between] == ["failure"]
    assert {link.status for s in topology.segments for link in s.inside} == {"success"}
