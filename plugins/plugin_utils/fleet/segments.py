# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether nodes of one segment reach each other without a router, by what they say. Pure.

The kernel refuses a route whose next hop is on no network of the node; said here, it is said before
anything is changed, and of the node that is in the wrong segment instead of by all the others.
"""

from __future__ import annotations

import ipaddress
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

from ..backends import BACKENDS, MODES
from ..intent.model import Fabric, Family, Node, family_of
from ..intent.problems import Problem
from ..kernel.state import State

SHOWN = 10  # of one segment; there may be as many as nodes
DIRECT = BACKENDS["host_routes"]
Range = tuple[int, int]
# Node → nodes of its segment that are on no network of it.
Strangers = dict[str, set[str]]


def elsewhere(
    fabric: Fabric, states: Mapping[str, State], changing: Iterable[str]
) -> Iterator[Problem]:
    """Nodes that have a next hop on none of their networks, of those that are going to be changed
    and whose underlay is as the inventory says. O(nodes) where all is well."""
    if DIRECT not in MODES[fabric.mode]:
        return
    asked = {name: states[name] for name in changing if name in states}
    for segment, members in fabric.segments.items():
        for family in fabric.families:
            near = [node for node in members if family in node.underlay]
            yield from _problems(segment, family, near, _strangers(family, near, asked))


def _strangers(family: Family, near: list[Node], asked: Mapping[str, State]) -> Strangers:
    numbers = {node.name: int(ipaddress.ip_address(node.underlay[family])) for node in near}
    if len(near) < 2:
        return {}
    least, most = min(numbers.values()), max(numbers.values())
    found: Strangers = {}
    for node in near:
        state = asked.get(node.name)
        if state is None or not _is_up(state, node.underlay[family]):
            continue
        networks = _networks(family, state)
        if any(first <= least and most <= last for first, last in networks):
            continue
        found[node.name] = {
            name
            for name, number in numbers.items()
            if name != node.name and not any(first <= number <= last for first, last in networks)
        }
    return found


def _is_up(state: State, address: str) -> bool:
    """Otherwise that is what has to be said, and the kernel has taken the networks away."""
    return any(item.address == address and item.up for item in state.underlay)


def _networks(family: Family, state: State) -> list[Range]:
    ranges = []
    for cidr in state.onlink:
        if cidr == "default":
            ranges.append((0, 1 << 128))
        elif family_of(cidr) == family:
            network = ipaddress.ip_network(cidr)
            ranges.append((int(network.network_address), int(network.broadcast_address)))
    return ranges


def _problems(
    segment: str, family: Family, near: list[Node], found: Strangers
) -> Iterator[Problem]:
    """One for each node that most others miss, until every pair has been named."""
    addresses = {node.name: node.underlay[family] for node in near}
    for _number in range(SHOWN):
        counts: Counter[str] = Counter()
        for name, missed in found.items():
            counts.update(missed)
            counts[name] += len(missed)
        if not counts.total():
            return
        worst = max(sorted(counts), key=counts.__getitem__)
        here = sorted({name for name, missed in found.items() if worst in missed})
        others = here or sorted(found[worst])
        named = ", ".join(others[:3]) + (f" and {len(others) - 3} more" * (len(others) > 3))
        yield Problem(
            f"nodes.{worst}.podnet_segment",
            "other nodes of the segment reach it only by a router",
            f"{addresses[worst]} on a network of every node of segment {segment}",
            f"not on one of {named}" if here else f"{named} on no network of {worst}",
            "give it another podnet_segment, or correct podnet_underlay_addresses",
        )
        found = {name: missed - {worst} for name, missed in found.items() if name != worst}
