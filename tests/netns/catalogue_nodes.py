# SPDX-License-Identifier: GPL-3.0-or-later
"""Faults inside a node: bridge, settings, foreign rules, pods."""

from __future__ import annotations

from catalogue_base import (
    FOUR,
    ONE,
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
    policy,
    rule,
)

FREES, FREES_END = loop(
    "for p in $(ls /sys/class/net/cbr0/brif); do ip link set dev $p nomaster; done"
)
NETWORK = "/var/lib/cni/networks/podnet"
EARLIER = (
    '{"cniVersion":"1.0.0","name":"other","plugins":[{"type":"bridge","bridge":"other0",'
    '"isGateway":true,"ipam":{"type":"host-local","ranges":[[{"subnet":"10.99.0.0/24"}]],'
    '"routes":[{"dst":"0.0.0.0/0"}]}}]}'
)
DEVICE, SETTING, FOREIGN = ("device",), ("setting",), ("foreign rule",)

BRIDGE = (
    Fault(
        "bridge down",
        TWO,
        "ip link set cbr0 down",
        ("device", "address"),
        "cbr0",
        around(TWO, V6),
        also=around(TWO, own=True),
    ),
    Fault("bridge MTU too small", TWO, "ip link set cbr0 mtu 1300", DEVICE, "cbr0", around(TWO)),
    Fault(
        "bridge without its address",
        TWO,
        "ip address del 10.64.2.1/24 dev cbr0",
        ("address",),
        "10.64.2.1/24",
        around(TWO, V4),
        also=pair(TWO, TWO, V4),
    ),
    Fault(
        "bridge without its IPv6 address",
        ONE,
        "ip address del fd00:64:0:1::1/64 dev cbr0",
        ("address",),
        "fd00:64:0:1::1/64",
        around(ONE, V6),
        also=pair(ONE, ONE, V6),
    ),
    Fault(
        "veths are taken off the bridge",
        THREE,
        FREES,
        ("veth",),
        "cbr0",
        around(THREE, own=True),
        FREES_END,
    ),
)

SETTINGS = (
    Fault(
        "forwarding off",
        TWO,
        "echo 0 >/proc/sys/net/ipv4/ip_forward",
        SETTING,
        "net/ipv4/ip_forward",
        around(TWO, V4),
    ),
    Fault(
        "IPv6 forwarding off",
        TWO,
        "echo 0 >/proc/sys/net/ipv6/conf/all/forwarding",
        SETTING,
        "net/ipv6/conf/all/forwarding",
        around(TWO, V6),
    ),
    Fault(
        "forwarding off on the bridge",
        TWO,
        "echo 0 >/proc/sys/net/ipv4/conf/cbr0/forwarding",
        SETTING,
        "conf/cbr0/forwarding",
        around(TWO, V4),
    ),
    Fault(
        "forwarding off on the underlay",
        ONE,
        "echo 0 >/proc/sys/net/ipv4/conf/eth0/forwarding",
        SETTING,
        "conf/eth0/forwarding",
        # Nodes across a segment are reached from pods by the underlay, as everything outside is.
        around(ONE, V4),
    ),
    Fault(
        "forwarding off on VXLAN",
        FOUR,
        "echo 0 >/proc/sys/net/ipv4/conf/pn64/forwarding",
        SETTING,
        "conf/pn64/forwarding",
        across(FOUR, V4),
    ),
    Fault(
        "IPv6 switched off on the bridge",
        ONE,
        "echo 1 >/proc/sys/net/ipv6/conf/cbr0/disable_ipv6",
        ("setting", "address"),
        "cbr0",
        around(ONE, V6),
        also=pair(ONE, ONE, V6),
    ),
    Fault(
        "rp_filter on a path with a detour back",
        TWO,
        "echo 1 >/proc/sys/net/ipv4/conf/eth0/rp_filter; "
        "ip route add 10.64.1.0/24 via 10.64.3.1 dev pn64 onlink metric 5",
        ("setting", "foreign route"),
        "",
        pair(ONE, TWO, V4),
        "ip route del 10.64.1.0/24 metric 5; echo 2 >/proc/sys/net/ipv4/conf/eth0/rp_filter",
    ),
)

