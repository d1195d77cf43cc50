# SPDX-License-Identifier: GPL-3.0-or-later
"""Slices of a fleet, run by jobs of ansible-runner or from folders of their own, and nodes that
cannot be reached."""

from __future__ import annotations

import copy
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from corebench import assert_same
from edits import ONE, THREE, TWO, pod
from faults import FaultFleet, States
from fleet import Spec
from jobs import run_jobs, slices
from meters import Meters

OLD = ("10.64.2.0/24", "fd00:64:0:2::/64")
ALL = (ONE, TWO, THREE)
PHASES = ("add", "switch", "remove")
FILES = 'cd /etc/podnet/current/. && for f in *; do echo "== $f"; cat $f; done'
# Away for a while, and every try is refused at once, as by a node whose sshd does not run.
AWAY = """setsid sh -c 'sleep 0.5; nft -f -; sleep 12; nft delete table inet away' \
  <<'END' >/dev/null 2>&1 &
table inet away { chain in {
  type filter hook input priority -5; tcp dport 22 reject with tcp reset; }; }
END
"""


Change = Callable[[dict[str, Any]], None]


class Sliced:
    def __init__(self, fleet: FaultFleet, folder: Path) -> None:
        self.fleet, self.folder, self.count = fleet, folder, 0
        self.base = copy.deepcopy(fleet.data)

    def reset(self) -> None:
        self.fleet.play("reset", "-e", "podnet_yes=true", check=True)

    def fresh(self) -> Path:
        """A folder in which nothing was ever run."""
        self.count += 1
        return self.folder / f"run-{self.count}"

    def limited(self, playbook: str, *arguments: str) -> None:
        """One slice after the other: the whole inventory, and --limit."""
        for nodes in ("node-2", "node-1,node-3"):
            self.fleet.second(self.fresh()).play(playbook, "--limit", nodes, *arguments, check=True)

    def change(self, change: Change | None) -> FaultFleet:
        """The inventory with one change or none."""
        self.fleet.data = copy.deepcopy(self.base)
        if change:
            change(self.fleet.data["podnet"])
        self.fleet.write()
        return self.fleet

    def there_and_back(self, change: Change) -> tuple[States, dict[str, str]]:
        """What one run of all nodes makes of the change; then the fleet is as it was."""
        self.change(None).play("converge", check=True)
        self.change(change).play("converge", check=True)
        whole = self.now()
        self.change(None).play("converge", check=True)
        return whole

    def now(self) -> tuple[States, dict[str, str]]:
        return self.fleet.states(), self.fleet.everywhere(FILES)


@pytest.fixture(scope="module")
def sliced(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sliced]:
    folder = tmp_path_factory.mktemp("slices")
    with FaultFleet(folder / "fleet", Spec(), "slices") as fleet:
        yield Sliced(fleet, folder)


def assert_equal(one: tuple[States, dict[str, str]], other: tuple[States, dict[str, str]]) -> None:
    for node, state in one[0].items():
        assert_same(state, other[0][node], node)
    assert one[1] == other[1]


def vni(data: dict[str, Any]) -> None:
    data["vars"]["podnet_vni"] = 65


def pod_cidr(data: dict[str, Any]) -> None:
    data["hosts"][TWO]["podnet_pod_cidrs"] = ["10.64.102.0/24", "fd00:64:0:102::/64"]


def test_first_apply_by_slices_is_that_of_one_run(sliced: Sliced) -> None:
    """Byte for byte: the definitions, and with them the kernel."""
    # A reset leaves settings of the underlay's interface, which then need no file.
    for _time in range(2):
        sliced.fleet.play("converge", check=True)
        whole = sliced.now()
        sliced.reset()
    for count in (2, 3):
        run_jobs(sliced.fleet, sliced.fresh(), slices(ALL, count), "converge")
        assert_equal(whole, sliced.now())
        assert "3 nodes read, 0 to change" in sliced.fleet.play("converge", check=True).stdout
        sliced.reset()


