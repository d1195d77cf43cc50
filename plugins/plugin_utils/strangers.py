# SPDX-License-Identifier: GPL-3.0-or-later
"""What the nftables table of a node keeps out: values for its template, and its way from one state
to the next.

VXLAN has no authentication (RFC 7348, section 7), so the addresses that may send are a set. A
change widens it before anybody sends from a new address, and narrows it after the last one has
stopped: between the two the table is loaded with what this text adds to the rendered one. Networks
with pods are let through unmasqueraded before anybody has an address there.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .intent.model import FAMILIES, Fabric, Family, family_of, gateway_of, link_local_of
from .kernel.objects import Link, Vxlan
from .kernel.state import State
from .plan import NodePlan, pod_ranges

# Set of the underlay addresses that may send encapsulated packets, by family.
SENDERS: Mapping[Family, str] = {"ipv4": "vteps4", "ipv6": "vteps6"}
KEYWORD: Mapping[Family, str] = {"ipv4": "ip", "ipv6": "ip6"}


def senders(fabric: Fabric, plan: NodePlan) -> dict[str, tuple[str, ...]]:
    """Set name → addresses of the peers that the node talks VXLAN to; no set where the node has no
    VXLAN device."""
    family = fabric.underlay_family
    if family is None or not any(link.vxlan for link in plan.links):
        return {}
    return {SENDERS[family]: tuple(plan.ways.vteps)}


def guarded(fabric: Fabric) -> bool:
    """Whether nobody but the fleet may send."""
    return fabric.vxlan_from == "fleet"


def template_values(fabric: Fabric, plan: NodePlan) -> dict[str, Any]:
    """What the template of the table prints of this. Lists are sorted; empty: not wanted."""
    bound = fabric.pod_identity == "bound"
    allowed = senders(fabric, plan) if guarded(fabric) else {}
    return {
        "senders": [
            {"set": name, "type": f"{_family(name)}_addr", "addresses": addresses}
            for name, addresses in allowed.items()
        ],
        **_tunnels(fabric, plan, bool(allowed)),
        "between_pods": _between_pods(fabric, plan) if fabric.pod_tracking == "outside" else [],
        "sources": _sources(plan) if fabric.pod_sources == "own_ranges" else [],
        "identity": _identity(fabric, plan) if bound else {},
        "to_node": _to_node(fabric, plan),
    }


def untracked(fabric: Fabric) -> bool:
    """Whether nodes keep the kernel's connection tracking away from encapsulated packets (ADR
    0009). Where podnet neither brings it nor looks at these packets, they are left as they are."""
    asks = fabric.pods_to_node == "established"
    return bool(fabric.masquerade) or asks or guarded(fabric)


def _tunnels(fabric: Fabric, plan: NodePlan, checked: bool) -> dict[str, list[str]]:
    """Rules for encapsulated packets: which arriving and which leaving ones are not tracked, and
    which are dropped."""
    links = [link for link in plan.links if link.vxlan]
    arriving = [f"{_outer(link)} fib daddr type local" for link in links]
    if checked:
        arriving = [f"{_outer(link)} {_sender(link)}" for link in links]
    leaving = [_outer(link) for link in links]
    return {
        "arriving": arriving if untracked(fabric) else [],
        "leaving": leaving if untracked(fabric) else [],
        "tunnel_rules": [*map(tunnel_rule, links), *_in_pieces(links)] if checked else [],
    }


def _between_pods(fabric: Fabric, plan: NodePlan) -> list[str]:
    """Matches what pods send one another. What they send to the node's own gateways is left out, so
    that the node's firewall knows the answers that it gets. A packet that finds a set empty, as it
    is while the table is replaced, is tracked, and nothing comes of it."""
    rules = []
    for family in FAMILIES:
        ranges, own = pod_ranges(fabric, plan, family), _gateways(plan, family)
        if ranges and own:
            word, pods = KEYWORD[family], _set(ranges)
            rules.append(f"{word} saddr {pods} {word} daddr {pods} {word} daddr != {_set(own)}")
    return rules


def _set(items: Sequence[str]) -> str:
    """As nft writes it: one without braces is the faster comparison."""
    return items[0] if len(items) == 1 else f"{{ {', '.join(items)} }}"


def tunnel_rule(link: Link) -> str:
    """Drops the packets of one VXLAN device that come from elsewhere. At the input, because only
    there it is sure that a packet is for the node: it may come to a broadcast address, or by a
    VRF. What peers send is told by the first comparisons."""
    vxlan = _vxlan(link)
    return f"udp dport {vxlan.port} {_sender(link, '!= ')} {_vni(vxlan)} drop"


def _as_node(link: Link, chains: Container[str]) -> str:
    """Pods must not send to the peers of an old device with their node's address, which these
    believe. Before all networks, because no peer is in one; none where nothing is masqueraded."""
    vxlan = _vxlan(link)
    family = family_of(vxlan.local)
    name, chain = SENDERS[family], f"leaving{SENDERS[family][-1]}"
    rule = f"udp dport {vxlan.port} {KEYWORD[family]} daddr @{name} drop"
    return f"insert rule inet podnet {chain} {rule}\n" if chain in chains else ""


def _in_pieces(links: list[Link]) -> Iterator[str]:
    """IPv6 puts packets together behind the input unless they are tracked. The VNI may then be in
    the second piece: a first one from elsewhere that does not show another VNI is dropped."""
    for link in links:
        if family_of(_vxlan(link).local) == "ipv6":
            first = f"exthdr frag exists udp dport {_vxlan(link).port} {_sender(link, '!= ')}"
            yield f"{first} @th,96,24 != {_vxlan(link).vni} accept"
            yield f"{first} drop"


def _sender(link: Link, operator: str = "") -> str:
    family = family_of(_vxlan(link).local)
    return f"{KEYWORD[family]} saddr {operator}@{SENDERS[family]}"


def _outer(link: Link) -> str:
    """Matches what is encapsulated for one VXLAN device."""
    vxlan = _vxlan(link)
    return f"udp dport {vxlan.port} {_vni(vxlan)}"


def _vni(vxlan: Vxlan) -> str:
    """Devices of others may have the same port, so the VNI is compared, too: 24 bits at byte 12
    behind the start of the UDP header (RFC 7348, section 5)."""
    return f"@th,96,24 {vxlan.vni}"


def _vxlan(link: Link) -> Vxlan:
    if link.vxlan is None:
        raise AssertionError(f"{link.name} is no VXLAN device")
    return link.vxlan


def _family(name: str) -> Family:
    return next(family for family, of in SENDERS.items() if of == name)


def _ranges(plan: NodePlan, family: Family) -> list[str]:
    return [c for c in (*plan.node.pod_cidrs, *plan.retiring) if family_of(c) == family]


def _gateways(plan: NodePlan, family: Family) -> list[str]:
    return [gateway_of(cidr) for cidr in _ranges(plan, family)]


def _sources(plan: NodePlan) -> list[dict[str, str]]:
    """Addresses that pods must not and may send from, family by family, so that an IPv4 packet
    meets no more than its own. Link-local and unspecified ones are needed for neighbour discovery
    (RFC 4861) and are never routed. portmap lets the bridge take packets for localhost, which the
    node alone may send to; here its answers are still those to the bridge's address."""
    rules = []
    for family in FAMILIES:
        accepted = "ip daddr != 127.0.0.0/8 accept" if family == "ipv4" else "accept"
        rules += [(text, "drop") for text in _own(plan, family)]
        rules += [(text, accepted) for text in _ranges(plan, family)]
    rules += [("fe80::/10", "accept"), ("::", "accept")]
    return [
        {"keyword": KEYWORD[family_of(text)], "value": text, "verdict": verdict}
        for text, verdict in rules
    ]


