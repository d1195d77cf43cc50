# SPDX-License-Identifier: GPL-3.0-or-later
"""Probes: one loop per network namespace sends all of a node's probes and waits for answers.

Kinds: ``icmp`` (echo), ``tcp`` and ``udp`` (payload to the probe server, which says whom it saw),
``mtu_pass`` (a packet of exactly ``size`` bytes that must not be fragmented arrives) and
``mtu_exceed`` (one of ``size`` bytes does not). A lost packet is sent again, and every attempt
counts in the result: a retry is a fact, not a secret.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import selectors
import socket
import struct
import time
from typing import Any, Dict, List, Optional

ECHO = {socket.AF_INET: (8, 0), socket.AF_INET6: (128, 129)}
IP_HEADER = {socket.AF_INET: 20, socket.AF_INET6: 40}
ICMP_HEADER = 8
# linux/in.h and linux/in6.h: set DF, and do not listen to what path MTU discovery has learned.
IP_MTU_DISCOVER, IPV6_MTU_DISCOVER, PMTUDISC_PROBE = 10, 23, 3
PAYLOAD = {"udp": 512, "tcp": 8192, "icmp": 56}
IN_FLIGHT = 256


def checksum(data: bytes) -> int:
    """The Internet checksum (RFC 1071)."""
    if len(data) % 2:
        data += b"\0"
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    total = (total >> 16) + (total & 0xFFFF)
    total += total >> 16
    return ~total & 0xFFFF


def echo_request(family: int, ident: int, sequence: int, payload: bytes) -> bytes:
    """An ICMP or ICMPv6 echo request (RFC 792, RFC 4443). The kernel sums ICMPv6."""
    kind = ECHO[family][0]
    head = struct.pack("!BBHHH", kind, 0, 0, ident, sequence)
    total = 0 if family == socket.AF_INET6 else checksum(head + payload)
    return struct.pack("!BBHHH", kind, 0, total, ident, sequence) + payload


def echo_reply(family: int, packet: bytes) -> Optional[tuple]:
    """(ident, sequence, payload) of an echo reply; None for any other packet. A raw IPv4 socket
    gives the IP header as well (raw(7)), an IPv6 one does not (RFC 3542)."""
    offset = (packet[0] & 0x0F) * 4 if family == socket.AF_INET else 0
    if len(packet) < offset + ICMP_HEADER or packet[offset] != ECHO[family][1]:
        return None
    ident, sequence = struct.unpack("!HH", packet[offset + 4 : offset + 8])
    return ident, sequence, packet[offset + ICMP_HEADER :]


def payload_for(identity: str, length: int) -> bytes:
    """Bytes that no other probe sends, so that an answer cannot be somebody else's."""
    seed = hashlib.sha256(identity.encode()).digest()
    return (seed * (length // len(seed) + 1))[:length]


class Probe:
    """One probe on its way: start, readable, give up; ``result`` when it has ended."""

    def __init__(self, target: Dict[str, Any], number: int, attempts: int, timeout: float) -> None:
        self.target, self.number = target, number
        self.attempts_left, self.timeout = attempts, timeout
        self.kind: str = target["kind"]
        self.family = socket.AF_INET6 if ":" in target["address"] else socket.AF_INET
        self.attempts = 0
        self.error: Optional[str] = None
        self.socket: Optional[socket.socket] = None
        self.result: Optional[Dict[str, Any]] = None
        self.sent_at = self.deadline = 0.0
        self.received = b""
        length = PAYLOAD.get(self.kind, 0)
        if target.get("size"):
            length = target["size"] - IP_HEADER[self.family] - ICMP_HEADER
        self.payload = payload_for(target["id"], max(length, 0))

    # --- sending -------------------------------------------------------------

    def start(self) -> None:
        """Send one attempt; sets ``result`` when the answer is known at once."""
        self.attempts += 1
        self.attempts_left -= 1
        self.sent_at = time.monotonic()
        self.deadline = self.sent_at + self.timeout
        self.received = b""
        try:
            self._send()
        except OSError as error:
            self.close()
            if error.errno == errno.EMSGSIZE and self.kind == "mtu_exceed":
                self.finish(True, error="refused by the sending interface")
            elif error.errno in (errno.EPERM, errno.EACCES, errno.EMFILE):
                self.finish(False, error=os.strerror(error.errno), looked=False)
            else:
                self.error = error.strerror or str(error)
                # A next hop that did not answer may answer in a moment; the deadline decides.
                self.deadline = self.sent_at + min(self.timeout, 0.2)

    def _send(self) -> None:
        if self.kind == "tcp":
            self.socket = socket.socket(self.family, socket.SOCK_STREAM)
            self.socket.setblocking(False)
            code = self.socket.connect_ex((self.target["address"], self.target["port"]))
            if code not in (0, errno.EINPROGRESS):
                raise OSError(code, os.strerror(code))
        elif self.kind == "udp":
            self.socket = socket.socket(self.family, socket.SOCK_DGRAM)
            self.socket.setblocking(False)
            self.socket.connect((self.target["address"], self.target["port"]))
            self.socket.send(self.payload)
        else:
            self._send_echo()

    def _send_echo(self) -> None:
        v6 = self.family == socket.AF_INET6
        protocol = socket.IPPROTO_ICMPV6 if v6 else socket.IPPROTO_ICMP
        self.socket = socket.socket(self.family, socket.SOCK_RAW, protocol)
        self.socket.setblocking(False)
        if self.kind.startswith("mtu_"):
            level, option = (
                (socket.IPPROTO_IPV6, IPV6_MTU_DISCOVER) if v6 else (socket.IPPROTO_IP, IP_MTU_DISCOVER)
            )
            self.socket.setsockopt(level, option, PMTUDISC_PROBE)
        self.socket.connect((self.target["address"], 0))
        ident, sequence = self.number & 0xFFFF, self.attempts & 0xFFFF
        self.socket.send(echo_request(self.family, ident, sequence, self.payload))

    # --- receiving -----------------------------------------------------------

    def writable(self) -> None:
        """A TCP connection has come about, or failed to."""
        assert self.socket
        code = self.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code:
            self.fail(os.strerror(code))
            return
        try:
            self.socket.setblocking(True)
            self.socket.settimeout(self.timeout)
            self.socket.sendall(struct.pack("!I", len(self.payload)) + self.payload)
            self.socket.setblocking(False)
        except OSError as error:
            self.fail(error.strerror or str(error))

    def readable(self) -> None:
        assert self.socket
        try:
            data = self.socket.recv(65536)
        except BlockingIOError:
            return
        except OSError as error:
            self.error = error.strerror or str(error)
            # A raw socket hears of every packet to its destination that came back as an error,
            # also of those that other probes sent: the answer may still come.
            if self.kind in ("tcp", "udp"):
                self.fail(self.error)
            return
        if self.kind in ("tcp", "udp"):
            self._answer(data)
            return
        reply = echo_reply(self.family, data)
        if reply and reply[0] == self.number & 0xFFFF and reply[2] == self.payload:
            self.finish(self.kind != "mtu_exceed", error=None)

    def _answer(self, data: bytes) -> None:
        self.received += data
        if not data:
            self.fail("the connection ended before the answer")
        if b"\n" not in self.received:
            return
        try:
            answer = json.loads(self.received)
        except ValueError:
            self.fail("the answer is not from a probe server")
            return
        if answer.get("sha256") != hashlib.sha256(self.payload).hexdigest():
            self.fail("the payload arrived changed")
            return
        self.finish(True, source=answer["source"])

    # --- ending --------------------------------------------------------------

    def fail(self, error: str) -> None:
        """This attempt is over without success; the deadline starts the next one."""
        self.error = error
        self.close()
        self.deadline = min(self.deadline, time.monotonic() + 0.2)

    def late(self) -> bool:
        """The deadline has passed; true when there is another attempt to start."""
        self.close()
        if self.attempts_left > 0:
            return True
        # What must not arrive has not arrived in any attempt.
        self.finish(self.kind == "mtu_exceed", error=self.error or "no answer")
        return False

    def finish(
        self,
        ok: bool,
        error: Optional[str] = None,
        source: Optional[str] = None,
        looked: bool = True,
    ) -> None:
        self.close()
        elapsed = int((time.monotonic() - self.sent_at) * 1e6)
        self.result = {
            "id": self.target["id"],
            "ok": ok,
            "source_seen": source,
            "rtt_us": elapsed if ok and error is None else None,
            "attempts": self.attempts,
            "error": error,
            "looked": looked,
        }

    def close(self) -> None:
        if self.socket is not None:
            self.socket.close()
            self.socket = None


class Loop:
    """Runs probes, at most ``IN_FLIGHT`` at once."""

    def __init__(self) -> None:
        self.selector = selectors.DefaultSelector()
        self.flying: List[Probe] = []

    def run(self, probes: List[Probe]) -> List[Dict[str, Any]]:
        waiting = list(reversed(probes))
        while waiting or self.flying:
            while waiting and len(self.flying) < IN_FLIGHT:
                probe = waiting.pop()
                self.flying.append(probe)
                self._start(probe)
            self._wait()
        return [probe.result for probe in probes if probe.result]

    def _start(self, probe: Probe) -> None:
        probe.start()
        if probe.socket is not None:
            events = selectors.EVENT_READ
            if probe.kind == "tcp":
                events |= selectors.EVENT_WRITE
            self.selector.register(probe.socket, events, probe)

    def _wait(self) -> None:
        now = time.monotonic()
        soonest = min((p.deadline for p in self.flying if p.result is None), default=now)
        for key, events in self.selector.select(max(0.0, min(soonest - now, 1.0))):
            probe: Probe = key.data
            if events & selectors.EVENT_WRITE:
                self.selector.modify(key.fileobj, selectors.EVENT_READ, probe)
                self._tracked(probe, probe.writable)
            elif events & selectors.EVENT_READ:
                self._tracked(probe, probe.readable)
        now = time.monotonic()
        for probe in self.flying:
            if probe.result is None and probe.deadline <= now:
                self._forget(probe)
                if probe.late():
                    self._start(probe)
        self.flying = [probe for probe in self.flying if probe.result is None]

    def _tracked(self, probe: Probe, step: Any) -> None:
        """A step may close the socket, and a closed socket cannot be unregistered any more."""
        before = probe.socket
        number = before.fileno() if before is not None else -1
        step()
        if probe.socket is None and number >= 0:
            self.selector.unregister(number)

    def _forget(self, probe: Probe) -> None:
        if probe.socket is not None:
            self.selector.unregister(probe.socket)


def run_probes(
    targets: List[Dict[str, Any]], attempts: int, timeout: float
) -> List[Dict[str, Any]]:
    """Send the targets' probes from the current network namespace; one result each."""
    base = os.getpid()
    return Loop().run([Probe(t, base + i, attempts, timeout) for i, t in enumerate(targets)])
