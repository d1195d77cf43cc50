# SPDX-License-Identifier: GPL-3.0-or-later
"""`podnet-node heal`: puts back what is missing or altered of podnet's own, counts and names it,
and does nothing else."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from ansible_collections.podnet.fabric.plugins.plugin_utils import transaction
from ansible_collections.podnet.fabric.plugins.plugin_utils.kernel.objects import route_metric
from corebench import Bench, assert_same, difference, fleet
from misbehave import FIRST, misbehave
from test_core import DRIFT

# Damage of test_core that heal mends, with the first object that it names. Files of the conflist,
# units and definitions are the controller's; what somebody added is never removed by heal.
MENDED = {
    "direct route deleted": "ip route replace 10.64.2.0/24 via 192.0.2.2 src 10.64.1.1",
    "direct route altered": "ip route replace 10.64.2.0/24 via 192.0.2.2 src 10.64.1.1",
    "VXLAN route deleted": "ip route replace fd00:64:0:4::/64",
    "route without source": "ip route replace 10.64.4.0/24 via 10.64.4.1 dev pn64 onlink src",
    "neighbour deleted": "ip neighbour replace 10.64.4.1",
    "neighbour altered": "ip neighbour replace 10.64.4.1",
    "FDB entry deleted": "bridge fdb replace $MAC4",
    "FDB entry altered": "bridge fdb replace $MAC4",
    "bridge MTU": "ip link set dev cbr0 mtu 1450",
    "bridge MAC": "ip link add name cbr0 address $BRIDGE type bridge",
    "VXLAN MTU": "ip link set dev pn64 mtu 1450",
    "VXLAN source": "ip link add name pn64",
    "learning on": "ip link add name pn64",
    "gateway address deleted": "ip address replace 10.64.1.1/24 dev cbr0",
    "ip_forward": "sysctl net/ipv4/ip_forward=1",
    "IPv6 forwarding": "sysctl net/ipv6/conf/all/forwarding=1",
    "rp_filter of the bridge": "sysctl net/ipv4/conf/cbr0/rp_filter=2",
    "table deleted": "load podnet.nft",
    "rule deleted": "load podnet.nft",
    "element added": "load podnet.nft",
    "all rules flushed": "load podnet.nft",
    "VXLAN device deleted": "ip link add name pn64",
    "bridge deleted": "ip link add name cbr0",
    "VXLAN device down": "ip link set dev pn64 up",
    "bridge down": "ip link set dev cbr0 up",
}


@pytest.fixture(scope="module")
def shared() -> Iterator[Bench]:
    with Bench() as node:
        node.settled(fleet())
        yield node


@pytest.fixture
def bench() -> Iterator[Bench]:
    with Bench() as node:
        node.settled(fleet())
        yield node


def healed(bench: Bench, code: int = 0) -> list[str]:
    """Run heal; the lines that it says it has put back."""
    answer = bench.run("podnet-node heal")
    assert answer.returncode == code, answer.stdout + answer.stderr
    start = "podnet-node: put back: "
    return [line.removeprefix(start) for line in answer.stdout.splitlines() if start in line]


def total(bench: Bench) -> int:
    text = bench.sh("cat /run/podnet/healed 2>/dev/null; true")
    return int(text.split()[0]) if text else 0


def macs(text: str) -> str:
    nodes = fleet().by_name
    return text.replace("$MAC4", nodes["node-4"].vtep_mac).replace(
        "$BRIDGE", nodes["node-1"].bridge_mac
    )


@pytest.mark.parametrize("damage", MENDED, ids=MENDED)
def test_what_is_missing_is_put_back_counted_and_named(shared: Bench, damage: str) -> None:
    complete, count = shared.dump(), total(shared)
    shared.sh(macs(DRIFT[damage][0]))
    assert difference(complete, shared.dump()), "nothing was damaged"
    lines = healed(shared)
    left = difference(complete, shared.dump())
    if left:  # the next test begins with a whole node again
        shared.run("ip link del pn64; ip link del cbr0")
        shared.settled(fleet())
    assert not left, "\n".join(left)
    assert lines and lines[0].startswith(macs(MENDED[damage]))
    assert total(shared) == count + len(lines)
    assert lines[-1] in shared.sh("podnet-node status | grep ^last")
    assert healed(shared) == [] and total(shared) == count + len(lines)


def test_a_whole_node_is_only_looked_at(bench: Bench) -> None:
    """The kernel hears of no change, not even of an object that is replaced by itself, and no
    file that podnet keeps is written."""
    before, files = bench.dump(), kept_files(bench)
    bench.sh(WATCH)
    assert healed(bench) == []
    assert bench.sh(SEEN) == ""
    assert_same(before, bench.dump())
    assert kept_files(bench) == files
    bench.sh(WATCH)
    bench.sh("ip route del 10.64.2.0/24")
    assert len(healed(bench)) == 1
    seen = bench.sh(SEEN).splitlines()
    assert len(seen) == 2 and all("10.64.2.0/24" in line for line in seen), "and nft hears nothing"


WATCH = """cd /run; : >seen
for m in 'ip -o monitor link address route neigh' 'bridge -o monitor fdb' 'nft monitor'; do
  $m >>seen 2>&1 & echo $! >>watchers
