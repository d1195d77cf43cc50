# SPDX-License-Identifier: GPL-3.0-or-later
"""Causes as a person reads them in a terminal. Pure."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from ..verdicts.summary import MESSAGE, SHOWN, fact_lines
from .suspects import Cause


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
    for cause, ids in causes[:SHOWN]:
        pairs = sorted({tuple(sorted(id.split("/", 3)[2:4])) for id in ids})
        names = ", ".join(f"{one} ↔ {two}" for one, two in pairs[:3])
        more = f" and {len(pairs) - 3} more" if len(pairs) > 3 else ""
        head = f"CAUSE {cause.node}: {cause.kind} {cause.object} ({names}{more})"
        lines += textwrap.wrap(head, MESSAGE, subsequent_indent=" " * 6)
        lines += fact_lines(cause, ("expected", "found", "repair"), 6)
    if len(causes) > SHOWN:
        lines.append(f"… and {len(causes) - SHOWN} more; the report has them all")
    return lines
