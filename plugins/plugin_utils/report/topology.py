# SPDX-License-Identifier: GPL-3.0-or-later
"""The fleet as a drawing: segments as boxes with their nodes, the router, links by kind. Pure.

Shapes are values and the template prints them, so that every name is escaped in one place.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

SIDE_BY_SIDE = 4  # segments; more are stacked
COMPACT_FROM = 25  # nodes; then tiles show names alone
DENSE_FROM = 200  # nodes; then tiles show marks alone, names as tooltips
GAP, PAD, HEAD = 28, 14, 62
SYMBOLS = {"success": "✓", "failure": "✕", "error": "?", "skipped": "\N{EN DASH}"}


@dataclass(frozen=True, slots=True)
class Shape:
    """One SVG element; ``text`` is its content, ``title`` its tooltip."""

    tag: str
    attrs: Mapping[str, Any]
    text: str | None = None
    title: str | None = None


@dataclass
class Drawing:
    """Shapes on a canvas of ``width`` x ``height`` units."""

    width: int
    height: int = 0
    shapes: list[Shape] = field(default_factory=list)

    def rect(self, x: float, y: float, w: float, h: float, kind: str, title: str = "") -> None:
        attrs = {"x": x, "y": y, "width": w, "height": h, "rx": 8, "class": kind}
        self.shapes.append(Shape("rect", attrs, title=title or None))

    def text(self, x: float, y: float, text: str, kind: str) -> None:
        self.shapes.append(Shape("text", {"x": x, "y": y, "class": kind}, text=text))

    def path(self, d: str, kind: str) -> None:
        self.shapes.append(Shape("path", {"d": d, "class": kind}))

    def dot(self, x: float, y: float, kind: str) -> None:
        self.shapes.append(Shape("circle", {"cx": x, "cy": y, "r": 3.5, "class": kind}))


@dataclass(frozen=True, slots=True)
class Tile:
    """Size of a node, and what it shows beside its mark."""

    width: int
    height: int
    named: bool = True
    addressed: bool = False


@dataclass(frozen=True, slots=True)
class Link:
    """One kind of link: ``kind`` is direct or overlay; ``status`` the worst of its pairs."""

    kind: str
    label: str
    status: str


@dataclass(frozen=True, slots=True)
class Segment:
    """A box of the drawing."""

    name: str
    nodes: tuple[Mapping[str, Any], ...]
    inside: tuple[Link, ...]


@dataclass(frozen=True, slots=True)
class Topology:
    """What is drawn. ``between``: links between segments."""

    segments: tuple[Segment, ...]
    between: tuple[Link, ...]


def draw(topology: Topology, width: int) -> Drawing:
    """Side by side where there is room, else one below the other."""
    wide = width > 700 and len(topology.segments) <= SIDE_BY_SIDE
    return _side_by_side(topology, width) if wide else _stacked(topology, width)


def _tile(topology: Topology, narrow: bool) -> Tile:
    total = sum(len(segment.nodes) for segment in topology.segments)
    if total >= DENSE_FROM:
        return Tile(20, 20, named=False)
    if total >= COMPACT_FROM:
        return Tile(92, 30)
    return Tile(148 if narrow else 164, 66, addressed=True)


def _side_by_side(topology: Topology, width: int) -> Drawing:
    drawing, count = Drawing(width), len(topology.segments)
    tile = _tile(topology, narrow=False)
    box = (width - GAP * (count - 1)) / count
    top = 84 if count > 1 else 4
    lefts = [index * (box + GAP) for index in range(count)]
    middles = [left + box / 2 for left in lefts]
    height = max(_height(len(s.nodes), box, tile) for s in topology.segments)
    if count > 1:
        for middle in middles:
            drawing.path(f"M{width / 2} 44 V62 H{middle:.1f} V{top}", "underlay")
        _router(drawing, width / 2)
    for segment, left in zip(topology.segments, lefts, strict=True):
        _segment(drawing, segment, (left, top, box, height), tile)
    bottom: float = top + height
    for link in topology.between:
        bottom = _bus_below(drawing, link, middles, (top + height, bottom))
    drawing.height = int(bottom) + 6
    return drawing


def _bus_below(
    drawing: Drawing, link: Link, middles: Sequence[float], span: tuple[float, float]
) -> float:
    """A rail below the boxes that joins them; returns its lower edge."""
    start, last = span
    rail = last + 30
    for middle in middles:
        drawing.path(f"M{middle:.1f} {start} V{rail}", f"link {link.kind} {link.status}")
        drawing.dot(middle, rail, f"joint {link.kind}")
    drawing.path(f"M{middles[0]:.1f} {rail} H{middles[-1]:.1f}", f"link {link.kind} {link.status}")
    drawing.text(drawing.width / 2, rail + 20, link.label, f"label centre {link.kind}")
    return rail + 26


def _stacked(topology: Topology, width: int) -> Drawing:
    """Rails on the sides: the underlay with its router left, the overlay right."""
    drawing, many = Drawing(width), len(topology.segments) > 1
    tile = _tile(topology, narrow=width < 700)
    rail = 22 if many else 0
    box, y = width - 2 * rail, 4.0
    if many:
        _router(drawing, width / 2)
        y = 60 + 18 * len(topology.between)
        for index, link in enumerate(topology.between):
            drawing.text(width / 2, 62 + 18 * index, link.label, f"label centre {link.kind}")
    centres = []
    for segment in topology.segments:
        height = _height(len(segment.nodes), box, tile)
        _segment(drawing, segment, (rail, y, box, height), tile)
        centres.append(y + height / 2)
        y += height + 16
    if many:
        drawing.path(f"M{width / 2 - 110} 24 H7 V{centres[-1]:.1f}", "underlay")
        for centre in centres:
            drawing.path(f"M7 {centre:.1f} H{rail}", "underlay")
        for index, link in enumerate(topology.between):
            _rail_right(drawing, link, centres, width - 7 - 5 * index, width - rail)
    drawing.height = int(y) - 8
    return drawing


def _rail_right(
    drawing: Drawing, link: Link, centres: Sequence[float], x: float, edge: float
) -> None:
    kind = f"link {link.kind} {link.status}"
    drawing.path(f"M{x} {centres[0]:.1f} V{centres[-1]:.1f}", kind)
    for centre in centres:
        drawing.path(f"M{edge} {centre:.1f} H{x}", kind)
        drawing.dot(edge, centre, f"joint {link.kind}")


def _router(drawing: Drawing, middle: float) -> None:
    drawing.rect(middle - 110, 4, 220, 40, "router")
    drawing.text(middle, 21, "router", "name centre")
    drawing.text(middle, 36, "knows no pod CIDR", "small centre")


def _columns(inner: float, tile: Tile) -> int:
    return max(1, int((inner + 10) // (tile.width + 10)))


def _height(nodes: int, box: float, tile: Tile) -> int:
    rows = -(-nodes // _columns(box - 2 * PAD, tile))
    return HEAD + rows * (tile.height + 12) + 6


def _segment(
    drawing: Drawing, segment: Segment, place: tuple[float, float, float, float], tile: Tile
) -> None:
    left, top, width, height = place
    drawing.rect(left, top, width, height, "segment")
    drawing.text(left + PAD, top + 22, fit(segment.name, (width - 100) / 7.6), "name")
    nodes = len(segment.nodes)
    drawing.text(left + width - PAD, top + 22, f"{nodes} node{'s' * (nodes != 1)}", "small right")
    for index, link in enumerate(segment.inside):
        y = top + 48 + 5 * index
        drawing.path(f"M{left + PAD} {y} H{left + width - PAD}", f"link {link.kind} {link.status}")
    if segment.inside:
        label = " + ".join(link.label for link in segment.inside)
        drawing.text(left + PAD, top + 41, label, f"label {segment.inside[0].kind}")
    _tiles(drawing, segment, place, tile)


def _tiles(
    drawing: Drawing, segment: Segment, place: tuple[float, float, float, float], tile: Tile
) -> None:
    left, top, width, _height_of = place
    inner = width - 2 * PAD
    columns = min(_columns(inner, tile), len(segment.nodes))
    step = (inner + 10) / _columns(inner, tile)
    places = [
        (left + PAD + index % columns * step, top + HEAD + index // columns * (tile.height + 12))
        for index in range(len(segment.nodes))
    ]
    if segment.inside:
        # The way to the lowest node of each column; the nodes above it stand on it.
        stem = 18 if tile.named else (step - 10) / 2
        for x, y in places[-columns:]:
            drawing.path(f"M{x + stem} {top + 48} V{y}", f"link {segment.inside[0].kind}")
    for node, (x, y) in zip(segment.nodes, places, strict=True):
        _node(drawing, node, (x, y, step - 10), tile)


def _node(
    drawing: Drawing, node: Mapping[str, Any], place: tuple[float, float, float], tile: Tile
) -> None:
    x, y, width = place
    status = node["status"] if node["asked"] else "skipped"
    lines = [node["name"], *node["pod_cidrs"], *node["underlay_addresses"]]
    drawing.rect(x, y, width, tile.height, f"node {status}", "\n".join(lines))
    if not tile.named:
        drawing.text(x + width / 2, y + 15, SYMBOLS[status], f"mark centre {status}")
        return
    base = y + 20
    drawing.text(x + 10, base, SYMBOLS[status], f"mark {status}")
    drawing.text(x + 26, base, fit(node["name"], (width - 34) / 7.4), "name")
    if tile.addressed:
        for index, cidr in enumerate(node["pod_cidrs"]):
            drawing.text(x + 10, base + 18 + 16 * index, fit(cidr, (width - 16) / 6.7), "mono")


def fit(text: str, columns: float) -> str:
    """Cut to a number of columns; the tooltip has the whole."""
    room = max(int(columns), 3)
    return text if len(text) <= room else text[: room - 1] + "…"


def kinds(paths: Iterable[Mapping[str, Any]]) -> list[str]:
    """direct and overlay, as they occur, direct first."""
    return sorted({"overlay" if path["overhead"] else "direct" for path in paths})
