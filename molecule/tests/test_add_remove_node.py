# SPDX-License-Identifier: GPL-3.0-or-later
"""Scenario `add_remove_node`: node-3 joins and leaves under traffic, and leaves nothing behind."""

from __future__ import annotations

import pytest
from looks import Hosts, sent_and_received

LEFT = "ip -o link; ip route; ip -6 route; ip addr; ip neigh show nud permanent; nft list ruleset"


@pytest.mark.parametrize("meter", ["near4", "near6"])
def test_no_packet_was_lost(hosts: Hosts, meter: str) -> None:
    sent, received = sent_and_received(hosts["node-1"], meter)
    assert sent > 100, "the ping has hardly begun"
    assert received == sent


def test_the_new_node_reached_everybody(hosts: Hosts) -> None:
    report = hosts["node-3"].file("/run/joined").content_string
    assert report.count("3 packets transmitted, 3 received") == 4, report


@pytest.mark.parametrize("node", ["node-1", "node-2"])
def test_nothing_of_it_is_left_on_the_others(hosts: Hosts, node: str) -> None:
    host = hosts[node]
    now = host.check_output(f"{LEFT}; bridge fdb; grep -r . /etc/podnet/current/ /etc/cni/net.d")
    assert "10.64." in now
    for text in ("10.64.3.", "fd00:64:0:3:", "198.51.100.11", "2001:db8:b::11"):
        assert text not in now


def test_nothing_is_left_on_it(hosts: Hosts) -> None:
    host = hosts["node-3"]
    member = host.file("/run/member").content_string
    now = host.check_output(LEFT)
    for text in ("cbr0", "10.64.", "fd00:64:"):
        assert text in member, "it never was a member"
        assert text not in now
    for path in ("/etc/podnet", "/usr/local/sbin/podnet-node"):
        assert not host.file(path).exists
    assert not host.file("/etc/systemd/system/podnet.service").exists
