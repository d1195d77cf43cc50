# SPDX-License-Identifier: GPL-3.0-or-later
"""What a person sees of a run, as text: counters, sentences, failures, progress. Pure."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

WIDTH = 80
STAGE = 13  # columns of the stage's name, longest role name and a space
# What a failed result may hold besides msg, in the order in which it helps.
OUTPUTS = ("module_stderr", "stderr", "stdout", "module_stdout")
# Seconds that a task must have run before its end is guessed; a shorter one is over by then.
FIRST_GUESS = 3.0
# `do:       `, below which the rest of its text stands.
KEY = re.compile(r"\s*(?:expected|found|do|object|repair|such as|hint):\s+")
# What somebody copies, which keeps its blanks: what stands between back quotes, an option with its
# value, a list, a command up to the next mark.
COPIED = re.compile(
    r"`[^`]*`|\[[^\]]*\]|-e '[^']*'|-[eo] \S+"
    r"|\bip (?:-\S+ )*(?:route|addr|address|link|rule|neigh) [^;,)]*"
    r"|\b(?:bridge (?:fdb|link|vlan)|nft (?:-|list|add|delete)|sysctl -)[^;,)]*"
    r"|\b(?:kubectl|systemctl|podnet-node|ansible|ansible-playbook|ssh-keygen) [^;,)`]*"
)
# Columns, or a row of the reachability matrix in letters.
TABLE = re.compile(r"\S {2,}\S| [.Fe-]{3,}$")
# What stands below nodes that were not reached, once for all of them.
AWAY = "do: try ssh from here as the inventory has it, mend that, and run again"
VIA = re.compile(r"\A(?:Task failed: )?[^\n]*(?:via|over) ssh: ")
FIXED = "\x1f"  # a blank at which no line ends
STATES = ("unreachable", "failed", "changed", "ok")


@dataclass
class Running:
    """The task that runs now and what came of it so far."""

    stage: str
    name: str
    once: bool
    quiet: bool
    hosts: int
    opened: bool = False
    away: bool = False  # a node was not reached, and what to do is not said yet
    results: dict[str, str] = field(default_factory=dict)
    skipped: int = 0
    summaries: dict[str, str] = field(default_factory=dict)
    items_shown: set[str] = field(default_factory=set)


@dataclass
class Stage:
    """What the summary says of a stage: the worst result of every node, and its last words."""

    hosts: dict[str, str] = field(default_factory=dict)
    once: dict[str, str] = field(default_factory=dict)
    summary: str = ""


def worst(old: str | None, new: str) -> str:
    """The result that a person must know of two results of one node."""
    return new if old is None or STATES.index(new) < STATES.index(old) else old


def count(results: Iterable[str]) -> dict[str, int]:
    """Result → number of nodes; every result is a key."""
    found = list(results)
    return {state: found.count(state) for state in STATES}


def counters(results: Mapping[str, str], once: bool) -> str:
    """`ok=5 changed=3`: as in Ansible, ok counts the changed too. Other zeros are left out."""
    number = count(results.values())
    if once:
        return next((state for state in STATES if number[state]), "")
    parts = [f"ok={number['ok'] + number['changed']}", f"changed={number['changed']}"]
    parts += [f"{state}={number[state]}" for state in ("failed", "unreachable") if number[state]]
    return " ".join(parts)


def sentence(stage: Stage, check: bool) -> str:
    """One stage in words: `5 nodes: 3 changed, 1 ok, 1 failed (worker-2); 20 pairs verified`."""
    results = stage.hosts or stage.once
    number = count(results.values())
    words = {"changed": "would change" if check else "changed"}
    parts = []
    for state in ("changed", "ok", "failed", "unreachable"):
        if not number[state]:
            continue
        word = words.get(state, state)
        named = sorted(host for host, found in results.items() if found == state)
        where = f" ({', '.join(named)})" if state in ("failed", "unreachable") else ""
        parts.append(f"{number[state]} {word}{where}" if stage.hosts else word)
    nodes = f"{len(results)} node{'s' if len(results) != 1 else ''}: " if stage.hosts else ""
    # Such as the check before a change: every node was read well, and yet nothing goes on.
    if stage.hosts and {"failed", "unreachable"} & set(stage.once.values()):
        parts.append("failed for the whole fleet")
    text = nodes + ", ".join(parts)
    return f"{text}; {stage.summary}" if stage.summary else text


def failure_text(result: Mapping[str, Any]) -> str:
    """What a failed result says, as lines: its message, then what its command printed."""
    texts = [str(result.get("msg") or result.get("censored") or result.get("reason") or "")]
    if result.get("rc") not in (None, 0):
        texts.append(f"exit code {result['rc']}")
    texts += [str(result[key]) for key in OUTPUTS if result.get(key)]
    lines: list[str] = []
    for text in texts:
        stripped = text.strip("\n")
        if stripped.strip() and stripped not in lines:
            lines.append(stripped)
    return "\n".join(lines) or "failed without a message; -v shows the whole result"


def folded(text: str, columns: int | None) -> str:
    """Each line in at most ``columns``; None, as where no terminal is: as it is. The rest of a line
    stands below its text; tables, commands and paths are not broken."""
    if columns is None:
        return text
    return "\n".join(part for line in text.split("\n") for part in _folded(line, columns))


def _folded(line: str, columns: int) -> list[str]:
    key = KEY.match(line)
    head = key[0] if key else line[: len(line) - len(line.lstrip())]
    rest = line[len(head) :]
    if len(line) <= columns or TABLE.search(rest):
        return [line]
    kept = COPIED.sub(lambda found: found[0].rstrip().replace(" ", FIXED) + _blanks(found[0]), rest)
    under = " " * (len(head) if key else len(head) + 2)
    lines = textwrap.wrap(
        kept,
        max(columns, len(under) + 20),
        initial_indent=head,
        subsequent_indent=under,
        break_long_words=False,
        break_on_hyphens=False,
    )
    return [part.replace(FIXED, " ") for part in lines]


def _blanks(text: str) -> str:
    return text[len(text.rstrip()) :]


def away_text(said: str) -> str:
    """Why a node was not reached, without Ansible's words around those of ssh, in one line; long
    ones, such as of a changed host key, keep their lines."""
    lines = [line.rstrip() for line in VIA.sub("", said).split("\n") if line.strip()]
    return " ".join(lines) if len(lines) < 4 else "\n  ".join(["", *lines])


def row(name: str, text: str) -> list[str]:
    """A stage and its sentence, in lines of at most 80 columns; paths are not broken."""
    lines = textwrap.wrap(text, WIDTH - STAGE, break_long_words=False, break_on_hyphens=False) or [
        ""
    ]
    first = [f"{name:<{STAGE}}{lines[0]}"] if len(name) < STAGE else [name]
    rest = lines[1:] if len(name) < STAGE else lines
    return first + [" " * STAGE + line for line in rest]


def progress(task: Running, seconds: float, columns: int, note: str = "") -> str:
    """`converge     Read every node  12/50, 1 failed, about 8 s left`, cut to one line of a
    terminal. ``seconds``: since the task began."""
    done = len(task.results) + task.skipped
    parts = [] if task.once or task.hosts < 2 else [f"{done}/{task.hosts}"]
    bad = count(task.results.values())
    parts += [f"{bad[state]} {state}" for state in ("failed", "unreachable") if bad[state]]
    if seconds >= FIRST_GUESS and parts and 0 < done < task.hosts:
        parts.append(f"about {duration(seconds / done * (task.hosts - done))} left")
    stage = task.stage if len(task.stage) < STAGE else ""
    text = f"{stage:<{STAGE}}{task.name}  {', '.join(parts)}  {note}".rstrip()
    # One column stays free: a full line would begin a new one on some terminals.
    return text[: columns - 1]


def duration(seconds: float) -> str:
    """`8 s`, `3 min`."""
    return f"{max(seconds, 1):.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min"
