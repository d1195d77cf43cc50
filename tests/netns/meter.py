# SPDX-License-Identifier: GPL-3.0-or-later
"""Count lost packets: one process per pair, run in a pod's network namespace on a node.

Sends ICMP echo requests at a fixed rate until it is told to stop (SIGINT), waits a second for what
is still on its way, and prints sent, lost, the longest gap between two answers and the time that it
sent for, both in milliseconds. The first answer is told at once, as `ready`. Each request has an
identifier of its own, so to connection tracking it is another connection, judged by what is loaded
at that moment. At a thousand per second an identifier comes again after a minute.

Usage: python3 meter.py ADDRESS PACKETS_PER_SECOND
"""

from __future__ import annotations

import contextlib
import select
import signal
import socket
import struct
import sys
import time

MARK = b"podnetms"  # begins what is sent, so that others can tell a meter's packet


def checksum(data: bytes) -> int:
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    total = (total >> 16) + (total & 0xFFFF)
    return ~(total + (total >> 16)) & 0xFFFF


class Meter:
    def __init__(self, address: str, rate: float) -> None:
        self.v6 = ":" in address
        family = socket.AF_INET6 if self.v6 else socket.AF_INET
        protocol = socket.IPPROTO_ICMPV6 if self.v6 else socket.IPPROTO_ICMP
        self.socket = socket.socket(family, socket.SOCK_RAW, protocol)
        self.socket.setblocking(False)
        self.socket.connect((address, 0))
        # By the clock, so that it follows on the meter before: tracking remembers for 30 seconds.
        self.first, self.step = int(time.monotonic() * 1000), 1 / rate
        self.sent, self.answered = 0, set()
        self.last, self.gap, self.stopping = 0.0, 0.0, False

    def ident(self, number: int) -> int:
        return (self.first + number) & 0xFFFF

    def send(self) -> None:
        kind, ident = 128 if self.v6 else 8, self.ident(self.sent)
        head = struct.pack("!BBHHH", kind, 0, 0, ident, self.sent & 0xFFFF)
        body = MARK + struct.pack("!Q", self.sent)
        if not self.v6:
            head = head[:2] + struct.pack("!H", checksum(head + body)) + head[4:]
        # Without a route at this moment it counts as sent, and as lost.
        with contextlib.suppress(OSError):
            self.socket.send(head + body)
        self.sent += 1

    def receive(self) -> None:
        while True:
            try:
                packet = self.socket.recv(2048)
            except BlockingIOError:
                return
            except OSError:
                continue  # an ICMP error about an earlier packet
            packet = packet if self.v6 else packet[(packet[0] & 15) * 4 :]
            if packet[0] != (129 if self.v6 else 0) or packet[8:16] != MARK:
                continue
            ident, number = struct.unpack("!4xH2x8xQ", packet[:24])
            if ident != self.ident(number):
                continue
            now = time.monotonic()
            if not self.last:
                print("ready", flush=True)
            self.gap = max(self.gap, now - self.last if self.last else 0.0)
            self.last = now
            self.answered.add(number)

    def run(self) -> None:
        due = begun = time.monotonic()
        while not self.stopping:
            now = time.monotonic()
            if now >= due:
                self.send()
                due = max(due + self.step, now - 10 * self.step)
            if select.select([self.socket], [], [], max(0.0, due - time.monotonic()))[0]:
                self.receive()
        took = time.monotonic() - begun
        end = time.monotonic() + 1
        while time.monotonic() < end and len(self.answered) < self.sent:
            if select.select([self.socket], [], [], 0.05)[0]:
                self.receive()
        lost = self.sent - len(self.answered)
        print(f"meter {self.sent} {lost} {self.gap * 1000:.0f} {took * 1000:.0f}", flush=True)


def main() -> None:
    meter = Meter(sys.argv[1], float(sys.argv[2]))

    def stop(_signal: int, _frame: object) -> None:
        meter.stopping = True

    signal.signal(signal.SIGINT, stop)
    # A forgotten meter ends by itself, without a reading: it did not see the end of the change.
    signal.alarm(300)
    meter.run()


if __name__ == "__main__":
    main()
