# SPDX-License-Identifier: GPL-3.0-or-later
"""Change sets of random fleets, run on a model of a node: they end where they should, go back
to where they began, add without altering, and leave alone what is not podnet's."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ansible_collections.podnet.fabric.plugins.plugin_utils.changes import (
    PROGRAM,
    ChangeSet,
    Wanted,
)
from ansible_collections.podnet.fabric.plugins.plugin_utils.differ import diff
from ansible_collections.podnet.fabric.plugins.plugin_utils.intent.model import Fabric
from ansible_collections.podnet.fabric.plugins.plugin_utils.kernel.objects import (
    ROUTE_METRIC,
    Address,
    Link,
    Route,
)
from ansible_collections.podnet.fabric.plugins.plugin_utils.kernel.state import State
from ansible_collections.podnet.fabric.plugins.plugin_utils.plan import compile_fleet, plan_node
from fleets import hosts
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from kernel_model import Model, empty, is_own

THOROUGH = settings(max_examples=120, deadline=None, suppress_health_check=list(HealthCheck))
ALTERED = (
    lambda route: replace(route, via="192.0.2.66", src=""),
    lambda route: replace(route, mtu=1300),
)
CONFLIST = "/etc/cni/net.d/10-podnet.conflist"
UNIT, UNIT_LINK = "/etc/systemd/system/extra.timer", "/etc/systemd/wants/extra.timer"


def wanted_of(fabric: Fabric, name: str) -> Wanted:
    plan = plan_node(fabric, name)
    mark = f"{hash(plan) & 0xFFFFFFFF:x}"
    # Some fleets have a file and a link more than others: what is switched off goes.
    more = len(plan.objects) % 2
    files = {CONFLIST: ("generation/10-podnet.conflist", f"conflist {mark}", "0644")}
    links = {"/etc/systemd/wants/unit": f"unit-{len(plan.objects) % 3}"}
    return Wanted(
        objects=plan.objects,
        files=files | ({UNIT: ("files/extra.timer", f"timer {mark}", "0644")} if more else {}),
        symlinks=links | ({UNIT_LINK: UNIT} if more else {}),
        nft_sha256=f"nft {mark}",
        generation_sha256={"routes.batch": mark},
        program_sha256="program",
        owned=frozenset({CONFLIST, UNIT}),
    )


def look(model: Model, fabric: Fabric, last: Fabric | None, name: str) -> State:
    """The state as read before a converge to ``fabric``, where ``last`` is in force."""
    recorded: tuple[str, ...] = ()
    generation = {}
    if last:
        wanted = wanted_of(last, name)
        recorded = tuple(a.cidr for a in wanted.objects if isinstance(a, Address))
        generation = dict(wanted.generation_sha256)
    state = model.state(recorded, generation)
    return replace(state, files={**state.files, PROGRAM: "program"})


def apply(model: Model, changes: ChangeSet, wanted: Wanted) -> None:
    for phase in ("add", "switch", "remove"):
        model.carry_out(changes.phase(phase), wanted)


def foreign(model: Model) -> dict[str, Any]:
    """What podnet does not own."""
    strangers = ("br9", "vx9")
    return {
        "links": {n: i for n, i in model.links.items() if n in strangers},
        "neighbours": {k: v for k, v in model.neighbours.items() if k[0] in strangers},
        "fdb": {k: v for k, v in model.fdb.items() if k[0] in strangers},
        "routes": {k: v for k, v in model.routes.items() if not is_own(k)},
        "files": {k: v for k, v in model.files.items() if "foreign" in k},
    }


@st.composite
def two_fleets(draw: st.DrawFn) -> tuple[Fabric, Fabric, str]:
    """Two fleets with a common node. The bridge keeps its name: see test_core_undo."""
    first, second = draw(hosts()), draw(hosts())
    for fleet in (first, second):
        for values in fleet.values():
            values["podnet_bridge"] = "cbr0"
    names = sorted(set(first) & set(second))
    assume(names)
    return compile_fleet(first), compile_fleet(second), draw(st.sampled_from(names))


def damage(model: Model, data: st.DataObject) -> None:
    """Somebody's hand: own objects deleted or altered."""
    for table in ("neighbours", "fdb", "routes"):
        things = getattr(model, table)
        own = sorted(k for k in things if (is_own(k) if table == "routes" else k[0] != "vx9"))
        for key in data.draw(st.lists(st.sampled_from(own), unique=True)) if own else ():
            if data.draw(st.booleans()):
                del things[key]
            elif table == "routes":
                things[key] = data.draw(st.sampled_from(ALTERED))(things[key])
            else:
                things[key] = "02:66:00:00:00:00" if table == "neighbours" else "192.0.2.66"
    for name, link in model.links.items():
        if name not in ("br9", "vx9") and data.draw(st.booleans()):
            link["mtu"], link["mac"] = 1300, "02:66:00:00:00:01"
            # The undo of a removed device brings it up, whatever it was before.
            link["up"] = name != "cbr0" or data.draw(st.booleans())
    for path in data.draw(st.lists(st.sampled_from(sorted(model.sysctls)), unique=True)):
        if "9" not in path:
            model.sysctls[path] = "7"
    if data.draw(st.booleans()):
        model.nft = data.draw(st.sampled_from(("", "other")))
    if data.draw(st.booleans()):
        model.files.pop(CONFLIST, None)
    if data.draw(st.booleans()):
        name = data.draw(st.sampled_from(sorted(set(model.links) - {"br9", "vx9"})))
        model.link_del(["dev", name])


