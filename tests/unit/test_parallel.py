# SPDX-License-Identifier: GPL-3.0-or-later
"""Work on items that come one after the other, in this process and in several."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from ansible_collections.podnet.fabric.plugins.plugin_utils import parallel
from ansible_collections.podnet.fabric.plugins.plugin_utils.parallel import as_they_come


@pytest.mark.parametrize("processes", [1, 3])
def test_results_are_in_the_order_of_the_items(
    processes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parallel.os, "sched_getaffinity", lambda _pid: set(range(processes)))
    kept = object()  # a closure that cannot be pickled

    def work(item: int) -> tuple[int, bool, bool]:
        time.sleep(0.01 if item % 2 else 0)
        return item, kept is not None, os.getpid() == own

    own = os.getpid()
    found = list(as_they_come(work, iter(range(20)), 20, 1))
    assert found == [(item, True, processes == 1) for item in range(20)]


@pytest.mark.parametrize("processes", [1, 3])
def test_work_is_done_while_items_are_still_to_come(
    processes: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Each item comes only after the one before it has been worked on."""
    monkeypatch.setattr(parallel.os, "sched_getaffinity", lambda _pid: set(range(processes)))

    def items() -> Iterator[int]:
        for item in range(4):
            yield item
            until = time.monotonic() + 20
            while not (tmp_path / str(item)).exists():
                assert time.monotonic() < until, f"{item} is not worked on"
                time.sleep(0.005)

    def work(item: int) -> int:
        (tmp_path / str(item)).touch()
        return item

    assert list(as_they_come(work, items(), 4, 1)) == [0, 1, 2, 3]


def test_what_fails_in_a_process_fails_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parallel.os, "sched_getaffinity", lambda _pid: {0, 1})

    def work(item: int) -> int:
        raise LookupError(f"item {item}")

    with pytest.raises(LookupError, match="item 0"):
        list(as_they_come(work, range(3), 3, 1))
