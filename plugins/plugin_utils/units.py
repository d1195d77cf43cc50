# SPDX-License-Identifier: GPL-3.0-or-later
"""The units of the healing timer, and what systemd has to be told when they change. Pure.

The differ treats units as files and links like others. Here the lines of `systemctl` come around
them, so that the undo of each line finds its files as they were: systemd is told after the last
file on the way forth, and after the last file on the way back.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from .changes import PHASES, Change, ChangeSet
from .kernel.objects import Command
from .kernel.state import State

FOLDER = "/etc/systemd/system"
HEAL_TIMER = "podnet-heal.timer"
HEAL_UNITS = ("podnet-heal.service", HEAL_TIMER)
HEAL_PATHS = tuple(f"{FOLDER}/{name}" for name in HEAL_UNITS)
HEAL_LINK = f"{FOLDER}/timers.target.wants/{HEAL_TIMER}"

NOTHING = Command("-", "")
RELOAD = Command("systemctl", "daemon-reload")


def heal_units(texts: Mapping[str, str], seconds: int) -> dict[str, str]:
    """The units of a node: name → text; ``seconds`` between two looks, none when it is 0.

    ``texts`` are the role's files, in which ``{seconds}`` stands for the number.
    """
    if seconds <= 0:
        return {}
    return {name: texts[name].replace("{seconds}", str(seconds)) for name in HEAL_UNITS}


def with_systemctl(changes: ChangeSet, wanted: bool, have: State) -> ChangeSet:
    """The same changes with what systemd, where it runs, has to be told."""
    if not have.booted:
        return changes
    add, switch, remove = (_told(name, changes.phase(name), wanted, have) for name in PHASES)
    if wanted and HEAL_TIMER not in have.timers:
        # In the first phase all files are there, at least as they were.
        start = Change(_timer("start"), _timer("stop"), "does not run")
        add = (*add, start)
    return replace(changes, add=add, switch=switch, remove=remove)


def _told(phase: str, lines: tuple[Change, ...], wanted: bool, have: State) -> tuple[Change, ...]:
    units = [change for change in lines if _is_unit(change)]
    if not units:
        return lines
    why = "units change"
    before = [Change(NOTHING, RELOAD, why)]
    after = [Change(RELOAD, None, why)]
    if phase == "remove" and HEAL_TIMER in have.timers:
        # systemd starts no timer whose service somebody has deleted.
        back = _timer("start") if have.files.keys() >= set(HEAL_PATHS) else None
        before.insert(0, Change(_timer("stop"), back, "not wanted any more"))
    elif phase == "switch" and wanted:
        before.insert(0, Change(NOTHING, _timer("restart"), why))
        after.append(Change(_timer("restart"), None, why))
    rest = [change for change in lines if not _is_unit(change)]
    return (*rest, *before, *units, *after)


def _is_unit(change: Change) -> bool:
    return any(word in (*HEAL_PATHS, HEAL_LINK) for word in change.do.args.split())


def _timer(verb: str) -> Command:
    return Command("systemctl", f"{verb} {HEAL_TIMER}")
