# SPDX-License-Identifier: GPL-3.0-or-later
"""podnet's own objects on the way of a packet: the plan against what is there. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from ..intent.model import family_of
from ..kernel.objects import Address, FdbEntry, KernelObject, Link, Neighbour, Route, Sysctl
from ..kernel.state import State
from .suspects import ANEW, MTU_KINDS, Cause, Scene, Trip, applied

NAMES: Mapping[type, str] = {
    Link: "device",
    Address: "address",
    Neighbour: "neighbour",
    FdbEntry: "FDB entry",
    Route: "route",
    Sysctl: "setting",
}


BETWEEN_PODS = MTU_KINDS | {"icmp", "tcp", "udp", "source"}


def on_node(trip: Trip, node: str) -> Iterator[Cause]:
    """What every packet of the trip needs on a node: devices, their addresses and settings."""
    plan = trip.scene.plans[node]
    if trip.source == trip.target and trip.kinds <= BETWEEN_PODS:
        # A bridge needs neither address nor forwarding for what stays on it.
        bridge = [link for link in plan.links if link.name == trip.scene.fabric.bridge]
        yield from _wrong(trip, node, bridge)
        return
    used = {trip.scene.fabric.bridge, trip.scene.fabric.vxlan_device}
    if not trip.tunnelled:
        used.remove(trip.scene.fabric.vxlan_device)
    links = [link for link in plan.links if link.name in used]
    # The overlay device has an address for the reverse path filter alone.
    addresses = [
        a for a in plan.addresses if a.dev == trip.scene.fabric.bridge and _family(a) == trip.family
    ]
    settings = [s for s in plan.sysctls if _matters(s, trip, used)]
    yield from _wrong(trip, node, [*links, *settings, *addresses])


def table(scene: Scene, node: str) -> Iterator[Cause]:
    """podnet's own nftables table, as it was loaded."""
    look = scene.looks[node]
    if not look.state.nft_loaded:
        found = "somebody changed it" if look.state.nft_present else "missing"
        repair = "podnet-node heal, or converge" if applied(look) else ANEW
        yield Cause(node, "nftables table", "inet podnet", "as podnet loaded it", found, repair)


def to_peer(trip: Trip, node: str, peer: str) -> list[KernelObject]:
    """The plan's objects that lead from a node to a peer, of the trip's family."""
    found: list[KernelObject] = []
    for one, _names, objects in trip.scene.plans[node].entries:
        if one.name == peer:
            found += [item for item in objects if _concerns(item, trip.family)]
    return found


def between(trip: Trip, node: str, peer: str) -> Iterator[Cause]:
    """What a node needs for a peer: route, neighbour, FDB entry."""
    order: dict[type, int] = {Route: 0, Neighbour: 1, FdbEntry: 2}
    objects = sorted(to_peer(trip, node, peer), key=lambda item: order[type(item)])
    yield from _wrong(trip, node, objects)


def _family(item: Address) -> str:
    return family_of(item.cidr.partition("/")[0])


def _concerns(item: KernelObject, family: str) -> bool:
    if isinstance(item, Route):
        return family_of(item.dst) == family
    return not isinstance(item, Neighbour) or family_of(item.address) == family


def _matters(item: Sysctl, trip: Trip, used: set[str]) -> bool:
    """Settings without which the kernel forwards nothing. For IPv6 the one for all interfaces
    decides (net/ipv6/ip6_output.c, ip6_forward); the reverse path filter is looked at apart."""
    parts = item.path.split("/")
    if parts[1] != trip.family or trip.only_large:
        return False
    if parts[-1] == "ip_forward" or parts[-2:] == ["all", "forwarding"]:
        return True
    if parts[-2] not in used:
        return False
    return parts[-1] == ("forwarding" if trip.family == "ipv4" else "disable_ipv6")


