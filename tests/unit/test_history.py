# SPDX-License-Identifier: GPL-3.0-or-later
"""Generations that nodes keep → the intent to go back to."""

from __future__ import annotations

import json
from typing import Any

import pytest
from ansible_collections.podnet.fabric.plugins.plugin_utils.fleet.history import (
    PREVIOUS,
    History,
    elsewhere,
    fleet_before,
    nodes_before,
    read,
)
from ansible_collections.podnet.fabric.plugins.plugin_utils.fleet.numbers import Numbers
from ansible_collections.podnet.fabric.plugins.plugin_utils.intent.model import Fabric
from ansible_collections.podnet.fabric.plugins.plugin_utils.intent.problems import ProblemsError
from ansible_collections.podnet.fabric.plugins.plugin_utils.intent.variables import variables_of
from ansible_collections.podnet.fabric.plugins.plugin_utils.plan import compile_fleet
from fleets import fabrics
from hypothesis import given, settings


@settings(deadline=None)
@given(fabrics())
def test_a_fleet_is_what_its_variables_say(fabric: Fabric) -> None:
    hosts = {node.name: variables_of(fabric, node) for node in fabric.nodes}
    assert compile_fleet(hosts) == fabric
    assert compile_fleet(json.loads(json.dumps(hosts))) == fabric


END = "@@podnet end\n"


def intent(node: int, vni: int, third: int | None = None) -> dict[str, Any]:
    return {
        "podnet_cluster_cidrs": ["10.64.0.0/16"],
        "podnet_vni": vni,
        "podnet_pod_cidrs": [f"10.64.{third or node}.0/24"],
        "podnet_underlay_addresses": [f"192.0.2.{node}"],
    }


# node-1 had another range in generation 1; node-2 did not change between 1 and 3; node-3 is new.
ONE = History(3, {1: intent(1, 64, 101), 2: intent(1, 64), 3: intent(1, 65)})
TWO = History(3, {1: intent(2, 64), 3: intent(2, 65)})
NEW = History(3, {3: intent(3, 65)})


def test_previous_is_what_the_fleet_was_before() -> None:
    found, notes, changes = fleet_before({"node-1": ONE, "node-2": TWO}, {}, PREVIOUS)
    assert found == {"node-1": intent(1, 64), "node-2": intent(2, 64)}
    assert (notes, changes) == (["back to generation 2"], ["podnet_vni: 65 -> 64"])


def test_a_number_is_a_state_of_the_fleet() -> None:
    found = fleet_before({"node-1": ONE, "node-2": TWO}, {}, "1")
    assert found.hosts["node-1"] == intent(1, 64, 101)
    assert any("nodes.node-1.podnet_pod_cidrs" in line for line in found.changes)
    assert fleet_before({"node-1": ONE, "node-2": TWO}, {}, "3").changes == []
    assert fleet_before({"node-1": ONE, "node-2": TWO}, {}, "2").hosts["node-2"] == intent(2, 64)


def test_a_value_that_is_not_set_is_told_in_words() -> None:
    more = History(3, {2: {**intent(1, 65), "podnet_mtu": 1400}, 3: intent(1, 65)})
    assert fleet_before({"node-1": more}, {}, "2").changes == ["podnet_mtu: not set -> 1400"]
    less = History(3, {2: intent(1, 65), 3: {**intent(1, 65), "podnet_mtu": 1400}})
    assert fleet_before({"node-1": less}, {}, "2").changes == ["podnet_mtu: 1400 -> not set"]


def test_a_node_that_is_younger_stays_with_its_own_settings() -> None:
    found, notes, _changes = fleet_before({"node-1": ONE, "node-3": NEW}, {}, "2")
    assert found["node-3"] == intent(3, 64)
    assert "node-3 has no generation that old; its own settings stay" in notes


def test_a_node_that_was_not_asked_stays_with_its_own_settings() -> None:
    found, _notes, _changes = fleet_before({"node-1": ONE}, {"node-2": intent(2, 65)}, PREVIOUS)
    assert found["node-2"] == intent(2, 64)


def test_a_node_that_missed_a_generation_gets_what_all_share_from_the_others() -> None:
    """It was away in the second run, and came with the third."""
    missed = History(3, {1: intent(2, 63, 102), 3: intent(2, 65)})
    found = fleet_before({"node-2": missed, "node-1": ONE}, {}, PREVIOUS)
    assert found.hosts == {"node-1": intent(1, 64), "node-2": intent(2, 64, 102)}
    compile_fleet(found.hosts)


