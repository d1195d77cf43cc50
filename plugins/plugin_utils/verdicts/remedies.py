# SPDX-License-Identifier: GPL-3.0-or-later
"""What to look at, and where, when a check fails and no cause is found: one line that a person can
act on. Where a cause is named, what repairs that takes its place."""

from __future__ import annotations

from ..backends import Target, serving
from ..intent.model import Fabric, Family, Node
from ..peers import narrower
from .observations import Missing

AGAIN = "converge puts back what is missing"


def remedy_between(
    fabric: Fabric, mtu: int, node: Node, peer: Node, family: Family, address: str | Missing
) -> str:
    """Two pods on different nodes: the lines that the way there needs, as the plan has them.
    ``mtu``: the pod MTU."""
    if isinstance(address, Missing):
        return remedy_error(peer.name)
    backend = serving(fabric, node, peer, family)
    cidr = peer.pod_cidr(family)
    if backend is None or cidr is None:
        return f"on {node.name}: look for a route to {address}; {AGAIN}"
    target = Target(family, cidr, node.gateway(family), narrower(fabric, mtu))
    objects = backend.entries(fabric, node, peer, target)
    needed = ", ".join(f"`{command}`" for item in objects for command in item.add())
    return f"{AGAIN}: {node.name} needs {needed}, and {peer.name} the same for the way back"


def remedy_bridge(fabric: Fabric, node: Node) -> str:
    """Two pods on one node."""
    return (
        f"on {node.name}: `bridge link` must list the pods' veths as forwarding ports of "
        f"{fabric.bridge}; {AGAIN}"
    )


def remedy_node(fabric: Fabric, node: Node, peer: Node) -> str:
    """A pod and a node."""
    if node is peer:
        return (
            f"on {node.name}: `ip addr show {fabric.bridge}` must list the gateway addresses, "
            f"and no input rule may drop packets of pods; {AGAIN}"
        )
    return (
        f"on {node.name} and {peer.name}: look at `nft list ruleset`, rp_filter and forwarding "
        f"of the underlay interface; {AGAIN}"
    )


def remedy_outside(fabric: Fabric, node: Node, family: Family) -> str:
    """A pod and a host outside the cluster."""
    rule = "must masquerade" if family in fabric.masquerade else "must not masquerade"
    return (
        f"on {node.name}: the default route must reach the host, and `nft list table inet "
        f"podnet` {rule} {family} of the pods; {AGAIN}"
    )


def remedy_source(node: Node, peer: Node) -> str:
    """An address that was translated on the way."""
    return f"look for a foreign NAT rule: `nft list ruleset` on {node.name} and {peer.name}"


def remedy_error(node: str) -> str:
    """A node that could not be looked at."""
    return f"make {node} reachable for Ansible with Python and the CNI plugins, and verify again"


def remedy_speaker(node: str) -> str:
    """What a node must have learned, or a session."""
    return f"on {node}: look at `vtysh -N podnet -c 'show bgp summary'`"
