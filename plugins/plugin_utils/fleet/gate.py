# SPDX-License-Identifier: GPL-3.0-or-later
"""What a run does with the fleet, decided once between reading and changing. Pure.

Every node has said what it would do by itself. Here the fleet has its say: which old ranges stay,
what must not happen, in which order nodes switch, and which number the new generation has.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

from .. import node as node_room
from ..changes import PHASES
from ..intent.model import Fabric, family_of
from ..intent.problems import Problem, few, shown
from ..kernel.answer import unpacked
from ..kernel.state import State
from ..peers import Retiring
from ..plan import plan_fleet
from ..preflight import PLUGINS_MISSING, PLUGINS_STILL_MISSING
from ..settle import settle
from . import ranges, segments
from .phases import out_of_order, restrict
from .rolling import Size, batches, no_canary, order_problems

Runs = dict[str, dict[str, Any]]
NO_STATES: Mapping[str, State] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Ask:
    """How a run was asked to go.

    Attributes:
        confirm_seconds: the window of a change that switches or removes something.
        phases: the phases of this run; all of them, unless somebody else orders them.
        canary, serial: see `rolling.batches`.
        digest: of the plan that was reviewed; empty when any plan will do.
        called: hosts that this run was to reach; others were left out of it.
        lost: nodes that are declared gone, so that nobody waits for them.
        released: old pod CIDRs that no pod has an address of any more, by somebody's word.
        install: whether missing CNI plugins are going to be installed.
        tried: nodes on which that has just been done.
        absent: whether the nodes shall have nothing; then the fleet has no say.
        number: the lowest that a new generation may have; see `numbers.py`.
    """

    confirm_seconds: int = 0
    phases: tuple[str, ...] = PHASES
    canary: tuple[str, ...] = ()
    serial: tuple[Size, ...] = ()
    digest: str = ""
    called: frozenset[str] = frozenset()
    lost: frozenset[str] = frozenset()
    released: frozenset[str] = frozenset()
    install: bool = False
    tried: frozenset[str] = frozenset()
    absent: bool = False
    number: int = 0


@dataclass(frozen=True, slots=True)
class Decision:
    """What came of it.

    Attributes:
        problems: what forbids the whole run.
        notes: one line per thing that a person should know.
        batches: nodes that switch, in the order in which they do.
        missing: nodes that lack CNI plugins.
        digest: SHA-256 of everything that the run does, cut to 16 digits.
    """

    problems: tuple[Problem, ...]
    notes: tuple[str, ...]
    batches: tuple[tuple[str, ...], ...]
    missing: tuple[str, ...]
    digest: str


def decide(
    fabric: Fabric, runs: Runs, ask: Ask, states: Mapping[str, State] = NO_STATES
) -> Decision:
    """Settle the runs of all nodes that answered; ``runs`` is updated in place.

    ``states`` are of nodes that were read just now; those of others are read out of their answers.
    """
    changing = [name for name, run in runs.items() if run["phases"] and not ask.absent]
    astray = list(segments.elsewhere(fabric, states, changing))
    released, problems = ranges.released(ask.released)
    wrong = list(order_problems([n.name for n in fabric.nodes], ask.canary, ask.serial))
    problems += wrong
    notes: list[str] = []
    # The fleet's say matters only where something would be switched or removed, and only such a
    # change can hurt what is in use: it waits for a confirmation.
    interesting = any(run["interesting"] for run in runs.values())
    if interesting and not ask.absent:
        rest = {name: run for name, run in runs.items() if name not in states}
        states = {**states_of(fabric, rest), **states}
        found, notes = _settle_fleet(fabric, runs, states, ask, released)
        problems += found
    if not ask.absent:
        notes += ranges.unknown(fabric, states, ask.lost.union(runs))
    problems += [*astray, *out_of_order(runs, ask.phases)]
    for name, run in runs.items():
        problems += _of_node(run, ask.install, name in ask.tried)
        notes += run["warnings"]
        restrict(run, ask.phases)
        run["window"] = ask.confirm_seconds if interesting else 0
    _number(runs, ask.number)
    digest = _digest(runs)
    if ask.digest and ask.digest != digest:
        problems.append(_other_plan(ask.digest, digest))
    switching = [name for name, run in runs.items() if "switch" in run["phases"]]
    problems += no_canary(ask.canary, runs, switching) if not wrong else ()
    order = [] if problems else batches(switching, ask.canary, ask.serial)
    return Decision(
        problems=tuple(problems),
        notes=tuple(notes),
        batches=tuple(tuple(batch) for batch in order),
        missing=tuple(name for name, run in runs.items() if run["missing_plugins"]),
        digest=digest,
    )


def _of_node(run: Mapping[str, Any], install: bool, tried: bool) -> Iterator[Problem]:
    """What preflight has found; missing plugins by whether they will be, or were, installed."""
    for problem in (Problem(**item) for item in run["problems"]):
        if problem.what != PLUGINS_MISSING:
            yield problem
        elif tried:
            yield replace(problem, remedy=PLUGINS_STILL_MISSING)
        elif not (install and run["missing_plugins"]):
            yield problem


def states_of(fabric: Fabric, runs: Mapping[str, Any]) -> dict[str, State]:
    """What every node that answered said of itself."""
    return {
        plan.node.name: node_room.read(fabric, plan, unpacked(runs[plan.node.name]["answer"]))
        for plan in plan_fleet(fabric, runs)
    }


def _settle_fleet(
    fabric: Fabric,
    runs: Runs,
    states: Mapping[str, State],
    ask: Ask,
    released: frozenset[str],
) -> tuple[list[Problem], list[str]]:
    """Settle again with the ranges that stay; problems that forbid the run, and one line per
    range that stays."""
    held = ranges.holders(fabric, states)
    silent = ranges.unasked(fabric, states, ask.lost, released)
    retiring = ranges.retiring(fabric, states, held, silent)
    if retiring:
        for plan, run in zip(plan_fleet(fabric, runs, retiring), runs.values(), strict=True):
            kept, ident, heal = run["generations"], run["ident"], run["heal_seconds"]
            run.update(settle(fabric, plan, states[plan.node.name], kept, ident, heal))
    problems = list(
        ranges.handed_over(fabric, states, retiring, held, ask.lost, released, ask.called)
    )
    # Who runs the phases one by one brings all nodes through each of them.
    if ask.phases == PHASES:
        problems += ranges.cut_off(fabric, states, ask.lost, ask.called)
    notes = [*retiring_notes(held, retiring), *companion_notes(held, silent, retiring)]
    for owner, cidrs in silent.items():
        notes += [f"{owner}: {cidr} stays, because {owner} was not asked" for cidr in cidrs]
    return problems, notes


def retiring_notes(held: tuple[ranges.Holder, ...], retiring: Retiring) -> list[str]:
    """One line per old range that has reservations: who holds it, or that it is free and goes,
    where it does."""
    kept: dict[tuple[str, str], list[ranges.Holder]] = {}
    for holder in held:
        kept.setdefault((holder.node, holder.cidr), []).append(holder)
    notes = []
    for (node, cidr), holders in kept.items():
        live = [holder for holder in holders if holder.live]
        leaked = [holder for holder in holders if not holder.live]
        text = f"{node}: {cidr} retires; held by {ranges.named(live)}"
        if not live:
            stays = cidr in retiring.get(node, ())
            text = f"{node}: {cidr} is free" + ("" if stays else " and is removed")
        if leaked:
            text += f"; reserved for no pod: {ranges.named(leaked)}"
        notes.append(text)
    return notes


def companion_notes(
    held: tuple[ranges.Holder, ...], silent: Retiring, retiring: Retiring
) -> list[str]:
    """One line per family of which nodes keep free ranges because of others'."""
    used = {(node, cidr) for node, cidrs in silent.items() for cidr in cidrs}
    used |= {(holder.node, holder.cidr) for holder in held if holder.live}
    free: dict[str, list[str]] = {}
    for node, cidr in ((node, cidr) for node, cidrs in retiring.items() for cidr in cidrs):
        if (node, cidr) not in used:
            free.setdefault(family_of(cidr), []).append(node)
    return [
        f"{family} retires as a whole: {few(sorted(nodes))} "
        f"{'keep free ranges' if len(nodes) > 1 else 'keeps a free range'} while others stay"
        for family, nodes in sorted(free.items())
    ]


def _number(runs: Runs, least: int) -> None:
    """One number for the whole run, so that a number names one state of the fleet: above what each
    of its nodes has, and above those of runs of other nodes."""
    last = max((run["generation"] for run in runs.values()), default=0)
    for run in runs.values():
        run["number"] = max(last + 1, least) if run["stale"] else None


def _digest(runs: Runs) -> str:
    """Equal for two runs that do the same on the same nodes; the kernel lists what goes in any
    order."""
    total = hashlib.sha256()
    for name, run in sorted(runs.items()):
        for phase in run["phases"]:
            total.update("\0".join((name, phase, *sorted(run["shown"][phase]))).encode())
        if run["phases"]:
            total.update(run["definitions"].encode())
    return total.hexdigest()[:16]


def _other_plan(reviewed: str, found: str) -> Problem:
    return Problem(
        "podnet_plan_digest",
        "the plan is not the one that was reviewed",
        shown(reviewed),
        found,
        "review it again: converge --check --diff",
    )
