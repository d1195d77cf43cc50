# SPDX-License-Identifier: GPL-3.0-or-later
"""The controller is killed at every boundary of a run and at random moments: after the timers each
node is in one generation, whole; the next run converges; nobody else's thing has changed, and
pairs of pods that the change does not concern lose no packet.

Some labs are worked on side by side, because most of the time is spent waiting for timers.
"""

from __future__ import annotations

import copy
import random
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from corebench import assert_same
from fault_table import TABLE
from faults import FOREIGN, SEED, FaultFleet, Outcome, Ping, States, judge
from fleet import Spec
from share import EVERY, WHERE, share

ONE, TWO, THREE = "node-1", "node-2", "node-3"
WINDOW = {"converge": 3, "site": 5}  # seconds until a node takes an unconfirmed change back
LONG = ("-e", "podnet_confirm_seconds=120")
FIRST = "ask\tadd"

Intent = Callable[[dict[str, Any], dict[str, Any]], None]
Choice = Callable[["Campaign", list[str]], list["Shot"]]


def vni(variables: dict[str, Any], hosts: dict[str, Any]) -> None:
    variables["podnet_vni"] = 65


def vxlan(variables: dict[str, Any], hosts: dict[str, Any]) -> None:
    variables["podnet_mode"] = "vxlan"


def pod_cidr(variables: dict[str, Any], hosts: dict[str, Any]) -> None:
    hosts[TWO]["podnet_pod_cidrs"] = ["10.64.102.0/24", "fd00:64:0:102::/64"]


@dataclass(frozen=True)
class Shot:
    """One run to kill: where, and how it is called in the table."""

    kind: str
    playbook: str
    at: str
    connections: bool = False


class Campaign:
    """A fleet that goes back and forth between what it is and one change of it."""

    def __init__(self, fleet: FaultFleet, pairs: list[tuple[str, str]]) -> None:
        self.fleet, self.random = fleet, random.Random(f"{SEED} {fleet.name}")
        self.base = copy.deepcopy(fleet.data)
        fleet.play("converge", check=True)
        fleet.everywhere(FOREIGN)
        self.pods = {name: self._pod(name) for name in sorted({n for pair in pairs for n in pair})}
        self.pings = [
            Ping(fleet, here.partition(" ")[0], self.pods[here]["netns"], to)
            for here, there in pairs
            for to in self.pods[there]["addresses"].values()
        ]

    def _pod(self, name: str) -> dict[str, Any]:
        node, _space, pod = name.partition(" ")
        result: dict[str, Any] = self.fleet.module(node, "podnet.fabric.pod", {"name": pod})["pod"]
        return result

    def write(self, intent: Intent | None) -> None:
        self.fleet.data = copy.deepcopy(self.base)
        if intent:
            intent(self.fleet.data["podnet"]["vars"], self.fleet.data["podnet"]["hosts"])
        self.fleet.write()

    def converge(self, intent: Intent | None) -> States:
        self.write(intent)
        self.fleet.play("converge", *LONG, check=True)
        return self.fleet.states()

    def change(self, intent: Intent) -> None:
        """The two states between which the next shots go; the way there and back is clean."""
        self.ends: list[tuple[Intent | None, States]] = [(None, self.converge(None))]
        self.ends.append((intent, self.converge(intent)))
        again = self.converge(None)
        for node, state in self.ends[0][1].items():
            assert_same(state, again[node], f"{node}: not even a clean way there and back")

    def boundaries(self, playbook: str) -> list[str]:
        """Of a run that goes through, there; and back again."""
        self.write(self.ends[1][0])
        done = self.fleet.killable(playbook, *LONG)
        assert done.returncode == 0, done.stdout
        found = self.fleet.boundaries()
        self.converge(None)
        return found

    def shoot(self, shot: Shot) -> None:
        (_intent, old), (wanted, new) = self.ends
        self.write(wanted)
        window = f"podnet_confirm_seconds={WINDOW[shot.playbook]}"
        done = self.fleet.killable(
            shot.playbook, "-e", window, at=shot.at, connections=shot.connections
        )
        where = f"{self.fleet.name}, {shot}, seed {SEED}, after {self.fleet.boundaries()[-1:]}"
        outcome = judge(self.fleet.states(), old, new)
        killed = done.returncode == -9
        TABLE.row(self.fleet.name, shot.kind).count(killed, outcome.word)
        if len(set(outcome.by_node.values())) > 1:
            TABLE.note(f"{where}: {outcome.by_node}")
        assert not outcome.wrong, f"{where}\n{done.stdout}\n" + "\n".join(
            f"{node}: {text}" for node, text in outcome.wrong.items()
        )
        assert killed or done.returncode == 0 or "no transaction" in done.stdout, done.stdout
        if self._touched(outcome):
            self._heal(where)

    def _touched(self, outcome: Outcome) -> bool:
        seen = "\n".join(self.fleet.boundaries())
        return outcome.word != "old" or FIRST in seen

    def _heal(self, where: str) -> None:
        """The next run, over what the killed one left, gets to where that one wanted to go."""
        wanted, new = self.ends[1]
        for node, state in self.converge(wanted).items():
            assert_same(new[node], state, f"{node}: the run after {where}")
        self.ends.reverse()

    def random_shots(self, playbook: str, boundaries: list[str], count: int) -> Iterator[Shot]:
        """Half of them somewhere between start and end, half while nodes are armed: all nodes are
        asked at once, so only these find some of them through a phase and others not."""
        first = 1 + next(i for i, text in enumerate(boundaries) if text == FIRST)
        for number in range(count):
            connections = self.random.random() < 0.5
            if number % 2:
                at = f"+{self.random.uniform(0.1, 2.5 if playbook == 'converge' else 5):.3f}"
            else:
                boundary = self.random.randint(first, len(boundaries))
                at = f"{boundary}+{self.random.uniform(0.001, 0.3):.3f}"
            yield Shot(f"{playbook}, random", playbook, at, connections)

    def finish(self) -> None:
        for ping in self.pings:
            sent, lost, lines = ping.result()
            TABLE.note(f"{self.fleet.name}: {ping.name}: {sent} packets sent, {lost} lost")
            assert sent > 500 and not lost, "\n".join([ping.name, *lines])


