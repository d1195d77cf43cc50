# SPDX-License-Identifier: GPL-3.0-or-later
"""want + have → changes in three phases. Pure."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator
from dataclasses import replace

from .changes import PHASES, PROGRAM, Change, ChangeSet, Wanted
from .foreign import needed_on_foreign_interfaces
from .kernel.objects import (
    ROUTE_METRIC,
    Address,
    Command,
    FdbEntry,
    KernelObject,
    Link,
    Neighbour,
    Route,
    Sysctl,
    device_settings,
    route_metric,
)
from .kernel.state import State

Steps = tuple[tuple[str, KernelObject], ...]


def diff(want: Wanted, have: State) -> ChangeSet:
    """The changes that make ``have`` into ``want``; empty when nothing differs."""
    phases: dict[str, list[Change]] = {name: [] for name in PHASES}
    # A device is guarded before it is there, and as long as it is.
    for phase, change in _nft(want, have):
        phases[phase].append(change)
    lost = _lost_links(want, have)
    present = _present(have, lost)
    leaving = {item.cidr.partition("/")[0] for item in _stale_addresses(want, have)}
    # Router advertisements are kept before forwarding is turned on, or the host would lose
    # the default route that it learned.
    for path, value in needed_on_foreign_interfaces(want.objects, have).items():
        phases["add"] += _sysctl(Sysctl(path, value), have.sysctls.get(path))
    making_room = _in_the_way(want, have)
    phases["add"] += _deleted(making_room, "its range comes to this node")
    narrow = _growing(want, have)
    for item in want.objects:
        if isinstance(item, Sysctl):
            # A device that is made anew in the second phase has its settings after that.
            late = any(f"/conf/{name}/" in item.path for name in lost)
            found = None if late else have.sysctls.get(item.path)
            phases["switch" if late else "add"] += _sysctl(item, found)
            continue
        there = present.get(item.key)
        steps = _steps(item, there, leaving, narrow)
        for phase, change in _object(item, there, have, lost, steps):
            phases[phase].append(change)
    phases["add"] += _ports(want, have)
    former = _former_routes(want, have)
    phases["switch"] += _uncovered(former, lost)
    for phase, change in _files(want, have):
        phases[phase].append(change)
    gone = (*former, *making_room)
    phases["remove"][:0] = _removals(want, have, lost, gone)
    folder = {
        path.rpartition("/")[2]: sha
        for path, sha in have.files.items()
        if path.startswith("/etc/podnet/current/")
    }
    return ChangeSet(
        add=tuple(phases["add"]),
        switch=tuple(phases["switch"]),
        remove=tuple(phases["remove"]),
        stale_generation=folder != dict(want.generation_sha256),
        stale_program=have.files.get(PROGRAM) != want.program_sha256,
        warnings=tuple(_warnings(have)),
    )


def _lost_links(want: Wanted, have: State) -> frozenset[str]:
    """Own devices that must be made anew, because the kernel cannot change what is wrong; all
    that hangs on them goes with them."""
    wanted = {item.name: item for item in want.objects if isinstance(item, Link)}
    return frozenset(
        link.name
        for link in have.links
        if (new := wanted.get(link.name)) and not _changeable(link, new)
    )


def _changeable(old: Link, new: Link) -> bool:
    if old.vxlan is None or new.vxlan is None:
        return old.vxlan == new.vxlan
    same_family = (":" in old.vxlan.local) == (":" in new.vxlan.local)
    fixed = replace(old.vxlan, local="", learning=False)
    return same_family and fixed == replace(new.vxlan, local="", learning=False)


def _present(have: State, lost: frozenset[str]) -> dict[tuple[str, ...], KernelObject]:
    groups: tuple[Iterable[KernelObject], ...] = (
        (item for item in have.links if item.name not in lost),
        (item for item in have.addresses if item.dev not in lost),
        (item for item in have.neighbours if item.dev not in lost),
        (item for item in have.fdb if item.dev not in lost),
        (item for item in have.routes if item.dev not in lost),
    )
    return {item.key: item for group in groups for item in group}


def _object(
    want: KernelObject,
    have: KernelObject | None,
    state: State,
    lost: frozenset[str],
    steps: Steps,
) -> Iterator[tuple[str, Change]]:
    """Changes for one kernel object other than a setting."""
    if isinstance(want, Sysctl) or _same(want, have):
        return
    if isinstance(want, Link):
        yield from _link(want, have if isinstance(have, Link) else None, state, lost)
    elif have is None:
        late = steps[0][0] == "remove"
        phase = "remove" if late else "switch" if want.dev in lost else "add"
        for do, undo in zip(want.add(), want.delete(), strict=True):
            yield phase, Change(do, undo, "missing")
    else:
        for phase, now in steps:
            if not _same(now, have):
                for do, undo in zip(now.add(), have.add(), strict=True):
                    yield phase, Change(do, undo, f"was: {undo.args}")
            have = now


def _steps(
    want: KernelObject, have: KernelObject | None, leaving: Container[str], narrow: int
) -> Steps:
    """What becomes of an object that is there, by phase.

    A route whose next hop is an address of this node until the end, as that of a range that goes
    from it to a peer, comes late: the kernel takes it no sooner, and no pod has an address of the
    range meanwhile. And no direct route lets more through than before until every peer's bridge
    takes it. Where the phases are runs of their own, only the route shows that this is still to do.
    """
    if not isinstance(want, Route):
        return (("switch", want),)
    if want.via in leaving:
        return (("remove", want),)
    if want.dev is None and ":" in want.dst:
        if isinstance(have, Route) and have.mtu and _same(replace(want, mtu=have.mtu), have):
            narrow = have.mtu
        if narrow and not 0 < want.mtu <= narrow:
            return ("switch", replace(want, mtu=narrow)), ("remove", want)
    return (("switch", want),)


def _growing(want: Wanted, have: State) -> int:
    """The MTU of the bridge where it shall be larger, else 0."""
    old = {link.name: link.mtu for link in have.links if link.vxlan is None}
    bridges = (item for item in want.objects if isinstance(item, Link) and item.vxlan is None)
    return next((old[b.name] for b in bridges if old.get(b.name, b.mtu) < b.mtu), 0)


def _same(want: KernelObject, have: KernelObject | None) -> bool:
    if isinstance(want, Route) and isinstance(have, Route) and want.dev is None:
        # The kernel chose the interface by the next hop; the plan does not name one.
        one, two = ((r.via, r.src, r.mtu) for r in (want, have))
        return one == two and not have.onlink
    return want == have


def _link(
    want: Link, have: Link | None, state: State, lost: frozenset[str]
) -> Iterator[tuple[str, Change]]:
    if have is None:
        phase = "add"
        if want.name in lost:
            phase = "switch"
            for old in state.links:
                if old.name == want.name:
                    for change in _delete_link(old, "cannot be changed in place"):
                        yield phase, change
        undo = want.delete()
        for do, back in zip(want.add(), (undo[3], undo[2], None, undo[0]), strict=True):
            yield phase, Change(do, back, "missing")
        return
    if not have.marked:
        _made, mark, _set, _up = want.add()
        yield "add", Change(mark, None, "made by networkd")
    if not have.up:
        # Before all that needs it; what is down is not in use, so this alters nothing.
        undo_up = Command("ip", f"link set dev {want.name} down")
        yield "add", Change(Command("ip", f"link set dev {want.name} up"), undo_up, "was down")
    for attribute, new, was in (
        ("address", want.mac, have.mac),
        ("mtu", str(want.mtu), str(have.mtu)),
    ):
        if new != was:
            do = Command("ip", f"link set dev {want.name} {attribute} {new}")
            undo_one = Command("ip", f"link set dev {want.name} {attribute} {was}")
            yield "switch", Change(do, undo_one, f"{attribute} was {was}")
    if want.vxlan and have.vxlan and want.vxlan != have.vxlan:
        yield (
            "switch",
            Change(_relocate(want), _relocate(have), f"was {have.vxlan}"),
        )


def _ports(want: Wanted, have: State) -> Iterator[Change]:
    """Pods' ends that came off a bridge: it was deleted, or they were taken off. Nothing takes that
    back, because off the bridge they are cut off."""
    bridges = [item.name for item in want.objects if isinstance(item, Link) and not item.vxlan]
    for port, others in sorted(have.loose.items()):
        for bridge in others.intersection(bridges):
            yield Change(Command("port", f"{port} dev {bridge}"), None, "on no bridge")


def _relocate(link: Link) -> Command:
    if link.vxlan is None:
        raise AssertionError(f"{link.name} is no VXLAN device")
    learning = "learning" if link.vxlan.learning else "nolearning"
    kind = f"type vxlan id {link.vxlan.vni} local {link.vxlan.local} {learning}"
    return Command("ip", f"link set dev {link.name} {kind}")


def _delete_link(link: Link, why: str) -> Iterator[Change]:
    """Take a link down and away so that each line has its counterpart in `Link.add`. The
    kernel forgets a device's settings with it: they are nothing to do and something to undo."""
    for setting in device_settings(link.name, ipv4=True, ipv6=True):
        yield Change(Command("-", ""), setting.add()[0], why)
    if not link.marked:
        yield Change(link.add()[1], None, why)  # the mark that the lines below take away
    made = link.add()
    backs: tuple[Command | None, ...] = (made[3], made[2], made[1], made[0])
    for do, undo in zip(link.delete(), backs, strict=True):
        yield Change(do, undo, why)


