# SPDX-License-Identifier: GPL-3.0-or-later
"""report.json → report.html: one file that needs nothing from the network. Pure.

Every value reaches the page through Jinja2 with autoescape, and the page forbids by its own
policy whatever it does not bring: a hostile name stays text.
"""

from __future__ import annotations

import base64
import datetime
import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import jinja2
from markupsafe import Markup

from ..verdicts.results import Result
from ..verdicts.summary import cells, count
from .data import worst
from .topology import SYMBOLS, Drawing, Link, Segment, Topology, draw

# Details of failed results that the page itself holds; report.json has them all.
DETAILS = 1500
NOTHING = SYMBOLS["skipped"]
LABELS = {"host_routes": "direct, host routes", "vxlan": "VXLAN"}
FAMILIES = {"ipv4": "IPv4", "ipv6": "IPv6"}
WORDS = {"success": "holds", "failure": "fails", "error": "could not look", "skipped": "not asked"}


def report_html(data: Mapping[str, Any], templates: Mapping[str, str]) -> str:
    """``templates``: the texts of report.html.j2, parts.html.j2, style.css and page.js."""
    environment = jinja2.Environment(
        loader=jinja2.DictLoader(dict(templates)),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(ms=_ms, when=_when, label=_label, number=_number)
    # The policy of the page names the script by its hash; both files are the collection's own.
    script = templates["page.js"]
    results = [Result.from_dict(item) for item in data["results"]]
    return environment.get_template("report.html.j2").render(
        data=data,
        style=Markup(templates["style.css"]),
        script=Markup(script),
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        families=FAMILIES,
        symbols=SYMBOLS,
        words=WORDS,
        headline=headline(data),
        seconds=_seconds(data),
        matrix=matrix(data, results),
        details=details(data, results),
        drawings=drawings(data, results),
        bars=bars(data),
    )


def headline(data: Mapping[str, Any]) -> str:
    """The verdict in a few words."""
    pairs, status = data["summary"]["pairs"], data["summary"]["status"]
    if data["verdict"] == "pass":
        total = pairs["total"]
        return f"All {total:,} pairs verified" if total else "Everything holds"
    if data["verdict"] == "fail":
        if pairs["failure"]:
            return f"{pairs['failure']:,} of {pairs['total']:,} pairs fail"
        return f"{status['failure']} check{'s' * (status['failure'] != 1)} failed"
    if not status["success"]:
        return "Nothing could be verified"
    return f"{pairs['verified']:,} of {pairs['total']:,} pairs verified, the rest is unknown"


def matrix(data: Mapping[str, Any], results: Sequence[Result]) -> dict[str, Any]:
    """Rows of statuses; columns as the rows, and one for hosts outside if any was asked for."""
    names = [node["name"] for node in data["nodes"] if node["asked"]]
    of = cells(results)
    columns = list(names)
    if any(of.get((name, "outside"), "skipped") != "skipped" for name in names):
        columns.append("outside")
    rows = [[of.get((name, column), "skipped") for column in columns] for name in names]
    return {"names": names, "columns": columns, "rows": rows}


def details(data: Mapping[str, Any], results: Sequence[Result]) -> dict[str, Any]:
    """What a cell shows when it is chosen: counts and round trip, and its failed results."""
    names = [node["name"] for node in data["nodes"] if node["asked"]]
    index = {name: number for number, name in enumerate(names)}
    grouped: dict[tuple[int, int], list[Result]] = {}
    for result in results:
        key = (index[result.source], index.get(result.target, len(names)))
        grouped.setdefault(key, []).append(result)
    room, found = DETAILS, {}
    for (row, column), of in grouped.items():
        bad = [result for result in of if result.status in ("failure", "error")]
        shown, room = bad[: max(room, 0)], room - len(bad)
        numbers = count(result.status for result in of)
        rtts = [r.rtt_us for r in of if r.kind == "icmp" and r.rtt_us is not None]
        found[f"{row},{column}"] = {
            "n": [numbers[name] for name in ("success", "failure", "error", "skipped")],
            "by": sorted({_label(r.backend) for r in of if r.kind == "tcp" and r.backend}),
            "rtt": min(rtts) if rtts else None,
            "bad": _merged(shown),
            "more": len(bad) - len(shown),
        }
    return {"names": [*names, "outside"], "cells": found}


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


# --- drawing -------------------------------------------------------------------------------------


def drawings(data: Mapping[str, Any], results: Sequence[Result]) -> dict[str, Drawing]:
    """The same topology for a desk and for a phone."""
    topology = topology_of(data, results)
    return {"wide": draw(topology, 1120), "narrow": draw(topology, 360)}


def topology_of(data: Mapping[str, Any], results: Sequence[Result]) -> Topology:
    """Segments and the links inside and between them, each with its worst result."""
    segment_of = {node["name"]: node["segment"] for node in data["nodes"]}
    inside: dict[str, list[Result]] = {}
    between: list[Result] = []
    for result in results:
        if result.kind != "tcp" or result.source == result.target:
            continue
        if segment_of[result.source] == segment_of[result.target]:
            inside.setdefault(segment_of[result.source], []).append(result)
        else:
            between.append(result)
    segments = [
        Segment(
            name,
            tuple(node for node in data["nodes"] if node["segment"] == name),
            _links(data, inside.get(name, ()), short=True),
        )
        for name in data["fabric"]["segments"]
    ]
    return Topology(tuple(segments), _links(data, between, short=False))


def _links(data: Mapping[str, Any], results: Sequence[Result], short: bool) -> tuple[Link, ...]:
    """One link per backend."""
    overhead = {path["backend"]: path["overhead"] for path in data["paths"]}
    found = []
    for backend in sorted({result.backend for result in results if result.backend}):
        of = [result for result in results if result.backend == backend]
        cost = overhead.get(backend, 0)
        label = _label(backend)
        if cost and not short:
            fabric = data["fabric"]
            label += f" · VNI {fabric['vni']} · UDP {fabric['vxlan_port']} · {cost} bytes"
        kind = "overlay" if cost else "direct"
        found.append(Link(kind, label, worst(result.status for result in of)))
    return tuple(found)


def bars(data: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Per backend, what a packet on the underlay is made of, and its families' measurements."""
    ways: dict[str, list[Mapping[str, Any]]] = {}
    for path in data["paths"]:
        ways.setdefault(path["backend"], []).append(path)
    ipv6 = data["fabric"]["underlay_family"] == "ipv6"
    return [
        {**paths[0], "parts": _parts(paths[0], ipv6), "paths": paths} for paths in ways.values()
    ]


def _parts(path: Mapping[str, Any], ipv6: bool) -> list[dict[str, Any]]:
    """Layers and their bytes, the outermost first (RFC 7348, section 5)."""
    parts = [{"name": "pod packet", "bytes": path["pod_mtu"], "kind": "pod"}]
    if path["overhead"]:
        outer = [("outer IPv6", 40)] if ipv6 else [("outer IPv4", 20)]
        outer += [("UDP", 8), ("VXLAN", 8), ("inner Ethernet", 14)]
        parts = [{"name": n, "bytes": b, "kind": "outer"} for n, b in outer] + parts
    free = path["underlay_mtu"] - path["pod_mtu"] - path["overhead"]
    if free > 0:
        parts.append({"name": "unused", "bytes": free, "kind": "free"})
    return parts


# --- words ---------------------------------------------------------------------------------------


def _ms(microseconds: int | None) -> str:
    return NOTHING if microseconds is None else f"{microseconds / 1000:.2f} ms"


def _number(value: int) -> str:
    return f"{value:,}"


def _checks(results: Sequence[Result]) -> str:
    """`tcp, mtu pass (IPv4 + IPv6); udp (IPv4)`."""
    families: dict[str, dict[str, None]] = {}
    for result in results:
        families.setdefault(result.kind, {})[FAMILIES.get(result.family or "", "")] = None
    kinds: dict[str, list[str]] = {}
    for kind, of in families.items():
        kinds.setdefault(" + ".join(of), []).append(kind.replace("_", " "))
    return "; ".join(", ".join(names) + (f" ({of})" if of else "") for of, names in kinds.items())


def _label(backend: str | None) -> str:
    return LABELS.get(backend or "", backend or NOTHING)


def _when(stamp: str) -> str:
    """ISO 8601 → `23 Nov 2026, 10:14 UTC`."""
    return datetime.datetime.fromisoformat(stamp).strftime("%-d %b %Y, %H:%M UTC")


def _seconds(data: Mapping[str, Any]) -> int:
    began, ended = (datetime.datetime.fromisoformat(data[key]) for key in ("began", "ended"))
    return int((ended - began).total_seconds())
