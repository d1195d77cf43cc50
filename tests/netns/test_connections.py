# SPDX-License-Identifier: GPL-3.0-or-later
"""Connections that are cut while nodes wait for a confirmation, and time that is too short."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

import pytest
from corebench import assert_same
from fault_table import TABLE
from faults import FaultFleet, Outcome, States, judge
from fleet import Spec

TWO = "node-2"
# Notice a connection that is gone soon; the lab's own patience is longer than these tests'.
IMPATIENT = (
    "-o ControlMaster=auto -o ControlPersist=60s -o ServerAliveInterval=1"
    " -o ServerAliveCountMax=2 -o ConnectTimeout=2"
)
# On a node, by a connection that goes with them.
HANG_UP = "pkill -f '^sshd: root@'"
SHUT = """nft -f - <<'END'
table inet cut { chain in { type filter hook input priority -5; tcp dport 22 drop; }; }
END
setsid sh -c 'sleep SECONDS; nft delete table inet cut' </dev/null >/dev/null 2>&1 &
"""


class Line:
    """A fleet whose VNI goes from one value to another and back."""

    def __init__(self, fleet: FaultFleet) -> None:
        self.fleet = fleet
        fleet.own = {"ANSIBLE_SSH_ARGS": IMPATIENT}
        self.known: dict[int, States] = {}
        for self.vni in (64, 65, 64):
            self.wants(self.vni)
            fleet.play("converge", check=True)
            self.known[self.vni] = fleet.states()

    def wants(self, vni: int) -> None:
        self.fleet.data["podnet"]["vars"]["podnet_vni"] = vni
        self.fleet.write()

    def change(
        self, playbook: str, window: int, at: str = "0", on_node: str = ""
    ) -> tuple[subprocess.CompletedProcess[str], Outcome]:
        """To the other VNI; at a boundary a shell text is run on node-2."""
        other = 129 - self.vni
        self.wants(other)
        ssh = f"ssh -F {self.fleet.ssh_config} -o ControlPath=none {TWO} sh -s"
        do = f"{ssh} <<'END_OF_DO' || true\n{on_node}\nEND_OF_DO\n" if on_node else ""
        window_of_run = ("-e", f"podnet_confirm_seconds={window}")
        done = self.fleet.killable(playbook, *window_of_run, at=at, do=do)
        assert not at.strip("0") or any(at in text for text in self.fleet.boundaries()), at
        outcome = judge(self._when_open(), self.known[self.vni], self.known[other])
        assert not outcome.wrong, f"{at}\n{done.stdout}\n{outcome.wrong}"
        TABLE.note(f"{playbook}, window {window}, {at}: {outcome.by_node}, exit {done.returncode}")
        assert done.returncode or outcome.word == "new", done.stdout
        return done, outcome

    def _when_open(self) -> States:
        wait = "while nft list table inet cut >/dev/null 2>&1; do sleep 0.2; done"
        subprocess.run(  # through the node's namespace: its port may be shut
            ["sh", "-c", f"until ssh -F {self.fleet.ssh_config} {TWO} '{wait}'; do sleep 1; done"],
            check=True,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=300,
        )
        return self.fleet.states()

    def heal(self) -> None:
        """The next run gets where this one wanted to go."""
        self.vni = 129 - self.vni
        self.fleet.play("converge", check=True)
        for node, state in self.fleet.states().items():
            assert_same(self.known[self.vni][node], state, node)


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Line]:
    with FaultFleet(tmp_path_factory.mktemp("line"), Spec(), "line") as fleet:
        yield Line(fleet)


BOUNDARIES = (
    *("ask\tadd", "answer\tadd", "answer\tswitch", "ask\tremove", "answer\tremove"),
    *("answer\thold", "ask\tcommit", "answer\tcommit"),
)


@pytest.mark.parametrize("at", BOUNDARIES)
def test_connections_of_a_node_are_killed(line: Line, at: str) -> None:
    """sshd's processes end, as when the node is short of memory; a new connection is taken."""
    line.change("converge", 6, at, HANG_UP)
    line.heal()


@pytest.mark.parametrize("at", [BOUNDARIES[n] for n in (1, 3, 4, 6)])
def test_node_cannot_be_reached_for_longer_than_its_time(line: Line, at: str) -> None:
    """From that moment on; without an answer, so that every try takes its time."""
    _done, outcome = line.change("converge", 4, at, SHUT.replace("SECONDS", "10"))
    if "commit" not in at:  # nobody confirms before everybody has been reached
        assert outcome.word == "old", outcome
    line.heal()


@pytest.mark.parametrize(
    ("playbook", "window"),
    [("converge", 1), ("converge", 1), ("converge", 2), ("site", 1), ("site", 2), ("site", 3)],
)
def test_time_is_too_short(line: Line, playbook: str, window: int) -> None:
    """The timers fire while the run is still at work, and race with it."""
    line.change(playbook, window)
    line.heal()
