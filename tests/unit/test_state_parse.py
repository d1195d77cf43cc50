# SPDX-License-Identifier: GPL-3.0-or-later
"""The answer of a node → state: what is podnet's, what is not, and answers cut off anywhere."""

from __future__ import annotations

import copy
import hashlib
import json
from typing import Any

import pytest
from ansible_collections.podnet.fabric.plugins.plugin_utils.kernel.objects import (
    Address,
    FdbEntry,
    Link,
    Neighbour,
    Route,
    Vxlan,
    route_metric,
)
from ansible_collections.podnet.fabric.plugins.plugin_utils.kernel.state import (
    State,
    UnreadableError,
    parse,
)
from hypothesis import given, settings
from hypothesis import strategies as st


def link(name: str, kind: str, own: bool = True, **info: Any) -> dict[str, Any]:
    item: dict[str, Any] = {
        "addr_info": [],
        "ifname": name,
        "address": "02:00:00:00:00:01",
        "mtu": 1450,
        "flags": ["BROADCAST", "UP"],
        "linkinfo": {"info_kind": kind, "info_data": info},
    }
    return {**item, "altnames": [f"podnet-{name}"]} if own else item


BRIDGES = [
    {
        **link("cbr0", "bridge"),
        "addr_info": [
            {"family": "inet", "local": "10.64.1.1", "prefixlen": 24, "scope": "global"},
            {},
        ],
    },
    link("br9", "bridge", own=False),
]
VXLANS = [
    link("pn64", "vxlan", id=64, port=4789, local="192.0.2.1"),
    link("vx9", "vxlan", own=False, id=9, port=9, local6="2001:db8::1"),
]
ROUTES = [
    {"dst": "default", "gateway": "192.0.2.254", "dev": "eth0"},
    {
        "dst": "10.64.2.0/24",
        "gateway": "192.0.2.2",
        "dev": "eth0",
        "protocol": "podnet",
        "prefsrc": "10.64.1.1",
        "metric": 270,
        "flags": [],
    },
    {
        "dst": "10.64.3.0/24",
        "gateway": "10.64.3.1",
        "dev": "pn64",
        "protocol": "112",
        "metric": 112,
        "flags": ["onlink"],
    },
    {"dst": "10.64.2.0/24", "gateway": "192.0.2.9", "dev": "eth0", "metric": 5, "flags": []},
    {"dst": "10.64.3.0/24", "type": "blackhole", "protocol": "112", "metric": 113, "flags": []},
    {"dst": "10.64.9.9", "gateway": "192.0.2.2", "protocol": "112", "metric": 112, "flags": []},
    {"dst": "172.16.0.0/12", "gateway": "192.0.2.9", "protocol": "static", "flags": []},
    {"dst": "default", "gateway": "fe80::1", "dev": "eth0", "protocol": "ra", "table": "main"},
    {
        "dst": "fd00::5",
        "via": {"family": "inet6", "host": "fe80::2"},
        "protocol": "podnet",
        "metric": 112,
        "metrics": [{"hoplimit": 9}, {"mtu": 1450}],
        "table": "main",
    },
    {"dst": "10.64.2.0/24", "dev": "eth0", "protocol": "112", "metric": 112, "table": "7"},
    {"dst": "default", "dev": "eth1", "protocol": "ra", "table": "7"},
    {"dst": "192.0.2.0/24", "dev": "eth0", "protocol": "kernel", "scope": "link"},
    {"dst": "192.0.2.1", "type": "local", "dev": "eth0", "protocol": "kernel", "table": "local"},
    {"dst": "10.8.0.0/16", "nexthops": [{"gateway": "192.0.2.9"}, {"dev": "tun0"}]},
    {"dst": "10.9.0.0/16", "nexthops": [{"gateway": "192.0.2.9"}, {"gateway": "192.0.2.8"}]},
]
NEIGHBOURS = [
    {"dst": "10.64.3.1", "dev": "pn64", "lladdr": "02:aa:00:00:00:01", "state": ["PERMANENT"]},
    {"dst": "10.64.4.1", "dev": "pn64", "lladdr": "02:aa:00:00:00:02", "state": ["STALE"]},
    {"dst": "10.64.1.9", "dev": "cbr0", "lladdr": "02:aa:00:00:00:03", "state": ["PERMANENT"]},
    {"dst": "10.9.9.9", "dev": "vx9", "lladdr": "02:aa:00:00:00:04", "state": ["PERMANENT"]},
]
UNDERLAY = [
    {},
    {
        "ifname": "eth0",
        "mtu": 1500,
        "flags": ["UP"],
        "addr_info": [{"family": "inet", "local": "192.0.2.1", "prefixlen": 24}],
    },
]
INET = """table inet podnet {
\tset vteps4 {
\t\ttype ipv4_addr
\t\telements = { 192.0.2.2, 192.0.2.3,
\t\t\t     192.0.2.4 }
\t}

\tset vteps6 {
\t\ttype ipv6_addr
\t}

\tset peers4 {
\t\ttype ipv4_addr
\t\telements = { 192.0.2.7 }
\t}

\tchain leaving4 {
\t\tip daddr 10.64.0.0/16 return
\t\tip daddr @peers4 return
\t\tmasquerade fully-random
\t}

\tchain leaving6 {
\t\tip6 daddr ::10.0.0.1 return
\t\tmasquerade fully-random
\t}
}"""
# As `nft -t` prints it, and as it is without that.
TERSE = """table bridge podnet {
\tset owners4 {
\t\ttypeof iifname . ip saddr
\t\tflags dynamic
\t}
}"""
BRIDGED = TERSE.replace(
    "dynamic\n",
    'dynamic\n\t\telements = { "veth1" . 10.64.1.5, "gone" . 10.64.1.5,\n\t\t\t     '
    '"veth2" . 10.64.1.6,'
    '"veth3" . 10.64.1.6, "veth1" . 0xfd000064000000010000000000000002,'
    '"veth2" . 0xfd000064000000010000000000000002, "veth4" . 02:00:00:00:00:01 }\n',
)
RECORD = hashlib.sha256(f"{INET}\n{TERSE}\n".encode()).hexdigest()


