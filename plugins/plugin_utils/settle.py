# SPDX-License-Identifier: GPL-3.0-or-later
"""What a run is going to do on one node, by itself. What the fleet says to it is in gate.py.

Results are plain data, because they wait in a file between the stages of a run.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from . import frr
from . import node as node_room
from .changes import PHASES, ChangeSet
from .intent.model import Fabric
from .kernel.state import State
from .plan import NodePlan, digest
from .preflight import live_pods, preflight, preflight_nothing
from .render import render_node
from .transaction import needs_new_connection, shown
from .units import HEAL_UNITS, heal_units
from .workspace import node_program, role_file, templates


def settle(
    fabric: Fabric,
    plan: NodePlan,
    have: State,
    generations: int,
    ident: str,
    heal_seconds: int = 0,
) -> dict[str, Any]:
    """One node's change set, as plain data; ``heal_seconds`` lie between two looks of the
    healing timer, which 0 turns off.

    ``bare`` says that podnet's own folder is all that differs. ``interesting`` says that something
    would be switched or removed, or that the node still has an address of an old range: then the
    fleet has to be heard before anything is done. ``anew`` says that a new connection has to prove
    it.
    """
    name, files = plan.node.name, files_of(fabric, plan, heal_seconds)
    changes, staged = node_room.changes_for(fabric, plan, files, have, generations, ident)
    return {
        "ident": ident,
        "phases": list(changes.phases),
        "bare": bool(changes.phases) and not any(map(changes.phase, PHASES)),
        "staged": staged,
        "shown": _shown(changes),
        "anew": needs_new_connection(changes),
        "stale": changes.stale_generation,
        "definitions": digest(dict(files.definitions)),
        "warnings": [f"{name}: {text}" for text in (*changes.warnings, *changes.astray)],
        "astray": [f"{name}: {text}" for text in changes.astray],
        "foreign": frr.foreign(plan, have),
        "problems": [asdict(problem) for problem in preflight(fabric, plan, have)],
        "interesting": bool(changes.switch or changes.remove or have.reservations),
    }


def settle_nothing(
    fabric: Fabric, name: str, have: State, generations: int, ident: str, cut_pods: bool
) -> dict[str, Any]:
    """Like `settle`, for a node that shall have nothing of podnet any more. Pods that still run
    forbid that, unless ``cut_pods``."""
    changes, staged = node_room.nothing_for(fabric, have, node_program(), generations, ident)
    problems = preflight_nothing(name, have)
    if not cut_pods:
        problems += live_pods(name, have)
    return {
        "ident": ident,
        "phases": list(changes.phases),
        "bare": bool(changes.phases) and not any(map(changes.phase, PHASES)),
        "staged": staged,
        "shown": _shown(changes),
        "anew": True,
        "stale": False,
        "definitions": "",
        "warnings": [],
        "astray": [],
        "foreign": {},
        "problems": [asdict(problem) for problem in problems],
        "interesting": bool(changes.remove),
    }


def files_of(fabric: Fabric, plan: NodePlan, heal_seconds: int = 0) -> node_room.NodeFiles:
    """The texts that a node gets: its definitions, and the collection's own files."""
    units = {unit: role_file("converge", "files", unit) for unit in HEAL_UNITS}
    return node_room.NodeFiles(
        definitions=render_node(fabric, plan, templates()),
        program=node_program(),
        unit=role_file("converge", "files", "podnet.service"),
        protocols=role_file("converge", "files", "rt_protos.conf"),
        heal=heal_units(units, heal_seconds),
        frr={name: role_file("bgp", "files", name) for name in frr.FILES},
    )


def _shown(changes: ChangeSet) -> dict[str, list[str]]:
    """The commands of each phase as a person reads them."""
    lines = {phase: shown(changes.phase(phase)) for phase in PHASES}
    if changes.stale_generation:
        lines[changes.phases[0]].append(
            "definitions -> a new generation in /etc/podnet/generations"
        )
    if changes.stale_program:
        lines[changes.phases[0]].append("install podnet-node in /usr/local/sbin")
    return lines
