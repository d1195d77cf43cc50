# SPDX-License-Identifier: GPL-3.0-or-later
"""A node's transaction is killed, starved and lied to at every place: the node is then in the
state before or in the state after, whole, and the next run gets where it should."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest
from ansible_collections.podnet.fabric.plugins.plugin_utils import transaction
from corebench import Bench, Run, assert_same, difference, fleet
from misbehave import ALL, AT_MARK, FIRST, NETWORK, calls, mark, misbehave
from share import EVERY, WHERE, share

START = fleet()
WANTED = fleet(
    podnet_vni=65,
    podnet_mtu=1400,
    podnet_mode="vxlan",
    hosts=[1, 2, 4],
    node_1={"podnet_pod_cidrs": ["10.64.9.0/24", "fd00:64:0:9::/64"]},
)
# Every kind of change: what is missing, what differs, what is not wanted any more.
DAMAGE = """rm -f /etc/systemd/system/multi-user.target.wants/podnet.service
echo '# x' >>/etc/systemd/system/podnet.service; rm -f /etc/iproute2/rt_protos.d/podnet.conf
"""
KINDS = {
    *("ip link", "ip address", "ip route", "ip neighbour", "bridge fdb"),
    *("sysctl", "nft", "install", "symlink"),
}
FOREIGN = """set -e
ip link add for9 address 02:99:00:00:00:01 type bridge; ip link set for9 addrgenmode none
ip addr add 172.31.9.1/24 dev for9; ip link set for9 up
ip neigh add 172.31.9.9 lladdr 02:99:00:00:00:02 dev for9 nud permanent
ip route add 10.64.2.0/24 via 192.0.2.77 metric 500
ip -6 route add blackhole fd00:64:0:4::/64 proto 112 metric 501
nft add table inet foreign; nft add chain inet foreign c
mkdir -p /etc/cni/net.d; echo '{}' >/etc/cni/net.d/99-foreign.conflist
"""
STATE_OF_FILES = r"""cd /etc; cd podnet/current/. && sha256sum * && cd /etc
find cni iproute2 systemd ! -type d -exec sha256sum {} + | sort; readlink systemd/system/*/*
find podnet cni iproute2 systemd -name '*.podnet-new'
find podnet -maxdepth 1 ! -name 'stage.*' ! -name txn.old | sort
cd podnet/generations/. && for g in *; do ls $g | wc -l; done | sort -u
"""


class Node(Bench):
    """A node that is going to be changed from `START` to `WANTED`."""

    def __enter__(self) -> Node:
        super().__enter__()
        self.sh(FOREIGN)
        self.begin_again()
        return self

    def state(self) -> dict[str, list[str]]:
        return {**self.dump(), "files": self.sh(STATE_OF_FILES).splitlines()}

    def change(self, prelude: str = "", prefix: str = "") -> Run:
        changes, staged = self.look(WANTED)
        return self.carry_out(changes, staged, prelude, prefix)

    def begin_again(self) -> None:
        self.settled(START)
        self.sh(DAMAGE)

    def lines(self) -> dict[str, int]:
        """Phase → number of its lines."""
        changes, _staged = self.look(WANTED)
        return {phase: len(changes.phase(phase)) for phase in changes.phases}


@pytest.fixture
def node() -> Iterator[Node]:
    with Node() as node:
        yield node


@pytest.fixture(scope="module")
def after() -> dict[str, list[str]]:
    """Where an undisturbed run leads."""
    with Node() as node:
        node.settled(WANTED)
        return node.state()


def assert_old_or_new(
    node: Node, before: dict[str, list[str]], after: dict[str, list[str]], where: str
) -> bool:
    """Whether it is the new state; fail when it is neither."""
    now = node.state()
    old, new = difference(before, now), difference(after, now)
    assert not old or not new, "\n".join([where, *min(old, new, key=len)])
    return bool(old)


def test_the_change_has_all_phases_and_all_kinds(node: Node) -> None:
    changes, _staged = node.look(WANTED)
    assert changes.phases == ("add", "switch", "remove")
    lines = [str(change.do) for phase in changes.phases for change in changes.phase(phase)]
    assert {kind for kind in KINDS if any(line.startswith(kind) for line in lines)} == KINDS


def recover(node: Node, number: int) -> None:
    """In turn: the next run's first look, a boot, a rollback that is killed and asked again."""
    if number % 3 == 0:
        node.look(WANTED)
    elif number % 3 == 1:
        node.sh("rm -rf /run/podnet")
        answer = node.run("podnet-node restore")
        assert answer.returncode == 0, answer.stderr
    else:
        misbehave(node, f'[ "$n" = {1 + number // 3 % 40} ] && kill_program', ALL)
        node.run(FIRST + "podnet-node rollback")
        answer = node.run("podnet-node rollback")
        assert answer.returncode == 0, answer.stdout + answer.stderr


@pytest.mark.parametrize("phase", ["add", "switch", "remove"])
def test_killed_between_any_two_lines(node: Node, after: dict[str, list[str]], phase: str) -> None:
    before, count = node.state(), node.lines()[phase]
    for turn, line in enumerate(share(range(1, count + 1))):
        misbehave(node, AT_MARK)
        run = node.change(mark(phase, line), FIRST)
        where = f"killed at {phase} line {line} of {count}, then {turn % 3}: {run.outcome}; {WHERE}"
        assert run.outcome.state not in ("committed", "undone"), where
        recover(node, turn)
        assert_same(before, node.state(), where)
    node.settled(WANTED)
    assert_same(after, node.state())


def test_killed_at_any_command(node: Node, after: dict[str, list[str]]) -> None:
    """Of all tools, from the staging to the copies and renames of the commit."""
    before, new = node.state(), 0
    for turn, number in enumerate(share(itertools.count(1))):
        misbehave(node, f'[ "$n" = {number} ] && kill_program', ALL)
        run = node.change(prefix=FIRST)
        if calls(node) < number:
            break
        recover(node, turn)
        where = f"killed at command {number}, then {turn % 3}: {run.outcome}, {WHERE}"
        if assert_old_or_new(node, before, after, where):
            new += 1
            node.begin_again()
            assert_same(before, node.state(), where)
    assert run.outcome.state == "committed"
    assert number > 50 and (EVERY > 1 or new) and new < number / EVERY / 3, (number, new)
    assert_same(after, node.state())
    assert not node.run("ls -d /etc/podnet/stage.* /etc/podnet/txn.old").stdout


@pytest.mark.parametrize("tool", NETWORK)
def test_tool_fails_at_any_call(node: Node, after: dict[str, list[str]], tool: str) -> None:
    before, number = node.state(), 0
    while True:
        number += 1
        misbehave(node, f'[ "$t" = {number} ] && {{ echo "no such luck" >&2; exit 1; }}', [tool])
        run = node.change(prefix=FIRST)
        if calls(node) < number:
            break
        assert run.outcome.state == "undone", f"{tool} failed at call {number}: {run.outcome}"
        assert_same(before, node.state(), f"{tool} failed at call {number}: {run.outcome}")
    assert number > 2 and run.outcome.state == "committed"
    assert_same(after, node.state())


@pytest.mark.parametrize("tool", NETWORK)
def test_tool_fails_for_good(node: Node, after: dict[str, list[str]], tool: str) -> None:
    """From some call on, so that the undo fails, too: the node says so, keeps what it needs, and
    takes the rest back when the tool is well again."""
    before, number = node.state(), 0
    while True:
        number += 1
        misbehave(node, f'[ "$t" -ge {number} ] && {{ echo "no such luck" >&2; exit 1; }}', [tool])
        run = node.change(prefix=FIRST)
        if calls(node) < number:
            break
        where = f"{tool} failed from call {number} on: {run.outcome}"
        assert run.outcome.state in ("undone", "broken"), where
        if run.outcome.state == "broken":
            assert node.run("podnet-node rollback").returncode == 0, where
        assert_same(before, node.state(), where)
    assert run.outcome.state == "committed"
    assert_same(after, node.state())


SMALL = """set -e; mkdir -p /run/keep
for d in /etc/podnet /etc/cni; do
  cp -a $d /run/keep/; mount -t tmpfs -o size=400k,nr_inodes=400 small $d
  cp -a /run/keep/${d##*/}/. $d/
