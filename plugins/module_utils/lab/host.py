# SPDX-License-Identifier: GPL-3.0-or-later
"""The seam between the lab and the machine: commands, processes, locks, files."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import signal
import subprocess
import time
from dataclasses import dataclass
from typing import Any, Dict, Iterator, List, Optional, Sequence, Set, Tuple

from .topology import LabError

NETNS = "/run/netns"
MARK = "PODNET_LAB"
TOOLS = {
    "ip": "iproute2",
    "ss": "iproute2",
    "unshare": "util-linux",
    "nsenter": "util-linux",
    "setsid": "util-linux",
    "mount": "mount",
    "pivot_root": "util-linux",
    "ssh-keygen": "openssh-client",
    "sshd": "openssh-server",
}
Inode = Tuple[int, int]


@dataclass(frozen=True)
class Process:
    """A living process: its number, its network namespace, its numbers in nested namespaces."""

    pid: int
    network: Inode
    numbers: Tuple[int, ...]


def run(argv: Sequence[str], stdin: str = "", check: bool = True) -> str:
    """Run a command; its output. A failure is a LabError that shows the command and its input."""
    done = subprocess.run(
        list(argv),
        input=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        universal_newlines=True,
        check=False,
    )
    if check and done.returncode:
        said = done.stderr.strip() or done.stdout.strip()
        raise LabError(f"{' '.join(argv)}: {said}\n{stdin}".rstrip())
    return done.stdout


def pipe(first: Sequence[str], second: Sequence[str]) -> None:
    """Run two commands, the output of the first into the second; LabError when either fails."""
    with subprocess.Popen(list(first), stdout=subprocess.PIPE) as source:
        done = subprocess.run(
            list(second),
            stdin=source.stdout,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            universal_newlines=True,
            check=False,
        )
    # The second first: when it ends early, the first dies of that.
    for argv, failed in ((second, done.returncode), (first, source.returncode)):
        if failed:
            raise LabError(f"{' '.join(argv)}: exit code {failed}\n{done.stdout}".rstrip())


def require_tools() -> None:
    """LabError when the machine lacks a program, with the packages that have it."""
    path = os.environ.get("PATH", "") + ":/usr/sbin:/sbin:/usr/bin:/bin"
    os.environ["PATH"] = path
    missing = sorted(tool for tool in TOOLS if not shutil.which(tool))
    if missing:
        packages = " ".join(sorted({TOOLS[tool] for tool in missing}))
        raise LabError(
            f"this machine: programs are missing: {', '.join(missing)}\n"
            f"    do:       apt-get install {packages}"
        )


def namespaces(start: str) -> Dict[str, Inode]:
    """Named network namespaces whose name starts so, and what each is."""
    found = {}
    for name in sorted(os.listdir(NETNS)) if os.path.isdir(NETNS) else []:
        if name.startswith(start):
            status = os.stat(os.path.join(NETNS, name))
            found[name] = (status.st_dev, status.st_ino)
    return found


def processes() -> List[Process]:
    """All living processes of the machine; zombies have no namespaces and are left out."""
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                status = os.stat(f"/proc/{entry}/ns/net")
                with open(f"/proc/{entry}/status", encoding="utf-8", errors="replace") as stream:
                    line = next(ln for ln in stream if ln.startswith("NSpid:"))
            except (OSError, StopIteration):
                continue
            numbers = tuple(int(word) for word in line.split()[1:])
            found.append(Process(int(entry), (status.st_dev, status.st_ino), numbers))
    return found


def first_process(found: Sequence[Process], network: Optional[Inode]) -> Optional[int]:
    """Process 1 of the node with this network namespace, by its number on the machine."""
    inits = [p for p in found if p.network == network and len(p.numbers) > 1]
    inits = [p for p in inits if p.numbers[-1] == 1]
    return min(inits, key=lambda p: len(p.numbers)).pid if inits else None


def marked(value: str) -> Set[int]:
    """Processes that were started with the lab's mark in their environment."""
    wanted = f"{MARK}={value}".encode()
    found = set()
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                with open(f"/proc/{entry}/environ", "rb") as stream:
                    if wanted in stream.read().split(b"\0"):
                        found.add(int(entry))
            except OSError:
                continue
    return found


