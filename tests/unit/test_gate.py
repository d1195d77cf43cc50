# SPDX-License-Identifier: GPL-3.0-or-later
"""What a run decides between reading and changing: order, numbers, digests and refusals."""

from __future__ import annotations

import ipaddress
from dataclasses import replace
from typing import Any

import pytest
from ansible_collections.podnet.fabric.plugins.plugin_utils.fleet import ranges
from ansible_collections.podnet.fabric.plugins.plugin_utils.fleet.gate import Ask, decide
from ansible_collections.podnet.fabric.plugins.plugin_utils.fleet.rolling import (
    batches,
    order_problems,
)
from ansible_collections.podnet.fabric.plugins.plugin_utils.intent.model import Fabric
from ansible_collections.podnet.fabric.plugins.plugin_utils.kernel.objects import FdbEntry, Route
from ansible_collections.podnet.fabric.plugins.plugin_utils.kernel.state import State
from ansible_collections.podnet.fabric.plugins.plugin_utils.plan import compile_fleet, plan_node
from hypothesis import given, settings
from hypothesis import strategies as st

NAMES = ("node-1", "node-2", "node-3")


def made(**changes: Any) -> Fabric:
    """Two nodes in one segment, the third in another."""
    hosts = {
        f"node-{i}": {
            "podnet_cluster_cidrs": ["10.64.0.0/16"],
            "podnet_pod_cidrs": [f"10.64.{i}.0/24"],
            "podnet_underlay_addresses": [f"192.0.2.{i}"],
            "podnet_segment": "a" if i < 3 else "b",
            **changes,
        }
        for i in (1, 2, 3)
    }
    return compile_fleet(hosts)


def run_of(phases: tuple[str, ...], **more: Any) -> dict[str, Any]:
    """A run as the stage read leaves it, of a node whose change hurts nobody."""
    return {
        "phases": list(phases),
        "bare": False,
        "shown": {"add": ["add a", "add b"], "switch": ["switch"], "remove": ["remove"]},
        "interesting": False,
        "missing_plugins": [],
        "problems": [],
        "warnings": [],
        "stale": bool(phases),
        "generation": 4,
        "definitions": "d",
        "window": 0,
        **more,
    }


def runs(**more: Any) -> dict[str, dict[str, Any]]:
    return {name: run_of(("add", "switch", "remove"), **more) for name in NAMES}


# --- what a node says of itself ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("old", "peer", "believed"),
    [
        pytest.param("10.65.7", ("10.65.7.0/24",), True, id="others route it"),
        pytest.param("10.65.7", ("10.64.3.0/24",), False, id="others route something else"),
        pytest.param("10.65.7", (), True, id="others have nothing: none can be led astray"),
        pytest.param("10.64.77", ("10.64.3.0/24",), True, id="pods' addresses in any case"),
    ],
)
def test_an_old_range_elsewhere_that_nobody_else_knows_becomes_nobodys_route(
    old: str, peer: tuple[str, ...], believed: bool
) -> None:
    """A node is root on itself, and must not draw a prefix of its choice to it from all others."""
    own = State(
        recorded_addresses=(f"{old}.1/24",),
        reservations=((f"{old}.5", "c"),),
        live=frozenset({f"{old}.5"}),
    )
    routes = tuple(Route(cidr, "192.0.2.1", "10.64.2.1") for cidr in peer)
    found = ranges.holders(made(), {"node-1": own, "node-2": State(routes=routes)})
    assert [holder.cidr for holder in found] == [f"{old}.0/24"] * believed


# --- order ------------------------------------------------------------------------------------

sizes = st.one_of(st.integers(1, 9), st.integers(1, 100).map(lambda n: f"{n}%"))
hosts = st.lists(st.integers(0, 40).map(lambda n: f"n{n}"), unique=True)


@given(hosts, st.lists(st.integers(0, 40).map(lambda n: f"n{n}")), st.lists(sizes))
def test_every_node_switches_once_canaries_first(
    names: list[str], canary: list[str], serial: list[Any]
) -> None:
    found = batches(names, canary, serial)
    assert sorted(name for batch in found for name in batch) == sorted(names)
    assert all(found)
    present = [name for name in names if name in canary]
    assert not present or found[0] == present
    rest = found[1:] if present else found
    counts = [s for s in serial if isinstance(s, int)]
    if len(counts) == len(serial) and serial:
        for index, batch in enumerate(rest[:-1]):
            assert len(batch) == serial[min(index, len(serial) - 1)]


def test_sizes_are_those_of_ansible() -> None:
    names = [f"n{i}" for i in range(10)]
    assert [len(b) for b in batches(names, (), (1, "30%"))] == [1, 3, 3, 3]
    assert [len(b) for b in batches(names, (), ("5%",))] == [1] * 10
    assert [len(b) for b in batches(names, ("n3",), ("100%",))] == [1, 9]
    assert batches((), ("n1",), ("100%",)) == []


