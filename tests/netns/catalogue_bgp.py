# SPDX-License-Identifier: GPL-3.0-or-later
"""The fault catalogue of mode bgp: four nodes in one segment, of which the first two reflect.

A prefix that is lost takes packets with it; a session that is lost does not, as long as there is
another way or the routes outlive it.
"""

from __future__ import annotations

from dataclasses import dataclass

from catalogue_base import (
    DUAL,
    FOUR,
    ONE,
    ROUTER,
    THREE,
    TWO,
    V4,
    V6,
    Fault,
    around,
    gone,
    pair,
    rule,
)

ASN = 64512
FRR = "/usr/lib/frr/frr-reload.py --confdir /etc/frr/podnet --vty_socket /run/frr/podnet"
RELOAD = f"{FRR} --log-level critical --reload /etc/frr/podnet/frr.conf >/dev/null 2>&1; "
RESTART = (
    "for d in watchfrr bgpd zebra staticd; do kill -9 $(cat /run/frr/podnet/$d.pid); done "
    "2>/dev/null; rm -f /run/frr/podnet/watchfrr.pid; podnet-node heal"
)
SESSION, ANNOUNCED, FILTER = ("BGP session",), ("announcement",), ("prefix filter",)


@dataclass(frozen=True)
class BgpFault(Fault):
    """``silent``: no packet and no prefix of the fleet is concerned, so that `drift` alone says
    so."""

    silent: bool = False


def frr(*lines: str, family: str = "", router: bool = True) -> str:
    """Lines typed into the running configuration."""
    under = [f"router bgp {ASN}"] if router else []
    under += [f"address-family {family}"] if family else []
    words = " ".join(f"-c '{line}'" for line in ("configure terminal", *under, *lines))
    return f"vtysh -N podnet {words}; "


def afresh(family: str) -> str:
    """What was exchanged is exchanged again, by the filters as they are now."""
    return f"vtysh -N podnet -c 'clear bgp {family} unicast * soft'"


def with_reflectors(node: str, families: tuple[str, ...] = DUAL) -> frozenset[tuple[str, str, str]]:
    return pair(node, ONE, families) | pair(node, TWO, families)


BGP = (
    BgpFault(
        "a session that is shut down",
        THREE,
        frr("neighbor 192.0.2.11 shutdown"),
        SESSION,
        "neighbor 192.0.2.11",
        pair(ONE, THREE, V4),
        RELOAD,
    ),
    BgpFault(
        "an AS that the plan has not",
        FOUR,
        frr("neighbor podnet-reflectors-ipv4 remote-as 65009"),
        ("AS",),
        "neighbor 192.0.2.1",
        with_reflectors(FOUR, V4),
        RELOAD,
        also=around(FOUR, V4),
    ),
    BgpFault(
        "another password",
        THREE,
        frr("neighbor podnet-reflectors-ipv6 password other") + "vtysh -N podnet -c 'clear bgp *'",
        ("password",),
        "neighbor 2001:db8:a::1",
        with_reflectors(THREE, V6),
        RELOAD,
        also=around(THREE, V6),
    ),
    BgpFault(
        "a pod CIDR that is not announced",
        THREE,
        frr("no network 10.64.3.0/24", family="ipv4"),
        ANNOUNCED,
        "10.64.3.0/24",
        around(THREE, V4),
        RELOAD,
    ),
    BgpFault(
        "a pod CIDR filtered where it leaves",
        FOUR,
        # A second entry with the same prefix would confuse FRR 8.4 for good when it goes again.
        frr(
            "no ipv6 prefix-list podnet-own-ipv6 seq 5 permit fd00:64:0:4::/64",
            "ipv6 prefix-list podnet-own-ipv6 seq 5 permit fd00:64:0:99::/64",
            router=False,
        )
        + afresh("ipv6"),
        FILTER,
        "podnet-own-ipv6",
        around(FOUR, V6),
        RELOAD,
    ),
    BgpFault(
        "a pod CIDR filtered where it arrives",
        THREE,
        frr("ip prefix-list podnet-pods-ipv4 seq 1 deny 10.64.4.0/24", router=False)
        + afresh("ipv4"),
        FILTER,
        "podnet-pods-ipv4",
        pair(THREE, FOUR, V4),
        RELOAD,
    ),
    BgpFault(
        "a node announces another one's pod CIDR",
        THREE,
        frr("ip prefix-list podnet-own-ipv4 permit 10.64.4.0/24", router=False)
        + frr("network 10.64.4.0/24", family="ipv4")
        + afresh("ipv4"),
        ANNOUNCED,
        "10.64.4.0/24",
        around(FOUR, V4),
        RELOAD,
    ),
    BgpFault(
        "a prefix leaks that no node has",
        THREE,
        frr("ip prefix-list podnet-own-ipv4 permit 10.64.77.0/24", router=False)
        + frr("network 10.64.77.0/24", family="ipv4")
        + afresh("ipv4"),
        ANNOUNCED,
        "10.64.77.0/24",
        frozenset(),
        RELOAD,
        silent=True,
    ),
    BgpFault(
        "a line in FRR that its file has not",
        TWO,
        frr("ip prefix-list podnet-pods-ipv4 permit 172.31.0.0/16", router=False),
        ("FRR configuration",),
        "172.31.0.0/16",
        frozenset(),
        RELOAD,
        silent=True,
    ),
    BgpFault(
        "bgpd is dead, and nobody restarts it",
        THREE,
        "kill -9 $(cat /run/frr/podnet/watchfrr.pid /run/frr/podnet/bgpd.pid)",
        ("daemon",),
        "bgpd",
        with_reflectors(THREE),
        RESTART,
        also=around(THREE),
    ),
    BgpFault(
        "zebra is dead, and nobody restarts it",
        FOUR,
        "kill -9 $(cat /run/frr/podnet/watchfrr.pid /run/frr/podnet/zebra.pid)",
        ("daemon",),
        "",  # the one that should restart it is gone, too
        frozenset(),
        RESTART,
        silent=True,
    ),
    BgpFault(
        "TCP port 179 dropped",
        FOUR,
        # Whoever opened the session: one of the ports is 179.
        rule("inet", "output", "tcp dport 179 drop")
        + "; nft 'add rule inet other c tcp sport 179 drop'; vtysh -N podnet -c 'clear bgp *'",
        ("foreign rule",),
        "inet other c",
        with_reflectors(FOUR),
        gone("inet"),
        also=around(FOUR),
    ),
    BgpFault(
        "learned route shadowed by a more specific one",
        ONE,
        "ip route add 10.64.2.0/25 via 192.0.2.77",
        ("foreign route",),
        "10.64.2.",
        pair(ONE, TWO, V4),
        "ip route del 10.64.2.0/25",
    ),
    BgpFault(
        "learned route that gave way to somebody else's",
        TWO,
        "ip -6 route add fd00:64:0:3::/64 via 2001:db8:a::77; sleep 1",
        ("foreign route",),
        "fd00:64:0:3::/64",
        pair(TWO, THREE, V6),
        "ip -6 route del fd00:64:0:3::/64 via 2001:db8:a::77",
    ),
    BgpFault(
        "the cable of a node that reflects",
        ROUTER,
        "ip link set n1 down; sleep 11",
        ("underlay device",),
        "eth0",
        around(TWO),
        "ip link set n1 up",
        node=TWO,
    ),
)
