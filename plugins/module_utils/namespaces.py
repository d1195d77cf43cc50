# SPDX-License-Identifier: GPL-3.0-or-later
"""Long-lived processes in namespaces, by fork(2), unshare(2), setns(2) and mount(2).

A process is started in two steps: it exists and waits; its starter writes down who it is; only
then it goes on. When the starter dies in between, the process sees the end of the pipe and ends,
so that there is never a process that nobody has written down.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import signal
import socket
import struct
from contextlib import contextmanager, suppress
from typing import Any, Callable, Dict, Iterator, List, NamedTuple, Optional

# linux/sched.h, linux/mount.h, linux/sockios.h
NEWNS, NEWUTS, NEWIPC, NEWPID, NEWNET = 0x20000, 0x4000000, 0x8000000, 0x20000000, 0x40000000
MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_BIND, MS_REC, MS_PRIVATE = 2, 4, 8, 4096, 16384, 1 << 18
MNT_DETACH = 2
SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP = 0x8913, 0x8914, 1
SHARED = ("net", "ipc", "uts")
OWN = "/proc/self/ns/net"
FOREVER = "2147483647"

_libc = ctypes.CDLL(None, use_errno=True)


def _check(code: int, what: str) -> None:
    if code:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), what)


def unshare(flags: int) -> None:
    _check(_libc.unshare(flags), "unshare")


def way(path: str) -> int:
    """A handle for `take`. Raises OSError."""
    return os.open(path, os.O_RDONLY | os.O_CLOEXEC)


def take(handle: int, what: str) -> None:
    """Join the namespace behind a handle (the os module has setns since Python 3.12 only). Raises
    OSError, which names ``what``."""
    _check(_libc.setns(handle, 0), what)


def enter(path: str) -> None:
    """Join the namespace that a path names."""
    handle = way(path)
    try:
        take(handle, path)
    finally:
        os.close(handle)


@contextmanager
def visit(path: str) -> Iterator[None]:
    """Be in another network namespace for a while: what is opened there stays there."""
    home = way(OWN)
    try:
        enter(path)
        try:
            yield
        finally:
            take(home, "back home")
    finally:
        os.close(home)


def mount(source: str, target: str, kind: str, flags: int) -> None:
    arguments = (source.encode(), target.encode(), kind.encode(), ctypes.c_ulong(flags), None)
    _check(_libc.mount(*arguments), target)


def pin(pid: int, path: str) -> None:
    """Give a process's network namespace a path, so that it can be handed to plugins and
    outlives the process until DEL has run."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "a", encoding="ascii"):
        pass
    mount(f"/proc/{pid}/ns/net", path, "none", MS_BIND)


def unpin(path: str) -> None:
    while os.path.ismount(path):
        _check(_libc.umount2(path.encode(), MNT_DETACH), path)
    if os.path.exists(path):
        os.unlink(path)


def same(pid: int, path: str) -> bool:
    """Whether ``path`` is the network namespace of the process."""
    try:
        return os.stat(f"/proc/{pid}/ns/net").st_ino == os.stat(path).st_ino
    except OSError:
        return False


class Program(NamedTuple):
    """What to start: ``inside`` runs in the process itself once it may go on, then the program
    takes its place. With a ``body`` nothing takes its place: that prepares, and returns what then
    goes on; its starter waits until it is prepared. ``first``: of a PID namespace of its own."""

    argv: List[str]
    env: Dict[str, str]
    workdir: str
    log: str
    inside: Callable[[], None]
    executable: Optional[str] = None
    body: Optional[Callable[[], Callable[[], Any]]] = None
    first: bool = False


def start(program: Program, known: Callable[[int], None]) -> int:
    """Start a process that outlives us: the node's init inherits it, and reaps it when we have
    ended. ``known`` writes its number down before it goes on. Raises OSError with what the process
    says when it does not come to its program. Needs that we are one thread (unshare(2))."""
    go_reader, go_writer = os.pipe()
    reader, writer = os.pipe()
    child = _fork_first() if program.first else os.fork()
    if not child:
        os.close(go_writer)
        os.close(reader)
        _child(program, go_reader, writer)
    os.close(go_reader)
    os.close(writer)
    with os.fdopen(reader, "rb") as answers, os.fdopen(go_writer, "wb", buffering=0) as go:
        known(child)
        with suppress(BrokenPipeError):  # it has ended already, and says why
            go.write(b".")
        # The pipe closes when the program takes over (close on exec), or after an error.
        error = answers.read().decode(errors="replace").strip()
    if error:
        raise OSError(error)
    return child


