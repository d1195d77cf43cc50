# SPDX-License-Identifier: GPL-3.0-or-later
"""Mode bgp without a node: who is concerned by what, the order of a migration, and the password."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import replace
from typing import Any

import pytest
from ansible_collections.podnet.fabric.plugins.plugin_utils import frr
from ansible_collections.podnet.fabric.plugins.plugin_utils.bgp import orphaned
from ansible_collections.podnet.fabric.plugins.plugin_utils.changes import Change, ChangeSet
from ansible_collections.podnet.fabric.plugins.plugin_utils.fleet.ranges import unasked
from ansible_collections.podnet.fabric.plugins.plugin_utils.intent.model import Fabric
from ansible_collections.podnet.fabric.plugins.plugin_utils.intent.problems import (
    Problem,
    ProblemsError,
)
from ansible_collections.podnet.fabric.plugins.plugin_utils.intent.variables import variables_of
from ansible_collections.podnet.fabric.plugins.plugin_utils.kernel.objects import (
    ROUTE_METRIC,
    YIELDING,
    Neighbour,
    Route,
)
from ansible_collections.podnet.fabric.plugins.plugin_utils.kernel.state import State
from ansible_collections.podnet.fabric.plugins.plugin_utils.plan import (
    NodePlan,
    compile_fleet,
    plan_node,
)
from ansible_collections.podnet.fabric.plugins.plugin_utils.preflight import preflight
from ansible_collections.podnet.fabric.plugins.plugin_utils.render import render_node
from ansible_collections.podnet.fabric.plugins.plugin_utils.workspace import templates

SECRET = "tell-nobody"
LISTEN = ["192.168.0.0/16"]


def made(count: int, mode: str = "bgp", reflectors: int = 0, **more: Any) -> Fabric:
    hosts = {
        f"node-{i:05}": {
            "podnet_cluster_cidrs": ["10.0.0.0/8"],
            "podnet_pod_cidrs": [f"10.{i >> 8}.{i & 255}.0/24"],
            "podnet_underlay_addresses": [f"192.168.{i >> 8}.{i & 255}"],
            "podnet_mode": mode,
            "podnet_bgp_reflector": i <= reflectors,
            **more,
        }
        for i in range(1, count + 1)
    }
    return compile_fleet(hosts)


def changed_by_one_more(count: int, asked: list[int], **more: Any) -> list[int]:
    """Which of these nodes get other definitions when the last node joins."""
    before, after, known = made(count - 1, **more), made(count, **more), templates()
    return [
        number
        for number in asked
        if render_node(before, plan_node(before, f"node-{number:05}"), known)
        != render_node(after, plan_node(after, f"node-{number:05}"), known)
    ]


@pytest.mark.parametrize("count", [10, 50])
def test_a_new_node_changes_no_other_where_reflectors_listen(count: int) -> None:
    others = list(range(1, count))
    ranges = {"podnet_bgp_listen_ranges": LISTEN}
    assert changed_by_one_more(count, others, reflectors=2, **ranges) == []
    assert changed_by_one_more(count, others, reflectors=2) == [1, 2]
    assert changed_by_one_more(count, others) == others


@pytest.mark.parametrize(
    ("count", "reflectors", "gone", "refused"),
    [
        (4, 1, {1}, [1]),
        (4, 2, {1}, []),
        (4, 2, {1, 2}, [1, 2]),
        (4, 1, {2}, []),
        (4, 1, {1, 2, 3}, []),
        (4, 0, {1}, []),
    ],
)
def test_the_last_reflector_is_not_taken_out_from_under_its_clients(
    count: int, reflectors: int, gone: set[int], refused: list[int]
) -> None:
    """Where two nodes are left that need one."""
    before = made(count, reflectors=reflectors)
    stay = tuple(n for i, n in enumerate(before.nodes, 1) if i not in gone)
    found = [problem.where for problem in orphaned(before, replace(before, nodes=stay))]
    assert found == [f"node node-{number:05}" for number in refused]


def test_ten_thousand_nodes_and_one_more() -> None:
    """The node itself is all that changes; some of the others stand for them."""
    asked = [1, 2, 3, 4999, 9999]
    ranges = {"podnet_bgp_listen_ranges": LISTEN}
    assert changed_by_one_more(10_000, asked, reflectors=2, **ranges) == []


def commands(fabric: Fabric, name: str) -> set[str]:
    return {str(line) for item in plan_node(fabric, name).objects for line in item.add()}


@pytest.mark.parametrize("count", [10, 50])
def test_commands_that_a_new_node_takes(count: int) -> None:
    """On the others and on itself, FRR's one change apart: routed, and learned."""
    ranges: dict[str, Any] = {"podnet_bgp_listen_ranges": LISTEN, "reflectors": 2}
    found = {}
    for mode in ("routed", "bgp"):
        before, after = made(count - 1, mode, **ranges), made(count, mode, **ranges)
        names = [node.name for node in before.nodes]
        others = sum(len(commands(after, name) - commands(before, name)) for name in names)
        found[mode] = (others, len(commands(after, after.nodes[-1].name)))
    assert found == {"routed": (count - 1, 8 + count - 1), "bgp": (0, 8)}


