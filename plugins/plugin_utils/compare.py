# SPDX-License-Identifier: GPL-3.0-or-later
"""What nodes said of themselves → what each of them is going to do by itself."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from . import node as node_room
from .intent.model import Fabric
from .kernel.answer import packed
from .kernel.state import ODD, State, UnreadableError
from .parallel import in_parts
from .plan import NodePlan, plan_fleet, plan_nothing
from .preflight import missing_plugins
from .settle import settle, settle_nothing
from .workspace import templates

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


def plans_of(fabric: Fabric, terms: Terms, names: Sequence[str]) -> Iterator[NodePlan]:
    """In the order of ``names``."""
    return map(plan_nothing, names) if terms.absent else plan_fleet(fabric, names)


def compare(fabric: Fabric, terms: Terms, answers: Mapping[str, str]) -> dict[str, Compared | str]:
    """Compare each node that answered with its plan; a text says why an answer cannot be read.

    Args:
        answers: node → what the read script printed.
    """
    templates()  # compiled once, and then there in every process
    work = partial(_compare, fabric, terms, answers)
    return dict(item for part in in_parts(work, list(answers), WORTH_A_PROCESS) for item in part)


def _compare(
    fabric: Fabric, terms: Terms, answers: Mapping[str, str], names: Sequence[str]
) -> list[tuple[str, Compared | str]]:
    found: list[tuple[str, Compared | str]] = []
    for name, plan in zip(names, plans_of(fabric, terms, names), strict=True):
        try:
            have = node_room.read(fabric, plan, answers[name])
            run = {**_run(fabric, terms, plan, have), "answer": packed(answers[name])}
        except UnreadableError as error:
            found.append((name, str(error)))
        except ODD as error:
            # One node that says odd things must not end the run of all others.
            found.append((name, f"{type(error).__name__}: {error}"[:300]))
        else:
            found.append((name, Compared(have, run)))
    return found


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
