# SPDX-License-Identifier: GPL-3.0-or-later
"""Start the nodes of a lab, all at once, and wait until they answer."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from typing import List, Mapping, Sequence, Tuple

from . import batches, layer, naming, texts
from .host import MARK, NETNS, first_process, namespaces, processes, run, write
from .topology import LabError, LabNode, Topology
from .underlay import Underlay

PARTS = ("lower", "upper", "root", "cgroup")


class Nodes:
    """The nodes of one lab. ``folder`` is the lab's, ``indexes`` and ``addresses`` are by name.

    ``START`` runs in a node's network namespace, ``BOOT`` is its process 1 until it is its own.
    """

    START, BOOT = texts.START, texts.BOOT

    def __init__(
        self,
        underlay: Underlay,
        folder: str,
        indexes: Mapping[str, int],
        addresses: Mapping[str, str],
        prefix: int,
    ) -> None:
        self.underlay, self.folder_of_lab = underlay, folder
        self.indexes, self.addresses, self.prefix = indexes, addresses, prefix

    def folder(self, name: str) -> str:
        return os.path.join(self.folder_of_lab, "nodes", name)

    def netns(self, name: str) -> str:
        return self.underlay.netns(str(self.indexes[name]))

    def start(
        self, topology: Topology, nodes: Sequence[LabNode], rootfs: str, hidden: Sequence[str]
    ) -> None:
        """Plug in and boot; nothing of these nodes may be there but their files."""
        for node in nodes:
            self._files(topology, node, rootfs, hidden)
        self._namespaces(nodes)
        self._plug(nodes)
        started = [(node, self._boot(node, rootfs)) for node in nodes]
        for node, process in started:
            _out, said = process.communicate()
            if process.returncode:
                raise LabError(f"{node.name} does not start: {said.strip()}")
        self._wait(nodes)

    def _files(self, topology: Topology, node: LabNode, rootfs: str, hidden: Sequence[str]) -> None:
        """What the node boots from. Its upper layer is made once, and kept over restarts."""
        folder, ident = self.folder(node.name), self.underlay.ident
        if not os.path.exists(os.path.join(folder, "layer")):
            shutil.rmtree(folder, ignore_errors=True)
            layer.build(folder, self.folder_of_lab, ident, node, topology, rootfs, hidden)
            write(os.path.join(folder, "layer"), "")
        # overlayfs may refuse a work folder that a dead mount has used.
        shutil.rmtree(os.path.join(folder, "work"), ignore_errors=True)
        for part in (*PARTS, "work"):
            os.makedirs(os.path.join(folder, part), exist_ok=True)
        layer.devices(folder)
        management = f"{self.addresses[node.name]}/{self.prefix}"
        write(os.path.join(folder, "port.batch"), batches.node(topology, node, management))
        write(os.path.join(folder, "start.sh"), self.START)
        write(os.path.join(folder, "boot.sh"), self.BOOT)

    def _namespaces(self, nodes: Sequence[LabNode]) -> None:
        """Named network namespaces, without a port yet."""
        lines = [f"netns add {self.netns(node.name)}\n" for node in nodes]
        run(["ip", "-batch", "-"], "".join(lines))

    def _plug(self, nodes: Sequence[LabNode]) -> None:
        """Both ports of all nodes: two processes, however many nodes."""
        numbered: List[Tuple[int, LabNode, str]] = [
            (self.indexes[node.name], node, self.netns(node.name)) for node in nodes
        ]
        ident = self.underlay.ident
        run(
            ["ip", "-batch", "-"],
            "".join(batches.management_port(ident, *entry) for entry in numbered),
        )
        run(
            ["ip", "-n", self.underlay.router, "-batch", "-"],
            "".join(batches.router_port(ident, *entry) for entry in numbered),
        )

    def _boot(self, node: LabNode, rootfs: str) -> "subprocess.Popen[str]":
        """Ends as soon as the node's process 1 is under way."""
        folder, ident = self.folder(node.name), self.underlay.ident
        cgroup = f"podnet-{ident}/{naming.machine_id(ident, node.name)[:12]}"
        argv = [
            "nsenter",
            f"--net={NETNS}/{self.netns(node.name)}",
            "sh",
            os.path.join(folder, "start.sh"),
            folder,
            node.name,
            node.init,
            cgroup,
            rootfs,
        ]
        return subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            universal_newlines=True,
            start_new_session=True,
            cwd="/",
            env={**os.environ, MARK: ident},
        )

    def _wait(self, nodes: Sequence[LabNode]) -> None:
        end = time.monotonic() + 60 + len(nodes)
        for node in nodes:
            look = time.monotonic() + 1
            while not answers(self.addresses[node.name]):
                now = time.monotonic()
                if now > end or (now > look and not self._runs(node.name)):
                    raise LabError(
                        f"{node.name}: sshd does not answer. The node said:\n"
                        + self.console(node.name)
                    )
                look = now + 1 if now > look else look
                time.sleep(0.05)

    def _runs(self, name: str) -> bool:
        network = namespaces(self.netns(name)).get(self.netns(name))
        return first_process(processes(), network) is not None

    def console(self, name: str) -> str:
        """The end of what the node wrote while it started."""
        path = os.path.join(self.folder(name), "console.log")
        try:
            with open(path, encoding="utf-8", errors="replace") as stream:
                return stream.read()[-800:]
        except OSError:
            return "(nothing)"


def answers(address: str) -> bool:
    """Whether sshd sends its banner; the kernel alone would accept a connection too."""
    try:
        with socket.create_connection((address, 22), timeout=1) as connection:
            connection.settimeout(5)
            return connection.recv(4) == b"SSH-"
    except OSError:
        return False
