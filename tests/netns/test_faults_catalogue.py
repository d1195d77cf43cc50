# SPDX-License-Identifier: GPL-3.0-or-later
"""Every fault of the catalogue, alone and in random pairs: verification sees it, reports no
healthy pair, and names the object that is wrong and the node where it is."""

from __future__ import annotations

import datetime
import os
import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from catalogue import CATALOGUE
from catalogue_base import ROUTER, SEGMENTS, Fault
from faultbench import FaultBench
from fleet import REPO, Fleet, Spec

SEED = int(os.environ.get("PODNET_SEED", "20261123"))
PAIRS = 12
RIGHT = 0.95
DOCUMENT = REPO / "docs" / "verification.md"
BEGIN, END = "<!-- faults -->", "<!-- /faults -->"


def names(fault: Fault, cause: dict[str, Any]) -> bool:
    """Whether a cause is this fault."""
    there = fault.word in cause["object"]
    return bool(cause["node"] == fault.culprit and cause["kind"] in fault.kinds and there)


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FaultBench]:
    quick = {"podnet_verify_timeout_ms": 400}
    spec = Spec(segments=SEGMENTS, extra=quick)
    with Fleet(tmp_path_factory.mktemp("faults"), spec, "faults") as fleet:
        fleet.play("converge", check=True)
        fleet.play("verify", check=True)
        bench = FaultBench(fleet)
        yield bench
        write(bench)


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


@pytest.mark.parametrize("fault", CATALOGUE, ids=lambda fault: fault.name)
def test_fault(bench: FaultBench, fault: Fault) -> None:
    judge(bench, [fault], fault.name)


def couples() -> list[tuple[Fault, Fault]]:
    """Random pairs of faults that do not undo each other: on different nodes."""
    chance = random.Random(SEED)
    usable = [fault for fault in CATALOGUE if fault.inject and fault.place != ROUTER]
    found: list[tuple[Fault, Fault]] = []
    while len(found) < PAIRS:
        one, two = chance.sample(usable, 2)
        if one.culprit != two.culprit:
            found.append((one, two))
    return found


@pytest.mark.parametrize("faults", couples(), ids=lambda faults: " + ".join(f.name for f in faults))
def test_two_faults(bench: FaultBench, faults: tuple[Fault, Fault]) -> None:
    judge(bench, faults, " + ".join(fault.name for fault in faults))


def test_rates(bench: FaultBench) -> None:
    """Printed with -s and written into the document; at least one run must have come before."""
    assert bench.rows, "run this file as a whole"
    detected = sum(row[1] for row in bench.rows) / len(bench.rows)
    right = sum(row[2] for row in bench.rows) / len(bench.rows)
    wrong = [(row[0], row[4]) for row in bench.rows if not row[2]]
    print(
        f"\nseed {SEED}: {len(bench.rows)} faults and pairs of faults, {detected:.1%} detected, "
        f"{right:.1%} named right"
    )
    assert detected == 1
    assert right >= RIGHT, wrong


def test_well_again(bench: FaultBench) -> None:
    """Damage that stays would make every later fault look detected."""
    assert bench.verify()[:3] == (0, set(), [])


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


def write(bench: FaultBench, path: Path = DOCUMENT) -> None:
    if os.environ.get("PODNET_WRITE_DOCS"):
        text = path.read_text(encoding="utf-8")
        before, _begin, rest = text.partition(BEGIN)
        after = rest.partition(END)[2]
        path.write_text(f"{before}{BEGIN}\n{table(bench)}\n{END}{after}", encoding="utf-8")