def _fork_first() -> int:
    """fork(2) into a new PID namespace; who we start next is in ours again."""
    home, child = way("/proc/self/ns/pid"), -1
    try:
        unshare(NEWPID)
        try:
            child = os.fork()
        finally:
            if child:
                take(home, "back home")
    finally:
        os.close(home)
    return child


def _child(program: Program, go: int, writer: int) -> None:
    try:
        if os.read(go, 1):
            _become(program, writer)
    except BaseException as error:
        os.write(writer, f"{error}\n".encode())
    finally:
        os._exit(127)


def _become(program: Program, writer: int) -> None:
    os.setsid()
    os.umask(0o022)
    log = os.open(program.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    nothing = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    for source, target in ((nothing, 0), (log, 1), (log, 2)):
        os.dup2(source, target)
    for name in os.listdir("/proc/self/fd"):
        if int(name) > 2 and int(name) != writer:
            with suppress(OSError):  # the one that listed them is closed already
                os.close(int(name))
    for number in (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGHUP, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL)
    program.inside()
    os.chdir(program.workdir)
    if program.body:
        _live(program.body, writer)
    try:
        os.execvpe(program.executable or program.argv[0], program.argv, program.env)
    except OSError as error:
        raise OSError(error.errno, error.strerror, program.argv[0]) from error


def _live(body: Callable[[], Callable[[], Any]], writer: int) -> None:
    """Stay this very process, without an interpreter to start and modules to import again."""
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)  # as Python has it
    goes_on = body()
    os.close(writer)
    try:
        goes_on()
    except BaseException as error:
        os.write(2, f"{type(error).__name__}: {error}\n".encode())
        os._exit(1)
    os._exit(0)


def forked(body: Callable[[], Callable[[], Any]], log: str) -> Program:
    """A process of its own in the namespaces that we are in."""
    return Program([], {}, "/", log, lambda: None, body=body)


def name_process(name: str) -> None:
    """For who looks at the node's processes; up to 15 letters (PR_SET_NAME, prctl(2))."""
    _libc.prctl(15, name.encode(), 0, 0, 0)


def pause(name: str, log: str) -> Program:
    """The infra container: holds network, IPC and UTS namespace and does nothing. It has no PID
    namespace and no children, so there is nothing that it would have to reap."""
    path = next(filter(os.path.exists, ("/usr/bin/sleep", "/bin/sleep")), "/bin/sleep")
    # A program of many names (busybox) looks at its first argument; others may show the pod.
    single = os.path.basename(os.path.realpath(path)) == "sleep"
    title = f"podnet-pause:{name}" if single else "sleep"

    def inside() -> None:
        unshare(NEWNET | NEWIPC | NEWUTS)
        socket.sethostname(name)
        loopback_up()

    return Program([title, FOREVER], {}, "/", log, inside, path)


def loopback_up() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as handle:
        answer = fcntl.ioctl(handle, SIOCGIFFLAGS, struct.pack("16sH14x", b"lo", 0))
        flags = struct.unpack("16sH14x", answer)[1] | IFF_UP
        fcntl.ioctl(handle, SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", flags))


def app(
    infra: int,
    argv: List[str],
    env: Dict[str, str],
    workdir: str,
    log: str,
    body: Optional[Callable[[], Callable[[], Any]]] = None,
) -> Program:
    """An app container: joins the infra container, with its own mount and PID namespace."""

    def inside() -> None:
        for kind in SHARED:
            enter(f"/proc/{infra}/ns/{kind}")
        unshare(NEWNS)
        mount("none", "/", "none", MS_REC | MS_PRIVATE)
        mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC)
        try:
            # Else /sys/class/net shows the node's interfaces.
            mount("sysfs", "/sys", "sysfs", MS_NOSUID | MS_NODEV | MS_NOEXEC)
        except OSError as error:
            os.write(2, f"podnet: /sys stays the node's: {error}\n".encode())

    return Program(argv, env, workdir, log, inside, None, body, first=True)
