# SPDX-License-Identifier: GPL-3.0-or-later
"""What a run is going to do on each node, first by itself and then with the fleet's say.

Results are plain data, because they wait in a file between the stages of a run.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from . import fleet
from . import node as node_room
from .changes import PHASES
from .intent.model import Fabric
from .intent.problems import Problem
from .kernel.state import State
from .plan import NOTHING_RETIRING, Retiring, plan_node
from .preflight import preflight
from .render import render_node
from .transaction import shown
from .workspace import role_file, templates


def settle(
    fabric: Fabric,
    name: str,
    have: State,
    generations: int,
    ident: str,
    retiring: Retiring = NOTHING_RETIRING,
) -> dict[str, Any]:
    """One node's change set, as plain data.

    ``interesting`` says that something would be switched or removed, or that the node still has
    an address of an old range: then the fleet has to be heard before anything is done.
    """
    plan = plan_node(fabric, name, retiring)
    files = node_room.NodeFiles(
        definitions=render_node(fabric, plan, templates()),
        program=role_file("converge", "files", "podnet-node"),
        unit=role_file("converge", "files", "podnet.service"),
        protocols=role_file("converge", "files", "rt_protos.conf"),
    )
    changes, staged = node_room.changes_for(fabric, plan, files, have, generations, ident)
    lines = {phase: shown(changes.phase(phase)) for phase in PHASES}
    if changes.stale_generation:
        lines[changes.phases[0]].append(
            "definitions -> a new generation in /etc/podnet/generations"
        )
    if changes.stale_program:
        lines[changes.phases[0]].append("install podnet-node in /usr/local/sbin")
    return {
        "ident": ident,
        "phases": list(changes.phases),
        "staged": staged,
        "shown": lines,
        "warnings": [f"{name}: {warning}" for warning in changes.warnings],
        "problems": [asdict(problem) for problem in preflight(fabric, plan, have)],
        "interesting": bool(changes.switch or changes.remove or have.reservations),
    }


def settle_fleet(fabric: Fabric, runs: dict[str, Any]) -> tuple[list[Problem], list[str]]:
    """Settle all nodes again with what the fleet says; ``runs`` is updated in place.

    Returns:
        Problems that forbid the whole run, and one line per range that stays.
    """
    states = {
        name: node_room.read(fabric, plan_node(fabric, name), run["answer"])
        for name, run in runs.items()
    }
    held = fleet.holders(fabric, states)
    silent = fleet.unasked(fabric, states)
    retiring = fleet.retiring(held, silent)
    if retiring:
        for name, run in runs.items():
            run.update(
                settle(fabric, name, states[name], run["generations"], run["ident"], retiring)
            )
    notes = _notes(held)
    for owner, cidrs in silent.items():
        notes += [f"{owner}: {cidr} stays, because {owner} was not asked" for cidr in cidrs]
    return list(fleet.handed_over(fabric, states, retiring)), notes


def _notes(held: tuple[fleet.Holder, ...]) -> list[str]:
    ranges: dict[tuple[str, str], list[fleet.Holder]] = {}
    for holder in held:
        ranges.setdefault((holder.node, holder.cidr), []).append(holder)
    notes = []
    for (node, cidr), holders in ranges.items():
        live = [holder for holder in holders if holder.live]
        leaked = len(holders) - len(live)
        text = f"{node}: {cidr} retires; {len(live)} pods still hold addresses of it"
        if not live:
            text = f"{node}: {cidr} is free and is removed"
        if leaked:
            text += f"; {leaked} reservations belong to no pod"
        notes.append(text)
    return notes
