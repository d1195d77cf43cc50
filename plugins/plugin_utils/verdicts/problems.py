# SPDX-License-Identifier: GPL-3.0-or-later
"""Failed results → few problems, as large as they can be said: a node, two segments, a pair.

One dead node makes thousands of failed results in a large fleet, and a person should read one
sentence. Every failed result belongs to exactly one problem.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..intent.model import Fabric
from .results import OUTSIDE, Result, Status

SHOWN = 3
# What to show of many: the plainest kind first.
ORDER = ("tcp", "udp", "icmp", "source", "mtu_pass", "mtu_exceed", "mtu_pieces")


@dataclass(frozen=True, slots=True)
class Problem:
    """Failed results that have one sentence.

    Attributes:
        affected: (kind and families, number of results), the most frequent first.
        examples: up to three results in which different things were found, the most telling first.
        ids: of all its results.
    """

    status: Status
    title: str
    affected: tuple[tuple[str, int], ...]
    examples: tuple[Result, ...]
    ids: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        return {
            "status": self.status,
            "title": self.title,
            "affected": [{"what": what, "count": number} for what, number in self.affected],
            "examples": [result.to_dict() for result in self.examples],
            "results": list(self.ids),
        }


Pairs = dict[tuple[str, str], list[Result]]


class Ways:
    """Pairs of nodes that were looked at: all of them, or those of a sample."""

    def __init__(self) -> None:
        self.pairs: set[tuple[str, str]] = set()
        self.away: dict[str, set[str]] = {}
        self.towards: dict[str, set[str]] = {}

    def note(self, result: Result) -> None:
        """Count the pair of a result, if it is of a pair of nodes and was asked for."""
        source, target = result.source, result.target
        if result.kind in OUTSIDE or source == target or result.status == "skipped":
            return
        self.pairs.add((source, target))
        self.away.setdefault(source, set()).add(target)
        self.towards.setdefault(target, set()).add(source)


def problems_of(fabric: Fabric, asked: Sequence[str], results: Iterable[Result]) -> list[Problem]:
    """Failures first, then what could not be looked at; larger ones first."""
    pairs: Pairs = {}
    ways = Ways()
    local: dict[str, list[Result]] = {}
    outside: dict[str, list[Result]] = {}
    for result in results:
        ways.note(result)
        if result.status not in ("failure", "error"):
            continue
        if result.kind in OUTSIDE:
            outside.setdefault(result.target, []).append(result)
        elif result.source == result.target:
            local.setdefault(result.source, []).append(result)
        else:
            pairs.setdefault((result.source, result.target), []).append(result)
    nodes = [node.name for node in fabric.nodes if node.name in asked]
    found = [
        *_everywhere(nodes, ways, pairs),
        *_whole_nodes(nodes, ways, pairs, local, outside),
        *_segments(fabric, nodes, ways, pairs),
        *_pairs(pairs),
        *(_problem(f"On {name}", of) for name, of in local.items()),
        *(_problem(_outside_title(target, of), of) for target, of in outside.items() if of),
    ]
    return sorted(found, key=lambda p: (p.status != "failure", -len(p.ids), p.title))


def _everywhere(nodes: Sequence[str], ways: Ways, pairs: Pairs) -> Iterator[Problem]:
    """Every pair: then the fleet is the problem, and no node of it."""
    if len(nodes) < 3 or not pairs or len(pairs) != len(ways.pairs):
        return
    taken = [result for key in list(pairs) for result in pairs.pop(key)]
    yield _problem("Every pair of nodes", taken)


def _whole_nodes(
    nodes: Sequence[str],
    ways: Ways,
    pairs: Pairs,
    local: dict[str, list[Result]],
    outside: dict[str, list[Result]],
) -> Iterator[Problem]:
    """Nodes that have trouble with all others."""
    if len(nodes) < 3:
        return
    whole = []
    for name in nodes:
        targets, sources = ways.away.get(name, set()), ways.towards.get(name, set())
        away = len(targets) > 1 and all((name, other) in pairs for other in targets)
        towards = len(sources) > 1 and all((other, name) in pairs for other in sources)
        if away or towards:
            whole.append((name, away, towards))
    for name, away, towards in whole:
        keys = [key for key in pairs if (away and key[0] == name) or (towards and key[1] == name)]
        taken = [result for key in keys for result in pairs.pop(key)]
        if not taken:
            continue
        blind = any(result.status == "error" for result in local.get(name, ()))
        if blind or (away and towards):
            # What the node misses by itself is the same trouble.
            taken += local.pop(name, [])
            for target, results in outside.items():
                taken += [r for r in results if r.source == name]
                outside[target] = [r for r in results if r.source != name]
        yield _problem(_node_title(name, away, towards, blind, taken), taken, about=name)


def _node_title(
    name: str, away: bool, towards: bool, blind: bool, results: Sequence[Result]
) -> str:
    if blind:
        silent = any(result.status == "failure" for result in results)
        return f"{name} could not be looked at" + (", and does not answer" if silent else "")
    if away:
        return f"{name} {'↔' if towards else '→'} every other node"
    return f"every other node → {name}"


def _segments(fabric: Fabric, nodes: Sequence[str], ways: Ways, pairs: Pairs) -> Iterator[Problem]:
    """All pairs between two segments."""
    members = {
        name: [node.name for node in of if node.name in nodes]
        for name, of in fabric.segments.items()
    }
    names = list(members)
    for index, first in enumerate(names):
        for second in names[index + 1 :]:
            both = [(a, b) for a in members[first] for b in members[second]]
            both = [pair for a, b in both for pair in ((a, b), (b, a)) if pair in ways.pairs]
            if len(both) > 2 and all(pair in pairs for pair in both):
                taken = [result for pair in both for result in pairs.pop(pair)]
                yield _problem(f"Between segments {first} and {second}", taken)


def _pairs(pairs: Pairs) -> Iterator[Problem]:
    """One by one; both ways of a pair together."""
    for source, target in sorted(pairs):
        way = pairs.pop((source, target), None)
        if way is None:
            continue
        back = pairs.pop((target, source), None)
        arrow = "→" if back is None else "↔"
        yield _problem(f"{source} {arrow} {target}", [*way, *(back or ())])


def _outside_title(target: str, results: Sequence[Result]) -> str:
    sources = sorted({result.source for result in results})
    start = sources[0] if len(sources) == 1 else f"{len(sources)} nodes"
    return f"{start} → {target}"


def _problem(title: str, results: Sequence[Result], about: str = "") -> Problem:
    """``about``: a node whose own errors say more than what its peers missed."""
    ranked = sorted(results, key=_rank)
    counts: dict[tuple[str, str], int] = {}
    for result in ranked:
        key = (result.kind, result.family or "")
        counts[key] = counts.get(key, 0) + 1
    telling = sorted(ranked, key=lambda r: not (r.source == about and r.status == "error"))
    examples: dict[tuple[str, str], Result] = {}
    for result in telling:
        examples.setdefault((result.status, result.found), result)
    return Problem(
        status=ranked[0].status,
        title=title,
        affected=tuple(_affected(counts)),
        examples=tuple(examples.values())[:SHOWN],
        ids=tuple(result.id for result in results),
    )


def _affected(counts: Mapping[tuple[str, str], int]) -> Iterator[tuple[str, int]]:
    """`tcp` where all families are concerned alike, else `tcp ipv4`."""
    kinds = dict.fromkeys(kind for kind, _family in counts)
    for kind in kinds:
        families = {family: n for (of, family), n in counts.items() if of == kind}
        if len(set(families.values())) == 1:
            one = "".join(families) if len(families) == 1 else ""
            yield f"{kind} {one}".strip(), sum(families.values())
        else:
            yield from ((f"{kind} {f}".strip(), n) for f, n in sorted(families.items()))


def _rank(result: Result) -> tuple[bool, int]:
    place = ORDER.index(result.kind) if result.kind in ORDER else len(ORDER)
    return result.status != "failure", place