def _own(plan: NodePlan, family: Family) -> list[str]:
    """The bridge's own addresses of a family, which no pod may have."""
    own = _gateways(plan, family)
    return [*own, link_local_of(plan.node.bridge_mac)] if own and family == "ipv6" else own


def _identity(fabric: Fabric, plan: NodePlan) -> dict[str, Any]:
    """What the bridge's ports are compared with. nft 1.0.6 has no name for the target of a
    neighbour message, so these are numbers at an offset."""
    networks = [ipaddress.ip_network(cidr) for cidr in _ranges(plan, "ipv6")]
    return {
        "mac": plan.node.bridge_mac,
        "ranges4": _ranges(plan, "ipv4"),
        "ranges6": [str(network) for network in networks],
        "elsewhere4": pod_ranges(fabric, plan, "ipv4"),
        "elsewhere6": pod_ranges(fabric, plan, "ipv6"),
        "own4": _own(plan, "ipv4"),
        "own6": _own(plan, "ipv6"),
        "targets": [hex(int(ipaddress.ip_address(text))) for text in _own(plan, "ipv6")],
        "prefixes": [
            {
                "bits": network.prefixlen,
                "value": hex(int(network.network_address) >> (128 - network.prefixlen)),
            }
            for network in networks
        ],
    }


