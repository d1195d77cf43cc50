# SPDX-License-Identifier: GPL-3.0-or-later
"""A node in the wrong segment is named before anything is changed, and no other."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from ansible_collections.podnet.fabric.plugins.plugin_utils.fleet.segments import SHOWN, elsewhere
from ansible_collections.podnet.fabric.plugins.plugin_utils.intent.model import Fabric
from ansible_collections.podnet.fabric.plugins.plugin_utils.kernel.state import (
    State,
    UnderlayInterface,
)
from ansible_collections.podnet.fabric.plugins.plugin_utils.plan import compile_fleet
from hypothesis import given
from hypothesis import strategies as st


def made(subnets: list[int], **more: Any) -> Fabric:
    """One segment; each node's underlay addresses are of a subnet with a number."""
    return compile_fleet(
        {
            f"node-{i}": {
                "podnet_cluster_cidrs": ["10.64.0.0/16", "fd00:64::/48"],
                "podnet_pod_cidrs": [f"10.64.{i}.0/24", f"fd00:64:0:{i}::/64"],
                "podnet_underlay_addresses": [f"10.{subnet}.0.{i}", f"2001:db8:{subnet}::{i}"],
                **more,
            }
            for i, subnet in enumerate(subnets, 1)
        }
    )


def states(fabric: Fabric) -> dict[str, State]:
    """Nodes with the networks of their addresses, and one of somebody else."""
    return {
        node.name: State(
            underlay=tuple(
                UnderlayInterface(address, "eth0", 1500, True)
                for address in node.underlay_addresses
            ),
            onlink=(
                f"{node.underlay['ipv4'].rpartition('.')[0]}.0/24",
                f"{node.underlay['ipv6'].rpartition('::')[0]}::/64",
                "172.17.0.0/16",
            ),
        )
        for node in fabric.nodes
    }


def named(fabric: Fabric, of: dict[str, State], changing: list[str] | None = None) -> list[str]:
    problems = elsewhere(fabric, of, of if changing is None else changing)
    return [problem.where.split(".")[1] for problem in problems]


def test_nodes_of_one_network_are_neighbours() -> None:
    fabric = made([1, 1, 1])
    assert named(fabric, states(fabric)) == []


def test_the_node_that_is_elsewhere_is_named_and_not_those_that_miss_it() -> None:
    fabric = made([1, 1, 2, 1])
    assert named(fabric, states(fabric)) == ["node-3", "node-3"], "once for each family"
    first = str(next(iter(elsewhere(fabric, states(fabric), states(fabric)))))
    assert "10.2.0.3 on a network of every node of segment default" in first
    assert "not on one of node-1, node-2, node-4" in first


def test_a_new_node_alone_is_enough_to_know() -> None:
    """The others are out of reach, or have nothing to change."""
    fabric = made([1, 1, 2])
    of = {"node-3": states(fabric)["node-3"]}
    assert named(fabric, of) == ["node-3", "node-3"]
    assert "node-1, node-2 on no network of node-3" in str(next(elsewhere(fabric, of, of)))


@pytest.mark.parametrize(
    ("more", "onlink"),
    [
        pytest.param({}, ("default",), id="a link without a router for everything"),
        pytest.param({}, ("10.0.0.0/8", "2001:db8::/32"), id="a wider network"),
        pytest.param({}, (), id="the interface is down"),
        pytest.param({"podnet_mode": "vxlan"}, ("10.9.0.0/24",), id="no direct routes"),
    ],
)
def test_who_is_not_accused(more: dict[str, Any], onlink: tuple[str, ...]) -> None:
    fabric = made([1, 1, 2], **more)
    of = {
        name: replace(
            state,
            onlink=onlink,
            underlay=tuple(replace(item, up=bool(onlink)) for item in state.underlay),
        )
        for name, state in states(fabric).items()
    }
    assert named(fabric, of) == []


def test_a_run_that_changes_nothing_is_not_refused() -> None:
    fabric = made([1, 1, 2])
    assert named(fabric, states(fabric), []) == []


def test_longer_lists_end() -> None:
    fabric = made(list(range(1, 40)))
    assert len(named(fabric, states(fabric))) == 2 * SHOWN


@given(st.lists(st.integers(1, 3), min_size=1, max_size=SHOWN))
def test_every_pair_that_needs_a_router_is_explained(subnets: list[int]) -> None:
    fabric = made(subnets)
    wrong = set(named(fabric, states(fabric)))
    left = {of for i, of in enumerate(subnets, 1) if f"node-{i}" not in wrong}
    assert len(left) <= 1
    assert bool(wrong) == (len(set(subnets)) > 1)
