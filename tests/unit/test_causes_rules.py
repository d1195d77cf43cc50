# SPDX-License-Identifier: GPL-3.0-or-later
"""Foreign packet filter rules: what is certain, what is only possible, and what is neither."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from ansible_collections.podnet.fabric.plugins.plugin_utils.causes.legacy import objects_of
from ansible_collections.podnet.fabric.plugins.plugin_utils.causes.matches import Packet, shown
from ansible_collections.podnet.fabric.plugins.plugin_utils.causes.rules import Ruleset
from hypothesis import given
from hypothesis import strategies as st

PING = Packet("10.64.1.2", "10.64.2.2", "icmp", iif="cbr0", oif="eth0")
TCP = Packet("10.64.1.2", "10.64.2.2", "tcp", 0, 7717, "cbr0", "eth0")
SIX = Packet("fd00:64:0:1::2", "fd00:64:0:2::2", "ipv6-icmp", iif="cbr0", oif="eth0")
Object = dict[str, Any]


def chain(name: str = "c", family: str = "inet", table: str = "other", **hook: Any) -> Object:
    return {"chain": {"family": family, "table": table, "name": name, **hook}}


def base(policy: str = "accept", prio: int = 0, **where: Any) -> Object:
    return chain(hook="forward", prio=prio, policy=policy, **where)


def rule(*expr: Object, name: str = "c", table: str = "other") -> Object:
    return {"rule": {"family": "inet", "table": table, "chain": name, "handle": 7, "expr": expr}}


def match(field: tuple[str, str], right: Any, op: str = "==") -> Object:
    left = {"payload": {"protocol": field[0], "field": field[1]}}
    return {"match": {"op": op, "left": left, "right": right}}


def meta(key: str, right: Any, op: str = "==") -> Object:
    return {"match": {"op": op, "left": {"meta": {"key": key}}, "right": right}}


DROP: Object = {"drop": None}
ACCEPT: Object = {"accept": None}
UNKNOWN: Object = {"match": {"op": "==", "left": {"osf": {}}, "right": "Linux"}}


def seen(packet: Packet, *objects: Object) -> list[tuple[str, bool]]:
    return [(v.what, v.sure) for v in Ruleset(objects).verdicts("forward", packet)]


def prefix(address: str, length: int) -> Object:
    return {"prefix": {"addr": address, "len": length}}


@pytest.mark.parametrize(
    ("expr", "packet", "found"),
    [
        ((match(("ip", "saddr"), prefix("10.64.1.0", 24)), DROP), PING, [("drop", True)]),
        ((match(("ip", "saddr"), prefix("10.64.9.0", 24)), DROP), PING, []),
        ((match(("ip", "saddr"), prefix("10.64.9.0", 24), "!="), DROP), PING, [("drop", True)]),
        (
            (match(("ip", "daddr"), {"set": ["10.64.2.2", "10.0.0.1"]}), DROP),
            PING,
            [("drop", True)],
        ),
        ((match(("ip6", "daddr"), prefix("fd00:64::", 32)), DROP), PING, []),
        ((match(("ip6", "daddr"), prefix("fd00:64::", 32)), DROP), SIX, [("drop", True)]),
        ((match(("ip", "saddr"), prefix("10.64.9.0", 24), "!="), DROP), SIX, []),
        ((match(("tcp", "dport"), 22, "!="), DROP), PING, []),
        ((match(("tcp", "dport"), {"range": [7000, 8000]}), DROP), TCP, [("drop", True)]),
        ((match(("tcp", "dport"), 22), DROP), TCP, []),
        ((match(("tcp", "dport"), 22), DROP), PING, []),
        ((meta("iifname", "cbr*"), DROP), PING, [("drop", True)]),
        ((meta("oifname", "eth1"), DROP), PING, []),
        ((meta("nfproto", "ipv6"), DROP), PING, []),
        ((UNKNOWN, DROP), PING, [("drop", False)]),
        ((match(("ip", "saddr"), "10.9.9.9"), UNKNOWN, DROP), PING, []),
        (({"counter": None}, {"reject": None}), PING, [("reject", True)]),
        ((match(("icmp", "type"), "echo-request"), DROP), PING, [("drop", True)]),
        ((match(("icmp", "type"), "echo-reply"), DROP), PING, []),
        ((match(("icmp", "type"), "destination-unreachable"), DROP), PING, [("drop", False)]),
        ((match(("icmpv6", "type"), "echo-request"), DROP), SIX, [("drop", True)]),
        ((match(("icmpv6", "type"), {"set": ["nd-router-advert"]}), DROP), SIX, [("drop", False)]),
        ((match(("icmpv6", "type"), "echo-request"), DROP), PING, []),
    ],
)
def test_one_rule(expr: tuple[Object, ...], packet: Packet, found: list[tuple[str, bool]]) -> None:
    assert seen(packet, base(), rule(*expr)) == found


def test_a_rule_is_told_as_nft_writes_it() -> None:
    protocols = meta("l4proto", {"set": ["icmp", "ipv6-icmp"]})
    ports = match(("tcp", "dport"), {"set": [22, {"range": [7000, 8000]}]})
    for expr, text in (
        (protocols, "l4proto == { icmp, ipv6-icmp } drop"),
        (ports, "tcp dport == { 22, 7000-8000 } drop"),
        (
            match(("ip", "saddr"), {"set": [prefix("10.64.1.0", 24)]}),
            "ip saddr == { 10.64.1.0/24 } drop",
        ),
    ):
        assert shown((expr, DROP)) == text


def test_an_accept_before_it_ends_the_way_in_its_chain_only() -> None:
    accepted = (base(), rule(ACCEPT), rule(DROP))
    other = (base(table="late", prio=10), rule(DROP, table="late"))
    assert seen(PING, *accepted) == []
    assert seen(PING, *accepted, *other) == [("drop", True)]


def test_a_policy_drops_what_no_rule_ended() -> None:
    assert seen(PING, base("drop")) == [("drop", True)]
    assert seen(PING, base("drop"), rule(match(("ip", "saddr"), "10.64.1.2"), ACCEPT)) == []
    assert seen(PING, base("drop"), rule(UNKNOWN, ACCEPT)) == [("drop", False)]


def test_what_nobody_tracks_is_not_new() -> None:
    new = {"match": {"op": "in", "left": {"ct": {"key": "state"}}, "right": "new"}}
    outer = replace(PING, state="untracked")
    assert seen(PING, base("drop"), rule(new, ACCEPT)) == []
    assert seen(outer, base("drop"), rule(new, ACCEPT)) == [("drop", True)]


def test_jumps_come_back_and_gotos_do_not() -> None:
    target = (chain("j"), rule(match(("ip", "saddr"), "10.9.9.9"), DROP, name="j"))
    jump, goto = ({word: {"target": "j"}} for word in ("jump", "goto"))
    assert seen(PING, base(), *target, rule(jump), rule(DROP)) == [("drop", True)]
    assert seen(PING, base(), *target, rule(goto), rule(DROP)) == []


def test_a_ring_of_jumps_ends() -> None:
    ring = (chain("j"), rule({"jump": {"target": "j"}}, name="j"))
    assert seen(PING, base(), *ring, rule({"jump": {"target": "j"}}), rule(DROP)) == [
        ("drop", True)
    ]


def test_podnets_own_table_is_not_foreign() -> None:
    own = base(table="podnet")
    assert seen(PING, own, rule(DROP, table="podnet")) == []


def legacy(text: str, packet: Packet) -> list[tuple[str, bool]]:
    return seen(packet, *objects_of(text, "ip6" if ":" in packet.target else "ip"))


SAVED = "*filter\n:FORWARD {policy} [0:0]\n:user - [0:0]\n{rules}\nCOMMIT\n"


@pytest.mark.parametrize(
    ("policy", "rules", "found"),
    [
        ("DROP", "", [("drop", True)]),
        ("ACCEPT", "-A FORWARD -s 10.64.1.0/24 -j DROP", [("drop", True)]),
        ("ACCEPT", "-A FORWARD ! -s 10.64.1.0/24 -j DROP", []),
        ("ACCEPT", "-A FORWARD -i eth9 -j DROP", []),
        ("ACCEPT", "-A FORWARD -i cbr+ -p icmp -j DROP", [("drop", True)]),
        ("ACCEPT", "-A FORWARD -j user\n-A user -d 10.64.2.2/32 -j REJECT", [("reject", True)]),
        ("ACCEPT", "-A FORWARD -m recent --rcheck --name x -j DROP", [("drop", False)]),
    ],
)
def test_legacy_iptables(policy: str, rules: str, found: list[tuple[str, bool]]) -> None:
    assert legacy(SAVED.format(policy=policy, rules=rules), PING) == found


CIDRS = st.builds(
    lambda a, b, bits: prefix(f"10.{a}.{b}.0", bits),
    st.integers(60, 66),
    st.integers(0, 3),
    st.integers(8, 24),
)
MATCHES = st.one_of(
    st.builds(
        match,
        st.sampled_from([("ip", "saddr"), ("ip", "daddr")]),
        CIDRS,
        st.sampled_from(["==", "!="]),
    ),
    st.builds(meta, st.just("iifname"), st.sampled_from(["cbr0", "eth0", "c*"])),
    st.just(UNKNOWN),
)
RULES = st.lists(
    st.builds(
        lambda m, v: rule(*m, v), st.lists(MATCHES, max_size=3), st.sampled_from([DROP, ACCEPT])
    )
)


@given(RULES, st.sampled_from(["accept", "drop"]))
def test_at_most_one_certain_end_and_it_is_the_last_word(rules: list[Object], policy: str) -> None:
    found = seen(PING, base(policy), *rules)
    assert [sure for _what, sure in found].count(True) <= 1
    assert all(not sure for _what, sure in found[:-1])


@given(RULES)
def test_a_rule_that_accepts_everything_first_leaves_nothing(rules: list[Object]) -> None:
    assert seen(PING, base("drop"), rule(ACCEPT), *rules) == []