done
"""
FILL = """for d in /etc/podnet /etc/cni; do
  rm -f $d/ballast; dd if=/dev/zero of=$d/ballast bs=4k 2>/dev/null || :
  size=$(stat -c %s $d/ballast); truncate -s $((size - PAGES * 4096)) $d/ballast
done
"""


@pytest.mark.parametrize("when", ["before the staging", "after the staging"])
def test_disk_is_full(node: Node, after: dict[str, list[str]], when: str) -> None:
    """Of the folders that podnet writes, with room for some pages of 4 KiB only."""
    node.sh(SMALL)
    before, pages, outcomes = node.state(), 0, []
    while "committed" not in outcomes:
        fill = FILL.replace("PAGES", str(pages))
        early = when.startswith("before")
        node.sh(fill if early else "true")
        run = node.change("" if early else fill)
        where = f"{pages} pages free {when}: {run.outcome} {run.errors}"
        node.sh("rm -f /etc/podnet/ballast /etc/cni/ballast")
        if run.outcome.state == "broken":
            assert node.run("podnet-node rollback").returncode == 0, where
        if assert_old_or_new(node, before, after, where):
            assert run.outcome.state == "committed", where
        outcomes.append(run.outcome.state)
        pages += 1
        assert pages < 60, outcomes
    assert len(outcomes) > 3, outcomes


def test_etc_is_read_only(node: Node, after: dict[str, list[str]]) -> None:
    """From the start, and from the staging on, as after an error of the file system."""
    before = node.state()
    closed = "for d in /etc/podnet /etc/cni; do mount -o remount,ro $d; done\n"
    opened = closed.replace("ro", "rw")
    for prelude, prefix in (("", closed), (closed, "")):
        run = node.change(prelude, prefix)
        node.sh(opened)
        assert run.outcome.state not in ("committed", "applied"), (run.outcome, run.errors)
        node.look(WANTED)
        assert_same(before, node.state(), f"{run.outcome} {run.errors}")
    node.settled(WANTED)
    assert_same(after, node.state())


def test_text_ends_in_the_middle(node: Node, after: dict[str, list[str]]) -> None:
    """The connection is cut while the text of a phase travels: the shell runs what it got."""
    before = node.state()
    _changes, staged = node.look(WANTED)
    text = staged + transaction.phase_script("run1", "add", False)
    tail = list(range(len(text) - 200, len(text)))
    for length in share([*range(0, len(text), len(text) // 60), *tail[::3]]):
        node.run(text[:length])
        node.look(WANTED)  # which takes back what is there and belongs to nobody
        assert_same(before, node.state(), f"{length} of {len(text)}: {text[:length][-60:]!r}")
    node.settled(WANTED)
    assert_same(after, node.state())


def test_nobody_listens_to_what_the_node_says(node: Node, after: dict[str, list[str]]) -> None:
    """The connection is gone: the first word would end a program that does not expect it."""
    before = node.state()
    deaf = "sh -s <<'END_OF_TEXT' | sleep 0\n"
    misbehave(node, '[ "$t" = 2 ] && { echo "no such luck" >&2; exit 1; }', ["bridge"])
    node.change(prefix=deaf + FIRST + "sleep 0.2\n")
    node.sh("while [ -e /run/podnet/lock ]; do sleep 0.1; done")
    assert_same(before, node.state(), "a phase that fails")
    node.change(prefix=deaf + "sleep 0.2\n")
    node.sh("while [ -e /run/podnet/lock ]; do sleep 0.1; done")
    assert_same(after, node.state())


def test_killed_while_the_timer_is_set_again(node: Node) -> None:
    """Whatever happens, a change that waits for its confirmation has a timer that runs."""
    _changes, staged = node.look(WANTED)
    text = transaction.head_script(600, 7) + staged
    node.sh(text + transaction.phase_script("run1", "add", False))
    number = 0
    while True:
        number += 1
        misbehave(node, f'[ "$n" = {number} ] && kill_program', ALL)
        node.run(FIRST + "podnet-node hold run1")
        if calls(node) < number:
            break
        waits = node.run("for p in $(cat /run/podnet/timer); do cat /proc/$p/cmdline; done").stdout
        assert "podnet-confirm" in waits, f"killed at command {number}: no timer runs"
    assert node.run("podnet-node rollback").returncode == 0
