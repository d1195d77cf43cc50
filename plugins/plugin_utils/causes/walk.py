# SPDX-License-Identifier: GPL-3.0-or-later
"""Failed pairs + what their nodes look like → the first object on the way that is wrong. Pure.

The way of a packet is walked as it goes: the pod's veth, the sending node's bridge, settings,
route, neighbour, FDB entry and rules, the underlay, the receiving node, and then the way back.
What podnet itself wants is the plan; what is foreign is wrong when it takes the packet.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from ..backends import learns
from ..intent.model import FAMILIES, Fabric, Family, family_of
from ..plan import backend_of
from ..speakers.wanted import lacking, reflectors_of
from ..verdicts.learned import KINDS as LEARNED
from ..verdicts.results import OUTSIDE, Result
from . import filters, own, pods, routing, speakers, underlay
from .suspects import TO_NODE, Cause, Scene, Trip

Certain = tuple[Cause, bool]
Found = list[tuple[Cause, tuple[str, ...]]]


def needed(fabric: Fabric, results: Iterable[Result]) -> set[str]:
    """Nodes that have to be looked at; where routes are learned, also those that reflect them."""
    bad, outside = _bad(results)
    names = {n for r in bad for n in (r.source, r.target)} | {r.source for r in outside}
    return names | (reflectors_of(fabric, names) if learns(fabric) else set())


def _bad(results: Iterable[Result]) -> tuple[list[Result], list[Result]]:
    """What failed between nodes, and from a node to the outside."""
    bad = [result for result in results if result.status in ("failure", "error")]
    return (
        [result for result in bad if result.kind not in OUTSIDE],
        [result for result in bad if result.kind in OUTSIDE],
    )


def causes(scene: Scene, results: Iterable[Result]) -> Found:
    """Each cause with the ids of the results that it explains, the largest first."""
    ways: dict[tuple[str, str, str], list[Result]] = {}
    between, outside = _bad(results)
    for result in between:
        one, two = sorted((result.source, result.target))
        ways.setdefault((one, two, result.family or ""), []).append(result)
    failed = {key for key, of in ways.items() if any(r.status == "failure" for r in of)}
    found: dict[Cause, list[str]] = {}
    for (one, two, family), bad in sorted(ways.items()):
        alone = len({f for a, b, f in failed if (a, b) == (one, two) and f}) < 2
        cause = _of_pair(scene, one, two, family, bad, alone)
        if cause is not None:
            found.setdefault(cause, []).extend(result.id for result in bad)
    for result in outside:
        for cause in _of_outside(scene, result):
            found.setdefault(cause, []).append(result.id)
    ranked = sorted(found.items(), key=lambda item: -len(item[1]))
    return [(cause, tuple(ids)) for cause, ids in ranked]


def predict(scene: Scene) -> dict[tuple[str, str, str], Cause | None]:
    """(node, node, family) → what must keep small packets between their pods from passing, by
    what the nodes look like alone; None where nothing is certain to. Nodes in sorted order, and
    a node with itself."""
    kinds = frozenset({"icmp", "tcp", "udp"})
    names = sorted(scene.looks)
    return {
        (one, two, family): _certain(scene, one, two, family, kinds)
        for place, one in enumerate(names)
        for two in names[place:]
        for family in scene.fabric.families
    }


def _certain(
    scene: Scene, one: str, two: str, family: Family, kinds: frozenset[str]
) -> Cause | None:
    for node in (one, two):
        cause = pods.ready(scene, node)
        if cause is not None:
            return cause
    backend = "bridge" if one == two else backend_of(scene.fabric, one, two, family)
    for trip in _trips(scene, [(one, two), (two, one)], family, kinds, backend):
        for cause, sure in way(trip):
            if sure:
                return cause
    return None


def disagreements(
    scene: Scene, results: Iterable[Result]
) -> list[tuple[tuple[str, str, str], Cause | None]]:
    """Pairs of which what was predicted is not what packets did, with what was predicted."""
    seen: dict[tuple[str, str, str], bool] = {}
    for result in results:
        if result.kind in ("icmp", "tcp", "udp") and result.status in ("success", "failure"):
            one, two = sorted((result.source, result.target))
            key = (one, two, result.family or "")
            seen[key] = seen.get(key, False) or result.status == "failure"
    predicted = predict(scene)
    return [
        (key, predicted[key])
        for key, failed in sorted(seen.items())
        if key in predicted and failed != (predicted[key] is not None)
    ]


def _of_outside(scene: Scene, result: Result) -> Iterable[Cause]:
    """Beyond the fleet nobody is asked: it is podnet's table, or nothing that can be named here;
    what other pairs need, too, is named by them. Without pods nothing was asked."""
    if result.source in scene.looks:
        cause = pods.ready(scene, result.source)
        yield from [cause] if cause else own.table(scene, result.source)


def _of_pair(
    scene: Scene, one: str, two: str, family: str, bad: Sequence[Result], alone: bool
) -> Cause | None:
    for node in dict.fromkeys((one, two)):
        cause = pods.ready(scene, node)
        if cause is not None:
            return cause
    of = next((known for known in FAMILIES if known == family), None)
    if of is None:
        return None
    packets = [result for result in bad if result.kind not in LEARNED]
    if not packets:
        return _of_learned(scene, bad)
    bad = packets
    if one == two:
        return _of_ways(scene, (one, two), of, bad, alone, "bridge")
    to_node = [result for result in bad if result.kind == "pod_to_node"]
    others = [result for result in bad if result.kind != "pod_to_node"]
    if not others:
        return _of_ways(scene, (one, two), of, to_node, alone, TO_NODE)
    backend = backend_of(scene.fabric, one, two, of)
    return _of_ways(scene, (one, two), of, others, alone, backend)


def _of_learned(scene: Scene, bad: Sequence[Result]) -> Cause | None:
    """No packet is lost, or not yet: routes outlive sessions for a while."""
    for result in bad:
        node, end = result.source, result.id.split("/", 3)[3]
        heard = scene.heard.get(node)
        if heard is None:
            continue
        for route in lacking(scene.plans[node], heard) if result.kind == "learned" else ():
            if (route.peer, family_of(route.dst)) == (end, result.family):
                return speakers.best(speakers.prefix(scene, node, route))
        for wanted in scene.sessions[node] if result.kind == "session" else ():
            if end in (wanted.peer, wanted.address) and wanted.family == result.family:
                return speakers.best(speakers.session(scene, node, wanted))
    return None


def _of_ways(
    scene: Scene,
    pair: tuple[str, str],
    family: Family,
    bad: Sequence[Result],
    alone: bool,
    backend: str,
) -> Cause | None:
    one, two = pair
    ends = [(one, two), (two, one)] if one != two else [(one, two)]
    # The way on which more is missing first; where both fail alike, as the names stand.
    ends.sort(key=lambda end: -sum(r.source == end[0] for r in bad))
    kinds = frozenset(result.kind for result in bad)
    sources = {result.source for result in bad}
    sent = [end for end in ends if end[0] in sources]
    trips = _trips(scene, sent, family, kinds, backend)
    return first(trips) or underlay.between(scene, pair, trips, kinds, alone)


def _trips(
    scene: Scene,
    ends: Iterable[tuple[str, str]],
    family: Family,
    kinds: frozenset[str],
    backend: str,
) -> list[Trip]:
    """There and back for each (source, target)."""
    return [
        trip
        for source, target in ends
        for trip in (
            Trip(scene, source, target, family, kinds, backend),
            Trip(scene, target, source, family, kinds, backend, answers=True),
        )
    ]


def first(trips: Sequence[Trip]) -> Cause | None:
    """The first certain cause; failing that, the first suspect."""
    suspects: list[Cause] = []
    for trip in trips:
        for cause, sure in way(trip):
            if sure:
                return cause
            suspects.append(cause)
    for trip in trips:
        for cause in underlay.checksums(trip):
            return cause
    return suspects[0] if suspects else None


def way(trip: Trip) -> Iterator[Certain]:
    """Everything wrong on a trip, in the order in which a packet meets it."""
    if trip.backend == TO_NODE:
        yield from _to_node(trip)
        return
    yield from ((cause, True) for cause in pods.attached(trip, trip.source))
    yield from ((cause, True) for cause in own.on_node(trip, trip.source))
    if trip.source == trip.target:
        yield from filters.inner(trip, trip.source)
        return
    yield from ((cause, True) for cause in own.between(trip, trip.source, trip.target))
    if trip.only_large:
        yield from routing.narrow(trip)
    else:
        yield from routing.chosen(trip)
        yield from routing.underlay(trip)
    yield from underlay.device(trip, trip.source)
    yield from filters.inner(trip, trip.source)
    yield from ((cause, False) for cause in own.table(trip.scene, trip.source))
    yield from filters.encapsulated(trip, trip.source)
    yield from underlay.device(trip, trip.target)
    yield from ((cause, False) for cause in own.table(trip.scene, trip.target))
    yield from filters.encapsulated(trip, trip.target)
    yield from underlay.arrival(trip)
    yield from ((cause, True) for cause in own.on_node(trip, trip.target))
    yield from filters.inner(trip, trip.target)
    yield from ((cause, True) for cause in pods.attached(trip, trip.target))


def _to_node(trip: Trip) -> Iterator[Certain]:
    """Packets of a pod to another node itself, and the node's answers."""
    if trip.answers:
        yield from underlay.arrival(trip)
        yield from filters.inner(trip, trip.target)
        return
    yield from ((cause, True) for cause in own.on_node(trip, trip.source))
    yield from underlay.device(trip, trip.source)
    yield from filters.inner(trip, trip.source)
    yield from ((cause, False) for cause in own.table(trip.scene, trip.source))
    yield from underlay.device(trip, trip.target)
    yield from filters.delivered(trip)
