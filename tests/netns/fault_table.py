# SPDX-License-Identifier: GPL-3.0-or-later
"""What the fault tests did, as a table that is printed at the end of the test run."""

from __future__ import annotations

from dataclasses import dataclass, field

WORDS = ("old", "new", "mixed by node")


@dataclass
class Row:
    """Runs of one kind in one lab: killed, ended before the kill came, and what they left."""

    lab: str
    kind: str
    kills: int = 0
    ended: int = 0
    words: dict[str, int] = field(default_factory=dict)

    def count(self, killed: bool, word: str) -> None:
        self.kills += killed
        self.ended += not killed
        self.words[word] = self.words.get(word, 0) + 1


@dataclass
class Table:
    rows: dict[tuple[str, str], Row] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def row(self, lab: str, kind: str) -> Row:
        return self.rows.setdefault((lab, kind), Row(lab, kind))

    def note(self, text: str) -> None:
        self.notes.append(text)

    @property
    def kills(self) -> int:
        return sum(row.kills for row in self.rows.values())

    def lines(self) -> list[str]:
        if not self.rows:
            return self.notes
        head = f"{'lab':20}{'killed at':20}{'kills':>6}{'ended':>6}" + "".join(
            f"{word:>15}" for word in WORDS
        )
        rows = [
            f"{row.lab:20}{row.kind:20}{row.kills:6}{row.ended:6}"
            + "".join(f"{row.words.get(word, 0):15}" for word in WORDS)
            for row in self.rows.values()
        ]
        return [head, *rows, f"{self.kills} kills", *self.notes]


TABLE = Table()