@pytest.mark.parametrize("to", ["0", "4", "77", "x", "²", "-1", ""])
def test_a_generation_that_nobody_keeps_is_refused(to: str) -> None:
    with pytest.raises(ProblemsError) as error:
        fleet_before({"node-1": ONE}, {}, to)
    assert "kept: 1, 2, 3; current: 3" in str(error.value)


def test_the_first_generation_has_no_previous_one() -> None:
    with pytest.raises(ProblemsError):
        fleet_before({"node-3": NEW}, {}, PREVIOUS)
    with pytest.raises(ProblemsError):
        fleet_before({}, {}, PREVIOUS)


# node-1 was there in runs of all nodes, the last time at 58. The two others were changed alone.
ALL = History(58, {57: intent(1, 64), 58: intent(1, 65)})
SIXTY = History(60, {58: intent(2, 65), 59: intent(2, 65, 102), 60: intent(2, 65)})
LATER = History(61, {58: intent(3, 65), 61: intent(3, 65, 103)})
MIXED = {"node-1": ALL, "node-2": SIXTY, "node-3": LATER}


def gave(**nodes: str) -> Numbers:
    """``g61="node-3 node-4"``: the numbers of a folder, and who was to have them."""
    given = {int(key[1:]): frozenset(names.split()) for key, names in nodes.items()}
    return Numbers(max(given), "", given)


def test_of_runs_of_some_nodes_the_last_one_is_taken_back_and_no_other() -> None:
    found = fleet_before(MIXED, {}, PREVIOUS, gave(g60="node-2", g61="node-3"))
    assert found.notes == ["back to generation 60"]
    (line,) = found.changes
    assert line.startswith("nodes.node-3.podnet_pod_cidrs: ['10.64.103.0/24']")
    # It was to have been of more nodes, one of which has not kept it.
    more = fleet_before(MIXED, {}, PREVIOUS, gave(g61="node-2 node-3"))
    assert more.changes == [line]


@pytest.mark.parametrize(
    ("histories", "given", "found"),
    [
        pytest.param(MIXED, Numbers(), "61 on node-3; node-1 has 58, node-2 has 60", id="unknown"),
        pytest.param(MIXED, gave(g60="node-2"), "61 on node-3; node-1", id="another folder's"),
        pytest.param(MIXED, gave(g61="node-1"), "61 on node-3; node-1", id="the same number"),
        pytest.param(
            {"node-1": ALL, "node-5": History(2, {1: intent(5, 65), 2: intent(5, 65, 105)})},
            gave(g2="node-5"),
            "58 on node-1; node-5 has 2",
            id="a node that was made anew and counts by itself",
        ),
    ],
)
def test_where_runs_are_in_no_order_nobody_can_tell_the_last_change(
    histories: dict[str, History], given: Numbers, found: str
) -> None:
    with pytest.raises(ProblemsError, match="which change was the last one cannot") as error:
        fleet_before(histories, {}, PREVIOUS, given)
    assert found in str(error.value) and "podnet_rollback_nodes" in str(error.value)
    assert fleet_before(histories, {}, "57", given).changes, "who names it knows"


def test_a_generation_that_every_node_has_needs_no_record() -> None:
    both = {"node-1": ALL, "node-2": History(58, {3: intent(2, 64), 58: intent(2, 65)})}
    for record in (Numbers(), gave(g60="node-3")):
        found = fleet_before(both, {}, PREVIOUS, record)
        assert found.changes == ["podnet_vni: 65 -> 64"]


def test_the_last_change_may_be_on_a_node_that_was_not_read() -> None:
    both = {"node-1": ALL, "node-2": SIXTY}
    given = gave(g60="node-2", g61="node-3")
    assert fleet_before(both, {}, PREVIOUS, given).notes, "outside --limit, by somebody's word"
    with pytest.raises(ProblemsError, match="the last change from this folder may be one") as e:
        fleet_before(both, {}, PREVIOUS, given, ["node-3"])
    assert "kept by node-3" in str(e.value)
    failed = gave(g60="node-2", g61="node-2 node-3")
    assert fleet_before(both, {}, PREVIOUS, failed, ["node-3"]).notes, "it was taken back"


