# SPDX-License-Identifier: GPL-3.0-or-later
"""Scenario `negative`: what was refused has touched nothing, and the fleet is well at the end."""

from __future__ import annotations

import itertools

import pytest
from looks import Hosts, address, pings

NODES = ("node-1", "node-2", "node-3")
PAIRS = list(itertools.permutations(NODES, 2))


@pytest.mark.parametrize("node", NODES)
def test_the_bad_inventory_touched_nothing(hosts: Hosts, node: str) -> None:
    before, after = (hosts[node].file(f"/run/{n}").content_string for n in ("before", "after"))
    assert "10.64." in before and "/etc/podnet/current" in before
    assert after == before


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize(("one", "other"), PAIRS)
def test_pods_reach_each_other(hosts: Hosts, one: str, other: str, family: int) -> None:
    assert pings(hosts[one], address(hosts[other], family), family)
