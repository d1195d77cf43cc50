# SPDX-License-Identifier: GPL-3.0-or-later
"""Causes as a person reads them: each once, however many ways and nodes are concerned. Pure."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

from ..intent.problems import few
from ..verdicts.problems import Problem
from ..verdicts.scene import POD_A, POD_B
from ..verdicts.summary import MESSAGE, SHOWN, fact_lines, wrapped
from .suspects import Cause
from .underlay import PATHS

PODS = (POD_A, POD_B)


@dataclass(frozen=True, slots=True)
class Alike:
    """Causes of which the same is to be said: one object on many nodes, or the underlay of many
    pairs. ``ids``: the results that they explain."""

    causes: tuple[Cause, ...]
    ids: tuple[str, ...]

    @property
    def first(self) -> Cause:
        return self.causes[0]

    @property
    def title(self) -> str:
        """`node-1: route 10.64.2.0/24`, `node-1, node-2: device pn64`, `underlay of 4 pairs`."""
        if len(self.causes) > 1 and self.first.kind in PATHS:
            return f"{self.first.kind} of {len(self.causes)} pairs"
        nodes = few(list(dict.fromkeys(cause.node for cause in self.causes)))
        return f"{nodes}: {self.first.kind} {self.first.object}"

    @property
    def ways(self) -> str:
        """The pairs of nodes concerned: the first ones, and how many more there are."""
        ends = (id.split("/", 3)[2:4] for id in self.ids)
        # What concerns one node alone has a pod of it, or nothing, in the other's place.
        pairs = sorted({tuple(sorted((a, a if b in PODS else b))) for a, b in ends})
        return few([f"{one} ↔ {two}" for one, two in pairs])


def alike(causes: Sequence[tuple[Cause, tuple[str, ...]]]) -> list[Alike]:
    """Causes that differ in nothing but where they are together, the largest first."""
    groups: dict[tuple[str, ...], list[tuple[Cause, tuple[str, ...]]]] = {}
    for cause, ids in causes:
        name = "" if cause.kind in PATHS else cause.object
        key = (cause.kind, name, cause.expected, cause.found, cause.repair)
        groups.setdefault(key, []).append((cause, ids))
    found = [
        Alike(tuple(cause for cause, _ids in of), tuple(id for _cause, ids in of for id in ids))
        for of in groups.values()
    ]
    return sorted(found, key=lambda group: -len(group.ids))


def model_lines(
    found: Sequence[tuple[tuple[str, str, str], Cause | None]],
) -> list[str]:
    """Where the walk over what nodes look like and real packets do not agree, one line each."""
    lines: list[str] = []
    for (one, two, family), cause in found:
        text = f"{one} ↔ {two} {family}: "
        if cause is None:
            text += "packets are lost, and nothing that nodes show must lose them"
        else:
            text += (
                f"packets pass, and {cause.kind} {cause.object} of {cause.node} is wrong "
                f"(expected {cause.expected}, found {cause.found})"
            )
        lines.append(text)
    return lines


def cause_lines(causes: Sequence[tuple[Cause, tuple[str, ...]]]) -> list[str]:
    """The first causes, each once with what it explains and what repairs it."""
    lines: list[str] = []
    groups = alike(causes)
    for group in groups[:SHOWN]:
        head = f"CAUSE {group.title} ({group.ways})"
        lines += textwrap.wrap(head, MESSAGE, subsequent_indent=" " * 6)
        lines += fact_lines(group.first, ("expected", "found", "repair"), 6)
    if len(groups) > SHOWN:
        lines.append(f"… and {len(groups) - SHOWN} more; the report has them all")
    return lines


def other_lines(
    problems: Sequence[Problem], causes: Sequence[tuple[Cause, tuple[str, ...]]]
) -> list[str]:
    """What to do about problems of which no cause explains anything: as much as a check can say by
    itself, and after what is known."""
    explained = {id for _cause, ids in causes for id in ids}
    titles: dict[str, list[str]] = {}
    for problem in problems:
        remedy = next((example.remedy for example in problem.examples if example.remedy), None)
        if remedy and explained.isdisjoint(problem.ids):
            titles.setdefault(remedy, []).append(problem.title)
    first = "where it still fails once that is repaired, " if causes else ""
    lines: list[str] = []
    for remedy, of in list(titles.items())[:SHOWN]:
        head = f"OTHER {few(of)}: no cause found"
        lines += textwrap.wrap(head, MESSAGE, subsequent_indent=" " * 6)
        lines += wrapped("remedy", first + remedy, 6)
    if len(titles) > SHOWN:
        lines.append(f"… and {len(titles) - SHOWN} more without a cause; the report has them all")
    return lines