# --- several segments whose routers know no pod CIDR -------------------------------------------


def racks(ranges: list[str], far: int = 2) -> Fabric:
    """Two nodes of rack a, of which the first reflects, and some of rack b, where none does."""
    hosts = {}
    for rack, numbers in (("a", (1, 2)), ("b", range(3, 3 + far))):
        for number in numbers:
            hosts[f"node-{number}"] = {
                "podnet_cluster_cidrs": ["10.64.0.0/16"],
                "podnet_pod_cidrs": [f"10.64.{number}.0/24"],
                "podnet_underlay_addresses": [f"192.168.{ord(rack) - 96}.{number}"],
                "podnet_segment": rack,
                "podnet_mode": "bgp",
                "podnet_bgp_reflector": number == 1,
                "podnet_bgp_listen_ranges": ranges,
            }
    return compile_fleet(hosts)


def tunnels(fabric: Fabric, name: str) -> tuple[list[str], list[str]]:
    """Addresses and networks of a node's sessions with other segments, as frr.conf has them."""
    text = render_node(fabric, plan_node(fabric, name), templates())["frr.conf"]
    named = re.findall(r" neighbor (\S+) peer-group podnet-tunnels-ipv4\n", text)
    listened = re.findall(r" bgp listen range (\S+) peer-group podnet-tunnels-ipv4\n", text)
    return named, listened


def test_a_segment_listens_by_its_reflectors_or_by_all_its_nodes() -> None:
    fabric = racks(["192.168.1.0/24", "192.168.2.0/24"])
    assert tunnels(fabric, "node-1") == ([], ["192.168.2.0/24"])
    assert tunnels(fabric, "node-2") == (["192.168.2.3", "192.168.2.4"], [])
    for name in ("node-3", "node-4"):
        assert tunnels(fabric, name) == (["192.168.1.1", "192.168.1.2"], [])


def test_a_network_that_holds_both_kinds_of_peer_is_not_listened_in() -> None:
    fabric = racks(["192.168.0.0/16"])
    assert tunnels(fabric, "node-1") == (["192.168.2.3", "192.168.2.4"], [])
    text = render_node(fabric, plan_node(fabric, "node-1"), templates())["frr.conf"]
    assert "listen range" not in text
    assert " neighbor 192.168.1.2 peer-group podnet-clients-ipv4\n" in text


def test_sessions_to_other_segments_resolve_over_the_default_route() -> None:
    """Nodes of another segment are behind it, where FRR by itself takes no next hop."""
    said = re.compile(r"^(?:ip|ipv6) nht resolve-via-default$", re.MULTILINE)
    for fabric, times in ((racks([]), 2), (made(3), 0)):
        for node in fabric.nodes:
            plan = plan_node(fabric, node.name)
            assert len(said.findall(render_node(fabric, plan, templates())["frr.conf"])) == times


def test_one_more_node_of_another_segment_is_a_way_to_a_vtep_and_no_session() -> None:
    before, after = (racks(["192.168.1.0/24", "192.168.2.0/24"], far) for far in (2, 3))
    old, new = (render_node(f, plan_node(f, "node-1"), templates()) for f in (before, after))
    assert {name for name in new if new[name] != old[name]} == {
        *("fdb.batch", "vxlan.batch", "routes.batch", "podnet.nft", "manifest.json"),
    }


def test_a_silent_nodes_old_range_stays_learned() -> None:
    """Known by the next hop that the others have learned, and the VTEP behind it."""
    fabric = racks([])
    have = State(
        learned={"10.64.103.0/24": ("10.64.103.1",), "10.64.3.0/24": ("10.64.3.1",)},
        neighbours=(Neighbour("pn64", "10.64.103.1", fabric.by_name["node-3"].vtep_mac),),
    )
    assert unasked(fabric, {"node-1": have}, frozenset()) == {"node-3": ("10.64.103.0/24",)}
    assert unasked(fabric, {"node-1": have, "node-3": State()}, frozenset()) == {}


# --- a migration ------------------------------------------------------------------------------


def pushed() -> tuple[NodePlan, tuple[Route, ...]]:
    """A node of a routed fleet of three, and its routes."""
    plan = plan_node(made(3, "routed"), "node-00001")
    return plan, tuple(item for item in plan.objects if isinstance(item, Route))


