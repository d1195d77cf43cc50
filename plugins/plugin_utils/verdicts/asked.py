# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a plan can say what a run's nodes must do. Pure."""

from __future__ import annotations

from collections.abc import Set

from ..intent.problems import Problem, few, printable

SHOWN = 10


def strangers(folder: str, known: Set[str], here: Set[str], without: Set[str]) -> str:
    """Names that the plan does not have, in a message; empty where it has them all. A node that
    nobody planned has no promise to break, and must not pass for one that keeps its promises.

    Args:
        folder: where the plan is.
        known: nodes of the plan.
        here: nodes of the run.
        without: nodes that are left out of the verification.
    """
    if strange := sorted(without - known):
        text = f"podnet_verify_without: expected nodes of the fleet, found {', '.join(strange)}"
        return f"{text}; correct the names"
    if not (strange := sorted(here - known - without)):
        return ""
    problem = Problem(
        f"{folder}/fabric.json",
        "the plan does not know all nodes that are to be verified",
        f"a plan of the inventory of this run; this one is of {_names(sorted(known))}",
        f"not in the plan: {_names(strange)}",
        "run the playbook podnet.fabric.verify, which plans first; in a playbook of your own put "
        "the role plan before the role verify",
    )
    return str(problem)


def _names(names: list[str]) -> str:
    return printable(few(names, SHOWN))
