# SPDX-License-Identifier: GPL-3.0-or-later
"""What is there: one node's live state, parsed from the output of the read script.

The parsers take what `ip -j`, `bridge -j` and coreutils print and return the same frozen
objects that the plan is made of. What podnet does not own is left out, or kept apart where
a change must look at it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from . import nft
from .answer import (
    interfaces,
    loose,
    numbers,
    pairs,
    printable,
    reservations,
    sections_of,
    words,
)
from .batch import Kernel, kernel_of, kind_of, next_hops
from .objects import (
    ALTNAME_PREFIX,
    ROUTE_PROTOCOL,
    Address,
    FdbEntry,
    Link,
    Neighbour,
    Route,
    Vxlan,
    is_own_metric,
)

PROTOCOL_NAMES = (str(ROUTE_PROTOCOL), "podnet")
NODE_SETS = ("timers", "daemons", "ineffective", "frr")
PREFIX = re.compile(r"[0-9a-f:.]+/[0-9]{1,3}")


@dataclass(frozen=True, slots=True)
class ForeignRoute:
    """A route to one of our destinations that somebody else made."""

    dst: str
    text: str
    metric: int


@dataclass(frozen=True, slots=True)
class UnderlayInterface:
    """The interface that holds an underlay address of the node."""

    address: str
    dev: str
    mtu: int
    up: bool


@dataclass(frozen=True, slots=True)
class State:
    """One node as it is.

    Attributes:
        privileged: whether it was root that looked.
        name: what the inventory called the node when its current generation was made.
        foreign_links: names of interfaces without podnet's mark.
        addresses: addresses on the bridge, whoever put them there.
        recorded_addresses: those that the current generation put there.
        onlink: destinations that the node reaches without a router, in any table.
        sysctls: path below /proc/sys → value.
        held: settings of interfaces that are not podnet's and that podnet changed.
        files: absolute path → SHA-256 of its content.
        links_to: absolute path of a symbolic link → its target.
        nft_loaded: SHA-256 of the file that was loaded last, if the table still is as it was
            then; empty when there is no table or somebody changed it.
        nft_present: whether the table exists at all.
        senders: set of the table → underlay addresses that may send encapsulated packets.
        untranslated: chain of the table → networks and addresses to which pods' packets go as they
            are.
        loose: port of a pod that is on no bridge → the other interfaces that its CNI result names.
        contested: address of a pod → the ports of the bridge that use it, where these are several.
        reservations: (address, container) that host-local keeps; read only while the bridge has
            an address that is not wanted any more.
        live: addresses that some network namespace really has; read together with them.
        pending: ``dead`` when a run left a transaction without its end, ``waiting`` when another
            one is at work or waits for its confirmation.
        transaction: the name that its run gave it.
        last: the name of the last transaction that was begun; read before everything else.
        busy: bridges with a port that is up.
        has_systemd: whether units have a place; booted: whether systemd is process 1.
        timers: own timers that run.
        daemons: others that run or start at boot, and that podnet has drop-ins for.
        ineffective: drop-ins of podnet whose rules are not loaded as they were.
        frr: ``installed``; ``bfdd`` where there is one; ``zebra`` when the host's own FRR runs,
            ``podnet/watchfrr`` and ``podnet/bgpd`` when podnet's do.
        frr_conf: SHA-256 of podnet's frr.conf with the placeholder in the password's place.
        frr_running: the configuration that podnet's FRR has in force, with the same placeholder;
            empty where it does not say.
        learned: destination → next hops of every route that BGP made.
        plugins: CNI plugin → CNI versions that it speaks; empty tuple when it is missing.
    """

    privileged: bool = True
    name: str = ""
    links: tuple[Link, ...] = ()
    foreign_links: tuple[str, ...] = ()
    addresses: tuple[Address, ...] = ()
    recorded_addresses: tuple[str, ...] = ()
    routes: tuple[Route, ...] = ()
    foreign_routes: tuple[ForeignRoute, ...] = ()
    ra_devices: tuple[str, ...] = ()
    onlink: tuple[str, ...] = ()
    neighbours: tuple[Neighbour, ...] = ()
    fdb: tuple[FdbEntry, ...] = ()
    sysctls: Mapping[str, str] = field(default_factory=dict)
    held: Mapping[str, str] = field(default_factory=dict)
    underlay: tuple[UnderlayInterface, ...] = ()
    files: Mapping[str, str] = field(default_factory=dict)
    links_to: Mapping[str, str] = field(default_factory=dict)
    nft_loaded: str = ""
    nft_present: bool = False
    senders: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    untranslated: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    loose: Mapping[str, frozenset[str]] = field(default_factory=dict)
    contested: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    generation: int | None = None
    generations: tuple[int, ...] = ()
    reservations: tuple[tuple[str, str], ...] = ()
    live: frozenset[str] = frozenset()
    pending: str = ""
    transaction: str = ""
    last: str = ""
    busy: frozenset[str] = frozenset()
    has_systemd: bool = False
    booted: bool = False
    timers: frozenset[str] = frozenset()
    daemons: frozenset[str] = frozenset()
    ineffective: frozenset[str] = frozenset()
    frr: frozenset[str] = frozenset()
    frr_conf: str = ""
    frr_running: str = ""
    learned: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    missing_tools: tuple[str, ...] = ()
    plugins: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


# What reading raises of an answer that is not what was asked for, however odd it is.
ODD = (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError)


class UnreadableError(Exception):
    """The node's answer is not what the read script prints."""


