# SPDX-License-Identifier: GPL-3.0-or-later
"""Whom a node talks BGP to, what it announces and what it takes: values for frr.conf's template.

Sessions are derived. Nodes of one segment and AS that reflect have sessions with all of these; the
others have sessions with the reflectors alone, or with each other where there is no reflector. Each
family has sessions of its own over addresses of that family, so the next hop is always the peer's
underlay address.

Where VXLAN carries pods between segments, a segment listens by its reflectors, or by all its nodes
where it has none. Every node of the other segments tells these about its own ranges, of both
families in one session, with next hops inside the tunnel; reflectors pass that on in their segment.
"""

from __future__ import annotations

import hashlib
import ipaddress
from collections.abc import Iterable, Iterator
from typing import Any

from .backends.bgp import together
from .backends.bgp_vxlan import across
from .intent.model import FAMILIES, Fabric, Family, Node, family_of, gateway_of
from .intent.problems import Problem
from .plan import NodePlan

# Stands for the password in every text; the node puts the real one in (podnet-bgp.sh).
PASSWORD = "@podnet_bgp_password@"
# A node has one range per family, and for a while some that retire.
PREFIXES_OF_A_NODE = 32
MOST_PREFIXES = 1_000_000
KEYWORD = {"ipv4": "ip", "ipv6": "ipv6"}


def template_values(fabric: Fabric, plan: NodePlan) -> dict[str, Any]:
    """What the template prints. Lists are sorted."""
    node = plan.node
    return {
        "asn": node.bgp_asn,
        "router_id": router_id(node),
        "password": PASSWORD if fabric.bgp_password else "",
        "fingerprint": fabric.bgp_password or "",
        "bfd": fabric.bgp_bfd,
        "families": [_family(fabric, plan, family) for family in _families(fabric, plan)],
        "groups": [group for group in _groups(fabric, plan) if group["members"] or group["ranges"]],
    }


def _families(fabric: Fabric, plan: NodePlan) -> list[Family]:
    """Those that the fleet gives up as well, as long as ranges of them stay somewhere."""
    left = set(map(family_of, plan.retiring_anywhere))
    return [family for family in FAMILIES if family in fabric.families or family in left]


def router_id(node: Node) -> str:
    """32 bits that no other node has (RFC 4271, 4.2): the underlay address, or where that is IPv6
    alone, bits of the name's digest."""
    if "ipv4" in node.underlay:
        return node.underlay["ipv4"]
    digest = hashlib.sha256(f"podnet router {node.name}".encode()).digest()
    return str(ipaddress.IPv4Address(int.from_bytes(digest[:4], "big") | 1 << 24))


def _family(fabric: Fabric, plan: NodePlan, family: Family) -> dict[str, Any]:
    """What is announced and accepted in one family."""
    own = [c for c in (*plan.node.pod_cidrs, *plan.retiring) if family_of(c) == family]
    gateway = plan.node.gateway(family) or next(iter(map(gateway_of, own)), None)
    return {
        "name": family,
        "keyword": KEYWORD[family],
        "own": sorted(own),
        "tunnels": [{"cidr": cidr, "next_hop": gateway_of(cidr)} for cidr in sorted(own)],
        "source": gateway,
        "accepted": [
            {"cidr": cidr, "length": length} for cidr, length in accepted(fabric, plan, family)
        ],
    }


def accepted(fabric: Fabric, plan: NodePlan, family: Family) -> list[tuple[str, int]]:
    """(network, prefix length): every range of this length inside the network is a pod CIDR. The
    lengths are those that nodes have, so that a new node of a usual size changes nothing."""
    clusters = [c for c in fabric.cluster_cidrs if family_of(c) == family]
    found = {(c, n) for c in clusters for n in fabric.lengths[family]}
    # Not always inside the cluster's networks any more.
    retiring = [c for c in plan.retiring_anywhere if family_of(c) == family]
    found |= {(cidr, int(cidr.rpartition("/")[2])) for cidr in retiring}
    return sorted((c, n) for c, n in found if n >= int(c.rpartition("/")[2]))


def orphaned(before: Fabric, after: Fabric) -> Iterator[Problem]:
    """Reflectors that are taken out though they are the last ones of nodes that stay. Sessions with
    them end before others are made, so those nodes would have no routes meanwhile."""
    left = {node.name for node in after.nodes}
    for node in before.nodes if after.mode == "bgp" else ():
        stay = [peer for peer in after.nodes if together(node, peer)]
        alone = len(stay) > 1 and not any(peer.bgp_reflector for peer in stay)
        if node.bgp_reflector and node.name not in left and alone:
            yield Problem(
                f"node {node.name}",
                "is the last route reflector of its segment, and cannot be removed yet",
                f"another reflector among the {len(stay)} nodes that stay",
                "none",
                f"set podnet_bgp_reflector: true on one of them, such as {stay[0].name}, run site, "
                "and remove this one afterwards",
            )


