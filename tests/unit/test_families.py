# SPDX-License-Identifier: GPL-3.0-or-later
"""Families that a fleet gives up while pods hold addresses of them, on models of all its nodes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from ansible_collections.podnet.fabric.plugins.plugin_utils.bgp import template_values
from ansible_collections.podnet.fabric.plugins.plugin_utils.changes import PHASES, Wanted
from ansible_collections.podnet.fabric.plugins.plugin_utils.differ import diff
from ansible_collections.podnet.fabric.plugins.plugin_utils.fleet import ranges
from ansible_collections.podnet.fabric.plugins.plugin_utils.fleet.gate import companion_notes
from ansible_collections.podnet.fabric.plugins.plugin_utils.intent.model import (
    Fabric,
    Family,
    family_of,
)
from ansible_collections.podnet.fabric.plugins.plugin_utils.kernel.objects import (
    Address,
    Neighbour,
    Route,
)
from ansible_collections.podnet.fabric.plugins.plugin_utils.kernel.state import State
from ansible_collections.podnet.fabric.plugins.plugin_utils.peers import Retiring
from ansible_collections.podnet.fabric.plugins.plugin_utils.plan import (
    compile_fleet,
    plan_fleet,
    plan_node,
)
from fleets import hosts
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from kernel_model import Model, empty, is_own

THOROUGH = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
NOBODY: frozenset[str] = frozenset()
Families = tuple[str, ...]


class Fleet:
    """Models of a fleet's nodes; pods are known by the ranges that they have addresses of."""

    def __init__(self) -> None:
        self.models: dict[str, Model] = {}
        self.recorded: dict[str, tuple[str, ...]] = {}
        self.pods: dict[str, set[str]] = {}

    def states(self, names: list[str]) -> dict[str, State]:
        found = {}
        for name in names:
            pods = [c.partition("/")[0].removesuffix(".0") for c in sorted(self.pods[name])]
            addresses = tuple(f"{p}5" if ":" in p else f"{p}.5" for p in pods)
            found[name] = replace(
                self.models[name].state(self.recorded[name], {}),
                reservations=tuple((address, "c") for address in addresses),
                live=frozenset(addresses),
            )
        return found

    def retiring(self, fabric: Fabric, names: list[str]) -> Retiring:
        states = self.states(names)
        held = ranges.holders(fabric, states)
        return ranges.retiring(fabric, states, held, ranges.unasked(fabric, states, NOBODY))

    def converge(self, fabric: Fabric, names: list[str]) -> Retiring:
        """One run over some nodes; afterwards each of them has all that it shall have."""
        for name in names:
            self.models.setdefault(name, empty())
            self.recorded.setdefault(name, ())
            self.pods.setdefault(name, set())
        found, states = self.retiring(fabric, names), self.states(names)
        for plan in plan_fleet(fabric, names, found):
            name, wanted = plan.node.name, wanted_of(plan.objects)
            changes = diff(wanted, states[name])
            for phase in PHASES:
                self.models[name].carry_out(changes.phase(phase), wanted)
            self.recorded[name] = tuple(a.cidr for a in plan.objects if isinstance(a, Address))
        return found

    def differences(self, fabric: Fabric, names: list[str], found: Retiring) -> list[str]:
        """What another run would do."""
        states, lines = self.states(names), []
        for plan in plan_fleet(fabric, names, found):
            changes = diff(wanted_of(plan.objects), states[plan.node.name])
            lines += [f"{plan.node.name} {c.do}" for p in PHASES for c in changes.phase(p)]
        return lines


def wanted_of(objects: tuple[Any, ...]) -> Wanted:
    return Wanted(objects, {}, {}, "", {}, "")


def with_families(fleet: dict[str, dict[str, Any]], families: Families) -> Fabric:
    """The fleet with these families of pods alone."""
    both = ("podnet_cluster_cidrs", "podnet_pod_cidrs")
    return compile_fleet(
        {
            name: {
                key: [c for c in value if family_of(c) in families] if key in both else value
                for key, value in values.items()
            }
            for name, values in fleet.items()
        }
    )


@st.composite
def dual_fleets(draw: st.DrawFn) -> dict[str, dict[str, Any]]:
    fleet = draw(hosts())
    for values in fleet.values():
        assume(len(values["podnet_pod_cidrs"]) == 2)
    return fleet


@THOROUGH
@given(dual_fleets(), st.sampled_from(("ipv4", "ipv6")), st.data())
def test_a_family_goes_from_all_nodes_in_one_run(
    hosts_of: dict[str, dict[str, Any]], gone: Family, data: st.DataObject
) -> None:
    dual = with_families(hosts_of, ("ipv4", "ipv6"))
    single = with_families(hosts_of, ("ipv6",) if gone == "ipv4" else ("ipv4",))
    fleet, names = Fleet(), [node.name for node in dual.nodes]
    fleet.converge(dual, names)
    old = {node.name: node.cidr_by_family[gone] for node in dual.nodes}
    holders = data.draw(st.lists(st.sampled_from(names), unique=True))
    for name in holders:
        fleet.pods[name].add(old[name])
    while holders:
        found = fleet.converge(single, names)
        assert found == {name: (cidr,) for name, cidr in old.items()}
        assert not fleet.differences(single, names, found)
        assert fleet.retiring(single, names) == found
        fleet.pods[holders.pop()].clear()
    assert fleet.converge(single, names) == {}
    assert not fleet.differences(single, names, {})
    for model in fleet.models.values():
        own = {c for d, c in model.addresses if d not in ("br9", "vx9") and "fe80" not in c}
        assert gone not in set(map(family_of, own))
        assert not any(key[0] in old.values() for key in model.routes if is_own(key))


