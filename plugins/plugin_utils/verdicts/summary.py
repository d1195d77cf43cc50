# SPDX-License-Identifier: GPL-3.0-or-later
"""Results → counts, the reachability matrix, and the few lines that a terminal shows."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from .observations import Answers, Missing
from .problems import Problem
from .results import OUTSIDE, RANK, STATUSES, Result, Status
from .scene import Scene

Cells = Mapping[tuple[str, str], Status]
WORDS: Mapping[Status, str] = {"success": "ok", "failure": "FAIL", "error": "err", "skipped": "-"}
LETTERS: Mapping[Status, str] = {"success": ".", "failure": "F", "error": "e", "skipped": "-"}
WIDTH = 80
MESSAGE = WIDTH - 17  # a callback puts up to 17 columns in front of a message
SHOWN = 10
KINDS = 6


def cells(results: Iterable[Result]) -> dict[tuple[str, str], Status]:
    """(source, target) → the worst status of all families and kinds."""
    found: dict[tuple[str, str], Status] = {}
    for result in results:
        target = "outside" if result.kind in OUTSIDE else result.target
        key = (result.source, target)
        old = found.get(key)
        if old is None or RANK[result.status] < RANK[old]:
            found[key] = result.status
    return found


def summary(
    scene: Scene, probed: Mapping[str, Answers | Missing], results: Sequence[Result]
) -> dict[str, Any]:
    """Counts, as plain data: by status, by kind and promise, by stage, and pairs of nodes."""
    names = [node.name for node in scene.nodes]
    pairs = _pairs(names, cells(results))
    looked = {
        "start": sum(not isinstance(scene.start(name), Missing) for name in names),
        "probe": sum(not isinstance(probed.get(name, Missing("")), Missing) for name in names),
    }
    return {
        "status": count(result.status for result in results),
        "kinds": _grouped(results, "kind"),
        "promises": _grouped(results, "promise"),
        "stages": {
            stage: {"nodes": len(names), "looked": number} for stage, number in looked.items()
        },
        "pairs": {"total": sum(pairs.values()), "verified": pairs["success"], **pairs},
        "nodes": {"asked": len(names), "fleet": len(scene.fabric.nodes)},
        "sample": {
            "turn": scene.run.sample.turn % scene.run.sample.turns(len(names)) + 1,
            "turns": scene.run.sample.turns(len(names)),
        },
    }


def _pairs(names: Sequence[str], of: Cells) -> dict[str, int]:
    """Pairs of nodes by status. Those that nobody asked about, most of a large fleet's, are not
    gone through one by one."""
    known = frozenset(names)
    asked = count(s for (a, b), s in of.items() if a != b and a in known and b in known)
    rest = len(names) * (len(names) - 1) - sum(asked.values())
    return {**asked, "skipped": asked["skipped"] + rest}


def count(statuses: Iterable[Status]) -> dict[str, int]:
    """Status → number; every status is a key."""
    found = list(statuses)
    return {status: found.count(status) for status in STATUSES}


def _grouped(results: Sequence[Result], name: str) -> dict[str, dict[str, int]]:
    grouped: dict[str, list[Status]] = {}
    for result in results:
        grouped.setdefault(str(getattr(result, name)), []).append(result.status)
    return {key: count(grouped[key]) for key in sorted(grouped)}


def verdict(totals: Mapping[str, Any]) -> str:
    """pass; fail: a promise is broken; unknown: none is broken, and not all could be looked at."""
    status = totals["status"]
    if status["failure"]:
        return "fail"
    return "unknown" if status["error"] or not status["success"] else "pass"


def sentence(totals: Mapping[str, Any]) -> str:
    """`20 of 20 pairs verified, 412 checks passed`, with what did not pass."""
    status, pairs, nodes = totals["status"], totals["pairs"], totals["nodes"]
    parts = [f"{pairs['verified']} of {pairs['total']} pairs verified"]
    if nodes["asked"] != nodes["fleet"]:
        parts.append(f"only {nodes['asked']} of {nodes['fleet']} nodes were asked for")
    sample = totals.get("sample", {"turns": 1})
    if sample["turns"] > 1:
        parts.append(f"sample {sample['turn']} of {sample['turns']}")
    parts.append(f"{status['success']} checks passed")
    parts += [
        f"{status[name]} {word}"
        for name, word in (("failure", "failed"), ("error", "could not be looked at"))
        if status[name]
    ]
    return ", ".join(parts)


def matrix_lines(names: Sequence[str], of: Cells, width: int = WIDTH) -> list[str]:
    """The reachability matrix in at most ``width`` columns: rows send, columns answer."""
    outside = any(of.get((name, "outside"), "skipped") != "skipped" for name in names)
    columns = [*names, "outside"] if outside else [*names]
    label = min(20, max(len(name) for name in names) + len(str(len(names))) + 1) if names else 0
    if label + 5 * len(columns) <= width:
        return _with_words(names, columns, of, label)
    return _with_letters(names, columns, of, label, width)


def _heads(columns: Sequence[str]) -> list[str]:
    return ["out" if name == "outside" else str(i) for i, name in enumerate(columns, 1)]


def _label(index: int, name: str, count_of: int, width: int) -> str:
    digits = len(str(count_of))
    room = width - digits - 1
    short = name if len(name) <= room else name[: room - 1] + "…"
    return f"{index:>{digits}} {short:<{room}}"


def _with_words(names: Sequence[str], columns: Sequence[str], of: Cells, label: int) -> list[str]:
    """One word per cell, for fleets of up to a dozen nodes."""
    lines = [" " * label + "".join(f"{head:>5}" for head in _heads(columns))]
    for index, name in enumerate(names, 1):
        words = (WORDS[of.get((name, column), "skipped")] for column in columns)
        text = _label(index, name, len(names), label) + "".join(f"{word:>5}" for word in words)
        lines.append(text)
    return lines


def _with_letters(
    names: Sequence[str], columns: Sequence[str], of: Cells, label: int, width: int
) -> list[str]:
    """One letter per cell. What nobody has to read is only counted: rows where everything
    passed, but for columns that are bad in most rows and are named instead."""
    rows = {
        name: "".join(LETTERS[of.get((name, column), "skipped")] for column in columns)
        for name in names
    }
    known = {i for i, _c in enumerate(columns) if _bad(rows, i) > len(names) / 2}
    quiet = {n for n in names if all(c in ".-" or i in known for i, c in enumerate(rows[n]))}
    lines = [
        f"column {index + 1} {columns[index]}: not ok in {_bad(rows, index)} of {len(names)} rows"
        for index in sorted(known)
    ]
    but = ", but for these columns" if known else ""
    lines.append(f"{len(quiet)} of {len(names)} rows: everything passed{but}")
    if len(quiet) == len(names):
        return lines
    lines.append("the others (. ok, F FAIL, e could not look, - not asked):")
    room = width - label - 1
    for first in range(0, len(columns), room):
        lines += _heads_on_end(columns, first, room, label)
        lines += [
            _label(index, name, len(names), label) + " " + rows[name][first : first + room]
            for index, name in enumerate(names, 1)
            if name not in quiet
        ]
    return lines


def _bad(rows: Mapping[str, str], column: int) -> int:
    return sum(row[column] in "Fe" for row in rows.values())


def _heads_on_end(columns: Sequence[str], first: int, room: int, label: int) -> list[str]:
    """Numbers of the columns, one digit below the other."""
    part = _heads(columns)[first : first + room]
    depth = max(len(head) for head in part)
    return [
        " " * (label + 1) + "".join(f"{head:>{depth}}"[digit] for head in part).rstrip()
        for digit in range(depth)
    ]


def fact_lines(item: object, names: Sequence[str], indent: int) -> list[str]:
    """Attributes as `name: value`, wrapped."""
    return [line for name in names for line in wrapped(name, getattr(item, name), indent)]


def wrapped(name: str, value: str, indent: int) -> list[str]:
    """`name: value`; commands are not broken inside a word."""
    return textwrap.wrap(
        f"{name}: {value}",
        MESSAGE,
        initial_indent=" " * indent,
        subsequent_indent=" " * (indent + 2),
        break_long_words=False,
        break_on_hyphens=False,
    )


def _check(result: Result) -> str:
    """`tcp ipv4 node-1 → node-2`, `gateway ipv6 on node-1`."""
    inner = result.source == result.target
    way = f"on {result.source}" if inner else f"{result.source} → {result.target}"
    return " ".join(filter(None, (result.kind, result.family, way)))


def problem_lines(problems: Sequence[Problem]) -> list[str]:
    """What failed, of the first problems, and how many more there are. What to do stands with the
    causes, which are looked for next: said here as well, it would be a guess beside a finding."""
    lines: list[str] = []
    for problem in problems[:SHOWN]:
        number = f"{len(problem.ids)} check{'s' * (len(problem.ids) != 1)}"
        kinds = [f"{count} {what}" for what, count in problem.affected]
        rest = len(kinds) - KINDS
        more = f" and {rest} more kind{'s' if rest > 1 else ''}" if rest > 0 else ""
        what = ", ".join(kinds[:KINDS]) + more
        head = f"{WORDS[problem.status]:<4} {problem.title} ({number}: {what})"
        lines += textwrap.wrap(head, MESSAGE, subsequent_indent=" " * 5)
        example = problem.examples[0]
        if len(problem.ids) > 1:
            lines += wrapped("such as", _check(example), 5)
        lines += fact_lines(example, ("expected", "found"), 5)
    if len(problems) > SHOWN:
        lines.append(f"… and {len(problems) - SHOWN} more; the report has them all")
    return lines
