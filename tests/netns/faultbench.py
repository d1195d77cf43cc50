# SPDX-License-Identifier: GPL-3.0-or-later
"""A fleet that is broken, looked at and healed again and again."""

from __future__ import annotations

import datetime
import json
import os
import subprocess
from collections.abc import Sequence
from typing import Any

from catalogue_base import ROUTER, Fault, Pair
from edits import normal
from fleet import DUMP, REPO, Fleet

SEED = int(os.environ.get("PODNET_SEED", "20261123"))
DOCUMENT = REPO / "docs" / "verification.md"

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


def names(fault: Fault, cause: dict[str, Any]) -> bool:
    """Whether a cause is this fault."""
    there = fault.word in cause["object"]
    return bool(cause["node"] == fault.culprit and cause["kind"] in fault.kinds and there)


def judge(bench: FaultBench, faults: Sequence[Fault], title: str) -> None:
    try:
        for fault in faults:
            bench.inject(fault)
        code, bad, causes, text = bench.verify()
    finally:
        bench.heal(faults)
    must = frozenset().union(*(fault.pairs for fault in faults))
    may = frozenset().union(*(fault.also for fault in faults))
    right = bool(causes) and all(any(names(f, c) for f in faults) for c in causes)
    # Of two faults on one way the first is named; a fault with a way of its own must be.
    for fault in faults:
        others = frozenset().union(*(f.pairs | f.also for f in faults if f is not fault))
        right = right and (fault.pairs <= others or any(names(fault, c) for c in causes))
    shown = "; ".join(f"{c['node']}: {c['kind']} {c['object']}" for c in causes)
    bench.rows.append((title, code == 2 and must <= bad, right, bad, shown))
    print(f"{'named' if right else 'WRONG'}  {title}: {shown}")
    assert code == 2 and must <= bad, (sorted(must - bad), text)
    assert bad <= must | may, f"{sorted(bad - must - may)}\n{text}\n{bench.wrong()}"


def table(bench: FaultBench) -> str:
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    stamp = f"Measured on {today} by `make faults-table` on {os.cpu_count()} cores."
    lines = [
        stamp,
        "",
        "| Fault | Detected | Named right | Pairs | Named |",
        "|---|---|---|---|---|",
    ]
    for title, detected, right, bad, shown in bench.rows:
        cells = (title, "yes" if detected else "NO", "yes" if right else "no", len(bad), shown)
        lines.append("| " + " | ".join(str(cell).replace("|", "\\|") for cell in cells) + " |")
    total = len(bench.rows)
    rates = (sum(row[1] for row in bench.rows), sum(row[2] for row in bench.rows))
    lines += ["", f"{total} runs, seed {SEED}: {rates[0]} detected, {rates[1]} named right."]
    return "\n".join(lines)


def write(bench: FaultBench, mark: str) -> None:
    """Into the document, between the comments with this mark, when it is asked for."""
    if os.environ.get("PODNET_WRITE_DOCS"):
        begin, end = f"<!-- {mark} -->", f"<!-- /{mark} -->"
        before, _begin, rest = DOCUMENT.read_text(encoding="utf-8").partition(begin)
        after = rest.partition(end)[2]
        text = f"{before}{begin}\n{table(bench)}\n{end}{after}"
        DOCUMENT.write_text(text, encoding="utf-8")
