# SPDX-License-Identifier: GPL-3.0-or-later
"""A run that is settled → what a person reads before it is carried out. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..changes import PHASES
from ..kernel.state import State

# What a change of a phase says of the object that it is about.
WORDS = {"add": "missing", "switch": "differs", "remove": "not wanted"}


def table(runs: Mapping[str, Any]) -> list[str]:
    """Numbers of changes per node and phase, and in total; nodes without any in one line."""
    changing = [name for name, run in sorted(runs.items()) if run["phases"]]
    if not changing:
        return []
    width = max(5, *map(len, changing))
    lines = [_row("node", width, PHASES)]
    lines += [_row(name, width, _numbers(runs[name])) for name in changing]
    sums = [sum(column) for column in zip(*(_numbers(runs[n]) for n in changing), strict=True)]
    lines.append(_row("total", width, sums))
    if same := len(runs) - len(changing):
        lines.append(f"{same} node{'s' if same > 1 else ''} without changes")
    return lines


def differences(runs: Mapping[str, Any], limit: int = 12) -> list[str]:
    """Every difference between a node and what it must be, named; of a node with many the first
    ``limit``, and how many more."""
    found = []
    for name, run in sorted(runs.items()):
        lines = [
            f"{name}: {WORDS[phase]}: {_without(line, WORDS[phase])}"
            for phase in run["phases"]
            for line in run["shown"][phase]
        ]
        lines += run.get("astray", [])
        more = len(lines) - limit
        found += lines[:limit]
        found += [f"{name}: and {more} more (.podnet/status.json has all)"] if more > 0 else []
    return found


def _without(line: str, word: str) -> str:
    """A line without a reason that says no more than the word before it."""
    command, mark, reason = line.rpartition("    # ")
    return command if mark and reason in (word, f"{word} any more") else line


def _numbers(run: Mapping[str, Any]) -> list[int]:
    return [len(run["shown"][phase]) if phase in run["phases"] else 0 for phase in PHASES]


def _row(name: str, width: int, cells: list[int] | tuple[str, ...]) -> str:
    return f"{name:<{width}}" + "".join(f"{cell:>8}" for cell in cells)


def overview(states: Mapping[str, State], runs: Mapping[str, Any]) -> list[str]:
    """One line per node: its generation, the generations that it keeps, and what is due."""
    width = max((4, *map(len, states)))
    kept = {name: _ranges(state.generations) for name, state in states.items()}
    wide = max((4, *map(len, kept.values())))
    lines = [f"{'node':<{width}}  {'generation':>10}  {'kept':<{wide}}  state"]
    for name, state in sorted(states.items()):
        found = state.generation if state.generation is not None else "none"
        due = _due(state, runs[name])
        lines.append(f"{name:<{width}}  {found:>10}  {kept[name]:<{wide}}  {due}")
    return lines


def _due(state: State, run: Mapping[str, Any]) -> str:
    if state.pending:
        return {"waiting": "a change is at work or waits", "dead": "a change was broken off"}[
            state.pending
        ]
    number = sum(_numbers(run))
    return f"{number} difference{'s' if number > 1 else ''}" if number else "as wanted"


def _ranges(numbers: tuple[int, ...]) -> str:
    """`1-4 6` for 1, 2, 3, 4, 6."""
    found: list[list[int]] = []
    for number in numbers:
        if found and found[-1][-1] == number - 1:
            found[-1] = [found[-1][0], number]
        else:
            found.append([number])
    return " ".join("-".join(map(str, ends)) for ends in found)
