# SPDX-License-Identifier: GPL-3.0-or-later
"""What nodes share: the same as if each had been asked by itself, and made once."""

from __future__ import annotations

import ipaddress
import itertools
import json
import shutil
from functools import partial
from pathlib import Path

import pytest
from ansible_collections.podnet.fabric.plugins.action import render as action
from ansible_collections.podnet.fabric.plugins.plugin_utils import parallel, workspace
from ansible_collections.podnet.fabric.plugins.plugin_utils.backends import Target, serving
from ansible_collections.podnet.fabric.plugins.plugin_utils.intent.checks import overlaps
from ansible_collections.podnet.fabric.plugins.plugin_utils.intent.model import (
    FAMILIES,
    Fabric,
    Node,
    family_of,
    gateway_of,
)
from ansible_collections.podnet.fabric.plugins.plugin_utils.parallel import in_parts
from ansible_collections.podnet.fabric.plugins.plugin_utils.peers import (
    Peers,
    alike_pairs,
    filled,
    kind_of,
    narrower,
    pod_mtu,
)
from ansible_collections.podnet.fabric.plugins.plugin_utils.plan import (
    compile_fleet,
    plan_fleet,
    plan_node,
)
from ansible_collections.podnet.fabric.plugins.plugin_utils.render import DEFINITIONS, render_node
from fleets import Hosts, fabrics, speakers
from hypothesis import given, settings
from hypothesis import strategies as st
from inventories import variables


def segmented(count: int) -> Hosts:
    """A fleet in four segments."""
    return {
        f"n{i:03}": {
            "podnet_cluster_cidrs": ["10.64.0.0/16"],
            "podnet_pod_cidrs": [f"10.64.{i}.0/24"],
            "podnet_underlay_addresses": [f"192.0.2.{i + 1}"],
            "podnet_segment": f"s{i % 4}",
        }
        for i in range(count)
    }


QUICK = settings(max_examples=80, deadline=None)
OLD = {"ipv4": "10.64.200.0/24", "ipv6": "fd00:64:0:200::/64"}


@QUICK
@given(st.one_of(fabrics(), speakers()), st.booleans())
def test_shared_ways_are_what_each_pair_gives_by_itself(fabric: Fabric, old: bool) -> None:
    """Asked pair by pair, with the node itself and its real source, as the backends offer it."""
    last = fabric.nodes[-1]
    retiring = {last.name: tuple(OLD[family] for family in fabric.families)} if old else {}
    plans = list(plan_fleet(fabric, [node.name for node in fabric.nodes], retiring))
    mtu = narrower(fabric, pod_mtu(fabric))
    for node, plan in zip(fabric.nodes, plans, strict=True):
        own = retiring.get(node.name, ())
        sources = {family_of(c): gateway_of(c) for c in (*own, *node.pod_cidrs)}
        expected = []
        for peer in fabric.nodes:
            objects: dict[object, None] = {}
            names = []
            for cidr in (*peer.pod_cidrs, *retiring.get(peer.name, ())):
                family = family_of(cidr)
                backend = serving(fabric, node, peer, family)
                assert backend or peer is node
                if backend and peer is not node:
                    target = Target(family, cidr, sources.get(family), mtu)
                    objects |= dict.fromkeys(backend.entries(fabric, node, peer, target))
                    names.append(backend.name)
            if peer is not node:
                expected.append((peer, tuple(dict.fromkeys(names)), tuple(objects)))
        assert plan.entries == tuple(expected)
        assert plan == plan_node(fabric, node.name, retiring)


@QUICK
@given(st.one_of(fabrics(), speakers()), st.booleans())
def test_what_is_made_of_all_ways_leaves_out_ones_own(fabric: Fabric, old: bool) -> None:
    """As if it had been gathered from the ways of each node."""
    retiring = {fabric.nodes[0].name: tuple(OLD[f] for f in fabric.families)} if old else {}
    for plan in plan_fleet(fabric, [node.name for node in fabric.nodes], retiring):
        ways = plan.ways
        assert [way.peer for way in ways] == [n for n in fabric.nodes if n is not plan.node]
        assert set(ways.backends) == {name for way in ways for name in way.backends}
        vteps = {address for way in ways for address in way.vteps}
        assert ways.vteps == sorted(vteps, key=lambda a: int(ipaddress.ip_address(a)))
        direct = {address for way in ways for address in way.direct}
        assert sorted(direct) == sorted(a for f in FAMILIES for a in ways.direct(f))
        assert all(family_of(a) == f for f in FAMILIES for a in ways.direct(f))
        assert ways.neighbours() == "".join(way.neighbours for way in ways)
        assert ways.fdb() == "".join(way.fdb for way in ways)
        assert ways.routes(plan.sources) == filled("".join(w.routes for w in ways), plan.sources)


