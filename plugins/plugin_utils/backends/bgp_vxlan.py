# SPDX-License-Identifier: GPL-3.0-or-later
"""BGP says which node has a range, VXLAN carries the packets there: between segments whose routers
know no pod CIDR.

A node announces each of its ranges to the nodes of other segments with the range's gateway address
as the next hop. That address is a host route into the VXLAN device, with a neighbour and an FDB
entry for the VTEP, so what is learned resolves through the tunnel. The way to a VTEP is pushed, as
in the other modes; what lies behind it is not.
"""

from __future__ import annotations

from ..intent.model import Fabric, Family, Node, gateway_of
from ..kernel.objects import FdbEntry, KernelObject, Learned, Link, Neighbour, Route
from . import vxlan
from .base import Target

name = "bgp_vxlan"


def refusal(fabric: Fabric, node: Node, peer: Node, family: Family) -> str | None:
    if across(node, peer):
        return vxlan.refusal(fabric, node, peer, family)
    if node.segment == peer.segment:
        return f"no VXLAN inside segment {node.segment}"
    if node.bgp_asn != peer.bgp_asn:
        return "no VXLAN between two AS"
    return "no VXLAN where both name routers"


def overhead(fabric: Fabric) -> int:
    return vxlan.overhead(fabric)


def device(fabric: Fabric, node: Node, mtu: int) -> Link | None:
    return vxlan.device(fabric, node, mtu)


def entries(fabric: Fabric, node: Node, peer: Node, target: Target) -> list[KernelObject]:
    underlay = fabric.underlay_family
    if underlay is None:
        return []
    dev = fabric.vxlan_device
    # Of the range and not of the node: while one range makes way for another, both have a next hop.
    next_hop = gateway_of(target.cidr)
    length = 128 if target.family == "ipv6" else 32
    return [
        Neighbour(dev, next_hop, peer.vtep_mac),
        FdbEntry(dev, peer.vtep_mac, peer.underlay[underlay]),
        Route(dst=f"{next_hop}/{length}", via="", src=target.src or "", dev=dev),
    ]


def learned(fabric: Fabric, node: Node, peer: Node, target: Target) -> Learned | None:
    return Learned(target.cidr, gateway_of(target.cidr), peer.name)


def across(node: Node, peer: Node) -> bool:
    """Whether two nodes exchange routes themselves, and have no router that would carry pods."""
    routers = node.bgp_peers and peer.bgp_peers
    return node.segment != peer.segment and node.bgp_asn == peer.bgp_asn and not routers
