# SPDX-License-Identifier: GPL-3.0-or-later
"""Fabric → everything that every node must have. Pure; sees all nodes, touches none."""

from __future__ import annotations

import hashlib
import ipaddress
from collections.abc import Container, Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property, lru_cache

from .backends import BACKENDS, MODES, learns, serving
from .intent.model import Fabric, Family, Node, family_of, gateway_of, link_local_of
from .intent.parse import HostVars, parse_fabric
from .intent.problems import Problem, ProblemsError
from .kernel.objects import (
    Address,
    FdbEntry,
    KernelObject,
    Learned,
    Link,
    Neighbour,
    Route,
    Sysctl,
    device_settings,
)
from .peers import (
    NOTHING_RETIRING,
    Kind,
    Peers,
    Retiring,
    Sources,
    Ways,
    alike_pairs,
    kind_of,
    overlay_overhead,
    pod_mtu,
)

# IPv6 needs 1280 bytes on every link (RFC 8200, section 5); every IPv4 host must take 576
# bytes (RFC 791), and a pod network below that would fragment even DNS answers.
LEAST_MTU = {"ipv4": 576, "ipv6": 1280}
LONGEST_INTERFACE = 15


@dataclass(frozen=True)  # without slots, for what is kept
class NodePlan:
    """What one node must have.

    Attributes:
        pod_mtu: bytes; the same on the whole fleet.
        sysctls: in the order in which they must be set.
        links: bridge first.
        ways: to each peer, in the order of the fleet; shared with other nodes.
        sources: the node's own address for each family of pods, the source of its routes.
        retiring: ranges of this node that pods still hold and the inventory does not name.
        retiring_anywhere: the same for the whole fleet.
    """

    node: Node
    pod_mtu: int
    sysctls: tuple[Sysctl, ...]
    links: tuple[Link, ...]
    addresses: tuple[Address, ...]
    ways: Ways = field(default_factory=Ways)
    sources: Sources = field(default_factory=dict, hash=False)
    retiring: tuple[str, ...] = ()
    retiring_anywhere: tuple[str, ...] = ()

    @cached_property
    def learned(self) -> tuple[Learned, ...]:
        """Routes that the node must have learned; podnet does not make them."""
        return tuple(route for way in self.ways for route in way.learned)

    @property
    def entries(self) -> tuple[tuple[Node, tuple[str, ...], tuple[KernelObject, ...]], ...]:
        """Per peer, in the order of the fleet: (peer, backend names, objects)."""
        return tuple((w.peer, w.backends, w.objects_from(self.sources)) for w in self.ways)

    @cached_property
    def objects(self) -> tuple[KernelObject, ...]:
        """Every kernel object, in an order in which each finds what it needs."""
        # By kind: a packet meets the route first, and the FDB last. With the entries of one tool
        # before those of the other each of them runs once.
        rank: dict[type, int] = {FdbEntry: 0, Address: 1, Neighbour: 2, Route: 3}
        peers: list[KernelObject] = [*self.addresses]
        peers += [item for way in self.ways for item in way.objects_from(self.sources)]
        peers.sort(key=lambda item: rank[type(item)])
        # Settings below conf/<device> exist only after the device.
        late = [item for item in self.sysctls if self._of_device(item)]
        early = [item for item in self.sysctls if not self._of_device(item)]
        return (*early, *self.links, *late, *peers)

    def _of_device(self, item: Sysctl) -> bool:
        return any(f"/conf/{link.name}/" in f"/{item.path}" for link in self.links)


def compile_fleet(hosts: HostVars) -> Fabric:
    """Raw inventory variables → a fleet that can be planned.

    Raises:
        ProblemsError: every problem of inventory and plan together.
    """
    fabric, problems = parse_fabric(hosts)
    problems += problems_of(fabric)
    if problems:
        raise ProblemsError("the inventory", problems)
    return fabric


def problems_of(fabric: Fabric) -> list[Problem]:
    """Why a fleet that was read cannot be planned."""
    # A node whose address could not be read is reported already; every pair with it would
    # only repeat that.
    if not all(node.underlay for node in fabric.nodes):
        return []
    return [*_unreachable(fabric), *_device_name(fabric), *_mtu(fabric)]


