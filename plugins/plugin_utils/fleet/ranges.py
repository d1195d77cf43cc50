# SPDX-License-Identifier: GPL-3.0-or-later
"""What only the whole fleet can say: which old ranges must stay, and what must not change hands.

Works on the states of the nodes that this run could ask. A node that was not asked (offline,
outside `--limit`) is not believed to have let go of anything.
"""

from __future__ import annotations

import bisect
import ipaddress
import itertools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from ..backends import learns
from ..intent.model import Fabric, Node, family_of, link_local_of
from ..intent.problems import Problem, few, shown
from ..kernel.objects import FdbEntry, KernelObject, Link, Route
from ..kernel.state import State
from ..peers import Peers, Retiring
from ..plan import plan_node

States = Mapping[str, State]


@dataclass(frozen=True, slots=True)
class Holder:
    """Who keeps a range from being removed.

    ``live`` is false for a note of host-local whose address no network namespace has: a
    leaked reservation, which keeps nothing.
    """

    node: str
    cidr: str
    address: str
    container: str
    live: bool


def holders(fabric: Fabric, states: States) -> tuple[Holder, ...]:
    """Every reservation in a range that the inventory does not give its node any more."""
    found: list[Holder] = []
    for name, state in sorted(states.items()):
        if name not in fabric.by_name:
            continue
        for cidr in _believed(fabric, name, states):
            network = ipaddress.ip_network(cidr)
            for address, container in state.reservations:
                if ipaddress.ip_address(address) in network:
                    live = address in state.live
                    found.append(Holder(name, cidr, address, container, live))
    return tuple(found)


def _believed(fabric: Fabric, name: str, states: States) -> list[str]:
    """The old ranges of a node that may become routes on others."""
    old = _old_ranges(fabric, name, states[name])
    return [cidr for cidr in old if _is_inside(fabric, cidr) or _is_routed(cidr, name, states)]


def _is_inside(fabric: Fabric, cidr: str) -> bool:
    """Whether pods of the fleet may have addresses of it."""
    network = ipaddress.ip_network(cidr)
    clusters = map(ipaddress.ip_network, fabric.cluster_cidrs)
    return any(c.version == network.version and network.subnet_of(c) for c in clusters)  # type: ignore[arg-type]


def _is_routed(cidr: str, owner: str, states: States) -> bool:
    """Whether another node knows the range. What a node says of itself alone must not become a
    route on all others; where no other has any, there is none that could be misled."""
    others = [state for name, state in states.items() if name != owner]
    known = [state for state in others if state.routes or state.learned]
    return not known or any(
        cidr in state.learned or any(route.dst == cidr for route in state.routes) for state in known
    )


def _old_ranges(fabric: Fabric, name: str, state: State) -> list[str]:
    wanted = set(fabric.by_name[name].pod_cidrs)
    recorded = [ipaddress.ip_interface(text).network for text in state.recorded_addresses]
    # Link-local and single addresses are the devices' own; no pod has one of them.
    ranges = [str(n) for n in recorded if not n.is_link_local and n.num_addresses > 1]
    return [cidr for cidr in dict.fromkeys(ranges) if cidr not in wanted]


def released(texts: Iterable[str]) -> tuple[frozenset[str], list[Problem]]:
    """Old ranges that no pod has an address of any more, by somebody's word: canonical text."""
    found, problems = set(), []
    for text in texts:
        try:
            found.add(str(ipaddress.ip_network(text)))
        except ValueError as error:
            where, remedy = "podnet_released_cidrs", "correct the range"
            expected = "ranges such as 10.64.2.0/24"
            problems.append(Problem(where, str(error), expected, shown(text), remedy))
    return frozenset(found), problems


def unasked(
    fabric: Fabric, states: States, lost: frozenset[str], free: frozenset[str] = frozenset()
) -> Retiring:
    """Ranges that some node still routes to a peer which the inventory does not give them to
    and which this run could not ask: nobody knows whether pods use them, so they stay. Nobody
    waits for a node that is declared ``lost``, and none keeps a range that is ``free``."""
    settled = {cidr for node in fabric.nodes for cidr in node.pod_cidrs} | free
    by_hop = next_hops(fabric)
    by_mac = {node.vtep_mac: node.name for node in fabric.nodes}
    ranges: dict[str, dict[str, None]] = {}
    for state in states.values():
        macs = {(item.dev, item.address): item.mac for item in state.neighbours}
        routed = [(route.dst, route.via, route.dev or "") for route in state.routes]
        learned = state.learned.items()
        routed += [(dst, via, fabric.vxlan_device) for dst, hops in learned for via in hops]
        for dst, via, dev in routed:
            owner = by_hop.get(via) or by_mac.get(macs.get((dev, via), ""))
            silent = owner is not None and owner not in states and owner not in lost
            if owner is not None and silent and dst not in settled:
                ranges.setdefault(owner, {})[dst] = None
    return {node: tuple(sorted(cidrs)) for node, cidrs in sorted(ranges.items())}


