# SPDX-License-Identifier: GPL-3.0-or-later
"""Places that probes are sent from: a process per network namespace, all at the same time."""

from __future__ import annotations

import json
import os
from typing import Dict, List, Optional, Tuple

from . import namespaces, probes

# Name of a place → path of its network namespace; None is the node's own.
Places = Dict[str, Optional[str]]


def run_everywhere(
    targets: List[probes.Target], places: Places, attempts: int, timeout: float
) -> List[probes.Result]:
    """Send each target's probes from the place that its `from` names; results in the order of
    the targets. ``timeout`` in seconds, per attempt."""
    running = []
    for name, path in places.items():
        own = [target for target in targets if target["from"] == name]
        if own:
            running.append((own, *_fork(own, name, path, attempts, timeout)))
    found: Dict[str, probes.Result] = {}
    for own, child, reader in running:
        with os.fdopen(reader, "rb") as stream:
            answer = stream.read()
        os.waitpid(child, 0)
        results = json.loads(answer) if answer else _blind(own, "the prober ended early")
        found.update({result["id"]: result for result in results})
    return [found[target["id"]] for target in targets]


def _blind(targets: List[probes.Target], why: str) -> List[probes.Result]:
    return [probes.unseen(target, why) for target in targets]


def _fork(
    targets: List[probes.Target], name: str, path: Optional[str], attempts: int, timeout: float
) -> Tuple[int, int]:
    """A child in the place; returns its number and the pipe with its answer."""
    reader, writer = os.pipe()
    child = os.fork()
    if child:
        os.close(writer)
        return child, reader
    try:
        os.close(reader)
        results = _probe(targets, name, path, attempts, timeout)
        with os.fdopen(writer, "wb") as stream:
            stream.write(json.dumps(results).encode())
    finally:
        os._exit(0)


def _probe(
    targets: List[probes.Target], name: str, path: Optional[str], attempts: int, timeout: float
) -> List[probes.Result]:
    try:
        if path is not None:
            namespaces.enter(path)
    except OSError as error:
        return _blind(targets, f"{name} cannot be entered: {error}")
    try:
        return probes.run_probes(targets, attempts, timeout)
    except Exception as error:  # whatever it is, it is not what the network did
        return _blind(targets, f"the prober failed: {type(error).__name__}: {error}")
