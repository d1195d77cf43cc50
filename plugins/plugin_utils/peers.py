# SPDX-License-Identifier: GPL-3.0-or-later
"""What the nodes of a fleet need to reach each other, computed once for all that need the same.

What a node has for a peer depends on the peer, on the backends between the two, and on the node's
own gateway addresses, which are the sources of its routes. So there is one `Way` per peer and
choice of backends, with a placeholder for the source, and all nodes share it: what is computed
grows with the nodes and not with their pairs, and a node's own part is filling in two addresses.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from types import MappingProxyType

from .backends import BACKENDS, Target, learns, serving
from .intent.model import FAMILIES, Fabric, Family, Node, family_of
from .kernel.objects import FdbEntry, KernelObject, Neighbour, Route, lines

# Node name → ranges that the inventory does not give it any more and its pods still hold.
Retiring = Mapping[str, tuple[str, ...]]
NOTHING_RETIRING: Retiring = MappingProxyType({})

# The place of a node's own address in what it shares with others. No name has such a letter.
SOURCE: Mapping[Family, str] = {"ipv4": "<ipv4>", "ipv6": "<ipv6>"}
Sources = Mapping[Family, str]
# Families of a node's underlay, and of the routers that it has BGP sessions with.
Reach = tuple[tuple[Family, ...], tuple[Family, ...]]
# What a backend may know of a node: its AS where routes are learned, its segment, its reach.
Kind = tuple[int, str, Reach]


def kind_of(fabric: Fabric, node: Node) -> Kind:
    """What backends decide by; nodes of one kind need not be asked one by one."""
    underlay = tuple(f for f in FAMILIES if f in node.underlay)
    if not learns(fabric):
        return (0, node.segment, (underlay, ()))
    routers = {family_of(router.address) for router in node.bgp_peers}
    return (node.bgp_asn, node.segment, (underlay, tuple(f for f in FAMILIES if f in routers)))


def alike_pairs(fabric: Fabric) -> Iterator[tuple[Node, Node]]:
    """One pair for all that every backend treats alike: reach of the one, reach of the other, and
    what they share: AS and segment, the AS alone, or neither. O(nodes), however many segments there
    are."""
    seen: set[tuple[Reach, Reach, int]] = set()
    near: dict[Kind, Node] = {}
    same_as: dict[tuple[int, Reach], Two] = {}
    everywhere: dict[Reach, Two] = {}
    for node in fabric.nodes:
        asn, segment, reach = kind = kind_of(fabric, node)
        for theirs, found in everywhere.items():
            mates = (
                near.get((asn, segment, theirs)),
                same_as.get((asn, theirs), NOBODY).but(segment),
                found.but(str(asn)),
            )
            for shared, mate in enumerate(mates):
                if mate is not None and (theirs, reach, shared) not in seen:
                    seen.add((theirs, reach, shared))
                    yield mate, node
        near.setdefault(kind, node)
        same_as.setdefault((asn, reach), Two()).note(segment, node)
        everywhere.setdefault(reach, Two()).note(str(asn), node)


class Two:
    """The first node of all, and the first one in another place than that."""

    def __init__(self) -> None:
        self._found: dict[str, Node] = {}

    def note(self, place: str, node: Node) -> None:
        if len(self._found) < 2:
            self._found.setdefault(place, node)

    def but(self, place: str) -> Node | None:
        """One that is not in this place."""
        return next((node for at, node in self._found.items() if at != place), None)


NOBODY = Two()


def overlay_overhead(fabric: Fabric) -> int:
    """Bytes that encapsulation takes from the underlay MTU: 0 when no pair uses an overlay."""
    used = {
        backend.name: backend.overhead(fabric)
        for node, peer in alike_pairs(fabric)
        for family in fabric.families
        if (backend := serving(fabric, node, peer, family))
    }
    return max(used.values(), default=0)


@dataclass(frozen=True)
class Way:
    """How nodes get to one peer.

    Attributes:
        backends: names, each once, in the order of the peer's ranges.
        objects: of every range of the peer; routes have `SOURCE` in place of their source.
        families: (family, backend) of each range that the inventory gives to the peer.
        direct: underlay addresses of the peer to which pod addresses are routed directly.
    """

    peer: Node
    backends: tuple[str, ...]
    objects: tuple[KernelObject, ...]
    families: tuple[tuple[Family, str], ...]
    direct: tuple[str, ...]

    @cached_property
    def neighbours(self) -> str:
        return self._block(Neighbour, "ip")

    @cached_property
    def fdb(self) -> str:
        return self._block(FdbEntry, "bridge")

    @cached_property
    def routes(self) -> str:
        return self._block(Route, "ip")

    @cached_property
    def vteps(self) -> tuple[str, ...]:
        """Underlay addresses to which packets for the peer are encapsulated."""
        return tuple(item.dst for item in self.objects if isinstance(item, FdbEntry))

    def _block(self, kind: type[KernelObject], tool: str) -> str:
        """The lines of one kind of object under a comment that names the peer, or nothing."""
        chosen = tuple(item for item in self.objects if isinstance(item, kind))
        title = f"# {self.peer.name} (segment {self.peer.segment}, {' and '.join(self.backends)})"
        return "\n".join([title, *lines(chosen, tool)]) + "\n" if chosen else ""

    def objects_from(self, sources: Sources) -> tuple[KernelObject, ...]:
        """The objects of a node with these own addresses."""
        own = {place: sources.get(family, "") for family, place in SOURCE.items()}
        return tuple(
            replace(item, src=own[item.src])
            if isinstance(item, Route) and item.src in own
            else item
            for item in self.objects
        )


def filled(text: str, sources: Sources) -> str:
    """Shared lines as a node with these own addresses has them."""
    for family, place in SOURCE.items():
        own = sources.get(family)
        text = text.replace(f" src {place}", f" src {own}" if own else "")
    return text


NO_WAY = Way(Node("", "", (), (), 0), (), (), (), ())


class Peers:
    """The ways of a fleet. It remembers what it has made, so one object serves all nodes."""

    def __init__(self, fabric: Fabric, retiring: Retiring = NOTHING_RETIRING) -> None:
        self.fabric = fabric
        self.retiring = retiring
        self._index = {node.name: number for number, node in enumerate(fabric.nodes)}
        self._kind = [kind_of(fabric, node) for node in fabric.nodes]
        self._cidrs = [(*n.pod_cidrs, *retiring.get(n.name, ())) for n in fabric.nodes]
        self._families = [tuple(map(family_of, cidrs)) for cidrs in self._cidrs]
        self._of_kind: dict[Kind, list[Way]] = {}
        # Kind → the node that asked first; its own way, which it does not need, is not there yet.
        self._gap: dict[Kind, int] = {}
        self._names: dict[tuple[Kind, Kind, tuple[Family, ...]], tuple[str, ...]] = {}
        self._made: dict[tuple[int, tuple[str, ...]], Way] = {}

    @cached_property
    def overhead(self) -> int:
        return overlay_overhead(self.fabric)

    def of(self, node: Node) -> tuple[Way, ...]:
        """The ways from a node to every other one, in the order of the fleet.

        Raises:
            LookupError: no backend of the mode serves a pair; the plan refuses such a fleet.
        """
        own = self._index[node.name]
        kind, count = self._kind[own], len(self.fabric.nodes)
        if kind not in self._of_kind:
            ways = [self._way(own, peer) for peer in range(count) if peer != own]
            # Something has to stand there; it is cut out again below.
            ways.insert(own, NO_WAY)
            self._of_kind[kind], self._gap[kind] = ways, own
        elif self._gap.get(kind, own) != own:
            gap = self._gap.pop(kind)
            self._of_kind[kind][gap] = self._way(own, gap)
        known = self._of_kind[kind]
        return (*known[:own], *known[own + 1 :])

    def _way(self, own: int, peer: int) -> Way:
        key = (self._kind[own], self._kind[peer], self._families[peer])
        names = self._names.get(key)
        if names is None:
            names = tuple(self._backend(own, peer, family) for family in self._families[peer])
            self._names[key] = names
        way = self._made.get((peer, names))
        if way is None:
            way = self._made[peer, names] = self._new(own, peer, names)
        return way

    def _backend(self, own: int, peer: int, family: Family) -> str:
        one, two = self.fabric.nodes[own], self.fabric.nodes[peer]
        backend = serving(self.fabric, one, two, family)
        if backend is None:
            raise LookupError(f"no backend serves {one.name} -> {two.name} {family}")
        return backend.name

    def _new(self, own: int, number: int, names: tuple[str, ...]) -> Way:
        node, peer, cidrs = self.fabric.nodes[own], self.fabric.nodes[number], self._cidrs[number]
        # Dicts keep the order and drop what two families share (the FDB entry).
        objects: dict[KernelObject, None] = {}
        direct: dict[str, None] = {}
        for cidr, name in zip(cidrs, names, strict=True):
            family, backend = family_of(cidr), BACKENDS[name]
            target = Target(family, cidr, SOURCE[family])
            made = backend.entries(self.fabric, node, peer, target)
            objects.update(dict.fromkeys(made))
            # A peer whose routes are learned is named nowhere, so that a new one changes nothing.
            if made and not backend.overhead(self.fabric):
                direct[peer.underlay[family]] = None
        return Way(
            peer=peer,
            backends=tuple(dict.fromkeys(names)),
            objects=tuple(objects),
            families=tuple(
                (family_of(cidr), name)
                for cidr, name in zip(cidrs, names, strict=True)
                if cidr in peer.pod_cidrs
            ),
            direct=tuple(direct),
        )
