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
# A plugin that waits for something that never comes must not hold the pod's lock for ever.
COMMAND_SECONDS = 60.0


def run(argv: List[str], env: Mapping[str, str], stdin: str) -> Answer:
    """Run a command to its end: (exit code, output, errors). ``env`` is added to ours."""
    # The path of a user's connection may lack ip, and the iptables that plugins look for.
    path = ":".join(filter(None, (os.environ.get("PATH"), "/usr/local/sbin:/usr/sbin:/sbin")))
    try:
        done = subprocess.run(
            argv,
            input=stdin,
            env={**os.environ, "PATH": path, "LC_ALL": "C", **env},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            universal_newlines=True,
            check=False,
            timeout=COMMAND_SECONDS,
        )
    except subprocess.TimeoutExpired:
        return 124, "", f"no end after {COMMAND_SECONDS:.0f} seconds"
    except OSError as error:
        return 127, "", str(error)
    return done.returncode, done.stdout, done.stderr


def started_at(pid: int) -> Optional[str]:
    """Start time of a living process, which with its number names it for ever; else None.
    proc(5): field 3 is the state (Z and X are dead), field 22 the start time."""
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as stream:
            fields = stream.read().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else fields[19]


def alive(process: Optional[Mapping[str, Any]]) -> bool:
    """Whether {"pid", "started"} is still that very process; a reused number is not."""
    if not process or process.get("started") is None:
        return False
    return started_at(int(process["pid"])) == str(process["started"])


def kill(process: Optional[Mapping[str, Any]], seconds: float = 10.0) -> None:
    """End a process that {"pid", "started"} names, and wait until it has ended. The end of a PID
    namespace's first process is the end of all processes in there (pid_namespaces(7))."""
    end = time.monotonic() + seconds
    while process and alive(process):
        if time.monotonic() > end:
            raise OSError(f"process {process['pid']} does not end, even by SIGKILL")
        try:
            os.kill(process["pid"], signal.SIGKILL)
        except ProcessLookupError:
            return
        time.sleep(0.002)


def read_json(path: str) -> Optional[Dict[str, Any]]:
    """The content of a file, None when there is none; ValueError when it is not JSON."""
    try:
        with open(path, encoding="utf-8") as stream:
            data: Dict[str, Any] = json.load(stream)
            return data
    except FileNotFoundError:
        return None


def remove_folder(path: str) -> None:
    """A folder of files, where there is one. A pod's record goes last: what is left by who was
    killed meanwhile can still be read."""
    if os.path.isdir(path):
        for name in sorted(os.listdir(path), key=lambda name: name == "pod.json"):
            os.unlink(os.path.join(path, name))
        os.rmdir(path)


def write_json(path: str, data: Mapping[str, Any]) -> None:
    """Atomic: a crash leaves the old or the new content."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    text = json.dumps(data, sort_keys=True)  # at once and without indent, as C can do it
    with open(path + ".new", "w", encoding="utf-8") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
    os.replace(path + ".new", path)
