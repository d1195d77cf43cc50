# SPDX-License-Identifier: GPL-3.0-or-later
"""The registry of modes: which backends serve a mode, in order of preference."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

from ..intent.model import Fabric, Family, Node
from . import bgp, bgp_vxlan, host_routes, vxlan
from .base import Backend, Target

BACKENDS: Mapping[str, Backend] = {
    module.name: cast(Backend, module) for module in (host_routes, vxlan, bgp, bgp_vxlan)
}

MODES: Mapping[str, tuple[Backend, ...]] = {
    "routed": (BACKENDS["host_routes"],),
    "vxlan": (BACKENDS["vxlan"],),
    "auto": (BACKENDS["host_routes"], BACKENDS["vxlan"]),
    "bgp": (BACKENDS["bgp"], BACKENDS["bgp_vxlan"]),
}


def learns(fabric: Fabric) -> bool:
    """Whether nodes of this fleet run BGP."""
    return BACKENDS["bgp"] in MODES[fabric.mode]


def serving(fabric: Fabric, node: Node, peer: Node, family: Family) -> Backend | None:
    """The first backend of the fabric's mode that can carry ``family`` between two nodes."""
    for backend in MODES[fabric.mode]:
        if backend.refusal(fabric, node, peer, family) is None:
            return backend
    return None


__all__ = ["BACKENDS", "MODES", "Backend", "Target", "learns", "serving"]
