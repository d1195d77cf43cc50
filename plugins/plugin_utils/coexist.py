# SPDX-License-Identifier: GPL-3.0-or-later
"""Drop-ins for daemons that would otherwise undo what podnet does. Pure.

A daemon that a node runs or starts at boot gets one small file of its own drop-in folder, before
podnet makes anything that the daemon would take for its own. The files are podnet's: they go when
the daemon goes, when `podnet_coexist` is off, and at reset. Nothing of the daemon's own is changed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from .changes import PROGRAM, Change, ChangeSet
from .intent.model import Fabric
from .kernel.objects import Command
from .kernel.state import State

HEADER = "# podnet's: it goes at reset, and with podnet_coexist: never.\n"
NOTHING = Command("-", "")
# The CNI bridge plugin names the node's end of a pod's pair so.
VETH = "veth????????"


@dataclass(frozen=True, slots=True)
class DropIn:
    """One file for one daemon.

    Attributes:
        daemon: its unit without `.service`, as the read script names it.
        text: the content for a fleet.
        tell: what makes a running daemon read it.
    """

    daemon: str
    path: str
    text: Callable[[Fabric], str]
    tell: Command


def devices(fabric: Fabric) -> tuple[str, ...]:
    """Names, with wildcards, of the interfaces that podnet and its pods have on a node. Any VXLAN
    device of podnet's is meant: a change of VNI has two for a while."""
    return (fabric.bridge, "pn[0-9]*", VETH)


def _networkd(fabric: Fabric) -> str:
    # systemd.network(5): an interface that no file names unmanaged is taken by the first file
    # that matches, such as one with Name=*.
    return f"{HEADER}[Match]\nName={' '.join(devices(fabric))}\n\n[Link]\nUnmanaged=yes\n"


def _networkd_routes(fabric: Fabric) -> str:
    # networkd.conf(5): else routes and rules that others made go when networkd starts.
    return f"{HEADER}[Network]\nManageForeignRoutes=no\nManageForeignRoutingPolicyRules=no\n"


def _network_manager(fabric: Fabric) -> str:
    # NetworkManager.conf(5), section device. Its patterns know * and ? only.
    names = ",".join(f"interface-name:{name.replace('[0-9]', '?')}" for name in devices(fabric))
    return f"{HEADER}[device-podnet]\nmatch-device={names}\nmanaged=0\n"


def _nftables(fabric: Fabric) -> str:
    # Debian's unit flushes every table, podnet's too, when it stops, restarts or reloads.
    heal = f"-{PROGRAM} heal"
    return f"{HEADER}[Service]\nExecStartPost={heal}\nExecReload={heal}\n"


DROP_INS = (
    DropIn(
        "systemd-networkd",
        "/etc/systemd/network/05-podnet.network",
        _networkd,
        Command("reload", "systemd-networkd"),
    ),
    DropIn(
        "systemd-networkd",
        "/etc/systemd/networkd.conf.d/50-podnet.conf",
        _networkd_routes,
        Command("reload", "systemd-networkd"),
    ),
    DropIn(
        "NetworkManager",
        "/etc/NetworkManager/conf.d/50-podnet.conf",
        _network_manager,
        Command("reload", "NetworkManager"),
    ),
    DropIn(
        "nftables",
        "/etc/systemd/system/nftables.service.d/50-podnet.conf",
        _nftables,
        Command("systemctl", "daemon-reload"),
    ),
)
PATHS = tuple(item.path for item in DROP_INS)
DAEMONS = tuple(dict.fromkeys(item.daemon for item in DROP_INS))


def drop_ins(fabric: Fabric, have: State) -> dict[str, tuple[str, str, str]]:
    """Absolute path → (name in the transaction's folder, content, mode)."""
    if fabric.coexist != "auto":
        return {}
    return {
        item.path: (f"files/coexist-{number}", item.text(fabric), "0644")
        for number, item in enumerate(DROP_INS)
        if item.daemon in have.daemons
    }


def with_told(changes: ChangeSet) -> ChangeSet:
    """The same changes with the drop-ins where they belong, and their daemons told: before
    anything is made, and after everything is gone."""
    return replace(
        changes,
        add=tuple(_told(changes.add, first=True)),
        switch=tuple(_told(changes.switch, first=True)),
        remove=tuple(_told(changes.remove, first=False)),
    )


def _told(lines: Sequence[Change], first: bool) -> Iterator[Change]:
    ours = [change for change in lines if _paths(change)]
    others = [change for change in lines if not _paths(change)]
    if not first:
        yield from others
    tells = dict.fromkeys(item.tell for item in DROP_INS for c in ours if item.path in _paths(c))
    why = "drop-ins change"
    # An undo goes backwards: the daemon is told when its file is as it was.
    yield from (Change(NOTHING, tell, why) for tell in tells)
    yield from ours
    yield from (Change(tell, None, why) for tell in tells)
    if first:
        yield from others


def _paths(change: Change) -> set[str]:
    return set(change.do.args.split()) & set(PATHS)
