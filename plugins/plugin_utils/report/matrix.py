# SPDX-License-Identifier: GPL-3.0-or-later
"""Who reaches whom: the matrix of the page and what its cells say. Pure.

A fleet whose matrix no screen holds is shown by segments, and of its nodes only those with which
something is wrong.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..verdicts.results import Result, Status
from ..verdicts.summary import Cells, cells, count
from .topology import SYMBOLS

# Details of failed results that the page itself holds; report.json has them all.
DETAILS = 1500
WHOLE = 100  # nodes; the matrix of more is folded
FOLDED = 40  # nodes with findings that a folded matrix shows
BAD = ("failure", "error")
LABELS = {
    "host_routes": "direct, host routes",
    "vxlan": "VXLAN",
    "bgp": "direct, BGP",
    "bgp_vxlan": "VXLAN, BGP",
}
FAMILIES = {"ipv4": "IPv4", "ipv6": "IPv6"}


def matrix(data: Mapping[str, Any], results: Sequence[Result]) -> dict[str, Any]:
    """Rows of statuses; columns as the rows, and one for hosts outside if any was asked for.
    Where the fleet is too large for that, ``ways``: pairs of segments that were asked,
    ``ways_found``: those where something is wrong, ``left_out``: nodes that are not shown,
    ``well`` of them without any finding."""
    asked = [node["name"] for node in data["nodes"] if node["asked"]]
    of = cells(results)
    found = asked if len(asked) <= WHOLE else _with_findings(asked, of)
    names = found if len(asked) <= WHOLE else found[:FOLDED]
    ways = [] if len(asked) <= WHOLE else by_segment(data, of)
    columns = list(names)
    if any(of.get((name, "outside"), "skipped") != "skipped" for name in names):
        columns.append("outside")
    return {
        "names": names,
        "columns": columns,
        "rows": [[of.get((name, column), "skipped") for column in columns] for name in names],
        "ways": len(ways),
        "ways_found": [way for way in ways if way["failure"] or way["error"]],
        "left_out": len(asked) - len(names),
        "well": len(asked) - len(found),
    }


def _with_findings(names: Sequence[str], of: Cells) -> list[str]:
    """Nodes of pairs that are not well, those with the most of them first."""
    bad = dict.fromkeys(names, 0)
    for (source, target), status in of.items():
        if status in BAD:
            for name in {source, target} & bad.keys():
                bad[name] += 1
    found = [name for name in names if bad[name]]
    return sorted(found, key=lambda name: -bad[name])


def by_segment(data: Mapping[str, Any], of: Cells) -> list[dict[str, Any]]:
    """Per pair of segments that was asked: pairs of nodes by status."""
    segment = {node["name"]: node["segment"] for node in data["nodes"]}
    grouped: dict[tuple[str, str], list[Status]] = {}
    for (source, target), status in of.items():
        if source != target and target in segment:
            grouped.setdefault((segment[source], segment[target]), []).append(status)
    return [
        {"source": source, "target": target, **count(found)}
        for (source, target), found in sorted(grouped.items())
    ]


def details(grid: Mapping[str, Any], results: Sequence[Result]) -> dict[str, Any]:
    """What a cell of the matrix ``grid`` shows when it is chosen: counts and round trip, and its
    failed results."""
    names = grid["names"]
    index = {name: number for number, name in enumerate(names)}
    grouped: dict[tuple[int, int], list[Result]] = {}
    for result in results:
        outside = result.target not in index and "outside" in grid["columns"]
        if result.source in index and (result.target in index or outside):
            key = (index[result.source], index.get(result.target, len(names)))
            grouped.setdefault(key, []).append(result)
    room, found = DETAILS, {}
    for (row, column), of in grouped.items():
        bad = [result for result in of if result.status in BAD]
        shown, room = bad[: max(room, 0)], room - len(bad)
        found[f"{row},{column}"] = {**_cell(of), "bad": _merged(shown)}
        found[f"{row},{column}"]["more"] = len(bad) - len(shown)
    return {"names": [*names, "outside"], "cells": found}


def _cell(of: Sequence[Result]) -> dict[str, Any]:
    numbers = count(result.status for result in of)
    rtts = [r.rtt_us for r in of if r.kind == "icmp" and r.rtt_us is not None]
    return {
        "n": [numbers[name] for name in ("success", "failure", "error", "skipped")],
        "by": sorted({label(r.backend) for r in of if r.kind == "tcp" and r.backend}),
        "rtt": min(rtts) if rtts else None,
    }


def _merged(results: Sequence[Result]) -> list[dict[str, str]]:
    """Results that failed alike, together."""
    groups: dict[tuple[str, str, str], list[Result]] = {}
    for result in results:
        key = (result.status, result.found, result.remedy or "")
        groups.setdefault(key, []).append(result)
    return [
        {
            "status": status,
            "what": _checks(of),
            "expected": of[0].expected,
            "found": found,
            "remedy": remedy,
        }
        for (status, found, remedy), of in groups.items()
    ]


def _checks(results: Sequence[Result]) -> str:
    """`tcp, mtu pass (IPv4 + IPv6); udp (IPv4)`."""
    families: dict[str, dict[str, None]] = {}
    for result in results:
        families.setdefault(result.kind, {})[FAMILIES.get(result.family or "", "")] = None
    kinds: dict[str, list[str]] = {}
    for kind, of in families.items():
        kinds.setdefault(" + ".join(of), []).append(kind.replace("_", " "))
    return "; ".join(", ".join(names) + (f" ({of})" if of else "") for of, names in kinds.items())


def label(backend: str | None) -> str:
    """The words for a backend."""
    return LABELS.get(backend or "", backend or SYMBOLS["skipped"])
