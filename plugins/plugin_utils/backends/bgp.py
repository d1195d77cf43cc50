# SPDX-License-Identifier: GPL-3.0-or-later
"""BGP (RFC 4271): FRR on each node announces its pod CIDRs and learns the others'.

Nodes of one segment and one AS talk to each other, directly or through reflectors (RFC 4456), and
the next hop is the peer's underlay address. Any other pair needs routers that both have sessions
with, and these routers must know the way.
"""

from __future__ import annotations

from ..intent.model import Fabric, Family, Node, family_of
from ..kernel.objects import KernelObject, Learned, Link
from .base import Target

name = "bgp"


def refusal(fabric: Fabric, node: Node, peer: Node, family: Family) -> str | None:
    if together(node, peer):
        for one in (node, peer):
            if family not in one.underlay:
                return f"{one.name} has no {family} underlay address"
        return None
    for one in (node, peer):
        if not any(family_of(router.address) == family for router in one.bgp_peers):
            return (
                f"{_place(node)} and {_place(peer)} have no session with each other, and "
                f"podnet_bgp_peers of {one.name} names no {family} router"
            )
    return None


def overhead(fabric: Fabric) -> int:
    return 0


def device(fabric: Fabric, node: Node, mtu: int) -> Link | None:
    return None


def entries(fabric: Fabric, node: Node, peer: Node, target: Target) -> list[KernelObject]:
    return []


def learned(fabric: Fabric, node: Node, peer: Node, target: Target) -> Learned | None:
    # A router may name itself or, on a shared network, somebody else as the next hop.
    via = peer.underlay[target.family] if together(node, peer) else ""
    return Learned(target.cidr, via, peer.name)


def together(node: Node, peer: Node) -> bool:
    """Whether two nodes exchange routes without a router between them."""
    return (node.segment, node.bgp_asn) == (peer.segment, peer.bgp_asn)


def _place(node: Node) -> str:
    return f"{node.name} (segment {node.segment}, AS {node.bgp_asn})"
