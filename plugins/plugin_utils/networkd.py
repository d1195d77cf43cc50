# SPDX-License-Identifier: GPL-3.0-or-later
"""NodePlan → systemd-networkd's files for the same devices (systemd.netdev(5), .network(5)). Pure.

Two files per device, for a node whose `podnet_persistence` is ``networkd``: with them networkd
makes the devices at boot and keeps what belongs to them. Their names come before the file of
`coexist.py` that leaves podnet's interfaces unmanaged, and networkd takes the first that matches.

What no file can say stays with `podnet-node restore`: altnames, settings, the nftables table, and
direct routes, which belong to an interface that is not podnet's (ADR 0005).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from .changes import PHASES, Change, ChangeSet
from .intent.model import family_of
from .kernel.objects import (
    ROUTE_PROTOCOL,
    Address,
    Command,
    FdbEntry,
    Link,
    Neighbour,
    Route,
)
from .kernel.state import State
from .plan import NodePlan

FOLDER = "/etc/systemd/network"
# Role → its files.
NAMES: Mapping[str, tuple[str, str]] = {
    role: (f"05-podnet-{role}.netdev", f"05-podnet-{role}.network") for role in ("bridge", "vxlan")
}
PATHS = tuple(f"{FOLDER}/{name}" for names in NAMES.values() for name in names)
TELL = Command("reload", "systemd-networkd")
NOTHING = Command("-", "")

# A section: its name, and its settings in order.
Section = tuple[str, Sequence[tuple[str, object]]]


def networkd_files(plan: NodePlan) -> dict[str, str]:
    """File name → content; none for a node that is not meant."""
    if plan.node.persistence != "networkd":
        return {}
    found = {}
    for link in plan.links:
        netdev, network = NAMES["vxlan" if link.vxlan else "bridge"]
        found[netdev] = _text(_netdev(link))
        found[network] = _text(_network(link, plan))
    return found


def with_told(changes: ChangeSet, have: State) -> ChangeSet:
    """The same changes with networkd's files at the very end, and networkd told.

    networkd takes over what is there, and removes what it made before and its files do not say any
    more: so it must not read them before all of the node's own changes are done, nor, on the way
    back, before all are undone. What it then finds is exactly what the files say.
    """
    found = {name: changes.phase(name) for name in PHASES}
    ours = {name: [c for c in lines if _is_ours(c)] for name, lines in found.items()}
    if not any(ours.values()):
        return changes
    phases = {name: [c for c in lines if not _is_ours(c)] for name, lines in found.items()}
    used = [name for name in PHASES if phases[name] or ours[name]]
    # Live devices change hands: no packet is lost, but the run has to be confirmed.
    last = used[-1] if used[-1] != "add" or not have.links else "switch"
    first = next((name for name in PHASES if phases[name]), last)
    why = "files change"
    phases[first].insert(0, Change(NOTHING, TELL, why))
    phases[last] += [*(c for name in PHASES for c in ours[name]), Change(TELL, None, why)]
    add, switch, remove = (tuple(phases[name]) for name in PHASES)
    return replace(changes, add=add, switch=switch, remove=remove)


def _is_ours(change: Change) -> bool:
    return any(word in PATHS for word in change.do.args.split())


def _text(sections: Iterable[Section]) -> str:
    blocks = [
        "\n".join([f"[{name}]", *(f"{key}={value}" for key, value in settings), ""])
        for name, settings in sections
    ]
    return "\n".join(["# podnet's: written by converge, gone at reset.", *blocks])


def _netdev(link: Link) -> Iterator[Section]:
    kind = "vxlan" if link.vxlan else "bridge"
    settings: list[tuple[str, object]] = [("Name", link.name), ("Kind", kind)]
    # As in `Link.add`: only a change of the MTU, which the .network file makes, keeps a bridge from
    # following its ports.
    first = link.mtu if link.vxlan else 1280 if link.mtu != 1280 else 1281
    yield "NetDev", [*settings, ("MTUBytes", first), ("MACAddress", link.mac)]
    if link.vxlan:
        yield (
            "VXLAN",
            [
                ("VNI", link.vxlan.vni),
                ("Local", link.vxlan.local),
                ("DestinationPort", link.vxlan.port),
                ("MacLearning", "no"),
                # The kernel's and ip's default; networkd's own is no.
                ("UDPChecksum", "yes"),
                # Of any underlay interface: the address is what counts.
                ("Independent", "yes"),
            ],
        )


def _network(link: Link, plan: NodePlan) -> Iterator[Section]:
    objects = [item for _peer, _names, items in plan.entries for item in items]
    yield "Match", [("Name", link.name)]
    # An altname belongs to udev's .link files, which not every node has: `podnet-node restore`
    # gives the device its mark.
    yield "Link", [("MTUBytes", link.mtu), ("RequiredForOnline", "no")]
    yield (
        "Network",
        [
            ("LinkLocalAddressing", "no"),
            ("IPv6AcceptRA", "no"),
            ("IPv6PrivacyExtensions", "kernel"),
            # A bridge without pods has no carrier.
            ("ConfigureWithoutCarrier", "yes"),
            # What is there when networkd starts or reads its files again stays: a change adds
            # before it removes, and removing is converge's.
            ("KeepConfiguration", "static"),
        ],
    )
    yield from (_address(item) for item in plan.addresses if item.dev == link.name)
    # Sorted by kind, as networkd works on them.
    for kind in (Neighbour, FdbEntry, Route):
        yield from (
            _entry(item) for item in objects if isinstance(item, kind) and item.dev == link.name
        )


def _address(item: Address) -> Section:
    settings: list[tuple[str, object]] = [("Address", item.cidr)]
    if family_of(item.cidr) == "ipv4":
        settings.append(("Broadcast", "no"))
    else:
        settings.append(("DuplicateAddressDetection", "none"))
    return "Address", settings


def _entry(item: Neighbour | FdbEntry | Route) -> Section:
    if isinstance(item, Neighbour):
        return "Neighbor", [("Address", item.address), ("LinkLayerAddress", item.mac)]
    if isinstance(item, FdbEntry):
        return "BridgeFDB", [("MACAddress", item.mac), ("Destination", item.dst)]
    settings = [
        ("Destination", item.dst),
        ("Gateway", item.via),
        ("GatewayOnLink", "yes" if item.onlink else ""),
        ("PreferredSource", item.src),
        ("Protocol", ROUTE_PROTOCOL),
        ("Metric", item.metric),
    ]
    return "Route", [(key, value) for key, value in settings if value]
