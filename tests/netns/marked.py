# SPDX-License-Identifier: GPL-3.0-or-later
"""Kill a controller as a power cut does: every process that carries a mark in its environment.

A process group is not enough: Ansible's workers leave it (`WorkerProcess._detach`), and so do the
SSH connections that stay open for later tasks.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time

MARK = "PODNET_FAULT_MARK"


def marked(mark: str, connections: bool) -> list[int]:
    """Processes with the mark but this one; ``connections``: also SSH connections that are kept
    open in the background, which outlive a controller that is merely killed."""
    wanted, found = f"{MARK}={mark}".encode(), []
    for entry in os.listdir("/proc"):
        if not entry.isdigit() or int(entry) == os.getpid():
            continue
        with contextlib.suppress(OSError):
            with open(f"/proc/{entry}/environ", "rb") as stream:
                if wanted not in stream.read().split(b"\0"):
                    continue
            with open(f"/proc/{entry}/cmdline", "rb") as stream:
                kept_open = b"[mux]" in stream.read()
            with open(f"/proc/{entry}/stat", encoding="utf-8") as stream:
                dead = stream.read().rpartition(")")[2].split()[0] == "Z"
            if not dead and (connections or not kept_open):
                found.append(int(entry))
    return found


def kill_marked(mark: str, connections: bool, seconds: float = 30.0) -> None:
    """SIGKILL until none is left; what was forked meanwhile carries the mark, too."""
    end = time.monotonic() + seconds
    while pids := marked(mark, connections):
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if time.monotonic() > end:
            raise AssertionError(f"processes {pids} do not end")
        time.sleep(0.01)
