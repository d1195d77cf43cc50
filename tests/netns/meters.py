# SPDX-License-Identifier: GPL-3.0-or-later
"""`meter.py` and `flow.py` between pods of a fleet, all the time that a change takes."""

from __future__ import annotations

import itertools
import re
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from fleet import Fleet

HERE = Path(__file__).parent
RATE = 1000  # echo requests per second, pair and family; each proves both directions
PORT = 7800
Pods = dict[str, dict[str, Any]]


@dataclass(frozen=True)
class Pair:
    """What one pair of pods saw in one family."""

    name: str
    sent: int
    lost: int
    gap: int  # longest time without an answer, milliseconds
    flow: str  # intact, altered or broken
    carried: int  # bytes of the TCP connection
    took: int  # how long the meter sent, milliseconds


@dataclass(frozen=True)
class Reading:
    """All pairs of one change."""

    pairs: tuple[Pair, ...]

    @property
    def sent(self) -> int:
        return sum(pair.sent for pair in self.pairs)

    @property
    def lost(self) -> int:
        return sum(pair.lost for pair in self.pairs)

    @property
    def gap(self) -> int:
        return max(pair.gap for pair in self.pairs)

    @property
    def rate(self) -> int:
        """Packets per second that the slowest pair really sent."""
        return min(pair.sent * 1000 // max(pair.took, 1) for pair in self.pairs)

    @property
    def carried(self) -> int:
        return sum(pair.carried for pair in self.pairs)

    @property
    def broken(self) -> list[str]:
        return [f"{pair.name}: {pair.flow}" for pair in self.pairs if pair.flow != "intact"]


class Meters:
    """Context manager: measures between every two pods while it is open; then `reading` is there.

    ``pods``: node → pod, as the module `pod` returns it. ``corrupt`` has the servers of the TCP
    connections alter one byte.
    """

    reading: Reading

    def __init__(
        self,
        fleet: Fleet,
        pods: Pods,
        families: tuple[str, ...] = ("ipv4", "ipv6"),
        corrupt: bool = False,
    ) -> None:
        self.fleet, self.pods, self.families, self.corrupt = fleet, pods, families, corrupt

    def __enter__(self) -> Meters:
        self.running: dict[str, tuple[subprocess.Popen[str], subprocess.Popen[str]]] = {}
        self.servers: list[subprocess.Popen[str]] = []
        couples = itertools.product(itertools.combinations(self.pods, 2), self.families)
        for number, ((one, two), family) in enumerate(couples):
            here, there = self.pods[one], self.pods[two]
            address, port = there["addresses"][family], PORT + number
            spoil = " corrupt" if self.corrupt else ""
            serve = f"serve {address} {port}{spoil}"
            self.servers.append(self._start(two, there["netns"], "flow.py", serve))
            self.running[f"{one} - {two} {family}"] = (
                self._start(one, here["netns"], "meter.py", f"{address} {RATE}"),
                self._start(one, here["netns"], "flow.py", f"send {address} {port}"),
            )
        for name, (meter, _flow) in self.running.items():
            self._wait(name, meter)
        return self

    @staticmethod
    def _wait(name: str, meter: subprocess.Popen[str]) -> None:
        """Until the first answer: a change that begins earlier would be measured in part only."""
        assert meter.stdout
        if meter.stdout.readline() != "ready\n":
            raise AssertionError(f"{name}: {meter.communicate(timeout=60)}")

    def _start(self, node: str, netns: str, program: str, arguments: str) -> subprocess.Popen[str]:
        command = f"exec nsenter --net={netns} python3 - {arguments}"
        with (HERE / program).open(encoding="utf-8") as text:
            return subprocess.Popen(
                ["ssh", "-F", str(self.fleet.ssh_config), node, command],
                stdin=text,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        time.sleep(0.5)
        for node in self.pods:
            # The node's own processes only: it has a PID namespace of its own.
            self.fleet.ssh(node, "pkill -INT -f '^python3 - (send|[0-9a-f.:]+ [0-9]+$)'; true")
        pairs = [self._read(name, *two) for name, two in self.running.items()]
        for server in self.servers:
            server.terminate()
            server.communicate(timeout=30)
        self.reading = Reading(tuple(pairs))

    @staticmethod
    def _read(name: str, meter: subprocess.Popen[str], flow: subprocess.Popen[str]) -> Pair:
        said = meter.communicate(timeout=60), flow.communicate(timeout=60)
        found = re.search(r"meter (\d+) (\d+) (\d+) (\d+)", said[0][0])
        stream = re.search(r"flow (\d+) (\w+)", said[1][0])
        if not found or not stream:
            raise AssertionError(f"{name}: {said}")
        sent, lost, gap, took = (int(text) for text in found.groups())
        return Pair(name, sent, lost, gap, stream[2], int(stream[1]), took)
