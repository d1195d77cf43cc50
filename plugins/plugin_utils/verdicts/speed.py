# SPDX-License-Identifier: GPL-3.0-or-later
"""Which ways are measured, and what came of it: one pair of nodes stands for its kind. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from ..backends import MODES
from ..plan import backend_of
from .observations import Missing
from .scene import POD_A, Scene


def measured_pairs(scene: Scene) -> list[dict[str, str]]:
    """The first pair for each backend and family whose pods are there: ``source``, ``target``,
    ``backend``, ``family``, ``address`` of the target's pod."""
    found: dict[tuple[str, str], dict[str, str]] = {}
    most = len(MODES[scene.fabric.mode]) * len(scene.fabric.families)
    for pair in _pairs(scene):
        found.setdefault((pair["backend"], pair["family"]), pair)
        if len(found) == most:
            break
    return list(found.values())


def _pairs(scene: Scene) -> Iterator[dict[str, str]]:
    for node in scene.nodes:
        for peer in scene.ring.peers(node.name):
            for family in scene.fabric.families:
                ends = [scene.address(name, POD_A, family) for name in (node.name, peer.name)]
                if any(isinstance(end, Missing) for end in ends):
                    continue
                yield {
                    "source": node.name,
                    "target": peer.name,
                    "backend": backend_of(scene.fabric, node.name, peer.name, family),
                    "family": family,
                    "address": str(ends[1]),
                }


def compared(measured: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Each with what an overlay leaves of the direct way of its family: ``share`` of its
    throughput and ``slower_us``; null where only one of the two exists, or the limit was met."""
    items = [dict(item) for item in measured]
    direct = {item["family"]: item for item in items if not item["overhead"] and "mbit" in item}
    for item in items:
        base = direct.get(item["family"], {})
        both = bool(item["overhead"] and "mbit" in item and base.get("mbit"))
        limited = both and (item["limited"] or base["limited"])
        item["share"] = round(item["mbit"] / base["mbit"], 3) if both and not limited else None
        item["slower_us"] = item["rtt_us"] - base["rtt_us"] if both else None
    return items
