# SPDX-License-Identifier: GPL-3.0-or-later
"""Ranges for nodes that have none: never two of a kind, never moved, the same in any order."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from typing import Any

import pytest
from ansible_collections.podnet.fabric.plugins.plugin_utils.intent import allocate as room
from ansible_collections.podnet.fabric.plugins.plugin_utils.intent.astray import outside
from ansible_collections.podnet.fabric.plugins.plugin_utils.intent.model import Fabric
from ansible_collections.podnet.fabric.plugins.plugin_utils.intent.parse import parse_fabric
from ansible_collections.podnet.fabric.plugins.plugin_utils.intent.problems import ProblemsError
from ansible_collections.podnet.fabric.plugins.plugin_utils.intent.readers import NAME
from ansible_collections.podnet.fabric.plugins.plugin_utils.plan import compile_fleet
from hypothesis import given, settings
from hypothesis import strategies as st

QUICK = settings(max_examples=100, deadline=None)
POOLS = ["10.65.0.0/22", "10.64.0.0/18", "fd00:64::/56"]
LENGTHS: dict[Any, int] = {"ipv4": 24, "ipv6": 64}
NETWORKS = st.one_of(
    st.builds(lambda n, length: cidr((10 << 24) + (64 << 16) + n * 16, length, 32),
              st.integers(0, 8191), st.integers(22, 32)),
    st.builds(lambda n, length: cidr((0xFD000064 << 96) + (n << 62), length, 128),
              st.integers(0, 1023), st.integers(61, 66)),
)  # fmt: skip
NAMES = st.lists(
    st.sampled_from([f"{kind}-{n}" for kind in ("worker", "w", "Node.a") for n in range(8)]),
    min_size=1,
    max_size=10,
    unique=True,
)


def cidr(first: int, length: int, bits: int) -> str:
    whole = first >> (bits - length) << (bits - length)
    network: Any = ipaddress.IPv4Network if bits == 32 else ipaddress.IPv6Network
    return str(network((whole, length)))


def fleet(names: Iterable[str], own: dict[str, list[str]] | None = None) -> dict[str, Any]:
    return {
        name: {
            "podnet_cluster_cidrs": POOLS,
            "podnet_underlay_addresses": [f"192.0.2.{number}"],
            **({"podnet_pod_cidrs": own[name]} if own and name in own else {}),
        }
        for number, name in enumerate(sorted(names), 1)
    }


def read(hosts: dict[str, Any], memory: room.Ranges | None = None) -> Fabric:
    plain = {name: list(cidrs) for name, cidrs in (memory or {}).items()}
    return parse_fabric({h: {**v, room.VARIABLE: plain} for h, v in hosts.items()})[0]


def run(hosts: dict[str, Any], memory: room.Ranges, taken: Iterable[str] = ()) -> room.Ranges:
    """One run of the playbook: the file before → the file after."""
    kept = [cidr for cidrs in memory.values() for cidr in cidrs]
    new = room.allocate(read(hosts, memory), LENGTHS, [*taken, *kept])
    return room.merged(memory, new)


def networks(cidrs: Iterable[str]) -> list[Any]:
    return [ipaddress.ip_network(one) for one in cidrs]


def meet(one: Any, two: Any) -> bool:
    return one.version == two.version and one.overlaps(two)


@QUICK
@given(NAMES, st.lists(NETWORKS, max_size=12))
def test_what_is_given_is_whole_inside_and_nobody_elses(names: list[str], taken: list[str]) -> None:
    found = run(fleet(names), {}, taken)
    given = [n for cidrs in found.values() for n in networks(cidrs)]
    assert sorted(found) == sorted(names)
    for cidrs in found.values():
        assert [n.version for n in networks(cidrs)] == [4, 6]
    for index, one in enumerate(given):
        assert one.prefixlen == (24 if one.version == 4 else 64)
        assert sum(meet(one, pool) for pool in networks(POOLS)) == 1
        assert any(one.version == p.version and one.subnet_of(p) for p in networks(POOLS))
        assert not [other for other in given[:index] if meet(one, other)]
        assert not [other for other in networks(taken) if meet(one, other)]


@QUICK
@given(NAMES, st.lists(NETWORKS, max_size=6), st.randoms())
def test_the_order_of_nodes_and_of_what_is_taken_does_not_matter(
    names: list[str], taken: list[str], random: Any
) -> None:
    turned, other = list(names), list(taken)
    random.shuffle(turned)
    random.shuffle(other)
    hosts = fleet(names)
    again = run({name: hosts[name] for name in turned}, {}, other)
    assert room.as_text(again) == room.as_text(run(hosts, {}, taken))


@QUICK
@given(st.lists(NAMES, min_size=1, max_size=5), st.lists(NETWORKS, max_size=6))
def test_nothing_that_was_given_moves_or_changes_hands(
    steps: list[list[str]], taken: list[str]
) -> None:
    """Nodes come, go and come back; ranges are reserved from the second run on."""
    memory: room.Ranges = {}
    for number, names in enumerate(steps):
        after = run(fleet(names), memory, taken if number else ())
        assert {name: after[name] for name in memory} == memory
        assert run(fleet(names), after, taken) == after
        given = [cidr for cidrs in after.values() for cidr in cidrs]
        assert len(given) == len(set(given))
        compile_fleet({h: {**v, room.VARIABLE: _lists(after)} for h, v in fleet(names).items()})
        memory = after


def _lists(ranges: room.Ranges) -> dict[str, list[str]]:
    return {name: list(cidrs) for name, cidrs in ranges.items()}


@QUICK
@given(st.integers(0, 128), st.lists(NETWORKS, max_size=8))
def test_every_free_range_is_found(skipped: int, taken: list[str]) -> None:
    """As many as a look at each piece of the pool finds, in the same order."""
    for pool, length in (("10.64.0.0/20", 24), ("fd00:64::/56", 64)):
        pieces = ipaddress.ip_network(pool).subnets(new_prefix=length)
        busy = networks(taken)
        expected = [str(p) for p in pieces if not any(meet(p, other) for other in busy)]
        mine = [cidr for cidr in taken if (":" in cidr) == (":" in pool)]
        assert list(room.free_ranges([pool], length, mine))[skipped:] == expected[skipped:]


def test_ranges_of_an_earlier_plan_are_given_back_where_they_are_nobodys() -> None:
    last = {
        "w-1": ("10.64.1.0/24", "fd00:64::/64"),
        "w-2": ("10.64.2.0/24",),  # inside what is reserved
        "w-3": ("10.99.3.0/24", "fd00:64:0:3::/64"),  # not the cluster's any more
        "w-4": ("10.64.4.0/24",),  # has another one now
        "w-5": ("10.64.5.0/24",),  # which w-4 has
        "gone": ("10.64.6.0/24",),
    }
    own = {"w-4": ["10.64.5.0/24", "fd00:64:0:5::/64"]}
    fabric, _problems = parse_fabric(fleet([f"w-{n}" for n in range(1, 6)], own))
    for taken in (["10.64.2.128/25"], ["10.64.2.0/23", "10.64.2.4/32", "10.64.2.9/32"]):
        assert room.given_back(fabric, last, taken) == {"w-1": last["w-1"]}
    assert set(room.given_back(fabric, last, [])) == {"w-1", "w-2"}


def test_worker_2_comes_before_worker_10_and_the_first_free_range_first() -> None:
    found = run(fleet(["worker-10", "worker-2", "b"], {"b": ["10.65.1.0/24"]}), {})
    assert found == {
        "b": ("fd00:64::/64",),
        "worker-2": ("10.65.0.0/24", "fd00:64:0:1::/64"),
        "worker-10": ("10.65.2.0/24", "fd00:64:0:2::/64"),
    }


def test_a_family_that_comes_later_is_added_and_the_other_one_stays() -> None:
    memory: room.Ranges = {"a": ("10.64.7.0/24",)}
    assert run(fleet(["a"]), memory) == {"a": ("10.64.7.0/24", "fd00:64::/64")}


def test_a_full_pool_is_one_problem_for_each_family_and_gives_nothing() -> None:
    hosts = fleet([f"n{i}" for i in range(75)])
    with pytest.raises(ProblemsError) as caught:
        room.allocate(read(hosts), {"ipv4": 24, "ipv6": 56}, ["fd00:64::1/128"])
    text = str(caught.value)
    assert text.startswith("2 problems in the inventory")
    for words in (
        "68 in 10.65.0.0/22, 10.64.0.0/18; none for n68, n69",
        "and 2 more",
        "0 in fd00",
    ):
        assert words in text


@pytest.mark.parametrize(
    ("declared", "found"),
    [
        ({}, {"ipv4": 24, "ipv6": 64}),
        ({"podnet_node_prefix_lengths": {"ipv4": 26}}, {"ipv4": 26, "ipv6": 64}),
        ({"podnet_node_prefix_lengths": {"ipv4": "many"}}, {"ipv4": 24, "ipv6": 64}),
    ],
)
def test_lengths_are_the_fleets_or_the_usual_ones(declared: Any, found: Any) -> None:
    assert room.lengths_of({"a": {}, "b": declared}) == found


@QUICK
@given(st.dictionaries(st.from_regex(NAME, fullmatch=True), st.lists(NETWORKS, max_size=2)))
def test_the_file_gives_back_what_was_written(ranges: dict[str, list[str]]) -> None:
    whole = {name: tuple(cidrs) for name, cidrs in ranges.items()}
    assert room.read_file(room.as_text(whole), "f") == whole


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("podnet_allocated: [", "not YAML"),
        ("- a\n", "not only allocated ranges"),
        ("podnet_allocated: {}\npodnet_vni: 7\n", "move the other variables"),
        ("podnet_allocated: [a]\n", "a mapping from node name to its ranges"),
        ("podnet_allocated: {a: [10.64.1.1/24]}\n", "host bits"),
    ],
)
def test_a_file_that_is_something_else_is_refused(text: str, words: str) -> None:
    with pytest.raises(ProblemsError, match=words):
        room.read_file(text, "podnet_allocated.yml")


ENTRY = '  "a": ["10.64.0.0/24"]\n'
OTHER = '  "b": ["10.64.1.0/24"]\n'
TWICE = {
    "the whole block": (
        room.as_text({"a": ("10.64.0.0/24",)}) + f"{room.VARIABLE}:\n{OTHER}",
        ("f, line 7: ", "'podnet_allocated' in lines 5 and 7"),
    ),
    "a node": (room.HEAD + "\n" + ENTRY + OTHER + ENTRY, ("f, line 8: ", "'a' in lines 6 and 8")),
    "a node thrice": (
        room.HEAD + "\n" + ENTRY * 3 + OTHER,
        ("f, line 7: ", "'a' in lines 6, 7 and 8"),
    ),
    "a name with and without quotes": (
        f'{room.VARIABLE}:\n  7: []\n  "7": ["10.64.0.0/24"]\n',
        ("f, line 3: ", "'7' in lines 2 and 3"),
    ),
    "many": (
        f"{room.VARIABLE}:\n" + "".join(f"  n{i}: []\n" for i in range(9)) * 2,
        ("f, line 11: ", "'n0' in lines 2 and 11; 'n1' in lines 3 and 12", "; and 6 more keys"),
    ),
    "a node in the block that is not the last": (
        f"{room.VARIABLE}:\n{ENTRY * 2}{room.VARIABLE}: {{}}\n",
        ("f, line 3: ", "'a' in lines 2 and 3; 'podnet_allocated' in lines 1 and 4"),
    ),
}


@pytest.mark.parametrize("case", TWICE)
def test_a_key_that_is_there_twice_is_refused_once(case: str) -> None:
    """YAML takes the last one, and what the others keep would be somebody else's."""
    text, words = TWICE[case]
    with pytest.raises(ProblemsError) as caught:
        room.read_file(text, "f")
    said = str(caught.value)
    assert said.startswith("1 problem in the allocated ranges")
    for word in (*words, "there more than once", "version control"):
        assert word in said, said