def _unreachable(fabric: Fabric) -> Iterator[Problem]:
    """Pairs that no backend of the mode serves; one pair per reason stands for all."""
    seen: set[str] = set()
    pairs = [*alike_pairs(fabric)]
    if all(serving(fabric, *pair, family) for pair in pairs for family in fabric.families):
        return
    for node, peer in _representative_pairs(fabric):
        for family in fabric.families:
            if serving(fabric, node, peer, family):
                continue
            backends = MODES[fabric.mode]
            reasons = [b.refusal(fabric, node, peer, family) or "" for b in backends]
            text = "; ".join(sorted(set(reasons)))
            if text in seen:
                continue
            seen.add(text)
            yield Problem(
                "podnet_mode",
                f"{fabric.mode} cannot carry {family} from {node.name} to {peer.name}",
                "every pair of nodes served for every family",
                text,
                "correct podnet_segment, podnet_vxlan_family or the underlay addresses"
                + _or_else(fabric),
            )


def _or_else(fabric: Fabric) -> str:
    if fabric.mode == "routed":
        return ", or set podnet_mode to auto"
    if learns(fabric):
        return ", name each segment's routers in podnet_bgp_peers, or set podnet_mode to auto"
    return ""


def _representative_pairs(fabric: Fabric) -> Iterator[tuple[Node, Node]]:
    """One pair per pair of kinds of node, so that each reason is told once."""
    kinds: dict[Kind, list[Node]] = {}
    for node in fabric.nodes:
        kinds.setdefault(kind_of(fabric, node), []).append(node)
    groups = list(kinds.values())
    for index, group in enumerate(groups):
        if len(group) > 1:
            yield group[0], group[1]
        for other in groups[index + 1 :]:
            yield group[0], other[0]


def _device_name(fabric: Fabric) -> Iterator[Problem]:
    name = fabric.vxlan_device
    if len(name) > LONGEST_INTERFACE:
        yield Problem(
            "podnet_vni",
            "the name of the VXLAN device would be too long",
            f"at most {LONGEST_INTERFACE} characters",
            f"{name}, {len(name)} characters",
            "choose a smaller VNI, or the standard port 4789",
        )
    if name == fabric.bridge:
        yield Problem(
            "podnet_bridge",
            "is the name of the VXLAN device, too",
            "a name of its own",
            name,
            "rename the bridge",
        )


def _mtu(fabric: Fabric) -> Iterator[Problem]:
    if not fabric.nodes:
        return
    overhead = overlay_overhead(fabric)
    smallest = min(fabric.nodes, key=lambda node: (node.underlay_mtu, node.name))
    room = smallest.underlay_mtu - overhead
    sum_text = f"underlay MTU {smallest.underlay_mtu} of {smallest.name} - {overhead} overhead"
    least = max((LEAST_MTU[family] for family in fabric.families), default=576)
    if fabric.mtu is not None and fabric.mtu > room:
        yield Problem(
            "podnet_mtu",
            "larger than what fits the underlay",
            f"{room} or less ({sum_text})",
            str(fabric.mtu),
            "leave podnet_mtu out, it is computed; or raise the underlay MTU",
        )
    elif (found := pod_mtu(fabric)) < least:
        where = "podnet_mtu" if fabric.mtu else f"nodes.{smallest.name}.podnet_underlay_mtu"
        yield Problem(
            where,
            "the pod MTU would be too small",
            f"{least} or more for {' and '.join(fabric.families)} pods",
            f"{found}" if fabric.mtu else f"{found} ({sum_text})",
            "raise the MTU",
        )


def backend_of(fabric: Fabric, node: str, peer: str, family: Family) -> str:
    """Name of the backend that serves a pair of nodes."""
    backend = serving(fabric, fabric.by_name[node], fabric.by_name[peer], family)
    if backend is None:
        raise LookupError(f"no backend of mode {fabric.mode} serves {node} -> {peer} {family}")
    return backend.name


