# SPDX-License-Identifier: GPL-3.0-or-later
"""Packets of the probes, as bytes."""

from __future__ import annotations

import errno
import hashlib
import ipaddress
import json
import socket
import struct
from typing import Any

import pytest
from ansible_collections.podnet.fabric.plugins.module_utils import packets, probe_server
from hypothesis import given
from hypothesis import strategies as st

V4, V6 = int(socket.AF_INET), int(socket.AF_INET6)
WORDS = st.integers(0, 0xFFFF)


def test_checksum_of_the_example_in_rfc_1071() -> None:
    assert packets.checksum(bytes.fromhex("0001f203f4f5f6f7")) == ~0xDDF2 & 0xFFFF
    assert packets.checksum(b"\x01") == packets.checksum(b"\x01\x00")
    assert packets.checksum(b"\xff" * 65534) == 0


@given(WORDS, WORDS, st.binary(max_size=200))
def test_request_sums_to_zero_and_its_reply_is_read_back(
    ident: int, sequence: int, payload: bytes
) -> None:
    request = packets.echo_request(V4, ident, sequence, payload)
    assert packets.checksum(request) == 0 and len(request) == 8 + len(payload)
    header = b"\x46" + b"\0" * 23  # with an option: 24 octets
    reply = header + b"\x00" + request[1:]
    assert packets.echo_reply(V4, reply) == (ident, sequence, payload)
    assert packets.echo_reply(V4, header + request) is None, "a request is no reply"
    request = packets.echo_request(V6, ident, sequence, payload)
    assert packets.echo_reply(V6, b"\x81" + request[1:]) == (ident, sequence, payload)
    assert packets.echo_reply(V6, request) is None


@pytest.mark.parametrize("family", [V4, V6])
@pytest.mark.parametrize("packet", [b"", b"\x45", b"\x45" + b"\0" * 20, b"\x81\0\0\0\0"])
def test_stump_of_a_packet_is_no_reply(family: int, packet: bytes) -> None:
    assert packets.echo_reply(family, packet) is None


@given(st.text(), st.text(), st.integers(0, 300))
def test_payloads_differ(one: str, other: str, length: int) -> None:
    assert len(packets.payload_for(one, length)) == length
    if one != other:
        assert packets.payload_for(one, 32) != packets.payload_for(other, 32)


def message(family: int, number: int, info: int, origin: int, offender: str) -> Any:
    head = struct.pack("=IBBBBII", number, origin, 3, 4, 0, info, 0)
    packed = ipaddress.ip_address(offender).packed
    if family == V4:
        return socket.IPPROTO_IP, 11, head + struct.pack("=HH4s8x", family, 0, packed)
    return socket.IPPROTO_IPV6, 25, head + struct.pack("=HHI16sI", family, 0, 0, packed, 0)


@pytest.mark.parametrize(("family", "router"), [(V4, "10.64.1.1"), (V6, "fd00:64:1::1")])
def test_refusal_names_the_router_and_its_mtu(family: int, router: str) -> None:
    quoted = packets.echo_request(family, 7, 9, b"payload" * 100)[:128]
    told = message(family, errno.EMSGSIZE, 1300, 2, router)
    found = packets.refusal(family, quoted, [(1, 2, b"other"), told])
    text = f"Message too long (MTU 1300), says {router}"
    assert found == packets.Refusal(7, 9, quoted[8:], errno.EMSGSIZE, text)
    told = message(family, errno.EHOSTUNREACH, 0, 2, router)
    assert packets.refusal(family, quoted, [told]).text == f"No route to host, says {router}"


def test_refusals_that_are_not_ours() -> None:
    quoted = packets.echo_request(V4, 7, 9, b"")
    local = message(V4, errno.EMSGSIZE, 1300, packets.LOCAL, "10.64.1.1")
    assert packets.refusal(V4, quoted, [local]) is None
    told = message(V4, errno.EMSGSIZE, 1300, 2, "10.64.1.1")
    assert packets.refusal(V4, b"\x0d" + quoted[1:], [told]) is None
    assert packets.refusal(V4, quoted, []) is None
    assert packets.refusal(V4, quoted, [(socket.IPPROTO_IP, 11, b"short")]) is None


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({}, None),
        ({"kind": "mtu_pass", "size": 1450}, None),
        ({"address": "example.net"}, "is not an address"),
        ({"address": ""}, "is not an address"),
        ({"kind": "tcp"}, "tcp needs a port"),
        ({"kind": "udp", "port": 0}, "udp needs a port"),
        ({"kind": "udp", "port": 65536}, "udp needs a port"),
        ({"kind": "mtu_pass"}, "mtu_pass needs a size from 29"),
        ({"kind": "mtu_pieces"}, "mtu_pieces needs a size from 29"),
        ({"kind": "mtu_pass", "size": 28}, "mtu_pass needs a size from 29"),
        ({"kind": "mtu_exceed", "size": 48, "address": "::1"}, "needs a size from 49"),
        ({"kind": "mtu_exceed", "size": 65536}, "needs a size"),
    ],
)
def test_targets_that_cannot_be_probed(change: dict[str, Any], why: str | None) -> None:
    base = {"kind": "icmp", "address": "10.64.1.5", "port": None, "size": None}
    found = packets.impossible({**base, **change})
    assert why in str(found) if why else found is None


@pytest.mark.parametrize(
    ("seen", "said"),
    [
        ("10.64.1.5", "10.64.1.5"),
        ("::ffff:10.64.1.5", "10.64.1.5"),
        ("fd00:64::5", "fd00:64::5"),
        ("fe80::1%eth0", "fe80::1"),
    ],
)
def test_answer_of_the_server(seen: str, said: str) -> None:
    line = probe_server.answer((seen, 4000), b"payload")
    assert line.endswith(b"\n") and line.count(b"\n") == 1
    expected = {"source": said, "port": 4000, "length": 7}
    assert json.loads(line) == {**expected, "sha256": hashlib.sha256(b"payload").hexdigest()}
