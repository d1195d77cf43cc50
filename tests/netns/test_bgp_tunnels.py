# SPDX-License-Identifier: GPL-3.0-or-later
"""Mode bgp across two segments whose router knows no pod CIDR: BGP says who, VXLAN carries.

rack-a has a reflector that listens on both segments' networks, rack-b has none.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator

import pytest
import routers
from edits import pod
from fleet import DUMP, FILES, SEGMENT_NETWORKS, Fleet, Spec, without_timers
from meters import Meters

SECRET = "tell-Nobody/of&this|one"
DEVICE = "pn64"
PODS = ("node-1", "node-2", "node-3")
SEGMENTS = {"rack-a": 2, "rack-b": 2}


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    listen = [cidr for cidrs in SEGMENT_NETWORKS.values() for cidr in cidrs]
    extra = {"podnet_bgp_password": SECRET, "podnet_bgp_listen_ranges": listen}
    spec = Spec("auto", segments=SEGMENTS, extra=extra)
    fleet = Fleet(tmp_path_factory.mktemp("tunnels"), spec, "tunnels")
    fleet.data["podnet"]["hosts"]["node-1"]["podnet_bgp_reflector"] = True
    fleet.write()
    with fleet:
        fleet.play("converge", check=True)
        yield fleet


def switch(fleet: Fleet, mode: str) -> None:
    fleet.data["podnet"]["vars"]["podnet_mode"] = mode
    fleet.write()


def learned(fleet: Fleet, node: str) -> dict[str, tuple[str, str]]:
    """Destination → next hop and device of what BGP made in the kernel."""
    said = fleet.ssh(node, "ip -o route show proto bgp; ip -o -6 route show proto bgp")
    words = [line.split() for line in said.splitlines()]
    return {w[0]: (w[w.index("via") + 1], w[w.index("dev") + 1]) for w in words}


def test_a_change_from_auto_loses_no_packet(fleet: Fleet) -> None:
    pods = {node: pod(fleet, node, "stays") for node in PODS}
    switch(fleet, "bgp")
    with Meters(fleet, pods) as meters:
        fleet.play("site", "-e", "podnet_verify_model=true", check=True)
    assert meters.reading.hurt == []
    assert {r["status"] for r in fleet.results()} <= {"success", "skipped"}


def test_nothing_is_found_wrong_with_it(fleet: Fleet) -> None:
    """Neither by what nodes show, nor by what their FRR says."""
    model = fleet.folder / ".podnet" / "observed" / "model.json"
    assert json.loads(model.read_text(encoding="utf-8"))["disagreements"] == []
    fleet.play("drift", check=True)


def test_near_ranges_are_learned_directly_and_far_ones_through_the_tunnel(fleet: Fleet) -> None:
    assert learned(fleet, "node-2") == {
        "10.64.1.0/24": ("192.0.2.11", "eth0"),
        "10.64.3.0/24": ("10.64.3.1", DEVICE),
        "10.64.4.0/24": ("10.64.4.1", DEVICE),
        "fd00:64:0:1::/64": ("2001:db8:a::11", "eth0"),
        "fd00:64:0:3::/64": ("fd00:64:0:3::1", DEVICE),
        "fd00:64:0:4::/64": ("fd00:64:0:4::1", DEVICE),
    }
    assert learned(fleet, "node-3")["10.64.4.0/24"] == ("198.51.100.12", "eth0")
    assert learned(fleet, "node-3")["10.64.2.0/24"] == ("10.64.2.1", DEVICE)


def snapshot(fleet: Fleet, node: str) -> tuple[str, ...]:
    return without_timers(fleet.ssh(node, DUMP)), fleet.ssh(node, FILES)


def test_a_second_run_changes_nothing(fleet: Fleet) -> None:
    before = {n: snapshot(fleet, n) for n in fleet.nodes}
    again = fleet.play("converge", check=True)
    assert "0 to change" in again.stdout, again.stdout
    assert {n: snapshot(fleet, n) for n in fleet.nodes} == before


def test_the_way_to_a_vtep_is_healed(fleet: Fleet) -> None:
    before = without_timers(fleet.ssh("node-2", DUMP))
    fleet.ssh("node-2", f"ip neigh flush dev {DEVICE} nud permanent")
    fleet.ssh("node-2", "ip route del 10.64.3.1/32; ip -6 route del fd00:64:0:4::1/128")
    assert without_timers(fleet.ssh("node-2", DUMP)) != before
    fleet.ssh("node-2", "podnet-node heal")
    routers.until(lambda: without_timers(fleet.ssh("node-2", DUMP)) == before, "all is back")


KILL = "for d in watchfrr bgpd zebra staticd; do kill -9 $(cat /run/frr/podnet/$d.pid); done"


def test_restarts_another_range_and_the_way_back_lose_no_packet(fleet: Fleet) -> None:
    """FRR of the reflector, and of a node of the segment that has none, is killed; node-3 gets
    another range, with a pod in the old one; then the fleet goes back to `auto`."""
    pods = {node: pod(fleet, node, "stays") for node in PODS}
    hosts = fleet.data["podnet"]["hosts"]
    hosts["node-3"]["podnet_pod_cidrs"] = ["10.64.103.0/24", "fd00:64:0:103::/64"]
    fleet.write()
    with Meters(fleet, pods) as meters:
        for node in ("node-1", "node-3"):
            fleet.ssh(node, f"{KILL}; sleep 1; podnet-node heal")
        time.sleep(12)  # no hold time ends anything
        for node in fleet.nodes:
            routers.until(lambda node=node: len(learned(fleet, node)) == 6, f"{node} has all")
        fleet.play("converge", check=True)
        assert learned(fleet, "node-2")["10.64.103.0/24"] == ("10.64.103.1", DEVICE)
        assert learned(fleet, "node-2")["10.64.3.0/24"] == ("10.64.3.1", DEVICE)
        assert learned(fleet, "node-4")["10.64.103.0/24"] == ("198.51.100.11", "eth0")
        switch(fleet, "auto")
        fleet.play("converge", check=True)
    print(meters.reading)
    assert meters.reading.hurt == []
    assert all(learned(fleet, node) == {} for node in fleet.nodes)