def _wrong(trip: Trip, node: str, wanted: Iterable[KernelObject]) -> Iterator[Cause]:
    """Objects that are missing, or different in a way that the failed packets feel."""
    state = trip.scene.looks[node].state
    have: dict[tuple[str, ...], KernelObject] = {}
    for group in (state.links, state.addresses, state.neighbours, state.routes):
        have |= {item.key: item for item in group}
    lost = {link.name for link in trip.scene.plans[node].links if link.key not in have}
    for want in wanted:
        if isinstance(want, Sysctl):
            found = state.sysctls.get(want.path)
            if found != want.value and not any(f"/{dev}/" in want.path for dev in lost):
                repair = f"echo {want.value} >/proc/sys/{want.path}"
                yield Cause(node, "setting", want.path, want.value, found or "not there", repair)
        elif isinstance(want, Link):
            there = have.get(want.key)
            yield from _link(trip, node, want, there if isinstance(there, Link) else None)
        # What hangs on a device that is gone is gone with it: the device is the cause.
        elif want.dev not in lost:
            there = _there(want, have, state)
            if (_cuts_elsewhere if trip.only_large else _differs)(want, there):
                yield _object(node, want, there)


def _there(
    want: KernelObject, have: Mapping[tuple[str, ...], KernelObject], state: State
) -> KernelObject | None:
    if isinstance(want, Route):
        # One with the metric of an earlier release carries the packets as well.
        others = (item for item in state.routes if item.dst == want.dst)
        return have.get(want.key) or next(others, None)
    if not isinstance(want, FdbEntry):
        return have.get(want.key)
    # A MAC may have several destinations; the wanted one among them carries the packets.
    same = [item for item in state.fdb if item.key == want.key]
    return want if want in same else same[0] if same else None


def _object(node: str, want: KernelObject, have: KernelObject | None) -> Cause:
    dev = "" if isinstance(want, Link | Route | Sysctl) else f" dev {want.dev}"
    expected = want.add()[0]
    found = have.add()[0].args if have else "missing"
    lines = "; ".join(str(command) for command in want.add())
    return Cause(node, NAMES[type(want)], want.key[-1] + dev, expected.args, found, lines)


def _differs(want: KernelObject, have: KernelObject | None) -> bool:
    if isinstance(want, Route) and isinstance(have, Route):
        # The plan leaves the interface of a direct route to the kernel; what the node itself
        # sends from is no matter of pods.
        return (want.via, want.dev or have.dev) != (have.via, have.dev)
    return want != have


def _cuts_elsewhere(want: KernelObject, have: KernelObject | None) -> bool:
    """Whether large packets are refused or cut at another length, and small ones pass."""
    return isinstance(want, Route) and isinstance(have, Route) and want.mtu != have.mtu


def _link(trip: Trip, node: str, want: Link, have: Link | None) -> Iterator[Cause]:
    if have is None:
        foreign = want.name in trip.scene.looks[node].state.foreign_links
        found = "a device without podnet's mark" if foreign else "missing"
        repair = (f"ip link del {want.name}, then " if foreign else "") + "converge"
        if not trip.only_large:
            yield Cause(node, "device", want.name, str(want.add()[0].args), found, repair)
        return
    if trip.only_large:
        if want.mtu != have.mtu:
            repair = f"ip link set dev {want.name} mtu {want.mtu}"
            texts = (f"mtu {want.mtu}", f"mtu {have.mtu}", repair)
            yield Cause(node, "device", want.name, *texts)
        return
    if not have.up:
        repair = f"ip link set dev {want.name} up"
        yield Cause(node, "device", want.name, "up", "down", repair)
    if want.vxlan and have.mac != want.mac:
        repair = f"ip link set dev {want.name} address {want.mac}"
        yield Cause(node, "device", want.name, f"mac {want.mac}", f"mac {have.mac}", repair)
    if want.vxlan and have.vxlan:
        new, old = (f"VNI {v.vni} port {v.port}" for v in (want.vxlan, have.vxlan))
        if new != old:
            repair = f"ip link del {want.name}, then converge"
            yield Cause(node, "device", want.name, new, old, repair)
