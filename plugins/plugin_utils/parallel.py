# SPDX-License-Identifier: GPL-3.0-or-later
"""Work on many nodes by as many processes as there are processors."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import TypeVar

Result = TypeVar("Result")


def in_parts(
    work: Callable[[Sequence[str]], Result], names: Sequence[str], least: int
) -> Iterator[Result]:
    """``work`` on all names, a part of neighbours for each process.

    Args:
        work: can be pickled, as its results can.
        least: how many nodes are worth a process of their own.
    """
    count = max(1, min(len(os.sched_getaffinity(0)), len(names) // least))
    size = max(1, -(-len(names) // count))
    parts = [names[i : i + size] for i in range(0, len(names), size)]
    if len(parts) < 2:
        yield from map(work, parts)
        return
    with ProcessPoolExecutor(len(parts), get_context("fork")) as pool:
        yield from pool.map(work, parts)
