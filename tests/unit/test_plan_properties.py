# SPDX-License-Identifier: GPL-3.0-or-later
"""The plan of random fleets: every pair served once and rightly, whatever the order."""

from __future__ import annotations

import ipaddress
import itertools

from ansible_collections.podnet.fabric.plugins.plugin_utils.intent.model import (
    VXLAN_OVERHEAD,
    Fabric,
    link_local_of,
)
from ansible_collections.podnet.fabric.plugins.plugin_utils.kernel.objects import (
    Address,
    FdbEntry,
    Link,
    Neighbour,
    Route,
)
from ansible_collections.podnet.fabric.plugins.plugin_utils.peers import narrower
from ansible_collections.podnet.fabric.plugins.plugin_utils.plan import (
    NodePlan,
    backend_of,
    compile_fleet,
    overlay_overhead,
    plan_node,
    pod_mtu,
)
from fleets import Hosts, as_table, fabrics, hosts
from hypothesis import given, settings
from hypothesis import strategies as st

QUICK = settings(max_examples=60, deadline=None)


def of_kind(plan: NodePlan, kind: type) -> list:  # type: ignore[type-arg]
    return [item for item in plan.objects if type(item) is kind]


def expected_backend(fabric: Fabric, one: str, two: str, family: str) -> str:
    """Said once more, from the documentation and not from the code."""
    a, b = fabric.by_name[one], fabric.by_name[two]
    direct = a.segment == b.segment and family in a.underlay and family in b.underlay
    if fabric.mode == "vxlan":
        return "vxlan"
    return "host_routes" if direct else "vxlan"


@QUICK
@given(fabrics())
def test_every_ordered_pair_and_family_has_one_right_route(fabric: Fabric) -> None:
    for node in fabric.nodes:
        plan = plan_node(fabric, node.name)
        routes = {route.dst: route for route in of_kind(plan, Route)}
        assert (
            len(routes)
            == len(of_kind(plan, Route))
            == (len(fabric.nodes) - 1) * len(fabric.families)
        )
        neighbours = {n.address: n for n in of_kind(plan, Neighbour)}
        fdb = {entry.mac: entry for entry in of_kind(plan, FdbEntry)}
        assert len(neighbours) == len(of_kind(plan, Neighbour))
        assert len(fdb) == len(of_kind(plan, FdbEntry))
        overlay_peers = set()
        for peer in fabric.nodes:
            if peer is node:
                continue
            for family in fabric.families:
                route = routes[peer.cidr_by_family[family]]
                backend = expected_backend(fabric, node.name, peer.name, family)
                assert backend_of(fabric, node.name, peer.name, family) == backend
                assert route.src == node.gateways[family]
                if backend == "host_routes":
                    assert (route.via, route.dev, route.onlink) == (
                        peer.underlay[family],
                        None,
                        False,
                    )
                    continue
                overlay_peers.add(peer.vtep_mac)
                assert route.dev == fabric.vxlan_device
                assert route.onlink == (family == "ipv4")
                hop = peer.gateways["ipv4"] if family == "ipv4" else link_local_of(peer.vtep_mac)
                assert route.via == hop and neighbours[hop].mac == peer.vtep_mac
                assert fdb[peer.vtep_mac].dst == peer.underlay[fabric.underlay_family]
        assert set(fdb) == overlay_peers
        assert {n.mac for n in neighbours.values()} == overlay_peers


@QUICK
@given(fabrics())
def test_both_ways_of_a_pair_use_one_backend(fabric: Fabric) -> None:
    for one, two in itertools.combinations([node.name for node in fabric.nodes], 2):
        for family in fabric.families:
            assert backend_of(fabric, one, two, family) == backend_of(fabric, two, one, family)


@QUICK
@given(fabrics())
def test_macs_are_unique_unicast_and_local(fabric: Fabric) -> None:
    macs = [mac for node in fabric.nodes for mac in (node.vtep_mac, node.bridge_mac)]
    assert len(set(macs)) == len(macs)
    assert all(int(mac[:2], 16) & 3 == 2 for mac in macs)