def _ourselves() -> Set[int]:
    """This process and its ancestors, which may have entered a namespace of the lab."""
    pid, found = os.getpid(), set()
    while pid > 0 and pid not in found:
        found.add(pid)
        with contextlib.suppress(OSError), open(f"/proc/{pid}/stat", encoding="utf-8") as stream:
            pid = int(stream.read().rpartition(")")[2].split()[1])
    return found


def kill(networks: Sequence[Inode], mark: str = "", seconds: float = 15.0) -> None:
    """End what is in these network namespaces, or carries the mark; wait until it has ended.

    No recorded process number is used: the number may long be another's.
    """
    spared, wanted = _ourselves(), set(networks)
    end = time.monotonic() + seconds
    while True:
        pids = {p.pid for p in processes() if p.network in wanted}
        pids = (pids | (marked(mark) if mark else set())) - spared
        if not pids:
            return
        if time.monotonic() > end:
            raise LabError(f"processes {sorted(pids)} of the lab do not end")
        for pid in pids:
            _kill_one(pid, wanted, mark)
        time.sleep(0.02)


def _kill_one(pid: int, networks: Set[Inode], mark: str) -> None:
    """Kill through a descriptor, after a second look: the number cannot change hands between."""
    with contextlib.suppress(OSError):
        if not hasattr(os, "pidfd_open"):  # Python 3.8
            os.kill(pid, signal.SIGKILL)
            return
        descriptor = os.pidfd_open(pid)
        try:
            status = os.stat(f"/proc/{pid}/ns/net")
            if (status.st_dev, status.st_ino) in networks or (mark and pid in marked(mark)):
                signal.pidfd_send_signal(descriptor, signal.SIGKILL)
        finally:
            os.close(descriptor)


@contextlib.contextmanager
def lock(folder: str) -> Iterator[None]:
    """Hold a folder for this process; the kernel gives it back however the process ends."""
    while True:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            if _same(folder, descriptor):
                yield
                return
            os.makedirs(folder, exist_ok=True)  # somebody took the lab down while we waited
        finally:
            os.close(descriptor)


def _same(folder: str, descriptor: int) -> bool:
    try:
        return os.path.samestat(os.stat(folder), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def links(group: str = "") -> List[Dict[str, Any]]:
    """The machine's interfaces, or those of one group."""
    argv = ["ip", "-j", "link", "show"] + (["group", group] if group else [])
    found: List[Dict[str, Any]] = json.loads(run(argv) or "[]")
    return [link for link in found if link]


def networks_in_use() -> List[str]:
    """Addresses and IPv4 routes of the machine, as CIDRs."""
    used = []
    for link in json.loads(run(["ip", "-j", "-4", "addr", "show"]) or "[]"):
        used += [f"{a['local']}/{a['prefixlen']}" for a in link.get("addr_info", [])]
    for route in json.loads(run(["ip", "-j", "-4", "route", "show", "table", "all"]) or "[]"):
        if route.get("dst", "")[:1].isdigit():
            used.append(route["dst"])
    return used


def drop_connections(destination: str) -> None:
    """End the machine's own TCP connections to an address or network.

    An SSH client that keeps one open would go on using it in the node's next life.
    """
    run(["ss", "-K", "dst", destination], check=False)


def mounted(path: str) -> bool:
    """Whether something is mounted exactly there."""
    wanted = path
    for char in "\\ \t\n":
        wanted = wanted.replace(char, "\\%03o" % ord(char))
    with open("/proc/self/mounts", encoding="utf-8", errors="surrogateescape") as stream:
        return any(line.split(" ")[1] == wanted for line in stream)


def write(path: str, text: str, mode: int = 0o644) -> None:
    """Replace a file at once, so that a reader never sees half of it."""
    with open(path + ".new", "w", encoding="utf-8") as stream:
        os.fchmod(stream.fileno(), mode)
        stream.write(text)
    os.replace(path + ".new", path)


def read_json(path: str) -> Dict[str, Any]:
    """A JSON file's mapping; empty when the file is missing or not whole."""
    try:
        with open(path, encoding="utf-8") as stream:
            data = json.load(stream)
    except (OSError, ValueError):
        return {}
    return data if isinstance(data, dict) else {}
