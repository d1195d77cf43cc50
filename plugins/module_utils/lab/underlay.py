# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab between the nodes: management bridge, router with its segments, outside host."""

from __future__ import annotations

import json
import os
import subprocess
from typing import Any, Dict, List, Sequence

from . import batches, naming, texts
from .host import MARK, NETNS, namespaces, run
from .topology import Segment, Topology


def delete_links(names: Sequence[str], netns: str = "") -> None:
    """Delete interfaces. The kernel may be quicker: it deletes one end of a pair with the namespace
    of the other, some time after the last process in that has ended."""
    if names:
        where = ["-n", netns] if netns else []
        text = "".join(f"link del {name}\n" for name in names)
        run(["ip", *where, "-force", "-batch", "-"], text, check=False)


class Underlay:
    """``ident`` is the lab's identifier; every name comes from it."""

    def __init__(self, ident: str) -> None:
        self.ident = ident
        self.router, self.outside = self.netns("router"), self.netns("outside")

    def netns(self, what: str) -> str:
        return f"podnet-{self.ident}-{what}"

    def links_of_router(self) -> Dict[str, Any]:
        """Interfaces of the router by name; empty when there is no router."""
        if self.router not in namespaces(self.router):
            return {}
        said = run(["ip", "-n", self.router, "-j", "link", "show"], check=False)
        found = json.loads(said or "[]")
        return {link["ifname"]: link for link in found if link}

    def build_bridge(self, subnet: str) -> None:
        run(["ip", "-batch", "-"], batches.management_bridge(self.ident, subnet))

    def build_router(self) -> None:
        self._namespace(self.router, texts.ROUTER_SYSCTLS)
        run(["ip", "-n", self.router, "link", "set", "lo", "up"])

    def remove_segments(self, names: Sequence[str], router_links: Dict[str, Any]) -> None:
        bridges = [naming.router_bridge(name) for name in names]
        delete_links([bridge for bridge in bridges if bridge in router_links], self.router)

    def add_segments(self, segments: Sequence[Segment]) -> None:
        text = "".join(batches.segment(self.ident, segment) for segment in segments)
        run(["ip", "-n", self.router, "-batch", "-"], text)

    def build_outside(self, topology: Topology, program: str, port: int, log: str) -> None:
        """The outside host, and the program on it that answers probes."""
        delete_links(
            [name for name in ("outside0",) if name in self.links_of_router()], self.router
        )
        self._namespace(self.outside)
        run(["ip", "-n", self.router, "-batch", "-"], batches.outside_link(topology, self.outside))
        run(["ip", "-n", self.outside, "-batch", "-"], batches.outside_host(topology))
        argv = ["nsenter", f"--net={NETNS}/{self.outside}", "python3", program]
        with open(log, "ab") as stream:
            subprocess.Popen(
                [*argv, "--port", str(port)],
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=stream,
                start_new_session=True,
                cwd="/",
                env={**os.environ, MARK: self.ident},
            )

    def _namespace(self, name: str, more: str = "") -> None:
        """A fresh network namespace in the place of an old one; its processes are gone."""
        if name in namespaces(name):
            run(["ip", "netns", "del", name])
        run(["ip", "netns", "add", name])
        text = f"(\n{texts.FRESH_SYSCTLS})\n{more}"
        run(["nsenter", f"--net={NETNS}/{name}", "sh", "-eu", "-s"], text)

    def unplug(
        self, indexes: Sequence[int], router_links: Dict[str, Any], links: Sequence[str]
    ) -> None:
        """Delete both ports of these nodes, at once and not when the kernel gets round to it."""
        ports = [naming.router_port(index) for index in indexes]
        delete_links([port for port in ports if port in router_links], self.router)
        ports = [naming.management_port(self.ident, index) for index in indexes]
        delete_links([port for port in ports if port in links])

    def remove_namespaces(self, names: Sequence[str]) -> None:
        found = set(namespaces(self.netns("")))
        lines: List[str] = [f"netns del {name}\n" for name in names if name in found]
        run(["ip", "-batch", "-"], "".join(lines))
