# SPDX-License-Identifier: GPL-3.0-or-later
"""Rules that need more than one value: overlaps, families, duplicates.

Every check is O(n log n) in the number of nodes and reports each offender once.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Collection, Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import Any

from .model import FAMILIES, Fabric, Family, Node, family_of
from .problems import Problem

CLUSTER = "podnet_cluster_cidrs"
IPNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network
Astray = Mapping[str, Collection[str]]  # node → ranges

# The gateway and at least one pod must fit; IPv4 also loses network and broadcast address.
LONGEST: Mapping[Family, int] = {"ipv4": 30, "ipv6": 126}

# This host, loopback, link-local, multicast (RFC 6890, RFC 4291). 240.0.0.0/4 is not here:
# Linux forwards it, and large fleets use it for pods.
UNUSABLE = tuple(
    ipaddress.ip_network(cidr)
    for cidr in (
        "0.0.0.0/8",
        "127.0.0.0/8",
        "169.254.0.0/16",
        "224.0.0.0/4",
        "::/8",
        "fe80::/10",
        "ff00::/8",
    )
)


def check(
    fabric: Fabric,
    fleet: Mapping[str, Any],
    unread: frozenset[str] = frozenset(),
    astray: Astray = MappingProxyType({}),
) -> list[Problem]:
    """All problems of a parsed fleet that no single value shows.

    ``unread`` holds the places of lists that could not be read in full: what seems to be
    missing there may well be there, so nothing is said about it. Nor is it that ranges ``astray``
    do not fit the cluster: this is one problem of the fleet, said elsewhere.
    """
    return [
        *_empty(fabric),
        *_unusable_ranges(fabric),
        *_ranges(fabric, fleet, unread, astray),
        *_prefix_lengths(fabric, fleet["podnet_node_prefix_lengths"] or {}, astray),
        *_families(fabric, unread, astray),
        *_underlay(fabric),
        *_names(fabric),
        *_persistence(fabric),
        *_tracking(fabric, fleet["podnet_service_cidrs"] or ()),
    ]


def _empty(fabric: Fabric) -> Iterator[Problem]:
    if not fabric.nodes:
        yield Problem(
            "nodes",
            "no node",
            "at least one host in the group podnet, or one entry in podnet_nodes",
            "an empty fleet",
            "add the nodes to the inventory",
        )


def place(node: Node, key: str) -> str:
    return f"nodes.{node.name}.podnet_{key}"


def _pod_ranges(fabric: Fabric) -> list[tuple[IPNetwork, str, str]]:
    return [
        (ipaddress.ip_network(cidr), place(node, f"pod_cidrs[{index}]"), node.name)
        for node in fabric.nodes
        for index, cidr in enumerate(node.pod_cidrs)
    ]


def _named(cidrs: Iterable[str], name: str) -> list[tuple[IPNetwork, str, str]]:
    return [(ipaddress.ip_network(c), f"{name}[{i}]", name) for i, c in enumerate(cidrs)]


def _order(item: tuple[IPNetwork, str, str]) -> tuple[int, int, int, str]:
    network, where, _owner = item
    return (network.version, int(network.network_address), network.prefixlen, where)


def overlaps(
    ranges: Iterable[tuple[IPNetwork, str, str]],
) -> Iterator[tuple[tuple[IPNetwork, str, str], tuple[IPNetwork, str, str]]]:
    """Pairs (covering range, covered range). CIDRs nest or are disjoint, so after sorting a
    stack of the open ranges finds every covered one with its nearest cover in O(n log n)."""
    open_ranges: list[tuple[IPNetwork, str, str]] = []
    for item in sorted(ranges, key=_order):
        network = item[0]
        while open_ranges and not _covers(open_ranges[-1][0], network):
            open_ranges.pop()
        if open_ranges:
            yield open_ranges[-1], item
        open_ranges.append(item)


def _covers(outer: IPNetwork, inner: IPNetwork) -> bool:
    return (
        outer.version == inner.version
        and int(outer.network_address) <= int(inner.network_address)
        and int(inner.broadcast_address) <= int(outer.broadcast_address)
    )


def holds(cluster: Iterable[IPNetwork], network: IPNetwork) -> bool:
    """Whether one network of the cluster has all of it; two that adjoin do not count as one."""
    return any(_covers(one, network) for one in cluster)


def _intersect(one: IPNetwork, two: IPNetwork) -> bool:
    return _covers(one, two) or _covers(two, one)


def _ranges(
    fabric: Fabric, fleet: Mapping[str, Any], unread: frozenset[str], astray: Astray
) -> Iterator[Problem]:
    cluster = _named(fabric.cluster_cidrs, CLUSTER)
    pods = _pod_ranges(fabric)
    inside = " ".join(fabric.cluster_cidrs) or "(none declared)"
    for (outer, _w, owner), (inner, where, own) in overlaps(pods):
        if owner == own:
            continue  # more than one range of a family: reported as such
        yield Problem(
            where,
            f"overlaps a pod CIDR of {owner}",
            "a range that no other node has",
            f"{inner}, and {outer} of {owner}",
            f"give each node its own range inside podnet_cluster_cidrs {inside}",
        )
    if CLUSTER not in unread:
        others = [one for one in pods if not _is_astray(one, astray)]
        yield from _outside(others, cluster, inside)
    for (outer, _w, _owner), (inner, where, _o) in overlaps(cluster):
        yield Problem(
            where,
            "overlaps another cluster CIDR",
            "ranges that are disjoint",
            f"{inner}, and {outer}",
            "remove the smaller one",
        )
    for name in ("podnet_service_cidrs", "podnet_host_cidrs"):
        # Every pair: behind the nearest cover another one may hide. There are few of them.
        for other in _named(fleet[name] or (), name):
            for mine in cluster:
                if _intersect(mine[0], other[0]):
                    yield _foreign_overlap(mine, other, name)


def _outside(
    pods: list[tuple[IPNetwork, str, str]],
    cluster: list[tuple[IPNetwork, str, str]],
    inside: str,
) -> Iterator[Problem]:
    for network, where, _owner in pods:
        same = [c for c, _w, _o in cluster if c.version == network.version]
        if same and not holds(same, network):
            yield Problem(
                where,
                "outside the cluster CIDRs",
                f"a range inside podnet_cluster_cidrs {inside}",
                str(network),
                "choose a range inside, or add a cluster CIDR that holds it",
            )


def _foreign_overlap(
    cluster: tuple[IPNetwork, str, str], other: tuple[IPNetwork, str, str], name: str
) -> Problem:
    return Problem(
        cluster[1],
        f"overlaps {name}",
        "a range that no service and no host network uses",
        f"{cluster[0]}, and {other[0]} in {other[1]}",
        "choose another cluster CIDR, or correct " + name,
    )


def _unusable_ranges(fabric: Fabric) -> Iterator[Problem]:
    cluster = _named(fabric.cluster_cidrs, CLUSTER)
    for network, where, _owner in [*cluster, *_pod_ranges(fabric)]:
        clash = next((bad for bad in UNUSABLE if _intersect(network, bad)), None)
        if clash is not None:
            yield Problem(
                where,
                f"no pod can have an address of {clash}",
                "a unicast range, private (RFC 1918, RFC 4193) or your own",
                str(network),
                "choose another range",
            )
    for network, where, _owner in _pod_ranges(fabric):
        longest = LONGEST[family_of(str(network))]
        if network.prefixlen > longest:
            yield Problem(
                where,
                "too small for the gateway and a pod",
                f"a prefix length of {longest} or shorter",
                str(network),
                "give the node a larger range",
            )


def _is_astray(one: tuple[IPNetwork, str, str], astray: Astray) -> bool:
    network, _where, owner = one
    return str(network) in astray.get(owner, ())


def _prefix_lengths(
    fabric: Fabric, lengths: Mapping[str, int], astray: Astray
) -> Iterator[Problem]:
    pods = [one for one in _pod_ranges(fabric) if not _is_astray(one, astray)]
    for network, where, _owner in pods:
        wanted = lengths.get(family_of(str(network)))
        if wanted is not None and network.prefixlen != wanted:
            yield Problem(
                where,
                "not of the declared prefix length",
                f"/{wanted}, as podnet_node_prefix_lengths says",
                str(network),
                "choose a range of that length, or change podnet_node_prefix_lengths",
            )


def _families(fabric: Fabric, unread: frozenset[str], astray: Astray) -> Iterator[Problem]:
    """Every node has exactly one range of every family that the cluster has."""
    for node in fabric.nodes:
        where = place(node, "pod_cidrs")
        if not node.pod_cidrs or where in unread or CLUSTER in unread:
            continue  # reported where it was read
        found = ", ".join(node.pod_cidrs)
        lost = {family_of(cidr) for cidr in astray.get(node.name, ())}
        for family in FAMILIES:
            count = sum(family_of(cidr) == family for cidr in node.pod_cidrs)
            if family in fabric.families and count == 0:
                remedy = f"add an {family} range, or remove the {family} cluster CIDR"
                yield Problem(where, f"no {family} range", f"one {family} range", found, remedy)
            elif family not in fabric.families and count and fabric.cluster_cidrs:
                if family in lost:
                    continue
                remedy = f"remove the range, or add an {family} network to podnet_cluster_cidrs"
                yield Problem(
                    where,
                    f"the cluster has no {family}",
                    f"no {family} range",
                    found,
                    remedy,
                )
            elif count > 1:
                remedy = "keep one; a range that is left stays until its last pod has gone"
                yield Problem(
                    where,
                    f"more than one {family} range",
                    f"one {family} range",
                    found,
                    remedy,
                )


def _underlay(fabric: Fabric) -> Iterator[Problem]:
    seen: dict[str, str] = {}
    taken = [
        *_pod_ranges(fabric),
        *_named(fabric.cluster_cidrs, CLUSTER),
    ]
    addresses: list[tuple[IPNetwork, str, str]] = []
    for node in fabric.nodes:
        where = place(node, "underlay_addresses")
        if len(node.underlay) < len(node.underlay_addresses):
            found = ", ".join(node.underlay_addresses)
            remedy = "keep the one the other nodes reach"
            expected = "one address per family"
            yield Problem(where, "more than one address of a family", expected, found, remedy)
        for index, address in enumerate(node.underlay_addresses):
            spot = f"{where}[{index}]"
            if address in seen and seen[address] != node.name:
                yield Problem(
                    spot,
                    f"is the underlay address of {seen[address]}, too",
                    "an address that no other node has",
                    address,
                    "correct one of the two",
                )
            elif address not in seen:
                addresses.append((ipaddress.ip_network(address), spot, address))
            seen.setdefault(address, node.name)
    hosts = {spot for _n, spot, _o in addresses}
    for (outer, cover, _owner), (inner, spot, _o) in overlaps([*taken, *addresses]):
        if spot in hosts and cover not in hosts:
            yield Problem(
                spot,
                "underlay address inside the pod network",
                "an address outside every pod CIDR and cluster CIDR",
                f"{inner.network_address}, in {outer} of {cover}",
                "move the pod network or the underlay address",
            )


def _names(fabric: Fabric) -> Iterator[Problem]:
    """Host names compare without case (RFC 4343), and each gets a folder in `intended/`."""
    seen: dict[str, str] = {}
    for node in fabric.nodes:
        folded = node.name.lower()
        if folded in seen:
            yield Problem(
                f"nodes.{node.name}",
                "duplicate node",
                "names that differ in more than upper and lower case",
                f"{seen[folded]} and {node.name}",
                "rename or remove one",
            )
        seen.setdefault(folded, node.name)


def _persistence(fabric: Fabric) -> Iterator[Problem]:
    """networkd must be told what to leave alone beside the devices that it makes."""
    for node in fabric.nodes:
        if node.persistence == "networkd" and fabric.coexist == "never":
            yield Problem(
                place(node, "persistence"),
                "networkd would take pods' interfaces, and delete routes that it did not make",
                "podnet_coexist: auto on a fleet with podnet_persistence: networkd",
                "podnet_coexist: never",
                "leave podnet_coexist out, or set podnet_persistence to unit",
            )
            return


def _tracking(fabric: Fabric, services: Iterable[str]) -> Iterator[Problem]:
    """An answer goes from pod to pod, and only tracking knows that a service was asked."""
    for cidr in services if fabric.pod_tracking == "outside" else ():
        yield Problem(
            "podnet_pod_tracking",
            "pods would get no answers from services",
            "all, where podnet_service_cidrs names networks of services",
            f"outside, and the services {cidr}",
            "leave podnet_pod_tracking out; or podnet_service_cidrs, where nothing is translated"
            " by the node's connection tracking",
        )
        return