@THOROUGH
@given(two_fleets(), st.data())
def test_a_change_ends_where_it_should_and_goes_back_exactly(
    fleets: tuple[Fabric, Fabric, str], data: st.DataObject
) -> None:
    first, second, name = fleets
    model = empty()
    strangers = foreign(model)
    before_podnet = model.tables()
    start = wanted_of(first, name)
    changes = diff(start, look(model, first, None, name))
    assert changes.switch == changes.remove == ()
    apply(model, changes, start)
    assert diff(start, look(model, first, first, name)) == ChangeSet()
    if data.draw(st.booleans()):
        model.take_back(changes.add, start)
        assert model.tables() == {**before_podnet, "sysctls": model.sysctls}
        apply(model, changes, start)
    if data.draw(st.booleans()):
        damage(model, data)
    old = model.tables()
    wanted = wanted_of(second, name)
    changes = diff(wanted, look(model, second, first, name))
    for phase in ("add", "switch", "remove"):
        model.carry_out(changes.phase(phase), wanted)
        assert foreign(model) == strangers
        if phase == "add":
            unaltered(old, model)
    assert diff(wanted, look(model, second, second, name)) == ChangeSet()
    for phase in ("remove", "switch", "add"):
        model.take_back(changes.phase(phase), wanted)
    # The settings of a device that goes are not read; the undo gives it podnet's.
    gone = {f"/{n}/" for n in old["links"]} - {f"/{i.key[1]}/" for i in wanted.objects}
    now = model.tables()
    for tables in (now, old):
        tables["sysctls"] = {
            path: v for path, v in tables["sysctls"].items() if not any(n in path for n in gone)
        }
    assert now == old


def unaltered(before: dict[str, Any], model: Model) -> None:
    """Phase add: what was there is there still, with its values, but for settings (which are
    set before anything relies on them) and links that were down and are up."""
    after = model.tables()
    for table in ("neighbours", "fdb", "routes", "files", "symlinks"):
        assert before[table].items() <= after[table].items(), table
    assert before["addresses"] <= after["addresses"]
    for name, link in before["links"].items():
        assert after["links"][name] == {**link, "up": link["up"] or after["links"][name]["up"]}
    assert not before["nft"] or before["nft"] == after["nft"]


def chosen(model: Model) -> dict[str, Route]:
    """Destination → podnet's route that the kernel takes: the one with the least metric."""
    own = [route for key, route in model.routes.items() if is_own(key)]
    return {route.dst: route for route in sorted(own, key=lambda r: r.metric, reverse=True)}


@THOROUGH
@given(two_fleets())
def test_routes_of_an_earlier_release_make_way_without_a_gap(
    fleets: tuple[Fabric, Fabric, str],
) -> None:
    """All had one metric: what was taken is taken until the switch, and then the wanted one."""
    first, second, name = fleets
    model, start = empty(), wanted_of(fleets[0], name)
    apply(model, diff(start, look(model, first, None, name)), start)
    for key in [key for key in model.routes if is_own(key)]:
        route = replace(model.routes.pop(key), metric=ROUTE_METRIC)
        model.routes[route.dst, "112", str(ROUTE_METRIC)] = route
    before, old = model.tables(), chosen(model)
    wanted = wanted_of(second, name)
    planned = {item.dst: item for item in wanted.objects if isinstance(item, Route)}
    changes = diff(wanted, look(model, second, first, name))
    for phase in changes.phases:
        for change in changes.phase(phase):
            model.carry_out((change,), wanted)
            assert old.keys() & planned.keys() <= chosen(model).keys()
        if phase == "add":
            assert old.items() <= chosen(model).items()
        if phase == "switch":
            assert without_mtu(planned).items() <= without_mtu(chosen(model)).items()
    assert chosen(model) == planned
    for phase in reversed(changes.phases):
        model.take_back(changes.phase(phase), wanted)
    assert model.routes == before["routes"]


def without_mtu(routes: dict[str, Route]) -> dict[str, Route]:
    return {dst: replace(route, mtu=0) for dst, route in routes.items()}


