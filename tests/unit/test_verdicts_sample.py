# SPDX-License-Identifier: GPL-3.0-or-later
"""What a sample of all pairs guarantees."""

from __future__ import annotations

from ansible_collections.podnet.fabric.plugins.plugin_utils.intent.model import Node
from ansible_collections.podnet.fabric.plugins.plugin_utils.verdicts.sample import Ring, Sample
from hypothesis import given
from hypothesis import strategies as st


def node(number: int, segment: str) -> Node:
    return Node(
        name=f"n{number:05}",
        segment=segment,
        pod_cidrs=(f"10.{number // 256}.{number % 256}.0/24",),
        underlay_addresses=(f"192.0.{number // 256}.{number % 256}",),
        underlay_mtu=1500,
    )


FLEETS = st.lists(st.sampled_from("abcd"), min_size=1, max_size=40).map(
    lambda names: [node(i, name) for i, name in enumerate(names)]
)


def turn(nodes: list[Node], most: int, number: int) -> dict[str, set[str]]:
    ring = Sample(most, number).ring(nodes)
    return {n.name: {peer.name for peer in ring.peers(n.name)} for n in nodes}


@given(FLEETS, st.integers(1, 12), st.integers(0, 99))
def test_every_pair_within_so_many_turns_in_a_row(nodes: list[Node], most: int, at: int) -> None:
    turns = Sample(most).turns(len(nodes))
    seen: dict[str, set[str]] = {n.name: set() for n in nodes}
    for number in range(at, at + turns):
        for name, peers in turn(nodes, most, number).items():
            seen[name] |= peers
    everybody = {n.name for n in nodes}
    assert all(peers == everybody - {name} for name, peers in seen.items())


@given(FLEETS, st.integers(1, 12), st.integers(0, 99))
def test_every_turn_has_every_node_both_ways_and_every_pair_of_segments(
    nodes: list[Node], most: int, at: int
) -> None:
    pairs = {(a, b) for a, peers in turn(nodes, most, at).items() for b in peers}
    if len(nodes) > 1:
        assert {a for a, _b in pairs} == {b for _a, b in pairs} == {n.name for n in nodes}
    of = {n.name: n.segment for n in nodes}
    sizes = {segment: list(of.values()).count(segment) for segment in of.values()}
    wanted = {(a, b) for a in sizes for b in sizes if a != b or sizes[a] > 1}
    assert {(of[a], of[b]) for a, b in pairs} == wanted


@given(FLEETS, st.integers(1, 12), st.integers(0, 99))
def test_no_node_probes_much_more_than_it_shall(nodes: list[Node], most: int, at: int) -> None:
    segments = len({n.segment for n in nodes})
    assert all(len(peers) <= most + segments for peers in turn(nodes, most, at).values())


def test_all_pairs_where_the_fleet_is_small_or_nothing_is_asked() -> None:
    nodes = [node(i, "a") for i in range(10)]
    for most in (0, 9, 50):
        assert all(len(peers) == 9 for peers in turn(nodes, most, 3).values())
    assert Sample(3).turns(10) == 3
    assert Ring(Sample(3), tuple(nodes)).place["n00004"] == 4
