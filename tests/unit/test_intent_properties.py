# SPDX-License-Identifier: GPL-3.0-or-later
"""Reading inventories: nothing valid is refused, nothing else gets through, nothing crashes."""

from __future__ import annotations

import contextlib
import copy
import ipaddress
import json
from typing import Any

import pytest
from ansible_collections.podnet.fabric.plugins.plugin_utils.intent import checks
from ansible_collections.podnet.fabric.plugins.plugin_utils.intent.model import Fabric
from ansible_collections.podnet.fabric.plugins.plugin_utils.intent.problems import (
    ProblemsError,
    nearest,
    shown,
)
from ansible_collections.podnet.fabric.plugins.plugin_utils.intent.schema import (
    FLEET_KEYS,
    NODE_KEYS,
)
from ansible_collections.podnet.fabric.plugins.plugin_utils.plan import compile_fleet
from fleets import HOSTILE, WRONG, Hosts, as_table, hosts
from hypothesis import given, settings
from hypothesis import strategies as st

QUICK = settings(max_examples=60, deadline=None)


@QUICK
@given(hosts())
def test_valid_fleets_are_accepted_and_survive_json(fleet: Hosts) -> None:
    fabric = compile_fleet(fleet)
    assert [node.name for node in fabric.nodes] == sorted(fleet)
    assert Fabric.from_dict(json.loads(json.dumps(fabric.to_dict()))) == fabric


@QUICK
@given(hosts(), st.randoms())
def test_order_of_the_input_does_not_matter(fleet: Hosts, random: Any) -> None:
    names = list(fleet)
    random.shuffle(names)
    turned = {name: dict(reversed(fleet[name].items())) for name in names}
    assert compile_fleet(turned) == compile_fleet(fleet)


@QUICK
@given(hosts(), st.data())
def test_every_slice_of_a_node_table_is_the_whole_fleet(fleet: Hosts, data: st.DataObject) -> None:
    table = as_table(fleet)
    some = data.draw(st.lists(st.sampled_from(sorted(fleet)), min_size=1, unique=True))
    assert compile_fleet(dict.fromkeys(some, table)) == compile_fleet(fleet)


