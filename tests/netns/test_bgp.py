# SPDX-License-Identifier: GPL-3.0-or-later
"""Mode bgp on real FRR: the main job through two reflectors, dual stack, with a password."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest
from edits import pod
from fleet import DUMP, FILES, Fleet, Spec, without_timers
from meters import Meters
from share import EVERY

SECRET = "tell-Nobody/of&this|one"
LISTEN = ["192.0.2.0/24", "2001:db8:a::/64"]


def reflecting(nodes: int, name: str, folder: Any, **extra: Any) -> Fleet:
    """A fleet in one segment whose first two nodes reflect."""
    spec = Spec("bgp", segments={"rack-a": nodes}, extra=extra)
    fleet = Fleet(folder, spec, name)
    for node in fleet.nodes[:2]:
        fleet.data["podnet"]["hosts"][node]["podnet_bgp_reflector"] = True
    fleet.write()
    return fleet


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    extra = {"podnet_bgp_password": SECRET, "podnet_bgp_listen_ranges": LISTEN}
    with reflecting(4, "bgp", tmp_path_factory.mktemp("bgp"), **extra) as fleet:
        yield fleet


def snapshot(fleet: Fleet, node: str) -> tuple[str, ...]:
    frr = "find /etc/frr/podnet -printf '%p %i %T@ %m %l\\n' | sort; pidof bgpd zebra watchfrr"
    return without_timers(fleet.ssh(node, DUMP)), fleet.ssh(node, FILES), fleet.ssh(node, frr)


def test_the_main_job(fleet: Fleet) -> None:
    fleet.play("site", check=True)
    assert {r["status"] for r in fleet.results()} <= {"success", "skipped"}
    for node in fleet.nodes:
        routes = fleet.ssh(node, "ip -o route show proto bgp; ip -o -6 route show proto bgp")
        assert len(routes.splitlines()) == 6, routes
        assert "fe80" not in routes
        assert fleet.ssh(node, "ip route show proto 112; ip -6 route show proto 112") == ""


def test_a_second_run_changes_nothing(fleet: Fleet) -> None:
    before = {n: snapshot(fleet, n) for n in fleet.nodes}
    again = fleet.play("converge", check=True)
    assert "0 to change" in again.stdout, again.stdout
    assert {n: snapshot(fleet, n) for n in fleet.nodes} == before


def test_a_change_is_one_and_keeps_the_sessions(fleet: Fleet) -> None:
    """FRR takes the new file as it is: the next run finds it so, and nobody else has a copy."""
    up = "vtysh -N podnet -c 'show bgp summary json' | grep -c '\"connectionsDropped\":0,'"
    fleet.data["podnet"]["vars"]["podnet_cluster_cidrs"] = ["10.64.0.0/15", "fd00:64::/48"]
    fleet.write()
    assert "4 to change" in fleet.play("converge", check=True).stdout
    assert "0 to change" in fleet.play("converge", check=True).stdout
    running = "vtysh -N podnet -c 'show running-config' | grep -c 'permit 10.64.0.0/15'"
    for node in fleet.nodes:
        assert fleet.ssh(node, running) == "1\n"
        assert fleet.ssh(node, up) == ("6\n" if node in fleet.nodes[:2] else "4\n")
        assert fleet.ssh(
            node, "grep -rlsF -- '" + SECRET + "' /etc/frr /etc/podnet /run /var/log"
        ).split() == ["/etc/frr/podnet/frr.conf"]


ROUTER = "vtysh -N podnet -c 'configure terminal' -c 'router bgp 64512'"
ADVERTISE = f"{ROUTER} -c 'address-family ipv4'"


def test_what_is_changed_in_the_running_frr_is_named_and_put_back(fleet: Fleet) -> None:
    fleet.ssh("node-3", f"{ADVERTISE} -c 'no network 10.64.3.0/24'")
    fleet.ssh("node-4", f"{ROUTER} -c 'neighbor podnet-reflectors-ipv6 password other'")
    drift = fleet.play("drift")
    assert drift.returncode == 2, drift.stdout
    assert "node-1: 10.64.3.0/24 of node-3 is not learned" in drift.stdout, drift.stdout
    assert "bgp apply" in drift.stdout, drift.stdout
    again = fleet.play("converge", check=True)
    assert "2 to change" in again.stdout, again.stdout
    assert "0 to change" in fleet.play("converge", check=True).stdout
    best = "vtysh -N podnet -c 'show bgp ipv4 unicast' | grep -c '>i'"
    fleet.ssh("node-1", f"until [ $({best}) = 3 ]; do sleep 0.2; done")
    fleet.play("drift", check=True)


KILL_BGPD = "kill -9 $(cat /run/frr/podnet/bgpd.pid)"
RESTART = """for d in watchfrr bgpd zebra staticd; do kill -9 $(cat /run/frr/podnet/$d.pid); done
sleep 1; podnet-node heal"""
SETTLED = """for _ in $(seq 120); do
  n=$(for f in ipv4 ipv6; do vtysh -N podnet -c "show bgp $f" 2>/dev/null; done | grep -c '>i')
  [ "$n" != 6 ] || exit 0; sleep 0.5