@QUICK
@given(fabrics())
def test_packets_of_the_pod_mtu_fit_every_underlay(fabric: Fabric) -> None:
    smallest = min(node.underlay_mtu for node in fabric.nodes)
    entries = (entry for n in fabric.nodes for entry in plan_node(fabric, n.name).entries)
    used = any("vxlan" in names for _peer, names, _objects in entries)
    overhead = VXLAN_OVERHEAD[fabric.underlay_family] if used else 0
    assert overlay_overhead(fabric) == overhead
    assert pod_mtu(fabric) == smallest - overhead


@QUICK
@given(fabrics())
def test_direct_ipv6_routes_alone_have_the_pod_mtu(fabric: Fabric) -> None:
    """And only where an interface of the underlay would let more through."""
    largest = max(node.underlay_mtu for node in fabric.nodes)
    for node in fabric.nodes:
        for route in of_kind(plan_node(fabric, node.name), Route):
            needs = ":" in route.dst and route.dev is None and pod_mtu(fabric) < largest
            assert route.mtu == (pod_mtu(fabric) if needs else 0)


@QUICK
@given(fabrics())
def test_each_object_comes_after_what_it_needs(fabric: Fabric) -> None:
    for node in fabric.nodes:
        plan = plan_node(fabric, node.name)
        seen: set[str] = set()
        hops: set[str] = set()
        for item in plan.objects:
            if isinstance(item, Link):
                assert item.mtu == plan.pod_mtu and len(item.name) <= 15
                seen.add(item.name)
            elif isinstance(item, (Address, Neighbour, FdbEntry)):
                assert item.dev in seen
                hops.add(item.address if isinstance(item, Neighbour) else "")
            elif isinstance(item, Route) and item.dev:
                assert item.dev in seen and item.via in hops
        keys = [item.key for item in plan.objects]
        assert len(set(keys)) == len(keys)


@QUICK
@given(fabrics())
def test_gateways_are_the_first_host_addresses(fabric: Fabric) -> None:
    for node in fabric.nodes:
        cidrs = {a.cidr for a in of_kind(plan_node(fabric, node.name), Address)}
        for family, cidr in node.cidr_by_family.items():
            network = ipaddress.ip_network(cidr)
            assert node.gateways[family] == str(next(network.hosts()))
            assert f"{node.gateways[family]}/{network.prefixlen}" in cidrs


@QUICK
@given(hosts(), st.data())
def test_slices_plan_what_one_run_plans(fleet: Hosts, data: st.DataObject) -> None:
    whole = compile_fleet(fleet)
    table = as_table(fleet)
    names = data.draw(st.permutations(sorted(fleet)))
    cut = data.draw(st.integers(0, len(names)))
    for part in (names[:cut], names[cut:]):
        if part:
            sliced = compile_fleet(dict.fromkeys(part, table))
            for name in part:
                assert plan_node(sliced, name) == plan_node(whole, name)


@QUICK
@given(hosts(), st.integers(2, 5))
def test_a_peer_that_changes_moves_no_other_peer(fleet: Hosts, number: int) -> None:
    """Without the last node every other pair keeps its objects: a new node touches none."""
    if len(fleet) < number:
        return
    gone = f"node-{number}"
    fewer = {name: values for name, values in fleet.items() if name != gone}
    before, after = compile_fleet(fleet), compile_fleet(fewer)
    mtus = [(pod_mtu(f), narrower(f, pod_mtu(f))) for f in (before, after)]
    if before.underlay_family != after.underlay_family or mtus[0] != mtus[1]:
        return
    for name in fewer:
        old, new = plan_node(before, name), plan_node(after, name)
        others = [entry for entry in old.entries if entry[0].name != gone]
        assert tuple(others) == new.entries
