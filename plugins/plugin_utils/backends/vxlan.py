# SPDX-License-Identifier: GPL-3.0-or-later
"""VXLAN (RFC 7348): packets between nodes travel inside UDP between underlay addresses.

One device per node, learning off. Per peer one FDB entry (VTEP MAC → underlay address) and
per family one neighbour (inner next hop → VTEP MAC) and one route; nothing is flooded.
"""

from __future__ import annotations

from ..intent.model import VXLAN_OVERHEAD, Fabric, Family, Node, gateway_of, link_local_of
from ..kernel.objects import FdbEntry, KernelObject, Learned, Link, Neighbour, Route, Vxlan
from .base import Target

name = "vxlan"


def refusal(fabric: Fabric, node: Node, peer: Node, family: Family) -> str | None:
    if fabric.underlay_family is not None:
        return None
    if fabric.vxlan_family == "auto":
        return "no address family that every node's underlay has"
    lacking = next(n.name for n in fabric.nodes if fabric.vxlan_family not in n.underlay)
    return f"podnet_vxlan_family is {fabric.vxlan_family}, and {lacking} has no such address"


def overhead(fabric: Fabric) -> int:
    family = fabric.underlay_family
    return VXLAN_OVERHEAD[family] if family else 0


def device(fabric: Fabric, node: Node, mtu: int) -> Link | None:
    family = fabric.underlay_family
    if family is None:
        return None
    local = Vxlan(fabric.vni, fabric.vxlan_port, node.underlay[family])
    return Link(fabric.vxlan_device, node.vtep_mac, mtu, local)


def entries(fabric: Fabric, node: Node, peer: Node, target: Target) -> list[KernelObject]:
    underlay = fabric.underlay_family
    if underlay is None:
        return []
    dev = fabric.vxlan_device
    next_hop = _next_hop(peer, target)
    return [
        Neighbour(dev, next_hop, peer.vtep_mac),
        FdbEntry(dev, peer.vtep_mac, peer.underlay[underlay]),
        Route(
            dst=target.cidr,
            via=next_hop,
            src=target.src or "",
            dev=dev,
            onlink=target.family == "ipv4",
        ),
    ]


def learned(fabric: Fabric, node: Node, peer: Node, target: Target) -> Learned | None:
    return None


def _next_hop(peer: Node, target: Target) -> str:
    """The peer's inner next hop.

    IPv4: its gateway address, which no packet has to carry. IPv6: the link-local address of
    its VTEP MAC, because the kernel refuses an `onlink` next hop that another interface's
    route covers (net/ipv6/route.c, ip6_route_check_nh_onlink), and in a switch from direct
    routes to VXLAN the gateway address is covered by the very route that is to be replaced.
    """
    if target.family == "ipv6":
        return link_local_of(peer.vtep_mac)
    return peer.gateways.get("ipv4") or gateway_of(target.cidr)
