# SPDX-License-Identifier: GPL-3.0-or-later
"""Foreign rules that take the packets of a trip, or change them. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from ..strangers import untracked
from .matches import Packet
from .rules import CHANGES, ENDS, Verdict
from .suspects import Cause, Trip

Certain = tuple[Cause, bool]
BGP_PORT = 179
_PROTOCOLS = ("icmp", "tcp", "udp")
_PASS = "packets between pods pass"


def inner(trip: Trip, node: str) -> Iterator[Certain]:
    """Rules on a node that see the packets of the pods themselves."""
    if trip.only_large:
        return
    if trip.source == trip.target and trip.family not in trip.scene.looks[node].bridged:
        return
    ends = _ends(trip, node)
    for packet in _packets(trip, ends):
        for hook in ("prerouting", "forward"):
            for item in trip.scene.rulesets[node].verdicts(hook, packet):
                ended = item.what in ENDS
                if ended or (hook == "prerouting" and item.what in CHANGES and not trip.answers):
                    yield _cause(node, item, _PASS), item.sure
        if trip.answers:
            continue
        for item in trip.scene.rulesets[node].verdicts("postrouting", packet):
            if item.what in ENDS or (item.what in CHANGES and "source" in trip.kinds):
                yield _cause(node, item, "packets leave with the pod's own address"), item.sure


_BETWEEN = "between the nodes' underlay addresses"


def delivered(trip: Trip) -> Iterator[Certain]:
    """Rules on a node that see what pods elsewhere send to the node itself."""
    node, dev = trip.target, trip.arrival(trip.target)
    for packet in _packets(trip, (dev, "")):
        for hook in ("prerouting", "input"):
            for item in trip.scene.rulesets[node].verdicts(hook, packet):
                if item.what in ENDS:
                    yield _cause(node, item, "echo requests of pods reach the node"), item.sure


def encapsulated(trip: Trip, node: str) -> Iterator[Certain]:
    """Rules on a node that see the packets between the VTEPs."""
    outer = trip.scene.fabric.underlay_family
    if not trip.tunnelled or outer is None or trip.only_large:
        return
    by_name, port = trip.scene.fabric.by_name, trip.scene.fabric.vxlan_port
    ends = (by_name[trip.source].underlay[outer], by_name[trip.target].underlay[outer])
    out = node == trip.source
    dev = trip.underlay(node)
    state = "untracked" if untracked(trip.scene.fabric) else "new"
    packet = Packet(*ends, "udp", 0, port, "" if out else dev, dev if out else "", state)
    expected = f"UDP port {port} passes between the nodes"
    for hook in ("output", "postrouting") if out else ("prerouting", "input"):
        for item in trip.scene.rulesets[node].verdicts(hook, packet):
            if item.what in ENDS:
                yield _cause(node, item, expected, f"UDP port {port} {_BETWEEN}"), item.sure


def speaking(trip: Trip, node: str, addresses: tuple[str, str]) -> Iterator[Certain]:
    """Rules on a node that see its BGP session, which either end may have opened; ``addresses``:
    its own and the peer's."""
    dev, (own, other) = trip.underlay(node), addresses
    ways = (
        (("output", "postrouting"), (own, other), ("", dev)),
        (("prerouting", "input"), (other, own), (dev, "")),
    )
    for hooks, ends, devs in ways:
        for ports in ((0, BGP_PORT), (BGP_PORT, 0)):
            packet = Packet(*ends, "tcp", *ports, *devs)
            for hook in hooks:
                for item in trip.scene.rulesets[node].verdicts(hook, packet):
                    if item.what in ENDS:
                        expected = f"TCP port {BGP_PORT} passes between the nodes"
                        accepted = f"TCP port {BGP_PORT} {_BETWEEN}"
                        yield _cause(node, item, expected, accepted), item.sure


def _ends(trip: Trip, node: str) -> tuple[str, str]:
    """Interfaces by which the packets come to a node and leave it."""
    bridge = trip.scene.fabric.bridge
    if trip.source == trip.target:
        return bridge, bridge
    if node == trip.target:
        return trip.arrival(node), bridge
    way = trip.scene.looks[node].ways.get(trip.address(trip.target))
    return bridge, way.dev if way else trip.arrival(node)


def _packets(trip: Trip, ends: tuple[str, str]) -> Iterable[Packet]:
    source, target = trip.address(trip.source), trip.address(trip.target)
    if not source or not target:
        return
    failed = [kind for kind in _PROTOCOLS if kind in trip.kinds]
    # A translated source shows in TCP and UDP; other kinds are echo requests.
    spoken = failed or (["tcp", "udp"] if "source" in trip.kinds else ["icmp"])
    port, state = trip.scene.port, _state(trip)
    for name in spoken:
        protocol = "ipv6-icmp" if name == "icmp" and trip.family == "ipv6" else name
        of = port if name != "icmp" else 0
        ports = (of, 0) if trip.answers else (0, of)
        yield Packet(source, target, protocol, *ports, *ends, state)


def _state(trip: Trip) -> str:
    if trip.scene.fabric.pod_tracking == "outside":
        return "untracked"
    return "established" if trip.answers else "new"


def _cause(node: str, item: Verdict, expected: str, accepted: str = "the pod CIDRs") -> Cause:
    found = item.text if item.sure else f"{item.text} (may match; not all of it is understood)"
    if item.where.split()[1] == "legacy":
        tool = "ip6tables-legacy" if item.where.startswith("ip6") else "iptables-legacy"
        repair = f"accept {accepted} before it, with {tool}"
    else:
        repair = f"accept {accepted} before it in {item.where}"
        if item.handle:
            repair = f"nft delete rule {item.where} handle {item.handle}, or {repair}"
    return Cause(node, "foreign rule", item.where, expected, found, repair)