done; sleep 1
"""
SEEN = "sleep 0.5; cd /run; kill $(cat watchers); rm watchers; cat seen"


def kept_files(bench: Bench) -> list[str]:
    """What podnet has written, without the notes of a comparison and the last lock."""
    return [line for line in bench.files().splitlines() if not line.startswith("run/podnet/mend")]


def test_one_object_again_and_again_is_counted_each_time(bench: Bench) -> None:
    for count in range(1, 24):
        bench.sh("ip neigh del 10.64.4.1 dev pn64")
        assert len(healed(bench)) == 1 and total(bench) == count
    assert len(bench.sh("cat /run/podnet/healed").splitlines()) == 21, "the number, and the last 20"


def test_what_goes_while_it_heals_is_counted_too(bench: Bench) -> None:
    complete = bench.dump()
    bench.sh("ip neigh del 10.64.4.1 dev pn64")
    once = "[ -e /run/gone ] || { touch /run/gone; ip route del 10.64.2.0/24; }"
    during = f'case "$*" in *-batch*) {once} ;; esac'
    misbehave(bench, during, ["ip"])
    answer = bench.run(FIRST + "podnet-node heal")
    assert bench.sh("ls /run/gone"), "nothing went meanwhile"
    assert answer.returncode == 0, answer.stderr
    for line in ("ip neighbour replace 10.64.4.1", "ip route replace 10.64.2.0/24"):
        assert f"put back: {line}" in answer.stdout
    assert total(bench) == 2
    assert_same(complete, bench.dump())


def test_everything_gone_comes_back_at_once(bench: Bench) -> None:
    complete = bench.dump()
    bench.sh("ip link del cbr0; ip link del pn64; nft flush ruleset; ip route flush proto 112")
    bench.sh("cd /proc/sys/net; echo 0 >ipv4/ip_forward; echo 0 >ipv6/conf/all/forwarding")
    assert len(healed(bench)) > 20
    assert_same(complete, bench.dump())


FOREIGN = """ip link add br9 type bridge; ip link set br9 up; ip addr add 10.99.0.1/24 dev br9
ip link add vx9 type vxlan id 99 dstport 4790 local 192.0.2.1; ip link set vx9 up
ip neigh add 10.99.0.2 lladdr 02:99:00:00:00:01 dev vx9 nud permanent
bridge fdb add 02:99:00:00:00:01 dev vx9 dst 192.0.2.99
ip addr add 10.98.0.1/24 dev cbr0; bridge fdb add 02:99:00:00:00:02 dev pn64 dst 192.0.2.9
ip neigh add 10.64.77.1 lladdr 02:99:00:00:00:03 dev pn64 nud permanent
ip route add 10.64.3.0/24 via 192.0.2.99 metric 50; ip route add 10.97.0.0/24 via 192.0.2.99
ip route add 10.96.0.0/24 via 192.0.2.9 proto 112 metric 112
nft add table inet other; nft add chain inet other c; nft add rule inet other c counter drop
"""


def test_heal_removes_nothing_and_touches_nothing_foreign(bench: Bench) -> None:
    bench.sh(FOREIGN)
    before = bench.dump()
    bench.sh("ip route del 10.64.2.0/24; nft delete table inet podnet; ip link set pn64 mtu 1300")
    assert len(healed(bench)) == 3
    after = bench.dump()
    for dump in (before, after):
        dump["nft"].sort()  # a table that is made anew comes last
    assert_same(before, after)


TAKEN = {
    "route": (
        "ip route del 10.64.2.0/24; ip route add 10.64.2.0/24 via 192.0.2.99 "
        f"metric {route_metric('10.64.2.0/24')}",
        1,
    ),
    "bridge": ("ip link del cbr0; ip link add cbr0 type bridge", 5),
    "VXLAN device": (
        "ip link del pn64; ip link add pn64 type vxlan id 77 dstport 4799 local 192.0.2.1",
        5,
    ),
}


@pytest.mark.parametrize("case", TAKEN, ids=TAKEN)
def test_what_took_the_place_of_our_own_is_left_alone_and_named(bench: Bench, case: str) -> None:
    damage, least = TAKEN[case]
    bench.sh(damage)
    before = bench.dump()
    answer = bench.run("podnet-node heal")
    assert answer.returncode == 1
    assert answer.stderr.count("still missing: ") >= least, answer.stderr
    assert_same(before, bench.dump())


def test_what_cannot_be_put_back_is_named_and_tried_again(bench: Bench) -> None:
    """The underlay interface is down: its routes cannot be; all else is put back meanwhile."""
    complete = bench.dump()
    bench.sh("ip link set eth0 down; ip neigh del 10.64.4.1 dev pn64")
    answer = bench.run("podnet-node heal")
    assert answer.returncode == 1
    assert "still missing: ip route replace 10.64.2.0/24 via 192.0.2.2" in answer.stderr
    assert "10.64.2.0/24" not in answer.stdout
    assert "put back: ip neighbour replace 10.64.4.1" in answer.stdout
    assert total(bench) == 1
    bench.sh("ip link set eth0 up; ip addr replace 2001:db8::1/64 dev eth0 nodad")
    bench.sh("ip route add default via 192.0.2.254; ip -6 route add default via 2001:db8::fe")
    lines = healed(bench)
    assert any("10.64.2.0/24" in line for line in lines)
    assert total(bench) == 1 + len(lines)
    assert_same(complete, bench.dump())


def test_heal_does_nothing_while_a_change_is_there(bench: Bench) -> None:
    wanted = fleet(podnet_vni=65)
    _changes, staged = bench.look(wanted)
    bench.sh(staged + transaction.phase_script("run1", "add", False))
    bench.sh("ip route del 10.64.2.0/24; ip neigh del 10.64.4.1 dev pn65")
    before = bench.dump()
    answer = bench.run("podnet-node heal")
    assert (answer.returncode, answer.stderr) == (0, "") and "a change is at work" in answer.stdout
    assert_same(before, bench.dump())
    bench.sh("podnet-node rollback")
    assert "ip route replace 10.64.2.0/24 via 192.0.2.2" in healed(bench)[0]


# A stand-in that waits while a heal is at work, as a heal on a big node would.
SLOW = """mkdir -p /run/bin; real=$(command -v nft)
printf '#!/bin/sh\\ntouch /run/bin/busy; sleep 2; exec %s "$@"\\n' "$real" >/run/bin/nft
chmod 755 /run/bin/nft
setsid sh -c 'PATH=/run/bin:$PATH; podnet-node heal; echo ended $? >/run/bin/out' >/dev/null 2>&1 &
until [ -e /run/bin/busy ]; do sleep 0.05; done
"""


def test_a_run_waits_for_a_heal_and_a_heal_for_nobody(bench: Bench) -> None:
    """Or every run of the controller could fail by the timer's chance."""
    bench.sh(SLOW)
    assert healed(bench) == [], "a second heal leaves the work to the first"
    assert bench.run("test -e /run/bin/out").returncode, "it did not wait"
    bench.settled(fleet(podnet_vni=65))
    assert bench.sh("cat /run/bin/out") == "ended 0\n"


