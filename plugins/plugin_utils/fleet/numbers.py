# SPDX-License-Identifier: GPL-3.0-or-later
"""Numbers of generations: one order for all runs from a folder, whichever nodes each was of. Pure.

The nodes of a run know only what they have themselves. Numbers that they alone chose would say
nothing of which of two changes, made on different nodes, came first.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

# A rollback looks at the last one that was kept; runs that failed have used some up since.
REMEMBERED = 10


@dataclass(frozen=True, slots=True)
class Numbers:
    """What a folder has given.

    Attributes:
        last: the highest number that it has given, or has seen on a node.
        run: the run that gave it; empty when it was seen.
        given: number → the nodes that were to have it, of the last few. Whether they do, they say.
    """

    last: int = 0
    run: str = ""
    given: Mapping[int, frozenset[str]] = field(default_factory=dict)

    def least(self, run: str) -> int:
        """The lowest number that a run may give now. Its batches (`serial`) share one."""
        return self.last if run and run == self.run else self.last + 1

    def after(self, run: str, runs: Mapping[str, Mapping[str, Any]], gives: bool) -> Numbers:
        """When the gate has decided; ``runs``: node → what is done there."""
        seen = max((found["generation"] for found in runs.values()), default=0)
        known = Numbers(seen, "", self.given) if seen > self.last else self
        nodes = frozenset(name for name, found in runs.items() if found["number"])
        if not (gives and nodes):
            return known
        number = max(runs[name]["number"] for name in nodes)
        given = {**self.given, number: nodes | self.given.get(number, frozenset())}
        return Numbers(number, run, {n: given[n] for n in sorted(given)[-REMEMBERED:]})

    def latest(self, above: int, read: Collection[str], away: Collection[str]) -> list[str]:
        """Nodes that are away and may have a number above the one that all others have. One that a
        node which was read was to have, too, was taken back."""
        found: set[str] = set()
        for number, names in self.given.items():
            if number > above and not names.intersection(read):
                found |= names.intersection(away)
        return sorted(found)

    def to_dict(self) -> dict[str, Any]:
        given = {str(number): sorted(names) for number, names in self.given.items()}
        return {"last": self.last, "run": self.run, "given": given}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Numbers:
        given = {int(number): frozenset(names) for number, names in data["given"].items()}
        return cls(data["last"], data["run"], given)