def plan_node(
    fabric: Fabric, name: str, retiring: Retiring = NOTHING_RETIRING, peers: Peers | None = None
) -> NodePlan:
    """Everything that one node must have. O(peers).

    ``retiring`` ranges are no node's any more, but pods still hold addresses of them: they
    stay reachable exactly as the wanted ones are, and get no new pods. ``peers``, made of the same
    two, is worth passing on where several nodes are planned.
    """
    node = fabric.by_name[name]
    own = retiring.get(name, ())
    peers = peers or Peers(fabric, retiring)
    mtu = pod_mtu(fabric, peers.overhead)
    ways = peers.of(node)
    devices = [BACKENDS[backend].device(fabric, node, mtu) for backend in ways.backends]
    links = (Link(fabric.bridge, node.bridge_mac, mtu), *(link for link in devices if link))
    ranges = (*node.pod_cidrs, *own)
    return NodePlan(
        node=node,
        pod_mtu=mtu,
        sysctls=tuple(settings({family_of(cidr) for cidr in ranges}, links)),
        links=links,
        addresses=tuple(_addresses(links, node, ranges)),
        ways=ways,
        sources={family_of(cidr): gateway_of(cidr) for cidr in own} | dict(node.gateways),
        retiring=own,
        retiring_anywhere=tuple(sorted({c for cidrs in retiring.values() for c in cidrs})),
    )


def plan_fleet(
    fabric: Fabric, names: Iterable[str], retiring: Retiring = NOTHING_RETIRING
) -> Iterator[NodePlan]:
    """The plans of several nodes, one after the other; what they share is made once."""
    peers = Peers(fabric, retiring)
    return (plan_node(fabric, name, retiring, peers) for name in names)


def plan_nothing(name: str) -> NodePlan:
    """A node that shall have nothing, in the fleet or not."""
    node = Node(name, "", (), (), 0)
    return NodePlan(node, 0, (), (), ())


def _addresses(links: tuple[Link, ...], node: Node, ranges: tuple[str, ...]) -> Iterator[Address]:
    bridge, *overlays = links
    for cidr in ranges:
        yield Address(bridge.name, f"{gateway_of(cidr)}/{cidr.rpartition('/')[2]}")
    if any(family_of(cidr) == "ipv6" for cidr in ranges):
        # Without a link-local address the kernel sends no neighbour solicitation for packets
        # that it forwards (net/ipv6/ndisc.c, ndisc_send_ns). The kernel's own would wait for
        # duplicate detection until the first pod is there, and then for a second longer.
        yield Address(bridge.name, f"{link_local_of(node.bridge_mac)}/64")
    first = next((cidr for cidr in ranges if family_of(cidr) == "ipv4"), None)
    for link in overlays if first else ():
        # On a device without an IPv4 address loose reverse-path filtering is as strict as strict
        # (net/ipv4/fib_frontend.c, __fib_validate_source: no_addr), and drops what arrives while
        # one end of a pair has switched to a new device and the other has not.
        yield Address(link.name, f"{gateway_of(first or '')}/32")


def settings(families: Container[Family], links: tuple[Link, ...]) -> Iterator[Sysctl]:
    """What a node is set to for pods of these families."""
    if "ipv4" in families:
        yield Sysctl("net/ipv4/ip_forward", "1")
    if "ipv6" in families:
        yield Sysctl("net/ipv6/conf/all/forwarding", "1")
    for link in links:
        yield from device_settings(link.name, "ipv4" in families, "ipv6" in families)


def digest(files: dict[str, str]) -> str:
    """SHA-256 over rendered files (name → content), independent of their order."""
    total = hashlib.sha256()
    for name in sorted(files):
        total.update(f"{name}\0{len(files[name])}\0{files[name]}".encode())
    return total.hexdigest()


def pod_ranges(fabric: Fabric, plan: NodePlan, family: Family) -> tuple[str, ...]:
    """Where pods are: the cluster's ranges, and those that retire and lie outside."""
    found = _everywhere(fabric.cluster_cidrs, plan.retiring_anywhere)
    return tuple(cidr for cidr in found if family_of(cidr) == family)


@lru_cache(maxsize=16)  # the same for every node of a fleet
def _everywhere(cluster_cidrs: tuple[str, ...], retiring: tuple[str, ...]) -> tuple[str, ...]:
    cluster = [ipaddress.ip_network(cidr) for cidr in cluster_cidrs]
    outside = [
        text
        for text in retiring
        for network in (ipaddress.ip_network(text),)
        if not any(c.version == network.version and network.subnet_of(c) for c in cluster)  # type: ignore[arg-type]
    ]
    return (*map(str, cluster), *outside)
