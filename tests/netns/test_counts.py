# SPDX-License-Identifier: GPL-3.0-or-later
"""What a run costs, counted and not timed, so that a regression shows anywhere: tasks for each
node on the controller; SSH connections, sessions and bytes that are sent; processes on a node."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import pytest
from fault_table import TABLE
from faults import FaultFleet
from fleet import Spec

TWO = "node-2"
# Root's shell notes each session, whoever opens it.
NOTED = r"""cat >/usr/local/bin/noted <<'END'
#!/bin/sh
echo >>/run/sessions
exec /bin/sh "$@"
END
chmod 755 /usr/local/bin/noted; : >/run/sessions
sed -i 's,^\(root:.*:\)[^:]*$,\1/usr/local/bin/noted,' /etc/passwd
"""
# This shell's own number says how many processes there were before it.
LOOK = (
    "echo $$; wc -c </run/sessions; sed -n 's/^ *mgmt0: *\\([0-9]*\\).*/\\1/p' /proc/net/dev;"
    " sed -n 's/^Tcp: [0-9-]* [0-9]* [0-9]* [0-9-]* [0-9]* \\([0-9]*\\).*/\\1/p' /proc/net/snmp"
)


@dataclasses.dataclass(frozen=True)
class Cost:
    """On one node: per-node results of tasks, and what the node has seen."""

    tasks: int
    processes: int
    sessions: int
    bytes: int
    connections: int

    def within(self, most: Cost) -> bool:
        pairs = zip(dataclasses.astuple(self), dataclasses.astuple(most), strict=True)
        return all(found <= limit for found, limit in pairs)


# No more than this on a node that is not the first, in a fleet of four. Tasks: none for each node,
# which costs the controller more than the node's work. Sessions: a read; with it one for all phases
# of a run that only adds; or else one for each phase and the commit. A node that changes nothing
# but routes and what is behind them is not connected to anew. A verification starts pods, probes
# and stops, each in one session, and sends its program once; most processes are CNI plugins'.
MOST = {
    "first apply": Cost(tasks=0, processes=50, sessions=2, bytes=74_000, connections=1),
    "no change": Cost(tasks=0, processes=7, sessions=1, bytes=12_500, connections=0),
    "one CIDR changed": Cost(tasks=0, processes=34, sessions=4, bytes=30_000, connections=0),
    "a node added": Cost(tasks=0, processes=76, sessions=5, bytes=33_000, connections=1),
    "verification": Cost(tasks=0, processes=130, sessions=3, bytes=46_000, connections=0),
}


class Counted:
    def __init__(self, fleet: FaultFleet) -> None:
        self.fleet = fleet
        self.all = dict(fleet.data["podnet"]["hosts"])
        fleet.everywhere(NOTED)

    def wants(self, nodes: int) -> None:
        names = list(self.all)[:nodes]
        self.fleet.data["podnet"]["hosts"] = {name: self.all[name] for name in names}
        self.fleet.write()

    def look(self) -> list[int]:
        return [int(word) for word in self.fleet.ssh(TWO, LOOK).split()]

    def cost(self, playbook: str = "converge") -> Cost:
        """What a run costs node-2, without what looking costs."""
        start, before = self.look(), self.look()
        done = self.fleet.killable(playbook)
        assert done.returncode == 0, done.stdout
        after = self.look()
        looking = [b - a for a, b in zip(start, before, strict=True)]
        spent = [c - b - x for b, c, x in zip(before, after, looking, strict=True)]
        results = [line for line in self.fleet.boundaries() if line.endswith(f", {TWO}")]
        return Cost(len(results), *spent)


@pytest.fixture(scope="module")
def counted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Counted]:
    spec = Spec(segments={"rack-a": 2, "rack-b": 2})
    with FaultFleet(tmp_path_factory.mktemp("counted"), spec, "counted") as fleet:
        yield Counted(fleet)


def test_a_run_costs_no_more_than_it_did(counted: Counted) -> None:
    counted.wants(3)
    found = {"first apply": counted.cost(), "no change": counted.cost()}
    changed = {"podnet_pod_cidrs": ["10.64.101.0/24", "fd00:64:0:101::/64"]}
    counted.all["node-1"] = {**counted.all["node-1"], **changed}
    counted.wants(3)
    found["one CIDR changed"] = counted.cost()
    counted.wants(4)
    found["a node added"] = counted.cost()
    found["verification"] = counted.cost("verify")
    for case, cost in found.items():
        TABLE.note(f"cost on a node, {case}: {cost}")
    dear = [
        f"{c}: {found[c]}, at most {most}" for c, most in MOST.items() if not found[c].within(most)
    ]
    assert not dear, "\n".join(dear)


def test_every_node_has_a_result_of_its_own_where_that_is_asked(counted: Counted) -> None:
    """In Ansible's recap, for what counts nodes there; what was run is the same."""
    changed = {"podnet_pod_cidrs": ["10.64.102.0/24", "fd00:64:0:102::/64"]}
    counted.all["node-1"] = {**counted.all["node-1"], **changed}
    counted.wants(4)
    done = counted.fleet.killable("converge", "-e", "podnet_recap_nodes=true")
    assert done.returncode == 0, done.stdout
    said = [line for line in counted.fleet.boundaries() if "Say what came of this node, " in line]
    assert {line.rpartition(", ")[2] for line in said} == set(counted.all), said


def test_slow_settings_are_hinted_at_once(counted: Counted) -> None:
    """One line, and the run goes on; with the shipped settings there is none."""
    assert "hint:" not in counted.fleet.play("plan", check=True).stdout
    counted.fleet.own = {"ANSIBLE_SSH_ARGS": "-C", "ANSIBLE_PIPELINING": "False"}
    said = counted.fleet.play("plan", "--forks", "1", check=True).stdout
    hints = [line for line in said.splitlines() if line.startswith("hint:")]
    assert len(hints) == 1, said
    assert "forks = " in hints[0] and "pipelining" in hints[0] and "ControlPersist" in hints[0]