def retiring(
    fabric: Fabric, states: States, found: tuple[Holder, ...], silent: Retiring
) -> Retiring:
    """Ranges that stay, by node: a live pod holds an address of them, or nobody could ask; and of
    a family that the fleet gives up, what `_companions` says."""
    ranges = {node: dict.fromkeys(cidrs) for node, cidrs in silent.items()}
    for holder in found:
        if holder.live:
            ranges.setdefault(holder.node, {})[holder.cidr] = None
    kept = {node: tuple(cidrs) for node, cidrs in ranges.items()}
    return {**kept, **_companions(fabric, states, kept)}


def _companions(fabric: Fabric, states: States, kept: Retiring) -> Retiring:
    """The ranges of nodes that keep a free one as well, because others are kept of a family that
    the fleet has no more.

    The node needs it to reach the others. With its last IPv4 address a device loses all IPv4 routes
    and neighbours (net/ipv4/fib_frontend.c, fib_inetaddr_event: fib_disable_ip), those among them
    that lead to ranges which stay. And what the node sends there has its own gateway address as
    source, to which the answers find back only while all have a route to it.
    """
    found: dict[str, tuple[str, ...]] = {}
    used = {cidr for cidrs in kept.values() for cidr in cidrs}
    given_up = {family_of(cidr) for cidr in used}.difference(fabric.families)
    for name in states if given_up else ():
        if name not in fabric.by_name:
            continue
        own = kept.get(name, ())
        lacks = given_up.difference(map(family_of, own))
        # What another node has by now is no longer this one's.
        old = [c for c in _believed(fabric, name, states) if c in own or c not in used]
        first = {family_of(cidr): cidr for cidr in reversed(old) if family_of(cidr) in lacks}
        if first:
            # In the order of the node's definitions, which are the same then.
            found[name] = tuple(c for c in old if c in own or c in first.values())
    return found


def handed_over(
    fabric: Fabric,
    states: States,
    old: Retiring,
    held: tuple[Holder, ...],
    lost: frozenset[str],
    free: frozenset[str] = frozenset(),
    called: frozenset[str] = frozenset(),
) -> Iterator[Problem]:
    """Ranges that the inventory gives to a node while another one may still use them. ``called``:
    hosts that this run was to reach."""
    pods: dict[tuple[str, str], list[Holder]] = {}
    for holder in held:
        if holder.live:
            pods.setdefault((holder.node, holder.cidr), []).append(holder)
    # The inventory's own ranges are disjoint, so those that overlap another one are neighbours.
    spans = sorted((*_span(cidr), node.name) for node in fabric.nodes for cidr in node.pod_cidrs)
    for owner, cidr in ((owner, cidr) for owner, cidrs in old.items() for cidr in cidrs):
        first, last = _span(cidr)
        start = bisect.bisect_right(spans, (first, first, "")) - 1
        for begin, end, name in itertools.islice(spans, max(start, 0), None):
            if begin > last:
                break
            if end >= first and name != owner:
                who = named(pods.get((owner, cidr), []))
                yield _in_use(owner, f"{cidr} of {owner}", who, fabric.by_name[name])
    yield from _quarantined(fabric, states, lost, free, called)


def _span(cidr: str) -> tuple[tuple[int, int], tuple[int, int]]:
    """First and last address, with the version before each."""
    network = ipaddress.ip_network(cidr)
    version = network.version
    return (version, int(network.network_address)), (version, int(network.broadcast_address))


def _in_use(owner: str, old: str, pods: str, node: Node) -> Problem:
    return Problem(
        f"nodes.{node.name}.podnet_pod_cidrs",
        f"overlaps a range that pods of {owner} still use",
        f"a range without pods on {owner}",
        f"{', '.join(node.pod_cidrs)}, and {old}" + (f", held by {pods}" if pods else ""),
        f"move or stop the pods of {owner} in that range first, or give {node.name} another range",
    )


def named(holders: list[Holder]) -> str:
    """Who holds a range, in a few words: address and container of the first three."""
    words = [f"{h.address} ({h.container[:13]})" for h in holders[:3]]
    more = len(holders) - len(words)
    return ", ".join(words) + (f" and {more} more" if more else "")


# Found, and what to do.
_SILENT = (
    "not reached",
    "bring it back; where it does not come back, take it out of the inventory, or name it in"
    " podnet_lost_nodes",
)
_LEFT_OUT = (
    "left out of this run",
    "run without --limit and serial; or, to apply the inventory, run the phases one by one over all"
    " nodes (playbooks add, switch, remove)",
)