def batch(*lists: list[dict[str, Any]]) -> str:
    return "\n".join(json.dumps(items) for items in lists)


SECTIONS: dict[str, Any] = {
    "ip": batch(UNDERLAY, BRIDGES, VXLANS, NEIGHBOURS, ROUTES),
    "asked": "0",
    "fdb pn64": [{"mac": "02:aa:00:00:00:01", "dst": "192.0.2.2"}, {"mac": "33:33:00:00:00:01"}],
    "fdb vx9": [{"mac": "02:bb:00:00:00:01", "dst": "192.0.2.9"}],
    "nft": f"aaa {RECORD}",
    "tables": f"{INET}\n{BRIDGED}",
    "ports": "all default lo veth1 veth2 veth3",
    "networkd": "/run/systemd/netif/links/7",
    "recorded": "10.64.1.1/24\n",
    "held": "# comment\nnet/ipv6/conf/eth0/accept_ra = 2",
    "node": "current=/etc/podnet/generations/7\ngenerations= 6 7 *\nsystemd=yes\nmissing= nft awk",
    "reservations": "10.64.1.5 abc\nfd00::5 def",
    "live": "10.64.1.5",
    "sysctls": "net/ipv4/ip_forward:1\nnet/ipv6/conf/eth0/accept_ra:2",
    "files": "abc  /etc/podnet/current/routes.batch\ndef  /etc/cni/net.d/10-podnet.conflist",
    "symlinks": "/a/b /c/d",
    "plugins": 'bridge known\nportmap absent\nbandwidth {"supportedVersions": ["0.4.0", "1.0.0"]}\n'
    "host-local Segmentation fault",
    **dict.fromkeys(("underlay 192.0.2.1", "running", "loose", "end"), ""),
}


def answer(sections: dict[str, Any] = SECTIONS) -> str:
    parts = ["Welcome to this node!\n"]
    for name, value in sections.items():
        text = value if isinstance(value, str) else json.dumps(value)
        parts.append(f"\n@@podnet {name}\n{text}")
    return "".join(parts)


def read(sections: dict[str, Any] = SECTIONS) -> State:
    return parse(answer(sections), frozenset({"10.64.2.0/24", "10.64.3.0/24"}))


def test_an_address_that_two_live_ports_use_is_contested() -> None:
    assert read().contested == {
        "10.64.1.6": ("veth2", "veth3"),
        "fd00:64:0:1::2": ("veth1", "veth2"),
    }


def test_routes_of_an_frr_that_has_ended_are_still_its_own() -> None:
    """They are the only way there, and nobody may be told to remove them."""
    routes = [{"dst": "10.64.2.0/24", "gateway": "192.0.2.2", "protocol": "bgp", "metric": 20}]
    sections = {**SECTIONS, "ip": batch([], [], [], [], routes)}
    for said, learned in (("frr_conf=abc  -", {"10.64.2.0/24": ("192.0.2.2",)}), ("frr=", {})):
        state = read({**sections, "node": SECTIONS["node"] + "\n" + said})
        assert state.learned == learned
        assert len(state.foreign_routes) == (not learned)


