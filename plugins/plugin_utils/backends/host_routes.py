# SPDX-License-Identifier: GPL-3.0-or-later
"""Direct routes: the peer's underlay address is the next hop to its pod CIDR.

Connection tracking puts the pieces of an IPv6 datagram together, and the kernel then cuts it anew
by the MTU of the way out alone. Where that is the underlay's and above the pod MTU, the datagram
leaves whole, and the peer's bridge must refuse it: only the sender may cut an IPv6 packet (RFC
8200, section 5). So the route has the pod MTU. An IPv4 router may cut packets itself.
"""

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
    via, mtu = peer.underlay[target.family], target.mtu if target.family == "ipv6" else 0
    return [Route(dst=target.cidr, via=via, src=target.src or "", mtu=mtu)]


def learned(fabric: Fabric, node: Node, peer: Node, target: Target) -> Learned | None:
    return None