@pytest.mark.parametrize("key", ["? [a]", "? {a: b}", "2001-99-99", "!!seq x", "!other x"])
def test_a_key_that_is_no_name_is_refused(key: str) -> None:
    with pytest.raises(ProblemsError, match="not YAML"):
        room.read_file(f"{room.VARIABLE}:\n  {key}\n  : []\n", "f")


def moved(
    hosts: dict[str, Any], memory: room.Ranges, pools: list[str]
) -> tuple[dict[str, Any], room.Ranges]:
    """The fleet in other networks, and the file after `allocate` was told to renumber."""
    there = {h: {**v, "podnet_cluster_cidrs": pools} for h, v in hosts.items()}
    back = outside(read(there, memory), memory)
    kept = room.without(memory, back)
    taken = [cidr for ranges in (kept, back) for cidrs in ranges.values() for cidr in cidrs]
    return there, room.merged(kept, room.allocate(read(there, kept), LENGTHS, taken))


def planned(hosts: dict[str, Any], memory: room.Ranges) -> Fabric:
    return compile_fleet({h: {**v, room.VARIABLE: _lists(memory)} for h, v in hosts.items()})


@QUICK
@given(
    NAMES,
    NAMES,
    st.lists(st.sampled_from(["10.64.0.0/18", "10.64.64.0/18", "10.96.0.0/16", "fd00:64::/57",
                              "fd00:65::/48"]), min_size=1, unique=True),
)  # fmt: skip
def test_whatever_the_cluster_becomes_only_what_it_does_not_hold_moves(
    names: list[str], gone: list[str], pools: list[str]
) -> None:
    hosts = fleet(names)
    memory = run(fleet([*names, *gone]), {})
    there, after = moved(hosts, memory, pools)
    fabric = planned(there, after)
    inside = networks(pools)
    for name, old in memory.items():
        if name not in names:
            assert after[name] == old
            continue
        stays = {n for n in networks(old) if any(n.version == p.version and n.subnet_of(p)
                                                 for p in inside)}  # fmt: skip
        new = networks(after[name])
        assert stays <= set(new)
        assert sorted(n.version for n in new) == sorted({p.version for p in inside})
        assert fabric.by_name[name].pod_cidrs == after[name]
    assert not outside(read(there, after), after)
    if memory == after:
        return
    with pytest.raises(ProblemsError) as caught:
        planned(there, memory)
    said = str(caught.value)
    assert said.startswith("1 problem in the inventory") and "podnet_allocate_renumber" in said


