# SPDX-License-Identifier: GPL-3.0-or-later
"""Two controllers at once: nothing is mixed, and whoever is refused is told why; what a dead run
left keeps nobody out for longer than its time."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from corebench import difference
from fault_table import TABLE
from faults import FaultFleet, States
from fleet import Spec

REFUSALS = (
    "another run is changing this node",
    "a change of another run waits",
    "another run has changed this node",
    "another podnet-node",
    "the transaction is of another run",
)
VNIS = (64, 65, 66)
Runs = tuple[subprocess.CompletedProcess[str], subprocess.CompletedProcess[str]]


class Two:
    """Two controllers of one fleet, and what the fleet is like with each VNI."""

    def __init__(self, fleet: FaultFleet, folder: Path) -> None:
        self.one, self.two = fleet, fleet.second(folder / "second")
        self.known = {vni: self.converge(vni) for vni in (*VNIS, VNIS[0])}
        self.now = VNIS[0]

    def converge(self, vni: int) -> States:
        self.wants(self.one, vni).play("converge", check=True)
        return self.one.states()

    def wants(self, controller: FaultFleet, vni: int) -> FaultFleet:
        controller.data["podnet"]["vars"]["podnet_vni"] = vni
        controller.write()
        return controller

    def at_once(self, first: int, second: int, delay: float) -> Runs:
        """Both run; the second one starts ``delay`` seconds later."""
        self.wants(self.one, first), self.wants(self.two, second)
        with ThreadPoolExecutor(2) as pool:
            one = pool.submit(self.one.play, "converge", "-e", "podnet_confirm_seconds=60")
            time.sleep(delay)
            two = pool.submit(self.two.play, "converge", "-e", "podnet_confirm_seconds=60")
            return one.result(), two.result()

    def vni(self) -> int:
        """The VNI of the fleet, every node complete and all the same."""
        now, away = self.one.states(), {}
        for vni, states in self.known.items():
            away[vni] = [
                f"{node}: {line}" for node in now for line in difference(states[node], now[node])
            ]
        nearest = min(away, key=lambda vni: len(away[vni]))
        assert not away[nearest], "\n".join([f"not {nearest}:", *away[nearest]])
        return nearest


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Two]:
    folder = tmp_path_factory.mktemp("two")
    with FaultFleet(folder / "first", Spec(), "two") as fleet:
        yield Two(fleet, folder)


DELAYS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0, 1.3)


def test_two_controllers_at_once_mix_nothing(two: Two) -> None:
    ended = {"first": 0, "second": 0, "both": 0, "neither": 0}
    for delay in DELAYS:
        before = two.vni()
        wanted = [vni for vni in VNIS if vni != before]
        done = two.at_once(*wanted, delay)
        well = [vni for vni, run in zip(wanted, done, strict=True) if run.returncode == 0]
        for run in done:
            text = run.stdout + run.stderr
            assert run.returncode == 0 or any(said in text for said in REFUSALS), text
        assert two.vni() in (well or [before]), f"delay {delay}: {done}"
        who = {0: "neither", 2: "both"}.get(len(well)) or ("first", "second")[wanted.index(well[0])]
        ended[who] += 1
    TABLE.note(f"two controllers, {len(DELAYS)} times at once; who ended well: {ended}")
    assert ended["first"] and ended["neither"] < len(DELAYS) / 2, ended


def test_a_run_that_waits_is_not_disturbed(two: Two) -> None:
    """The second one comes when the first one has changed everything and confirmed nothing: it is
    refused by name, and the first one ends well."""
    before = two.vni()
    first, second = [vni for vni in VNIS if vni != before]
    two.wants(two.one, first), two.wants(two.two, second)
    refused: list[subprocess.CompletedProcess[str]] = []
    flag = two.one.folder / "at-the-end"
    with ThreadPoolExecutor(1) as pool:
        hold = f"touch {flag}; while [ -e {flag} ]; do sleep 0.05; done"
        run = pool.submit(two.one.killable, "converge", at="ask\tcommit", do=hold)
        while not flag.exists() and not run.done():
            time.sleep(0.05)
        refused.append(two.two.play("converge"))
        flag.unlink()
        assert run.result().returncode == 0, run.result().stdout
    assert refused[0].returncode and "another run is changing this node" in refused[0].stdout
    assert two.vni() == first


@pytest.mark.parametrize("delay", [0.0, 0.0, 0.0, 0.2, 0.4])
def test_two_runs_in_one_folder(two: Two, delay: float) -> None:
    """They would share their files; the second one is told which process works there. On a machine
    that stood still meanwhile one may be over before the other begins, and then nobody is told."""
    said: list[str] = []
    for _try in range(3):
        before = two.vni()
        wanted = next(vni for vni in VNIS if vni != before)
        two.wants(two.one, wanted)
        with ThreadPoolExecutor(2) as pool:
            one = pool.submit(two.one.play, "converge")
            time.sleep(delay)
            other = pool.submit(two.one.play, "converge")
            runs = [one.result(), other.result()]
        said = [run.stdout for run in runs if run.returncode]
        assert two.vni() == wanted, runs
        if said:
            break
        assert sum("0 to change" in run.stdout for run in runs) == 1, runs
    assert len(said) == 1 and "another run works in this folder" in said[0], said


def test_what_a_dead_run_left_is_recognised(two: Two) -> None:
    """In its own folder the next run takes it back at once; another controller waits until its
    time is over, and then goes on."""
    before = two.vni()
    first, second = [vni for vni in VNIS if vni != before]
    long = ("-e", "podnet_confirm_seconds=600")
    killed = two.wants(two.one, first).killable("converge", *long, at="ask\tcommit")
    assert killed.returncode == -9
    two.wants(two.one, first).play("converge", check=True)
    assert two.vni() == first

    short = ("-e", "podnet_confirm_seconds=8")
    killed = two.wants(two.one, before).killable("converge", *short, at="ask\tcommit")
    assert killed.returncode == -9
    refused = two.wants(two.two, second).play("converge")
    assert refused.returncode and "another run is changing this node" in refused.stdout
    assert two.vni() == first, "the change of the dead run stays"
    two.two.play("converge", check=True)
    assert two.vni() == second