done; exit 1"""


def test_no_packet_is_lost_when_reflectors_fail(fleet: Fleet) -> None:
    """The bgpd of the first, and all of FRR on the second, both with pods."""
    pods = {node: pod(fleet, node, "stays") for node in fleet.nodes[:3]}
    with Meters(fleet, pods) as meters:
        fleet.ssh("node-1", KILL_BGPD)
        fleet.ssh("node-2", RESTART)
        time.sleep(12)  # peers wait no longer for one that says nothing
        for node in fleet.nodes:
            fleet.ssh(node, SETTLED)
    print(meters.reading)
    assert meters.reading.hurt == []
    for node in pods:
        pod(fleet, node, "stays", state="absent")


def phases(fleet: Fleet, mode: str, *each: str) -> None:
    """Change the mode by one playbook per phase, each of them twice."""
    fleet.data["podnet"]["vars"]["podnet_mode"] = mode
    fleet.write()
    for phase in each:
        done = [fleet.play(phase, check=True).stdout for _again in range(2)]
        assert "0 to change" not in done[0], done[0]
        assert "0 to change" in done[1], done[1]


PHASES = ("add", "switch", "remove")
OWN = "ip route show proto 112; ip -6 route show proto 112"
LEARNED = "ip -o route show proto bgp; ip -o -6 route show proto bgp"


def test_phase_by_phase_there_and_back(fleet: Fleet) -> None:
    """Of the way back `make test` repeats the first one alone."""
    phases(fleet, "routed", *(PHASES if EVERY == 1 else PHASES[:1]))
    fleet.play("converge", check=True)
    for node in fleet.nodes:
        assert len(fleet.ssh(node, OWN).splitlines()) == 6
        assert fleet.ssh(node, f"pidof zebra bgpd; {LEARNED}; true") == ""
    phases(fleet, "bgp", *PHASES)
    assert "0 to change" in fleet.play("converge", check=True).stdout
    for node in fleet.nodes:
        assert fleet.ssh(node, OWN) == ""
        assert len(fleet.ssh(node, LEARNED).splitlines()) == 6


REST = """ls -d /etc/frr/podnet /run/frr/podnet/*.pid 2>/dev/null; pidof bgpd zebra
ip route show proto bgp; ip -6 route show proto bgp; ip nexthop; true"""


# What an FRR of the host itself would have, started after podnet's.
HOSTS_OWN = """set -e; setsid sleep 600 >/dev/null 2>&1 </dev/null & echo $! >/run/frr/zebra.pid
ip nexthop add id 4242 via 192.0.2.11 dev eth0 proto zebra
ip route add 203.0.113.0/24 nhid 4242 proto ospf"""


def test_reset_leaves_nothing_of_it_and_all_of_the_hosts_own(fleet: Fleet) -> None:
    last = fleet.nodes[-1]
    fleet.ssh(last, HOSTS_OWN)
    fleet.play("reset", "-e", "podnet_yes=true", check=True)
    assert "203.0.113.0/24" in fleet.ssh(last, "ip route show proto ospf")
    fleet.ssh(last, "kill $(cat /run/frr/zebra.pid); rm /run/frr/zebra.pid; ip nexthop flush")
    for node in fleet.nodes:
        assert fleet.ssh(node, REST) == ""
