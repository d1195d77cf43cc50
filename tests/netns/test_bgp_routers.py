# SPDX-License-Identifier: GPL-3.0-or-later
"""Mode bgp across two racks whose routers are others' programs: FRR in the one, BIRD in the other.

Nodes speak eBGP to their rack's router, the routers to each other, dual stack and with passwords.
Nobody tells a router a pod CIDR but the nodes.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
import routers
from edits import pod
from fleet import DUMP, FILES, Fleet, Spec, without_timers
from meters import Meters

SECRET = "tell-Nobody/of&this|one"
ASN = {"rack-a": 65101, "rack-b": 65102}
ROUTER = {"rack-a": 65001, "rack-b": 65002}
# What no node may take: a default route, the cluster's own network, half of node-3's range.
LEAKED = {
    "ipv4": ("0.0.0.0/0", "10.64.0.0/16", "10.64.3.128/25", "10.99.0.0/30"),
    "ipv6": ("::/0", "fd00:64::/48", "fd00:64:0:3:8000::/65", "fd00:99::/64"),
}


def of_frr() -> str:
    """The router of rack-a; it leaks to its rack."""
    lines = ["ip prefix-list pods permit 10.64.0.0/16 ge 24 le 24"]
    lines += ["ipv6 prefix-list pods permit fd00:64::/48 ge 64 le 64"]
    lines += ["router bgp 65001", "bgp router-id 192.0.2.250", "no bgp default ipv4-unicast"]
    lines += ["no bgp ebgp-requires-policy", "no bgp network import-check"]
    for rack, nodes, core in (
        ("rack4", "192.0.2.0/24", "10.99.0.2"),
        ("rack6", "2001:db8:a::/64", "fd00:99::2"),
    ):
        lines += [f"neighbor {rack} peer-group", f"neighbor {rack} remote-as 65101"]
        lines += [f"neighbor {rack} password {SECRET}", f"neighbor {rack} bfd"]
        lines += [f"neighbor {core} remote-as 65002"]
        lines += [f"neighbor {core} timers connect 1"]
        lines += [f"bgp listen range {nodes} peer-group {rack}"]
        family = "ipv4" if rack == "rack4" else "ipv6"
        lines += [f"address-family {family} unicast", f"neighbor {rack} activate"]
        lines += [f"neighbor {core} activate", f"neighbor {core} prefix-list pods out"]
        lines += [f"network {cidr}" for cidr in LEAKED[family]]
        lines += ["exit-address-family"]
    return "\n".join(lines) + "\n"


def of_bird() -> str:
    """The router of rack-b."""
    parts = ["router id 198.51.100.250;", "protocol device {}", "protocol bfd {}"]
    for family, own, nodes, core, far in (
        ("ipv4", "198.51.100.250", "198.51.100.0/24", "10.99.0.2", "10.99.0.1"),
        ("ipv6", "2001:db8:b::fa", "2001:db8:b::/64", "fd00:99::2", "fd00:99::1"),
    ):
        channel = f"{family} {{ import all; export where source = RTS_BGP; }};"
        parts += [f"protocol kernel {{ {channel.replace('import all', 'import none')} }}"]
        parts += [
            f"protocol bgp rack{family[3]} {{ local {own} as 65002;"
            f' neighbor range {nodes} as 65102; password "{SECRET}"; bfd on; {channel} }}',
            f"protocol bgp core{family[3]} {{ local {core} as 65002; connect delay time 1;"
            f" connect retry time 1; neighbor {far} as 65001; {channel} }}",
        ]
    return "\n".join(parts) + "\n"


@dataclass(frozen=True)
class Site:
    fleet: Fleet
    frr: routers.Router
    bird: routers.Router


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    segments = {"rack-a": 2, "rack-b": 2}
    spec = Spec("bgp", segments=segments, extra={"podnet_bgp_password": SECRET})
    fleet = Fleet(tmp_path_factory.mktemp("routers"), spec, "routers")
    for host in fleet.data["podnet"]["hosts"].values():
        rack = host["podnet_segment"]
        host["podnet_bgp_asn"] = ASN[rack]
        host["podnet_bgp_peers"] = [
            {"address": address, "asn": ROUTER[rack]} for address in routers.addresses(rack)
        ]
    fleet.write()
    with fleet, contextlib.ExitStack() as stack:
        one = stack.enter_context(routers.space(fleet, "rack-a", "tor-a"))
        two = stack.enter_context(routers.space(fleet, "rack-b", "tor-b"))
        routers.join(one, two)
        frr = stack.enter_context(routers.frr(one, of_frr(), "bfdd"))
        bird = stack.enter_context(routers.bird(two, of_bird()))
        routers.until(lambda: bird.ask("show protocols").count("Established") == 2, "the core")
        yield Site(fleet, frr, bird)


def learned(fleet: Fleet, node: str) -> dict[str, str]:
    """Destination → next hop of what BGP made in the kernel."""
    said = fleet.ssh(node, "ip -o route show proto bgp; ip -o -6 route show proto bgp")
    words = [line.split() for line in said.splitlines()]
    return {line[0]: line[line.index("via") + 1] for line in words}


def test_the_main_job(site: Site) -> None:
    fleet = site.fleet
    fleet.play("site", check=True)
    assert {r["status"] for r in fleet.results()} <= {"success", "skipped"}
    assert learned(fleet, "node-1") == {
        "10.64.2.0/24": "192.0.2.12",
        "10.64.3.0/24": "192.0.2.250",
        "10.64.4.0/24": "192.0.2.250",
        "fd00:64:0:2::/64": "2001:db8:a::12",
        "fd00:64:0:3::/64": "2001:db8:a::fa",
        "fd00:64:0:4::/64": "2001:db8:a::fa",
    }
    assert learned(fleet, "node-4")["10.64.1.0/24"] == "198.51.100.250"


def snapshot(fleet: Fleet, node: str) -> tuple[str, ...]:
    return without_timers(fleet.ssh(node, DUMP)), fleet.ssh(node, FILES)


def test_a_second_run_changes_nothing(site: Site) -> None:
    before = {n: snapshot(site.fleet, n) for n in site.fleet.nodes}
    again = site.fleet.play("converge", check=True)
    assert "0 to change" in again.stdout, again.stdout
    assert {n: snapshot(site.fleet, n) for n in site.fleet.nodes} == before


KILL = "for d in watchfrr bgpd zebra staticd; do kill -9 $(cat /run/frr/podnet/$d.pid); done"


def test_no_packet_is_lost_when_the_nodes_frr_restarts(site: Site) -> None:
    """Both routers keep the routes of a node that is merely gone for a while (RFC 4724)."""
    fleet = site.fleet
    pods = {node: pod(fleet, node, "stays") for node in ("node-1", "node-3")}
    with Meters(fleet, pods) as meters:
        for node in pods:
            fleet.ssh(node, f"{KILL}; sleep 1; podnet-node heal")
        time.sleep(12)  # neither hold time ends anything
        for node in pods:
            routers.until(lambda node=node: len(learned(fleet, node)) == 6, "all is back")
    print(meters.reading)
    assert meters.reading.hurt == []


def test_what_a_router_leaks_is_not_taken(site: Site) -> None:
    """The router did send it; one prefix that looks like a pod CIDR is taken, and named."""
    fleet, everything = site.fleet, {cidr for of in LEAKED.values() for cidr in of}
    for family, node in (("ipv4", "192.0.2.11"), ("ipv6", "2001:db8:a::11")):
        sent = site.frr.ask(f"show bgp {family} unicast neighbors {node} advertised-routes")
        assert [cidr for cidr in LEAKED[family] if f" {cidr}" not in sent] == [], sent
    for node in fleet.nodes:
        assert set(learned(fleet, node)) & everything == set()
    stray = ("router bgp 65001", "address-family ipv4 unicast", "network 10.64.77.0/24")
    site.frr.ask("configure terminal", *stray)
    routers.until(lambda: "10.64.77.0/24" in learned(fleet, "node-1"), "the stranger is learned")
    drift = fleet.play("drift")
    assert "10.64.77.0/24 is learned via 192.0.2.250, and no node" in drift.stdout, drift.stdout


WATCHED = "vtysh -N podnet -c 'show bfd peers brief' | grep -c ' up *$'"


def test_bfd_gives_up_a_lost_node_and_comes_without_loss(site: Site) -> None:
    """Each node watches its rack's router and the node beside it, in both families."""
    fleet = site.fleet
    pods = {node: pod(fleet, node, "stays") for node in ("node-1", "node-3")}
    fleet.data["podnet"]["vars"]["podnet_bgp_bfd"] = True
    fleet.write()
    with Meters(fleet, pods) as meters:
        fleet.play("converge", check=True)
        for node in fleet.nodes:
            fleet.ssh(node, f"until [ $({WATCHED}) = 4 ]; do sleep 0.2; done")
    print(meters.reading)
    assert meters.reading.hurt == []
    fleet.ssh("node-2", "ip link set eth0 down")
    begun = time.monotonic()
    routers.until(lambda: "10.64.2.0/24" not in learned(fleet, "node-1"), "node-2 is given up")
    near = time.monotonic() - begun
    routers.until(lambda: "10.64.2.0/24" not in learned(fleet, "node-3"), "node-2 is given up")
    print(f"given up after {near:.1f} s, beyond two routers {time.monotonic() - begun:.1f} s")
    assert time.monotonic() - begun < 6, "that was the hold time of 9 seconds"
