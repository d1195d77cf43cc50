# SPDX-License-Identifier: GPL-3.0-or-later
"""Answer probes over TCP and UDP, IPv4 and IPv6, and say which source address was seen.

A client sends a payload; the answer is one JSON line with the source address and port of the
client as they arrived here, and length and SHA-256 of the payload. A TCP client sends the length
first, in four octets, most significant first; with the largest number it is a stream, which is
thrown away and counted until the client has no more. Standard library only; one process; ends by
itself after --ttl seconds, so that a forgotten one does not stay.
"""

from __future__ import annotations

import hashlib
import json
import os
import resource
import selectors
import socket
import struct
import time
from typing import Any, Callable, Dict, Optional

LONGEST = 65536
STREAM = 0xFFFFFFFF
IDLE = 10.0


def answer(source: Any, payload: bytes) -> bytes:
    """The JSON line for one payload; ``source`` as `accept` and `recvfrom` give it."""
    address = source[0].split("%")[0]
    if address.startswith("::ffff:"):
        address = address[7:]
    digest = hashlib.sha256(payload).hexdigest()
    line = {"source": address, "port": source[1], "sha256": digest, "length": len(payload)}
    return json.dumps(line).encode() + b"\n"


def count(length: int, seconds: float) -> bytes:
    """The JSON line for a stream."""
    return json.dumps({"length": length, "seconds": seconds}).encode() + b"\n"


class Client:
    """One TCP connection: length, payload, answer, end."""

    def __init__(self, connection: socket.socket, source: Any) -> None:
        self.connection, self.source = connection, source
        self.received = b""
        self.began = time.monotonic()
        self.deadline = self.began + IDLE
        self.counted: Optional[int] = None

    def done(self) -> bool:
        """Read what is there; true when the connection is at its end."""
        try:
            data = self.connection.recv(65536)
        except OSError:
            return True
        if self.counted is not None:
            self.counted += len(data)
            return not data and self._say(count(self.counted, time.monotonic() - self.began))
        self.received += data
        if not data:
            return True
        if len(self.received) < 4:
            return False
        length = struct.unpack("!I", self.received[:4])[0]
        if length == STREAM:
            self.began, self.counted = time.monotonic(), len(self.received) - 4
            return False
        if length > LONGEST:
            return True
        if len(self.received) < 4 + length:
            return False
        return self._say(answer(self.source, self.received[4 : 4 + length]))

    def _say(self, line: bytes) -> bool:
        try:
            self.connection.setblocking(True)
            self.connection.settimeout(1)
            self.connection.sendall(line)
        except OSError:
            pass
        return True


class Server:
    """All sockets in one loop."""

    def __init__(self, port: int) -> None:
        self.selector = selectors.DefaultSelector()
        self.clients: Dict[socket.socket, Client] = {}
        for family, anywhere in ((socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::")):
            for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
                self._listen(family, kind, anywhere, port)

    def _listen(self, family: int, kind: int, anywhere: str, port: int) -> None:
        if family == socket.AF_INET6 and not os.path.exists("/proc/net/if_inet6"):
            return  # a kernel without IPv6
        listener = socket.socket(family, kind)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.bind((anywhere, port))
        listener.setblocking(False)
        if kind == socket.SOCK_STREAM:
            listener.listen(1024)
            self.selector.register(listener, selectors.EVENT_READ, self._accept)
        else:
            self.selector.register(listener, selectors.EVENT_READ, self._datagram)

    def _accept(self, listener: socket.socket) -> None:
        try:
            connection, source = listener.accept()
        except OSError:
            return
        connection.setblocking(False)
        self.clients[connection] = Client(connection, source)
        self.selector.register(connection, selectors.EVENT_READ, self._read)

    def _read(self, connection: socket.socket) -> None:
        if self.clients[connection].done():
            self._close(connection)

    def _close(self, connection: socket.socket) -> None:
        self.selector.unregister(connection)
        del self.clients[connection]
        connection.close()

    def _datagram(self, listener: socket.socket) -> None:
        try:
            payload, source = listener.recvfrom(LONGEST)
            listener.sendto(answer(source, payload), source)
        except OSError:
            pass

    def serve(self, until: float) -> None:
        """Answer until the monotonic time ``until``."""
        while time.monotonic() < until:
            for key, _events in self.selector.select(timeout=1):
                key.data(key.fileobj)
            now = time.monotonic()
            for connection in [s for s, c in self.clients.items() if c.deadline < now]:
                self._close(connection)


def listening(port: int, ttl: float) -> Callable[[], None]:
    """Open the sockets; the answer is what answers on them for ``ttl`` seconds."""
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    server, until = Server(port), time.monotonic() + ttl
    return lambda: server.serve(until)


def main() -> int:
    import argparse  # a server that is forked has no arguments

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--port", type=int, default=7717)
    parser.add_argument("--ttl", type=float, default=float("inf"), metavar="SECONDS")
    arguments = parser.parse_args()
    listening(arguments.port, arguments.ttl)()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
