# SPDX-License-Identifier: GPL-3.0-or-later
"""Work on many nodes by as many processes as there are processors."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def in_parts(
    work: Callable[[Sequence[str]], Result], names: Sequence[str], least: int
) -> Iterator[Result]:
    """``work`` on all names, a part of neighbours for each process.

    Args:
        work: can be pickled, as its results can.
        least: how many nodes are worth a process of their own.
    """
    count = _processes(len(names), least)
    size = max(1, -(-len(names) // count))
    parts = [names[i : i + size] for i in range(0, len(names), size)]
    if len(parts) < 2:
        yield from map(work, parts)
        return
    with ProcessPoolExecutor(len(parts), get_context("fork")) as pool:
        yield from pool.map(work, parts)


def as_they_come(
    work: Callable[[Item], Result], items: Iterable[Item], most: int, least: int
) -> Iterator[Result]:
    """``work`` on each item while others are still to come; results in the order of the items.

    Args:
        work: need not be pickled; its results must be.
        items: nothing is taken of it before the processes are there, so that it may begin threads.
        most: how many items there will be at most.
        least: how many of them are worth a process of their own.
    """
    count = _processes(most, least)
    if count < 2:
        yield from map(work, items)
        return
    with ProcessPoolExecutor(count, get_context("fork"), _keep, (work,)) as pool:
        pool.submit(_ready)  # with the first call all are forked
        futures = [pool.submit(_work, item) for item in items]
        yield from (future.result() for future in futures)


def _processes(items: int, least: int) -> int:
    return max(1, min(len(os.sched_getaffinity(0)), items // least))


# Of a process that `as_they_come` has forked: what it was forked for.
_kept: list[Callable[[Any], Any]] = []


def _keep(work: Callable[[Any], Any]) -> None:
    _kept.append(work)


def _ready() -> None:
    """Nothing."""


def _work(item: Any) -> Any:
    return _kept[-1](item)
