# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab's underlay from a plain list of nodes: subnets, gateways, refusals."""

from __future__ import annotations

import ipaddress
from typing import Any

import pytest
from ansible_collections.podnet.fabric.plugins.module_utils.lab.topology import (
    LabError,
    derive,
    subnet_around,
)
from hypothesis import given
from hypothesis import strategies as st


def entry(name: str, *addresses: str, segment: str = "a", **more: Any) -> dict[str, Any]:
    return {"name": name, "segment": segment, "underlay_addresses": list(addresses), **more}


def test_a_segment_is_the_24_and_the_64_around_its_addresses() -> None:
    found = derive([entry("n2", "192.0.2.12"), entry("n1", "2001:db8:a::11", "192.0.2.11")])
    assert [node.name for node in found.nodes] == ["n1", "n2"]
    assert found.nodes[0].addresses == ("192.0.2.11", "2001:db8:a::11")
    (segment,) = found.segments
    assert segment.networks == ("192.0.2.0/24", "2001:db8:a::/64")
    assert segment.gateways == ("192.0.2.254", "2001:db8:a:0:ffff:ffff:ffff:ff7f")


@pytest.mark.parametrize(
    ("addresses", "network"),
    [
        (["10.0.0.1", "10.0.1.1"], "10.0.0.0/23"),
        (["10.0.2.255"], "10.0.2.0/23"),  # not the broadcast address of its /24
        (["10.0.2.0"], "10.0.0.0/22"),  # nor the network address
        (["fd00::1", "fd00:0:0:1::1"], "fd00::/63"),
        (["10.1.0.1", "10.2.0.1"], "10.0.0.0/14"),
    ],
)
def test_a_subnet_is_widened_as_far_as_needed(addresses: list[str], network: str) -> None:
    assert str(subnet_around([ipaddress.ip_address(a) for a in addresses])) == network


@given(st.lists(st.integers(0x0A000001, 0x0AFFFFFE), min_size=1, max_size=20, unique=True))
def test_every_address_is_usable_in_the_subnet_and_none_narrower_would_do(numbers: Any) -> None:
    addresses = [ipaddress.IPv4Address(number) for number in numbers]
    network = subnet_around(addresses)
    edges = {network.network_address, network.broadcast_address}
    assert all(a in network and a not in edges for a in addresses)
    if network.prefixlen < 24:
        half = ipaddress.ip_network(f"{addresses[0]}/{network.prefixlen + 1}", strict=False)
        edges = {half.network_address, half.broadcast_address}
        assert not all(a in half and a not in edges for a in addresses)


def test_the_gateway_is_the_last_address_that_no_node_has() -> None:
    found = derive([entry("n1", "192.0.2.254"), entry("n2", "192.0.2.253")])
    assert found.segments[0].gateways == ("192.0.2.252",)


def test_the_segment_has_the_largest_mtu_of_its_nodes() -> None:
    found = derive([entry("n1", "192.0.2.1", underlay_mtu=9000), entry("n2", "192.0.2.2")])
    assert (found.segments[0].mtu, found.nodes[1].mtu) == (9000, 1500)


def test_a_node_says_its_own_init() -> None:
    nodes = [entry("n1", "192.0.2.1", init="systemd"), entry("n2", "192.0.2.2", init=None)]
    assert [node.init for node in derive(nodes).nodes] == ["systemd", "sshd"]


def test_the_outside_host_keeps_clear_of_segments_and_reserved_networks() -> None:
    assert derive([entry("n1", "192.0.2.1")]).outside == ("203.0.113.10/24", "2001:db8:ffff::10/64")
    found = derive([entry("n1", "203.0.113.1")], reserved=["198.51.0.0/16", "2001:db8:ffff::/48"])
    assert found.outside == ("192.0.2.10/24", "2001:db8:fffe::10/64")


BAD = {
    "overlap": (
        [entry("n1", "192.0.2.1"), entry("n2", "192.0.2.2", segment="b")],
        "segments.a: its subnet 192.0.2.0/24 overlaps 192.0.2.0/24 of segments.b",
    ),
    "management": ([entry("n1", "198.18.3.1")], "overlaps 198.18.0.0/15 of the management"),
    "duplicate address": ([entry("n1", "192.0.2.1"), entry("n2", "192.0.2.1")], "is used twice"),
    "duplicate name": ([entry("n1", "192.0.2.1"), entry("n1", "192.0.2.2")], "name n1 is used"),
    "no address": ([entry("n1")], "the node has no underlay address"),
    "prefix": ([entry("n1", "192.0.2.1/24")], "not an address"),
    "two of a family": ([entry("n1", "192.0.2.1", "192.0.2.2")], "two addresses of one family"),
    "name": ([entry("n 1", "192.0.2.1")], "not usable as a host name"),
    "mtu": ([entry("n1", "192.0.2.1", underlay_mtu=40)], "no interface can have this MTU"),
    "init": ([entry("n1", "192.0.2.1", init="runit")], "unknown kind of PID 1"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_cannot_be_built_is_refused_with_a_remedy(case: str) -> None:
    nodes, said = BAD[case]
    with pytest.raises(LabError) as caught:
        derive(nodes)
    text = str(caught.value)
    assert said in text
    assert all(word in text for word in ("expected:", "found:", "do:"))


def test_all_problems_are_said_at_once() -> None:
    with pytest.raises(LabError) as caught:
        derive([entry("n 1", "nothing", underlay_mtu=3), entry("n2")])
    assert str(caught.value).count("expected:") == 4
