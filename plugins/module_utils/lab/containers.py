# SPDX-License-Identifier: GPL-3.0-or-later
"""Nodes that are containers with systemd. Underlay, ports, addresses and keys are those of any
node; the engine gives the file system and process 1, and no network of its own."""

from __future__ import annotations

import contextlib
import os
from typing import Any, Sequence

from . import texts
from .engine import Engine
from .host import run, write
from .nodes import Nodes
from .topology import LabError, LabNode, Topology


class Containers(Nodes):
    """Nodes whose files are an image's, below a layer as any node has it."""

    START, BOOT = texts.START_CONTAINER, texts.BOOT_CONTAINER

    def __init__(self, engine: Engine, image: str, *of_all: Any) -> None:
        super().__init__(*of_all)
        self.engine, self.image = engine, image

    def start(
        self, topology: Topology, nodes: Sequence[LabNode], rootfs: str, hidden: Sequence[str]
    ) -> None:
        other = sorted(node.name for node in nodes if node.init != "systemd")
        if other:
            raise LabError(
                f"{', '.join(other)}: a container has systemd as process 1\n    expected: systemd\n"
                "    found:    sshd\n    do:       set podnet_lab_init: systemd."
            )
        self.image = self.image or self.engine.image(rootfs)
        super().start(topology, nodes, rootfs, ())

    def _files(self, topology: Topology, node: LabNode, rootfs: str, hidden: Sequence[str]) -> None:
        """As for any node, but nothing is known here of what lies below its layer."""
        folder = self.folder(node.name)
        super()._files(topology, node, os.path.join(folder, "lower"), ())
        write(os.path.join(folder, "hidden"), "\n".join([*texts.HIDDEN, ""]))
        with contextlib.suppress(FileNotFoundError):
            os.unlink(os.path.join(folder, "plugged"))

    def _namespaces(self, nodes: Sequence[LabNode]) -> None:
        """Of containers that run: these bring their own, and wait until they are plugged in."""
        have = self.engine.names()
        for node in nodes:
            self._create(node, have)
        pids = self.engine.start([self.container(node) for node in nodes])
        for node in nodes:
            pid = pids[self.container(node)]
            if not pid:
                said = self.console(node.name)
                raise LabError(f"{node.name}: its container ended at once. It said:\n{said}")
            run(["ip", "netns", "attach", self.netns(node.name), str(pid)])

    def container(self, node: LabNode) -> str:
        return self.engine.container(self.indexes[node.name])

    def _create(self, node: LabNode, have: Sequence[str]) -> None:
        """A container lives as long as its node's files do."""
        created = os.path.join(self.folder(node.name), "created")
        if self.container(node) in have and os.path.exists(created):
            return
        self.engine.remove([self.container(node)] if self.container(node) in have else [])
        folder = self.folder(node.name)
        self.engine.create(self.indexes[node.name], node.name, self.image, folder)
        write(created, "")

    def console(self, name: str) -> str:
        said = self.engine.console(self.indexes[name])
        return f"(systemd may be unable to boot in a container of {self.engine.name} here)\n{said}"
