# SPDX-License-Identifier: GPL-3.0-or-later
"""Mode bgp: why a session does not stand, and why a prefix is not learned, or from elsewhere. Pure.

A prefix is followed as it goes: announced by its node, over each session to the node that lacks it,
into that node's kernel. A session is looked at from both ends.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Collection, Iterable, Iterator, Mapping

from ..backends.bgp import together
from ..intent.model import Family, family_of
from ..kernel.objects import Learned
from ..speakers.conf import Line, different, family_of_line
from ..speakers.heard import DAEMONS, Heard
from ..speakers.look import PLANNED
from ..speakers.wanted import Session, as_planned
from . import filters, underlay
from .suspects import ANEW, Cause, Scene, Trip, applied

Certain = tuple[Cause, bool]
Link = tuple[str, str]
RELOAD = (
    "/usr/lib/frr/frr-reload.py --confdir /etc/frr/podnet --vty_socket /run/frr/podnet "
    "--reload /etc/frr/podnet/frr.conf"
)
_DECIDES = ("prefix-list", "route-map", "match", "as-path", "filter-list", "distribute-list")
_FILTERS = (*_DECIDES, "activate", "route-reflector-client")


def best(found: Iterable[Certain]) -> Cause | None:
    """The first certain cause; failing that, the first suspect."""
    suspects: list[Cause] = []
    for cause, sure in found:
        if sure:
            return cause
        suspects.append(cause)
    return suspects[0] if suspects else None


def daemons(scene: Scene, node: str) -> Iterator[Certain]:
    heard = scene.heard.get(node)
    for name in DAEMONS if heard else ():
        if heard and name not in heard.daemons:
            yield Cause(node, "daemon", name, "running", "not there", _heal(scene, node)), True


def _heal(scene: Scene, node: str) -> str:
    """What starts podnet's FRR; of a node that was not looked at, what is usual."""
    look = scene.looks.get(node)
    return "podnet-node heal" if look is None or applied(look) else ANEW


def session(scene: Scene, node: str, wanted: Session) -> Iterator[Certain]:
    """Everything wrong with a session that does not stand, seen from one of its nodes."""
    ends = [(node, wanted), *_other_end(scene, node, wanted)]
    for name, _view in ends:
        yield from daemons(scene, name)
    trip = Trip(scene, node, wanted.peer or node, wanted.family, frozenset(), "bgp")
    for name, _view in ends:
        if name in scene.looks:
            yield from underlay.device(trip, name)
    for name, view in ends:
        yield from ((cause, True) for cause in _configured(scene, name, view))
    for name, view in ends:
        if name in scene.looks:
            own = scene.fabric.by_name[name].underlay[wanted.family]
            yield from filters.speaking(trip, name, (own, view.address))
    yield from _refused(scene, ends)
    peer = scene.heard[node].sessions.get(wanted.address)
    silent = f", and {wanted.peer} was not looked at" if len(ends) == 1 and wanted.peer else ""
    yield (
        Cause(
            node,
            "BGP session",
            f"{node} - {wanted.peer or wanted.address} {wanted.family}",
            "Established",
            (peer.state if peer else "none") + silent,
            f"look at TCP port 179 to {wanted.address}: `vtysh -N podnet -c 'show bgp neighbors'`",
        ),
        False,
    )


def _other_end(scene: Scene, node: str, wanted: Session) -> Iterator[tuple[str, Session]]:
    """The session as the peer has it, where the peer is a node that was looked at."""
    if wanted.peer in scene.heard:
        own = scene.fabric.by_name[node].underlay.get(wanted.family)
        yield from ((wanted.peer, s) for s in scene.sessions[wanted.peer] if s.address == own)


def _configured(scene: Scene, node: str, wanted: Session) -> Iterator[Cause]:
    """What FRR's running configuration says of a session, against the plan."""
    conf, asn = scene.heard[node].running, scene.fabric.by_name[node].bgp_asn
    own = [line for _under, line in conf.lines if line.startswith("router bgp ")]
    if own and own[0].split()[2] != str(asn):
        yield Cause(node, "AS", own[0], f"router bgp {asn}", own[0], RELOAD)
    name = wanted.address
    if wanted.listens:
        name = _listening(conf.lines, wanted.address)
    if name not in conf.neighbours:
        expected = "a range that it listens in" if wanted.listens else "configured"
        texts = (expected, "not in the configuration", RELOAD)
        yield Cause(node, "BGP session", f"neighbor {wanted.address}", *texts)
        return
    found = conf.neighbour(name)
    if found.shutdown:
        yield Cause(node, "BGP session", f"neighbor {name}", "open", "shutdown", RELOAD)
    if found.asn != str(wanted.asn):
        texts = (f"remote-as {wanted.asn}", f"remote-as {found.asn or 'missing'}", RELOAD)
        yield Cause(node, "AS", f"neighbor {name}", *texts)
    planned = PLANNED if scene.fabric.bgp_password else ""
    if found.password != planned:
        expected = "podnet_bgp_password" if planned else "none"
        there = "another one" if found.password else "none"
        yield Cause(node, "password", f"neighbor {name}", expected, there, RELOAD)


