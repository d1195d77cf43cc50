# SPDX-License-Identifier: GPL-3.0-or-later
"""Ranges that `allocate` gave and that the cluster's networks do not hold any more. Pure.

Nobody wrote them by hand, so nobody has to mend them node by node: they are one problem of the
fleet, and `allocate` itself gives others when it is told so.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Collection, Iterator, Mapping

from .checks import holds
from .model import Fabric, Family, family_of
from .problems import Problem, shown

NAMED = 3


def astray(fabric: Fabric, given: Collection[tuple[str, Family]]) -> dict[str, tuple[str, ...]]:
    """Node → those of its ranges that `allocate` gave and no network of the cluster holds.

    Args:
        given: node and family of the ranges that are not the node's own data. Each family of a
            node is one or the other.
    """
    ranges = {
        node.name: tuple(c for c in node.pod_cidrs if (node.name, family_of(c)) in given)
        for node in fabric.nodes
    }
    return outside(fabric, ranges)


def outside(fabric: Fabric, ranges: Mapping[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
    """Of the fleet's nodes, those ranges that no network of the cluster holds; nothing while that
    is not known. A node that is gone keeps all that it has: nobody can ask it for its pods."""
    cluster = [ipaddress.ip_network(cidr) for cidr in fabric.cluster_cidrs]
    found: dict[str, tuple[str, ...]] = {}
    for node in fabric.nodes if cluster else ():
        cidrs = ranges.get(node.name, ())
        if lost := tuple(c for c in cidrs if not holds(cluster, ipaddress.ip_network(c))):
            found[node.name] = lost
    return found


def problems(fabric: Fabric, lost: dict[str, tuple[str, ...]]) -> Iterator[Problem]:
    """One, if there is any."""
    if not lost:
        return
    number = len(lost)
    named = [f"{shown(name)[1:-1]}: {' '.join(lost[name])}" for name in list(lost)[:NAMED]]
    rest = number - len(named)
    more = [f"and {rest} more node{'s' if rest > 1 else ''}"] if rest else []
    yield Problem(
        "podnet_allocated",
        f"the cluster CIDRs do not hold ranges of {number} node{'s' if number > 1 else ''}",
        f"ranges inside podnet_cluster_cidrs {' '.join(fabric.cluster_cidrs)}",
        "; ".join([*named, *more]),
        "correct podnet_cluster_cidrs; or, to take these ranges back and give others where a family"
        " stays, run podnet.fabric.allocate -e podnet_allocate_renumber=true",
    )