def three(*families: str) -> Fabric:
    """Each node in a segment of its own."""
    rows = {
        f"node-{i}": {
            "podnet_cluster_cidrs": ["10.64.0.0/16", "fd00:64::/48"],
            "podnet_pod_cidrs": [f"10.64.{i}.0/24", f"fd00:64:0:{i}::/64"],
            "podnet_underlay_addresses": [f"192.0.2.{i}", f"2001:db8::{i}"],
            "podnet_segment": f"rack-{i}",
        }
        for i in (1, 2, 3)
    }
    return with_families(rows, families)


@pytest.mark.parametrize("gone", ["ipv4", "ipv6"])
def test_the_way_over_vxlan_to_an_old_range_stays_while_it_does(gone: Family) -> None:
    """Node-1 has no pod of its own in that family."""
    dual, single = three("ipv4", "ipv6"), three("ipv6" if gone == "ipv4" else "ipv4")
    fleet, names = Fleet(), [node.name for node in dual.nodes]
    fleet.converge(dual, names)
    cidr = dual.by_name["node-3"].cidr_by_family[gone]
    fleet.pods["node-3"].add(cidr)
    fleet.converge(single, names)
    state = fleet.states(names)["node-1"]
    (route,) = (r for r in state.routes if isinstance(r, Route) and r.dst == cidr)
    assert Neighbour("pn64", route.via, dual.by_name["node-3"].vtep_mac) in state.neighbours
    assert route.src == dual.by_name["node-1"].gateways[gone]


def test_free_ranges_stay_while_a_node_is_away_and_go_when_it_has_none() -> None:
    dual, single = three("ipv4", "ipv6"), three("ipv6")
    fleet, names = Fleet(), ["node-1", "node-2", "node-3"]
    fleet.converge(dual, names)
    every = {f"node-{i}": (f"10.64.{i}.0/24",) for i in (1, 2, 3)}
    assert fleet.converge(single, names[:2]) == every
    found = fleet.retiring(single, names[:2])
    assert found == every and not fleet.differences(single, names[:2], found)
    assert fleet.converge(single, names) == {}
    assert not fleet.differences(single, names, {})


def test_another_range_of_a_family_that_stays_keeps_nothing_else() -> None:
    dual, fleet = three("ipv4", "ipv6"), Fleet()
    names = [node.name for node in dual.nodes]
    fleet.converge(dual, names)
    fleet.pods["node-3"].add("10.64.3.0/24")
    moved = replace(
        dual,
        nodes=tuple(
            replace(node, pod_cidrs=(f"10.64.10{i}.0/24", node.pod_cidrs[1]))
            for i, node in enumerate(dual.nodes, 1)
        ),
    )
    assert fleet.converge(moved, names) == {"node-3": ("10.64.3.0/24",)}


def test_a_node_keeps_one_range_and_none_that_another_one_has() -> None:
    single = three("ipv6")
    routes = (Route("10.64.3.0/24", "192.0.2.3", ""), Route("10.64.1.0/24", "192.0.2.1", ""))
    states = {
        "node-1": State(
            recorded_addresses=("10.64.3.1/24", "10.64.1.1/24", "10.64.101.1/24", "10.64.1.1/32"),
            routes=routes,
        ),
        "node-2": State(routes=routes),
        "node-3": State(recorded_addresses=("10.64.3.1/24",), routes=routes),
    }
    held = (ranges.Holder("node-3", "10.64.3.0/24", "10.64.3.5", "c", True),)
    found = ranges.retiring(single, states, held, {})
    assert found == {"node-1": ("10.64.1.0/24",), "node-3": ("10.64.3.0/24",)}
    (note,) = companion_notes(held, {}, found)
    assert note == "ipv4 retires as a whole: node-1 keeps a free range while others stay"
    assert not companion_notes(held, {"node-1": ("10.64.1.0/24",)}, found)


@pytest.mark.parametrize("reflector", [False, True])
def test_frr_speaks_of_a_family_as_long_as_a_range_of_it_stays(reflector: bool) -> None:
    many = tuple(f"10.64.{i}.0/24" for i in range(100, 140))
    fabric = compile_fleet(
        {
            f"node-{i}": {
                "podnet_mode": "bgp",
                "podnet_cluster_cidrs": ["fd00:64::/48"],
                "podnet_pod_cidrs": [f"fd00:64:0:{i}::/64"],
                "podnet_underlay_addresses": [f"192.0.2.{i}", f"2001:db8::{i}"],
                "podnet_bgp_reflector": reflector and i == 2,
            }
            for i in (1, 2, 3)
        }
    )
    now = template_values(fabric, plan_node(fabric, "node-1"))
    assert [family["name"] for family in now["families"]] == ["ipv6"]
    assert {group["name"].rpartition("-")[2] for group in now["groups"]} == {"ipv6"}
    left = template_values(fabric, plan_node(fabric, "node-1", {"node-3": many}))
    assert [family["name"] for family in left["families"]] == ["ipv4", "ipv6"]
    assert [item["cidr"] for item in left["families"][0]["accepted"]] == list(many)
    assert {group["name"].rpartition("-")[2] for group in left["groups"]} == {"ipv4", "ipv6"}
    # A session ends where more comes than that.
    assert not reflector or all(group["most"] >= len(many) for group in left["groups"])
