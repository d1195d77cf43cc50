# SPDX-License-Identifier: GPL-3.0-or-later
"""Which peers a node probes when all pairs are too many. Pure.

The nodes stand in a ring, sorted by name. In one verification each node probes those at certain
distances along the ring; the distances 1 … n - 1 are dealt out over the turns like cards. So

* in every verification each node sends and is sent to, about the same number of times,
* after k verifications in a row every ordered pair has been probed, and with it every route.

Some pairs are probed in every turn: one of each ordered pair of segments, and with them every way
that the mode has to reach a peer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from ..intent.model import Node


@dataclass(frozen=True)
class Sample:
    """Part of all pairs.

    Attributes:
        most: peers that a node probes in one turn; 0 for all of them.
        turn: counts verifications.
    """

    most: int = 0
    turn: int = 0

    def to_dict(self) -> dict[str, int]:
        return {"most": self.most, "turn": self.turn}

    @staticmethod
    def from_dict(data: Mapping[str, Any]) -> Sample:
        return Sample(int(data.get("most", 0)), int(data.get("turn", 0)))

    def turns(self, count: int) -> int:
        """Verifications after which each of ``count`` nodes has probed every other one."""
        if self.most <= 0 or count <= 1:
            return 1
        return -(-(count - 1) // self.most)

    def ring(self, nodes: Sequence[Node]) -> Ring:
        return Ring(self, tuple(sorted(nodes, key=lambda node: node.name)))


@dataclass(frozen=True)
class Ring:
    """The nodes that are asked, in the order of the ring."""

    sample: Sample
    nodes: tuple[Node, ...]

    @cached_property
    def place(self) -> Mapping[str, int]:
        return {node.name: place for place, node in enumerate(self.nodes)}

    @cached_property
    def always(self) -> Mapping[str, frozenset[str]]:
        """Node → peers that it probes in this turn on behalf of its segment."""
        segments: dict[str, list[str]] = {}
        for node in self.nodes:
            segments.setdefault(node.segment, []).append(node.name)
        found: dict[str, set[str]] = {}
        turn = self.sample.turn
        for here, own in segments.items():
            source = own[turn % len(own)]
            for there, others in segments.items():
                # Inside a segment the next one, which is another node if there is one.
                target = others[(turn + (here == there)) % len(others)]
                if target != source:
                    found.setdefault(source, set()).add(target)
        return {name: frozenset(peers) for name, peers in found.items()}

    def peers(self, name: str) -> list[Node]:
        """Whom a node probes in this turn, in the order of the fleet."""
        count, own = len(self.nodes), self.place[name]
        turns = self.sample.turns(count)
        if turns == 1:
            return [node for node in self.nodes if node.name != name]
        first = 1 + self.sample.turn % turns
        chosen = {(own + step) % count for step in range(first, count, turns)}
        chosen |= {self.place[peer] for peer in self.always.get(name, ())}
        return [self.nodes[place] for place in sorted(chosen)]