def test_change_by_slices_and_phases_loses_nothing_and_is_that_of_one_run(sliced: Sliced) -> None:
    """Each phase in two jobs at once; one of them dies in the middle, is run again, and once more.
    A phase before its turn is refused."""
    sliced.change(None).play("converge", check=True)
    pods = {node: pod(sliced.fleet, node, "stays") for node in ALL}
    whole = sliced.there_and_back(vni)
    fleet, parts = sliced.change(vni), slices(ALL, 2)
    early = fleet.second(sliced.fresh()).play("switch")
    assert early.returncode and "the phase switch comes before its turn" in early.stdout
    with Meters(fleet, pods) as meters:
        for phase in PHASES:
            dying = fleet.second(sliced.fresh())
            killed = dying.killable(phase, "--limit", ",".join(parts[0]), at="Reach nodes")
            assert killed.returncode == -9
            # The same folder: what the dead run left is taken back at once.
            dying.play(phase, "--limit", ",".join(parts[0]), check=True)
            run_jobs(fleet, sliced.fresh(), parts, phase)
    assert meters.reading.hurt == []
    assert all(pair.sent > 500 for pair in meters.reading.pairs)
    assert_equal(whole, sliced.now())
    for node in ALL:
        pod(fleet, node, "stays", state="absent")


def test_range_stays_in_slices_until_its_owner_was_asked(sliced: Sliced) -> None:
    """The one thing that a slice cannot know: whether pods of a node outside it still use an old
    range. It stays and is named; a run of all nodes leads to what one run gives, and so does
    somebody's word."""
    whole = sliced.there_and_back(pod_cidr)
    sliced.change(pod_cidr)
    for phase in PHASES:
        sliced.limited(phase)
    left = sliced.fleet.everywhere("ip route show proto 112")
    assert "10.64.2.0/24" in left[ONE] and "10.64.2.0/24" not in left[TWO]
    assert all("10.64.102.0/24" in left[node] for node in (ONE, THREE))
    gone = [cidr for cidr in OLD if cidr not in left[TWO]]
    sliced.limited("converge", "-e", json.dumps({"podnet_released_cidrs": gone}))
    assert_equal(whole, sliced.now())


def test_node_that_is_away_at_the_first_apply_does_not_hold_up_the_others(sliced: Sliced) -> None:
    fleet = sliced.change(None)
    sliced.reset()
    fleet.play("converge", check=True)
    whole = sliced.now()
    sliced.reset()
    fleet.ssh(TWO, AWAY)
    while fleet.reaches(TWO):
        time.sleep(0.1)
    done = fleet.play("converge")
    assert done.returncode and "node-2 was not reached and stays as it is" in done.stdout
    others = fleet.states([ONE, THREE])
    for node in (ONE, THREE):
        assert_same(whole[0][node], others[node], node)
    while not fleet.reaches(TWO):
        time.sleep(0.1)
    fleet.play("converge", check=True)
    assert_equal(whole, sliced.now())


def test_node_that_is_away_is_not_cut_off(sliced: Sliced) -> None:
    """A change that would leave its pods without the others is refused, and names it; one that
    does not is made, and it follows when it is back."""
    whole = sliced.there_and_back(pod_cidr)
    fleet, before = sliced.fleet, sliced.fleet.states()
    fleet.ssh(THREE, AWAY)
    while fleet.reaches(THREE):
        time.sleep(0.1)
    done = sliced.change(vni).play("converge")
    assert done.returncode and "nodes.node-3: its pods would be cut off" in done.stdout
    assert "node-3 was not reached and stays as it is" in done.stdout
    assert "Connection re" in done.stdout, "the words of SSH, refused or reset"
    done = sliced.change(pod_cidr).play("converge")
    assert "node-3 was not reached and stays as it is" in done.stdout
    while not fleet.reaches(THREE):
        time.sleep(0.1)
    assert_same(before[THREE], fleet.states()[THREE], THREE)
    fleet.play("converge", check=True)
    assert_equal(whole, sliced.now())
