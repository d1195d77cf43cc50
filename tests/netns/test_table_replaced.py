# SPDX-License-Identifier: GPL-3.0-or-later
"""Connections that begin while the nftables table is replaced, or is about to be. None of them may
meet half a table: one that is taken for another is translated, or not, for as long as it lives."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from ansible_collections.podnet.fabric.plugins.plugin_utils.plan import plan_node
from ansible_collections.podnet.fabric.plugins.plugin_utils.render import render_node
from corebench import TEMPLATES, Bench, assert_same, fleet

CONNECTIONS, AT_LEAST = 5_000, 20  # and how often the table is replaced meanwhile
# Ranges whose pods have not moved yet: none, and some outside of the cluster's.
OLD: dict[str, dict[str, tuple[str, ...]]] = {
    "settled": {},
    "moving": {"node-1": ("172.31.1.0/24", "fd99:0:0:1::/64"), "node-2": ("172.31.2.0/24",)},
}

SCENE = """set -e
for a in 10.64.1.9/32 172.31.1.9/32 fd00:64:0:1::9/128 fd99:0:0:1::9/128; do
  ip address add $a dev lo nodad
done
for a in 192.0.2.2 192.0.2.254 2001:db8::2 2001:db8::fe; do
  ip neigh replace $a lladdr 02:00:00:00:00:02 dev eth0 nud permanent
done
nft -f - <<'END'
table netdev seen {
  counter node { }
  counter pod { }
  chain in {
    type filter hook ingress device far0 priority 0;
    udp dport 9 ip saddr 192.0.2.1 counter name node drop
    udp dport 9 ip6 saddr 2001:db8::1 counter name node drop
    udp dport 9 counter name pod drop
  }
}
END
"""
# Every port is another connection to the kernel, and a round has others than those before it.
SENDER = f"""
import socket, sys
first = 5000 + {CONNECTIONS} * (int((sys.argv + ["0"])[1]) % 12)
family = socket.AF_INET6 if ":" in SOURCE else socket.AF_INET
for port in range(first, first + {CONNECTIONS}):
    with socket.socket(family, socket.SOCK_DGRAM) as one:
        one.bind((SOURCE, port))
        one.sendto(b"x", (TARGET, 9))
"""
# As many rounds as it takes, because a busy machine loads a table less often in one.
WHILE_IT_SENDS = f"""set -e; times=0 rounds=0
while [ $times -lt {AT_LEAST} ]; do
  python3 /run/sender.py $rounds & rounds=$((rounds + 1))
  while kill -0 $! 2>/dev/null; do nft -f /run/podnet.nft; times=$((times + 1)); done
  wait $!
done
echo $rounds
"""


@pytest.fixture(scope="module")
def node() -> Iterator[Bench]:
    with Bench() as bench:
        fabric = fleet()
        bench.settled(fabric)
        for name, old in OLD.items():
            files = render_node(fabric, plan_node(fabric, "node-1", old), TEMPLATES)
            bench.put({f"/run/{name}.nft": files["podnet.nft"]})
        bench.sh(SCENE)
        yield bench


POD4, POD6 = "10.64.1.9", "fd00:64:0:1::9"
OLD4, OLD6 = "172.31.1.9", "fd99:0:0:1::9"


@pytest.mark.parametrize(
    ("table", "source", "target", "seen"),
    [
        pytest.param("settled", POD4, "10.64.2.5", "pod", id="pod, ipv4"),
        pytest.param("settled", POD6, "fd00:64:0:2::5", "pod", id="pod, ipv6"),
        pytest.param("settled", POD4, "192.0.2.2", "pod", id="node of the segment, ipv4"),
        pytest.param("settled", POD6, "2001:db8::2", "pod", id="node of the segment, ipv6"),
        pytest.param("settled", POD4, "203.0.113.5", "node", id="outside, ipv4"),
        pytest.param("settled", POD6, "2001:db8:ffff::5", "node", id="outside, ipv6"),
        pytest.param("moving", POD4, "172.31.2.5", "pod", id="pod that has not moved"),
        pytest.param("moving", OLD4, "203.0.113.6", "node", id="outside, old range, ipv4"),
        pytest.param("moving", OLD6, "2001:db8:ffff::6", "node", id="outside, old range, ipv6"),
    ],
)
def test_who_is_seen_as_the_sender_never_changes(
    node: Bench, table: str, source: str, target: str, seen: str
) -> None:
    node.sh(f"cp /run/{table}.nft /run/podnet.nft; nft -f /run/podnet.nft; nft reset counters")
    text = SENDER.replace("SOURCE", repr(source)).replace("TARGET", repr(target))
    node.put({"/run/sender.py": text})
    rounds = int(node.sh(WHILE_IT_SENDS))
    assert senders_seen(node) == {"node": 0, "pod": 0, seen: CONNECTIONS * rounds}


def senders_seen(node: Bench) -> dict[str, int]:
    found = json.loads(node.sh("nft -j list counters"))["nftables"]
    return {i["counter"]["name"]: i["counter"]["packets"] for i in found if "counter" in i}


GROWN = {
    "podnet_cluster_cidrs": ["10.64.0.0/16", "10.99.0.0/16", "fd00:64::/48"],
    "node_2": {"podnet_pod_cidrs": ["10.99.2.0/24", "fd00:64:0:2::/64"]},
}
TO_NEW_POD = SENDER.replace(str(CONNECTIONS), "20").replace("SOURCE", repr(POD4))


def test_a_new_range_is_let_through_before_a_pod_has_an_address_there() -> None:
    """Its node may have switched long before this one does."""
    with Bench() as node:
        node.settled(fleet())
        node.sh(SCENE)
        before = node.dump()
        node.put({"/run/sender.py": TO_NEW_POD.replace("TARGET", repr("10.99.2.5"))})
        node.only(fleet(**GROWN), "add")
        node.sh("python3 /run/sender.py")
        assert senders_seen(node) == {"node": 0, "pod": 20}
        node.sh("/usr/local/sbin/podnet-node rollback")
        node.sh("nft reset counters")
        assert_same(before, node.dump())
        # And a first phase that nobody takes back or goes on from is mended by the next run.
        node.only(fleet(**GROWN), "add", commit=True)
        assert "nft podnet.nft" in node.settled(fleet()).commands
        node.sh("nft reset counters")
        assert_same(before, node.dump())


def test_the_last_vxlan_device_is_guarded_as_long_as_it_is_there() -> None:
    """Where the wanted table guards nothing any more, because nobody is reached by VXLAN."""
    here = {"hosts": [1, 2, 3]}
    with Bench() as node:
        node.settled(fleet(podnet_mode="vxlan", **here))
        node.only(fleet(podnet_mode="routed", **here), "add", "switch")
        guard = "udp dport 4789 ip saddr != @vteps4 @th,96,24 0x40 drop"
        assert "pn64:" in node.sh("ip -o link show type vxlan")
        assert guard in node.sh("nft list chain inet podnet encapsulated")
        assert "{ 192.0.2.2, 192.0.2.3 }" in node.sh("nft list set inet podnet vteps4")
        as_node = "udp dport 4789 ip daddr @vteps4 drop"
        assert as_node in node.sh("nft list chain inet podnet leaving4")
        node.sh("/usr/local/sbin/podnet-node rollback")
        node.settled(fleet(podnet_mode="routed", **here))
        assert "vteps" not in node.sh("nft list table inet podnet; ip -o link show type vxlan")