@pytest.mark.parametrize("size", [0, -1, "0%", "x", "", "1.5", None, "²"])
def test_a_size_that_is_none_is_refused(size: Any) -> None:
    (problem,) = order_problems(NAMES, (), (size,))
    assert problem.where == "podnet_serial"


def test_a_canary_that_is_no_node_is_refused() -> None:
    (problem,) = order_problems(NAMES, ("node-1", "node-9"), (1,))
    assert (problem.where, problem.found) == ("podnet_canary", "'node-9'")
    assert decide(made(), runs(), Ask(canary=("node-9",))).problems == (problem,)


# --- numbers, phases, digests -----------------------------------------------------------------


def test_all_nodes_of_a_run_get_one_number() -> None:
    found = runs()
    found["node-2"]["generation"], found["node-3"]["stale"] = 7, False
    for least, number in ((0, 8), (8, 8), (61, 61)):
        decide(made(), found, Ask(number=least))
        assert [run["number"] for run in found.values()] == [number, number, None]


def test_a_run_of_some_phases_writes_no_generation() -> None:
    found = runs()
    decide(made(), found, Ask(phases=("add",)))
    assert {tuple(run["phases"]) for run in found.values()} == {("add",)}
    assert {run["number"] for run in found.values()} == {None}
    whole = {name: run_of(("add",)) for name in NAMES}
    decide(made(), whole, Ask(phases=("add", "switch")))
    assert {run["number"] for run in whole.values()} == {5}, "it was the whole change"


def test_the_last_phase_of_a_node_brings_its_generation() -> None:
    last = {name: run_of(("remove",)) for name in NAMES}
    last["node-2"].update(bare=True, phases=["add"])
    assert not decide(made(), last, Ask(phases=("remove",))).problems
    assert [run["phases"] for run in last.values()] == [["remove"]] * 3
    assert {run["number"] for run in last.values()} == {5}, "node-2 lacks nothing but its files"
    nothing = {name: run_of(()) for name in NAMES}
    decide(made(), nothing, Ask(phases=("remove",)))
    assert {run["number"] for run in nothing.values()} == {None}


@pytest.mark.parametrize("asked", [("switch",), ("remove",), ("switch", "remove")])
def test_a_phase_before_its_turn_is_refused(asked: tuple[str, ...]) -> None:
    """One node that has not added is enough, also where it has nothing to switch itself."""
    late = {name: run_of(("switch", "remove")) for name in NAMES}
    late["node-3"] = run_of(("add",))
    problems = decide(made(), late, Ask(phases=asked)).problems
    assert (problems[0].where, problems[0].found) == (
        "podnet_phases",
        "add still to be done on node-3",
    )
    late = {name: run_of(("switch", "remove")) for name in NAMES}
    late["node-3"] = run_of(("remove",))
    if asked == ("remove",):
        (problem,) = decide(made(), late, Ask(phases=asked)).problems
        assert problem.found == "switch still to be done on node-1, node-2"
    else:
        assert not decide(made(), late, Ask(phases=asked)).problems
    later = {name: run_of(("add",)) for name in NAMES}
    assert not decide(made(), later, Ask(phases=asked)).problems, "nothing to do is no harm"


def test_a_digest_stands_for_what_is_done() -> None:
    one = decide(made(), runs(), Ask()).digest
    other = runs()
    other["node-1"]["shown"]["add"].reverse()
    assert decide(made(), other, Ask()).digest == one, "the kernel lists in any order"
    for change in (
        {"definitions": "other"},
        {"shown": {"add": ["add a"], "switch": ["switch"], "remove": ["remove"]}},
        {"phases": ["add"]},
    ):
        other = runs()
        other["node-2"].update(change)
        assert decide(made(), other, Ask()).digest != one


def test_another_plan_than_the_reviewed_one_is_refused() -> None:
    digest = decide(made(), runs(), Ask()).digest
    assert not decide(made(), runs(), Ask(digest=digest)).problems
    (problem,) = decide(made(), runs(definitions="other"), Ask(digest=digest)).problems
    assert problem.where == "podnet_plan_digest" and digest in problem.expected


# --- peers that were not reached --------------------------------------------------------------


def state_of(fabric: Fabric, name: str) -> State:
    """A node that is as the fleet wants it."""
    objects = plan_node(fabric, name).objects
    return State(
        links=plan_node(fabric, name).links,
        routes=tuple(item for item in objects if isinstance(item, Route)),
        fdb=tuple(item for item in objects if isinstance(item, FdbEntry)),
    )


