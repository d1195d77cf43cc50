# SPDX-License-Identifier: GPL-3.0-or-later
"""What the nodes of a fleet need to reach each other, computed once for all that need the same.

What a node has for a peer depends on the peer, on the backends between the two, and on the node's
own gateway addresses, which are the sources of its routes. So there is one `Way` per peer and
choice of backends, with a placeholder for the source, and all nodes share it: what is computed
grows with the nodes and not with their pairs. Nodes of one kind share the list of their ways, too,
and whatever is made of all of it; a node's own part is to leave itself out, and to fill in two
addresses.
"""

from __future__ import annotations

import ipaddress
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import chain, islice
from types import MappingProxyType

from .backends import BACKENDS, Target, learns, serving
from .intent.model import FAMILIES, Fabric, Family, Node, family_of
from .kernel.objects import FdbEntry, KernelObject, Learned, Neighbour, Route, lines

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


def pod_mtu(fabric: Fabric, overhead: int | None = None) -> int:
    """Bytes. One value for the fleet: the largest that fits every path between nodes.

    ``overhead`` is worth passing on where it is known."""
    if fabric.mtu is not None:
        return fabric.mtu
    taken = overlay_overhead(fabric) if overhead is None else overhead
    return fabric.underlay_mtu - taken


def narrower(fabric: Fabric, mtu: int) -> int:
    """The pod MTU where some node's underlay lets more through, else 0. By the largest of the fleet
    and not by each node's own, because nodes share their ways; elsewhere it changes nothing."""
    return mtu if mtu < fabric.largest_underlay_mtu else 0


@dataclass(frozen=True)
class Way:
    """How nodes get to one peer.

    Attributes:
        backends: names, each once, in the order of the peer's ranges.
        objects: of every range of the peer; routes have `SOURCE` in place of their source.
        direct: underlay addresses of the peer to which pod addresses are routed directly.
        learned: routes to the peer's ranges that come from a routing daemon.
    """

    peer: Node
    backends: tuple[str, ...]
    objects: tuple[KernelObject, ...] = ()
    direct: tuple[str, ...] = ()
    learned: tuple[Learned, ...] = ()

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


NO_WAY = Way(Node("", "", (), (), 0), ())


class Shared:
    """The ways to all nodes of a fleet, in its order, as nodes of one kind have them."""

    def __init__(self, ways: tuple[Way, ...]) -> None:
        self.ways = ways

    @cached_property
    def backends(self) -> Counter[str]:
        """Name → number of ways."""
        return Counter(name for way in self.ways for name in way.backends)

    @cached_property
    def direct(self) -> Mapping[Family, list[str]]:
        found = sorted({address for way in self.ways for address in way.direct})
        return {family: [a for a in found if family_of(a) == family] for family in FAMILIES}

    @cached_property
    def vteps(self) -> list[str]:
        found = {address for way in self.ways for address in way.vteps}
        return sorted(found, key=lambda text: int(ipaddress.ip_address(text)))

    @cached_property
    def neighbours(self) -> list[str]:
        return [way.neighbours for way in self.ways]

    @cached_property
    def fdb(self) -> list[str]:
        return [way.fdb for way in self.ways]

    @cached_property
    def routes(self) -> list[str]:
        return [way.routes for way in self.ways]


@dataclass(frozen=True, eq=False)
class Ways:
    """The ways from one node to every other one, in the order of the fleet.

    Attributes:
        shared: those to all nodes.
        own: the node's place among them.
    """

    shared: Shared = field(default_factory=lambda: Shared(()))
    own: int = 0

    def __iter__(self) -> Iterator[Way]:
        ways = self.shared.ways
        return chain(islice(ways, self.own), islice(ways, self.own + 1, None))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Ways) and tuple(self) == tuple(other)

    def __hash__(self) -> int:
        return hash(tuple(self))

    @property
    def backends(self) -> list[str]:
        """Names of those in use, in the order of the registry."""
        used = self.shared.backends - Counter(self._self.backends)
        return [name for name in BACKENDS if name in used]

    def direct(self, family: Family) -> list[str]:
        """Underlay addresses of peers to which pod addresses are routed directly, sorted. An
        address is one node's alone (`intent/checks.py`)."""
        return _without(self.shared.direct[family], self._self.direct)

    @property
    def vteps(self) -> list[str]:
        """Underlay addresses to which packets are encapsulated, in their numbers' order."""
        return _without(self.shared.vteps, self._self.vteps)

    def neighbours(self) -> str:
        return self._joined(self.shared.neighbours)

    def fdb(self) -> str:
        return self._joined(self.shared.fdb)

    def routes(self, sources: Sources) -> str:
        """As a node with these own addresses has them."""
        return filled(self._joined(self.shared.routes), sources)

    @property
    def _self(self) -> Way:
        return self.shared.ways[self.own] if self.shared.ways else NO_WAY

    def _joined(self, blocks: list[str]) -> str:
        return "".join((*blocks[: self.own], *blocks[self.own + 1 :]))


