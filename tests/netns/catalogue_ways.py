# SPDX-License-Identifier: GPL-3.0-or-later
"""Faults of the ways between nodes: routes, overlay, underlay."""

from __future__ import annotations

from ansible_collections.podnet.fabric.plugins.plugin_utils.kernel.objects import route_metric
from catalogue_base import (
    FOUR,
    ONE,
    ROUTER,
    THREE,
    TWO,
    V4,
    V6,
    Fault,
    across,
    around,
    gone,
    loop,
    pair,
    rule,
)

METRIC_ONE, METRIC_TWO = (route_metric(f"10.64.{n}.0/24") for n in (1, 2))
DELETES, DELETES_END = loop("ip route del 10.64.3.0/24 proto 112")
FDB = "set -- $(bridge fdb show dev pn64 | grep 'dst 198.51.100.11'); mac=$1; "
DEVICE, SETTING, FOREIGN = ("device",), ("setting",), ("foreign rule",)

ROUTES = (
    Fault(
        "route deleted",
        ONE,
        "ip route del 10.64.2.0/24 proto 112",
        ("route",),
        "10.64.2.0/24",
        pair(ONE, TWO, V4),
    ),
    Fault(
        "route over VXLAN deleted",
        ONE,
        "ip route del 10.64.3.0/24 proto 112",
        ("route",),
        "10.64.3.0/24",
        pair(ONE, THREE, V4),
    ),
    Fault(
        "IPv6 route deleted",
        TWO,
        "ip -6 route del fd00:64:0:1::/64 proto 112",
        ("route",),
        "fd00:64:0:1::/64",
        pair(ONE, TWO, V6),
    ),
    Fault(
        "IPv6 route over VXLAN deleted",
        FOUR,
        "ip -6 route del fd00:64:0:2::/64 proto 112",
        ("route",),
        "fd00:64:0:2::/64",
        pair(TWO, FOUR, V6),
    ),
    Fault(
        "wrong next hop",
        ONE,
        f"ip route change 10.64.2.0/24 via 192.0.2.77 proto 112 metric {METRIC_TWO}",
        ("route",),
        "10.64.2.0/24",
        pair(ONE, TWO, V4),
    ),
    Fault(
        "wrong next hop over VXLAN",
        THREE,
        f"ip route change 10.64.1.0/24 via 10.64.4.1 dev pn64 onlink proto 112 metric {METRIC_ONE}",
        ("route",),
        "10.64.1.0/24",
        pair(ONE, THREE, V4),
    ),
    Fault(
        "more specific route with an MTU",
        ONE,
        "ip route add 10.64.2.0/25 via 192.0.2.12 dev eth0 mtu lock 1000",
        ("foreign route",),
        "10.64.2.0/25",
        pair(ONE, TWO, V4),
        "ip route del 10.64.2.0/25",
    ),
    Fault(
        "route shadowed by a more specific one",
        ONE,
        "ip route add 10.64.2.0/25 via 192.0.2.77",
        ("foreign route",),
        "10.64.2.",
        pair(ONE, TWO, V4),
        "ip route del 10.64.2.0/25",
    ),
    Fault(
        "route shadowed by a lower metric",
        FOUR,
        "ip route add 10.64.1.0/24 via 198.51.100.77 metric 5",
        ("foreign route",),
        "10.64.1.",
        pair(ONE, FOUR, V4),
        "ip route del 10.64.1.0/24 metric 5",
    ),
    Fault(
        "IPv6 route shadowed",
        TWO,
        "ip -6 route add unreachable fd00:64:0:3::/65",
        ("foreign route",),
        "fd00:64:0:3:",
        pair(TWO, THREE, V6),
        "ip -6 route del unreachable fd00:64:0:3::/65",
    ),
    Fault(
        "policy rule to a table of its own",
        ONE,
        "ip route add blackhole default table 99; ip rule add from 10.64.1.0/24 to "
        "10.64.2.0/24 table 99 priority 90",
        ("policy rule",),
        "priority 90",
        pair(ONE, TWO, V4),
        "ip rule del priority 90; ip route flush table 99",
    ),
    Fault(
        "policy rule that prohibits",
        THREE,
        "ip -6 rule add to fd00:64:0:4::/64 prohibit priority 80",
        ("policy rule",),
        "priority 80",
        pair(THREE, FOUR, V6),
        "ip -6 rule del priority 80",
    ),
    Fault(
        "a daemon deletes a route",
        TWO,
        DELETES,
        ("route",),
        "10.64.3.0/24",
        pair(TWO, THREE, V4),
        DELETES_END,
    ),
    Fault(
        "underlay address routed into nothing",
        ONE,
        "ip route add blackhole 198.51.100.11",
        ("underlay route",),
        "198.51.100.11",
        pair(ONE, THREE),
        "ip route del blackhole 198.51.100.11",
    ),
)