# Change and the peer that is away; direct ways are between node-1 and node-2.
CUTS = {
    "another VNI": ({"podnet_vni": 65}, "node-3"),
    "another port": ({"podnet_vxlan_port": 8472}, "node-3"),
    "all by VXLAN": ({"podnet_mode": "vxlan"}, "node-2"),
}


@pytest.mark.parametrize(("change", "away"), CUTS.values(), ids=list(CUTS))
def test_a_change_of_the_way_to_a_peer_waits_for_the_peer(
    change: dict[str, Any], away: str
) -> None:
    before, after = made(), made(**change)
    asked = {name: state_of(before, name) for name in NAMES if name != away}
    (problem,) = ranges.cut_off(after, asked, frozenset(), frozenset(NAMES))
    assert problem.where == f"nodes.{away}" and "podnet_lost_nodes" in problem.remedy
    (problem,) = ranges.cut_off(after, asked, frozenset(), frozenset(asked))
    assert problem.found == "left out of this run" and "without --limit" in problem.remedy
    assert not list(ranges.cut_off(after, asked, frozenset({away}), frozenset()))
    everybody = {name: state_of(before, name) for name in NAMES}
    assert not list(ranges.cut_off(after, everybody, frozenset(), frozenset()))
    assert not list(ranges.cut_off(before, asked, frozenset(), frozenset())), "nothing changes"


def test_a_node_turns_to_bgp_and_from_it_with_all_others() -> None:
    learning = made(podnet_mode="bgp", podnet_bgp_asn=64512)
    direct = {"node-1": state_of(made(), "node-1")}
    assert {p.where for p in ranges.cut_off(learning, direct, frozenset(), frozenset())} == {
        "nodes.node-2",
        "nodes.node-3",
    }
    speaks = {"node-1": State(frr_conf="x", learned={"10.64.2.0/24": ("192.0.2.2",)})}
    assert not list(ranges.cut_off(learning, speaks, frozenset(), frozenset()))
    assert len(list(ranges.cut_off(made(), speaks, frozenset(), frozenset()))) == 2
    assert not list(ranges.cut_off(learning, {"node-1": State()}, frozenset(), frozenset())), (
        "it is new"
    )


def test_who_does_not_hear_of_a_new_range_is_named() -> None:
    fabric = made()
    known = {"node-1": State(recorded_addresses=("10.64.1.1/24",))}
    assert ranges.unknown(fabric, known, frozenset({"node-1"})) == []
    (line,) = ranges.unknown(fabric, {"node-1": State()}, frozenset({"node-1", "node-3"}))
    assert line == (
        "new pod CIDRs of node-1 are not reached from node-2 before a run in which this is, too"
    )
    everybody = {name: State() for name in NAMES}
    assert ranges.unknown(fabric, everybody, frozenset(NAMES)) == []


def test_what_is_only_added_waits_for_nobody() -> None:
    assert not list(ranges.cut_off(made(), {"node-1": State()}, frozenset(), frozenset()))
    wider = made(podnet_cluster_cidrs=["10.64.0.0/15"], podnet_mtu=1400)
    asked = {"node-1": state_of(made(), "node-1")}
    assert not list(ranges.cut_off(wider, asked, frozenset(), frozenset()))


def moved(name: str) -> Fabric:
    """The fleet, one node of which has another underlay address."""
    before = made()
    return compile_fleet(
        {
            n.name: {
                "podnet_cluster_cidrs": ["10.64.0.0/16"],
                "podnet_pod_cidrs": list(n.pod_cidrs),
                "podnet_underlay_addresses": ["192.0.2.99" if n.name == name else u],
                "podnet_segment": n.segment,
            }
            for n in before.nodes
            for u in n.underlay_addresses
        }
    )


def test_a_peer_that_moved_in_the_underlay_is_cut_off_while_it_is_away() -> None:
    asked = {name: state_of(made(), name) for name in NAMES[:2]}
    (problem,) = ranges.cut_off(moved("node-3"), asked, frozenset(), frozenset())
    assert problem.where == "nodes.node-3"


@pytest.mark.parametrize(
    ("mover", "away"), [("node-3", {"node-1", "node-2"}), ("node-1", {"node-3"})]
)
def test_peers_behind_an_overlay_are_cut_off_from_a_node_that_moves_alone(
    mover: str, away: set[str]
) -> None:
    """They take no encapsulated packets from an address that they do not know. A peer with a direct
    route keeps it, to the old address."""
    asked = {mover: state_of(made(), mover)}
    found = ranges.cut_off(moved(mover), asked, frozenset(), frozenset())
    assert {problem.where.removeprefix("nodes.") for problem in found} == away
    # A MAC is that of a name: a machine that is renamed has another one, too.
    renamed = [replace(link, mac="02:00:00:00:00:99") for link in asked[mover].links]
    other = {mover: replace(asked[mover], links=tuple(renamed))}
    assert len(list(ranges.cut_off(made(), other, frozenset(), frozenset()))) == len(away)
    # One that has no way to them yet has none that could break.
    new = {mover: replace(asked[mover], fdb=(), routes=())}
    assert not list(ranges.cut_off(moved(mover), new, frozenset(), frozenset()))


