# SPDX-License-Identifier: GPL-3.0-or-later
"""What the controller's and the nodes' processes cost: CPU to the microsecond by control groups;
bytes and connections by the kernel's counters in each node's network namespace."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType

V1_CPU, V1_MEMORY = Path("/sys/fs/cgroup/cpuacct"), Path("/sys/fs/cgroup/memory")
V2 = (Path("/sys/fs/cgroup/unified"), Path("/sys/fs/cgroup"))


class Group:
    """A control group of our own, in whichever version this machine has."""

    def __init__(self, name: str) -> None:
        self.version = 1 if (V1_CPU / "cpuacct.usage").exists() else 2
        parent = (
            V1_CPU if self.version == 1 else next(p for p in V2 if (p / "cgroup.procs").exists())
        )
        self.folder = parent / f"podnet-bench-{os.getpid()}-{name}"
        self.folder.mkdir(exist_ok=True)
        self.memory: Path | None = None
        if self.version == 1 and (V1_MEMORY / "memory.usage_in_bytes").exists():
            self.memory = V1_MEMORY / self.folder.name
            self.memory.mkdir(exist_ok=True)

    def take(self, pid: int) -> None:
        """A process, and all that it starts from now on."""
        for folder in filter(None, (self.folder, self.memory)):
            (folder / "cgroup.procs").write_text(str(pid), encoding="ascii")

    def seconds(self) -> float:
        """CPU of all processes, also of those that have ended."""
        if self.version == 1:
            return int((self.folder / "cpuacct.usage").read_text()) / 1e9
        lines = dict(line.split() for line in (self.folder / "cpu.stat").read_text().splitlines())
        return int(lines["usage_usec"]) / 1e6

    def forget_peak(self) -> None:
        if self.memory:
            (self.memory / "memory.force_empty").write_text("0", encoding="ascii")
            (self.memory / "memory.max_usage_in_bytes").write_text("0", encoding="ascii")

    def peak(self) -> int | None:
        """Bytes since `forget_peak`, with the cached pages that were read anew; None: not known."""
        if not self.memory:
            return None
        return int((self.memory / "memory.max_usage_in_bytes").read_text())

    def close(self) -> None:
        """Processes that still live go back to where they came from."""
        for folder in filter(None, (self.folder, self.memory)):
            for _try in range(20):
                for pid in (folder / "cgroup.procs").read_text().split():
                    try:
                        (folder.parent / "cgroup.procs").write_text(pid, encoding="ascii")
                    except OSError:
                        continue  # it has ended
                try:
                    folder.rmdir()
                    break
                except OSError:
                    time.sleep(0.1)

    def __enter__(self) -> Group:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def counters(pids: Iterable[int]) -> tuple[int, int]:
    """Bytes that these nodes' management interfaces have received, and TCP connections that were
    opened to them."""
    received = connections = 0
    for pid in pids:
        for line in Path(f"/proc/{pid}/net/dev").read_text().splitlines():
            if line.strip().startswith("mgmt0:"):
                received += int(line.split(":")[1].split()[0])
        names, values = (
            line.split()
            for line in Path(f"/proc/{pid}/net/snmp").read_text().splitlines()
            if line.startswith("Tcp:")
        )
        connections += int(values[names.index("PassiveOpens")])
    return received, connections