def test_ranges_that_the_cluster_does_not_hold_are_one_problem_of_the_fleet() -> None:
    """Whatever else says the same of each node is left out; what nodes have of their own is not
    the file's."""
    hosts = fleet([f"n{i}" for i in range(9)], {"n8": ["10.64.63.0/24"]})
    memory = run(hosts, {})
    new = {"podnet_cluster_cidrs": ["10.96.0.0/16"], "podnet_node_prefix_lengths": {"ipv4": 25}}
    there = {h: {**v, **new} for h, v in hosts.items()}
    with pytest.raises(ProblemsError) as caught:
        planned(there, memory)
    problems = {problem.where: problem for problem in caught.value.problems}
    assert set(problems) == {room.VARIABLE, "nodes.n8.podnet_pod_cidrs[0]"}
    one = problems[room.VARIABLE]
    assert "ranges of 9 nodes" in one.what and "10.96.0.0/16" in one.expected
    assert one.found.startswith("n0: 10.65.0.0/24 fd00:64::/64; n1: ")
    assert one.found.endswith("; and 6 more nodes")


def test_nothing_is_a_stray_while_the_cluster_is_not_known() -> None:
    hosts = fleet(["a", "b"])
    memory = run(hosts, {})
    for pools in ([], ["10.96.0.0/16", "fd00:64::/4x"], ["nonsense"]):
        there = {h: {**v, "podnet_cluster_cidrs": pools} for h, v in hosts.items()}
        with pytest.raises(ProblemsError) as caught:
            planned(there, memory)
        assert [p.where.partition("[")[0] for p in caught.value.problems] == [
            "podnet_cluster_cidrs"
        ]


def test_only_nodes_that_are_gone_can_be_released() -> None:
    ranges: room.Ranges = {"a": ("10.64.0.0/24",), "worker-9": ("10.64.1.0/24",)}
    assert room.released(ranges, ["worker-9"], ["a"]) == {"a": ("10.64.0.0/24",)}
    with pytest.raises(ProblemsError) as caught:
        room.released(ranges, ["a", "worker-8"], ["a"])
    for words in ("the node is in the inventory", "did you mean worker-9"):
        assert words in str(caught.value)