def _groups(fabric: Fabric, plan: NodePlan) -> Iterator[dict[str, Any]]:
    """Peer groups: sessions of one kind and family, with what they have in common."""
    node, families = plan.node, _families(fabric, plan)
    near = [p for p in fabric.segments[node.segment] if p is not node and together(node, p)]
    far = [peer for peer in fabric.nodes if across(node, peer)]
    reflectors = [peer for peer in near if peer.bgp_reflector]
    yield from _tunnelled(fabric, families, node, near, far)
    for family in families:
        source = node.underlay.get(family)
        if source is None:
            continue
        most = _most(fabric, plan, family)
        if node.bgp_reflector:
            clients = [peer for peer in near if not peer.bgp_reflector]
            ranges = _ranges(fabric, [source], _addresses(far, family))
            named = [a for a in _addresses(clients, family) if not _inside(a, ranges)]
            yield _group("clients", family, node, named, ranges, PREFIXES_OF_A_NODE)
            kind = "reflectors"
            yield _group(kind, family, node, _addresses(reflectors, family), [], most)
        elif reflectors:
            members = _addresses(reflectors, family)
            yield _group("reflectors", family, node, members, [], most)
        else:
            members = _addresses(near, family)
            yield _group("nodes", family, node, members, [], PREFIXES_OF_A_NODE)
        routers = [p for p in node.bgp_peers if family_of(p.address) == family]
        group = _group("routers", family, node, [p.address for p in routers], [], most)
        yield {**group, "asns": {p.address: p.asn for p in routers}}


def _tunnelled(
    fabric: Fabric, families: list[Family], node: Node, near: list[Node], far: list[Node]
) -> Iterator[dict[str, Any]]:
    """Sessions with nodes of other segments: of one that listens with all of them, of another with
    those that listen."""
    family = fabric.underlay_family
    if family is None or not far:
        return
    listens = node.bgp_reflector or not any(peer.bgp_reflector for peer in near)
    reflecting = {peer.segment for peer in far if peer.bgp_reflector}
    peers = [p for p in far if listens or p.bgp_reflector or p.segment not in reflecting]
    ranges = []
    if node.bgp_reflector:
        close = [node.underlay[family], *_addresses(near, family)]
        ranges = _ranges(fabric, _addresses(far, family), close)
    named = [a for a in _addresses(peers, family) if not _inside(a, ranges)]
    group = _group("tunnels", family, node, named, ranges, PREFIXES_OF_A_NODE)
    yield {**group, "families": families, "out": "tunnel"}


def _group(
    kind: str, family: Family, node: Node, members: list[str], ranges: list[str], most: int
) -> dict[str, Any]:
    return {
        "name": f"podnet-{kind}-{family}",
        "families": [family],
        "source": node.underlay[family],
        "members": members,
        "ranges": ranges,
        "clients": kind == "clients",
        "out": "reflect" if node.bgp_reflector and kind in ("clients", "reflectors") else "own",
        "asns": {},
        "most": most,
    }


def _addresses(peers: Iterable[Node], family: Family) -> list[str]:
    found = (ipaddress.ip_address(p.underlay[family]) for p in peers if family in p.underlay)
    return [str(address) for address in sorted(found, key=int)]


def _ranges(fabric: Fabric, some: list[str], none: list[str]) -> list[str]:
    """Networks in which a reflector listens for sessions of one kind: with some of these addresses,
    and none of those. Who is in a network of both kinds has to be named."""
    return [
        cidr
        for cidr in fabric.bgp_listen_ranges
        if any(_inside(a, [cidr]) for a in some) and not any(_inside(a, [cidr]) for a in none)
    ]


def _inside(address: str, networks: Iterable[str]) -> bool:
    return any(ipaddress.ip_address(address) in ipaddress.ip_network(cidr) for cidr in networks)


def _most(fabric: Fabric, plan: NodePlan, family: Family) -> int:
    """How many pod CIDRs the cluster's networks have room for, and how many retire: more is a
    leak."""
    longest = max(fabric.lengths[family], default=0)
    room = sum(family_of(cidr) == family for cidr in plan.retiring_anywhere)
    for cidr in fabric.cluster_cidrs:
        if family_of(cidr) == family:
            room += 1 << max(longest - int(cidr.rpartition("/")[2]), 0)
    return min(max(room, PREFIXES_OF_A_NODE), MOST_PREFIXES)