def test_senders_are_read_by_set() -> None:
    assert read().senders == {"vteps4": ("192.0.2.2", "192.0.2.3", "192.0.2.4"), "vteps6": ()}


def test_what_is_not_masqueraded_is_read_by_chain() -> None:
    """By rules and by the set that one of them names, in the notation of the plan."""
    assert read().untranslated == {
        "leaving4": ("10.64.0.0/16", "192.0.2.7"),
        "leaving6": ("::a00:1",),
    }


def test_what_is_ours() -> None:
    state = read()
    mac = "02:00:00:00:00:01"
    assert state.links == (
        Link("cbr0", mac, 1450),
        Link("pn64", mac, 1450, Vxlan(64, 4789, "192.0.2.1")),
    )
    assert state.routes == (
        Route("10.64.2.0/24", "192.0.2.2", "10.64.1.1", "eth0", metric=270),
        # As earlier releases made them.
        Route("10.64.3.0/24", "10.64.3.1", "", "pn64", onlink=True, metric=112),
        Route("10.64.9.9/32", "192.0.2.2", "", metric=112),
        Route("fd00::5/128", "fe80::2", "", metric=112, mtu=1450),
    )
    assert state.neighbours == (Neighbour("pn64", "10.64.3.1", "02:aa:00:00:00:01"),)
    assert state.fdb == (FdbEntry("pn64", "02:aa:00:00:00:01", "192.0.2.2"),)
    assert state.addresses == (Address("cbr0", "10.64.1.1/24"),)
    assert state.recorded_addresses == ("10.64.1.1/24",)


def test_what_networkd_made_by_podnets_file_is_ours_and_not_marked() -> None:
    bridges: list[dict[str, Any]] = copy.deepcopy(BRIDGES)
    for item in bridges:
        item["ifindex"] = 7 if item.pop("altnames", []) else 8
    state = read({**SECTIONS, "ip": batch(UNDERLAY, bridges, VXLANS, NEIGHBOURS, ROUTES)})
    assert state.links[0] == Link("cbr0", "02:00:00:00:00:01", 1450, marked=False)
    assert "br9" in state.foreign_links


def test_files_of_others_beside_reservations_are_none() -> None:
    text = "10.64.1.5 abc\n10.64.1.7.bak x\nlast_reserved_ip.0 10.64.1.5"
    assert read({**SECTIONS, "reservations": text}).reservations == (("10.64.1.5", "abc"),)


def test_the_label_of_an_mpls_route_is_no_network() -> None:
    routes = [*ROUTES, {"dst": "100", "dev": "eth0"}, {"dst": "10.0.0.1/8", "dev": "eth0"}]
    text = batch(UNDERLAY, BRIDGES, VXLANS, NEIGHBOURS, routes)
    assert read({**SECTIONS, "ip": text}).onlink == read().onlink


def test_nothing_that_a_node_says_steers_a_terminal() -> None:
    state = read({**SECTIONS, "reservations": "10.64.1.5 \x1b[2J\x1b[H"})
    assert state.reservations == (("10.64.1.5", "?[2J?[H"),)


@pytest.mark.parametrize("generations", ["9" * 4000, "²", "1 2 x"])
def test_a_generation_is_a_small_number(generations: str) -> None:
    node = f"current=/etc/podnet/generations/7\ngenerations= {generations}\nmissing="
    assert max(read({**SECTIONS, "node": node}).generations, default=0) <= 2


def test_what_is_reached_without_a_router() -> None:
    assert read().onlink == ("10.64.2.0/24", "default", "192.0.2.0/24", "10.8.0.0/16")


def test_the_metric_of_a_route_follows_its_destination_alone() -> None:
    """Pinned: with another one, the routes of all nodes would change."""
    assert [route_metric(f"10.64.{number}.0/24") for number in (1, 2, 3, 4)] == [160, 270, 299, 371]
    assert route_metric("fd00:64:0:1::/64") == 112
    metrics = {route_metric(f"10.{i >> 8}.{i & 255}.0/24") for i in range(10_000)}
    assert metrics == set(range(112, 496))


def test_what_is_not() -> None:
    state = read()
    assert {"br9", "vx9", "eth0"} <= set(state.foreign_links)
    assert not set(state.foreign_links) & {link.name for link in state.links}
    assert [(r.dst, r.metric) for r in state.foreign_routes] == [
        ("10.64.2.0/24", 5),
        ("10.64.3.0/24", 113),
    ]
    assert "192.0.2.9" in state.foreign_routes[0].text


