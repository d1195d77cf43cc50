# SPDX-License-Identifier: GPL-3.0-or-later
"""What the plan says of a node's FRR: its sessions, and which prefix must come from whom. Pure."""

from __future__ import annotations

import ipaddress
from collections.abc import Container, Iterator
from dataclasses import dataclass

from ..backends.bgp import together
from ..backends.bgp_vxlan import across
from ..bgp import template_values
from ..intent.model import Fabric, Family, Node, family_of
from ..kernel.objects import Learned
from ..plan import NodePlan
from .heard import DAEMONS, Heard


@dataclass(frozen=True, slots=True)
class Session:
    """One session of a node.

    Attributes:
        family: of the addresses between which it is.
        carries: families of the prefixes that are exchanged.
        address, asn: of the peer.
        peer: name of the node that it is; empty for a router.
        listens: the node waits for the peer, and its configuration does not name it.
    """

    family: Family
    carries: tuple[Family, ...]
    address: str
    asn: int
    peer: str
    listens: bool = False


def sessions(fabric: Fabric, plan: NodePlan) -> tuple[Session, ...]:
    """Every session that a node must have, in the order of its configuration."""
    values = template_values(fabric, plan)
    nodes = {a: n.name for n in fabric.nodes for a in n.underlay_addresses}
    found = []
    named = {address for group in values["groups"] for address in group["members"]}
    for group in values["groups"]:
        family, carries = family_of(group["source"]), tuple(group["families"])
        for address in group["members"]:
            asn = group["asns"].get(address, values["asn"])
            found.append(Session(family, carries, address, asn, nodes.get(address, "")))
        for peer in _listening(fabric, plan.node, group["ranges"], family):
            if peer.underlay[family] not in named:
                address, asn = peer.underlay[family], peer.bgp_asn
                found.append(Session(family, carries, address, asn, peer.name, listens=True))
    return tuple(found)


def _listening(fabric: Fabric, node: Node, ranges: list[str], family: Family) -> Iterator[Node]:
    """Nodes that a reflector hears of without naming them: those of its networks that name it."""
    networks = [ipaddress.ip_network(cidr) for cidr in ranges]
    for peer in fabric.nodes if networks else ():
        address = peer.underlay.get(family)
        talks = peer is not node and (together(node, peer) or across(node, peer))
        if talks and address and any(ipaddress.ip_address(address) in n for n in networks):
            yield peer


def reflectors_of(fabric: Fabric, names: set[str]) -> set[str]:
    """Reflectors between these nodes and others: what they lack may be lacking there."""
    near = {(fabric.by_name[n].segment, fabric.by_name[n].bgp_asn) for n in names}
    return {
        node.name
        for node in fabric.nodes
        if node.bgp_reflector and (node.segment, node.bgp_asn) in near
    }


def lacking(plan: NodePlan, heard: Heard) -> list[Learned]:
    """Prefixes that are not learned, or from elsewhere."""
    return [route for route in plan.learned if not as_planned(route, heard)]


def as_planned(route: Learned, heard: Heard) -> bool:
    return route.fits(heard.learned.get(route.dst, ()))


def whole(fabric: Fabric, plan: NodePlan, heard: Heard, among: Container[str]) -> bool:
    """Whether nothing of these nodes and of routers is missing, so that nobody has to wait any
    longer. What a node has that was not asked nobody can know, and it may be down for good."""
    return (
        heard.daemons.issuperset(DAEMONS)
        and not any(route.peer in among for route in lacking(plan, heard))
        and all(
            heard.stands(session.address)
            for session in sessions(fabric, plan)
            if not session.peer or session.peer in among
        )
    )