OVERLAY = (
    Fault(
        "neighbour deleted",
        ONE,
        "ip neigh del 10.64.3.1 dev pn64",
        ("neighbour",),
        "10.64.3.1",
        pair(ONE, THREE, V4),
    ),
    Fault(
        "neighbour of another VTEP",
        ONE,
        "ip neigh replace 10.64.3.1 lladdr 02:00:00:00:00:99 dev pn64 nud permanent",
        ("neighbour",),
        "10.64.3.1",
        pair(ONE, THREE, V4),
    ),
    Fault(
        "FDB entry deleted",
        ONE,
        FDB + "bridge fdb del $mac dev pn64 dst 198.51.100.11 self",
        ("FDB entry",),
        "dev pn64",
        pair(ONE, THREE),
    ),
    Fault(
        "FDB entry to another VTEP",
        ONE,
        FDB + "bridge fdb replace $mac dev pn64 dst 198.51.100.12 self permanent",
        ("FDB entry",),
        "dev pn64",
        pair(ONE, THREE),
    ),
    Fault("VXLAN device down", THREE, "ip link set pn64 down", DEVICE, "pn64", across(THREE)),
    Fault("VXLAN device deleted", THREE, "ip link del pn64", DEVICE, "pn64", across(THREE)),
    Fault(
        "VXLAN device with another VNI",
        THREE,
        "a=$(cat /sys/class/net/pn64/address); ip link del pn64; ip link add pn64 address $a "
        "type vxlan id 65 local 198.51.100.11 dstport 4789 nolearning; "
        "ip link property add dev pn64 altname podnet-pn64; ip link set pn64 mtu 1450 up",
        DEVICE,
        "pn64",
        across(THREE),
    ),
    Fault(
        "VXLAN device with another port",
        FOUR,
        "a=$(cat /sys/class/net/pn64/address); ip link del pn64; ip link add pn64 address $a "
        "type vxlan id 64 local 198.51.100.12 dstport 8472 nolearning; "
        "ip link property add dev pn64 altname podnet-pn64; ip link set pn64 mtu 1450 up",
        DEVICE,
        "pn64",
        across(FOUR),
    ),
    Fault("VXLAN MTU too small", ONE, "ip link set pn64 mtu 1300", DEVICE, "pn64", across(ONE)),
    Fault(
        "VXLAN MAC of another node",
        FOUR,
        "ip link set pn64 address $(bridge fdb show dev pn64 | "
        "sed -n 's/ dst 192.0.2.11.*//p' | head -n 1)",
        DEVICE,
        "pn64",
        across(FOUR),
    ),
)

UNDERLAY = (
    Fault(
        "underlay MTU smaller than declared",
        ONE,
        "ip link set eth0 mtu 1400",
        ("underlay device",),
        "eth0",
        pair(ONE, TWO),
        "ip link set eth0 mtu 1500",
        also=across(ONE),
    ),
    Fault(
        "the cable of a node",
        ROUTER,
        "ip link set n1 down",
        ("underlay device",),
        "eth0",
        around(TWO),
        "ip link set n1 up",
        node=TWO,
    ),
    Fault(
        "the path between segments",
        ROUTER,
        rule("inet", "forward", "ip saddr 192.0.2.11 ip daddr 198.51.100.11 drop"),
        ("underlay",),
        "node-1 - node-3",
        pair(ONE, THREE),
        gone("inet"),
        node=ONE,
    ),
    Fault(
        "VXLAN checksums are wrong",
        ONE,
        rule("inet", "output", "ip daddr 198.51.100.12 udp dport 4789 udp checksum set 4660"),
        ("checksum offload",),
        "eth0",
        pair(ONE, FOUR),
        gone("inet"),
    ),
)