def test_the_rest() -> None:
    state = read()
    assert (state.generation, state.generations) == (7, (6, 7))
    assert state.ra_devices == ("eth0",)
    assert state.missing_tools == ("nft", "awk")
    assert state.held == {"net/ipv6/conf/eth0/accept_ra": "2"}
    assert (state.has_systemd, state.pending) == (True, "")
    assert [(u.address, u.dev, u.mtu, u.up) for u in state.underlay] == [
        ("192.0.2.1", "eth0", 1500, True)
    ]
    assert state.files["/etc/cni/net.d/10-podnet.conflist"] == "def"
    assert state.plugins == {
        "bridge": ("known",),
        "portmap": (),
        "bandwidth": ("0.4.0", "1.0.0"),
        "host-local": ("unreadable",),
    }


@pytest.mark.parametrize(
    ("changed", "loaded"),
    [
        ({}, "aaa"),
        ({"tables": f"{INET}\n{TERSE}"}, "aaa"),
        ({"tables": f"{INET}\n{BRIDGED}".replace("flags", "no flags")}, ""),
        ({"tables": f"{INET}\n{BRIDGED}".replace("192.0.2.4", "192.0.2.5")}, ""),
        ({"tables": BRIDGED}, ""),
        ({"tables": INET}, ""),
        ({"nft": ""}, ""),
        ({"nft": "aaa"}, ""),
        ({"nft": f"a b {RECORD}"}, ""),
        ({"tables": ""}, ""),
        ({"tables": f"nft> list\n{INET}\nnft> list\n{BRIDGED}\nnft> "}, "aaa"),
    ],
)
def test_the_table_counts_as_loaded_only_when_it_is_as_it_was(
    changed: dict[str, str], loaded: str
) -> None:
    """What pods teach the bridge table is no change of it."""
    state = read({**SECTIONS, **changed})
    assert state.nft_loaded == loaded
    assert state.nft_present == (changed != {"tables": ""})


@pytest.mark.parametrize("name", [n for n in SECTIONS if " " not in n])
def test_a_missing_section_is_an_error_and_no_empty_node(name: str) -> None:
    """Else everything would be made anew, or a part of it be taken for gone."""
    with pytest.raises(UnreadableError):
        read({k: v for k, v in SECTIONS.items() if k != name})


@pytest.mark.parametrize("name", ["fdb pn64", "fdb vx9", "ip"])
@pytest.mark.parametrize("text", ["[{", "Error: no such object", "{}{}", "[5]", '[{"x": 1}]'])
def test_what_is_no_output_of_the_tool_is_an_error(name: str, text: str) -> None:
    harmless = {"[5]": ("fdb vx9",), '[{"x": 1}]': ("fdb pn64", "fdb vx9")}
    if name in harmless.get(text, ()):
        read({**SECTIONS, name: text})
        return
    with pytest.raises(UnreadableError):
        read({**SECTIONS, name: text})


def test_a_batch_that_ended_early_is_an_error() -> None:
    """What came after the question that failed would be taken for gone."""
    with pytest.raises(UnreadableError, match="ip -batch ended with '1'"):
        read({**SECTIONS, "ip": batch(UNDERLAY, BRIDGES), "asked": "1"})


@settings(max_examples=150, deadline=None)
@given(st.integers(0, len(answer()) - 1))
def test_an_answer_cut_off_anywhere_is_an_error(cut: int) -> None:
    text = answer()[:cut]
    if "@@podnet end" in text:
        return
    with pytest.raises(UnreadableError):
        parse(text, frozenset())


@given(st.text(max_size=300))
def test_noise_is_an_error(text: str) -> None:
    with pytest.raises(UnreadableError):
        parse(text, frozenset())


@pytest.mark.parametrize("name", ["ip", "fdb pn64"])
def test_nothing_printed_means_nothing_there(name: str) -> None:
    read({**SECTIONS, name: ""})


@pytest.mark.parametrize(
    "dst",
    [
        "fd00:99::%x\nsystemctl reboot\n/64",  # the module ipaddress takes this one
        "fd00:99::%$(reboot)/64",
        "10.64.9.0/24 via 192.0.2.9",
        "10.64.9.0/24\n",
        "10.64.9.0/24; reboot",
        "-batch/24",
    ],
)
def test_a_node_cannot_write_into_the_lines_of_others(dst: str) -> None:
    """A range that retires is taken from one node's routes into the plans of all."""
    own = {"dst": dst, "gateway": "192.0.2.2", "protocol": "112", "metric": 112, "flags": []}
    with pytest.raises(UnreadableError, match="which is no network"):
        parse(answer({**SECTIONS, "ip": batch([own])}), frozenset())
