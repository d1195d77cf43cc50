# SPDX-License-Identifier: GPL-3.0-or-later
"""Every fault of the catalogue, alone and in random pairs: verification sees it, reports no
healthy pair, and names the object that is wrong and the node where it is."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest
from catalogue import CATALOGUE
from catalogue_base import ROUTER, SEGMENTS, Fault
from faultbench import SEED, FaultBench, judge, write
from fleet import Fleet, Spec

PAIRS = 12
RIGHT = 0.95


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FaultBench]:
    quick = {"podnet_verify_timeout_ms": 400}
    spec = Spec(segments=SEGMENTS, extra=quick)
    with Fleet(tmp_path_factory.mktemp("faults"), spec, "faults") as fleet:
        fleet.play("converge", check=True)
        fleet.play("verify", check=True)
        bench = FaultBench(fleet)
        yield bench
        write(bench, "faults")


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
