# SPDX-License-Identifier: GPL-3.0-or-later
"""Random fleets for property tests: valid ones, and ways to spoil them."""

from __future__ import annotations

from typing import Any

from ansible_collections.podnet.fabric.plugins.plugin_utils.intent.model import Fabric
from ansible_collections.podnet.fabric.plugins.plugin_utils.plan import compile_fleet
from hypothesis import strategies as st

Hosts = dict[str, dict[str, Any]]
CLUSTER = {"ipv4": "10.64.0.0/16", "ipv6": "fd00:64::/48"}
FAMILY_SETS = (("ipv4",), ("ipv6",), ("ipv4", "ipv6"))

# What an attacker, or a person in a hurry, might leave in a variable.
HOSTILE = (
    "$(touch /tmp/pwned)",
    "`touch /tmp/pwned`",
    "; touch /tmp/pwned",
    "x' ; touch /tmp/pwned ; '",
    'x" ; touch /tmp/pwned ; "',
    "a\nlink del dev eth0",
    "a && reboot",
    "a|sh",
    "../../etc/shadow",
    "/etc/cni/$(reboot)",
    "/x;reboot",
    "$(reboot).conflist",
    "-rf",
    "{{ 7 * 7 }}",
    "\u202e10.64.0.0/16",
    "x\0y",
    "",
    " ",
    "é",
    "a" * 300,
    "%s%n",
    "* * * * *",
    "cbr0 up",
    "fd00::%$(reboot)/64",
)
WRONG = (None, True, False, 0, -1, 1.5, 10**30, [], {}, [[]], [None], {"a": None}, [{"a": [1]}])


def row(number: int, families: tuple[str, ...]) -> dict[str, Any]:
    pods = {"ipv4": f"10.64.{number}.0/24", "ipv6": f"fd00:64:0:{number:x}::/64"}
    return {"podnet_pod_cidrs": [pods[family] for family in families]}


@st.composite
def hosts(draw: st.DrawFn, most: int = 6) -> Hosts:
    """Host variables of a valid fleet."""
    families = draw(st.sampled_from(FAMILY_SETS))
    mode = draw(st.sampled_from(("auto", "routed", "vxlan")))
    underlay = families if mode == "routed" else draw(st.sampled_from(FAMILY_SETS))
    count = draw(st.integers(1, most))
    numbers = draw(st.permutations(range(1, count + 1)))
    segments = (
        ["one"]
        if mode == "routed"
        else draw(
            st.lists(st.sampled_from(("one", "two", "three")), min_size=1, max_size=3, unique=True)
        )
    )
    shared: dict[str, Any] = {
        "podnet_cluster_cidrs": [CLUSTER[family] for family in families],
        "podnet_mode": mode,
        "podnet_vni": draw(st.integers(1, 99999)),
        "podnet_vxlan_port": draw(st.sampled_from((4789, 8472, 1))),
        "podnet_masquerade": list(draw(st.sampled_from((*FAMILY_SETS, ())))),
        "podnet_bridge": draw(st.sampled_from(("cbr0", "br-pods"))),
    }
    fleet: Hosts = {}
    for number in numbers:
        addresses = {"ipv4": f"192.0.2.{number}", "ipv6": f"2001:db8::{number:x}"}
        fleet[f"node-{number}"] = {
            **shared,
            **row(number, families),
            "podnet_underlay_addresses": [addresses[family] for family in underlay],
            "podnet_underlay_mtu": draw(st.sampled_from((1500, 1400, 9000))),
            "podnet_segment": draw(st.sampled_from(segments)),
        }
    return fleet


@st.composite
def speakers(draw: st.DrawFn) -> Fabric:
    """A fleet of mode bgp: one AS, routers in some segments; or an AS and routers for each one."""
    fleet = draw(hosts())
    families = draw(st.sampled_from(FAMILY_SETS))
    asns = draw(st.booleans())
    segments = {values["podnet_segment"] for values in fleet.values()}
    routed = {segment: asns or draw(st.booleans()) for segment in sorted(segments)}
    addresses = {"ipv4": "192.0.2.250", "ipv6": "2001:db8::fa"}
    for number, values in enumerate(fleet.values(), 1):
        segment = values["podnet_segment"]
        own = {"ipv4": f"192.0.2.{number}", "ipv6": f"2001:db8::{number:x}"}
        values |= row(number, families) | {
            "podnet_cluster_cidrs": [CLUSTER[family] for family in families],
            "podnet_mode": "bgp",
            "podnet_underlay_addresses": [own[family] for family in families],
            "podnet_bgp_reflector": draw(st.booleans()),
            "podnet_bgp_asn": 65000 + (sorted(segments).index(segment) if asns else 0),
            "podnet_bgp_peers": [
                {"address": addresses[f], "asn": 64999} for f in families if routed[segment]
            ],
        }
    return compile_fleet(fleet)


@st.composite
def fabrics(draw: st.DrawFn, most: int = 6) -> Fabric:
    return compile_fleet(draw(hosts(most=most)))


def as_table(fleet: Hosts) -> dict[str, Any]:
    """The same fleet as a node table in group variables."""
    node_keys = ("pod_cidrs", "underlay_addresses", "underlay_mtu", "segment")
    table = {
        name: {key: values[f"podnet_{key}"] for key in node_keys} for name, values in fleet.items()
    }
    first = next(iter(fleet.values()))
    shared = {k: v for k, v in first.items() if k.removeprefix("podnet_") not in node_keys}
    return {**shared, "podnet_nodes": table}