def _sysctl(want: Sysctl, have: str | None) -> Iterator[Change]:
    """At most one change. A setting that cannot be read belongs to a device that is not there
    yet; the kernel removes it with the device, so nothing has to take it back."""
    if want.value != have:
        undo = Command("sysctl", f"{want.path}={have}") if have is not None else None
        why = f"was {have}" if have is not None else "new device"
        yield Change(want.add()[0], undo, why)


def _nft(want: Wanted, have: State) -> Iterator[tuple[str, Change]]:
    if not want.nft_sha256:
        if have.nft_present:
            undo = Command("unnft", "dropped")
            yield "remove", Change(Command("dropnft", "dropped"), undo, "not wanted")
        return
    for name, elements in want.nft_more.items():
        args = f"{name} {','.join(elements)}"
        do, undo = Command("element", f"add {args}"), Command("element", f"delete {args}")
        yield "add", Change(do, undo, "missing")
    phase, why = ("switch", "differs") if have.nft_present else ("add", "missing")
    if want.nft_wide_sha256:
        if have.nft_loaded != want.nft_wide_sha256:
            yield phase, Change(Command("nft", "wide.nft"), Command("unnft", "wide.nft"), why)
        phase, why = "remove", "narrower"
    if want.nft_wide_sha256 or want.nft_surplus or have.nft_loaded != want.nft_sha256:
        yield phase, Change(Command("nft", "podnet.nft"), Command("unnft", "podnet.nft"), why)


