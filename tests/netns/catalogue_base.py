# SPDX-License-Identifier: GPL-3.0-or-later
"""The fault catalogue: what is broken, where, whom it concerns, and the cause that must be named.

The fleet: node-1 and node-2 in one segment (direct routes), node-3 and node-4 in another one
(VXLAN between the segments), IPv4 and IPv6.
"""

from __future__ import annotations

from dataclasses import dataclass, field

ONE, TWO, THREE, FOUR = NODES = ("node-1", "node-2", "node-3", "node-4")
ROUTER = "router"  # of the underlay; a fault there is seen from the nodes only
DUAL = ("ipv4", "ipv6")
V4, V6 = ("ipv4",), ("ipv6",)
SEGMENTS = {"rack-a": 2, "rack-b": 2}
Pair = tuple[str, str, str]


def pair(one: str, two: str, families: tuple[str, ...] = DUAL) -> frozenset[Pair]:
    return frozenset((*sorted((one, two)), family) for family in families)


def around(node: str, families: tuple[str, ...] = DUAL, own: bool = False) -> frozenset[Pair]:
    """All pairs with a node; ``own``: its own pods among each other as well."""
    found = [pair(node, peer, families) for peer in NODES if own or peer != node]
    return frozenset().union(*found)


def across(node: str, families: tuple[str, ...] = DUAL) -> frozenset[Pair]:
    """The pairs of a node that use VXLAN."""
    peers = (THREE, FOUR) if node in (ONE, TWO) else (ONE, TWO)
    return frozenset().union(*(pair(node, peer, families) for peer in peers))


@dataclass(frozen=True)
class Fault:
    """One thing that is broken.

    Attributes:
        place: node, or the router, on which `inject` runs; `undo` takes back what is foreign.
        kinds: what the cause may be called; more than one where two objects are wrong at once.
        word: stands in the object of the cause.
        pairs: must be reported; `also`: may be, because packets decide.
        node: where the cause is, if not at `place`.
    """

    name: str
    place: str
    inject: str
    kinds: tuple[str, ...]
    word: str
    pairs: frozenset[Pair]
    undo: str = "true"
    also: frozenset[Pair] = field(default_factory=frozenset)
    node: str = ""

    @property
    def culprit(self) -> str:
        return self.node or self.place


def rule(family: str, hook: str, text: str, priority: int = 0) -> str:
    kind = "nat" if "masquerade" in text else "filter"
    chain = f"{{ type {kind} hook {hook} priority {priority}; }}"
    return (
        f"nft add table {family} other; nft 'add chain {family} other c {chain}'; "
        f"nft 'add rule {family} other c {text}'"
    )


def policy(family: str, hook: str) -> str:
    chain = f"{{ type filter hook {hook} priority 0; policy drop; }}"
    return f"nft add table {family} other; nft 'add chain {family} other c {chain}'"


def gone(family: str) -> str:
    return f"nft delete table {family} other"


def loop(text: str) -> tuple[str, str]:
    """A daemon that does something again and again, and the line that ends it."""
    run = f"setsid sh -c 'while :; do {text}; sleep 0.1; done' >/dev/null 2>&1 </dev/null &"
    return f"{run} echo $! >/run/daemon.pid; sleep 0.3", "kill -9 $(cat /run/daemon.pid)"