def test_heal_of_a_node_without_a_generation_is_nothing() -> None:
    with Bench() as empty:
        empty.settled(fleet())
        empty.sh("rm -rf /etc/podnet/*")
        assert healed(empty) == []


def test_heal_after_a_boot_without_restore(bench: Bench) -> None:
    """What /run kept is gone; the definitions say what must be."""
    complete = bench.dump()
    bench.sh("ip link del cbr0; ip link del pn64; nft delete table inet podnet; rm -rf /run/podnet")
    assert len(healed(bench)) > 20
    assert_same(complete, bench.dump())
    assert healed(bench) == []


# Stands before a tool in PATH; HOW runs at the call whose number it names in $n.
STUB = r"""mkdir -p /run/bin; real=$(PATH=/usr/sbin:/sbin command -v TOOL); rm -f /run/bin/calls
cat >/run/bin/TOOL <<'END_OF_STUB'
#!/bin/sh
echo x >>/run/bin/calls; n=$(wc -l </run/bin/calls)
HOW
exec REAL "$@"
END_OF_STUB
sed -i "s|REAL|$real|" /run/bin/TOOL; chmod 755 /run/bin/TOOL
"""
KILL = "[ $n = {call} ] && kill -9 $(cat /run/podnet/lock)"
ALL = "ip link del cbr0; ip link del pn64; nft delete table inet podnet; ip route flush proto 112"