def task_shots(playbook: str, boundaries: list[str]) -> list[Shot]:
    """One per start of a task."""
    return [
        Shot(f"{playbook}, task", playbook, str(number), connections=number % 2 == 0)
        for number, text in enumerate(boundaries, 1)
        if text.startswith("task\t")
    ]


def step_shots(playbook: str, boundaries: list[str]) -> list[Shot]:
    """One before and one after each step of the change."""
    return [
        Shot(f"{playbook}, step", playbook, str(number), connections=number % 2 == 0)
        for number, text in enumerate(boundaries, 1)
        if text.startswith(("ask\t", "answer\t"))
    ]


def campaign(
    folder: Path, intent: Intent, playbook: str, pairs: list[tuple[str, str]], shots: Choice
) -> None:
    """One lab from its start to its end."""
    name = f"{playbook}-{intent.__name__.replace('_', '-')}"
    with FaultFleet(folder / name, Spec(), name) as fleet:
        fleet_campaign = Campaign(fleet, pairs)
        fleet_campaign.change(intent)
        for shot in share(shots(fleet_campaign, fleet_campaign.boundaries(playbook))):
            fleet_campaign.shoot(shot)
        fleet_campaign.finish()


def all_of_site(campaign: Campaign, seen: list[str]) -> list[Shot]:
    return task_shots("site", seen)


def phases_of_site(campaign: Campaign, seen: list[str]) -> list[Shot]:
    return [*step_shots("site", seen), *campaign.random_shots("site", seen, 14)]


def all_of_converge(campaign: Campaign, seen: list[str]) -> list[Shot]:
    steps = step_shots("converge", seen)
    return [*task_shots("converge", seen), *steps, *campaign.random_shots("converge", seen, 12)]


def phases_of_converge(campaign: Campaign, seen: list[str]) -> list[Shot]:
    return [*step_shots("converge", seen), *campaign.random_shots("converge", seen, 24)]


# Pairs that the change does not concern, and the kills of the lab.
SAME_SEGMENT = [("node-1 a", "node-1 b"), ("node-1 a", "node-2 a")]
ACROSS = [("node-3 a", "node-3 b"), ("node-1 a", "node-3 a")]
CAMPAIGNS: tuple[tuple[Intent, str, list[tuple[str, str]], Choice], ...] = (
    (vni, "site", SAME_SEGMENT, all_of_site),
    (vni, "site", SAME_SEGMENT, phases_of_site),
    (pod_cidr, "converge", ACROSS, all_of_converge),
    (vxlan, "converge", ACROSS, phases_of_converge),
)


def test_killed_controllers_leave_every_node_in_one_generation(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    folder = tmp_path_factory.mktemp("kills")
    TABLE.note(f"{WHERE}; again with PODNET_FAULT_SEED={SEED}")
    with ThreadPoolExecutor(len(CAMPAIGNS)) as pool:
        jobs = [pool.submit(campaign, folder / str(n), *c) for n, c in enumerate(CAMPAIGNS)]
        errors = [error for job in jobs if isinstance(error := job.exception(), Exception)]
    if errors:
        raise ExceptionGroup(f"seed {SEED}", errors)
    assert TABLE.kills >= 100 / EVERY, TABLE.lines()
