# SPDX-License-Identifier: GPL-3.0-or-later
"""FRR on a node: its files, what is done to it in which phase, and how routes of podnet's make way
for learned ones and the other way round. Pure.

FRR runs for podnet in a path space of its own, /etc/frr/podnet, beside whatever the host has. It is
started, and its configuration is changed, at the end of the phase add. zebra installs nothing while
podnet's own route is there, which has the better distance; so in the phase switch it is known first
that everything is learned, and then podnet's routes get the metric that yields, each beside itself
before the old one goes. They go for good in the phase remove. Backwards podnet's routes come with
that metric, get their own in the phase switch, and FRR goes in the phase remove.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from .changes import Change, ChangeSet
from .intent.model import Fabric
from .intent.readers_bgp import fingerprint
from .kernel.objects import YIELDING, Command, Route
from .kernel.state import State
from .plan import NodePlan
from .speakers.conf import Line, conf_of, different
from .transaction import PASSWORD
from .units import FOLDER

CONF = "frr.conf"
SENT = "@podnet_bgp_password is put in here when the text is sent@"
UNIT = f"{FOLDER}/podnet-bgp.service"
UNIT_LINK = f"{FOLDER}/multi-user.target.wants/podnet-bgp.service"
FILES: Mapping[str, str] = {
    "daemons": "/etc/frr/podnet/daemons",
    "vtysh.conf": "/etc/frr/podnet/vtysh.conf",
    "restart": "/etc/frr/podnet/restart",
    "podnet-bgp.service": UNIT,
}
MODES = {"restart": "0755"}
RUNS = "podnet/watchfrr"
# Sent for both: the file is written anew, and FRR goes over to it line by line.
APPLY = Change(Command("bgp", "apply"), Command("bgp", "back"), "differs")
RELOAD = replace(APPLY, why="what runs is not its file")
STOP = Change(Command("bgp", "stop"), Command("bgp", "back"), "not wanted any more")


@dataclass(frozen=True, slots=True)
class Speaker:
    """What a node's FRR shall be.

    Attributes:
        conf: text of frr.conf with the placeholder in the password's place; empty: no FRR.
        plan: of the node.
    """

    conf: str
    plan: NodePlan


def with_frr(changes: ChangeSet, speaker: Speaker, have: State) -> ChangeSet:
    """The same changes with FRR's part of them."""
    if not speaker.conf:
        return _away(changes, speaker.plan, have)
    wanted = hashlib.sha256(speaker.conf.encode()).hexdigest()
    stale = have.frr_conf != wanted or RUNS not in have.frr
    old = _replaced(changes.remove, speaker.plan, have)
    strayed = not stale and bool(strays(speaker, have))
    if not stale and not strayed and not old:
        return changes
    add, switch = list(changes.add), list(changes.switch)
    if stale or strayed:
        add.append(APPLY if stale else RELOAD)
    if speaker.plan.learned:
        switch.append(Change(Command("bgp", "learned"), None, "before anything relies on it"))
    switch += [line for route in old for line in _swap(route, to=_yielding(route))]
    if old:
        switch.append(Change(Command("bgp", "installed"), None, "before podnet's own routes go"))
    gone = {str(command) for route in old for command in route.delete()}
    remove = [change for change in changes.remove if str(change.do) not in gone]
    remove = [*_deletions(map(_yielding, old)), *remove]
    return replace(changes, add=tuple(add), switch=tuple(switch), remove=tuple(remove))


def strays(speaker: Speaker, have: State) -> list[Line]:
    """Lines that somebody has changed in the running FRR. An answer without an end says nothing:
    vtysh waits for a daemon that is stopped."""
    if "end" not in have.frr_running.splitlines():
        return []
    return different(conf_of(have.frr_running), conf_of(speaker.conf))