def _files(want: Wanted, have: State) -> Iterator[tuple[str, Change]]:
    for path, (name, sha, mode) in want.files.items():
        if have.files.get(path) != sha:
            phase, why = ("switch", "differs") if path in have.files else ("add", "missing")
            do = Command("install", f"{name} {mode} {path}")
            yield phase, Change(do, Command("uninstall", f"{name} {path}"), why)
    for path, target in want.symlinks.items():
        old = have.links_to.get(path)
        if old != target:
            undo = Command("symlink", f"{old} {path}") if old else Command("unlink", path)
            phase, why = ("switch", f"was {old}") if old else ("add", "missing")
            yield phase, Change(Command("symlink", f"{target} {path}"), undo, why)


def _former_routes(want: Wanted, have: State) -> tuple[Route, ...]:
    """Own routes to wanted destinations with the metric that all had before ADR 0007."""
    wanted = {item.dst: item for item in want.objects if isinstance(item, Route)}
    old = (item for item in have.routes if item.metric == ROUTE_METRIC and item.dst in wanted)
    return tuple(item for item in old if item.key != wanted[item.dst].key)


def _in_the_way(want: Wanted, have: State) -> tuple[Route, ...]:
    """Routes to a range that goes from a peer to this node: their next hop becomes its own address.
    They go before that, or nothing could put them back while it is there."""
    coming = {item.cidr.partition("/")[0] for item in _addresses(want) - set(have.addresses)}
    there = [item for item in have.routes if item.via in coming]
    wanted = {item.key for item in want.objects} if there else ()
    return tuple(item for item in there if item.key not in wanted)


