# SPDX-License-Identifier: GPL-3.0-or-later
"""What leaves a node with its pods' own addresses, and what is masqueraded: values for the
template of the nftables table, and what of it must be there before anything is switched."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from .backends import learns
from .intent.model import FAMILIES, Fabric, Family, family_of
from .kernel.answer import as_listed
from .plan import NodePlan, pod_ranges
from .strangers import guarded

# The chain that lets through what is not masqueraded, by family.
CHAINS: Mapping[Family, str] = {"ipv4": "leaving4", "ipv6": "leaving6"}
# BGP, and BFD, which ends sessions (RFC 4271, 5881, 5883).
BGP_PORTS = ("tcp . 179", "udp . 3784", "udp . 3785", "udp . 4784")


def template_values(fabric: Fabric, plan: NodePlan) -> list[dict[str, Any]]:
    """Per family: the node's pods, and everything that must see their real addresses, as networks
    and as single peers."""
    return [
        {
            "keyword": "ip" if family == "ipv4" else "ip6",
            "number": CHAINS[family][-1],
            "type": f"{family}_addr",
            "pods": pods,
            "networks": _networks(fabric, plan, family),
            "peers": plan.ways.direct(family),
            "dropped": list(_as_node(fabric, plan, family)),
        }
        for family, pods in _masqueraded(fabric, plan).items()
    ]


def _as_node(fabric: Fabric, plan: NodePlan, family: Family) -> Iterator[str]:
    """What pods must not send with the node's address, because other nodes believe that address.
    Whom it goes to is not asked: a connection that began before there was a node at its other end
    would stay translated for as long as it lives. A VNI would be that of its first packet only."""
    devices = [link.vxlan for link in plan.links if link.vxlan] if guarded(fabric) else []
    ports = {vxlan.port: None for vxlan in devices if family_of(vxlan.local) == family}
    yield from (f"udp dport {port}" for port in ports)
    if learns(fabric):
        yield f"meta l4proto . th dport {{ {', '.join(BGP_PORTS)} }}"


def untranslated(fabric: Fabric, plan: NodePlan) -> dict[str, tuple[str, ...]]:
    """Chain → networks and addresses that it must let through, as nft writes them."""
    return {
        CHAINS[family]: tuple(
            as_listed(item)
            for item in (*_networks(fabric, plan, family), *plan.ways.direct(family))
        )
        for family in _masqueraded(fabric, plan)
    }


def _masqueraded(fabric: Fabric, plan: NodePlan) -> dict[Family, list[str]]:
    own = (*plan.node.pod_cidrs, *plan.retiring)
    ranges = {family: [c for c in own if family_of(c) == family] for family in FAMILIES}
    return {f: of for f, of in ranges.items() if of and f in fabric.masquerade}


def _networks(fabric: Fabric, plan: NodePlan, family: Family) -> tuple[str, ...]:
    excluded = [c for c in fabric.masquerade_exclude if family_of(c) == family]
    return tuple(dict.fromkeys((*pod_ranges(fabric, plan, family), *excluded)))
