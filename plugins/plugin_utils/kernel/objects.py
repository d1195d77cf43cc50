# SPDX-License-Identifier: GPL-3.0-or-later
"""Kernel objects as values, and the `ip -batch` / `bridge -batch` line of each.

Every object has a ``key``, what the kernel identifies it by, and fields that are its value:
two objects with one key and different values are one object that changes, never two objects.
The line is the same in the rendered files, in the boot restore and in a change: one form.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass

# One route protocol, and one metric per destination, for everything podnet owns. The kernel keeps
# routes that differ in metric apart, so `route replace` can never replace somebody else's route
# (ADR 0001). The metric is the least one and up to 383 more, by the destination (ADR 0007).
ROUTE_PROTOCOL = 112
ROUTE_METRIC = 112
ROUTE_METRICS = 384
ALTNAME_PREFIX = "podnet-"
# zebra takes the high byte of a foreign route's metric for its administrative distance (FRR,
# zebra/rt_netlink.c, netlink_route_change_read_unicast_internal), and 112 leaves that at 0, the
# best one. A route with these bits has distance 240 and loses against what BGP learned (200), in
# zebra as in the kernel: so a route of podnet's makes way for a learned one, or takes over from it.
YIELDING = 240 << 24

Key = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Command:
    """One line for one tool: ``ip``, ``bridge``, ``sysctl``, ``nft``, ``install``, …"""

    tool: str
    args: str

    def __str__(self) -> str:
        return f"{self.tool} {self.args}".rstrip()


@dataclass(frozen=True, slots=True)
class Vxlan:
    """What makes a device a VXLAN device. VNI and port are fixed when it is made."""

    vni: int
    port: int
    local: str
    learning: bool = False


@dataclass(frozen=True, slots=True)
class Link:
    """A bridge (``vxlan`` is None) or a VXLAN device that podnet owns; ``marked``: by its altname,
    which networkd leaves out where it makes the device at boot."""

    name: str
    mac: str
    mtu: int
    vxlan: Vxlan | None = None
    up: bool = True
    marked: bool = True

    @property
    def key(self) -> Key:
        return ("link", self.name)

    @property
    def altname(self) -> str:
        return ALTNAME_PREFIX + self.name

    def add(self) -> list[Command]:
        # Only a change of the MTU counts as the user's own will, and a bridge without one
        # follows its ports (net/bridge/br_if.c, br_mtu_auto_adjust): so it begins with another.
        kind = f"mtu {1280 if self.mtu != 1280 else 1281} type bridge"
        if self.vxlan:
            kind = (
                f"type vxlan id {self.vxlan.vni} local {self.vxlan.local} "
                f"dstport {self.vxlan.port} nolearning"
            )
        return [
            # The altname is the ownership mark: links without it are never changed.
            Command("ip", f"link add name {self.name} address {self.mac} {kind}"),
            Command("ip", f"link property add dev {self.name} altname {self.altname}"),
            Command("ip", f"link set dev {self.name} mtu {self.mtu} addrgenmode none"),
            Command("ip", f"link set dev {self.name} up"),
        ]

    def delete(self) -> list[Command]:
        """Mirrors `add` line by line, so that the undo of each line is its counterpart."""
        return [
            Command("ip", f"link set dev {self.name} down"),
            Command("ip", f"link set dev {self.name} addrgenmode none"),
            Command("ip", f"link property del dev {self.name} altname {self.altname}"),
            Command("ip", f"link del dev {self.name}"),
        ]


@dataclass(frozen=True, slots=True)
class Address:
    """An address of a bridge, with its prefix length."""

    dev: str
    cidr: str

    @property
    def key(self) -> Key:
        return ("address", self.dev, self.cidr)

    def add(self) -> list[Command]:
        # Duplicate detection would leave the gateway unusable for a second or two, and on a
        # bridge without ports (no carrier) for ever.
        dad = " nodad" if ":" in self.cidr else ""
        return [Command("ip", f"address replace {self.cidr} dev {self.dev}{dad}")]

    def delete(self) -> list[Command]:
        return [Command("ip", f"address del {self.cidr} dev {self.dev}")]


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A permanent neighbour entry on a VXLAN device: inner next hop → VTEP MAC."""

    dev: str
    address: str
    mac: str

    @property
    def key(self) -> Key:
        return ("neighbour", self.dev, self.address)

    def add(self) -> list[Command]:
        args = f"neighbour replace {self.address} lladdr {self.mac} dev {self.dev} nud permanent"
        return [Command("ip", f"{args} proto {ROUTE_PROTOCOL}")]

    def delete(self) -> list[Command]:
        return [Command("ip", f"neighbour del {self.address} dev {self.dev}")]


