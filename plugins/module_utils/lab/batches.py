# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab's links and addresses as `ip -batch` text (pure)."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence

from . import naming
from .topology import LabNode, Segment, Topology


def management_bridge(ident: str, subnet: str) -> str:
    """On the machine: the bridge through which the controller reaches the nodes."""
    name = naming.bridge(ident)
    mac = naming.mac(ident, "", name)  # fixed, as that of a segment
    return _lines(
        f"link add {name} address {mac} group {naming.group(ident)} type bridge",
        f"link set {name} addrgenmode none",
        f"addr add {naming.management_gateway(subnet)} dev {name}",
        f"link set {name} up",
    )


def management_port(ident: str, index: int, node: LabNode, netns: str) -> str:
    """On the machine: a node's mgmt0; isolated, so that it is no way from node to node."""
    port = naming.management_port(ident, index)
    mac = naming.mac(ident, node.name, "mgmt0")
    return _lines(
        f"link add {port} group {naming.group(ident)} type veth"
        f" peer name mgmt0 address {mac} netns {netns}",
        f"link set {port} addrgenmode none",
        f"link set {port} master {naming.bridge(ident)} up",
        f"link set {port} type bridge_slave isolated on",
    )


def segment(ident: str, segment: Segment) -> str:
    """In the router: the segment's bridge with the gateway addresses.

    Its MAC is fixed: a bridge takes that of one of its ports, and when a node came back with a
    new port, the others would send to a MAC that nobody has until their neighbours expire."""
    name = naming.router_bridge(segment.name)
    mac = naming.mac(ident, "router", name)
    pairs = zip(segment.gateways, segment.networks)
    return _lines(
        f"link add {name} address {mac} mtu {segment.mtu} type bridge",
        f"link set {name} up",
        *(f"addr add {gw}/{net.split('/')[1]} dev {name}{_nodad(gw)}" for gw, net in pairs),
    )


def router_port(ident: str, index: int, node: LabNode, netns: str) -> str:
    """In the router: a node's eth0, on the bridge of its segment."""
    port = naming.router_port(index)
    mac = naming.mac(ident, node.name, "eth0")
    return _lines(
        f"link add {port} mtu {node.mtu} type veth"
        f" peer name eth0 mtu {node.mtu} address {mac} netns {netns}",
        f"link set {port} master {naming.router_bridge(node.segment)} up",
    )


def node(topology: Topology, node: LabNode, management: str) -> str:
    """In the node: addresses and default routes; ``management`` with its prefix length."""
    segment = topology.segment(node.segment)
    lines = [
        "link set lo up",
        f"addr add {management} dev mgmt0",
        "link set mgmt0 addrgenmode none",
        "link set mgmt0 up",
    ]
    for address in node.addresses:
        prefix = _in(address, segment.networks).split("/")[1]
        lines.append(f"addr add {address}/{prefix} dev eth0{_nodad(address)}")
    lines.append("link set eth0 up")
    for gateway in segment.gateways:
        if any((":" in gateway) == (":" in address) for address in node.addresses):
            lines.append(f"route add {_default(gateway)} via {gateway} dev eth0")
    return _lines(*lines)


def outside_link(topology: Topology, netns: str) -> str:
    """In the router: the link to the outside host."""
    lines = [f"link add outside0 type veth peer name eth0 netns {netns}", "link set outside0 up"]
    for cidr in topology.outside:
        gateway = _first(cidr)
        lines.append(f"addr add {gateway} dev outside0{_nodad(gateway)}")
    return _lines(*lines)


def outside_host(topology: Topology) -> str:
    """In the outside host: its addresses and default routes."""
    lines = ["link set lo up"]
    lines += [f"addr add {cidr} dev eth0{_nodad(cidr)}" for cidr in topology.outside]
    lines.append("link set eth0 up")
    for cidr in topology.outside:
        gateway = _first(cidr).split("/")[0]
        lines.append(f"route add {_default(gateway)} via {gateway} dev eth0")
    return _lines(*lines)


def _first(cidr: str) -> str:
    """The first usable address of an interface's network, with prefix length."""
    network = ipaddress.ip_interface(cidr).network
    return f"{network[1]}/{network.prefixlen}"


def _in(address: str, networks: Sequence[str]) -> str:
    return next(n for n in networks if ipaddress.ip_address(address) in ipaddress.ip_network(n))


def _nodad(address: str) -> str:
    """Duplicate address detection would keep a new IPv6 address unusable for a second."""
    return " nodad" if ":" in address else ""


def _default(gateway: str) -> str:
    return "::/0" if ":" in gateway else "0.0.0.0/0"


def _lines(*lines: str) -> str:
    return "".join(line if line.endswith("\n") else line + "\n" for line in lines)
