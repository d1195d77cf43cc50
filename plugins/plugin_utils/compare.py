# SPDX-License-Identifier: GPL-3.0-or-later
"""What nodes said of themselves → what each of them is going to do by itself."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

from . import node as node_room
from .intent.model import Fabric
from .kernel.state import State, UnreadableError
from .parallel import as_they_come
from .peers import Peers
from .plan import NodePlan, plan_node, plan_nothing
from .preflight import missing_plugins
from .settle import settle, settle_nothing

# A process more costs what some nodes do.
WORTH_A_PROCESS = 10


@dataclass(frozen=True, slots=True)
class Terms:
    """How a run goes about it.

    Attributes:
        generations: that stay on a node.
        heal_seconds: between two looks of the healing timer; 0: none.
        absent: whether the nodes shall have nothing; then ``cut_pods`` says whether pods that run
            are no obstacle.
    """

    generations: int
    heal_seconds: int = 0
    absent: bool = False
    cut_pods: bool = False


@dataclass(frozen=True, slots=True)
class Compared:
    """One node: its state, and what it is going to do as plain data."""

    state: State
    run: dict[str, Any]


def planner(fabric: Fabric, terms: Terms) -> Callable[[str], NodePlan]:
    """Node → its plan; what plans share is made once."""
    if terms.absent:
        return plan_nothing
    return partial(plan_node, fabric, peers=Peers(fabric))


def compare(
    fabric: Fabric,
    terms: Terms,
    plan_of: Callable[[str], NodePlan],
    answers: Iterable[tuple[str, str]],
    most: int,
) -> Iterator[tuple[str, Compared | str]]:
    """Compare each node that answers with its plan, while others are still asked; a text says why
    an answer cannot be read.

    Args:
        plan_of: from `planner`.
        answers: node, what the read script printed.
        most: how many nodes may answer.
    """
    work = partial(_compare, fabric, terms, plan_of)
    return as_they_come(work, answers, most, WORTH_A_PROCESS)


def _compare(
    fabric: Fabric, terms: Terms, plan_of: Callable[[str], NodePlan], answer: tuple[str, str]
) -> tuple[str, Compared | str]:
    name, text = answer
    plan = plan_of(name)
    try:
        have = node_room.read(fabric, plan, text)
    except UnreadableError as error:
        return name, str(error)
    return name, Compared(have, {**_run(fabric, terms, plan, have), "answer": text})


def _run(fabric: Fabric, terms: Terms, plan: NodePlan, have: State) -> dict[str, Any]:
    """What one node is going to do by itself, and what the fleet has to know of it."""
    kept, ident = terms.generations, secrets.token_hex(4)
    if terms.absent:
        settled = settle_nothing(fabric, plan.node.name, have, kept, ident, terms.cut_pods)
    else:
        settled = settle(fabric, plan, have, kept, ident, terms.heal_seconds)
    return {
        **settled,
        "missing_plugins": [] if terms.absent else list(missing_plugins(fabric, have)),
        "generations": kept,
        "heal_seconds": terms.heal_seconds,
        "generation": max((have.generation or 0, *have.generations)),
        "window": 0,
    }