def staged(speaker: Speaker, have: State) -> dict[str, str]:
    """What `podnet-node` needs beside the definitions: every prefix that must be learned, and those
    that would lose their route if they were not. The password is put in when the text is sent."""
    if not speaker.conf:
        return {}
    prefixes = [route.dst for route in speaker.plan.learned]
    own = {route.dst for route in have.routes}
    return {
        "files/learned": "".join(f"{dst}\n" for dst in prefixes),
        "files/relied": "".join(f"{dst}\n" for dst in prefixes if dst in own),
        PASSWORD: f"{SENT}\n",
    }


def with_password(fabric: Fabric, text: str, password: str) -> str:
    """The staged text as it is sent. Until then the password is in no file and no result.

    Raises:
        ValueError: the password is not the one that the plan was made with.
    """
    if SENT not in text:
        return text
    known = fabric.bgp_password
    if known and (not password or fingerprint(password) != known):
        raise ValueError(
            f"podnet_bgp_password: not the one of the plan. Expected the password with {known}, "
            f"found {'another one' if password else 'none'}; set it for every node, from the vault"
        )
    return text.replace(SENT, password)


def warnings(speaker: Speaker, have: State) -> Iterator[str]:
    """Routes that are not as the plan says, of an FRR that runs with the planned configuration."""
    wanted = hashlib.sha256(speaker.conf.encode()).hexdigest()
    if not speaker.conf or have.frr_conf != wanted or RUNS not in have.frr:
        return
    for route in speaker.plan.learned:
        hops = have.learned.get(route.dst, ())
        if not hops:
            yield f"{route.dst} of {route.peer} is not learned"
        elif not route.fits(hops):
            found = " and ".join(hops)
            yield f"{route.dst} of {route.peer} is learned via {found}, not via {route.via}"
    for dst, via in foreign(speaker.plan, have).items():
        yield f"{dst} is learned via {via}, and no node of the fleet has it"


def foreign(plan: NodePlan, have: State) -> dict[str, str]:
    """Destination → first next hop of what was learned and is no node's, sorted."""
    planned = {route.dst for route in plan.learned}
    return {dst: hops[0] for dst, hops in sorted(have.learned.items()) if dst not in planned}


def _away(changes: ChangeSet, plan: NodePlan, have: State) -> ChangeSet:
    """FRR goes, where there is one; podnet's own routes take over first."""
    if not have.frr_conf:
        return changes
    new = {str(r.add()[0]): r for r in plan.objects if isinstance(r, Route)}
    taken = [new[str(c.do)] for c in changes.add if str(c.do) in new]
    taken = [route for route in taken if route.dst in have.learned]
    moved = {str(route.add()[0]) for route in taken}
    add = [change for change in changes.add if str(change.do) not in moved]
    there = {route.key for route in have.routes}
    for route in taken:
        soft = _yielding(route)
        if soft.key in there:  # an earlier run ended with the phase add
            continue
        add.append(Change(soft.add()[0], soft.delete()[0], "beside the learned one"))
    switch = [line for route in taken for line in _swap(_yielding(route), to=route)]
    gone = {str(change.do) for change in switch}
    remove = [change for change in changes.remove if str(change.do) not in gone]
    return replace(
        changes,
        add=tuple(add),
        switch=(*changes.switch, *switch),
        remove=(STOP, *remove),
    )


def _yielding(route: Route) -> Route:
    return replace(route, metric=route.metric | YIELDING)


def _replaced(removals: Iterable[Change], plan: NodePlan, have: State) -> list[Route]:
    """Own routes that go because BGP has learned the same destination."""
    learned = {route.dst for route in plan.learned}
    going = {str(change.do) for change in removals}
    return [
        route
        for route in have.routes
        if route.dst in learned and not route.metric & YIELDING and str(route.delete()[0]) in going
    ]


def _swap(old: Route, to: Route) -> Iterator[Change]:
    """A route gets another metric: a second one beside it, and then the first one goes."""
    why = "learned ones come first" if to.metric & YIELDING else "before the learned ones"
    yield Change(to.add()[0], to.delete()[0], why)
    yield Change(old.delete()[0], old.add()[0], why)


def _deletions(routes: Iterable[Route]) -> Iterator[Change]:
    for route in routes:
        yield Change(route.delete()[0], route.add()[0], "learned now")
