# SPDX-License-Identifier: GPL-3.0-or-later
"""The interface of a backend: what does a node need to reach a peer?

A backend is a module with these functions; the registry in ``__init__`` is the only place
that knows modes by name. The same verbs in the same order in every backend.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from ..intent.model import Fabric, Family, Node
from ..kernel.objects import KernelObject, Learned, Link


@dataclass(frozen=True, slots=True)
class Target:
    """A range of pods on a peer, and the node's own address in the pod network of that family
    (None when it has none), which becomes the source of what the node itself sends there.

    ``mtu``: bytes; the pod MTU where some interface of the underlay lets more through, else 0.
    """

    family: Family
    cidr: str
    src: str | None
    mtu: int = 0


class Backend(Protocol):
    """What a backend module offers. All functions are pure.

    Nodes share what `refusal`, `entries` and `learned` give (`peers.py`): of the node that asks
    they may know whether it is in the peer's segment, the families of its underlay, and the
    target's source; and where routes are learned, whether it is in the peer's AS, and the families
    of its routers.
    """

    name: str

    def refusal(self, fabric: Fabric, node: Node, peer: Node, family: Family) -> str | None:
        """Why this backend cannot carry ``family`` between two nodes, or None when it can."""

    def overhead(self, fabric: Fabric) -> int:
        """Bytes that the backend adds to every packet between nodes."""

    def device(self, fabric: Fabric, node: Node, mtu: int) -> Link | None:
        """The device the backend needs once per node; ``mtu`` is the pod MTU of the fleet."""

    def entries(self, fabric: Fabric, node: Node, peer: Node, target: Target) -> list[KernelObject]:
        """What ``node`` needs so that its packets reach ``target`` on ``peer``."""

    def learned(self, fabric: Fabric, node: Node, peer: Node, target: Target) -> Learned | None:
        """The route that a routing daemon of ``node`` must have learned for ``target``."""
