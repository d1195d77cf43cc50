# SPDX-License-Identifier: GPL-3.0-or-later
"""The seam between node-side code and the node: commands, processes, atomic files."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from typing import Any, Callable, Dict, List, Mapping, Optional, Tuple

Answer = Tuple[int, str, str]
Run = Callable[[List[str], Mapping[str, str], str], Answer]


def run(argv: List[str], env: Mapping[str, str], stdin: str) -> Answer:
    """Run a command to its end: (exit code, output, errors). ``env`` is added to ours."""
    try:
        done = subprocess.run(
            argv,
            input=stdin,
            env={**os.environ, **env},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            universal_newlines=True,
        )
    except OSError as error:
        return 127, "", str(error)
    return done.returncode, done.stdout, done.stderr


def spawn(argv: List[str], env: Mapping[str, str], log: str) -> int:
    """Start a process that outlives us and the connection we came over; its number."""
    with open(log, "ab") as stream:
        started = subprocess.Popen(
            argv,
            env={**os.environ, **env},
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=stream,
            start_new_session=True,
            close_fds=True,
            cwd="/",
        )
    return started.pid


def started_at(pid: int) -> Optional[str]:
    """Start time of a living process, which with its number names it for ever; else None.
    proc(5): field 3 is the state (Z and X are dead), field 22 the start time."""
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as stream:
            fields = stream.read().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else fields[19]


def marked(name: str, value: str) -> List[int]:
    """Processes that carry ``name=value`` in the environment they were started with."""
    wanted = f"{name}={value}".encode()
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit() and int(entry) != os.getpid():
            try:
                with open(f"/proc/{entry}/environ", "rb") as stream:
                    if wanted in stream.read().split(b"\0"):
                        found.append(int(entry))
            except OSError:
                continue
    return found


def kill_marked(name: str, value: str, seconds: float = 5.0) -> None:
    """End all processes that carry the mark, and wait until they have ended."""
    end = time.monotonic() + seconds
    while True:
        alive = [pid for pid in marked(name, value) if started_at(pid)]
        if not alive or time.monotonic() > end:
            return
        for pid in alive:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
            try:
                os.waitpid(pid, os.WNOHANG)
            except OSError:
                pass
        time.sleep(0.01)


def read_json(path: str) -> Optional[Dict[str, Any]]:
    try:
        with open(path, encoding="utf-8") as stream:
            data: Dict[str, Any] = json.load(stream)
            return data
    except (OSError, ValueError):
        return None


def write_json(path: str, data: Mapping[str, Any]) -> None:
    """Atomic: a crash leaves the old or the new content."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path + ".new", "w", encoding="utf-8") as stream:
        json.dump(data, stream, indent=1, sort_keys=True)
        stream.flush()
        os.fsync(stream.fileno())
    os.replace(path + ".new", path)
