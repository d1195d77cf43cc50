# SPDX-License-Identifier: GPL-3.0-or-later
"""Probes: one loop sends all of a node's probes and waits for answers.

Kinds: ``icmp`` (echo), ``tcp`` and ``udp`` (payload to the probe server, which says whom it saw),
``mtu_pass`` (a packet of exactly ``size`` bytes that must not be fragmented arrives),
``mtu_exceed`` (one of ``size`` bytes does not) and ``mtu_pieces`` (one that may be fragmented
does). A lost packet is sent again, and every attempt counts in the result: a retry is a fact, not
a secret.
"""

from __future__ import annotations

import errno
import hashlib
import heapq
import json
import os
import resource
import selectors
import socket
import struct
import time
from typing import Any, Callable, Dict, List, Optional, Tuple

from .echo import Echo
from .packets import ICMP_HEADER, IP_HEADER, echo_request, impossible, payload_for

PAYLOAD = {"udp": 512, "tcp": 8192, "icmp": 56}
IN_FLIGHT = 1000  # at once; what comes back must fit into sockets' buffers and neighbour queues
BURST = 32  # sent before the loop looks at what has arrived
PAUSE = 0.2  # after an error that comes at once: a next hop may answer in a moment

Target = Dict[str, Any]
Result = Dict[str, Any]
Enter = Callable[[str], None]


def result_of(target: Target, attempts: int, **found: Any) -> Result:
    """The entry for one target; what is not given is nothing."""
    empty = {"ok": False, "source_seen": None, "rtt_us": None, "error": None, "looked": True}
    return {"id": target["id"], "attempts": attempts, **empty, **found}


def unseen(target: Target, why: str) -> Result:
    """The probe could not be made: not the same as one that failed."""
    return result_of(target, 0, error=why, looked=False)


