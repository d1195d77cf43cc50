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

from ..causes.lines import Alike, alike
from ..causes.suspects import Cause
from ..verdicts.results import Result
from .data import worst
from .matrix import FAMILIES, details, label, matrix
from .topology import SYMBOLS, Drawing, Link, Segment, Topology, draw

NOTHING = SYMBOLS["skipped"]
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
    environment.filters.update(ms=_ms, when=_when, label=label, from_to=_from_to, number=_number)
    # The policy of the page names the script by its hash; both files are the collection's own.
    script = templates["page.js"]
    results = [Result.from_dict(item) for item in data["results"]]
    grid = matrix(data, results)
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
        matrix=grid,
        details=details(grid, results),
        drawings=drawings(data, results),
        bars=bars(data),
        causes=_causes(data["causes"]),
    )


def _causes(named: Sequence[Mapping[str, Any]]) -> list[Alike]:
    """What is to be said of all causes, each once."""
    names = ("node", "kind", "object", "expected", "found", "repair")
    return alike([(Cause(*(item[n] for n in names)), tuple(item["results"])) for item in named])


def headline(data: Mapping[str, Any]) -> str:
    """The verdict in a few words."""
    pairs, status = data["summary"]["pairs"], data["summary"]["status"]
    total, asked = pairs["total"], pairs["total"] - pairs["skipped"]
    every = f"{asked:,} of {total:,} pairs asked, " if asked < total else ""
    if data["verdict"] == "pass":
        if every:
            return every + "all verified"
        return f"All {total:,} pairs verified" if total else "Everything holds"
    if data["verdict"] == "fail":
        if pairs["failure"]:
            return f"{pairs['failure']:,} of {asked:,} pairs fail"
        return f"{status['failure']} check{'s' * (status['failure'] != 1)} failed"
    if not status["success"]:
        return "Nothing could be verified"
    return f"{pairs['verified']:,} of {pairs['total']:,} pairs verified, the rest is unknown"


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
        name = label(backend)
        if cost and not short:
            fabric = data["fabric"]
            name += f" · VNI {fabric['vni']} · UDP {fabric['vxlan_port']} · {cost} bytes"
        kind = "overlay" if cost else "direct"
        found.append(Link(kind, name, worst(result.status for result in of)))
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


def _when(stamp: str) -> str:
    """ISO 8601 → `23 Nov 2026, 10:14 UTC`."""
    return datetime.datetime.fromisoformat(stamp).strftime("%-d %b %Y, %H:%M UTC")


def _from_to(began: str, ended: str) -> str:
    """`from 23 Nov 2026, 10:14 UTC to 23 Nov 2026, 10:16 UTC`; seconds where minutes are alike."""
    if _when(began) != _when(ended):
        return f"from {_when(began)} to {_when(ended)}"
    first, last = map(datetime.datetime.fromisoformat, (began, ended))
    return f"{first:%-d %b %Y}, from {first:%H:%M:%S} to {last:%H:%M:%S} UTC"


def _seconds(data: Mapping[str, Any]) -> int:
    began, ended = (datetime.datetime.fromisoformat(data[key]) for key in ("began", "ended"))
    return int((ended - began).total_seconds())