def test_a_last_run_that_changed_no_settings_is_not_taken_back() -> None:
    """It brought peers forward after a run of one node; or it made a node anew."""
    one = History(61, {58: intent(1, 65), 61: intent(1, 65)})
    two = History(60, {58: intent(2, 65), 60: intent(2, 65, 102)})
    with pytest.raises(ProblemsError, match="right before generation 61, the last one") as error:
        fleet_before({"node-1": one, "node-2": two}, {}, PREVIOUS, gave(g61="node-1"))
    assert "the same at generation 60; kept and different: 58\n" in str(error.value)
    assert "-e podnet_rollback_to=58; or change the inventory" in str(error.value)
    new = {"node-1": ALL, "node-5": History(59, {59: intent(5, 65)})}
    with pytest.raises(ProblemsError, match="right before generation 59, the last one") as error:
        fleet_before(new, {}, PREVIOUS, gave(g59="node-5"))
    assert "at generation 58, and nothing of node-5; kept and different: 57" in str(error.value)
    # With podnet_generations_kept: 1 nothing is kept of the settings that node-2 had.
    kept = {"node-1": History(58, {58: intent(1, 65)}), "node-2": History(59, {59: intent(2, 65)})}
    with pytest.raises(ProblemsError, match="kept and different: none"):
        fleet_before(kept, {}, PREVIOUS, gave(g59="node-2"))


def test_one_node_goes_back_to_its_own_last_other_settings() -> None:
    both = {"node-1": ONE, "node-2": TWO}
    found, _notes, changes = nodes_before(both, {}, PREVIOUS, ["node-1"])
    assert found == {"node-1": intent(1, 65, 101), "node-2": intent(2, 65)}
    assert len(changes) == 1 and "nodes.node-1.podnet_pod_cidrs" in changes[0]
    assert nodes_before(both, {}, "1", ["node-1"]).hosts == found


@pytest.mark.parametrize(("to", "name"), [(PREVIOUS, "node-2"), ("2", "node-1"), ("1", "node-9")])
def test_one_node_without_other_settings_is_refused(to: str, name: str) -> None:
    with pytest.raises(ProblemsError) as error:
        nodes_before({"node-1": ONE, "node-2": TWO}, {}, to, [name])
    assert ("podnet_rollback_nodes: names no node" in str(error.value)) == (name == "node-9")


def test_one_node_goes_back_while_another_one_is_behind_or_not_read() -> None:
    """node-2 was away in the last run, and what is known of node-3 is of another time."""
    behind = History(2, {2: intent(2, 64)})
    found = nodes_before(
        {"node-2": behind, "node-1": ONE}, {"node-3": intent(3, 70)}, "1", ["node-1"]
    )
    assert {v["podnet_vni"] for v in found.hosts.values()} == {65}
    assert found.hosts["node-1"] == intent(1, 65, 101)
    assert [line.partition(":")[0] for line in found.changes] == ["nodes.node-1.podnet_pod_cidrs"]
    assert found.notes == ["node-1: back to its generation 1"]
    compile_fleet(found.hosts)


def test_what_nodes_print_is_read() -> None:
    manifests = {n: json.dumps({"intent": i}, indent=2) for n, i in ONE.intents.items()}
    parts = [f"@@podnet generation {n}\n{text}\n" for n, text in manifests.items()]
    output = "@@podnet current generations/3\n" + "".join(parts)
    assert read(output + END) == ONE
    assert read(END) == History()
    old = '@@podnet current generations/2\n@@podnet generation generations/2\n{"schema": 1}\n'
    assert read(f"{old}@@podnet generation ²\n@@podnet generation 3\nnot json\n{END}") == History(
        2, {}
    )


@pytest.mark.parametrize("text", ["", "@@podnet current generations/3\n", END[:-2]])
def test_half_an_answer_is_none(text: str) -> None:
    with pytest.raises(ValueError, match="no end"):
        read(text)


def test_nodes_that_have_what_another_inventory_gives_are_named() -> None:
    fabric = compile_fleet({"node-1": intent(1, 65), "node-2": intent(2, 65)})

    def manifest(number: int, **more: Any) -> str:
        whole = variables_of(fabric, fabric.by_name[f"node-{number}"])
        return json.dumps({"intent": {**whole, **more}, "retiring": ["10.64.9.0/24"]})

    same = {"node-1": manifest(1), "node-2": manifest(2)}
    assert elsewhere(fabric, same) is None
    assert elsewhere(fabric, {}) is None
    assert elsewhere(fabric, {**same, "node-2": ""}) is None, "a node that has nothing says nothing"
    assert elsewhere(fabric, {**same, "node-2": "{"}) is None
    old = elsewhere(fabric, {**same, "node-2": manifest(2, podnet_vni=64)})
    assert old is not None and old.what.endswith("was applied last to node-2")
    assert old.found == "podnet_vni: 64 -> 65"
    many = manifest(1, **{f"podnet_{letter}": 1 for letter in "abcdefghijkl"})
    cut = elsewhere(fabric, {"node-1": many})
    assert cut is not None and "and 2 more" in cut.found and "podnet_j: 1 -> not set" in cut.found
