# SPDX-License-Identifier: GPL-3.0-or-later
"""A share of many like points: `make test` draws every fourth, `make netns-full` takes them all."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable, Iterator
from typing import TypeVar

from faults import SEED

EVERY = 1 if os.environ.get("PODNET_FULL") else 4
WHERE = f"every {EVERY}th from the {SEED % EVERY + 1}th; PODNET_FULL=1 takes all, seed {SEED}"
Point = TypeVar("Point")


def share(points: Iterable[Point]) -> Iterator[Point]:
    """Every fourth point, from one of the first four that the seed of the run chooses."""
    return itertools.islice(points, SEED % EVERY, None, EVERY)
