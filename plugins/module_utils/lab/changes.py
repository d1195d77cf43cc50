# SPDX-License-Identifier: GPL-3.0-or-later
"""What a lab should be, what it is, and what has to be done about it (pure)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Dict, FrozenSet, List, Mapping, Optional, Sequence

from .topology import LabError, LabNode, Topology

Spec = Dict[str, Any]


@dataclass(frozen=True)
class Have:
    """A lab as it is found.

    ``router`` is the underlay that was built, None when it must be built anew; ``nodes`` maps
    names to their specs; ``alive`` names those that run and are plugged in; ``outside`` says
    whether the outside host answers.
    """

    router: Optional[Spec]
    outside: bool
    nodes: Mapping[str, Spec]
    alive: FrozenSet[str]


@dataclass(frozen=True)
class Changes:
    """Names of nodes to stop, to forget (their files too), to start; parts of the underlay."""

    stop: Sequence[str] = ()
    forget: Sequence[str] = ()
    start: Sequence[str] = ()
    router: bool = False
    remove_segments: Sequence[str] = ()
    add_segments: Sequence[str] = ()
    outside: bool = False

    def __bool__(self) -> bool:
        return any(self.lines())

    def lines(self) -> List[str]:
        """For a person: one line per thing."""
        said = ["build the router"] if self.router else []
        said += [f"remove segment {name}" for name in self.remove_segments]
        said += [f"add segment {name}" for name in self.add_segments]
        said += ["build the outside host"] if self.outside else []
        said += [f"stop {n}" for n in self.stop if n not in self.start]
        said += [f"{'restart' if n in self.stop else 'start'} {n}" for n in self.start]
        said += [f"discard the files of {n}" for n in self.forget]
        return said


def router_spec(topology: Topology) -> Spec:
    """The underlay, JSON-able."""
    segments = {s.name: [list(s.networks), list(s.gateways), s.mtu] for s in topology.segments}
    return {"segments": segments, "outside": list(topology.outside)}


def node_spec(topology: Topology, node: LabNode, rootfs: str) -> Spec:
    """One node, JSON-able. A change of ``port`` is a restart, of ``system`` a new node."""
    segment = router_spec(topology)["segments"][node.segment]
    return {
        "port": [node.segment, segment, list(node.addresses), node.mtu],
        "system": [node.init, rootfs],
    }


def compare(topology: Topology, rootfs: str, have: Have, restart: Sequence[str]) -> Changes:
    """The changes that make ``have`` what the topology says; LabError for unknown ``restart``."""
    want = {node.name: node_spec(topology, node, rootfs) for node in topology.nodes}
    unknown = sorted(set(restart) - set(want))
    if unknown:
        raise LabError(
            f"restart: no such node: {', '.join(unknown)}\n    expected: some of "
            f"{', '.join(want)}\n    do:       Correct podnet_lab_restart."
        )
    underlay = router_spec(topology)
    old = have.router or {"segments": {}, "outside": []}
    removed = [s for s, spec in old["segments"].items() if underlay["segments"].get(s) != spec]
    added = [s for s, spec in underlay["segments"].items() if old["segments"].get(s) != spec]
    rebuild = have.router is None
    gone = [name for name in have.nodes if name not in want]
    stale = [
        name
        for name in want
        if name not in have.alive
        or rebuild
        or name in restart
        or have.nodes.get(name) != want[name]
    ]
    other = [
        name
        for name in stale
        if name in have.nodes and have.nodes[name]["system"] != want[name]["system"]
    ]
    return Changes(
        stop=sorted([*gone, *(name for name in stale if name in have.nodes)]),
        forget=sorted([*gone, *other]),
        start=sorted(stale),
        router=rebuild,
        remove_segments=sorted(removed),
        add_segments=sorted(added),
        outside=rebuild or not have.outside or old["outside"] != underlay["outside"],
    )