def _listening(lines: tuple[Line, ...], address: str) -> str:
    """The group of the range that has an address; empty without one."""
    for _under, line in lines:
        words = line.split()
        listens = line.startswith("bgp listen range ") and len(words) == 6
        if listens and ipaddress.ip_address(address) in ipaddress.ip_network(words[3]):
            return words[5]
    return ""


def _refused(scene: Scene, ends: list[tuple[str, Session]]) -> Iterator[Certain]:
    """What a peer said when it ended the session: RFC 4271, 6.2, Bad Peer AS."""
    for name, view in ends:
        reason = scene.heard[name].reasons.get(view.address, "")
        if "Bad Peer AS" in reason:
            repair = f"correct the AS of {view.address}: there, or in podnet_bgp_peers"
            texts = (f"AS {view.asn} at both ends", reason, repair)
            yield Cause(name, "AS", f"neighbor {view.address}", *texts), True


# --- prefixes ---------------------------------------------------------------------------------


def prefix(scene: Scene, node: str, route: Learned) -> Iterator[Certain]:
    """Why a node has not learned a prefix, or from elsewhere; the last one says only that."""
    hops = scene.heard[node].learned.get(route.dst, ())
    if hops or _announcers(scene, route.dst, route.peer):
        via = next((hop for hop in hops if hop != route.via), "nobody")
        yield announced_by_others(scene, node, route.dst, route.peer, via), True
        return
    owner = scene.heard.get(route.peer)
    if owner and owner.daemons.issuperset(DAEMONS) and route.dst not in owner.running.networks:
        expected = f"network {route.dst} in its configuration of BGP"
        texts = (route.dst, expected, "not announced", RELOAD)
        yield Cause(route.peer, "announcement", *texts), True
    family = family_of(route.dst)
    chains = list(_chains(scene, route.peer, node, family))
    for chain in chains:
        found = [one for link in chain for one in _link(scene, link, route)]
        if not found:
            break
        yield from found
    yield from _routers(scene, (route.peer, node), family)
    text = f"via {route.via}" if route.via else "in the kernel"
    way = ", ".join(" - ".join([chain[0][0], *(end for _start, end in chain)]) for chain in chains)
    found_there = f"missing; the way of the announcement: {way}" if way else "missing"
    repair = "podnet-node heal; `vtysh -N podnet -c 'show bgp'` and 'show ip route bgp' show more"
    yield Cause(node, "learned route", route.dst, text, found_there, repair), True


def announced_by_others(scene: Scene, node: str, dst: str, owner: str, via: str) -> Cause:
    """Somebody announces what is another node's, or nobody's."""
    expected = f"announced by {owner} alone" if owner else "no announcement; no node has it"
    for name in _announcers(scene, dst, owner):
        texts = (expected, f"network {dst} in {name}'s configuration of BGP", RELOAD)
        return Cause(name, "announcement", dst, *texts)
    by_address = {
        a: n.name for n in scene.fabric.nodes for a in (*n.underlay_addresses, *n.gateways.values())
    }
    if via in by_address and by_address[via] != owner:
        texts = (expected, f"others learn it via {via}", "look at its configuration of FRR")
        return Cause(by_address[via], "announcement", dst, *texts)
    repair = f"find who has {via} and announces it, and withdraw it there"
    return Cause(node, "announcement", dst, expected, f"learned via {via}", repair)


def _announcers(scene: Scene, dst: str, owner: str) -> list[str]:
    """Nodes that announce what is not theirs."""
    heard = sorted(scene.heard.items())
    return [name for name, one in heard if name != owner and dst in one.running.networks]


def _chains(scene: Scene, owner: str, node: str, family: Family) -> Iterator[tuple[Link, ...]]:
    """The ways of an announcement: directly, or by each node that reflects it."""
    by_name = scene.fabric.by_name
    near = {s.peer for s in scene.sessions.get(node, ()) if family in s.carries}
    if owner in near:
        yield ((owner, node),)
        return
    for name in sorted(near - {""}):
        # What comes from another segment is passed on in the own one alone.
        reflects = by_name[name].bgp_reflector and together(by_name[name], by_name[node])
        known = {s.peer for s in scene.sessions.get(name, ()) if family in s.carries}
        if reflects and owner in known:
            yield (owner, name), (name, node)