def parse(output: str, wanted: frozenset[str]) -> State:
    """Parse the read script's output.

    Args:
        output: everything the script printed.
        wanted: destinations of the plan's routes, to find foreign routes that are in the way.

    Raises:
        UnreadableError: when a section is missing or is not what its tool prints.
    """
    sections = sections_of(printable(output))
    if "end" not in sections:
        raise UnreadableError(f"the answer ends too early: {output[-200:]!r}")
    try:
        return _state(sections, wanted)
    except ODD as error:
        raise UnreadableError(f"{type(error).__name__}: {error}") from error


def _state(sections: Mapping[str, str], wanted: frozenset[str]) -> State:
    kernel = kernel_of(sections["asked"], sections["ip"])
    links = _links(kernel, sections["networkd"])
    node = dict(line.partition("=")[::2] for line in sections["node"].splitlines())
    learned = _learned(kernel.routes, node)
    routes, foreign_routes, ra_devices = _routes(kernel.routes, wanted, learned)
    own = _tunnels(links)
    recorded, (inet, bridged) = sections["nft"].split(), nft.split(sections["tables"])
    tables, sets = nft.digest(inet, bridged), nft.sets(inet)
    return State(
        privileged="unprivileged" not in node,
        name=node.get("name", "").strip('",'),
        links=links,
        foreign_links=_foreign(kernel, sections["ports"].split(), links),
        addresses=tuple(_addresses(kernel, frozenset(link.name for link in links))),
        recorded_addresses=tuple(interfaces(sections["recorded"])),
        routes=routes,
        foreign_routes=foreign_routes,
        ra_devices=ra_devices,
        onlink=tuple(kernel.onlink),
        neighbours=tuple(_neighbours(kernel, own)),
        fdb=tuple(_fdb(sections, own)),
        sysctls=pairs(sections["sysctls"], ":", "/proc/sys/"),
        held=pairs(sections["held"], " = ", ""),
        underlay=tuple(_underlay(kernel, sections)),
        files={path: sha for sha, path in words(sections["files"])},
        links_to=pairs(sections["symlinks"], " ", ""),
        nft_loaded=recorded[0] if recorded[1:] == [tables] else "",
        nft_present=bool(tables),
        senders={name: items for name, items in sets.items() if name.startswith("vteps")},
        untranslated=nft.untranslated(inet, sets),
        loose=loose(sections["loose"]),
        contested=nft.contested(bridged, sections["ports"].split()),
        generation=next(numbers(node.get("current", "").rpartition("/")[2]), None),
        generations=tuple(sorted(numbers(node["generations"]))),
        reservations=tuple(reservations(sections["reservations"])),
        live=frozenset(sections["live"].split()),
        pending=node.get("pending", ""),
        transaction=node.get("txn", ""),
        last=sections.get("last", "").strip(),
        busy=_busy(kernel),
        has_systemd=node.get("systemd") == "yes",
        booted=node.get("booted") == "yes",
        **{name: frozenset(node.get(name, "").split()) for name in NODE_SETS},
        frr_conf=node.get("frr_conf", "").partition(" ")[0],
        frr_running=sections["running"],
        learned=learned,
        missing_tools=tuple(node.get("missing", "").split()),
        plugins=_plugins(sections["plugins"]),
    )


def _json(text: str) -> list[dict[str, Any]]:
    """A JSON list of `ip -j`; nothing printed means nothing found, and old versions print an
    empty object for every interface that a selector left out."""
    return [item for item in json.loads(text or "[]") if item]


def _links(kernel: Kernel, networkd: str) -> tuple[Link, ...]:
    """Own ones have the altname, or networkd made them by podnet's own file: files with the number
    of an interface as their name."""
    own = []
    made = {path.rpartition("/")[2] for path in networkd.split()}
    kinds = ("bridge", "vxlan")
    for name, item in ((n, i) for n, i in kernel.interfaces.items() if kind_of(i) in kinds):
        marked = ALTNAME_PREFIX + name in item.get("altnames", [])
        if not marked and str(item.get("ifindex")) not in made:
            continue
        data = item["linkinfo"].get("info_data", {})
        vxlan = None
        if kind_of(item) == "vxlan":
            local = data.get("local") or data.get("local6") or ""
            vxlan = Vxlan(data["id"], data["port"], local, bool(data.get("learning", False)))
        up = "UP" in item["flags"]
        own.append(Link(name, item["address"], item["mtu"], vxlan, up, marked))
    return tuple(own)


def _tunnels(links: tuple[Link, ...]) -> frozenset[str]:
    """Devices whose neighbours and FDB entries are podnet's; on the bridge others may have some."""
    return frozenset(link.name for link in links if link.vxlan)


