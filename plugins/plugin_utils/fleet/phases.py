# SPDX-License-Identifier: GPL-3.0-or-later
"""A run of some of the phases, when somebody else orders them over several runs. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, MutableMapping
from typing import Any

from ..changes import PHASES
from ..intent.problems import Problem


def out_of_order(
    runs: Mapping[str, Mapping[str, Any]], asked: tuple[str, ...]
) -> Iterator[Problem]:
    """Phases that come before those of this run and that a node of it still needs.

    A node that has not added what it needs would be switched away from by the others, or would
    lose what it still uses. Only the nodes of this run can be looked at; who divides a fleet into
    several runs waits for all of them between two phases."""
    needed = {phase for run in runs.values() if not run["bare"] for phase in run["phases"]}
    todo = [phase for phase in asked if phase in needed]
    for phase in PHASES[: PHASES.index(todo[-1])] if todo else ():
        nodes = [name for name, run in runs.items() if not run["bare"] and phase in run["phases"]]
        if phase not in asked and nodes:
            more = f" and {len(nodes) - 3} more" if len(nodes) > 3 else ""
            yield Problem(
                "podnet_phases",
                f"the phase {todo[-1]} comes before its turn",
                f"the phase {phase} done on every node",
                f"{phase} still to be done on {', '.join(nodes[:3])}{more}",
                f"run the phase {phase} on all nodes first; it is safe to repeat",
            )


def restrict(run: MutableMapping[str, Any], asked: tuple[str, ...]) -> None:
    """Leave of a node's run what the asked phases hold.

    The definitions say what is there after the last phase. So they come with the run that does
    the last thing which the node needs, and with any run when they are all that it needs."""
    if run["bare"]:
        run["phases"] = list(asked[:1])
    elif not set(asked) >= {*run["phases"]}:
        run["phases"] = [phase for phase in run["phases"] if phase in asked]
        run["stale"] = False
