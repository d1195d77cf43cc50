# SPDX-License-Identifier: GPL-3.0-or-later
"""`meter.py` and `flow.py` between pods of a fleet, all the time that a change takes. Pods count
what reaches them from another address than a pod's."""

from __future__ import annotations

import itertools
import json
import re
import shlex
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from fleet import Fleet
from meter import MARK

HERE = Path(__file__).parent
RATE = 1000  # echo requests per second, pair and family; each proves both directions
PORT = 7800
Pods = dict[str, dict[str, Any]]
# A meter's packet is told from others by its mark, behind the eight bytes of the ICMP header.
COUNT = """nft -f - <<'END'
add table inet podmeter
delete table inet podmeter
table inet podmeter {{
  counter others {{ }}
  chain in {{
    type filter hook input priority 0;
    icmp type echo-request @th,64,64 {mark} ip saddr != {{ {ipv4} }} counter name others accept
    icmpv6 type echo-request @th,64,64 {mark} ip6 saddr != {{ {ipv6} }} counter name others accept
  }}
}}
END"""
COUNTED = "nft -j list counter inet podmeter others && nft delete table inet podmeter"


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
    translated: dict[str, int]  # node → packets at its pod that came from no pod's address

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
    def hurt(self) -> list[str]:
        """Every pair that a change was not to touch and has; empty as it should be."""
        pairs = [f"{pair}" for pair in self.pairs if pair.lost or pair.flow != "intact"]
        return pairs + [f"{node}: {n} translated" for node, n in self.translated.items() if n]


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
        self._count()
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

    def _count(self) -> None:
        """In each pod, what does not come from an address of the pods."""
        known = {"ipv4": ["0.0.0.0"], "ipv6": ["::"]}
        for pod in self.pods.values():
            for family, address in pod["addresses"].items():
                known[family].append(address)
        all_ = {family: ", ".join(of) for family, of in known.items()}
        for node in self.pods:
            self._inside(node, COUNT.format(mark=f"0x{MARK.hex()}", **all_))

    def _counted(self, node: str) -> int:
        items = json.loads(self._inside(node, COUNTED))["nftables"]
        return next(int(item["counter"]["packets"]) for item in items if "counter" in item)

    def _inside(self, node: str, text: str) -> str:
        netns = self.pods[node]["netns"]
        return self.fleet.ssh(node, f"nsenter --net={netns} sh -c {shlex.quote(text)}")

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
        self.reading = Reading(tuple(pairs), {node: self._counted(node) for node in self.pods})

    @staticmethod
    def _read(name: str, meter: subprocess.Popen[str], flow: subprocess.Popen[str]) -> Pair:
        said = meter.communicate(timeout=60), flow.communicate(timeout=60)
        found = re.search(r"meter (\d+) (\d+) (\d+) (\d+)", said[0][0])
        stream = re.search(r"flow (\d+) (\w+)", said[1][0])
        if not found or not stream:
            raise AssertionError(f"{name}: {said}")
        sent, lost, gap, took = (int(text) for text in found.groups())
        return Pair(name, sent, lost, gap, stream[2], int(stream[1]), took)