@THOROUGH
@given(two_fleets())
def test_no_route_lets_more_through_before_every_bridge_takes_it(
    fleets: tuple[Fabric, Fabric, str],
) -> None:
    """Bridges change in the switch, one node before the other; the next phase meets them all."""
    first, second, name = fleets
    model, start = empty(), wanted_of(first, name)
    apply(model, diff(start, look(model, first, None, name)), start)
    old = plan_node(first, name).pod_mtu
    wanted = wanted_of(second, name)
    before = {route.key for route in plan_node(first, name).objects if isinstance(route, Route)}
    changes = diff(wanted, look(model, second, first, name))
    model.carry_out(changes.add, wanted)
    model.carry_out(changes.switch, wanted)
    # Where each phase is a run of its own, the next one reads anew.
    again = diff(wanted, look(model, second, first, name))
    assert again.add == again.switch == ()
    if old < plan_node(second, name).pod_mtu:
        changed = [c.do.args.split()[2] for c in changes.switch if "route replace" in c.do.args]
        for route in chosen(model).values():
            if route.key in before and route.dst in changed and ":" in route.dst and not route.dev:
                assert route.mtu == old
    model.carry_out(changes.remove, wanted)
    assert diff(wanted, look(model, second, second, name)) == ChangeSet()


def test_a_route_with_another_mtu_is_put_right_and_back() -> None:
    """With the line that was there as the undo, whoever altered it; one that lets more through only
    when every bridge takes it."""
    rows = {
        f"n{i}": {
            "podnet_cluster_cidrs": ["fd00:64::/48"],
            "podnet_pod_cidrs": [f"fd00:64:0:{i}::/64"],
            "podnet_underlay_addresses": [f"2001:db8::{i}"],
            "podnet_segment": "a" if i < 3 else "b",
        }
        for i in (1, 2, 3)
    }
    fabric = compile_fleet(rows)
    start = "route replace fd00:64:0:2::/64 via 2001:db8::2 src fd00:64:0:1::1"
    line = f"{start} proto 112 metric 112"
    for other, phase in ((0, "switch"), (1500, "switch"), (1400, "remove")):
        model, wanted = empty(), wanted_of(fabric, "n1")
        apply(model, diff(wanted, look(model, fabric, None, "n1")), wanted)
        key = ("fd00:64:0:2::/64", "112", "112")
        model.routes[key] = replace(model.routes[key], mtu=other)
        changes = diff(wanted, look(model, fabric, fabric, "n1"))
        assert changes.phases == (phase,)
        (change,) = changes.phase(phase)
        assert change.do.args == f"{line} mtu 1430"
        assert change.undo and change.undo.args == line + (f" mtu {other}" if other else "")


@THOROUGH
@given(two_fleets())
def test_every_command_has_its_reason_and_its_counterpart(
    fleets: tuple[Fabric, Fabric, str],
) -> None:
    first, second, name = fleets
    model = empty()
    apply(
        model, diff(wanted_of(first, name), look(model, first, None, name)), wanted_of(first, name)
    )
    changes = diff(wanted_of(second, name), look(model, second, first, name))
    for phase in changes.phases:
        for change in changes.phase(phase):
            assert change.why
            text = f"{change.do}{change.undo or ''}"
            assert "\n" not in text and all(33 <= ord(c) < 127 or c == " " for c in text)
    removed = [c.do.args for c in changes.remove]
    assert not any(" br9" in line or " vx9" in line for line in removed)


@THOROUGH
@given(two_fleets())
def test_only_recorded_addresses_are_removed(fleets: tuple[Fabric, Fabric, str]) -> None:
    first, second, name = fleets
    model = empty()
    apply(
        model, diff(wanted_of(first, name), look(model, first, None, name)), wanted_of(first, name)
    )
    model.addresses.add(("cbr0", "172.31.0.1/24"))
    wanted = wanted_of(second, name)
    apply(model, diff(wanted, look(model, second, first, name)), wanted)
    ours = {(a.dev, a.cidr) for a in wanted.objects if isinstance(a, Address)}
    assert model.addresses == ours | {("cbr0", "172.31.0.1/24")}


def test_a_foreign_link_with_our_name_is_never_changed() -> None:
    fabric = compile_fleet(
        {
            "n": {
                "podnet_cluster_cidrs": ["10.64.0.0/16"],
                "podnet_pod_cidrs": ["10.64.1.0/24"],
                "podnet_underlay_addresses": ["192.0.2.1"],
            }
        }
    )
    state = State(foreign_links=("cbr0",))
    changes = diff(wanted_of(fabric, "n"), state)
    first = next(c for c in changes.add if isinstance(fabric, Fabric) and c.do.tool == "ip")
    # It fails on the node, before anything else is touched; preflight says so first.
    assert first.do.args.startswith("link add name cbr0")
    assert not any(isinstance(item, Link) for item in state.links)
