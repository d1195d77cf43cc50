# SPDX-License-Identifier: GPL-3.0-or-later
"""A raw socket for ICMP echo, shared by all probes of a family (raw(7), icmp(7), ip(7))."""

from __future__ import annotations

import socket
import struct
from contextlib import suppress
from typing import Iterator, Optional, Tuple

from .packets import ECHO_REPLY, IP_RECVERR, IPV6_RECVERR, Refusal, echo_reply, refusal

# linux/in.h and linux/in6.h: set DF, and do not listen to what path MTU discovery has learned.
IP_MTU_DISCOVER, IPV6_MTU_DISCOVER, IPV6_DONTFRAG, PMTUDISC_PROBE = 10, 23, 62, 3
SOL_RAW, FILTER, SO_RCVBUFFORCE = 255, 1, 33
BUFFER = 4 << 20
AT_ONCE = 10000


class Echo:
    """``whole``: packets must not be fragmented, by us or on the way."""

    def __init__(self, family: int, whole: bool) -> None:
        self.family, self.v6 = family, family == socket.AF_INET6
        protocol = socket.IPPROTO_ICMPV6 if self.v6 else socket.IPPROTO_ICMP
        self.level = socket.IPPROTO_IPV6 if self.v6 else socket.IPPROTO_IP
        self.socket = socket.socket(family, socket.SOCK_RAW, protocol)
        self.socket.setblocking(False)
        self._only_replies()
        self.socket.setsockopt(self.level, IPV6_RECVERR if self.v6 else IP_RECVERR, 1)
        with suppress(PermissionError):  # a smaller buffer costs retries when many answer at once
            self.socket.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, BUFFER)
        if whole:
            option = IPV6_MTU_DISCOVER if self.v6 else IP_MTU_DISCOVER
            self.socket.setsockopt(self.level, option, PMTUDISC_PROBE)
        if whole and self.v6:
            self.socket.setsockopt(self.level, IPV6_DONTFRAG, 1)

    def _only_replies(self) -> None:
        """A set bit keeps a type of message out (icmp(7); RFC 3542, section 3.2)."""
        kind = ECHO_REPLY[self.family]
        words = [0xFFFFFFFF] * (8 if self.v6 else 1)
        words[kind // 32] &= ~(1 << kind % 32)
        level = socket.IPPROTO_ICMPV6 if self.v6 else SOL_RAW
        self.socket.setsockopt(level, FILTER, struct.pack(f"={len(words)}I", *words))

    def send(self, packet: bytes, address: str) -> None:
        """An error that somebody sent back for another packet is pending on the socket until the
        next call; it is cleared here, and `refusals` tells of it properly."""
        self.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        self.socket.sendto(packet, (address, 0))

    def replies(self) -> Iterator[Tuple[int, int, bytes]]:
        """(ident, sequence, payload) of all echo replies that have arrived."""
        for _turn in range(AT_ONCE):
            try:
                packet = self.socket.recv(65536)
            except BlockingIOError:
                return
            except OSError:
                continue  # the same error that `refusals` tells of
            reply = echo_reply(self.family, packet)
            if reply:
                yield reply

    def refusals(self) -> Iterator[Refusal]:
        """Packets that came back as errors. All sockets of a family hear of each."""
        for _turn in range(AT_ONCE):
            try:
                quoted, messages, _flags, _to = self.socket.recvmsg(65536, 512, socket.MSG_ERRQUEUE)
            except OSError:
                return
            found: Optional[Refusal] = refusal(self.family, quoted, messages)
            if found:
                yield found
