# SPDX-License-Identifier: GPL-3.0-or-later
"""Why the kernel takes another way than podnet's route: policy rules and foreign routes. Pure.

The kernel itself said which way it takes; here the rule or the route behind it is named.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Generator, Iterator

from ..backends import learns
from ..intent.model import family_of
from ..kernel.objects import Route
from ..kernel.state import PROTOCOL_NAMES
from ..peers import pod_mtu
from . import speakers
from .landscape import Item, Look
from .own import to_peer
from .suspects import Cause, Trip

Certain = tuple[Cause, bool]


def chosen(trip: Trip) -> Iterator[Certain]:
    """podnet's route is there, and yet the kernel takes another one."""
    look = trip.scene.looks[trip.source]
    address = trip.address(trip.target)
    way = look.ways.get(address)
    objects = to_peer(trip, trip.source, trip.target)
    route = next((item for item in objects if isinstance(item, Route)), None)
    if way is None:
        return
    if learns(trip.scene.fabric):
        # What is pushed, if anything, leads to the next hop alone.
        hops = yield from _learned(trip)
        dev = trip.scene.fabric.vxlan_device if trip.tunnelled else None
    else:
        hops, dev = ((route.via,), route.dev) if route and route.via else ((), None)
    if not hops:
        return
    direct = dev is None and way.dev == trip.underlay(trip.source)
    if not way.error and way.via in hops and (direct or way.dev == dev):
        return
    expected = f"{address} via {' or '.join(hops)}" + (f" dev {dev}" if dev else "")
    found = way.error or f"via {way.via or '(link)'} dev {way.dev}"
    yield _culprit(trip, look, address, expected, found), True


def narrow(trip: Trip) -> Iterator[Certain]:
    """Somebody's route to the pod takes small packets only, by an MTU of its own."""
    look, address = trip.scene.looks[trip.source], trip.address(trip.target)
    route = covering(look, "main", address, trip.family) if address else None
    if route is None or route.get("protocol") in PROTOCOL_NAMES:
        return
    least = pod_mtu(trip.scene.fabric)
    mtu = next((int(item["mtu"]) for item in route.get("metrics", ()) if "mtu" in item), least)
    if mtu < least:
        expected = f"packets of {least} bytes pass to {address}"
        yield _culprit(trip, look, address, expected, f"mtu {mtu}"), True


def _learned(trip: Trip) -> Generator[Certain, None, tuple[str, ...]]:
    """The same where the route is learned; its next hops, if they are as planned."""
    scene, node, address = trip.scene, trip.source, trip.address(trip.target)
    heard = scene.heard.get(node)
    for wanted in scene.plans[node].learned if heard else ():
        if wanted.peer != trip.target or family_of(wanted.dst) != trip.family or not heard:
            continue
        hops = heard.learned.get(wanted.dst, ())
        if wanted.fits(hops):
            return hops
        other = covering(scene.looks[node], "main", address, trip.family)
        if other and other.get("protocol") != "bgp" and other["dst"] != "default":
            way = scene.looks[node].ways[address]
            found = way.error or f"via {way.via or '(link)'} dev {way.dev}"
            expected = f"{wanted.dst} via {wanted.via or 'a router'}, by BGP"
            yield _culprit(trip, scene.looks[node], address, expected, found), True
        cause = speakers.best(speakers.prefix(scene, node, wanted))
        if cause is not None:
            yield cause, True
    return ()


def _culprit(trip: Trip, look: Look, address: str, expected: str, found: str) -> Cause:
    source = trip.address(trip.source)
    for rule in look.rules:
        if _selects(rule, trip, source, address) and _decides(rule, look, address, trip.family):
            table = rule.get("table", rule.get("action", ""))
            text = f"priority {rule.get('priority')} {table}".rstrip()
            six = "-6 " if trip.family == "ipv6" else ""
            repair = f"ip {six}rule del priority {rule.get('priority')}, or exempt the pod CIDRs"
            return Cause(trip.source, "policy rule", text, expected, found, repair)
    for table in ("local", "main"):
        route = covering(look, table, address, trip.family)
        if route is not None:
            six = "-6 " if trip.family == "ipv6" else ""
            kind = f"{route['type']} " if route.get("type", "unicast") != "unicast" else ""
            metric = f" metric {route['metric']}" if route.get("metric") else ""
            repair = f"ip {six}route del {kind}{route['dst']}{metric}"
            found = kind.strip() or found  # the kernel's words for it are those of other errors
            return Cause(trip.source, "foreign route", route["dst"], expected, found, repair)
    repair = f"`ip route get {address}` shows the way; remove the route that is in it"
    return Cause(trip.source, "foreign route", address, expected, found, repair)


def underlay(trip: Trip) -> Iterator[Certain]:
    """The way of the packets between the nodes, where the pair uses VXLAN."""
    if not trip.tunnelled:
        return
    look, dev = trip.scene.looks[trip.source], trip.underlay(trip.source)
    address = trip.scene.fabric.by_name[trip.target].underlay.get(trip.outer, "")
    way = look.ways.get(address)
    if way is None or not dev or (not way.error and way.dev == dev):
        return
    found = way.error or ("local" if way.local else f"dev {way.dev}")
    repair = f"`ip route get {address}` shows the way; remove the route that is in it"
    text = f"{address} dev {dev}"
    yield Cause(trip.source, "underlay route", address, text, found, repair), True


def covering(look: Look, table: str, address: str, family: str) -> Item | None:
    """The route of a table that the kernel prefers for an address: the longest prefix, then the
    lowest metric."""
    found: list[tuple[int, int, int, Item]] = []
    for number, route in enumerate(look.routes):
        if str(route.get("table", "main")) != table or route["family"] != family:
            continue
        network = _network(str(route["dst"]), family)
        if network is not None and ipaddress.ip_address(address) in network:
            found.append((-network.prefixlen, int(route.get("metric", 0)), number, route))
    return min(found)[3] if found else None


def _network(dst: str, family: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    if dst == "default":
        dst = "0.0.0.0/0" if family == "ipv4" else "::/0"
    try:
        return ipaddress.ip_network(dst, strict=False)
    except ValueError:
        return None


def _selects(rule: Item, trip: Trip, source: str, target: str) -> bool:
    """Whether a rule is for the packet; a packet of a pod has no mark."""
    if rule["family"] != trip.family or rule.get("fwmark") not in (None, "0", "0x0", 0):
        return False
    ends = _within(rule, "src", source) and _within(rule, "dst", target)
    here = rule.get("iif") in (None, trip.scene.fabric.bridge) and "oif" not in rule
    return (ends and here) != ("not" in rule)


def _within(rule: Item, end: str, address: str) -> bool:
    if rule.get(end, "all") == "all":
        return True
    text = str(rule[end])
    if f"{end}len" in rule:
        text = f"{text}/{rule[end + 'len']}"
    return ipaddress.ip_address(address) in ipaddress.ip_network(text, strict=False)


def _decides(rule: Item, look: Look, address: str, family: str) -> bool:
    """Whether the kernel looks no further: a table without a route for it does not decide."""
    if "action" in rule:
        return rule["action"] not in ("nop", "goto")
    route = covering(look, str(rule.get("table", "main")), address, family)
    return route is not None and route.get("type") != "throw"