def stubbed(bench: Bench, tool: str, how: str) -> int:
    bench.sh(STUB.replace("TOOL", tool).replace("HOW", how))
    code = bench.run("PATH=/run/bin:$PATH; podnet-node heal").returncode
    bench.sh("rm -r /run/bin")
    return code


@pytest.mark.parametrize(
    ("tool", "call"), [("ip", 1), ("ip", 8), ("bridge", 2), ("nft", 2), ("nft", 3)]
)
def test_a_killed_heal_is_finished_by_the_next(bench: Bench, tool: str, call: int) -> None:
    complete = bench.dump()
    bench.sh(ALL)
    assert stubbed(bench, tool, KILL.format(call=call)) != 0
    bench.sh("ls -d /run/podnet/lock")
    assert healed(bench)
    assert_same(complete, bench.dump())


@pytest.mark.parametrize("tool", ["ip", "bridge", "nft"])
def test_a_tool_that_fails_is_no_success(bench: Bench, tool: str) -> None:
    """Whatever it fails at; what the others can put back they do."""
    complete = bench.dump()
    bench.sh(ALL)
    assert stubbed(bench, tool, "exit 1") == 1
    assert healed(bench)
    assert_same(complete, bench.dump())
    assert stubbed(bench, tool, "exit 1") == 1, "a tool that says nothing is no whole node"


def test_definitions_may_be_read_only_and_run_may_be_full(bench: Bench) -> None:
    complete = bench.dump()
    bench.sh("mount -o remount,ro /etc/podnet; ip route del 10.64.2.0/24")
    assert len(healed(bench)) == 1
    bench.sh("ip route del 10.64.2.0/24; mount -t tmpfs -o size=8k full /run/podnet")
    bench.sh("cat /dev/zero >/run/podnet/fill 2>/dev/null; true")
    assert bench.run("podnet-node heal").returncode == 1
    bench.sh("umount /run/podnet")
    assert len(healed(bench)) == 1
    assert_same(complete, bench.dump())
