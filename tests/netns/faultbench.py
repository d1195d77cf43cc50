# SPDX-License-Identifier: GPL-3.0-or-later
"""A fleet that is broken, looked at and healed again and again."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from typing import Any

from catalogue_base import ROUTER, Fault, Pair
from edits import normal
from fleet import DUMP, Fleet

# Conflists are files, which the node's own healing leaves to converge.
LOOK = DUMP + "sha256sum /etc/cni/net.d/*\n"


class FaultBench:
    """The fleet, how its nodes look when they are well, and what was seen so far."""

    def __init__(self, fleet: Fleet) -> None:
        self.fleet = fleet
        self.well = {node: self.look(node) for node in fleet.nodes}
        self.rows: list[tuple[str, bool, bool, set[Pair], str]] = []

    def look(self, node: str) -> str:
        return normal(self.fleet.ssh(node, LOOK))

    def netns(self, name: str) -> str:
        text = (self.fleet.labs / self.fleet.name / "vars.json").read_text(encoding="utf-8")
        return f"podnet-{text.partition('cp/lab-')[2][:6]}-{name}"

    def run(self, place: str, text: str) -> None:
        if place == ROUTER:
            inside = ["ip", "netns", "exec", self.netns(ROUTER), "sh", "-c", text]
            subprocess.run(inside, check=True, capture_output=True)
        elif text:
            self.fleet.ssh(place, text)

    def inject(self, fault: Fault) -> None:
        if fault.inject:
            self.run(fault.place, fault.inject)
            return
        number = str(self.fleet.nodes.index(fault.place))
        pids = subprocess.run(
            ["ip", "netns", "pids", self.netns(number)], capture_output=True, text=True, check=True
        )
        subprocess.run(["kill", "-9", *pids.stdout.split()], check=False)

    def heal(self, faults: Sequence[Fault]) -> None:
        """Take back what is foreign, then what is podnet's; the node itself is quicker at it."""
        if any(not fault.inject for fault in faults):
            self.fleet.play("lab_up", check=True)
            self.fleet.play("converge", check=True)
        for fault in reversed(faults):
            self.run(fault.place, fault.undo)
        for node in {fault.culprit for fault in faults}:
            self.fleet.ssh(node, "podnet-node heal || true")
            if self.look(node) != self.well[node]:
                self.fleet.play("converge", check=True)
                assert self.look(node) == self.well[node], (node, faults)

    def wrong(self) -> str:
        bad = [r for r in self.fleet.results() if r["status"] in ("failure", "error")]
        return "\n".join(f"{r['id']}: {r['found']}" for r in bad)

    def verify(self, *arguments: str) -> tuple[int, set[Pair], list[dict[str, Any]], str]:
        """Exit code, pairs with anything that is not well, causes, and what was printed."""
        done = self.fleet.play("verify", *arguments)
        bad: set[Pair] = set()
        for result in self.fleet.results():
            source, target = result["source"], result["target"]
            if result["status"] in ("failure", "error") and target in self.fleet.nodes:
                families = [result["family"]] if result["family"] else ["ipv4", "ipv6"]
                bad |= {(*sorted((source, target)), family) for family in families}
        path = self.fleet.folder / ".podnet" / "observed" / "causes.json"
        assert path.is_file() or not done.returncode, done.stdout
        causes = json.loads(path.read_text(encoding="utf-8"))["causes"] if done.returncode else []
        return done.returncode, bad, causes, done.stdout
