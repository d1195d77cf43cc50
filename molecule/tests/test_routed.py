# SPDX-License-Identifier: GPL-3.0-or-later
"""Scenario `routed`: plain routes in one segment."""

from __future__ import annotations

import itertools

import pytest
from looks import Hosts, address, pings, route

PAIRS = list(itertools.permutations(("node-1", "node-2"), 2))


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize(("one", "other"), PAIRS)
def test_pods_reach_each_other_by_plain_routes(
    hosts: Hosts, one: str, other: str, family: int
) -> None:
    target = address(hosts[other], family)
    assert pings(hosts[one], target, family)
    assert " dev eth0 " in route(hosts[one], target)


@pytest.mark.parametrize("node", ["node-1", "node-2"])
def test_no_vxlan_device_is_there(hosts: Hosts, node: str) -> None:
    assert hosts[node].check_output("ip -o link show type vxlan") == ""
