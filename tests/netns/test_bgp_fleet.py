# SPDX-License-Identifier: GPL-3.0-or-later
"""Mode bgp through route reflectors: what a node that joins, changes its range, or is lost means to
the others. Three nodes, one reflector and BFD; `PODNET_FULL=1` adds twenty and two, with BFD and
without. node-2 boots systemd. `-s` shows figures.
"""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Iterator
from typing import Any

import pytest
import routers
from bootnode import Boots
from edits import pod
from fleet import SEGMENT_NETWORKS, Fleet, Spec
from meters import Meters

BOOTS = "node-2"
LISTEN = list(SEGMENT_NETWORKS["rack-a"])
# Nodes, reflectors, and whether BFD watches the sessions.
SIZES = [(3, 1, True)]
if os.environ.get("PODNET_FULL"):
    SIZES += [(20, 2, True), (20, 2, False)]
LEFT = """ls -d /etc/podnet /run/podnet/nft /usr/local/sbin/podnet-node /etc/frr/podnet \
  /etc/systemd/system/podnet-bgp.service 2>/dev/null; pgrep -l 'bgpd|zebra|watchfrr'; true"""
LEARNED = "{ ip -o route show proto bgp; ip -o -6 route show proto bgp; } | grep -c ."


@pytest.fixture(scope="module", params=SIZES, ids=str)
def fleet(request: pytest.FixtureRequest, tmp_path_factory: Any) -> Iterator[Fleet]:
    nodes, reflectors, bfd = request.param
    extra = {"podnet_bgp_listen_ranges": LISTEN, "podnet_bgp_bfd": bfd}
    spec = Spec("bgp", segments={"rack-a": nodes}, extra=extra)
    fleet = Fleet(tmp_path_factory.mktemp("fleet"), spec, f"bgp{nodes}")
    for node in fleet.nodes[:reflectors]:
        fleet.data["podnet"]["hosts"][node]["podnet_bgp_reflector"] = True
    fleet.data["podnet"]["hosts"][BOOTS]["podnet_lab_init"] = "systemd"
    fleet.write()
    with fleet:
        fleet.play("site", check=True)
        yield fleet


def all_learned(fleet: Fleet, nodes: list[str], ranges: int) -> bool:
    return all(int(fleet.ssh(node, f"{LEARNED} || true")) == ranges for node in nodes)


def changed(text: str) -> tuple[int, int]:
    """How many nodes a run read, and how many it changed something on."""
    found = re.search(r"(\d+) nodes? read, (\d+) to change", text)
    assert found, text
    return int(found[1]), int(found[2])


def test_the_fleet_is_verified_and_every_node_learns_all_ranges(fleet: Fleet) -> None:
    assert {r["status"] for r in fleet.results()} <= {"success", "skipped"}
    assert all_learned(fleet, fleet.nodes, 2 * (len(fleet.nodes) - 1))


@pytest.mark.parametrize("family", ["ipv4", "ipv6"])
def test_a_pod_opens_no_session_with_a_neighbour_of_its_node(fleet: Fleet, family: str) -> None:
    """It would come from the node's address, and be taken for the node."""
    number, word = ("4", "ip") if family == "ipv4" else ("6", "ip6")
    addresses = fleet.data["podnet"]["hosts"]["node-1"]["podnet_underlay_addresses"]
    to = next(address for address in addresses if (":" in address) == (family == "ipv6"))
    knock = f"nsenter --net=/run/podnet/netns/speaker python3 -c '{KNOCK.format(to)}'"
    pod(fleet, "node-3", "speaker")
    try:
        assert fleet.ssh("node-3", knock) == "timed out\n"
        leaves = f"nft insert rule inet podnet leaving{number} {word} daddr {to} masquerade"
        fleet.ssh("node-3", leaves)
        assert fleet.ssh("node-3", knock) == "connected\n", "or the test would show nothing"
    finally:
        fleet.ssh("node-3", "podnet-node heal")
        pod(fleet, "node-3", "speaker", state="absent")


KNOCK = """import socket
try:
    socket.create_connection(("{}", 179), 3)
    print("connected")
except OSError as error:
    print(error)"""


def test_a_node_that_joins_is_the_only_one_that_changes(fleet: Fleet) -> None:
    hosts, others = fleet.data["podnet"]["hosts"], fleet.nodes
    number = len(others) + 1
    hosts[f"node-{number}"] = {
        "podnet_segment": "rack-a",
        "podnet_pod_cidrs": [f"10.64.{number}.0/24", f"fd00:64:0:{number:x}::/64"],
        "podnet_underlay_addresses": [f"192.0.2.{10 + number}", f"2001:db8:a::{16 + number:x}"],
    }
    fleet.write()
    fleet.play("lab_up", check=True)
    before = fleet.play("status", "-e", "podnet_verify_bgp_seconds=600", check=True)
    assert "BGP" not in before.stdout, "nobody waits for what only a run will bring"
    assert changed(fleet.play("converge", check=True).stdout) == (number, 1)
    routers.until(lambda: all_learned(fleet, fleet.nodes, 2 * (number - 1)), "all learn all")