def lines(changes: tuple[Change, ...]) -> list[str]:
    return [str(change.do) for change in changes]


def test_routes_make_way_only_when_all_is_learned() -> None:
    plan = plan_node(made(3), "node-00001")
    _old, routes = pushed()
    # One of them with the metric that all had in earlier releases.
    routes = (replace(routes[0], metric=ROUTE_METRIC), *routes[1:])
    going = tuple(Change(r.delete()[0], r.add()[0], "") for r in routes)
    have = State(frr=frozenset({"installed"}), routes=routes)
    found = frr.with_frr(ChangeSet(remove=going), frr.Speaker("conf", plan), have)
    assert lines(found.add) == ["bgp apply"]
    soft = [replace(route, metric=route.metric | YIELDING) for route in routes]
    swaps = [
        str(command)
        for hard, yielding in zip(routes, soft, strict=True)
        for command in (yielding.add()[0], hard.delete()[0])
    ]
    assert lines(found.switch) == ["bgp learned", *swaps, "bgp installed"]
    assert lines(found.remove) == [str(route.delete()[0]) for route in soft]
    assert set(frr.staged(frr.Speaker("conf", plan), have)["files/relied"].split()) == {
        route.dst for route in routes
    }


def test_routes_take_over_before_frr_goes() -> None:
    plan, routes = pushed()
    coming = tuple(Change(r.add()[0], r.delete()[0], "") for r in routes)
    learned = {route.dst: (route.via,) for route in routes}
    have = State(frr=frozenset({"installed", frr.RUNS}), frr_conf="x", learned=learned)
    found = frr.with_frr(ChangeSet(add=coming), frr.Speaker("", plan), have)
    soft = [replace(route, metric=route.metric | YIELDING) for route in routes]
    assert lines(found.add) == [str(route.add()[0]) for route in soft]
    assert len(found.add) == len(routes)
    assert lines(found.switch) == [
        str(command)
        for hard, yielding in zip(routes, soft, strict=True)
        for command in (hard.add()[0], yielding.delete()[0])
    ]
    assert lines(found.remove) == ["bgp stop"]
    # Each line's undo is its counterpart: backwards there is a route at every step, too.
    assert [str(c.undo) for c in found.switch[:2]] == [
        str(routes[0].delete()[0]),
        str(soft[0].add()[0]),
    ]


def test_routes_that_an_earlier_run_added_are_not_added_again() -> None:
    """Phases that are run one by one: the route beside the learned one is there by now."""
    plan, routes = pushed()
    coming = tuple(Change(r.add()[0], r.delete()[0], "") for r in routes)
    learned = {route.dst: (route.via,) for route in plan_node(made(3), "node-00001").learned}
    soft = tuple(replace(route, metric=route.metric | YIELDING) for route in routes)
    running = frozenset({"installed", frr.RUNS})
    have = State(frr=running, frr_conf="x", learned=learned, routes=soft)
    found = frr.with_frr(ChangeSet(add=coming), frr.Speaker("", plan), have)
    assert found.add == ()
    assert len(found.switch) == 2 * len(routes)


def settled(plan: NodePlan, **more: Any) -> tuple[frr.Speaker, State]:
    speaker = frr.Speaker("conf", plan)
    sha = hashlib.sha256(b"conf").hexdigest()
    learned = {route.dst: (route.via,) for route in plan.learned} | more
    running = frozenset({"installed", frr.RUNS})
    return speaker, State(frr=running, frr_conf=sha, learned=learned)


def test_nothing_to_do_when_frr_is_as_planned() -> None:
    speaker, have = settled(plan_node(made(3), "node-00001"))
    assert frr.with_frr(ChangeSet(), speaker, have) == ChangeSet()
    assert list(frr.warnings(speaker, have)) == []


RUNNING = """Building configuration...

Current configuration:
!
frr version 8.4.4
router bgp 64512
 neighbor group password @podnet_bgp_password@
 address-family ipv4 unicast
  network 10.0.1.0/24
 exit-address-family
end
"""


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("  network 10.0.1.0/24\n", ""),
        ("10.0.1.0/24", "10.0.9.0/24"),
        ("@podnet_bgp_password@", "@other@"),
        (" neighbor", " neighbor 192.168.0.9 remote-as 64999\n neighbor"),
    ],
)
def test_what_was_changed_in_the_running_frr_is_put_back(old: str, new: str) -> None:
    plan = plan_node(made(3), "node-00001")
    conf = RUNNING[RUNNING.index("router") :]
    speaker = frr.Speaker(conf, plan)
    have = replace(settled(plan)[1], frr_conf=hashlib.sha256(conf.encode()).hexdigest())
    assert frr.with_frr(ChangeSet(), speaker, replace(have, frr_running=RUNNING)) == ChangeSet()
    changed = replace(have, frr_running=RUNNING.replace(old, new))
    found = frr.with_frr(ChangeSet(), speaker, changed)
    assert found.add == (frr.RELOAD,)
    assert lines(found.switch) == ["bgp learned"]
    # vtysh that was cut short, or a daemon that is away, says nothing about it.
    for text in ("", changed.frr_running.replace("end\n", "")):
        assert frr.with_frr(ChangeSet(), speaker, replace(have, frr_running=text)) == ChangeSet()


