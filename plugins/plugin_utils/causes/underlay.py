# SPDX-License-Identifier: GPL-3.0-or-later
"""The underlay as two nodes see it: interfaces, arrival, checksums, and what lies between. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from .suspects import Cause, Scene, Trip, only_large

Certain = tuple[Cause, bool]
# What is named by the two nodes between which it is; all else is on one node.
PATHS = ("underlay", "unknown")


def device(trip: Trip, node: str) -> Iterator[Certain]:
    """The interface that holds the node's underlay address."""
    look, member = trip.scene.looks[node], trip.scene.fabric.by_name[node]
    address, name = member.underlay.get(trip.outer, ""), trip.underlay(node)
    if not name:
        repair = f"put {address} on the node's interface, or correct podnet_underlay_addresses"
        yield Cause(node, "underlay address", address, "on an interface", "nowhere", repair), True
        return
    interface = look.interfaces.get(name)
    if interface is None:
        return
    if trip.only_large:
        if interface.mtu < member.underlay_mtu:
            repair = f"ip link set dev {name} mtu {member.underlay_mtu}, or declare the smaller one"
            texts = (f"mtu {member.underlay_mtu} as declared", f"mtu {interface.mtu}", repair)
            yield Cause(node, "underlay device", name, *texts), True
        return
    if not (interface.up and interface.carrier):
        found = "no carrier" if interface.up else "down"
        repair = f"ip link set dev {name} up" if not interface.up else "look at cable and switch"
        yield Cause(node, "underlay device", name, "up", found, repair), True


def arrival(trip: Trip) -> Iterator[Certain]:
    """Whether the receiving node forwards what comes in by that interface (IPv4)."""
    if trip.family != "ipv4" or trip.only_large:
        return
    node, dev = trip.target, trip.arrival(trip.target)
    settings = trip.scene.looks[node].state.sysctls
    path = f"net/ipv4/conf/{dev}/"
    if not trip.tunnelled and settings.get(path + "forwarding") == "0":
        everywhere = settings.get("net/ipv4/ip_forward") == "0"
        where = "net/ipv4/ip_forward" if everywhere else path + "forwarding"
        yield Cause(node, "setting", where, "1", "0", f"echo 1 >/proc/sys/{where}"), True
    # The stricter of both counts, and 2 is loose (kernel, ip-sysctl.rst).
    modes = [settings.get(p, "0") for p in ("net/ipv4/conf/all/rp_filter", path + "rp_filter")]
    back = trip.scene.looks[node].ways.get(trip.address(trip.source))
    if max(modes) == "1" and back is not None and not back.error and back.dev != dev:
        found = f"1, and the way back is {back.dev}"
        repair = f"echo 2 >/proc/sys/{path}rp_filter"
        yield Cause(node, "setting", path + "rp_filter", "2", found, repair), True


def checksums(trip: Trip) -> Iterator[Cause]:
    """Nothing else is wrong, and the receiving node threw encapsulated packets away."""
    look = trip.scene.looks[trip.target]
    before = (trip.scene.checksums or {}).get(trip.target)
    if trip.tunnelled and before is not None and look.checksums > before:
        dev = trip.underlay(trip.source)
        found = f"{trip.target} threw {look.checksums - before} packets away for theirs"
        repair = f"ethtool -K {dev} tx-udp_tnl-segmentation off tx-udp_tnl-csum-segmentation off"
        repair += " tx-checksum-ip-generic off"
        yield Cause(trip.source, "checksum offload", dev, "right UDP checksums", found, repair)


def between(
    scene: Scene, pair: tuple[str, str], trips: Sequence[Trip], kinds: frozenset[str], alone: bool
) -> Cause | None:
    """Nothing is wrong on either node: the underlay, if what failed fits that.

    ``alone``: the other family of the pair has not failed. VXLAN hides family and protocol from
    the underlay, so it cannot drop one of them only. Only the object names the nodes, so that what
    is alike on many ways can be said once."""
    one, two = pair
    if one == two or not trips:
        return None
    name = f"{one} - {two}"
    if only_large(kinds) and kinds != {"mtu_pieces"}:
        mtu = min(scene.fabric.by_name[n].underlay_mtu for n in pair)
        text = "raise its MTU, or declare the smaller one in podnet_underlay_mtu"
        return Cause(one, "underlay", name, f"packets of {mtu} bytes pass", "smaller only", text)
    hidden = trips[0].tunnelled and alone and len(scene.fabric.families) > 1
    if hidden or not {"icmp", "tcp", "udp"} <= kinds:
        text = "`nft list ruleset` and `ip route get` on both nodes; not in the underlay"
        found = f"lost: {', '.join(sorted(kinds))}"
        return Cause(one, "unknown", name, "packets between pods pass", found, text)
    text = "look at the path between their underlay addresses: firewalls, routers, cables; and on"
    text += " the nodes at what podnet does not read: tc, XDP, `ip xfrm policy`, `ip neigh`, netdev"
    texts = ("packets between the nodes pass", "nothing that podnet knows, on either node", text)
    return Cause(one, "underlay", name, *texts)
