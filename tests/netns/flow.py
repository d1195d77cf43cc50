# SPDX-License-Identifier: GPL-3.0-or-later
"""A long-lived TCP connection between two pods that carries a checked stream, both ways.

`flow.py serve ADDRESS PORT [corrupt]` sends everything back, with one wrong byte if it is told so.
`flow.py send ADDRESS PORT` sends pseudo-random bytes at a steady rate until it is told to stop
(SIGINT), waits for the rest, and prints bytes and one word: `intact`, `altered` or `broken`.
"""

from __future__ import annotations

import hashlib
import random
import select
import signal
import socket
import sys
import time

CHUNK, PAUSE = 1024, 0.01  # bytes, seconds: 100 KB per second each way


def serve(address: str, port: int, corrupt: bool) -> None:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    listener = socket.create_server((address, port), family=family)
    connection, _peer = listener.accept()
    spoil = corrupt
    while data := connection.recv(65536):
        if spoil and len(data) > 10:
            data, spoil = data[:5] + bytes([data[5] ^ 1]) + data[6:], False
        connection.sendall(data)
    connection.close()


class Flow:
    """The sending end. Whatever comes back must be what was sent."""

    def __init__(self, address: str, port: int) -> None:
        self.socket = connect(address, port)
        self.random = random.Random(f"{address} {port}")
        self.sent, self.came = hashlib.sha256(), hashlib.sha256()
        self.sent_bytes = self.came_bytes = 0
        self.stopping = False

    def read(self, seconds: float) -> bool:
        """False at the end of the stream."""
        if not select.select([self.socket], [], [], seconds)[0]:
            return True
        data = self.socket.recv(65536)
        self.came.update(data)
        self.came_bytes += len(data)
        return bool(data)

    def run(self) -> str:
        try:
            while not self.stopping:
                data = self.random.randbytes(CHUNK)
                self.socket.sendall(data)
                self.sent.update(data)
                self.sent_bytes += CHUNK
                due = time.monotonic() + PAUSE
                while (left := due - time.monotonic()) > 0:
                    if not self.read(left):
                        return "broken"
            self.socket.shutdown(socket.SHUT_WR)
            end = time.monotonic() + 20
            while self.read(1) and time.monotonic() < end:
                pass
        except OSError as error:
            print(error, file=sys.stderr)
            return "broken"
        if self.came_bytes != self.sent_bytes:
            return "broken"
        return "intact" if self.sent.digest() == self.came.digest() else "altered"


def connect(address: str, port: int) -> socket.socket:
    """The server may still be on its way."""
    for _try in range(100):
        try:
            return socket.create_connection((address, port), timeout=60)
        except OSError:
            time.sleep(0.1)
    raise SystemExit(f"no answer from {address} port {port}")


def main() -> None:
    what, address, port, *more = sys.argv[1:]
    signal.alarm(300)  # a forgotten process ends by itself
    if what == "serve":
        serve(address, int(port), bool(more))
        return
    flow = Flow(address, int(port))

    def stop(_signal: int, _frame: object) -> None:
        flow.stopping = True

    signal.signal(signal.SIGINT, stop)
    word = flow.run()
    print(f"flow {flow.came_bytes} {word}", flush=True)


if __name__ == "__main__":
    main()
