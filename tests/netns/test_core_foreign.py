# SPDX-License-Identifier: GPL-3.0-or-later
"""What podnet does not own stays as it is, whatever podnet does; what a host needs is kept."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from ansible_collections.podnet.fabric.plugins.plugin_utils.kernel.objects import route_metric
from corebench import Bench, assert_same, fleet

# Things of other people, each with a word by which its lines in a dump are found.
FOREIGN = r"""set -e; echo 1 >/proc/sys/net/ipv6/conf/default/addr_gen_mode
ip route add 10.64.2.0/24 via 192.0.2.77 metric 50
ip route add 10.64.2.0/24 via 192.0.2.77 proto static metric 500
ip route add 10.64.3.0/24 via 192.0.2.77 proto 112 metric 501
ip route add 10.64.4.0/24 via 192.0.2.77 proto 112 metric 112 table 777
ip route add blackhole 10.64.5.0/24 metric 502
ip -6 route add fd00:64:0:2::/64 via 2001:db8::77 proto static metric 500
ip -6 route add fd00:64:0:4::/64 via 2001:db8::77 proto 112 metric 501
ip rule add from 10.64.1.0/24 lookup 777 pref 7770
ip link add br9 type bridge; ip link add p9 mtu 1450 type veth peer name q9
ip link set p9 master br9; ip link set br9 up; ip link set p9 up; ip link set q9 up
ip addr add 172.31.9.1/24 dev br9
ip link add p0 mtu 1450 type veth peer name q0; ip link set p0 master cbr0
ip link set p0 up; ip link set q0 up
ip link add vx9 type vxlan id 64 dstport 9999 local 192.0.2.1 nolearning; ip link set vx9 up
bridge fdb add 02:99:00:00:00:01 dev vx9 dst 192.0.2.99 self permanent
ip neigh add 172.31.9.9 lladdr 02:99:00:00:00:02 dev vx9 nud permanent
ip neigh add 172.31.9.8 lladdr 02:99:00:00:00:03 dev cbr0 nud permanent
ip neigh add 192.0.2.99 lladdr 02:99:00:00:00:04 dev eth0 nud permanent proto 112
ip addr add 172.31.0.1/24 dev cbr0
ip -6 addr add fd99::1/64 dev cbr0 nodad
nft add table inet foreign; nft add chain inet foreign c9 '{ type filter hook forward priority 5; }'
nft add table ip podnet; nft add chain ip podnet c8
echo 1 >/proc/sys/net/ipv4/conf/br9/rp_filter
mkdir -p /etc/cni/net.d /etc/iproute2/rt_protos.d
echo '{}' >/etc/cni/net.d/05-foreign.conflist
echo '113 foreign' >/etc/iproute2/rt_protos.d/foreign.conf
echo x >/etc/podnet/foreign
"""
WORDS = (
    *("192.0.2.77", "2001:db8::77", '"metric": 502', "br9", "p9", "q9", '"q0"', "vx9"),
    *("172.31.", "fd99::", "02:99:", "foreign", "table ip podnet", "c8", "c9"),
)
FILES = (
    "cd /etc; sha256sum cni/net.d/05-foreign.conflist"
    " iproute2/rt_protos.d/foreign.conf podnet/foreign"
)
EVENTS = {
    "nothing": fleet(),
    "VNI": fleet(podnet_vni=65),
    "fewer peers": fleet(hosts=[1, 2, 4]),
    "alone": fleet(hosts=[1]),
    "routed": fleet(podnet_mode="routed", hosts=[1, 2, 3]),
    "vxlan": fleet(podnet_mode="vxlan", podnet_mtu=1400),
    "pod CIDR": fleet(node_1={"podnet_pod_cidrs": ["10.64.9.0/24", "fd00:64:0:9::/64"]}),
    "back": fleet(),
}
OWN = (route_metric(f"10.64.{number}.0/24") for number in range(2, 6))
DAMAGE = f"""{"".join(f"ip route flush proto 112 metric {metric};" for metric in OWN)}
ip link del pn64; nft delete table inet podnet
ip link set cbr0 mtu 1300; rm /etc/cni/net.d/10-podnet.conflist"""


@pytest.fixture
def bench() -> Iterator[Bench]:
    with Bench() as node:
        yield node


def foreign_lines(bench: Bench) -> dict[str, list[str]]:
    dump = {**bench.dump(), "rule": bench.sh("ip rule").splitlines()}
    lines = {
        name: [line for line in found if any(word in line for word in (*WORDS, "7770"))]
        for name, found in dump.items()
    }
    return {**lines, "files": bench.sh(FILES).splitlines()}


def test_foreign_objects_survive_everything(bench: Bench) -> None:
    bench.settled(fleet())
    bench.sh(FOREIGN)
    foreign = foreign_lines(bench)
    assert sum(map(len, foreign.values())) > 60
    for event, fabric in EVENTS.items():
        bench.settled(fabric)
        assert_same(foreign, foreign_lines(bench), event)
        assert bench.settled(fabric).commands == [], event
    bench.sh(DAMAGE)
    bench.settled(fleet())
    assert_same(foreign, foreign_lines(bench), "drift repair")
    assert bench.sh("bridge link show dev p0").count("master cbr0") == 1


def test_foreign_objects_survive_where_podnet_was_never_before(bench: Bench) -> None:
    on_own = ("cbr0", "fd99::", "172.31.0.1", "/etc/podnet/foreign", "p0", "q0")
    setup = [line for line in FOREIGN.splitlines() if not any(word in line for word in on_own)]
    bench.sh("\n".join(setup))
    before = bench.dump()
    bench.settled(fleet())
    bench.settled(fleet(hosts=[1]))
    after = bench.dump()
    for name in ("link", "addr", "route4", "route6", "neigh", "fdb", "nft"):
        gone = [line for line in before[name] if line not in after[name]]
        assert gone == []


def test_foreign_route_with_the_same_metric_is_not_replaced(bench: Bench) -> None:
    """To the kernel it is the same route, whatever its protocol: podnet has to refuse."""
    metric = route_metric("10.64.2.0/24")
    bench.sh(f"ip route add 10.64.2.0/24 via 192.0.2.77 proto static metric {metric}")
    problems = [str(problem) for problem in bench.refusals(fleet())]
    assert len(problems) == 1
    assert f"10.64.2.0/24 via 192.0.2.77 dev eth0 proto static metric {metric}" in problems[0]


def test_nothing_is_left_but_what_was_there(bench: Bench) -> None:
    """A failing first converge: not even settings of interfaces stay changed."""
    before = bench.dump()
    changes, staged = bench.look(fleet())
    run = bench.carry_out(
        changes,
        staged,
        "echo 'ip link del nowhere' >>$stage/add.do;echo - >>$stage/add.undo\n",
    )
    assert run.outcome.state == "undone"
    assert_same(before, bench.dump())


# --- what the host itself needs ----------------------------------------------

ADVERTISE = r"""
import socket, struct, sys
s = socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6)
index = socket.if_nametoindex("far0")
s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, 255)
s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, index)
s.sendto(struct.pack("!BBHBBHII", 134, 0, 0, 64, 0, 1800, 0, 0), ("ff02::1", 0, 0, index))
"""


def test_router_advertisements_still_work_when_forwarding(bench: Bench) -> None:
    """A real router advertisement (RFC 4861, 4.2) before and after: the default route that the
    host learned stays, is refreshed, and comes back after a boot."""
    bench.sh("ip -6 route del default; ip addr add fe80::1/64 dev eth0 nodad")
    with Bench() as router:
        router.sh("ip link del eth0")
        bench.sh(f"ip link set far0 netns {router._holder.pid}")
        router.sh("ip link set far0 up; ip addr add fe80::2/64 dev far0 nodad")
        advertise = f"python3 - <<'END'\n{ADVERTISE}END\n"

        def learned() -> bool:
            """Whether one of some advertisements makes a default route."""
            for _try in range(10):
                router.sh(advertise)
                if "via fe80::2 dev eth0" in bench.sh("ip -6 route show default proto ra"):
                    return True
            return False

        assert learned()
        bench.settled(fleet())
        assert "via fe80::2 dev eth0" in bench.sh("ip -6 route show default proto ra")
        assert bench.sh("cat /proc/sys/net/ipv6/conf/all/forwarding").strip() == "1"
        bench.sh("ip -6 route del default")
        assert learned()
        assert bench.settled(fleet()).commands == []
        bench.sh("echo 1 >/proc/sys/net/ipv6/conf/eth0/accept_ra; podnet-node restore")
        assert bench.sh("cat /proc/sys/net/ipv6/conf/eth0/accept_ra").strip() == "2"


def test_settings_of_an_interface_that_went_away_do_not_block(bench: Bench) -> None:
    bench.sh("ip link add eth9 type veth peer name far9; ip link set far9 up; ip link set eth9 up")
    bench.sh("ip -6 route add default via fe80::9 dev eth9 proto ra metric 2000")
    bench.settled(fleet())
    assert "eth9/accept_ra = 2" in bench.sh("cat /etc/podnet/underlay.sysctl")
    bench.sh("ip link del eth9")
    bench.settled(fleet())
    bench.settled(fleet(podnet_vni=65))


@pytest.mark.parametrize(("strict_all", "strict_own"), [(0, 1), (1, 0), (1, 1)])
def test_strict_reverse_path_filter_of_the_underlay_is_loosened(
    bench: Bench, strict_all: int, strict_own: int
) -> None:
    conf = "/proc/sys/net/ipv4/conf"
    bench.sh(f"echo {strict_all} >{conf}/all/rp_filter; echo {strict_own} >{conf}/eth0/rp_filter")
    bench.settled(fleet())
    values = bench.sh(
        f"cat {conf}/all/rp_filter {conf}/eth0/rp_filter {conf}/pn64/rp_filter"
    ).split()
    assert values == [str(strict_all), "2", "2"]
    assert bench.settled(fleet()).commands == []


@pytest.mark.parametrize("mtu", [1450, 1500])
def test_a_port_with_another_mtu_does_not_move_the_bridge(bench: Bench, mtu: int) -> None:
    """The kernel lowers a bridge to its smallest port until somebody has set its MTU."""
    bench.settled(fleet(podnet_mode="routed", hosts=[1, 2, 3], podnet_mtu=mtu))
    bench.sh("ip link add p0 mtu 1300 type veth peer name q0; ip link set p0 master cbr0")
    assert f"mtu {mtu} " in bench.sh("ip link show cbr0")


def test_a_name_that_any_other_interface_has_is_refused() -> None:
    """Of whatever kind: the kernel would refuse it in the middle of the change."""
    with Bench() as bench:
        bench.sh("ip link add cbr0 type veth peer name other")
        assert [problem.where for problem in bench.refusals(fleet())] == ["node-1: cbr0"]


def test_a_node_that_has_pods_keeps_its_name() -> None:
    """Its MACs follow from that, and pods would go on sending to the old one."""
    with Bench() as bench:
        bench.settled(fleet())
        assert "another name" not in str(bench.refusals(fleet(), "node-2")), "it has no pod"
        bench.sh("ip link add p0 up master cbr0 type veth peer name q0; ip link set q0 up")
        said = [
            problem for problem in bench.refusals(fleet(), "node-2") if problem.where == "node-2"
        ]
        assert [problem.expected for problem in said] == ["node-1, or no pod on the node"]
        assert bench.refusals(fleet()) == []
        # A MAC that somebody has changed is drift, and is put back.
        bench.sh("ip link set cbr0 address 02:00:00:00:00:77")
        assert bench.refusals(fleet()) == []


def test_who_is_not_root_is_told_so() -> None:
    with Bench() as bench:
        bench.settled(fleet())
        (problem,) = bench.refusals(fleet(), user="setpriv --reuid=65534 --clear-groups ")
        assert problem.remedy == "set ansible_become: true, or let root log in"
