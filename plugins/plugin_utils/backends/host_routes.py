# SPDX-License-Identifier: GPL-3.0-or-later
"""Direct routes: the peer's underlay address is the next hop to its pod CIDR."""

from __future__ import annotations

from ..intent.model import Fabric, Family, Node
from ..kernel.objects import KernelObject, Learned, Link, Route
from .base import Target

name = "host_routes"


def refusal(fabric: Fabric, node: Node, peer: Node, family: Family) -> str | None:
    if node.segment != peer.segment:
        return f"{node.name} is in segment {node.segment}, {peer.name} in {peer.segment}"
    for one in (node, peer):
        if family not in one.underlay:
            return f"{one.name} has no {family} underlay address"
    return None


def overhead(fabric: Fabric) -> int:
    return 0


def device(fabric: Fabric, node: Node, mtu: int) -> Link | None:
    return None


def entries(fabric: Fabric, node: Node, peer: Node, target: Target) -> list[KernelObject]:
    return [Route(dst=target.cidr, via=peer.underlay[target.family], src=target.src or "")]


def learned(fabric: Fabric, node: Node, peer: Node, target: Target) -> Learned | None:
    return None