def _to_node(fabric: Fabric, plan: NodePlan) -> dict[str, Any]:
    """What pods may send to the node itself; pods of other nodes are known by their addresses."""
    if fabric.pods_to_node == "allow":
        return {}
    ports = [text.split("/") for text in fabric.pods_to_node_ports]
    ranges = {family: pod_ranges(fabric, plan, family) for family in FAMILIES}
    return {
        "answers": fabric.pods_to_node == "established",
        "ports": [f"{protocol} . {port}" for protocol, port in ports],
        "pods": {KEYWORD[family]: sorted(of) for family, of in ranges.items() if of},
        "devices": [link.name for link in plan.links],
    }


@dataclass(frozen=True, slots=True)
class Transition:
    """From the table that is there to the rendered one.

    Attributes:
        more: set or chain → what it must have before anybody uses it: addresses that send from
            the switch on, and networks to which nothing may be masqueraded.
        wide: text behind the rendered table's that keeps what is still in use; empty when nothing
            of it goes.
        surplus: the table lets through what the rendered one does not. A run that was given up
            after its first phase leaves that.
    """

    more: Mapping[str, tuple[str, ...]]
    wide: str = ""
    surplus: bool = False


@dataclass(frozen=True, slots=True)
class Way:
    """What the table of a node has to let pass.

    Attributes:
        senders: set → addresses that the node talks VXLAN to; guarded: whether only they may send.
        untranslated: chain → networks and addresses that see the pods' own addresses.
        links: the wanted devices.
    """

    senders: Mapping[str, tuple[str, ...]]
    links: Iterable[Link]
    untranslated: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    guarded: bool = True


def transition(want: Way, have: State) -> Transition:
    """A table that is not as it was loaded is not believed: whom the node talks to is then said by
    its FDB, as it is where there was no set before. It is widened all the same."""
    names = {link.name for link in want.links}
    old = [link for link in have.links if link.vxlan and link.name not in names]
    more = _missing(want.senders, have.senders) | _missing(want.untranslated, have.untranslated)
    surplus = bool(_missing(have.untranslated, want.untranslated))
    live = have.senders if have.nft_loaded else {}
    now = dict(live) or _talking(have)
    # Sorted, so that a table which is wide already is known by its text.
    gone = {n: tuple(sorted(set(now[n]) - set(want.senders.get(n, ())))) for n in sorted(now)}
    if not want.guarded or not (old or any(gone.values())):
        return Transition(more, "", surplus)
    text = _wide({name: gone.get(name, ()) for name in SENDERS.values()}, old)
    text += "".join(_as_node(link, want.untranslated) for link in old)
    return Transition(more, text if want.senders else CHAIN + text, surplus)


def _missing(
    want: Mapping[str, tuple[str, ...]], have: Mapping[str, tuple[str, ...]]
) -> dict[str, tuple[str, ...]]:
    """Of what both have a list of."""
    both = {name: set(have[name]) for name in want if name in have}
    found = {n: tuple(item for item in want[n] if item not in there) for n, there in both.items()}
    return {name: items for name, items in found.items() if items}


# Where no device is wanted any more the rendered table has none.
CHAIN = "add chain inet podnet encapsulated { type filter hook input priority filter; }\n"


def _talking(have: State) -> dict[str, tuple[str, ...]]:
    found: dict[str, dict[str, None]] = {}
    for item in have.fdb:
        found.setdefault(SENDERS[family_of(item.dst)], {})[item.dst] = None
    return {name: tuple(addresses) for name, addresses in found.items()}


def _wide(gone: Mapping[str, tuple[str, ...]], old: list[Link]) -> str:
    used = {SENDERS[family_of(link.vxlan.local)] for link in old if link.vxlan}
    lines = ["# What is still in use until the last node has switched."]
    for name, addresses in gone.items():
        if addresses or name in used:
            lines.append(f"add set inet podnet {name} {{ type {_family(name)}_addr; }}")
        if addresses:
            lines.append(f"add element inet podnet {name} {{ {', '.join(addresses)} }}")
    lines += [f"insert rule inet podnet encapsulated {tunnel_rule(link)}" for link in old]
    return "\n".join(lines) + "\n"
