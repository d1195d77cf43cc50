# SPDX-License-Identifier: GPL-3.0-or-later
"""Scenario `day2_cidr`: range A, range B beside it, A drained, back to A; pings all the time."""

from __future__ import annotations

import pytest
from looks import Hosts, sent_and_received

NODES = ("node-1", "node-2", "node-3")
A, B = ("10.64.1.", "fd00:64:0:1:"), ("10.64.101.", "fd00:64:0:101:")


@pytest.mark.parametrize("meter", ["held4", "held6", "stays4", "stays6"])
def test_no_packet_was_lost(hosts: Hosts, meter: str) -> None:
    sent, received = sent_and_received(hosts["node-3"], meter)
    assert sent > 100, "the ping has hardly begun"
    assert received == sent


@pytest.mark.parametrize("node", NODES)
def test_drained_range_was_gone_everywhere(hosts: Hosts, node: str) -> None:
    kept = hosts[node].file("/run/drained").content_string
    assert all(text in kept for text in B), "range B was not there"
    assert not [text for text in A if text in kept]


@pytest.mark.parametrize("node", NODES)
def test_rollback_brought_range_a_back(hosts: Hosts, node: str) -> None:
    now = hosts[node].check_output("ip route; ip -6 route; ip addr")
    assert all(text in now for text in A)