@dataclass(frozen=True, slots=True)
class FdbEntry:
    """A static forwarding entry of a VXLAN device: VTEP MAC → underlay address."""

    dev: str
    mac: str
    dst: str

    @property
    def key(self) -> Key:
        return ("fdb", self.dev, self.mac)

    def add(self) -> list[Command]:
        args = f"fdb replace {self.mac} dev {self.dev} dst {self.dst} self permanent"
        return [Command("bridge", args)]

    def delete(self) -> list[Command]:
        return [Command("bridge", f"fdb del {self.mac} dev {self.dev} dst {self.dst} self")]


def route_metric(dst: str) -> int:
    """The metric of podnet's route to a destination, which depends on nothing else.

    IPv4 routes with one protocol, source, metric and interface are one chain of the kernel's table
    of next-hop infos, which is searched for each new route (net/ipv4/fib_semantics.c,
    fib_find_info): so their metrics differ. IPv6 routes share nothing.
    """
    return ROUTE_METRIC + (0 if ":" in dst else zlib.crc32(dst.encode()) % ROUTE_METRICS)


def is_own_metric(dst: str, metric: int) -> bool:
    """Whether a route to ``dst`` with podnet's protocol is podnet's: before ADR 0007 all routes had
    the least metric."""
    return metric & ~YIELDING in (ROUTE_METRIC, route_metric(dst))


@dataclass(frozen=True, slots=True)
class Route:
    """A route to a peer's pod CIDR in the main table.

    ``dev`` is None where the kernel finds the interface by the next hop (direct routes), so
    that nobody has to know interface names. ``src`` is the node's own gateway address: what
    the node itself sends to a pod comes from an address of the pod network, and its answer
    takes the same way back. ``metric`` is the destination's where none is given. ``mtu``: bytes;
    0 where the interface's counts.
    """

    dst: str
    via: str
    src: str
    dev: str | None = None
    onlink: bool = False
    metric: int = 0
    mtu: int = 0

    def __post_init__(self) -> None:
        if not self.metric:
            object.__setattr__(self, "metric", route_metric(self.dst))

    @property
    def key(self) -> Key:
        return ("route", str(self.metric), self.dst)

    def add(self) -> list[Command]:
        dev = f" dev {self.dev}" if self.dev else ""
        onlink = " onlink" if self.onlink else ""
        # A route read from the kernel may lack what planned ones always have.
        via = f" via {self.via}" if self.via else ""
        src = f" src {self.src}" if self.src else ""
        mtu = f" mtu {self.mtu}" if self.mtu else ""
        args = f"route replace {self.dst}{via}{dev}{onlink}{src} {self._mark}{mtu}"
        return [Command("ip", args)]

    def delete(self) -> list[Command]:
        return [Command("ip", f"route del {self.dst} {self._mark}")]

    @property
    def _mark(self) -> str:
        return f"proto {ROUTE_PROTOCOL} metric {self.metric}"


@dataclass(frozen=True, slots=True)
class Learned:
    """A route that a routing daemon makes. podnet expects it, and never makes or removes it.

    ``via`` is empty where the daemon may choose the next hop; ``peer`` is the node that the range
    is on.
    """

    dst: str
    via: str
    peer: str

    def fits(self, hops: tuple[str, ...]) -> bool:
        """Whether it is learned and leads where it should; of several next hops, all must."""
        return bool(hops) and (not self.via or set(hops) == {self.via})


@dataclass(frozen=True, slots=True)
class Sysctl:
    """A kernel setting; ``path`` is the path below /proc/sys, so interface names with dots
    need no escape (sysctl.d(5): a first separator of "/" leaves dots alone)."""

    path: str
    value: str

    @property
    def key(self) -> Key:
        return ("sysctl", self.path)

    def add(self) -> list[Command]:
        return [Command("sysctl", f"{self.path}={self.value}")]

    def delete(self) -> list[Command]:
        """A setting is not removed: what it was before is not known any more."""
        return []


def device_settings(dev: str, ipv4: bool, ipv6: bool) -> list[Sysctl]:
    """Settings that every device of podnet has."""
    settings = []
    if ipv4:
        settings += [
            Sysctl(f"net/ipv4/conf/{dev}/forwarding", "1"),
            # Loose (RFC 3704, 2.4): while a change runs, the two ways of a pair may differ.
            Sysctl(f"net/ipv4/conf/{dev}/rp_filter", "2"),
        ]
    if ipv6:
        settings += [
            Sysctl(f"net/ipv6/conf/{dev}/disable_ipv6", "0"),
            Sysctl(f"net/ipv6/conf/{dev}/forwarding", "1"),
            # A pod must not become the node's default router by a router advertisement.
            Sysctl(f"net/ipv6/conf/{dev}/accept_ra", "0"),
        ]
    return settings


KernelObject = Link | Address | Neighbour | FdbEntry | Route | Sysctl


def lines(objects: tuple[KernelObject, ...], tool: str) -> list[str]:
    """The lines for ``tool`` that make ``objects``, in order, without the tool's name."""
    return [c.args for item in objects for c in item.add() if c.tool == tool]