class Probe:
    """One probe: what it sends, how often it has been sent, and ``result`` when it has ended."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self.kind: str = target["kind"]
        self.address: str = target["address"]
        self.family = socket.AF_INET6 if ":" in self.address else socket.AF_INET
        length = PAYLOAD.get(self.kind, 0)
        if self.kind.startswith("mtu_"):
            length = target["size"] - IP_HEADER[self.family] - ICMP_HEADER
        self.payload = payload_for(target["id"], length)
        self.attempts = 0
        self.sent_at = 0.0
        self.error: Optional[str] = None
        self.talk: Optional[Talk] = None
        self.keys: List[Tuple[int, int, int]] = []
        self.result: Optional[Result] = None

    def answered(self, sent_at: float, source: Optional[str] = None) -> None:
        rtt = int((time.monotonic() - sent_at) * 1e6)
        error = None
        if self.kind == "mtu_exceed":
            error = f"a packet of {self.target['size']} bytes was delivered"
        self.end(ok=error is None, error=error, source_seen=source, rtt_us=rtt)

    def too_long(self, text: str) -> None:
        """Somebody refused the packet for its length, and would so again."""
        self.end(ok=self.kind == "mtu_exceed", error=text)

    def silent(self) -> None:
        """No attempt was answered; what must not arrive has not."""
        self.end(ok=self.kind == "mtu_exceed", error=self.error or "no answer")

    def end(self, **found: Any) -> None:
        self.result = result_of(self.target, self.attempts, **found)


class Talk:
    """One attempt over TCP or UDP. ``step`` is called when the socket is ready; it returns the
    address that the far side saw, or None while there is more to come. Errors are OSErrors."""

    def __init__(self, probe: Probe) -> None:
        self.tcp = probe.kind == "tcp"
        self.digest = hashlib.sha256(probe.payload).hexdigest()
        head = struct.pack("!I", len(probe.payload)) if self.tcp else b""
        self.unsent, self.received = head + probe.payload, b""
        self.socket = socket.socket(
            probe.family, socket.SOCK_STREAM if self.tcp else socket.SOCK_DGRAM
        )
        self.socket.setblocking(False)
        self.place = (probe.address, probe.target["port"])

    def begin(self) -> None:
        code = self.socket.connect_ex(self.place)
        if code not in (0, errno.EINPROGRESS):
            raise OSError(code, os.strerror(code))
        if not self.tcp:
            self.socket.send(self.unsent)
            self.unsent = b""

    @property
    def events(self) -> int:
        return selectors.EVENT_WRITE if self.unsent else selectors.EVENT_READ

    def step(self) -> Optional[str]:
        code = self.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code:
            raise OSError(code, os.strerror(code))
        try:
            if self.unsent:
                self.unsent = self.unsent[self.socket.send(self.unsent) :]
                return None
            data = self.socket.recv(65536)
        except BlockingIOError:
            return None
        self.received += data
        if b"\n" in self.received:
            return self._source()
        if self.tcp and not data:
            raise OSError("the connection ended before the answer")
        if self.tcp and len(self.received) < 4096:
            return None
        raise OSError("the answer is not from a probe server")

    def _source(self) -> str:
        try:
            answer = json.loads(self.received)
            digest, source = answer["sha256"], str(answer["source"])
        except (ValueError, KeyError, TypeError):
            raise OSError("the answer is not from a probe server") from None
        if digest != self.digest:
            raise OSError("the payload arrived changed")
        return source


class Loop:
    """Runs probes. ``timeout`` in seconds, per attempt; ``enter`` goes to the network namespace
    that a target's `from` names, before a socket is opened there."""

    def __init__(self, attempts: int, timeout: float, enter: Enter) -> None:
        self.attempts, self.timeout, self.enter = attempts, timeout, enter
        self.selector = selectors.DefaultSelector()
        self.timers: List[Tuple[float, int, Probe, int]] = []
        self.echoes: Dict[Tuple[str, int, bool], Echo] = {}
        self.pending: Dict[Tuple[int, int, int], Tuple[Probe, float]] = {}
        # Different from other pings' of this host; the payload decides anyway.
        self.counter = (os.getpid() & 0xFFFF) << 16
        self.serial = 0
        self.flying = 0

    def run(self, probes: List[Probe]) -> None:
        """Every probe has a result afterwards, in bounded time."""
        rounds = len(probes) // IN_FLIGHT + 1
        end = time.monotonic() + rounds * self.attempts * self.timeout + 10
        try:
            self._run(list(reversed(probes)), end)
        finally:
            self._close(probes)
        for probe in probes:
            if probe.result is None:
                probe.end(error="there was no time left for it", looked=False)

    def _run(self, waiting: List[Probe], end: float) -> None:
        while (waiting or self.flying) and time.monotonic() < end:
            for _turn in range(min(BURST, len(waiting), IN_FLIGHT - self.flying)):
                self.flying += 1
                self._begin(waiting.pop())
            self._arrivals(0.0 if waiting and self.flying < IN_FLIGHT else 1.0)
            self._timeouts()

    def _close(self, probes: List[Probe]) -> None:
        """Leave no socket open: the process may live on and probe again."""
        for probe in probes:
            self._hang_up(probe)
        for echo in self.echoes.values():
            echo.socket.close()
        self.selector.close()

    # --- sending ---------------------------------------------------------------

    def _begin(self, probe: Probe) -> None:
        probe.attempts += 1
        probe.sent_at = time.monotonic()
        self._wake(probe, self.timeout)
        try:
            # What cannot be opened says nothing about the network; what cannot be sent does.
            way = self._talk(probe) if probe.kind in ("tcp", "udp") else self._echo_for(probe)
        except OSError as error:
            probe.end(error=f"cannot probe: {error.strerror or error}", looked=False)
            self._finish(probe)
            return
        try:
            if isinstance(way, Echo):
                self._send_echo(probe, way)
            else:
                way.begin()
                self.selector.register(way.socket, way.events, probe)
        except OSError as error:
            if error.errno == errno.EMSGSIZE:
                error.strerror = "refused by the sending interface"
            self._failed(probe, error)

    def _talk(self, probe: Probe) -> Talk:
        self.enter(probe.target["from"])
        probe.talk = Talk(probe)
        return probe.talk

    def _echo_for(self, probe: Probe) -> Echo:
        family, whole = int(probe.family), probe.kind in ("mtu_pass", "mtu_exceed")
        key = (probe.target["from"], family, whole)
        if key not in self.echoes:
            self.enter(key[0])
            self.echoes[key] = echo = Echo(family, whole)
            self.selector.register(echo.socket, selectors.EVENT_READ, echo)
        return self.echoes[key]

    def _send_echo(self, probe: Probe, echo: Echo) -> None:
        self.counter = (self.counter + 1) & 0xFFFFFFFF
        ident, sequence = self.counter >> 16, self.counter & 0xFFFF
        key = (int(probe.family), ident, sequence)
        self.pending[key] = (probe, probe.sent_at)
        probe.keys.append(key)
        echo.send(echo_request(probe.family, ident, sequence, probe.payload), probe.address)

    # --- receiving -------------------------------------------------------------

    def _arrivals(self, longest: float) -> None:
        if self.timers:
            longest = min(longest, max(0.0, self.timers[0][0] - time.monotonic()))
        for key, _events in self.selector.select(longest):
            if isinstance(key.data, Echo):
                self._echoed(key.data)
            elif key.data.talk and key.data.talk.socket is key.fileobj:
                self._talked(key.data, key.data.talk)

    def _echoed(self, echo: Echo) -> None:
        for ident, sequence, payload in echo.replies():
            probe, sent_at = self.pending.get((echo.family, ident, sequence), (None, 0.0))
            if probe and probe.result is None and payload == probe.payload:
                probe.answered(sent_at)
                self._finish(probe)
        for found in echo.refusals():
            key = (echo.family, found.ident, found.sequence)
            probe, _sent_at = self.pending.get(key, (None, 0.0))
            if not probe or probe.result or not probe.payload.startswith(found.payload[:56]):
                continue
            if key == probe.keys[-1] or found.number == errno.EMSGSIZE:
                self._failed(probe, OSError(found.number, found.text))
            else:
                probe.error = found.text  # of an earlier attempt; this one has its time

    def _talked(self, probe: Probe, talk: Talk) -> None:
        before = talk.events
        try:
            source = talk.step()
        except OSError as error:
            self._failed(probe, error)
            return
        if source is not None:
            probe.answered(probe.sent_at, source)
            self._finish(probe)
        elif talk.events != before:
            self.selector.modify(talk.socket, talk.events, probe)

    # --- ending ----------------------------------------------------------------

    def _failed(self, probe: Probe, error: OSError) -> None:
        """An attempt has failed before its time. Length does not heal; the rest may."""
        probe.error = error.strerror or str(error)
        if error.errno == errno.EMSGSIZE and probe.kind.startswith("mtu_"):
            probe.too_long(probe.error)
            self._finish(probe)
            return
        self._hang_up(probe)
        self._wake(probe, min(PAUSE, self.timeout))

    def _wake(self, probe: Probe, seconds: float) -> None:
        self.serial += 1
        when = time.monotonic() + seconds
        heapq.heappush(self.timers, (when, self.serial, probe, probe.attempts))

    def _timeouts(self) -> None:
        now = time.monotonic()
        while self.timers and self.timers[0][0] <= now:
            _when, _serial, probe, attempt = heapq.heappop(self.timers)
            if probe.result is not None or attempt != probe.attempts:
                continue  # it has gone on since
            self._hang_up(probe)
            if probe.attempts < self.attempts:
                self._begin(probe)
            else:
                probe.silent()
                self._finish(probe)

    def _hang_up(self, probe: Probe) -> None:
        if probe.talk is not None:
            if probe.talk.socket in self.selector.get_map():
                self.selector.unregister(probe.talk.socket)
            probe.talk.socket.close()
            probe.talk = None

    def _finish(self, probe: Probe) -> None:
        self._hang_up(probe)
        for key in probe.keys:
            self.pending.pop(key, None)
        self.flying -= 1


def run_probes(
    targets: List[Target], attempts: int, timeout: float, enter: Enter = lambda place: None
) -> List[Result]:
    """Send the targets' probes, each from the place that ``enter`` goes to by its name; one result
    each, in order."""
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    reasons = [impossible(target) for target in targets]
    probes = [None if why else Probe(target) for target, why in zip(targets, reasons)]
    Loop(attempts, timeout, enter).run([probe for probe in probes if probe])
    return [
        (probe.result if probe else None) or unseen(target, str(why))
        for target, why, probe in zip(targets, reasons, probes)
    ]