def test_a_node_with_another_range_is_the_only_one_that_changes(fleet: Fleet) -> None:
    last = fleet.nodes[-1]
    fleet.data["podnet"]["hosts"][last]["podnet_pod_cidrs"][0] = "10.64.200.0/24"
    fleet.write()
    done = fleet.play("converge", check=True)
    assert changed(done.stdout) == (len(fleet.nodes), 1), done.stdout
    first = fleet.nodes[0]
    routes = "ip route show proto bgp"
    routers.until(lambda: "10.64.200.0/24" in fleet.ssh(first, routes), "the new range is learned")
    assert f"10.64.{len(fleet.nodes)}.0/24" not in fleet.ssh(first, routes)


SOURCES = "{ ip -o route show proto bgp; ip -o -6 route show proto bgp; } | grep -o ' src [^ ]*'"


@pytest.mark.parametrize("last", [False, True], ids=["reflector", "node"])
def test_routes_follow_both_ranges_of_their_node(fleet: Fleet, last: bool) -> None:
    """Without a pod that holds the old ranges: they go in the same run, and with them the addresses
    that were the source of all that the node sends to pods."""
    node = fleet.nodes[-1 if last else 0]
    own = fleet.data["podnet"]["hosts"][node]
    kept = own["podnet_pod_cidrs"]
    number = 230 + last
    for ranges in ([f"10.64.{number}.0/24", f"fd00:64:0:{number:x}::/64"], kept):
        own["podnet_pod_cidrs"] = ranges
        fleet.write()
        fleet.play("site", check=True)
        gateways = {cidr.partition("/")[0].removesuffix("0") for cidr in ranges}
        found = {
            line.split()[1].removesuffix("1") for line in fleet.ssh(node, SOURCES).splitlines()
        }
        assert found == gateways
        assert all_learned(fleet, fleet.nodes, 2 * (len(fleet.nodes) - 1))
        fleet.play("drift", check=True)


def test_a_node_that_boots_learns_and_is_learned(fleet: Fleet) -> None:
    """systemd starts FRR after the bridge has its addresses; nobody logs in."""
    boots, ranges = Boots(fleet), 2 * (len(fleet.nodes) - 1)
    assert fleet.ssh(BOOTS, "systemctl is-active podnet-bgp.service") == "active\n"
    boots.power_cut(BOOTS)
    boots.arrived(BOOTS)
    routers.until(lambda: all_learned(fleet, [BOOTS, fleet.nodes[-1]], ranges), "all learn all")
    said = fleet.ssh(BOOTS, "systemctl is-active podnet-bgp.service; systemctl --failed --plain")
    assert said.startswith("active\n") and "0 loaded units" in said, said
    assert changed(fleet.play("converge", check=True).stdout) == (len(fleet.nodes), 0)


def test_a_node_that_is_removed_is_the_only_one_that_changes(fleet: Fleet) -> None:
    """It withdraws its ranges and leaves nothing of FRR; who listens has no peer by name."""
    *others, last = fleet.nodes
    hosts = fleet.data["podnet"]["hosts"]
    reflect = [name for name in others if hosts[name].get("podnet_bgp_reflector")]
    call = json.dumps({"podnet_remove_nodes": reflect, "podnet_yes": True})
    refused = fleet.play("remove_node", "-e", call)
    assert refused.returncode == 2 and "the last route reflector" in refused.stdout
    pods = {node: pod(fleet, node, "stays") for node in (others[0], others[-1])}
    with Meters(fleet, pods) as meters:
        words = ("-e", f"podnet_remove_nodes={last}", "-e", "podnet_yes=true")
        done = fleet.play("remove_node", *words, check=True)
    print(meters.reading)
    assert meters.reading.hurt == []
    read = re.findall(r"(\d+) nodes? read, (\d+) to change", done.stdout)
    assert read[0] == ("1", "1") and set(read[1:]) == {(str(len(others)), "0")}, done.stdout
    assert fleet.ssh(last, LEFT) == "" != fleet.ssh(others[-1], LEFT)
    routers.until(lambda: all_learned(fleet, others, 2 * len(others) - 2), f"{last} is forgotten")
    for node in pods:
        pod(fleet, node, "stays", state="absent")
    del fleet.data["podnet"]["hosts"][last]
    fleet.write()
    assert changed(fleet.play("converge", check=True).stdout) == (len(others), 0)
    assert last not in fleet.ssh(others[0], "vtysh -N podnet -c 'show running-config'")


def lose(fleet: Fleet, node: str, others: list[str]) -> float:
    """Seconds from a node's loss until none of the others has a route to it."""
    left = 2 * (len(fleet.nodes) - 2)
    fleet.ssh(node, "ip link set eth0 down")
    begun = time.monotonic()
    routers.until(lambda: all_learned(fleet, others, left), f"{node} is given up", seconds=200)
    return time.monotonic() - begun


def test_the_loss_of_a_node_is_lost_on_the_others(fleet: Fleet) -> None:
    """Removed after that, it is gone from the reflectors' peers as well, without a change there."""
    *others, last = fleet.nodes
    pods = {node: pod(fleet, node, "stays") for node in (others[0], others[-1])}
    with Meters(fleet, pods) as meters:
        seconds = lose(fleet, last, [others[0], others[-1]])
    print(f"{len(others)} others give {last} up within {seconds:.1f} s; {meters.reading}")
    assert meters.reading.hurt == []
    # Three lost packets; or the hold time, and as long again as a peer that restarts is waited for.
    assert seconds < (6 if fleet.spec.extra["podnet_bgp_bfd"] else 9 + 120 + 6)
    del fleet.data["podnet"]["hosts"][last]
    fleet.write()
    assert changed(fleet.play("converge", check=True).stdout) == (len(others), 0)
