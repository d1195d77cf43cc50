# SPDX-License-Identifier: GPL-3.0-or-later
"""A transaction that fails, or is killed, leaves the node as it was; two do not mix."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from ansible_collections.podnet.fabric.plugins.plugin_utils import transaction
from ansible_collections.podnet.fabric.plugins.plugin_utils.changes import (
    PHASES,
    Change,
    ChangeSet,
)
from ansible_collections.podnet.fabric.plugins.plugin_utils.intent.model import Fabric
from ansible_collections.podnet.fabric.plugins.plugin_utils.kernel.objects import Command
from corebench import Bench, assert_same, fleet

# Where the transaction starts and where it wants to go.
SCENARIOS: dict[str, tuple[Fabric | None, str, Fabric]] = {
    "first converge": (None, "", fleet()),
    "another VNI and fewer peers": (fleet(), "", fleet(podnet_vni=65, hosts=[1, 2, 4])),
    "another pod CIDR": (
        fleet(),
        "",
        fleet(node_1={"podnet_pod_cidrs": ["10.64.9.0/24", "fd00:64:0:9::/64"]}),
    ),
    "another bridge": (fleet(), "", fleet(podnet_bridge="cbr1")),
    "to VXLAN, smaller MTU": (fleet(), "", fleet(podnet_mode="vxlan", podnet_mtu=1400)),
    "drift": (
        fleet(),
        "ip route del 10.64.2.0/24; ip neigh replace 10.64.4.1 lladdr 02:00:00:00:00:99 dev pn64"
        " nud permanent; nft flush chain inet podnet postrouting; ip link set cbr0 mtu 1400;"
        " echo 0 >/proc/sys/net/ipv4/ip_forward; rm /etc/cni/net.d/10-podnet.conflist;"
        " ip route add 10.99.0.0/24 via 192.0.2.9 proto 112 metric 112; ip link set pn64 down",
        fleet(),
    ),
}
POD_FILES = "find /etc/cni /etc/iproute2 /etc/systemd -type f -exec sha256sum {} + | sort"


@pytest.fixture
def bench() -> Iterator[Bench]:
    with Bench() as node:
        yield node


def sabotage(phase: str, line: int) -> str:
    """Shell text: a line that must fail becomes line ``line`` of the phase, with its tool's own
    kind of error, so that it fails inside a batch where its neighbours form one."""
    return (
        f"cd $stage; n=$(wc -l <{phase}.do); k={line}; [ $k -le $n ] || k='$'\n"
        f"tool=$(sed -n \"${{k}}p\" {phase}.do | cut -d' ' -f1)\n"
        "case $tool in ip) bad='ip link set dev nowhere up';;"
        " bridge) bad='bridge fdb del 02:00:00:00:00:01 dev nowhere';;"
        " sysctl) bad='sysctl net/no/such=1';; *) bad='install none 0644 /etc/cni/x';; esac\n"
        f'sed -i "${{k}}i $bad" {phase}.do; sed -i "${{k}}i -" {phase}.undo; cd /\n'
    )


def begin(bench: Bench, scenario: str) -> tuple[Fabric, dict[str, object], str]:
    start, damage, wanted = SCENARIOS[scenario]
    if start:
        bench.settled(start)
    bench.sh(damage)
    return wanted, bench.dump(), bench.sh(POD_FILES)


@pytest.mark.parametrize(
    "scenario",
    list(SCENARIOS),
)
def test_failure_at_any_line_leaves_the_node_as_it_was(bench: Bench, scenario: str) -> None:
    wanted, before, files = begin(bench, scenario)
    changes, _staged = bench.look(wanted)
    tried = 0
    for phase in changes.phases:
        count = len(changes.phase(phase))
        # Every line of a short phase, some of a long one, and always the first and the last.
        for line in sorted({*range(1, count + 1, count // 6 + 1), count}):
            changes, staged = bench.look(wanted)
            run = bench.carry_out(changes, staged, sabotage(phase, line))
            where = f"{phase} line {line}: {run.outcome}"
            assert run.outcome.state == "undone", where + run.errors
            assert_same(before, bench.dump(), where)
            assert bench.sh(POD_FILES) == files, where
            tried += 1
    assert tried >= 5
    bench.settled(wanted)


def test_dropped_file_comes_back_as_it_was(bench: Bench) -> None:
    bench.settled(fleet())
    path = "/etc/cni/net.d/05-old.conflist"
    bench.put({path: "old\n"})
    look = f"stat -c '%a %u %Y %s' {path}; cat {path}"
    before = bench.sh(f"chmod 600 {path}; touch -d 2001-01-01 {path}; {look}")
    drop = Change(Command("drop", path), Command("uninstall", f"0 {path}"), "test")
    missing = Change(Command("drop", "/etc/cni/no"), Command("uninstall", "0 /etc/cni/no"), "test")
    fails = Change(Command("ip", "link set dev nowhere up"), None, "test")
    for lines, state in (((drop, missing, fails), "undone"), ((drop, missing), "committed")):
        changes = ChangeSet(remove=lines)
        staged = transaction.stage_script(transaction.Staged({}, 3, "run1"), changes)
        bench.run("rm -f /run/podnet/committed")  # as in `look`
        assert bench.carry_out(changes, staged).outcome.state == state
        there = bench.run(look)
        assert there.stdout == before if state == "undone" else there.returncode


# A stand-in for `ip` that counts its calls, and misbehaves at one of them or at a marked line.
WRAPPER = r"""mkdir -p /run/bin; rm -f /run/bin/calls; real=$(PATH=/usr/sbin:/sbin command -v ip)
cat >/run/bin/ip <<'END_OF_WRAPPER'
#!/bin/sh
echo x >>/run/bin/calls; n=$(wc -l </run/bin/calls)
for batch; do :; done
before_mark() { sed '/dev killme/,$d' "$batch" >/run/bin/part; REAL -batch /run/bin/part; }
half() {
  head -n $((($(wc -l <"$batch") + 1) / 2)) "$batch" >/run/bin/part; REAL -batch /run/bin/part
}
MISBEHAVE
exec REAL "$@"
END_OF_WRAPPER
sed -i "s|REAL|$real|g" /run/bin/ip; chmod 755 /run/bin/ip
"""
FIRST = "PATH=/run/bin:$PATH; export PATH\n"


def misbehaving(how: str) -> str:
    return WRAPPER.replace("MISBEHAVE", how)


@pytest.mark.parametrize(
    ("how", "call"),
    [
        ("exit 1", 1),
        ("exit 1", 2),
        ("half; exit 137", 1),
        ("half; exit 137", 3),
    ],
)
def test_a_tool_that_dies_without_a_word_is_undone(bench: Bench, how: str, call: int) -> None:
    """Killed for memory, say: no `Command failed`, and perhaps half of the batch was done."""
    wanted, before, files = begin(bench, "another VNI and fewer peers")
    changes, staged = bench.look(wanted)
    bench.sh(misbehaving(f"[ $n = {call} ] && {{ {how}; }}"))
    run = bench.carry_out(changes, staged, prefix=FIRST)
    assert run.outcome.state == "undone", (run.outcome, run.errors)
    assert_same(before, bench.dump())
    assert bench.sh(POD_FILES) == files


def kill_at(phase: str, line: int) -> str:
    """Shell text: at line ``line`` of the phase the node's program is killed."""
    return (
        f'cd $stage; sed -i "{line}i ip link set dev killme up" {phase}.do\n'
        f'sed -i "{line}i -" {phase}.undo; cd /\n'
    )


