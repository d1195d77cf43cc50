# SPDX-License-Identifier: GPL-3.0-or-later
"""Routers of segments for tests: namespaces in a lab's underlay that run FRR or BIRD by themselves.

Each has files of its own and stands beside the lab's router, which knows no pod CIDR and stays the
nodes' default gateway.
"""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ansible_collections.podnet.fabric.plugins.module_utils.lab.naming import lab_id, router_bridge
from fleet import SEGMENT_NETWORKS, Fleet

FRR = Path("/usr/lib/frr")
CORE = "core0"  # the wire between two routers
HOST = 250  # of the router in each network of its segment


@dataclass(frozen=True)
class Router:
    """A router of one segment that runs.

    Attributes:
        netns: name of its network namespace.
        daemons: those of its processes, by name.
        ask: what the routing daemon says to lines of its command language.
    """

    netns: str
    daemons: dict[str, subprocess.Popen[bytes]]
    ask: Callable[..., str]

    def ip(self, *words: str) -> str:
        return _said(["ip", "-n", self.netns, *words])


def addresses(segment: str) -> tuple[str, str]:
    """The router's own, IPv4 and IPv6, without prefix lengths."""
    v4, v6 = (network.partition("/")[0] for network in SEGMENT_NETWORKS[segment])
    return v4.removesuffix("0") + str(HOST), f"{v6}{HOST:x}"


@contextlib.contextmanager
def space(fleet: Fleet, segment: str, name: str) -> Iterator[str]:
    """A network namespace that forwards, with a port in the segment."""
    ident = lab_id(str(fleet.labs), fleet.name)
    underlay, own = f"podnet-{ident}-router", f"podnet-{ident}-{name}"
    port = f"p-{name}"
    _said(["ip", "netns", "add", own])
    try:
        settings = "net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1"
        settings += " net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.default.rp_filter=0"
        # BIRD ends a session over IPv6 for a minute when the link has no link-local address yet.
        settings += " net.ipv6.conf.default.accept_dad=0"
        _said(["ip", "netns", "exec", own, "sysctl", "-q", "-w", *settings.split()])
        plug = f"link add {port} type veth peer name eth0 netns {own}\n"
        plug += f"link set {port} master {router_bridge(segment)} up\n"
        _said(["ip", "-n", underlay, "-batch", "-"], plug)
        v4, v6 = addresses(segment)
        lines = f"link set lo up\naddr add {v4}/24 dev eth0\naddr add {v6}/64 dev eth0 nodad\n"
        _said(["ip", "-n", own, "-batch", "-"], lines + "link set eth0 up\n")
        yield own
    finally:
        _said(["ip", "netns", "del", own])


def join(one: str, two: str) -> None:
    """A wire between two routers: 10.99.0.1 and fd00:99::1, 10.99.0.2 and fd00:99::2."""
    _said(
        ["ip", "-n", one, "link", "add", CORE, "type", "veth", "peer", "name", CORE, "netns", two]
    )
    for number, netns in enumerate((one, two), 1):
        lines = f"addr add 10.99.0.{number}/30 dev {CORE}\n"
        lines += f"addr add fd00:99::{number}/64 dev {CORE} nodad\nlink set {CORE} up\n"
        _said(["ip", "-n", netns, "-batch", "-"], lines)


@contextlib.contextmanager
def frr(netns: str, bgpd: str, *more: str) -> Iterator[Router]:
    """zebra and bgpd with this configuration; ``more``: further daemons."""
    with _folder("frr") as folder:
        (folder / "bgpd.conf").write_text(bgpd, encoding="ascii")
        common = ["--vty_socket", str(folder), "-z", f"{folder}/zserv.api"]
        with contextlib.ExitStack() as stack:
            daemons = {}
            for name in ("zebra", *more, "bgpd"):
                (folder / f"{name}.conf").touch()
                files = ["-f", f"{folder}/{name}.conf", "-i", f"{folder}/{name}.pid"]
                # bfdd has a second socket, which is the package's unless it is named.
                files += ["--bfdctl", f"{folder}/bfdd.sock"] if name == "bfdd" else []
                command = [str(FRR / name), *files, *common]
                daemons[name] = stack.enter_context(_running(netns, command))
                until(lambda name=name: (folder / f"{name}.vty").exists(), f"{name} runs")
            yield Router(netns, daemons, lambda *lines: _vtysh(folder, lines))


@contextlib.contextmanager
def bird(netns: str, config: str) -> Iterator[Router]:
    with _folder("bird") as folder:
        (folder / "bird.conf").write_text(config, encoding="ascii")
        files = ["-c", f"{folder}/bird.conf", "-s", f"{folder}/bird.ctl"]
        with _running(netns, ["bird", "-f", *files]) as process:
            until((folder / "bird.ctl").exists, "BIRD runs")
            shell = ["birdc", "-s", f"{folder}/bird.ctl"]
            yield Router(netns, {"bird": process}, lambda line: _said([*shell, *line.split()]))


def _vtysh(folder: Path, lines: Sequence[str]) -> str:
    words = [word for line in lines for word in ("-c", line)]
    return _said(["vtysh", "--vty_socket", str(folder), *words])


@contextlib.contextmanager
def _folder(owner: str) -> Iterator[Path]:
    """Both daemons give up root, and pytest's folders are root's alone."""
    with tempfile.TemporaryDirectory(prefix="podnet-router-") as name:
        shutil.chown(name, owner, owner)
        yield Path(name)


@contextlib.contextmanager
def _running(netns: str, words: list[str]) -> Iterator[subprocess.Popen[bytes]]:
    command = ["ip", "netns", "exec", netns, *words]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.kill()
        process.wait(timeout=60)


def until(there: Callable[[], bool], what: str, seconds: int = 30) -> None:
    """Wait for something that has to happen by itself."""
    end = time.monotonic() + seconds
    while not there():
        if time.monotonic() > end:
            raise AssertionError(f"not within {seconds} seconds: {what}")
        time.sleep(0.1)


def _said(command: list[str], text: str = "") -> str:
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    if done.returncode:
        raise AssertionError(f"{' '.join(command)}\n{text}\n{done.stdout}\n{done.stderr}")
    return done.stdout
