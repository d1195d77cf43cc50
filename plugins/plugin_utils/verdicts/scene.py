# SPDX-License-Identifier: GPL-3.0-or-later
"""What a verification is asked for, and the fleet and its probe pods as it sees them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from ..intent.model import Fabric, Family, Node, family_of
from ..peers import pod_mtu
from ..speakers.heard import Heard
from .observations import Missing, Start
from .sample import Ring, Sample

POD_A, POD_B = "podnet-verify-a", "podnet-verify-b"
POD_LETTERS = {"a": POD_A, "b": POD_B}

# What holds between two batches of a change as well as before and after it.
IN_BETWEEN = ("icmp", "tcp", "udp", "source", "node_to_pod")


ALL_PAIRS = Sample()


@dataclass(frozen=True, slots=True)
class Run:
    """What one verification was asked to look at.

    Attributes:
        outside: (address, port).
        only: in the middle of a change, the nodes that have switched: what is asked is whether
            their pods reach all others and are reached, and nothing that is still to come.
        sample: which peers each node probes.
    """

    asked: tuple[str, ...]
    port: int = 7717
    outside: tuple[tuple[str, int], ...] = ()
    only: tuple[str, ...] = ()
    sample: Sample = ALL_PAIRS

    @staticmethod
    def from_dict(data: Mapping[str, Any]) -> Run:
        outside = tuple((str(item["address"]), int(item["port"])) for item in data["outside"])
        asked, only = (tuple(map(str, data.get(key, ()))) for key in ("asked", "only"))
        sample = Sample.from_dict(data.get("sample", {}))
        return Run(asked, int(data["port"]), outside, only, sample)

    def wants(self, kind: str, source: str, target: str) -> bool:
        switched = {source, target} & set(self.only)
        return not self.only or (kind in IN_BETWEEN and bool(switched))


@dataclass(frozen=True)
class Scene:
    """The fleet as this verification sees it: intent and the probe pods of every node, and in mode
    bgp its FRR."""

    fabric: Fabric
    run: Run
    started: Mapping[str, Start]
    heard: Mapping[str, Heard | Missing] = field(default_factory=dict)

    @cached_property
    def nodes(self) -> tuple[Node, ...]:
        """The nodes that were asked for, sorted by name."""
        asked = frozenset(self.run.asked)
        return tuple(node for node in self.fabric.nodes if node.name in asked)

    @cached_property
    def ring(self) -> Ring:
        return self.run.sample.ring(self.nodes)

    @cached_property
    def mtu(self) -> int:
        return pod_mtu(self.fabric)

    @cached_property
    def owners(self) -> Mapping[Family, Mapping[str, tuple[str, ...]]]:
        """Family → address → every observed pod that has it, as "pod on node"."""
        found: dict[Family, dict[str, tuple[str, ...]]] = {f: {} for f in self.fabric.families}
        for node, start in sorted(self.started.items()):
            for pod in () if isinstance(start, Missing) else start.pods.values():
                for family, address in pod.addresses.items():
                    of = found.setdefault(family, {})
                    of[address] = (*of.get(address, ()), f"{pod.name} on {node}")
        return found

    def start(self, node: str) -> Start:
        return self.started.get(node, Missing("the node gave no answer"))

    def own_addresses(self, node: Node, family: Family) -> tuple[str, ...]:
        """What a node may masquerade to: that of the underlay first, then others that it has, as
        while it moves. None of its gateways, to which no packet from outside comes back."""
        start = self.start(node.name)
        said = () if isinstance(start, Missing) else start.addresses
        found = [a for a in said if family_of(a) == family and a not in node.gateways.values()]
        return tuple(dict.fromkeys(a for a in (node.underlay.get(family), *found) if a))

    def address(self, node: str, pod: str, family: Family) -> str | Missing:
        """Address of a probe pod, or why none is known."""
        start = self.start(node)
        if isinstance(start, Missing):
            return Missing(f"no probe pod on {node}: {start.reason}")
        if pod not in start.pods:
            return Missing(f"no probe pod on {node}: {start.said or 'not started'}")
        found = start.pods[pod].addresses.get(family)
        return found or Missing(f"{pod} on {node} has no {family} address")
