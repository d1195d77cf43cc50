# SPDX-License-Identifier: GPL-3.0-or-later
"""Places that probes are sent from: network namespaces, all of them from one loop, because a socket
stays in the namespace in which it was opened (network_namespaces(7))."""

from __future__ import annotations

import os
from typing import Any, Dict, List, Optional

from . import namespaces, probes

# Name of a place → path of its network namespace; None is the node's own.
Places = Dict[str, Optional[str]]


class Doors:
    """Ways into the places that are used. As a context: afterwards we are home again.

    ``shut``: why a place cannot be entered.
    """

    def __init__(self, places: Places) -> None:
        self.places, self.here = places, ""
        self.ways: Dict[str, int] = {}
        self.shut: Dict[str, str] = {}

    def __enter__(self) -> Doors:
        self.ways[""] = namespaces.way(namespaces.OWN)
        for name, path in self.places.items():
            try:
                self.enter("")  # where our own namespace has that path
                self.ways[name] = namespaces.way(path or namespaces.OWN)
                self.enter(name)
            except OSError as error:
                self.shut[name] = f"{name} cannot be entered: {error}"
        return self

    def enter(self, name: str) -> None:
        """Raises OSError."""
        if name != self.here:
            namespaces.take(self.ways[name], self.places.get(name) or namespaces.OWN)
            self.here = name

    def __exit__(self, *_error: Any) -> None:
        self.enter("")
        for handle in self.ways.values():
            os.close(handle)


def run_everywhere(
    targets: List[probes.Target], places: Places, attempts: int, timeout: float
) -> List[probes.Result]:
    """Send each target's probes from the place that its `from` names; results in the order of
    the targets. ``timeout`` in seconds, per attempt."""
    used = {target["from"] for target in targets}
    with Doors({name: path for name, path in places.items() if name in used}) as doors:
        able = [target for target in targets if target["from"] not in doors.shut]
        found = {result["id"]: result for result in _probe(able, doors, attempts, timeout)}
    return [
        found.get(target["id"]) or probes.unseen(target, doors.shut[target["from"]])
        for target in targets
    ]


def _probe(
    targets: List[probes.Target], doors: Doors, attempts: int, timeout: float
) -> List[probes.Result]:
    try:
        return probes.run_probes(targets, attempts, timeout, doors.enter)
    except Exception as error:  # whatever it is, it is not what the network did
        why = f"the prober failed: {type(error).__name__}: {error}"
        return [probes.unseen(target, why) for target in targets]
