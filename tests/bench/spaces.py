# SPDX-License-Identifier: GPL-3.0-or-later
"""Network namespaces of a bench: named after its process, gone at its end."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterable
from types import TracebackType


def run(*command: str, given: str = "") -> str:
    """Its output. Raises CalledProcessError, with what it said on the screen."""
    done = subprocess.run(command, input=given, text=True, stdout=subprocess.PIPE, check=True)
    return done.stdout


class Spaces:
    """`ip netns` of short names; `sysctl` settings are those of a new namespace, not the host's."""

    def __init__(self, *names: str) -> None:
        self.names = names

    def __enter__(self) -> Spaces:
        for name in self.names:
            run("ip", "netns", "add", self.full(name))
            self.inside(name, "ip", "link", "set", "lo", "up")
            for path in (
                "ipv4/ip_forward",
                "ipv4/conf/all/rp_filter",
                "ipv4/conf/default/rp_filter",
            ):
                self.sysctl(name, f"net/{path}", 0)
            # Addresses are used at once: nobody else is here.
            for which in ("all", "default"):
                self.sysctl(name, f"net/ipv6/conf/{which}/accept_dad", 0)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for name in self.names:
            subprocess.run(["ip", "netns", "del", self.full(name)], check=False)

    def full(self, name: str) -> str:
        return f"bench-{os.getpid()}-{name}"

    def path(self, name: str) -> str:
        return f"/run/netns/{self.full(name)}"

    def command(self, name: str, *command: str) -> list[str]:
        return ["nsenter", f"--net={self.path(name)}", *command]

    def inside(self, name: str, *command: str, given: str = "") -> str:
        return run(*self.command(name, *command), given=given)

    def batch(self, name: str, lines: Iterable[str], tool: str = "ip") -> None:
        self.inside(name, tool, "-batch", "-", given="\n".join(lines) + "\n")

    def sysctl(self, name: str, path: str, value: object) -> None:
        self.inside(name, "sh", "-c", f"echo {value} >/proc/sys/{path}")

    def cable(self, one: tuple[str, str], two: tuple[str, str], mtu: int = 1500) -> None:
        """A veth pair between two namespaces: (namespace, interface), both up."""
        (a, first), (b, second) = one, two
        run(
            *("ip", "link", "add", first, "mtu", str(mtu), "netns", self.full(a), "type", "veth"),
            *("peer", "name", second, "mtu", str(mtu), "netns", self.full(b)),
        )
        for space, name in (one, two):
            self.inside(space, "ip", "link", "set", name, "up")