def _foreign(kernel: Kernel, ports: list[str], links: tuple[Link, ...]) -> tuple[str, ...]:
    """Every other name that an interface has, of whatever kind it is."""
    own = {link.name for link in links}
    return tuple(name for name in dict.fromkeys((*kernel.interfaces, *ports)) if name not in own)


def _busy(kernel: Kernel) -> frozenset[str]:
    bridges = ((name, i) for name, i in kernel.interfaces.items() if kind_of(i) == "bridge")
    return frozenset(name for name, item in bridges if "LOWER_UP" in item["flags"])


def _addresses(kernel: Kernel, own: frozenset[str]) -> Iterator[Address]:
    for name, item in kernel.interfaces.items():
        if name not in own:
            continue
        for entry in item["addr_info"]:
            if entry.get("scope") in ("global", "link"):
                yield Address(name, f"{entry['local']}/{entry['prefixlen']}")


def _learned(routes: list[dict[str, Any]], node: Mapping[str, str]) -> dict[str, tuple[str, ...]]:
    """An FRR that has ended leaves them behind, and podnet's are still podnet's."""
    if not node.get("frr_conf"):
        return {}
    return {item["dst"]: next_hops(item) for item in routes if item.get("protocol") == "bgp"}


def _routes(
    found: list[dict[str, Any]], wanted: frozenset[str], learned: Mapping[str, tuple[str, ...]]
) -> tuple[tuple[Route, ...], tuple[ForeignRoute, ...], tuple[str, ...]]:
    own, foreign, ra_devices = [], [], []
    for item in found:
        dst, metric, protocol = item["dst"], int(item.get("metric", 0)), item.get("protocol")
        if dst == "default":
            if protocol == "ra" and "dev" in item:
                ra_devices.append(item["dev"])
        elif protocol in PROTOCOL_NAMES and is_own_metric(dst, metric):
            own.append(_route(dst, item))
        elif dst in wanted and protocol != "kernel" and not (learned and protocol == "bgp"):
            text = f"{dst} via {item.get('gateway', '-')} dev {item.get('dev', '-')}"
            text += f" proto {item.get('protocol', 'boot')} metric {metric}"
            foreign.append(ForeignRoute(dst, text, metric))
    return tuple(own), tuple(foreign), tuple(dict.fromkeys(ra_devices))


def _route(dst: str, item: Mapping[str, Any]) -> Route:
    # A range that retires goes from here into the lines of other nodes. `ipaddress` is no guard: it
    # takes any text as the zone of an IPv6 address.
    if not PREFIX.fullmatch(dst):
        raise ValueError(f"a route to {dst[:80]!r}, which is no network")
    return Route(
        dst=_once(dst),
        via=_once(next_hops(item)[0]),
        src=_once(str(item.get("prefsrc", ""))),
        dev=_once(str(item["dev"])) if "dev" in item else None,
        onlink="onlink" in item.get("flags", []),
        metric=int(item["metric"]),
        mtu=next((int(one["mtu"]) for one in item.get("metrics", []) if "mtu" in one), 0),
    )


def _neighbours(kernel: Kernel, own: frozenset[str]) -> Iterator[Neighbour]:
    for item in kernel.neighbours:
        if item.get("dev") in own and "PERMANENT" in item.get("state", []):
            yield _neighbour(str(item["dev"]), str(item["dst"]), str(item.get("lladdr", "")))


def _fdb(sections: Mapping[str, str], own: frozenset[str]) -> Iterator[FdbEntry]:
    for name, text in sections.items():
        if not name.startswith("fdb "):
            continue
        dev = name.partition(" ")[2]
        for item in _json(text):
            if dev in own and "dst" in item:
                yield _fdb_entry(dev, str(item["mac"]), str(item["dst"]))


# The states of a fleet are all there at once, and say the same of the same peers.
_neighbour = lru_cache(maxsize=1 << 16)(Neighbour)
_fdb_entry = lru_cache(maxsize=1 << 16)(FdbEntry)


@lru_cache(maxsize=1 << 16)
def _once(text: str) -> str:
    """One object for all equal texts."""
    return text


def _underlay(kernel: Kernel, sections: Mapping[str, str]) -> Iterator[UnderlayInterface]:
    for name in sections:
        address = name.removeprefix("underlay ")
        if address != name and (item := kernel.holders.get(address)):
            yield UnderlayInterface(address, item["ifname"], item["mtu"], "UP" in item["flags"])


def _plugins(text: str) -> dict[str, tuple[str, ...]]:
    """Lines ``name absent``, ``name known`` or ``name {json}`` as the plugin's VERSION says."""
    plugins: dict[str, tuple[str, ...]] = {}
    for name, answer in words(text):
        if answer == "absent":
            plugins[name] = ()
        elif answer == "known":
            plugins[name] = ("known",)
        else:
            try:
                plugins[name] = tuple(json.loads(answer).get("supportedVersions", ["unreadable"]))
            except ValueError:
                plugins[name] = ("unreadable",)
    return plugins
