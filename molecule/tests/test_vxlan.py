# SPDX-License-Identifier: GPL-3.0-or-later
"""Scenario `vxlan`: every packet between nodes is encapsulated."""

from __future__ import annotations

import itertools

import pytest
from looks import Hosts, address, pings, route

PAIRS = list(itertools.permutations(("node-1", "node-2", "node-3"), 2))


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize(("one", "other"), PAIRS)
def test_pods_reach_each_other_by_vxlan(hosts: Hosts, one: str, other: str, family: int) -> None:
    target = address(hosts[other], family)
    assert pings(hosts[one], target, family)
    assert " dev pn" in route(hosts[one], target)
