# SPDX-License-Identifier: GPL-3.0-or-later
"""Scenario `reboot`: after a power cut of all nodes the network is back without the controller."""

from __future__ import annotations

import itertools

import pytest
from looks import Hosts, address, pings

NODES = ("node-1", "node-2", "node-3")
PAIRS = list(itertools.permutations(NODES, 2))


@pytest.mark.parametrize("node", NODES)
def test_the_boot_unit_has_succeeded(hosts: Hosts, node: str) -> None:
    state = hosts[node].check_output("systemctl show -p ActiveState -p Result podnet")
    assert "ActiveState=active" in state and "Result=success" in state


@pytest.mark.parametrize("node", NODES)
def test_it_is_another_boot(hosts: Hosts, node: str) -> None:
    first = hosts[node].file("/var/lib/first-boot").content_string
    assert first.strip() and hosts[node].check_output("stat -c %Z /proc/1") != first.strip()


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize(("one", "other"), PAIRS)
def test_pods_reach_each_other(hosts: Hosts, one: str, other: str, family: int) -> None:
    assert pings(hosts[one], address(hosts[other], family), family)