def _without(shared: list[str], own: tuple[str, ...]) -> list[str]:
    """A copy without what is a node's own."""
    found = [*shared]
    for item in own:
        if item in found:
            found.remove(item)
    return found


class Peers:
    """The ways of a fleet. It remembers what it has made, so one object serves all nodes."""

    def __init__(self, fabric: Fabric, retiring: Retiring = NOTHING_RETIRING) -> None:
        self.fabric = fabric
        self.retiring = retiring
        self._index = {node.name: number for number, node in enumerate(fabric.nodes)}
        self._kind = [kind_of(fabric, node) for node in fabric.nodes]
        self._cidrs = [(*n.pod_cidrs, *retiring.get(n.name, ())) for n in fabric.nodes]
        self._families = [tuple(map(family_of, cidrs)) for cidrs in self._cidrs]
        self._members = Counter(self._kind)
        self._shared: dict[Kind, Shared] = {}
        self._names: dict[tuple[Kind, Kind, tuple[Family, ...]], tuple[str, ...]] = {}
        # What is learned differs between neighbours and others, though it is the same backend.
        self._made: dict[tuple[int, tuple[str, ...], bool], Way] = {}

    @cached_property
    def overhead(self) -> int:
        return overlay_overhead(self.fabric)

    @cached_property
    def _narrower(self) -> int:
        return narrower(self.fabric, pod_mtu(self.fabric, self.overhead))

    def of(self, node: Node) -> Ways:
        """The ways from a node to every other one.

        Raises:
            LookupError: no backend of the mode serves a pair; the plan refuses such a fleet.
        """
        own = self._index[node.name]
        kind = self._kind[own]
        # One that is alone of its kind is asked for once, and shares its list with nobody.
        alone = self._members[kind] == 1
        shared = self._shared.get(kind)
        if shared is None:
            # Others of the kind need the way to this node; alone, it needs none to itself.
            ways = (
                NO_WAY if alone and peer == own else self._way(own, peer)
                for peer in range(len(self.fabric.nodes))
            )
            shared = Shared(tuple(ways))
            if not alone:
                self._shared[kind] = shared
        return Ways(shared, own)

    def _way(self, own: int, peer: int) -> Way:
        key = (self._kind[own], self._kind[peer], self._families[peer])
        names = self._names.get(key)
        if names is None:
            names = tuple(self._backend(own, peer, family) for family in self._families[peer])
            self._names[key] = names
        near = self._kind[own][:2] == self._kind[peer][:2]
        way = self._made.get((peer, names, near))
        if way is None:
            way = self._made[peer, names, near] = self._new(own, peer, names)
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
        learned: list[Learned] = []
        for cidr, name in zip(cidrs, names, strict=True):
            family, backend = family_of(cidr), BACKENDS[name]
            target = Target(family, cidr, SOURCE[family], self._narrower)
            made = backend.entries(self.fabric, node, peer, target)
            objects.update(dict.fromkeys(made))
            # A peer whose routes are learned is named nowhere, so that a new one changes nothing.
            if made and not backend.overhead(self.fabric):
                direct[peer.underlay[family]] = None
            if (route := backend.learned(self.fabric, node, peer, target)) is not None:
                learned.append(route)
        return Way(
            peer=peer,
            backends=tuple(dict.fromkeys(names)),
            objects=tuple(objects),
            direct=tuple(direct),
            learned=tuple(learned),
        )
