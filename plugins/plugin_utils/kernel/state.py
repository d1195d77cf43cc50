# SPDX-License-Identifier: GPL-3.0-or-later
"""What is there: one node's live state, parsed from the output of the read script.

The parsers take what `ip -j`, `bridge -j` and coreutils print and return the same frozen
objects that the plan is made of. What podnet does not own is left out, or kept apart where
a change must look at it.
"""

from __future__ import annotations

import ipaddress
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from .objects import (
    ALTNAME_PREFIX,
    ROUTE_METRIC,
    ROUTE_PROTOCOL,
    YIELDING_METRIC,
    Address,
    FdbEntry,
    Link,
    Neighbour,
    Route,
    Vxlan,
)

MARKER = "@@podnet "
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
        foreign_links: names of bridges and VXLAN devices without podnet's mark.
        addresses: addresses on the bridge, whoever put them there.
        recorded_addresses: those that the current generation put there.
        sysctls: path below /proc/sys → value.
        held: settings of interfaces that are not podnet's and that podnet changed.
        files: absolute path → SHA-256 of its content.
        links_to: absolute path of a symbolic link → its target.
        nft_loaded: SHA-256 of the file that was loaded last, if the table still is as it was
            then; empty when there is no table or somebody changed it.
        nft_present: whether the table exists at all.
        senders: set of the table → underlay addresses that may send encapsulated packets.
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
        frr: ``installed``; ``zebra`` when the host's own FRR runs, ``podnet/watchfrr`` when
            podnet's does.
        frr_conf: SHA-256 of podnet's frr.conf with the placeholder in the password's place.
        learned: destination → next hop of every route that BGP made.
        plugins: CNI plugin → CNI versions that it speaks; empty tuple when it is missing.
    """

    links: tuple[Link, ...] = ()
    foreign_links: tuple[str, ...] = ()
    addresses: tuple[Address, ...] = ()
    recorded_addresses: tuple[str, ...] = ()
    routes: tuple[Route, ...] = ()
    foreign_routes: tuple[ForeignRoute, ...] = ()
    ra_devices: tuple[str, ...] = ()
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
    learned: Mapping[str, str] = field(default_factory=dict)
    missing_tools: tuple[str, ...] = ()
    plugins: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


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
    sections = _sections(output)
    if "end" not in sections:
        raise UnreadableError(f"the answer ends too early: {output[-200:]!r}")
    try:
        return _state(sections, wanted)
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        raise UnreadableError(f"{type(error).__name__}: {error}") from error


def _sections(output: str) -> dict[str, str]:
    sections: dict[str, list[str]] = {}
    current: list[str] = []
    for line in output.splitlines():
        if line.startswith(MARKER):
            current = sections.setdefault(line[len(MARKER) :].strip(), [])
        else:
            current.append(line)
    return {name: "\n".join(lines).strip() for name, lines in sections.items()}


def _state(sections: Mapping[str, str], wanted: frozenset[str]) -> State:
    links, foreign_links = _links(sections)
    node = dict(line.partition("=")[::2] for line in sections["node"].splitlines())
    learned = _learned(sections) if "podnet/watchfrr" in node.get("frr", "") else {}
    routes, foreign_routes, ra_devices = _routes(sections, wanted, learned)
    # Neighbours and FDB entries are podnet's on its VXLAN devices alone; on the bridge anybody
    # may have some.
    own = frozenset(link.name for link in links if link.vxlan)
    current = node.get("current", "").rpartition("/")[2]
    return State(
        links=links,
        foreign_links=foreign_links,
        addresses=tuple(
            address
            for name in ("addresses", "overlay")
            for address in _addresses(sections[name], frozenset(link.name for link in links))
        ),
        recorded_addresses=tuple(sections["recorded"].split()),
        routes=routes,
        foreign_routes=foreign_routes,
        ra_devices=ra_devices,
        neighbours=tuple(_neighbours(sections["neighbours"], own)),
        fdb=tuple(_fdb(sections, own)),
        sysctls=_pairs(sections["sysctls"], ":", "/proc/sys/"),
        held=_pairs(sections["held"], " = ", ""),
        underlay=tuple(_underlay(sections)),
        files={path: sha for sha, path in _words(sections["files"])},
        links_to=_pairs(sections["symlinks"], " ", ""),
        nft_loaded=_loaded(sections["nft"]),
        nft_present=node.get("table") == "yes",
        senders=_senders(sections["senders"]),
        contested=_contested(sections["owners"], sections["ports"].split()),
        generation=int(current) if current.isdigit() else None,
        generations=tuple(sorted(int(g) for g in node["generations"].split() if g.isdigit())),
        reservations=tuple(_words(sections["reservations"])),
        live=frozenset(sections["live"].split()),
        pending=node.get("pending", ""),
        transaction=node.get("txn", ""),
        last=sections.get("last", "").strip(),
        busy=frozenset(
            item["ifname"] for item in _json(sections["bridges"]) if "LOWER_UP" in item["flags"]
        ),
        has_systemd=node.get("systemd") == "yes",
        booted=node.get("booted") == "yes",
        **{name: frozenset(node.get(name, "").split()) for name in NODE_SETS},
        frr_conf=node.get("frr_conf", "").partition(" ")[0],
        learned=learned,
        missing_tools=tuple(node.get("missing", "").split()),
        plugins=_plugins(sections["plugins"]),
    )


def _json(text: str) -> list[dict[str, Any]]:
    """A JSON list of `ip -j`; nothing printed means nothing found, and old versions print an
    empty object for every interface that a selector left out."""
    return [item for item in json.loads(text or "[]") if item]


def _words(text: str) -> Iterator[tuple[str, str]]:
    for line in text.splitlines():
        first, _space, rest = line.partition(" ")
        yield first, rest.strip()


def _pairs(text: str, separator: str, prefix: str) -> dict[str, str]:
    pairs = {}
    for line in text.splitlines():
        path, found, value = line.partition(separator)
        if found and not line.startswith("#"):
            pairs[path.removeprefix(prefix)] = value.strip()
    return pairs


def _links(sections: Mapping[str, str]) -> tuple[tuple[Link, ...], tuple[str, ...]]:
    """Own ones have the altname, or networkd made them by podnet's own file: files with the number
    of an interface as their name."""
    own, foreign = [], []
    made = {path.rpartition("/")[2] for path in sections["networkd"].split()}
    for item in _json(sections["bridges"]) + _json(sections["vxlans"]):
        name = item["ifname"]
        marked = ALTNAME_PREFIX + name in item.get("altnames", [])
        if not marked and str(item.get("ifindex")) not in made:
            foreign.append(name)
            continue
        data = item["linkinfo"].get("info_data", {})
        vxlan = None
        if item["linkinfo"]["info_kind"] == "vxlan":
            local = data.get("local") or data.get("local6") or ""
            vxlan = Vxlan(data["id"], data["port"], local, bool(data.get("learning", False)))
        up = "UP" in item["flags"]
        own.append(Link(name, item["address"], item["mtu"], vxlan, up, marked))
    return tuple(own), tuple(foreign)


def _addresses(text: str, own: frozenset[str]) -> Iterator[Address]:
    for item in _json(text):
        if item.get("ifname") not in own:
            continue
        for entry in item.get("addr_info", []):
            if entry.get("scope") in ("global", "link"):
                yield Address(item["ifname"], f"{entry['local']}/{entry['prefixlen']}")


def _loaded(text: str) -> str:
    """Digest of the file that was loaded last, if the table still is as it was recorded then."""
    recorded, listing = [*text.split("\n"), "", ""][:2]
    names = recorded.split()
    return names[0] if len(names) == 2 and listing.split()[:1] == names[1:] else ""


def _learned(sections: Mapping[str, str]) -> dict[str, str]:
    return {
        item["dst"] if "/" in item["dst"] else item["dst"] + length: _next_hop(item)
        for family, length in (("routes4", "/32"), ("routes6", "/128"))
        for item in _json(sections[family])
        if item.get("protocol") == "bgp"
    }


def _next_hop(item: Mapping[str, Any]) -> str:
    # zebra has a group of one next hop where there were more.
    (item, *_others) = item.get("nexthops") or [item]
    return str(item.get("gateway") or item.get("via", {}).get("host", ""))


def _routes(
    sections: Mapping[str, str], wanted: frozenset[str], learned: Mapping[str, str]
) -> tuple[tuple[Route, ...], tuple[ForeignRoute, ...], tuple[str, ...]]:
    own, foreign, ra_devices = [], [], []
    for family, host_length in (("routes4", "/32"), ("routes6", "/128")):
        for item in _json(sections[family]):
            dst = item["dst"]
            if dst == "default":
                if item.get("protocol") == "ra" and "dev" in item:
                    ra_devices.append(item["dev"])
                continue
            dst = dst if "/" in dst else dst + host_length
            metric = int(item.get("metric", 0))
            protocol = item.get("protocol")
            if protocol in PROTOCOL_NAMES and metric in (ROUTE_METRIC, YIELDING_METRIC):
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
        dst=dst,
        via=_next_hop(item),
        src=item.get("prefsrc", ""),
        dev=item.get("dev"),
        onlink="onlink" in item.get("flags", []),
        metric=int(item["metric"]),
    )


def _neighbours(text: str, own: frozenset[str]) -> Iterator[Neighbour]:
    for item in _json(text):
        if item.get("dev") in own and "PERMANENT" in item.get("state", []):
            yield Neighbour(item["dev"], item["dst"], item.get("lladdr", ""))


def _fdb(sections: Mapping[str, str], own: frozenset[str]) -> Iterator[FdbEntry]:
    for name, text in sections.items():
        if not name.startswith("fdb "):
            continue
        dev = name.partition(" ")[2]
        for item in _json(text):
            if dev in own and "dst" in item:
                yield FdbEntry(dev, item["mac"], item["dst"])


def _underlay(sections: Mapping[str, str]) -> Iterator[UnderlayInterface]:
    for name, text in sections.items():
        if name.startswith("underlay "):
            for item in _json(text):
                if "ifname" in item:
                    up = "UP" in item.get("flags", [])
                    address = name.partition(" ")[2]
                    yield UnderlayInterface(address, item["ifname"], item["mtu"], up)


def _senders(text: str) -> dict[str, tuple[str, ...]]:
    """Sets as nft lists them; one without elements has none of the second group."""
    pattern = re.compile(r"set (vteps[46]) \{[^{}]*(?:elements = \{([^{}]*)\}[^{}]*)?\}")
    found = pattern.findall(text)
    return {name: tuple(item.replace(",", " ").split()) for name, item in found}


def _contested(text: str, ports: list[str]) -> dict[str, tuple[str, ...]]:
    """From elements such as `"veth1" . 10.64.1.5`; nft has IPv6 addresses as numbers there. What
    was learned of a port that is gone does not count."""
    users: dict[str, list[str]] = {}
    for port, word in re.findall(r'"([^"]+)" \. (0x[0-9a-f]+|[0-9.]+)(?=[,\s}])', text):
        address = str(ipaddress.IPv6Address(int(word, 16))) if word.startswith("0x") else word
        if port in ports:
            users.setdefault(address, []).append(port)
    return {address: tuple(sorted(of)) for address, of in users.items() if len(of) > 1}


def _plugins(text: str) -> dict[str, tuple[str, ...]]:
    """Lines ``name absent``, ``name known`` or ``name {json}`` as the plugin's VERSION says."""
    plugins: dict[str, tuple[str, ...]] = {}
    for name, answer in _words(text):
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
