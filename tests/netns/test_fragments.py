# SPDX-License-Identifier: GPL-3.0-or-later
"""Encapsulated packets over IPv6 that come in pieces, where nothing puts them together before the
rules see them: without connection tracking the kernel does it behind the input hook. The VNI may
then lie in the second piece, and the guard must not depend on it."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from corebench import Bench, fleet

PEER, STRANGER = "2001:db8::2", "2001:db8::66"
# A VXLAN packet with an ARP request in it, whole or with a first piece that ends behind the UDP
# header, as RFC 8200 has it (4.5): SOURCE, VNI and PIECES are put in.
SEND = """
import socket, struct
source, target = (socket.inet_pton(socket.AF_INET6, a) for a in (SOURCE, "2001:db8::1"))
inner = b"\\xff" * 6 + b"\\x02\\0\\0\\0\\0\\x66" + b"\\x08\\x06" + bytes(46)
load = struct.pack("!II", 8 << 24, VNI << 8) + inner
length = 8 + len(load)
udp = struct.pack("!HHHH", 40000, 4789, length, 0) + load
words = source + target + struct.pack("!II", length, 17) + udp
total = sum(struct.unpack(f"!{len(words) // 2}H", words))
while total >> 16:
    total = (total & 0xFFFF) + (total >> 16)
udp = udp[:6] + struct.pack("!H", ~total & 0xFFFF) + udp[8:]
ether = b"\\x02\\0\\0\\0\\0\\x01" + b"\\x02\\0\\0\\0\\0\\x02" + b"\\x86\\xdd"
def send(following, data):
    head = struct.pack("!IHBB", 6 << 28, len(data), following, 64) + source + target
    wire.send(ether + head + data)
with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as wire:
    wire.bind(("far0", 0))
    if PIECES == 1:
        send(17, udp)
    else:
        send(44, struct.pack("!BBHI", 17, 0, 0 << 3 | 1, 77) + udp[:8])
        send(44, struct.pack("!BBHI", 17, 0, 1 << 3, 77) + udp[8:])
"""


@pytest.fixture(scope="module")
def node() -> Iterator[Bench]:
    with Bench() as bench:
        variables = {"podnet_mode": "vxlan", "podnet_vxlan_family": "ipv6"}
        bench.settled(fleet(**variables, podnet_masquerade=[]))
        # Of somebody else, on the same port.
        bench.sh("ip link add vx9 up type vxlan id 9 dstport 4789 local 2001:db8::1 nolearning")
        yield bench


@pytest.mark.parametrize("pieces", [1, 2])
@pytest.mark.parametrize(
    ("source", "vni", "device", "taken"),
    [(PEER, 64, "pn64v6", 1), (STRANGER, 64, "pn64v6", 0), (PEER, 9, "vx9", 1)],
    ids=["a peer", "a stranger", "a peer of another VXLAN"],
)
def test_only_peers_are_heard(
    node: Bench, source: str, vni: int, device: str, taken: int, pieces: int
) -> None:
    before = received(node, device)
    text = SEND.replace("SOURCE", repr(source)).replace("VNI", str(vni))
    node.put({"/run/send.py": text.replace("PIECES", str(pieces))})
    node.sh("python3 /run/send.py; sleep 0.2")
    assert received(node, device) - before == taken


def received(node: Bench, device: str) -> int:
    (found,) = json.loads(node.sh(f"ip -j -s link show dev {device}"))
    return int(found["stats64"]["rx"]["packets"])