FILTERS = (
    Fault(
        "FORWARD policy drop, nftables",
        TWO,
        policy("ip", "forward"),
        FOREIGN,
        "ip other c",
        around(TWO, V4),
        gone("ip"),
        also=pair(TWO, TWO, V4),
    ),
    Fault(
        "FORWARD policy drop, iptables",
        THREE,
        "iptables-nft -P FORWARD DROP",
        FOREIGN,
        "ip filter FORWARD",
        around(THREE, V4),
        "iptables-nft -P FORWARD ACCEPT; nft delete table ip filter",
        also=pair(THREE, THREE, V4),
    ),
    Fault(
        "FORWARD policy drop, legacy iptables",
        ONE,
        "iptables-legacy -P FORWARD DROP",
        FOREIGN,
        "FORWARD",
        around(ONE, V4),
        "iptables-legacy -P FORWARD ACCEPT",
        also=pair(ONE, ONE, V4),
    ),
    Fault(
        "ufw style: accept some, drop the rest",
        FOUR,
        "iptables-nft -N ufw-user; iptables-nft -A FORWARD -m conntrack --ctstate "
        "RELATED,ESTABLISHED -j ACCEPT; iptables-nft -A FORWARD -s 10.64.3.0/24 -j ufw-user; "
        "iptables-nft -A ufw-user -j DROP",
        FOREIGN,
        "ip filter ufw-user",
        pair(THREE, FOUR, V4),
        "nft delete table ip filter",
    ),
    Fault(
        "packets of one peer dropped",
        TWO,
        rule("inet", "forward", "ip saddr 10.64.1.0/24 drop"),
        FOREIGN,
        "inet other c",
        pair(ONE, TWO, V4),
        gone("inet"),
    ),
    Fault(
        "IPv6 dropped behind a jump",
        THREE,
        "nft add table inet other; nft add chain inet other j; "
        "nft add rule inet other j ip6 daddr fd00:64:0:4::/64 drop; "
        "nft 'add chain inet other c { type filter hook forward priority 0; }'; "
        "nft add rule inet other c meta nfproto ipv6 jump j",
        FOREIGN,
        "inet other j",
        pair(THREE, FOUR, V6),
        gone("inet"),
    ),
    Fault(
        "UDP dropped",
        ONE,
        rule("inet", "forward", "meta l4proto udp drop"),
        FOREIGN,
        "inet other c",
        around(ONE),
        gone("inet"),
        also=pair(ONE, ONE),
    ),
    Fault(
        "VXLAN port dropped",
        THREE,
        rule("inet", "input", "udp dport 4789 drop"),
        FOREIGN,
        "inet other c",
        across(THREE),
        gone("inet"),
    ),
    Fault(
        "VXLAN taken only where it is tracked",
        THREE,
        rule("inet", "input", "udp dport 4789 ct state != new drop"),
        FOREIGN,
        "inet other c",
        across(THREE),
        gone("inet"),
    ),
    Fault(
        "VXLAN of one peer dropped early",
        ONE,
        rule(
            "ip",
            "prerouting",
            "ip saddr { 198.51.100.12, 198.51.100.99 } udp dport 4789 drop",
            -300,
        ),
        FOREIGN,
        "ip other c",
        pair(ONE, FOUR),
        gone("ip"),
    ),
    Fault(
        "VXLAN dropped on its way out",
        FOUR,
        rule("inet", "output", "ip daddr 192.0.2.12 udp dport 4789 drop"),
        FOREIGN,
        "inet other c",
        pair(TWO, FOUR),
        gone("inet"),
    ),
    Fault(
        "podnet's own table is deleted",
        TWO,
        "nft delete table inet podnet",
        ("nftables table",),
        "inet podnet",
        frozenset(),
        # Nodes across a segment are reached masqueraded, as everything outside the fleet.
        also=across(TWO),
    ),
    Fault(
        "foreign masquerade",
        ONE,
        rule("ip", "postrouting", 'ip saddr 10.64.0.0/16 oifname != "cbr0" masquerade', 90),
        FOREIGN,
        "ip other c",
        around(ONE, V4),
        gone("ip"),
    ),
)

PODS = (
    Fault(
        "a plugin is missing",
        TWO,
        "cp /usr/lib/cni/bridge /run/bridge.saved; rm /usr/lib/cni/bridge",
        ("plugin",),
        "bridge",
        around(TWO, own=True),
        "cp /run/bridge.saved /usr/lib/cni/bridge",
    ),
    Fault(
        "a plugin is too old",
        THREE,
        "cp /usr/lib/cni/bridge /run/bridge.saved; "
        'printf \'#!/bin/sh\\necho \\047{"cniVersion":"0.2.0","supportedVersions":'
        '["0.1.0","0.2.0"]}\\047\\n\' >/usr/lib/cni/bridge',
        ("plugin",),
        "bridge",
        around(THREE, own=True),
        "cp /run/bridge.saved /usr/lib/cni/bridge",
    ),
    Fault(
        "no address is free",
        FOUR,
        f"for i in $(seq 1 254); do echo gone >{NETWORK}/10.64.4.$i; done",
        ("range",),
        "10.64.4.0/24",
        around(FOUR, own=True),
        f"rm -f {NETWORK}/10.64.4.*",
    ),
    Fault(
        "an earlier conflist",
        ONE,
        f"echo '{EARLIER}' >/etc/cni/net.d/05-other.conflist",
        ("conflist",),
        "05-other.conflist",
        around(ONE, own=True),
        "rm /etc/cni/net.d/05-other.conflist; ip link del other0 2>/dev/null || true",
    ),
    Fault(
        "a conflist that somebody changed",
        TWO,
        "sed -i 's/10.64.2.0/10.64.9.0/; s/10.64.2./10.64.9./g' /etc/cni/net.d/*.conflist",
        ("conflist",),
        "10-podnet.conflist",
        around(TWO, V4, own=True),
    ),
    Fault(
        "somebody else has the pods' addresses",
        THREE,
        "for i in $(seq 2 254); do echo neigh replace 10.64.3.$i lladdr 02:00:00:00:00:66 "
        "dev cbr0 nud permanent; done | ip -batch -",
        ("duplicate address",),
        "10.64.3.",
        around(THREE, V4),
        "ip neigh flush dev cbr0 nud permanent",
        also=pair(THREE, THREE, V4),
    ),
    Fault("a node is down", FOUR, "", ("node",), FOUR, around(FOUR, own=True)),
)