def _uncovered(former: tuple[Route, ...], lost: frozenset[str]) -> Iterator[Change]:
    """Such a route hides the wanted one, which is beside it since the phase add: that it goes is
    the switch, in which no packet is without a route."""
    left = (route for route in former if route.dev not in lost)
    return _deleted(left, "has the metric of an earlier release")


def _deleted(items: Iterable[KernelObject], why: str) -> Iterator[Change]:
    for item in items:
        for do, undo in zip(item.delete(), item.add(), strict=True):
            yield Change(do, undo, why)


def _removals(
    want: Wanted, have: State, lost: frozenset[str], gone: tuple[Route, ...]
) -> list[Change]:
    """Owned - wanted, without routes that have ``gone`` in an earlier phase. Everything in
    have.routes, neighbours, fdb and links is owned."""
    wanted = {item.key for item in want.objects}
    exact = set(want.objects)
    stale: list[Route | FdbEntry | Neighbour | Address] = []
    wanted |= {item.key for item in gone}
    stale += [item for item in have.routes if item.key not in wanted]
    stale += [item for item in have.fdb if item.key not in wanted]
    stale += _surplus_fdb(have, exact)
    stale += [item for item in have.neighbours if item.key not in wanted]
    stale += _stale_addresses(want, have)
    left = (item for item in stale if isinstance(item, Route) or item.dev not in lost)
    removed = list(_deleted(left, "not wanted any more"))
    for link in have.links:
        if link.key not in wanted:
            removed += _delete_link(link, "not wanted any more")
    return [*removed, *_stale_files(want, have)]


def _stale_addresses(want: Wanted, have: State) -> list[Address]:
    """Owned are those that a generation recorded."""
    wanted, recorded = _addresses(want), frozenset(have.recorded_addresses)
    return [item for item in have.addresses if item not in wanted and item.cidr in recorded]


def _addresses(want: Wanted) -> frozenset[Address]:
    return frozenset(item for item in want.objects if isinstance(item, Address))


def _stale_files(want: Wanted, have: State) -> Iterator[Change]:
    """A link goes before the file that it names. Every link that was read is podnet's own."""
    why = "not wanted any more"
    for path, target in sorted(have.links_to.items()):
        if path not in want.symlinks:
            yield Change(Command("unlink", path), Command("symlink", f"{target} {path}"), why)
    for path in sorted(want.owned & set(have.files) - set(want.files)):
        yield Change(Command("drop", path), Command("uninstall", f"0 {path}"), why)


def _surplus_fdb(have: State, exact: set[KernelObject]) -> list[FdbEntry]:
    """Second destinations that somebody appended to a wanted MAC: packets would be doubled."""
    count: dict[tuple[str, ...], int] = {}
    for item in have.fdb:
        count[item.key] = count.get(item.key, 0) + 1
    wanted = {item.key for item in exact}
    return [i for i in have.fdb if count[i.key] > 1 and i.key in wanted and i not in exact]


def _warnings(have: State) -> Iterator[str]:
    for address, ports in sorted(have.contested.items()):
        yield (
            f"the pods at the ports {' and '.join(ports)} of the bridge both use {address}; "
            "one of them is not its own: stop it"
        )
    for route in have.foreign_routes:
        if route.metric < route_metric(route.dst):
            yield (
                f"the route {route.text} is not podnet's and comes before podnet's own; "
                "when verification passes, remove it"
            )
