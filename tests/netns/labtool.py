# SPDX-License-Identifier: GPL-3.0-or-later
"""Labs for Python tests, without Ansible: `with LabTool(folder, nodes) as lab: lab.ssh(...)`."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from ansible_collections.podnet.fabric.plugins.module_utils.lab.changes import Changes
from ansible_collections.podnet.fabric.plugins.module_utils.lab.runtime import Lab
from ansible_collections.podnet.fabric.plugins.module_utils.lab.topology import derive

PROBE_SERVER = Path(__file__).resolve().parents[2] / "plugins/module_utils/probe_server.py"


def node(number: int, segment: str = "rack-a", **more: Any) -> dict[str, Any]:
    """One dual-stack node of `rack-a` or `rack-b`."""
    v4, v6 = {"rack-a": ("192.0.2", "2001:db8:a"), "rack-b": ("198.51.100", "2001:db8:b")}[segment]
    addresses = [f"{v4}.{10 + number}", f"{v6}::{10 + number}"]
    return {"name": f"node-{number}", "segment": segment, "underlay_addresses": addresses, **more}


class LabTool:
    """A lab of these nodes; up inside the `with`, gone after it."""

    def __init__(
        self, folder: Path, nodes: Sequence[dict[str, Any]], name: str = "test", **options: Any
    ) -> None:
        self.nodes, self.name = list(nodes), name
        self.lab = Lab(str(folder), name, str(PROBE_SERVER), **options)

    def up(self, restart: Sequence[str] = ()) -> Changes:
        """Make the lab what `nodes` says; what had to be done (false when nothing)."""
        return self.lab.up(derive(self.nodes), restart)

    def down(self) -> None:
        self.lab.down()

    def __enter__(self) -> LabTool:
        self.up()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.down()

    @property
    def facts(self) -> dict[str, Any]:
        return self.lab.facts()

    def ssh(self, name: str, command: str, check: bool = True) -> str:
        """Run a shell text on a node over SSH."""
        argv = ["ssh", "-F", self.facts["ssh_config"], name, command]
        return self._run(argv, check)

    def enter(self, netns: str, command: str, check: bool = True) -> str:
        """Run a shell text in the `router` or `outside_netns`, or a node's network namespace."""
        facts = self.facts
        path = facts[netns] if netns in facts else facts["nodes"][netns]["netns_path"]
        return self._run(["nsenter", f"--net={path}", "sh", "-c", command], check)

    def _run(self, argv: list[str], check: bool) -> str:
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        if check and done.returncode:
            raise AssertionError(f"{' '.join(argv)}\n{done.stdout}\n{done.stderr}")
        return done.stdout