@QUICK
@given(st.one_of(fabrics(), speakers()))
def test_alike_pairs_stand_for_all(fabric: Fabric) -> None:
    """Whatever backends decide by, a pair that is alike is asked, and few are."""

    def alike(one: Node, two: Node) -> tuple[object, ...]:
        (asn, place, reach), (their_asn, their_place, theirs) = (
            kind_of(fabric, node) for node in (one, two)
        )
        shared = (asn == their_asn, (asn, place) == (their_asn, their_place))
        return (frozenset(itertools.permutations((reach, theirs))), *shared)

    pairs = [alike(*pair) for pair in alike_pairs(fabric)]
    assert set(pairs) == {alike(*pair) for pair in itertools.combinations(fabric.nodes, 2)}
    assert len(pairs) <= 3 * 9


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 255), st.integers(4, 8)), max_size=24),
    st.lists(st.tuples(st.integers(0, 15), st.integers(1, 4)), max_size=6),
)
def test_overlaps_are_those_of_the_naive_check(
    four: list[tuple[int, int]], six: list[tuple[int, int]]
) -> None:
    """Every range that another one covers is found once, with one that covers it."""
    small = [ipaddress.ip_network((n << 24, 8 - length + 24), False) for n, length in four]
    big = [ipaddress.ip_network((n << 124, length), False) for n, length in six]
    ranges = [(net, f"place {i:02}", f"owner {i}") for i, net in enumerate([*small, *big])]
    found = list(overlaps(ranges))
    for outer, inner in found:
        assert outer != inner and inner[0].subnet_of(outer[0])  # type: ignore[arg-type]
    covered = set()
    for one, two in itertools.permutations(ranges, 2):
        # Of two that are equal the later one is the covered one.
        inside = one[0].version == two[0].version and two[0].subnet_of(one[0])  # type: ignore[arg-type]
        if inside and (one[0] != two[0] or one[1] < two[1]):
            covered.add(two)
    assert {inner for _outer, inner in found} == covered
    assert len(found) == len(covered)


def test_the_work_of_a_fleet_is_that_of_its_nodes_and_not_of_its_pairs() -> None:
    """Counted, not timed: ways that are made, and questions to backends."""
    made = {}
    for count in (20, 80):
        fabric = compile_fleet(segmented(count))
        peers = Peers(fabric)
        all_ways = [peers.of(node) for node in fabric.nodes]
        ways = {id(way) for of_node in all_ways for way in of_node}
        lists = {id(of_node.shared) for of_node in all_ways}
        made[count] = (len(ways), len(peers._names), len(lists))
    # Each peer by a route and by VXLAN, one choice per pair of segments, one list per segment.
    assert made == {20: (40, 16, 4), 80: (160, 16, 4)}


@pytest.mark.parametrize("processes", [1, 3])
def test_processes_write_what_one_node_after_the_other_gives(
    tmp_path: Path, processes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    fabric = compile_fleet(segmented(12))
    workspace.Workspace(str(tmp_path)).save_fabric(fabric)
    names = [node.name for node in fabric.nodes]
    monkeypatch.setattr(parallel.os, "sched_getaffinity", lambda _pid: set(range(processes)))

    def rendered(role: str | None, writes: bool) -> list[str]:
        work = partial(action.render_nodes, action.Task(tmp_path, role, writes, True))
        return [name for outcome in in_parts(work, names, 1) for name in outcome.changed]

    for role in (*DEFINITIONS, None):
        if role is None:
            shutil.rmtree(tmp_path / "intended")
        shown = rendered(role, writes=False)
        # A mode's own role prints nothing in another mode.
        assert shown == rendered(role, writes=True)
        assert bool(shown) == (role != "bgp")
        assert rendered(role, writes=True) == []
    made = {
        str(path.relative_to(tmp_path / "intended")): path.read_text()
        for path in (tmp_path / "intended").glob("*/*")
    }
    assert made == {
        f"{name}/{file}": text
        for name in names
        for file, text in render_node(
            fabric, plan_node(fabric, name), workspace.templates()
        ).items()
    }


def test_a_group_variable_is_read_once_and_a_template_for_each_host(tmp_path: Path) -> None:
    """A table of all nodes is as large as the fleet, and every host has it."""
    rows = {
        f"n{i}": {"pod_cidrs": [f"10.64.{i}.0/24"], "underlay_addresses": [f"192.0.2.{i}"]}
        for i in range(1, 5)
    }
    shared = {
        "podnet_cluster_cidrs": ["10.64.0.0/16"],
        "podnet_nodes": rows,
        "podnet_segment": "of-{{ inventory_hostname }}",
        "podnet_vni": "{{ 7 }}",
    }
    hosts = tmp_path / "hosts.json"
    hosts.write_text(json.dumps({"podnet": {"hosts": dict.fromkeys(rows), "vars": shared}}))
    found = variables(hosts)
    assert {name: values["podnet_segment"] for name, values in found.items()} == {
        name: f"of-{name}" for name in rows
    }
    assert [values["podnet_vni"] for values in found.values()] == [7] * 4
    assert [values["podnet_nodes"] for values in found.values()] == [rows] * 4
    assert len({id(values["podnet_nodes"]) for values in found.values()}) == 1
