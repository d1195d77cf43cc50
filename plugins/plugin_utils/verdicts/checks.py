# SPDX-License-Identifier: GPL-3.0-or-later
"""Fleet + probe pods → everything that must hold on the way from one node, and its probes.

The same checks make the probes that a node sends and the questions that the judge answers,
so that nothing is sent that nobody judges and nothing is judged that nobody sent.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from ..intent.model import Fabric, Family, Node, family_of
from ..peers import narrower
from ..plan import backend_of
from .observations import Missing
from .remedies import (
    remedy_between,
    remedy_bridge,
    remedy_node,
    remedy_outside,
    remedy_source,
)
from .scene import POD_A, POD_B, Scene

# The sentences of DESIGN that verification proves, by number; a report groups by them.
PROMISES: Mapping[int, str] = {
    1: "Every pod has one real address per family, the same for itself and for others",
    2: "The containers of a pod share its network, and a restarted one finds it unchanged",
    3: "Pods of one node reach each other over the bridge",
    4: "Pods, nodes and the outside reach each other across nodes",
    5: "Packets of the pod MTU pass, and larger ones do not",
}


@dataclass(frozen=True, slots=True)
class Probe:
    """One packet exchange. ``size``: bytes of the whole IP packet."""

    id: str
    origin: str
    kind: str
    address: str
    port: int | None = None
    size: int | None = None

    def target(self) -> dict[str, Any]:
        """As the module `reachability` wants it."""
        return {
            "id": self.id,
            "from": self.origin,
            "kind": self.kind,
            "address": self.address,
            "port": self.port,
            "size": self.size,
        }


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that must hold.

    Attributes:
        target: name of a node, or address of an outside host.
        remedy: says what to do; put into words for what has failed alone.
        probe: what this check sends; None when it reads the answers in ``needs`` alone.
        needs: ids of the probes of other checks that it reads.
        sources: addresses that the far side may see.
        blocked: why it cannot be looked at.
        skipped: why it need not be looked at.
    """

    id: str
    promise: int
    kind: str
    family: Family | None
    source: str
    target: str
    backend: str | None
    expected: str
    remedy: Callable[[], str]
    probe: Probe | None = None
    needs: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()
    blocked: str | None = None
    skipped: str | None = None


def targets_of(scene: Scene, node: str) -> list[dict[str, Any]]:
    """What the module `reachability` shall probe on a node."""
    return [c.probe.target() for c in checks_of(scene, node) if c.probe and not c.blocked]


def checks_of(scene: Scene, name: str) -> Iterator[Check]:
    """Every check whose packets leave from a node. O(nodes) per family."""
    wants = scene.run.wants
    return (c for c in _checks(scene, name) if wants(c.kind, c.source, c.target))


def _checks(scene: Scene, name: str) -> Iterator[Check]:
    node, peers = scene.fabric.by_name[name], scene.ring.peers(name)
    for family in scene.fabric.families:
        yield from _same_node(scene, node, family)
        yield from _with_nodes(scene, node, node, family)
        for peer in peers:
            yield from _between(scene, node, peer, family)
            yield from _with_nodes(scene, node, peer, family)
    yield from _outside(scene, node)


def _same_node(scene: Scene, node: Node, family: Family) -> Iterator[Check]:
    address = scene.address(node.name, POD_B, family)
    remedy = partial(remedy_bridge, scene.fabric, node)
    yield from _pods(scene, Way(3, "bridge", node, node, family, address, remedy))


def _between(scene: Scene, node: Node, peer: Node, family: Family) -> Iterator[Check]:
    address = scene.address(peer.name, POD_A, family)
    backend = backend_of(scene.fabric, node.name, peer.name, family)
    remedy = partial(remedy_between, scene.fabric, scene.mtu, node, peer, family, address)
    way = Way(4, backend, node, peer, family, address, remedy)
    yield from _pods(scene, way)
    # The plan gives these ways an MTU of their own (backends/host_routes.py).
    if backend == "host_routes" and family == "ipv6" and narrower(scene.fabric, scene.mtu):
        text = f"a packet of {scene.mtu + 1} bytes arrives in pieces"
        yield _probing(way, "mtu_pieces", text, promise=5, size=scene.mtu + 1)


@dataclass(frozen=True, slots=True)
class Way:
    """From one pod to another."""

    promise: int
    backend: str
    node: Node
    peer: Node
    family: Family
    address: str | Missing
    remedy: Callable[[], str]


def _pods(scene: Scene, way: Way) -> Iterator[Check]:
    """Pod to pod: three protocols, the source that the far side sees, the exact MTU."""
    own = scene.address(way.node.name, POD_A, way.family)
    to, mtu = _shown(way.address), scene.mtu
    port = scene.run.port
    yield _probing(way, "icmp", f"an ICMP echo reply from {to}")
    yield _probing(way, "tcp", f"TCP payload comes back from {to} port {port}", port=port)
    yield _probing(way, "udp", f"UDP payload comes back from {to} port {port}", port=port)
    yield _reading(
        way,
        "source",
        ("tcp", "udp"),
        f"{to} sees the pod's own address {'' if isinstance(own, Missing) else own}".rstrip(),
        sources=() if isinstance(own, Missing) else (own,),
        remedy=partial(remedy_source, way.node, way.peer),
    )
    yield _probing(way, "mtu_pass", f"a packet of {mtu} bytes passes", promise=5, size=mtu)
    yield _probing(
        way,
        "mtu_exceed",
        f"a packet of {mtu + 1} bytes does not pass",
        promise=5,
        size=mtu + 1,
        needs=(_id("mtu_pass", way.family, way.node.name, way.peer.name),),
    )


