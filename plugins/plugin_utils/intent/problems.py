# SPDX-License-Identifier: GPL-3.0-or-later
"""What is wrong with an inventory, as values that can be collected and printed together."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

PREFIX = "podnet_"


LONGEST_PLACE = 300


def _cut(place: str) -> str:
    """A key that somebody else wrote can be of any length."""
    return place if len(place) <= LONGEST_PLACE else place[: LONGEST_PLACE - 1] + "…"


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """One thing a person must mend, said so that they can.

    Attributes:
        where: path of the value, such as ``nodes.worker-2.podnet_pod_cidrs[0]``.
        what: the rule that is broken, one clause.
        expected: what would have been accepted.
        found: what is there.
        remedy: what to do, an imperative sentence.
    """

    where: str
    what: str
    expected: str
    found: str
    remedy: str

    def __str__(self) -> str:
        return (
            f"{_cut(printable(self.where))}: {self.what}\n"
            f"    expected: {self.expected}\n"
            f"    found:    {self.found}\n"
            f"    do:       {self.remedy}"
        )


class ProblemsError(Exception):
    """All problems of one stage; raised once, at the barrier after the stage.

    ``problems`` is a sorted tuple, so that the same input always prints the same text.
    """

    def __init__(self, stage: str, problems: Iterable[Problem]) -> None:
        self.stage = stage
        self.problems = tuple(sorted(set(problems)))
        super().__init__(self.text())

    def text(self) -> str:
        """The whole list as a person reads it."""
        count = len(self.problems)
        head = f"{count} problem{'s' if count != 1 else ''} in {self.stage}; no node was touched."
        return "\n\n".join([head, *map(str, self.problems)])


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known name most like ``word``, or None when nothing is near. The prefix that all
    variables share says nothing, so it does not count."""
    names = {name.removeprefix(PREFIX): name for name in known}
    found = difflib.get_close_matches(word.removeprefix(PREFIX), list(names), n=1, cutoff=0.6)
    if not found:  # the prefix itself may be misspelt
        found = difflib.get_close_matches(word.partition("_")[2], list(names), n=1, cutoff=0.9)
    return names[found[0]] if found else None


def printable(text: str) -> str:
    """``text`` on one line: nothing in it can look like another line or steer a terminal."""
    return "".join(c if c.isprintable() else "?" for c in text)


def few(items: Sequence[str], most: int = 3, mark: str = ", ") -> str:
    """The first ones, and how many more there are; ``mark`` stands between."""
    text, rest = mark.join(items[:most]), len(items) - most
    return f"{text}{mark.strip(',')}and {rest} more" if rest > 0 else text


def shown(value: object, limit: int = 80) -> str:
    """``value`` on one line and bounded, fit to stand in a message."""
    text = printable(repr(value) if isinstance(value, str) else str(value))
    return text if len(text) <= limit else text[: limit - 1] + "…"
