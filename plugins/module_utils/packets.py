# SPDX-License-Identifier: GPL-3.0-or-later
"""Packets that probes send and get, as bytes: ICMP echo, and what the kernel tells of errors.

Pure functions. Families are those of the socket module.
"""

from __future__ import annotations

import errno
import hashlib
import os
import socket
import struct
from typing import Any, Dict, Iterable, NamedTuple, Optional, Tuple

ECHO_REQUEST = {int(socket.AF_INET): 8, int(socket.AF_INET6): 128}
ECHO_REPLY = {int(socket.AF_INET): 0, int(socket.AF_INET6): 129}
IP_HEADER = {int(socket.AF_INET): 20, int(socket.AF_INET6): 40}
ICMP_HEADER = 8
# linux/in.h and linux/in6.h: (level, type) of the message that carries an error.
IP_RECVERR, IPV6_RECVERR = 11, 25
ERROR_MESSAGES = ((socket.IPPROTO_IP, IP_RECVERR), (socket.IPPROTO_IPV6, IPV6_RECVERR))
LOCAL = 1  # linux/errqueue.h, SO_EE_ORIGIN_LOCAL


def checksum(data: bytes) -> int:
    """The Internet checksum (RFC 1071)."""
    if len(data) % 2:
        data += b"\0"
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total >> 16) + (total & 0xFFFF)
    return int(~total & 0xFFFF)


def payload_for(identity: str, length: int) -> bytes:
    """Bytes that no other probe sends, so that an answer cannot be somebody else's."""
    seed = hashlib.sha256(identity.encode()).digest()
    return (seed * (length // len(seed) + 1))[:length]


def echo_request(family: int, ident: int, sequence: int, payload: bytes) -> bytes:
    """An ICMP or ICMPv6 echo request (RFC 792, RFC 4443). The kernel sums ICMPv6."""
    kind = ECHO_REQUEST[family]
    head = struct.pack("!BBHHH", kind, 0, 0, ident, sequence)
    total = 0 if family == socket.AF_INET6 else checksum(head + payload)
    return struct.pack("!BBHHH", kind, 0, total, ident, sequence) + payload


def _echo(kinds: Dict[int, int], family: int, message: bytes) -> Optional[Tuple[int, int, bytes]]:
    if len(message) < ICMP_HEADER or message[0] != kinds[family]:
        return None
    ident, sequence = struct.unpack("!HH", message[4:8])
    return ident, sequence, message[ICMP_HEADER:]


def echo_reply(family: int, packet: bytes) -> Optional[Tuple[int, int, bytes]]:
    """(ident, sequence, payload) of an echo reply; None for any other packet. A raw IPv4 socket
    gives the IP header as well (raw(7)), an IPv6 one does not (RFC 3542)."""
    offset = (packet[0] & 0x0F) * 4 if packet and family == socket.AF_INET else 0
    return _echo(ECHO_REPLY, family, packet[offset:])


class Refusal(NamedTuple):
    """A packet that somebody on the way sent back as an error: which echo request it was
    (``payload`` may be cut), the error's number, and a text for a person."""

    ident: int
    sequence: int
    payload: bytes
    number: int
    text: str


def refusal(
    family: int, quoted: bytes, messages: Iterable[Tuple[int, int, bytes]]
) -> Optional[Refusal]:
    """From the error queue of a raw socket (ip(7), IP_RECVERR): ``quoted`` is our packet from the
    ICMP header on. None for what this host said itself, which `send` has raised already."""
    echo = _echo(ECHO_REQUEST, family, quoted)
    for level, kind, data in messages:
        if (level, kind) in ERROR_MESSAGES and len(data) >= 16 and echo:
            number, origin, _type, _code, _pad, info, _data = struct.unpack("=IBBBBII", data[:16])
            if origin == LOCAL:
                return None
            text = os.strerror(number) + (f" (MTU {info})" if number == errno.EMSGSIZE else "")
            return Refusal(*echo, number, f"{text}, says {_offender(data[16:])}")
    return None


def _offender(address: bytes) -> str:
    """The address in a sockaddr_in or sockaddr_in6."""
    family = struct.unpack("=H", address[:2])[0] if len(address) >= 8 else 0
    if family == socket.AF_INET:
        return socket.inet_ntop(socket.AF_INET, address[4:8])
    if family == socket.AF_INET6 and len(address) >= 24:
        return socket.inet_ntop(socket.AF_INET6, address[8:24])
    return "somebody on the way"


def impossible(target: Dict[str, Any]) -> Optional[str]:
    """Why a target cannot be probed at all; None when it can."""
    family = socket.AF_INET6 if ":" in target["address"] else socket.AF_INET
    try:
        socket.inet_pton(family, target["address"])
    except OSError:
        return f"{target['address']!r} is not an address"
    if target["kind"] in ("tcp", "udp") and not 0 < (target.get("port") or 0) < 65536:
        return f"{target['kind']} needs a port from 1 to 65535, not {target.get('port')}"
    least = IP_HEADER[int(family)] + ICMP_HEADER + 1
    if target["kind"].startswith("mtu_") and not least <= (target.get("size") or 0) <= 65535:
        return f"{target['kind']} needs a size from {least} to 65535, not {target.get('size')}"
    return None