def test_an_old_range_of_a_node_that_is_not_asked_stays_until_it_is_released() -> None:
    old = made()
    moved = {
        n.name: {
            "podnet_cluster_cidrs": ["10.64.0.0/16"],
            "podnet_pod_cidrs": ["10.64.9.0/24" if n.name == "node-2" else n.pod_cidrs[0]],
            "podnet_underlay_addresses": list(n.underlay_addresses),
            "podnet_segment": n.segment,
        }
        for n in old.nodes
    }
    new, asked = compile_fleet(moved), {"node-1": state_of(old, "node-1")}
    assert ranges.unasked(new, asked, frozenset()) == {"node-2": ("10.64.2.0/24",)}
    free, problems = ranges.released(["10.64.2.0/24"])
    assert not problems and ranges.unasked(new, asked, frozenset(), free) == {}
    # And only then it may be given to somebody else.
    moved["node-3"]["podnet_pod_cidrs"] = ["10.64.2.0/24"]
    new = compile_fleet(moved)
    (problem,) = ranges.handed_over(new, asked, {}, (), frozenset())
    assert "podnet_released_cidrs" in problem.remedy
    assert "does not ask" in problem.what and problem.remedy.startswith("run it with node-2")
    called = frozenset({"node-1", "node-2"})
    (away,) = ranges.handed_over(new, asked, {}, (), frozenset(), called=called)
    assert "could not be asked" in away.what and "podnet_lost_nodes" in away.remedy
    assert not list(ranges.handed_over(new, asked, {}, (), frozenset(), free))
    learned = {"node-1": State(learned={r.dst: (r.via,) for r in asked["node-1"].routes})}
    assert list(ranges.handed_over(new, learned, {}, (), frozenset())) == [problem], "in mode bgp"


def test_a_released_range_is_a_range() -> None:
    _free, (problem,) = ranges.released(["10.64.2.7/24"])
    assert problem.where == "podnet_released_cidrs" and "host bits" in problem.what
    assert decide(made(), runs(), Ask(released=frozenset({"10.64.2.7/24"}))).problems == (problem,)


@settings(deadline=None)
@given(st.sets(st.integers(0, 31), min_size=1), st.integers(24, 32), st.integers(0, 255))
def test_every_node_that_is_given_a_part_of_a_range_is_named(
    numbers: set[int], length: int, at: int
) -> None:
    hosts = {
        f"node-{i}": {
            "podnet_cluster_cidrs": ["10.64.0.0/16"],
            "podnet_pod_cidrs": [f"10.64.0.{8 * i}/29"],
            "podnet_underlay_addresses": [f"192.0.2.{i + 1}"],
        }
        for i in numbers
    }
    fabric = compile_fleet(hosts)
    old = ipaddress.ip_network(f"10.64.0.{at}/{length}", strict=False)
    found = ranges.handed_over(fabric, {}, {"gone": (str(old),)}, (), frozenset())
    expected = [n.name for n in fabric.nodes if old.overlaps(ipaddress.ip_network(n.pod_cidrs[0]))]
    assert sorted(p.where.split(".")[1] for p in found) == sorted(expected)


def test_a_refused_range_names_the_pods_that_hold_it() -> None:
    taken = {"node-1": ("10.64.2.0/24",)}
    leaked = ranges.Holder("node-1", "10.64.2.0/24", "10.64.2.6", "gone", False)
    (problem,) = ranges.handed_over(made(), {}, taken, (leaked,), frozenset())
    assert "held by" not in problem.found
    pod = ranges.Holder("node-1", "10.64.2.0/24", "10.64.2.7", "web-0123456789abcdef", True)
    (problem,) = ranges.handed_over(made(), {}, taken, (leaked, pod), frozenset())
    assert "held by 10.64.2.7 (web-012345678)" in problem.found


@pytest.mark.parametrize(("read", "refused"), [(NAMES, False), (NAMES[:2], True)])
def test_no_node_switches_where_no_canary_can(read: tuple[str, ...], refused: bool) -> None:
    whole = {name: run for name, run in runs().items() if name in read}
    decision = decide(made(), whole, Ask(canary=("node-3",)))
    assert bool(decision.problems) == refused
    assert not refused or "none of these nodes was reached" in str(decision.problems[0])
