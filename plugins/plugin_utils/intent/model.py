# SPDX-License-Identifier: GPL-3.0-or-later
"""The fleet as podnet understands it: frozen, canonical, valid.

Addresses and networks are kept as canonical strings (RFC 5952 for IPv6), the form in which
`ip -j` prints them, so that what is wanted and what is there compare without conversion.
"""

from __future__ import annotations

import dataclasses
import hashlib
import ipaddress
from collections.abc import Mapping
from functools import cached_property
from typing import Any, Literal

from .schema import DEFAULT_ASN

Family = Literal["ipv4", "ipv6"]
FAMILIES: tuple[Family, ...] = ("ipv4", "ipv6")

# Inner Ethernet 14 + outer IP 20 or 40 + UDP 8 + VXLAN 8 (RFC 7348, section 5).
VXLAN_OVERHEAD: Mapping[Family, int] = {"ipv4": 50, "ipv6": 70}


def family_of(address: str) -> Family:
    """The family of an address or network in canonical text form."""
    return "ipv6" if ":" in address else "ipv4"


def gateway_of(cidr: str) -> str:
    """First host address of a pod CIDR: the bridge's own address in it."""
    return str(ipaddress.ip_network(cidr)[1])


def locally_administered_mac(seed: str) -> str:
    """A stable unicast MAC for ``seed``: 02 and five octets of its SHA-256.

    Derived from names and not from hardware, so that a reboot or a replaced network card
    changes no peer's FDB (flannel #1155 and #1381 show what a changing VTEP MAC costs).
    """
    digest = hashlib.sha256(seed.encode()).hexdigest()
    return ":".join(["02", *(digest[i : i + 2] for i in range(0, 10, 2))])


def link_local_of(mac: str) -> str:
    """The modified EUI-64 link-local address of a MAC (RFC 4291, appendix A)."""
    octets = [int(part, 16) for part in mac.split(":")]
    octets[0] ^= 0x02
    eui = [*octets[:3], 0xFF, 0xFE, *octets[3:]]
    value = (0xFE80 << 112) | int.from_bytes(bytes(eui), "big")
    return str(ipaddress.IPv6Address(value))


@dataclasses.dataclass(frozen=True)
class BgpPeer:
    """A router that a node has a BGP session with."""

    address: str
    asn: int


@dataclasses.dataclass(frozen=True)
class Node:
    """One node of the fleet.

    Attributes:
        name: inventory name; letters, digits, dot, dash, underscore.
        segment: name of the layer-2 segment that the node's underlay address is in.
        pod_cidrs: at most one network per family, canonical.
        underlay_addresses: at most one address per family, canonical.
        underlay_mtu: bytes, of the interface that holds the underlay address.
        persistence: what makes the devices at boot, ``unit`` or ``networkd``.
        bgp_reflector: whether it reflects routes among the nodes of its segment and AS.
        bgp_peers: routers outside the fleet that it has sessions with.
    """

    name: str
    segment: str
    pod_cidrs: tuple[str, ...]
    underlay_addresses: tuple[str, ...]
    underlay_mtu: int
    persistence: str = "unit"
    bgp_asn: int = DEFAULT_ASN
    bgp_reflector: bool = False
    bgp_peers: tuple[BgpPeer, ...] = ()

    @cached_property
    def cidr_by_family(self) -> Mapping[Family, str]:
        return {family_of(cidr): cidr for cidr in self.pod_cidrs}

    @cached_property
    def underlay(self) -> Mapping[Family, str]:
        return {family_of(address): address for address in self.underlay_addresses}

    @cached_property
    def gateways(self) -> Mapping[Family, str]:
        """First host address of each pod CIDR: the bridge's own address."""
        return {family: gateway_of(cidr) for family, cidr in self.cidr_by_family.items()}

    @cached_property
    def vtep_mac(self) -> str:
        return locally_administered_mac(f"podnet vtep {self.name}")

    @cached_property
    def bridge_mac(self) -> str:
        return locally_administered_mac(f"podnet bridge {self.name}")

    def pod_cidr(self, family: Family) -> str | None:
        return self.cidr_by_family.get(family)

    def gateway(self, family: Family) -> str | None:
        return self.gateways.get(family)