def cut_off(
    fabric: Fabric, states: States, lost: frozenset[str], called: frozenset[str]
) -> Iterator[Problem]:
    """Peers that this run does not reach and whose pods it would cut off, because the way to them
    changes at one end only. What is merely added cuts nobody off. ``called``: hosts that it was to
    reach."""
    away = {n.name: n for n in fabric.nodes if n.name not in states and n.name not in lost}
    peers = Peers(fabric)
    asked = [name for name in sorted(states) if name in fabric.by_name] if away else []
    for name, state in ((name, states[name]) for name in asked):
        plan = plan_node(fabric, name, peers=peers)
        moved, known = _ends_that_move(plan.links, state), _Known(state)
        for way in (way for way in plan.ways if way.peer.name in away):
            peer, objects = way.peer, way.objects_from(plan.sources)
            # Without BGP of its own a node is unknown to those who still learn, and with it alone
            # it learns nothing.
            speaks = bool(state.frr_conf)
            turns = speaks != learns(fabric) and (speaks or bool(state.routes))
            moves = any(isinstance(item, FdbEntry) and item.key in moved for item in objects)
            if turns or moves or any(map(known.differs, objects)):
                del away[peer.name]
                yield Problem(
                    f"nodes.{peer.name}",
                    f"its pods would be cut off: the way from {name} to them changes",
                    f"{peer.name} in this run, so that both ends change together",
                    *(_SILENT if peer.name in called else _LEFT_OUT),
                )


def unknown(fabric: Fabric, states: States, told: frozenset[str]) -> list[str]:
    """One line on ranges that their nodes get in this run and others do not hear of, if any.
    ``told``: nodes that need not be named: of this run, or gone for good."""
    new = [
        name
        for name, state in states.items()
        if name in fabric.by_name and set(fabric.by_name[name].pod_cidrs) - _recorded(state)
    ]
    away = [n.name for n in fabric.nodes if n.name not in told]
    if not new or not away:
        return []
    return [
        f"new pod CIDRs of {few(new)} are not reached from {few(away)} before a run in which"
        f" {'these are' if len(away) > 1 else 'this is'}, too"
    ]


def _recorded(state: State) -> set[str]:
    return {str(ipaddress.ip_interface(text).network) for text in state.recorded_addresses}


def _ends_that_move(links: Iterable[Link], state: State) -> frozenset[tuple[str, ...]]:
    """Entries, by key, of peers that would look in vain for this node's own end of the overlay: it
    gets another address, which they take no packets from, or another MAC."""
    wanted = {(new.name, new.mac, new.vxlan.local) for new in links if new.vxlan}
    have = {(old.name, old.mac, old.vxlan.local) for old in state.links if old.vxlan}
    moved = {name for name, _mac, _local in have - wanted}
    return frozenset(item.key for item in state.fdb if item.dev in moved)


class _Known:
    """What a node has now, by what it leads to; asked about each peer that is away."""

    def __init__(self, state: State) -> None:
        self.routes: dict[str, list[Route]] = {}
        for route in state.routes:
            self.routes.setdefault(route.dst, []).append(route)
        self.vteps: dict[str, set[str]] = {}
        for item in state.fdb:
            self.vteps.setdefault(item.mac, set()).add(item.dst)

    def differs(self, want: KernelObject) -> bool:
        """Whether an object names another next hop or VTEP than the node has."""
        if isinstance(want, Route):
            # The plan leaves the interface of a direct route to the kernel.
            return any(
                (want.via, want.onlink) != (have.via, have.onlink)
                or want.dev not in (None, have.dev)
                for have in self.routes.get(want.dst, ())
            )
        return isinstance(want, FdbEntry) and bool(self.vteps.get(want.mac, set()) - {want.dst})


def _quarantined(
    fabric: Fabric,
    states: States,
    lost: frozenset[str],
    free: frozenset[str],
    called: frozenset[str],
) -> Iterator[Problem]:
    """A range that some node still routes to a peer which this run could not ask."""
    owners = {cidr: node.name for node in fabric.nodes for cidr in node.pod_cidrs}
    by_hop = next_hops(fabric)
    seen: set[tuple[str, str]] = set()
    for state in states.values():
        routed = [(route.dst, route.via) for route in state.routes]
        routed += [(dst, via) for dst, hops in state.learned.items() for via in hops]
        for dst, via in routed:
            old, new = by_hop.get(via), owners.get(dst)
            if old is None or new is None or old == new or (old, new) in seen:
                continue
            if old in states or old in lost or dst in free:
                continue
            seen.add((old, new))
            yield _not_asked(old, new, dst, old in called)


def _not_asked(old: str, new: str, cidr: str, called: bool) -> Problem:
    """``called``: whether this run was to reach the old owner."""
    why = "could not be asked" if called else "this run does not ask"
    first = f"bring {old} back for one run" if called else f"run it with {old}"
    never = f", or {old} in podnet_lost_nodes if it never comes back" if called else ""
    return Problem(
        f"nodes.{new}.podnet_pod_cidrs",
        f"was a range of {old}, which {why} whether pods use it",
        f"{old} reachable, or gone from the inventory" if called else f"{old} in this run, too",
        cidr,
        f"{first}, give {new} another range, or name the range in podnet_released_cidrs when "
        f"{old} says that no pod uses it{never}",
    )


def next_hops(fabric: Fabric) -> dict[str, str]:
    """Next hop of a route → the peer it leads to: underlay addresses, inner gateways, and the
    link-local addresses of VTEPs."""
    hops: dict[str, str] = {}
    for node in fabric.nodes:
        for hop in (*node.underlay_addresses, *node.gateways.values()):
            hops[hop] = node.name
        hops[link_local_of(node.vtep_mac)] = node.name
    return hops