def test_what_is_not_learned_as_planned_is_said() -> None:
    plan = plan_node(made(3), "node-00001")
    halved = ("192.168.0.2", "192.168.0.3")
    speaker, have = settled(plan, **{"10.9.0.0/24": ("192.168.0.9",), "10.0.2.0/24": halved})
    have = replace(have, learned={k: v for k, v in have.learned.items() if k != "10.0.3.0/24"})
    assert list(frr.warnings(speaker, have)) == [
        "10.0.2.0/24 of node-00002 is learned via 192.168.0.2 and 192.168.0.3, not via 192.168.0.2",
        "10.0.3.0/24 of node-00003 is not learned",
        "10.9.0.0/24 is learned via 192.168.0.9, and no node of the fleet has it",
    ]


@pytest.mark.parametrize(
    ("found", "word"), [((), "FRR is missing"), (("installed", "zebra"), "the host's own FRR")]
)
def test_a_node_that_cannot_take_podnets_frr_is_refused(found: tuple[str, ...], word: str) -> None:
    fabric = made(2)
    plan = plan_node(fabric, "node-00001")
    problems = preflight(fabric, plan, State(frr=frozenset(found)))
    assert [p for p in problems if word in p.what]
    routed = made(2, "routed")
    others = preflight(routed, plan_node(routed, "node-00001"), State(frr=frozenset(found)))
    assert not [p for p in others if "FRR" in p.what]


def test_bfd_needs_its_daemon_and_watches_every_session() -> None:
    fabric = made(3, reflectors=1, podnet_bgp_bfd=True)
    plan = plan_node(fabric, "node-00001")
    (problem,) = preflight_of_frr(fabric, plan, "installed")
    assert "BFD is missing" in problem.what
    assert preflight_of_frr(fabric, plan, "installed", "bfdd") == []
    text = render_node(fabric, plan, templates())["frr.conf"]
    groups = re.findall(r"^ neighbor (\S+) peer-group$", text, re.MULTILINE)
    assert groups and [g for g in groups if f" neighbor {g} bfd\n" not in text] == []
    assert (
        " bfd"
        not in render_node(made(3), plan_node(made(3), "node-00001"), templates())["frr.conf"]
    )


def preflight_of_frr(fabric: Fabric, plan: NodePlan, *found: str) -> list[Problem]:
    problems = preflight(fabric, plan, State(frr=frozenset(found)))
    return [problem for problem in problems if "FRR" in problem.what]


# --- the password -----------------------------------------------------------------------------


def test_the_password_is_in_nothing_that_is_kept() -> None:
    fabric = made(3, reflectors=1, podnet_bgp_password=SECRET)
    plan = plan_node(fabric, "node-00001")
    files = render_node(fabric, plan, templates())
    staged = frr.staged(frr.Speaker(files["frr.conf"], plan), State())
    kept = json.dumps([fabric.to_dict(), files, staged])
    assert SECRET not in kept
    assert frr.with_password(fabric, staged["files/password"], SECRET) == f"{SECRET}\n"
    # What a generation remembers is read back to the same fleet.
    again = compile_fleet({n.name: variables_of(fabric, n) for n in fabric.nodes})
    assert again == fabric


@pytest.mark.parametrize("found", ["", "another"])
def test_another_password_than_the_planned_one_is_refused(found: str) -> None:
    fabric = made(2, podnet_bgp_password=SECRET)
    with pytest.raises(ValueError, match="not the one of the plan") as refused:
        frr.with_password(fabric, frr.SENT, found)
    assert SECRET not in str(refused.value)


def test_a_password_that_differs_between_nodes_is_not_shown() -> None:
    hosts = {
        f"node-{i}": {
            "podnet_cluster_cidrs": ["10.64.0.0/16"],
            "podnet_pod_cidrs": [f"10.64.{i}.0/24"],
            "podnet_underlay_addresses": [f"192.0.2.{i}"],
            "podnet_bgp_password": SECRET * i,
        }
        for i in (1, 2)
    }
    with pytest.raises(ProblemsError) as refused:
        compile_fleet(hosts)
    assert "differs between nodes" in refused.value.text()
    assert SECRET not in refused.value.text()