@dataclasses.dataclass(frozen=True)
class Cni:
    """What the CNI configuration of every node has in common."""

    network: str
    version: str
    conf_dir: str
    bin_dir: str
    file: str
    chain: tuple[Mapping[str, Any], ...]


@dataclasses.dataclass(frozen=True)
class Fabric:
    """The whole fleet. ``nodes`` is sorted by name."""

    cluster_cidrs: tuple[str, ...]
    mode: str
    vni: int
    vxlan_port: int
    vxlan_family: str
    bridge: str
    mtu: int | None
    masquerade: tuple[Family, ...]
    masquerade_exclude: tuple[str, ...]
    cni: Cni
    nodes: tuple[Node, ...]
    pod_tracking: str = "all"
    vxlan_from: str = "fleet"
    pod_sources: str = "own_ranges"
    pod_identity: str = "bound"
    pods_to_node: str = "allow"
    pods_to_node_ports: tuple[str, ...] = ()
    coexist: str = "auto"
    bgp_listen_ranges: tuple[str, ...] = ()
    bgp_password: str | None = None
    bgp_bfd: bool = False

    @cached_property
    def by_name(self) -> Mapping[str, Node]:
        return {node.name: node for node in self.nodes}

    @cached_property
    def families(self) -> tuple[Family, ...]:
        """Families of the pod network, IPv4 first."""
        present = {family_of(cidr) for cidr in self.cluster_cidrs}
        return tuple(family for family in FAMILIES if family in present)

    @cached_property
    def lengths(self) -> Mapping[Family, frozenset[int]]:
        """Prefix lengths that nodes' pod CIDRs have, by family."""
        found: dict[Family, set[int]] = {family: set() for family in FAMILIES}
        for node in self.nodes:
            for cidr in node.pod_cidrs:
                found[family_of(cidr)].add(int(cidr.rpartition("/")[2]))
        return {family: frozenset(of) for family, of in found.items()}

    @cached_property
    def segments(self) -> Mapping[str, tuple[Node, ...]]:
        """Nodes by segment, both sorted by name."""
        grouped: dict[str, list[Node]] = {}
        for node in self.nodes:
            grouped.setdefault(node.segment, []).append(node)
        return {name: tuple(grouped[name]) for name in sorted(grouped)}

    @cached_property
    def underlay_mtu(self) -> int:
        """Bytes: the smallest MTU that a node's underlay has."""
        return min((node.underlay_mtu for node in self.nodes), default=1500)

    @cached_property
    def largest_underlay_mtu(self) -> int:
        """Bytes: the largest MTU that a node's underlay has."""
        return max((node.underlay_mtu for node in self.nodes), default=1500)

    @cached_property
    def underlay_family(self) -> Family | None:
        """Family of the packets between VTEPs: the declared one, else the first all nodes have."""
        for family in FAMILIES:
            declared = self.vxlan_family in ("auto", family)
            if declared and all(family in node.underlay for node in self.nodes):
                return family
        return None

    @cached_property
    def vxlan_device(self) -> str:
        """Name of the VXLAN device. It names VNI, port and underlay family, the attributes that
        the kernel cannot change on an existing device, so that a change of one of them makes a
        second device beside the first one (make before break)."""
        port = "" if self.vxlan_port == 4789 else f"p{self.vxlan_port:x}"
        return f"pn{self.vni}{port}{'v6' if self.underlay_family == 'ipv6' else ''}"

    def to_dict(self) -> dict[str, Any]:
        """Plain, JSON-able form; `from_dict` reads it back to an equal value."""
        return dataclasses.asdict(self)

    @staticmethod
    def from_dict(data: Mapping[str, Any]) -> Fabric:
        plain: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value for key, value in data.items()
        }
        plain["cni"] = Cni(**{**data["cni"], "chain": tuple(data["cni"]["chain"])})
        plain["nodes"] = tuple(
            Node(
                name=node["name"],
                segment=node["segment"],
                pod_cidrs=tuple(node["pod_cidrs"]),
                underlay_addresses=tuple(node["underlay_addresses"]),
                underlay_mtu=node["underlay_mtu"],
                persistence=node.get("persistence", "unit"),
                bgp_asn=node["bgp_asn"],
                bgp_reflector=node["bgp_reflector"],
                bgp_peers=tuple(BgpPeer(**peer) for peer in node["bgp_peers"]),
            )
            for node in data["nodes"]
        )
        return Fabric(**plain)
