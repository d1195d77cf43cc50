# SPDX-License-Identifier: GPL-3.0-or-later
"""Work on many nodes by as many processes as there are processors."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any, TypeVar

Result = TypeVar("Result")
# What a process of ours works at. A fork has it from the start: what it knows of a large fleet is
# more than anybody wants to send through a pipe.
_work: Callable[[Sequence[str]], Any] | None = None


def in_parts(
    work: Callable[[Sequence[str]], Result], names: Sequence[str], least: int
) -> Iterator[Result]:
    """``work`` on all names, a part of neighbours for each process.

    Args:
        work: its results can be pickled.
        least: how many nodes are worth a process of their own.
    """
    count = max(1, min(len(os.sched_getaffinity(0)), len(names) // least))
    size = max(1, -(-len(names) // count))
    parts = [names[i : i + size] for i in range(0, len(names), size)]
    if len(parts) < 2:
        yield from map(work, parts)
        return
    with ProcessPoolExecutor(len(parts), get_context("fork"), _begin, (work,)) as pool:
        yield from pool.map(_part, parts)


def _begin(work: Callable[[Sequence[str]], Any]) -> None:
    global _work
    _work = work


def _part(names: Sequence[str]) -> Any:
    return _work(names) if _work else None
