# SPDX-License-Identifier: GPL-3.0-or-later
"""report.json → JUnit XML: a suite per promise and kind, a case per result. Pure.

The dialect is the one that CI systems share (windyroad's JUnit.xsd, Jenkins' xunit plugin):
`testsuites` with `testsuite`s of `testcase`s, each with at most one of failure, error, skipped.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any
from xml.etree import ElementTree as ET

# Characters that XML 1.0 cannot hold (section 2.2), not even escaped.
FORBIDDEN = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def junit_xml(data: Mapping[str, Any]) -> str:
    """The whole document."""
    groups: dict[tuple[int, str], list[Mapping[str, Any]]] = {}
    for result in data["results"]:
        groups.setdefault((result["promise"], result["kind"]), []).append(result)
    texts = {promise["number"]: promise["text"] for promise in data["promises"]}
    causes = {id: cause for cause in data["causes"] for id in cause["results"]}
    root = ET.Element("testsuites", {"name": _clean(data["title"]), **_counts(data["results"])})
    for (promise, kind), results in sorted(groups.items()):
        name = f"promise {promise}: {texts[promise]} ({kind})"
        suite = ET.SubElement(
            root,
            "testsuite",
            # The attribute has no place for an offset (xs:dateTime of the dialect): UTC.
            {"name": name, **_counts(results), "timestamp": data["began"][:19]},
        )
        for result in results:
            _case(suite, result, causes.get(result["id"]))
    ET.indent(root, " ")
    return ET.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def _counts(results: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    of = [result["status"] for result in results]
    seconds = sum(result["rtt_us"] or 0 for result in results) / 1e6
    return {
        "tests": str(len(of)),
        "failures": str(of.count("failure")),
        "errors": str(of.count("error")),
        "skipped": str(of.count("skipped")),
        "time": f"{seconds:.6f}",
    }


def _case(suite: ET.Element, result: Mapping[str, Any], cause: Mapping[str, Any] | None) -> None:
    family = f"{result['family']} " if result["family"] else ""
    inner = result["source"] == result["target"]
    way = result["source"] if inner else f"{result['source']} -> {result['target']}"
    # Local checks exist once per pod; the last part of the id tells them apart.
    subject = result["id"].rpartition("/")[2]
    label = f" {subject}" if subject not in (result["source"], result["target"]) else ""
    case = ET.SubElement(
        suite,
        "testcase",
        {
            "classname": f"podnet.promise{result['promise']}.{result['kind']}",
            "name": _clean(f"{family}{way}{label}"),
            "time": f"{(result['rtt_us'] or 0) / 1e6:.6f}",
        },
    )
    status = result["status"]
    if status == "success":
        return
    child = ET.SubElement(case, status, {"message": _clean(result["found"])})
    if status != "skipped":
        child.set("type", f"podnet.{result['kind']}")
        lines = [f"{name}: {result[name]}" for name in ("expected", "found", "remedy")]
        if cause:
            lines += [f"cause on {cause['node']}: {cause['kind']} {cause['object']}"]
            lines += [f"  {name}: {cause[name]}" for name in ("expected", "found", "repair")]
        child.text = _clean("\n".join(lines))


def _clean(text: str) -> str:
    return FORBIDDEN.sub("\N{REPLACEMENT CHARACTER}", text)