def _routers(scene: Scene, ends: Link, family: Family) -> Iterator[Certain]:
    """Between segments: a node that has no session with any of its routers."""
    for name in ends:
        own = [s for s in scene.sessions.get(name, ()) if not s.peer and family in s.carries]
        if own and not any(scene.heard[name].stands(s.address) for s in own):
            yield from session(scene, name, own[0])


def _link(scene: Scene, link: Link, route: Learned) -> Iterator[Certain]:
    """What is wrong between two neighbouring speakers; nothing when the prefix came over."""
    start, end = link
    family = family_of(route.dst)
    for name, other in ((end, start), (start, end)):
        for wanted in scene.sessions.get(name, ()):
            concerned = wanted.peer == other and family in wanted.carries
            if concerned and not scene.heard[name].stands(wanted.address):
                yield from session(scene, name, wanted)
                return
    heard = scene.heard.get(end)
    if heard is None or heard.paths is None:
        return
    addresses = scene.fabric.by_name[start].underlay_addresses
    if {path.peer for path in heard.paths.get(route.dst, ())}.intersection(addresses):
        return
    for name in (start, end):
        for under, line, there in differences(scene.heard.get(name), family):
            yield _filter(name, under, line, there), True
    # One that has nothing to pass on lacks it itself, which an earlier link says.
    known = scene.heard.get(start)
    if known and known.paths is not None and route.dst in known.paths:
        repair = f"`vtysh -N podnet -c 'show bgp {family} {route.dst}'` on both nodes"
        texts = (f"{route.dst} from {start}", "not there, and the session stands", repair)
        yield Cause(end, "prefix filter", route.dst, *texts), True


def differences(
    heard: Heard | None, family: Family | None = None
) -> Iterator[tuple[str, str, bool]]:
    """(line that it stands under, line, whether it is in force): where the running configuration is
    not the file's; with a family, what filters prefixes of it."""
    if heard is None or not heard.file.lines:
        return
    in_force = set(heard.running.lines)
    for under, line in different(heard.running, heard.file):
        of = family_of_line(under, line)
        filters_it = any(word in line for word in _FILTERS)
        if family is None or (filters_it and of in (None, family)):
            yield under, line, (under, line) in in_force


def _filter(node: str, under: str, line: str, there: bool) -> Cause:
    name = f"{under}: {line}" if under and not under.startswith("router") else line
    texts = ("not in the configuration", "in force") if there else ("in force", "missing")
    return Cause(node, "prefix filter", name, *texts, RELOAD)


# --- the fleet by itself ------------------------------------------------------------------------


def astray(
    scene: Scene, foreign: Mapping[str, Mapping[str, str]], but: Collection[str] = ()
) -> list[tuple[Cause, tuple[str, ...]]]:
    """Everything that is not as planned, without a packet: causes, and ids of what they explain.

    Args:
        foreign: node → prefix → next hop of what it learned and no node of the fleet has.
        but: nodes of which it is known why they are not as planned; what others lack of them
            needs no other cause.
    """
    found: dict[Cause, list[str]] = {}
    known = {address for name in but for address in scene.fabric.by_name[name].underlay_addresses}

    def note(cause: Cause | None, way: str) -> None:
        if cause is not None:
            found.setdefault(cause, []).append(way)

    for name, heard in sorted(scene.heard.items()):
        for cause, _sure in daemons(scene, name):
            note(cause, f"daemon/any/{name}/{name}")
        for wanted in scene.sessions[name]:
            if wanted.peer not in but and not heard.stands(wanted.address):
                end = wanted.peer or wanted.address
                note(best(session(scene, name, wanted)), f"session/{wanted.family}/{name}/{end}")
        for route in scene.plans[name].learned:
            if route.peer not in but and not as_planned(route, heard):
                way = f"learned/{family_of(route.dst)}/{name}/{route.peer}"
                note(best(prefix(scene, name, route)), way)
        for dst, via in sorted(foreign.get(name, {}).items()):
            if via in known:
                continue
            cause = announced_by_others(scene, name, dst, "", via)
            note(cause, f"foreign/{family_of(dst)}/{name}/{name}")
    named = {cause.node for cause in found}
    for name, heard in sorted(scene.heard.items()):
        for under, line, there in differences(heard) if name not in named else ():
            texts = ("as in its file", "in force alone" if there else "in the file alone", RELOAD)
            text = f"{under}: {line}" if under else line
            note(Cause(name, "FRR configuration", text, *texts), f"configuration/any/{name}/{name}")
    return [(cause, tuple(ids)) for cause, ids in found.items()]