def _with_nodes(scene: Scene, node: Node, peer: Node, family: Family) -> Iterator[Check]:
    """Pod to node, and node to pod."""
    own = node is peer
    backend = "bridge" if own else backend_of(scene.fabric, node.name, peer.name, family)
    remedy = partial(remedy_node, scene.fabric, node, peer)
    if own and (gateway := node.gateway(family)):
        way = Way(3, "bridge", node, node, family, gateway, remedy)
        yield _probing(way, "gateway", f"an ICMP echo reply from the node's {gateway}", "icmp")
    if family in peer.underlay:
        address = peer.underlay[family]
        way = Way(4, "bridge" if own else "underlay", node, peer, family, address, remedy)
        yield _probing(way, "pod_to_node", f"an ICMP echo reply from {address}", "icmp")
    pod = scene.address(peer.name, POD_A, family)
    way = Way(4, backend, node, peer, family, pod, remedy)
    text = f"an ICMP echo reply from {_shown(pod)} to the node itself"
    yield _probing(way, "node_to_pod", text, "icmp", origin="node")


def _outside(scene: Scene, node: Node) -> Iterator[Check]:
    if not scene.run.outside:
        reason = "podnet_verify_outside names no host"
        yield _skip("outside", node, "outside", None, reason)
        return
    for address, port in scene.run.outside:
        family = family_of(address)
        shown = f"[{address}]:{port}" if family == "ipv6" else f"{address}:{port}"
        if family not in scene.fabric.families:
            yield _skip("outside", node, shown, family, f"the pods have no {family}")
            continue
        yield from _one_outside(scene, node, family, (address, port, shown))


def _one_outside(
    scene: Scene, node: Node, family: Family, outside: tuple[str, int, str]
) -> Iterator[Check]:
    address, port, shown = outside
    own = scene.address(node.name, POD_A, family)
    remedy = partial(remedy_outside, scene.fabric, node, family)
    masqueraded = leaves_masqueraded(scene.fabric, address)
    probe = Probe(_id("outside", family, node.name, shown), "a", "tcp", address, port)
    yield Check(
        id=probe.id,
        promise=4,
        kind="outside",
        family=family,
        source=node.name,
        target=shown,
        backend="underlay",
        expected=f"TCP payload comes back from {shown}",
        remedy=remedy,
        probe=probe,
    )
    if masqueraded:
        sources = scene.own_addresses(node, family)
        text = f"{shown} sees the node's address {' or '.join(sources[:3])}"
    else:
        sources = () if isinstance(own, Missing) else (own,)
        text = f"{shown} sees the pod's own address {_shown(own)}"
    yield Check(
        id=_id("masquerade", family, node.name, shown),
        promise=4,
        kind="masquerade",
        family=family,
        source=node.name,
        target=shown,
        backend="underlay",
        expected=text,
        remedy=remedy,
        needs=(probe.id,),
        sources=sources,
        skipped=None if sources or not masqueraded else f"{node.name} has no {family} address",
    )


def leaves_masqueraded(fabric: Fabric, address: str) -> bool:
    """Whether a packet from a pod to ``address`` leaves with the node's address."""
    if family_of(address) not in fabric.masquerade:
        return False
    inside = (*fabric.cluster_cidrs, *fabric.masquerade_exclude)
    parsed = ipaddress.ip_address(address)
    return not any(parsed in ipaddress.ip_network(cidr) for cidr in inside)


def _probing(
    way: Way,
    kind: str,
    expected: str,
    sends: str | None = None,
    *,
    origin: str = "a",
    promise: int | None = None,
    port: int | None = None,
    size: int | None = None,
    needs: tuple[str, ...] = (),
) -> Check:
    """A check that sends a probe of its own."""
    name = _id(kind, way.family, way.node.name, way.peer.name)
    known = not isinstance(way.address, Missing)
    probe = Probe(name, origin, sends or kind, str(way.address), port, size) if known else None
    return Check(
        id=name,
        promise=promise or way.promise,
        kind=kind,
        family=way.family,
        source=way.node.name,
        target=way.peer.name,
        backend=way.backend,
        expected=expected,
        remedy=way.remedy,
        probe=probe,
        needs=needs,
        blocked=way.address.reason if isinstance(way.address, Missing) else None,
    )


def _reading(
    way: Way,
    kind: str,
    of: tuple[str, ...],
    expected: str,
    *,
    sources: tuple[str, ...],
    remedy: Callable[[], str],
) -> Check:
    """A check that reads the answers to probes of other checks."""
    return Check(
        id=_id(kind, way.family, way.node.name, way.peer.name),
        promise=1,
        kind=kind,
        family=way.family,
        source=way.node.name,
        target=way.peer.name,
        backend=way.backend,
        expected=expected,
        remedy=remedy,
        needs=tuple(_id(k, way.family, way.node.name, way.peer.name) for k in of),
        sources=sources,
        blocked=way.address.reason if isinstance(way.address, Missing) else None,
    )


def _skip(kind: str, node: Node, target: str, family: Family | None, reason: str) -> Check:
    return Check(
        id=_id(kind, family, node.name, target),
        promise=4,
        kind=kind,
        family=family,
        source=node.name,
        target=target,
        backend="underlay",
        expected="a declared host outside the cluster is reached",
        remedy=lambda: "declare podnet_verify_outside: [{address: …, port: …}]",
        skipped=reason,
    )


def _id(kind: str, family: Family | None, source: str, target: str) -> str:
    return f"{kind}/{family or 'any'}/{source}/{target}"


def _shown(address: str | Missing) -> str:
    return "the pod" if isinstance(address, Missing) else address