KILL = (
    "grep -q 'dev killme' \"$batch\" && { before_mark; kill -9 $(cat /run/podnet/lock); exit 1; }"
)


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_killed_at_any_line_is_taken_back(bench: Bench, scenario: str) -> None:
    """SIGKILL between two lines or inside a batch; the next call finds and takes back."""
    wanted, before, files = begin(bench, scenario)
    changes, _staged = bench.look(wanted)
    bench.sh(misbehaving(KILL))
    for phase in changes.phases:
        count = len(changes.phase(phase))
        for line in sorted({1, count // 3 + 1, 2 * count // 3 + 1, count}):
            changes, staged = bench.look(wanted)
            run = bench.carry_out(changes, staged, kill_at(phase, line), FIRST)
            where = f"killed at {phase} line {line}: {run.outcome}"
            assert run.outcome.state not in ("committed", "undone"), where
            assert bench.sh("ls -d /etc/podnet/txn /run/podnet/lock").split()
            answer = bench.run("podnet-node rollback")
            assert answer.returncode == 0, where + answer.stdout + answer.stderr
            assert_same(before, bench.dump(), where)
            assert bench.sh(POD_FILES) == files, where


def test_converge_after_a_killed_one_ends_where_it_should(bench: Bench) -> None:
    wanted, _before, _files = begin(bench, "another VNI and fewer peers")
    changes, staged = bench.look(wanted)
    bench.sh(misbehaving(KILL))
    bench.carry_out(changes, staged, kill_at("remove", 1), FIRST)
    bench.settled(wanted)
    with Bench() as fresh:
        fresh.settled(wanted)
        assert_same(fresh.dump(), bench.dump())


def test_what_an_undo_could_not_do_the_next_one_does(bench: Bench) -> None:
    """A read-only folder: the rest is taken back, the transaction stays, and all is well later."""
    wanted, before, files = begin(bench, "another pod CIDR")
    _changes, staged = bench.look(wanted)
    bench.sh(staged + "".join(transaction.phase_script("run1", p, False) for p in PHASES))
    assert bench.sh(POD_FILES) != files
    bench.sh("mount -o remount,ro /etc/cni")
    assert bench.run("podnet-node rollback").returncode == 1
    bench.sh("mount -o remount,rw /etc/cni; test -d /etc/podnet/txn")
    assert_same(before, bench.dump())
    bench.sh("podnet-node rollback; ! test -d /etc/podnet/txn")
    assert_same(before, bench.dump())
    assert bench.sh(POD_FILES) == files


def test_boot_takes_an_interrupted_change_back(bench: Bench) -> None:
    wanted, before, files = begin(bench, "another VNI and fewer peers")
    bench.sh(misbehaving(KILL))
    changes, staged = bench.look(wanted)
    bench.carry_out(changes, staged, kill_at("switch", 2), FIRST)
    bench.sh("ip link del cbr0; ip link del pn64; ip link del pn65; nft flush ruleset")
    bench.sh("rm -rf /run/podnet")
    answer = bench.run("podnet-node restore")
    assert answer.returncode == 0, answer.stderr
    assert_same(before, bench.dump())
    assert bench.sh(POD_FILES) == files


def test_boot_takes_back_what_hung_on_an_interface_that_is_gone(bench: Bench) -> None:
    """The network card was changed while a change waited: its settings are nothing to undo."""
    bench.sh("echo 1 >/proc/sys/net/ipv4/conf/eth0/rp_filter")
    changes, staged = bench.look(fleet(podnet_mode="vxlan"))
    assert any("conf/eth0/rp_filter=2" in change.do.args for change in changes.add)
    bench.sh(staged + transaction.phase_script("run1", "add", False))
    bench.sh("ip link del eth0; ip link del cbr0; ip link del pn64; nft flush ruleset")
    answer = bench.run("podnet-node restore")
    assert (answer.returncode, answer.stderr) == (0, "")
    bench.sh("! test -d /etc/podnet/txn")


def test_second_run_is_refused_while_one_works(bench: Bench) -> None:
    bench.settled(fleet())
    wanted = fleet(podnet_vni=65)
    _changes, staged = bench.look(wanted)
    bench.sh(misbehaving("[ $n = 1 ] && { touch /run/bin/busy; sleep 1; }"))
    text = (
        FIRST
        + staged
        + f"setsid {transaction.PROGRAM} $begin apply run1 add >/run/bin/out 2>&1 &\n"
    )
    bench.sh(text + "for i in $(seq 100); do [ -e /run/bin/busy ] && break; sleep 0.05; done")
    for verb in ("rollback", "commit run1", "apply run1 switch", "restore", "begin /run/bin x"):
        answer = bench.run(f"podnet-node {verb}")
        assert answer.returncode == 1 and "is at work" in answer.stderr, verb
    time.sleep(1.2)
    assert "applied" in bench.sh("cat /run/bin/out")
    assert bench.run(
        "podnet-node apply run1 switch && podnet-node apply run1 remove && podnet-node commit run1"
    )
    assert bench.settled(wanted).commands == []


@pytest.mark.parametrize(
    "left",
    [
        pytest.param("sh -c 'echo $$' >/run/podnet/lock", id="of a dead process"),
        pytest.param("echo 1 >/run/podnet/lock", id="whose number another program has now"),
        pytest.param(": >/run/podnet/lock", id="of one killed before it wrote its number"),
        pytest.param("mkdir /run/podnet/lock; echo 1 >/run/podnet/lock/pid", id="of old, a folder"),
    ],
)
def test_lock_that_nobody_holds_keeps_nobody_out(bench: Bench, left: str) -> None:
    """Process numbers come round; a daemon must not keep podnet out for ever."""
    bench.settled(fleet())
    bench.sh(left)
    bench.settled(fleet(podnet_vni=65))
    assert bench.run("ls /run/podnet/lock").returncode


def test_two_controllers_do_not_mix_their_transactions(bench: Bench) -> None:
    """Between two phases of one run another one begins. Either it is refused, or the first run
    cannot go on with the phases of the second."""
    bench.settled(fleet())
    one, two = fleet(podnet_vni=65), fleet(podnet_vni=66)
    _changes, staged = bench.look(one)
    bench.sh(staged + transaction.phase_script("run1", "add", False))
    _other, other_staged = bench.look(two, ident="run2")
    second = bench.run(other_staged + transaction.phase_script("run2", "add", False))
    first = bench.run(transaction.phase_script("run1", "switch", False))
    assert second.returncode != 0 or first.returncode != 0
    assert "via 10.64.4.1 dev pn66" not in bench.sh("ip route")


def test_change_of_a_state_that_is_gone_is_refused(bench: Bench) -> None:
    """Both runs read; one changes, confirms, and is gone; then the other one begins."""
    bench.settled(fleet())
    _changes, early = bench.look(fleet(podnet_vni=65), ident="run2")
    _changes, late = bench.look(fleet(podnet_vni=66), ident="run3")
    phases = [transaction.phase_script("run2", name, name == "remove") for name in PHASES]
    bench.sh(transaction.head_script(0, 2) + early + "".join(phases))
    before = bench.dump()
    late += transaction.phase_script("run3", "add", False)
    refused = bench.run(transaction.head_script(0, 2) + late)
    assert refused.returncode and "changed this node since this run read it" in refused.stderr
    assert_same(before, bench.dump())
    assert bench.settled(fleet(podnet_vni=65)).commands == []
