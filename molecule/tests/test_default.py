# SPDX-License-Identifier: GPL-3.0-or-later
"""Scenario `default`: mode auto, two segments, both families."""

from __future__ import annotations

import itertools

import pytest
from looks import Hosts, address, pings, route

NEAR, FAR = ("node-1", "node-2"), ("node-1", "node-3")
PAIRS = list(itertools.permutations(("node-1", "node-2", "node-3"), 2))


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize(("one", "other"), PAIRS)
def test_pods_reach_each_other(hosts: Hosts, one: str, other: str, family: int) -> None:
    target = address(hosts[other], family)
    assert pings(hosts[one], target, family)


@pytest.mark.parametrize("family", [4, 6])
def test_same_segment_takes_plain_routes(hosts: Hosts, family: int) -> None:
    one, other = (hosts[name] for name in NEAR)
    assert " dev eth0 " in route(one, address(other, family))


@pytest.mark.parametrize("family", [4, 6])
def test_other_segment_takes_vxlan(hosts: Hosts, family: int) -> None:
    one, other = (hosts[name] for name in FAR)
    assert " dev pn" in route(one, address(other, family))


@pytest.mark.parametrize("node", ["node-1", "node-2", "node-3"])
def test_node_has_booted_and_keeps_the_network(hosts: Hosts, node: str) -> None:
    host = hosts[node]
    assert host.process.get(pid=1).comm == "systemd"
    assert host.service("podnet").is_enabled
    assert host.interface("cbr0").exists