def every_place(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Paths of all values below ``value``, at any depth."""
    children: list[Any] = []
    if isinstance(value, dict):
        children = list(value.items())
    elif isinstance(value, list):
        children = list(enumerate(value))
    return [
        found
        for key, item in children
        for found in ((*path, key), *every_place(item, (*path, key)))
    ]


def replaced(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    result = copy.deepcopy(value)
    target = result
    for step in path[:-1]:
        target = target[step]
    target[path[-1]] = new
    return result


@settings(max_examples=300, deadline=None)
@given(hosts(most=3), st.data())
def test_spoilt_fleets_are_refused_in_words_or_mean_nothing_else(
    fleet: Hosts, data: st.DataObject
) -> None:
    """Any value at any depth replaced: never another exception than the list of problems, and
    hostile text is never accepted."""
    spoilt: Any = fleet if data.draw(st.booleans()) else {next(iter(fleet)): as_table(fleet)}
    places = [path for path in every_place(spoilt) if len(path) > 1]
    path = data.draw(st.sampled_from(places))
    new = data.draw(st.sampled_from((*HOSTILE, *WRONG)))
    try:
        fabric = compile_fleet(replaced(spoilt, path, new))
    except ProblemsError as error:
        assert error.problems
        for problem in error.problems:
            assert all(
                getattr(problem, part) for part in ("where", "what", "expected", "found", "remedy")
            )
            assert all(line.isprintable() for line in str(problem).split("\n"))
            assert len(str(problem).split("\n")) == 4
    else:
        assert new not in HOSTILE or fabric == compile_fleet(spoilt)


@pytest.mark.parametrize("key", [*FLEET_KEYS, *NODE_KEYS], ids=lambda key: key.name)
@pytest.mark.parametrize("value", WRONG, ids=repr)
def test_a_value_of_any_type_is_taken_or_refused_in_words(key: Any, value: Any) -> None:
    name = key.name if key.name.startswith("podnet_") else f"podnet_{key.name}"
    base = {
        "podnet_cluster_cidrs": ["10.64.0.0/16"],
        "podnet_pod_cidrs": ["10.64.1.0/24"],
        "podnet_underlay_addresses": ["192.0.2.1"],
    }
    with contextlib.suppress(ProblemsError):
        compile_fleet({"node-1": {**base, name: value}})


@pytest.mark.parametrize("value", [{}, {"a": None}, {"a": []}, {"a": 5}, {5: {}}, {"a": {5: 6}}])
def test_whatever_the_hosts_are_the_answer_is_a_list_of_problems(value: Any) -> None:
    with pytest.raises(ProblemsError):
        compile_fleet(value)


@pytest.mark.parametrize("key", [*FLEET_KEYS, *NODE_KEYS], ids=lambda key: key.name)
@pytest.mark.parametrize("text", HOSTILE)
def test_no_variable_takes_hostile_text(key: Any, text: str) -> None:
    """For every key of the schema, so that a new key cannot be forgotten here."""
    name = key.name if key.name.startswith("podnet_") else f"podnet_{key.name}"
    base = {
        "podnet_cluster_cidrs": ["10.64.0.0/16"],
        "podnet_pod_cidrs": ["10.64.1.0/24"],
        "podnet_underlay_addresses": ["192.0.2.1"],
    }
    for value in (text, [text], {text: text}):
        if key.kind == "secret" and value is text:
            continue  # may be any word, and is kept nowhere (test_bgp.py)
        with pytest.raises(ProblemsError):
            compile_fleet({"node-1": {**base, name: value}})


@pytest.mark.parametrize("text", HOSTILE)
def test_no_name_takes_hostile_text(text: str) -> None:
    node = {"pod_cidrs": ["10.64.1.0/24"], "underlay_addresses": ["192.0.2.1"]}
    shared = {"podnet_cluster_cidrs": ["10.64.0.0/16"]}
    with pytest.raises(ProblemsError):
        compile_fleet({"n": {**shared, "podnet_nodes": {text: node, "n": node}}})
    with pytest.raises(ProblemsError):
        compile_fleet({text: {**shared, **{f"podnet_{k}": v for k, v in node.items()}}})
    with pytest.raises(ProblemsError):
        compile_fleet({"n": {**shared, "podnet_nodes": {"n": {**node, text: 1}}}})


networks = st.builds(
    lambda value, length: ipaddress.ip_network((value, length), strict=False),
    st.integers(0, 2**10 - 1).map(lambda n: 0x0A400000 + n * 64),
    st.integers(20, 30),
) | st.builds(
    lambda value, length: ipaddress.ip_network((value, length), strict=False),
    st.integers(0, 2**8 - 1).map(lambda n: (0xFD000064 << 96) + (n << 64)),
    st.integers(50, 66),
)


@settings(max_examples=200, deadline=None)
@given(st.lists(networks, max_size=14))
def test_overlaps_agrees_with_comparing_every_pair(found: list[Any]) -> None:
    """Exactly the ranges that another one covers are named, each once, with a true cover."""
    ranges = [(network, f"place {i:02}", f"owner {i:02}") for i, network in enumerate(found)]
    pairs = list(checks.overlaps(ranges))
    covered = set()
    for i, (one, where, _owner) in enumerate(ranges):
        for j, (other, _where, _other_owner) in enumerate(ranges):
            if (
                i != j
                and one.version == other.version
                and one.subnet_of(other)
                and (one != other or j < i)
            ):
                covered.add(where)
    assert sorted(inner[1] for _outer, inner in pairs) == sorted(covered)
    assert all(inner[0].subnet_of(outer[0]) and outer != inner for outer, inner in pairs)


def test_overlaps_is_fast_for_a_large_fleet() -> None:
    """5000 nodes; comparing every pair would take minutes."""
    pods = [
        (ipaddress.ip_network((0x0A000000 + i * 256, 24)), f"place {i}", str(i))
        for i in range(5000)
    ]
    assert list(checks.overlaps(pods)) == []


@given(st.text(max_size=200))
def test_shown_is_one_bounded_printable_line(text: str) -> None:
    assert shown(text).isprintable() and len(shown(text)) <= 80


def test_nearest_ignores_what_all_names_share() -> None:
    names = ["podnet_vni", "podnet_group", "podnet_segment"]
    assert nearest("podnet_vnii", names) == "podnet_vni"
    assert nearest("segmnt", names) == "podnet_segment"
    assert nearest("podnet_colour", names) is None
