# SPDX-License-Identifier: GPL-3.0-or-later
"""From a plain list of nodes to the underlay of a lab: segments, subnets, gateways (pure)."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Union

Address = Union[ipaddress.IPv4Address, ipaddress.IPv6Address]
Network = Union[ipaddress.IPv4Network, ipaddress.IPv6Network]

INITS = ("sshd", "systemd")
MANAGEMENT = ipaddress.ip_network("198.18.0.0/15")  # RFC 2544: benchmarks, never routed
DEFAULT_PREFIX = {4: 24, 6: 64}
MTU_RANGE = (576, 65535)
NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,61}[A-Za-z0-9])?\Z")
OUTSIDE = (
    ("203.0.113.10/24", "198.51.100.10/24", "192.0.2.10/24", "100.127.255.10/24"),
    ("2001:db8:ffff::10/64", "2001:db8:fffe::10/64", "fd7f:ffff:ffff::10/64"),
)


@dataclass(frozen=True)
class Problem:
    """One thing a person must mend: where, what, expected, found, remedy."""

    where: str
    what: str
    expected: str
    found: str
    remedy: str

    def __str__(self) -> str:
        return (
            f"{self.where}: {self.what}\n    expected: {self.expected}\n"
            f"    found:    {self.found}\n    do:       {self.remedy}"
        )


class LabError(Exception):
    """The lab cannot be built as asked, or the machine refused; the text is for a person."""


@dataclass(frozen=True)
class LabNode:
    """One node as asked for; ``addresses`` are canonical, one per family at most."""

    name: str
    segment: str
    addresses: tuple[str, ...]
    mtu: int
    init: str


@dataclass(frozen=True)
class Segment:
    """One underlay segment: its subnets and the router's address in each (same order)."""

    name: str
    networks: tuple[str, ...]
    gateways: tuple[str, ...]
    mtu: int


@dataclass(frozen=True)
class Topology:
    """The whole lab: nodes and segments sorted by name, the outside host's interfaces."""

    nodes: tuple[LabNode, ...]
    segments: tuple[Segment, ...]
    outside: tuple[str, ...]

    def segment(self, name: str) -> Segment:
        return next(segment for segment in self.segments if segment.name == name)


def derive(
    raw: Sequence[Mapping[str, Any]], init: str = "sshd", reserved: Iterable[str] = ()
) -> Topology:
    """Topology of the nodes in ``raw``; raises LabError with every problem found.

    ``raw`` holds mappings with name, segment, underlay_addresses, underlay_mtu and init;
    ``reserved`` are CIDRs that the outside host must not use (pods, services).
    """
    problems: list[Problem] = []
    nodes = []
    for position, entry in enumerate(raw):
        parsed = _node(position, entry, init)
        if isinstance(parsed, LabNode):
            nodes.append(parsed)
        else:
            problems.extend(parsed)
    problems.extend(_duplicates(nodes))
    _barrier(problems)
    nodes.sort(key=lambda node: node.name)
    names = sorted({node.segment for node in nodes})
    segments = [_segment(name, nodes, problems) for name in names]
    problems.extend(_overlaps(segments))
    _barrier(problems)
    taken = [n for s in segments for n in s.networks] + list(reserved)
    return Topology(tuple(nodes), tuple(segments), _outside(taken))


def _barrier(problems: Sequence[Problem]) -> None:
    if problems:
        raise LabError(
            "\n".join(
                ["The lab cannot be built; nothing was touched."]
                + [str(problem) for problem in problems]
            )
        )


def _node(position: int, entry: Mapping[str, Any], init: str) -> LabNode | list[Problem]:
    """The parsed node, or the list of its problems."""
    name = str(entry.get("name", ""))
    where = f"nodes.{name or position}"
    problems: list[Problem] = []
    if not NAME.match(name):
        problems.append(
            Problem(
                f"{where}.name",
                "not usable as a host name",
                "letters, digits, dots, hyphens; at most 63",
                repr(name),
                "Rename the host in the inventory.",
            )
        )
    mtu = int(entry.get("underlay_mtu") or 1500)
    if not MTU_RANGE[0] <= mtu <= MTU_RANGE[1]:
        problems.append(
            Problem(
                f"{where}.underlay_mtu",
                "no interface can have this MTU",
                f"{MTU_RANGE[0]} to {MTU_RANGE[1]} bytes",
                str(mtu),
                "Set podnet_underlay_mtu.",
            )
        )
    own_init = str(entry.get("init") or init)
    if own_init not in INITS:
        problems.append(
            Problem(
                f"{where}.init",
                "unknown kind of PID 1",
                " or ".join(INITS),
                own_init,
                "Set podnet_lab_init of the host.",
            )
        )
    addresses = _addresses(where, entry.get("underlay_addresses") or [], problems)
    if problems:
        return problems
    return LabNode(name, str(entry.get("segment") or "default"), addresses, mtu, own_init)


