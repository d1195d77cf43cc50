# SPDX-License-Identifier: GPL-3.0-or-later
"""Numbers of generations that a folder gives: above all that it has given or seen."""

from __future__ import annotations

from typing import Any

from ansible_collections.podnet.fabric.plugins.plugin_utils.fleet.numbers import (
    REMEMBERED,
    Numbers,
)


def runs(have: int, new: int | None, *names: str) -> dict[str, Any]:
    return {name: {"generation": have, "number": new} for name in names}


def test_runs_of_different_nodes_are_in_one_order() -> None:
    numbers = Numbers()
    for run, name in (("a", "node-2"), ("b", "node-3"), ("c", "node-2")):
        number = numbers.least(run)
        numbers = numbers.after(run, runs(0, number, name), gives=True)
    assert numbers.given == {1: {"node-2"}, 2: {"node-3"}, 3: {"node-2"}}


def test_batches_of_a_run_share_a_number() -> None:
    one = Numbers(60).after("a", runs(60, 61, "node-1"), gives=True)
    assert one.least("a") == 61 and one.least("b") == 62
    two = one.after("a", runs(60, 61, "node-2"), gives=True)
    assert two.given == {61: {"node-1", "node-2"}}
    # A batch that meets a higher one, such as of another controller, ends that.
    assert two.after("a", runs(70, None, "node-3"), gives=True).least("a") == 71
    assert two.least("") == 62, "a run without a name is another one"


def test_what_is_reviewed_or_refused_has_no_number() -> None:
    review = Numbers(60).after("a", runs(60, 61, "node-1"), gives=False)
    assert review == Numbers(60)
    seen = Numbers(60).after("a", runs(64, 65, "node-1"), gives=False)
    assert seen.least("a") == 65 and not seen.given, "but what nodes have was seen"
    idle = Numbers().after("a", runs(58, None, "node-1", "node-2"), gives=True)
    assert idle.least("b") == 59 and not idle.given


def test_the_last_few_are_remembered() -> None:
    numbers = Numbers()
    for number in range(1, 30):
        numbers = numbers.after(str(number), runs(0, number, "node-1"), gives=True)
    assert [*numbers.given] == [*range(30 - REMEMBERED, 30)]
    assert Numbers.from_dict(numbers.to_dict()) == numbers
