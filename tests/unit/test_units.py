# SPDX-License-Identifier: GPL-3.0-or-later
"""The healing timer's units: on, off, another interval and drift, on a model of systemd; and each
of these is taken back from after any of its lines."""

from __future__ import annotations

import copy
import re
from dataclasses import dataclass, field

import pytest
from ansible_collections.podnet.fabric.plugins.plugin_utils import units, workspace
from ansible_collections.podnet.fabric.plugins.plugin_utils.changes import (
    PHASES,
    PROGRAM,
    ChangeSet,
    Wanted,
)
from ansible_collections.podnet.fabric.plugins.plugin_utils.differ import diff
from ansible_collections.podnet.fabric.plugins.plugin_utils.kernel.objects import Command
from ansible_collections.podnet.fabric.plugins.plugin_utils.kernel.state import State

FILES = {
    name: workspace.role_file("converge", "files", name)
    for name in ("podnet-heal.service", "podnet-heal.timer")
}
SERVICE, TIMER = units.HEAL_PATHS
STRANGER = f"{units.FOLDER}/nginx.service"


@dataclass
class Systemd:
    """Units on disk, as systemd has loaded them, and the interval with which the timer runs."""

    files: dict[str, str] = field(default_factory=lambda: {STRANGER: "x"})
    links: dict[str, str] = field(default_factory=dict)
    loaded: dict[str, str] = field(default_factory=lambda: {STRANGER: "x"})
    runs: str = ""
    kept: dict[str, str | None] = field(default_factory=dict)

    def tell(self, verb: str, unit: str = "") -> None:
        if verb == "daemon-reload":
            self.loaded = dict(self.files)
        elif verb == "stop":
            assert unit == "podnet-heal.timer"
            self.runs = ""
        elif verb == "restart" or not self.runs:
            assert (unit, SERVICE in self.loaded) == ("podnet-heal.timer", True)
            self.runs = self.loaded[TIMER]

    def run(self, command: Command, want: Wanted) -> None:
        words = command.args.split()
        if command.tool == "install":
            self.kept[words[2]] = self.files.get(words[2])
            self.files[words[2]] = want.files[words[2]][1]
        elif command.tool == "drop":
            self.kept[words[0]] = self.files.pop(words[0])
        elif command.tool == "uninstall":
            old = self.kept[words[1]]
            self.files.pop(words[1], None)
            self.files |= {words[1]: old} if old is not None else {}
        elif command.tool == "symlink":
            self.links[words[1]] = words[0]
        elif command.tool == "unlink":
            del self.links[words[0]]
        elif command.tool == "systemctl":
            self.tell(*words)
        else:
            assert command.tool == "-"

    def state(self, booted: bool = True) -> State:
        return State(
            files={**self.files, PROGRAM: "p"},
            links_to=dict(self.links),
            nft_loaded="n",
            has_systemd=True,
            booted=booted,
            timers=frozenset({"podnet-heal.timer"} if self.runs else ()),
        )

    @property
    def seen(self) -> tuple[object, ...]:
        return copy.deepcopy((self.files, self.links, self.loaded, self.runs))


def wanted(seconds: int) -> Wanted:
    texts = units.heal_units(FILES, seconds)
    return Wanted(
        objects=(),
        files={f"{units.FOLDER}/{n}": (f"files/{n}", text, "0644") for n, text in texts.items()},
        symlinks={units.HEAL_LINK: TIMER} if texts else {},
        nft_sha256="n",
        generation_sha256={},
        program_sha256="p",
        owned=frozenset(units.HEAL_PATHS),
    )


def changes(system: Systemd, seconds: int, booted: bool = True) -> ChangeSet:
    state = system.state(booted)
    return units.with_systemctl(diff(wanted(seconds), state), seconds > 0, state)


def carry_out(system: Systemd, seconds: int, stop: int = 99) -> None:
    """Run the change, or take it back after its line ``stop``."""
    found, want = changes(system, seconds), wanted(seconds)
    lines = [change for phase in PHASES for change in found.phase(phase)]
    for change in lines[:stop]:
        system.run(change.do, want)
    if stop < 99:
        for change in reversed(lines[:stop]):
            if change.undo:
                system.run(change.undo, want)


def drifted(what: str) -> Systemd:
    system = Systemd()
    carry_out(system, 60)
    if what == "stopped":
        system.runs = ""
    elif what == "disabled":
        system.links.clear()
    elif what == "altered":
        system.files[TIMER] = "OnUnitInactiveSec=9999"
    elif what == "service deleted":
        del system.files[SERVICE]
    return system


STARTS = ("off", "on", "stopped", "disabled", "altered", "service deleted")


@pytest.mark.parametrize("start", STARTS)
@pytest.mark.parametrize("seconds", [0, 60, 61])
def test_the_timer_is_what_the_variable_says_and_goes_back_from_anywhere(
    start: str, seconds: int
) -> None:
    first = Systemd() if start == "off" else drifted(start)
    for stop in range(20):
        system = copy.deepcopy(first)
        before = system.seen
        carry_out(system, seconds, stop)
        files, links, _loaded, runs = system.seen
        assert (files, links) == before[:2], stop
        if start != "service deleted":  # systemd would not start it again
            assert bool(runs) == bool(before[3]), stop
    system = copy.deepcopy(first)
    carry_out(system, seconds)
    texts = units.heal_units(FILES, seconds)
    assert system.files == {STRANGER: "x"} | {f"{units.FOLDER}/{n}": t for n, t in texts.items()}
    assert system.loaded == system.files
    assert system.runs == (texts["podnet-heal.timer"] if texts else "")
    assert bool(system.links) == bool(texts)
    assert changes(system, seconds) == ChangeSet()


def test_where_systemd_does_not_run_there_are_files_only() -> None:
    found = changes(Systemd(), 60, booted=False)
    assert {change.do.tool for change in found.add} == {"install", "symlink"}


def test_the_interval_is_in_the_unit_and_counts_on_the_monotonic_clock() -> None:
    timer = units.heal_units(FILES, 45)["podnet-heal.timer"]
    keys = re.findall(r"^(On\w+)=(\w+)$", timer, flags=re.MULTILINE)
    assert keys == [("OnActiveSec", "45"), ("OnUnitInactiveSec", "45")]
    assert "{" not in timer
    assert units.heal_units(FILES, 0) == units.heal_units(FILES, -1) == {}