def _addresses(where: str, raw: Sequence[Any], problems: list[Problem]) -> tuple[str, ...]:
    """Canonical addresses, IPv4 first; what is wrong is added to ``problems``."""
    where = f"{where}.underlay_addresses"
    found = []
    for text in raw:
        try:
            found.append(ipaddress.ip_address(str(text)))
        except ValueError:
            problems.append(
                Problem(
                    where,
                    "not an address",
                    "an IPv4 or IPv6 address without a prefix length",
                    str(text),
                    "Correct the address.",
                )
            )
    if not raw:
        problems.append(
            Problem(
                where,
                "the node has no underlay address",
                "one per family",
                "none",
                "Set podnet_underlay_addresses of the host.",
            )
        )
    if len({address.version for address in found}) < len(found):
        problems.append(
            Problem(
                where,
                "two addresses of one family",
                "one per family",
                ", ".join(map(str, found)),
                "Keep one of them.",
            )
        )
    return tuple(str(address) for address in sorted(found, key=lambda a: a.version))


def _duplicates(nodes: Sequence[LabNode]) -> list[Problem]:
    """Names and addresses that two nodes claim."""
    problems: list[Problem] = []
    owners: dict[str, str] = {}
    for node in nodes:
        for key in [f"name {node.name}", *(f"address {a}" for a in node.addresses)]:
            if key in owners:
                problems.append(
                    Problem(
                        f"nodes.{node.name}",
                        f"the {key} is used twice",
                        "one node each",
                        f"also {owners[key]}",
                        "Give each node its own.",
                    )
                )
            owners[key] = node.name
    return problems


def _segment(name: str, nodes: Sequence[LabNode], problems: list[Problem]) -> Segment:
    members = [node for node in nodes if node.segment == name]
    networks, gateways = [], []
    for version in (4, 6):
        addresses = [ipaddress.ip_address(a) for node in members for a in node.addresses]
        addresses = [address for address in addresses if address.version == version]
        if addresses:
            network = subnet_around(addresses)
            networks.append(str(network))
            gateways.append(_gateway(name, network, set(addresses), problems))
    return Segment(name, tuple(networks), tuple(gateways), max(node.mtu for node in members))


def subnet_around(addresses: Sequence[Address]) -> Network:
    """The /24 or /64 around the addresses, wider where they do not fit.

    An address that would be a subnet's network or broadcast address does not fit either.
    """
    prefix = DEFAULT_PREFIX[addresses[0].version]
    while True:
        network = ipaddress.ip_network(f"{addresses[0]}/{prefix}", strict=False)
        edges = (network.network_address, network.broadcast_address)
        if prefix == 0 or all(a in network and a not in edges for a in addresses):
            return network
        prefix -= 1


def _gateway(name: str, network: Network, taken: set[Address], problems: list[Problem]) -> str:
    """The last usable address that no node has.

    IPv6 reserves the last 128 addresses of a subnet for anycast (RFC 2526), IPv4 the last one.
    """
    last = int(network.broadcast_address) - (1 if network.version == 4 else 128)
    for number in range(last, int(network.network_address), -1):
        address = type(network.network_address)(number)
        if address not in taken:
            return str(address)
    problems.append(
        Problem(
            f"segments.{name}",
            "no address is left for the gateway",
            f"a free address in {network}",
            "none",
            "Use fewer nodes.",
        )
    )
    return str(network.network_address)


def _overlaps(segments: Sequence[Segment]) -> list[Problem]:
    known = [(f"segments.{s.name}", ipaddress.ip_network(n)) for s in segments for n in s.networks]
    known.append(("the management network", MANAGEMENT))
    problems: list[Problem] = []
    for index, (where, network) in enumerate(known):
        for other, second in known[index + 1 :]:
            if network.version == second.version and network.overlaps(second):
                problems.append(
                    Problem(
                        where,
                        f"its subnet {network} overlaps {second} of {other}",
                        "separate subnets, each the /24 (IPv4) or /64 (IPv6) around the segment's "
                        "node addresses, or wider where they do not fit into one",
                        f"{network} and {second}",
                        "Choose underlay addresses of separate subnets, or put the nodes into one "
                        "podnet_segment.",
                    )
                )
    return problems


def _outside(taken: Sequence[str]) -> tuple[str, ...]:
    """Interface addresses of the outside host: the first candidates that nothing uses."""
    networks = [ipaddress.ip_network(cidr, strict=False) for cidr in taken]
    chosen = []
    for candidates in OUTSIDE:
        free = [c for c in candidates if not _used(ipaddress.ip_interface(c).network, networks)]
        chosen.extend(free[:1])
    return tuple(chosen)


def _used(network: Network, networks: Sequence[Network]) -> bool:
    return any(network.version == n.version and network.overlaps(n) for n in networks)
