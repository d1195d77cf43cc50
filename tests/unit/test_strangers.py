# SPDX-License-Identifier: GPL-3.0-or-later
"""The way of the table from one state to the next: wide before anybody sends, narrow at the end."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.podnet.fabric.plugins.plugin_utils.intent.model import Fabric
from ansible_collections.podnet.fabric.plugins.plugin_utils.intent.problems import ProblemsError
from ansible_collections.podnet.fabric.plugins.plugin_utils.kernel.objects import FdbEntry, Link
from ansible_collections.podnet.fabric.plugins.plugin_utils.kernel.state import State
from ansible_collections.podnet.fabric.plugins.plugin_utils.masquerade import (
    template_values as masqueraded,
)
from ansible_collections.podnet.fabric.plugins.plugin_utils.plan import compile_fleet, plan_node
from ansible_collections.podnet.fabric.plugins.plugin_utils.report.protections import protections
from ansible_collections.podnet.fabric.plugins.plugin_utils.strangers import (
    Transition,
    Way,
    senders,
    template_values,
    transition,
)

SPEAKERS = "meta l4proto . th dport { tcp . 179, udp . 3784, udp . 3785, udp . 4784 }"
WANTED = {"vteps4": ("192.0.2.2", "192.0.2.3")}


def fleet(**changes: Any) -> Fabric:
    shared = {"podnet_cluster_cidrs": ["10.64.0.0/16"], "podnet_mode": "vxlan", **changes}
    return compile_fleet(
        {
            f"node-{i}": {
                **shared,
                "podnet_pod_cidrs": [f"10.64.{i}.0/24"],
                "podnet_underlay_addresses": [f"192.0.2.{i}"],
            }
            for i in (1, 2, 3)
        }
    )


def links(**changes: Any) -> tuple[Link, ...]:
    return plan_node(fleet(**changes), "node-1").links


def move(live: dict[str, tuple[str, ...]], loaded: str = "abc", **more: Any) -> Transition:
    have = State(links=links(), nft_loaded=loaded, nft_present=True, senders=live, **more)
    return transition(Way(WANTED, links()), have)


def test_only_peers_by_vxlan_may_send() -> None:
    assert senders(fleet(), plan_node(fleet(), "node-1")) == WANTED
    assert (
        senders(fleet(podnet_mode="routed"), plan_node(fleet(podnet_mode="routed"), "node-1")) == {}
    )
    for changes in ({"podnet_vxlan_from": "anyone"}, {"podnet_mode": "routed"}):
        fabric = fleet(**changes)
        assert template_values(fabric, plan_node(fabric, "node-1"))["tunnel_rules"] == []


@pytest.mark.parametrize(
    ("changes", "arriving", "leaving"),
    [
        (
            {},
            ["udp dport 4789 @th,96,24 64 ip saddr @vteps4"],
            ["udp dport 4789 @th,96,24 64"],
        ),
        (
            {"podnet_vxlan_from": "anyone"},
            ["udp dport 4789 @th,96,24 64 fib daddr type local"],
            ["udp dport 4789 @th,96,24 64"],
        ),
        ({"podnet_vxlan_from": "anyone", "podnet_masquerade": []}, [], []),
        (
            {
                "podnet_vxlan_from": "anyone",
                "podnet_masquerade": [],
                "podnet_pods_to_node": "established",
            },
            ["udp dport 4789 @th,96,24 64 fib daddr type local"],
            ["udp dport 4789 @th,96,24 64"],
        ),
        ({"podnet_mode": "routed"}, [], []),
    ],
)
def test_encapsulated_packets_are_tracked_where_podnet_has_no_part_in_it(
    changes: dict[str, Any], arriving: list[str], leaving: list[str]
) -> None:
    fabric = fleet(**changes)
    values = template_values(fabric, plan_node(fabric, "node-1"))
    assert (values["arriving"], values["leaving"]) == (arriving, leaving)


def test_nothing_is_due_where_the_table_has_what_it_should() -> None:
    assert move(WANTED) == Transition({})


def test_a_new_peer_is_let_in_first() -> None:
    assert move({"vteps4": ("192.0.2.2",)}) == Transition({"vteps4": ("192.0.2.3",)})


def test_a_leaving_peer_is_heard_until_the_end() -> None:
    found = move({"vteps4": ("192.0.2.2", "192.0.2.9")})
    assert found.more == {"vteps4": ("192.0.2.3",)}
    assert "add element inet podnet vteps4 { 192.0.2.9 }" in found.wide


def test_an_element_that_somebody_added_is_not_kept() -> None:
    """A table that is not as it was loaded says nothing about whom the node talks to; but whom it
    is about to talk to must be let in by it all the same."""
    fdb = (FdbEntry("pn64", "02:00:00:00:00:02", "192.0.2.2"),)
    live = {"vteps4": ("192.0.2.2", "192.0.2.3", "192.0.2.66")}
    assert move(live, loaded="", fdb=fdb) == Transition({})
    live = {"vteps4": ("192.0.2.2", "192.0.2.66")}
    assert move(live, loaded="", fdb=fdb) == Transition({"vteps4": ("192.0.2.3",)})


def test_a_new_peer_is_let_in_first_where_the_guard_goes() -> None:
    have = State(links=links(), nft_loaded="abc", nft_present=True, senders={"vteps4": ()})
    found = transition(Way({"vteps4": ("192.0.2.2",)}, links(), guarded=False), have)
    assert found == Transition({"vteps4": ("192.0.2.2",)})


def test_the_last_device_is_guarded_as_long_as_it_is_there() -> None:
    """The rendered table has neither the chain nor the set any more."""
    have = State(links=links(), nft_loaded="abc", nft_present=True, senders=WANTED)
    wide = transition(Way({}, links()[:1]), have).wide.splitlines()
    rule = "udp dport 4789 ip saddr != @vteps4 @th,96,24 64 drop"
    assert wide[0] == (
        "add chain inet podnet encapsulated { type filter hook input priority filter; }"
    )
    assert "add element inet podnet vteps4 { 192.0.2.2, 192.0.2.3 }" in wide
    assert wide[-1] == f"insert rule inet podnet encapsulated {rule}"


def test_networks_are_let_through_before_pods_have_addresses_there() -> None:
    have = State(nft_loaded="abc", nft_present=True, untranslated={"leaving4": ("10.64.0.0/16",)})
    way = Way({}, (), {"leaving4": ("10.64.0.0/16", "10.99.0.0/16"), "leaving6": ("fd00::/48",)})
    assert transition(way, have) == Transition({"leaving4": ("10.99.0.0/16",)})
    back = Way({}, (), {"leaving4": ()})
    assert transition(back, have) == Transition({}, surplus=True)


def test_where_there_was_no_set_the_fdb_says_who_sends() -> None:
    fdb = (FdbEntry("pn64", "02:00:00:00:00:09", "192.0.2.9"),)
    found = move({}, fdb=fdb)
    assert found.more == {} and "{ 192.0.2.9 }" in found.wide


@pytest.mark.parametrize("change", [{"podnet_vni": 65}, {"podnet_vxlan_port": 8472}])
def test_the_old_device_is_guarded_as_long_as_it_is_there(change: dict[str, int]) -> None:
    have = State(links=links(), nft_loaded="abc", nft_present=True, senders=WANTED)
    wide = transition(Way(WANTED, links(**change)), have).wide
    rule = "udp dport 4789 ip saddr != @vteps4 @th,96,24 64 drop"
    assert f"insert rule inet podnet encapsulated {rule}" in wide


@pytest.mark.parametrize(
    ("changes", "dropped"),
    [
        ({}, {"4": ["udp dport 4789"], "6": []}),
        ({"podnet_vxlan_port": 8472}, {"4": ["udp dport 8472"], "6": []}),
        ({"podnet_masquerade": ["ipv6"]}, {"6": []}),
        ({"podnet_vxlan_from": "anyone"}, {"4": [], "6": []}),
        ({"podnet_mode": "routed"}, {"4": [], "6": []}),
        ({"podnet_mode": "bgp"}, {"4": [SPEAKERS], "6": [SPEAKERS]}),
        ({"podnet_mode": "bgp", "podnet_masquerade": []}, {}),
    ],
)
def test_pods_do_not_send_as_their_node_where_its_address_is_believed(
    changes: dict[str, Any], dropped: dict[str, list[str]]
) -> None:
    hosts = {
        f"node-{i}": {
            "podnet_mode": "vxlan",
            "podnet_cluster_cidrs": ["10.64.0.0/16", "fd00:64::/48"],
            **changes,
            "podnet_pod_cidrs": [f"10.64.{i}.0/24", f"fd00:64:0:{i}::/64"],
            "podnet_underlay_addresses": [f"192.0.2.{i}", f"2001:db8::{i}"],
        }
        for i in (1, 2)
    }
    fabric = compile_fleet(hosts)
    values = masqueraded(fabric, plan_node(fabric, "node-1"))
    assert {rule["number"]: rule["dropped"] for rule in values} == dropped


def test_nor_into_that_of_a_device_that_is_still_in_use() -> None:
    have = State(links=links(), nft_loaded="abc", nft_present=True, senders=WANTED)
    rule = "insert rule inet podnet leaving4 udp dport 4789 ip daddr @vteps4 drop"
    for chains, there in (({"leaving4": ()}, True), ({"leaving6": ()}, False)):
        for want in (WANTED, {}):
            way = Way(want, links(podnet_vxlan_port=8472), chains)
            assert (rule in transition(way, have).wide.splitlines()) is there


def test_an_old_device_of_the_other_family_has_its_own_set() -> None:
    have = State(links=links(), nft_loaded="abc", nft_present=True, senders=WANTED)
    wanted = {"vteps6": ("2001:db8::2",)}
    found = transition(Way(wanted, ()), have)
    assert "add set inet podnet vteps4 { type ipv4_addr; }" in found.wide
    assert "add element inet podnet vteps4 { 192.0.2.2, 192.0.2.3 }" in found.wide


def test_ports_are_read_exactly() -> None:
    asked = ["udp/53", "tcp/53", "tcp/9100", "tcp/53"]
    assert fleet(podnet_pods_to_node_ports=asked).pods_to_node_ports == (
        "tcp/53",
        "udp/53",
        "tcp/9100",
    )
    bad = ["53", "tcp/0", "tcp/65536", "tcp/053", "icmp/8", 53, "tcp/1; drop", "tcp/53\n"]
    for word in bad:
        with pytest.raises(ProblemsError, match="not a port"):
            fleet(podnet_pods_to_node_ports=[word])


def test_what_is_not_tracked_between_pods_leaves_the_node_out() -> None:
    fabric = fleet(podnet_pod_tracking="outside")
    own = template_values(fabric, plan_node(fabric, "node-2"))["between_pods"]
    assert own == ["ip saddr 10.64.0.0/16 ip daddr 10.64.0.0/16 ip daddr != 10.64.2.1"]
    assert template_values(fleet(), plan_node(fleet(), "node-2"))["between_pods"] == []


def test_the_report_says_what_is_on() -> None:
    def states(**changes: Any) -> list[str]:
        return [item["state"] for item in protections(fleet(**changes))]

    assert states() == ["on", "on", "on", "off"]
    assert states(podnet_mode="routed", podnet_pods_to_node="deny") == ["unused", "on", "on", "on"]
    off = {"podnet_vxlan_from": "anyone", "podnet_pod_sources": "any", "podnet_pod_identity": "any"}
    assert states(**off) == ["off"] * 4
