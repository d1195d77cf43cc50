# SPDX-License-Identifier: GPL-3.0-or-later
"""What a cause is, and what is known when one is looked for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any

from ..backends import BACKENDS
from ..intent.model import Fabric, Family
from ..plan import NodePlan, plan_fleet
from ..speakers.heard import Heard
from ..speakers.wanted import Session, sessions
from ..verdicts.observations import Missing, Start
from ..verdicts.scene import POD_A
from .landscape import Look
from .rules import Ruleset

MTU_KINDS = frozenset({"mtu_pass", "mtu_exceed", "mtu_pieces"})
TO_NODE = "underlay"
# What makes a node whole that has nothing of podnet; `podnet-node` is not there to heal it.
ANEW = "run podnet.fabric.site"


def only_large(kinds: frozenset[str]) -> bool:
    """Whether small packets pass. The payload of the TCP probe fills whole segments, so that it is
    lost with them; the source that a far side saw is read from TCP and UDP."""
    return bool(kinds & MTU_KINDS) and kinds <= MTU_KINDS | {"tcp", "source"}


def applied(look: Look) -> bool:
    """Whether podnet's definitions are on the node."""
    return look.state.generation is not None


@dataclass(frozen=True, slots=True)
class Cause:
    """The first wrong object.

    Attributes:
        node: where it is; for the underlay the node from which it was seen.
        kind: what sort of object, such as `route` or `foreign rule`.
        object: its name.
        expected, found: one line each.
        repair: what to run on the node, or what to do.
    """

    node: str
    kind: str
    object: str
    expected: str
    found: str
    repair: str

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Scene:
    """What is known: the fleet, the nodes that could be looked at, and their probe pods.

    Attributes:
        port: on which the probe pods answer.
        checksums: node → packets with a wrong UDP checksum when its pods were started.
        heard: what FRR says, of the nodes that run it and could be asked.
    """

    fabric: Fabric
    looks: Mapping[str, Look]
    started: Mapping[str, Start]
    port: int = 7717
    checksums: Mapping[str, int] | None = None
    heard: Mapping[str, Heard] = field(default_factory=dict)

    @cached_property
    def plans(self) -> Mapping[str, NodePlan]:
        names = dict.fromkeys((*self.looks, *self.heard))
        return {plan.node.name: plan for plan in plan_fleet(self.fabric, names)}

    @cached_property
    def sessions(self) -> Mapping[str, tuple[Session, ...]]:
        """Node → the BGP sessions that it must have."""
        return {name: sessions(self.fabric, self.plans[name]) for name in self.heard}

    @cached_property
    def rulesets(self) -> Mapping[str, Ruleset]:
        return {name: Ruleset(look.ruleset) for name, look in self.looks.items()}

    def address(self, node: str, family: Family) -> str:
        """Of the probe pod that others talk to; empty when there is none."""
        start = self.started.get(node, Missing("no answer"))
        pods = {} if isinstance(start, Missing) else start.pods
        return pods[POD_A].addresses.get(family, "") if POD_A in pods else ""


@dataclass(frozen=True)
class Trip:
    """Packets of one family from a pod of one node to a pod of another one, or the same.

    ``kinds``: the kinds of check that failed. ``answers``: the packets are the answers to
    packets of the other direction. The backend ``TO_NODE`` means packets from a pod to another
    node itself, which go as packets to the outside do.
    """

    scene: Scene
    source: str
    target: str
    family: Family
    kinds: frozenset[str]
    backend: str
    answers: bool = False

    @property
    def only_large(self) -> bool:
        """Small packets pass."""
        return only_large(self.kinds)

    def address(self, node: str) -> str:
        """Of the end of the trip that is on a node; empty when it is not known."""
        end = self.source if self.answers else self.target
        if self.backend == TO_NODE and node == end:
            return self.scene.fabric.by_name[node].underlay.get(self.family, "")
        return self.scene.address(node, self.family)

    @property
    def tunnelled(self) -> bool:
        """Between the nodes, packets travel inside others."""
        backend = BACKENDS.get(self.backend)
        return backend is not None and backend.overhead(self.scene.fabric) > 0

    @property
    def outer(self) -> Family:
        """Family of the packets between the nodes."""
        return (self.tunnelled and self.scene.fabric.underlay_family) or self.family

    def underlay(self, node: str) -> str:
        """The node's interface in the underlay; empty when it is not known."""
        address = self.scene.fabric.by_name[node].underlay.get(self.outer, "")
        found = [u.dev for u in self.scene.looks[node].state.underlay if u.address == address]
        return found[0] if found else ""

    def arrival(self, node: str) -> str:
        """The interface by which packets of the peer come to a node."""
        return self.scene.fabric.vxlan_device if self.tunnelled else self.underlay(node)
