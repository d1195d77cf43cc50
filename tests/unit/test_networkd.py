# SPDX-License-Identifier: GPL-3.0-or-later
"""systemd-networkd's files: they say what the batch files do, and are read when all is done."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
from ansible_collections.podnet.fabric.plugins.plugin_utils.changes import (
    PHASES,
    Change,
    ChangeSet,
    Wanted,
)
from ansible_collections.podnet.fabric.plugins.plugin_utils.differ import diff
from ansible_collections.podnet.fabric.plugins.plugin_utils.kernel.objects import (
    Address,
    Command,
    FdbEntry,
    KernelObject,
    Link,
    Neighbour,
    Route,
    Vxlan,
)
from ansible_collections.podnet.fabric.plugins.plugin_utils.kernel.state import State
from ansible_collections.podnet.fabric.plugins.plugin_utils.networkd import (
    NAMES,
    PATHS,
    TELL,
    networkd_files,
    with_told,
)
from ansible_collections.podnet.fabric.plugins.plugin_utils.plan import NodePlan, plan_node
from ansible_collections.podnet.fabric.plugins.plugin_utils.preflight import preflight
from observed import fabric_of

FLEETS = {
    "routed": {"sizes": (3,), "podnet_mode": "routed"},
    "vxlan": {"podnet_mode": "vxlan"},
    "auto": {},
    "ipv6 alone over IPv6": {"families": ("ipv6",), "podnet_vxlan_family": "ipv6"},
    "bridge of 1280": {"podnet_mtu": 1280},
}


def plan_of(kind: str = "auto") -> NodePlan:
    fabric = fabric_of(**FLEETS[kind], podnet_persistence="networkd")  # type: ignore[arg-type]
    return plan_node(fabric, fabric.nodes[0].name)


def sections(text: str) -> Iterator[tuple[str, dict[str, str]]]:
    """As systemd.syntax(7) has them; sections of one name stay apart."""
    for block in text.partition("\n")[2].strip().split("\n\n"):
        head, *lines = block.splitlines()
        pairs = [tuple(line.split("=", 1)) for line in lines]
        assert len(pairs) == len(dict(pairs)), block
        yield head.strip("[]"), dict(pairs)


def said(netdev: str, network: str) -> list[KernelObject]:
    """The kernel objects that two files of one device describe."""
    device = dict(sections(netdev))
    found: list[KernelObject] = []
    vxlan = None
    if device["NetDev"]["Kind"] == "vxlan":
        told = device["VXLAN"]
        assert told["Independent"] == told["UDPChecksum"] == "yes"
        port, learning = int(told["DestinationPort"]), told["MacLearning"] != "no"
        vxlan = Vxlan(int(told["VNI"]), port, told["Local"], learning)
    name, mac = device["NetDev"]["Name"], device["NetDev"]["MACAddress"]
    for section, pairs in sections(network):
        if section == "Match":
            assert pairs == {"Name": name}
        elif section == "Link":
            mtu = int(pairs["MTUBytes"])
            # Else a bridge would follow its ports; see `Link.add`.
            assert vxlan or int(device["NetDev"]["MTUBytes"]) != mtu
            found.append(Link(name, mac, mtu, vxlan))
        elif section == "Address":
            assert len(pairs) == 2
            found.append(Address(name, pairs["Address"]))
        elif section == "Neighbor":
            found.append(Neighbour(name, pairs["Address"], pairs["LinkLayerAddress"]))
        elif section == "BridgeFDB":
            found.append(FdbEntry(name, pairs["MACAddress"], pairs["Destination"]))
        elif section == "Route":
            assert pairs["Protocol"] == "112"
            onlink = pairs.get("GatewayOnLink") == "yes"
            values = (pairs["Gateway"], pairs["PreferredSource"], name, onlink)
            found.append(Route(pairs["Destination"], *values, int(pairs["Metric"])))
        else:
            assert section == "Network", section
    return found


@pytest.mark.parametrize("kind", FLEETS)
def test_files_say_what_the_plan_says_of_podnets_devices(kind: str) -> None:
    plan = plan_of(kind)
    files = networkd_files(plan)
    pairs = [pair for pair in NAMES.values() if pair[0] in files]
    found = [item for one, other in pairs for item in said(files[one], files[other])]
    names = {link.name for link in plan.links}
    assert len(files) == 2 * len(pairs)
    of_devices = (Link, Address, Neighbour, FdbEntry, Route)
    wanted = [
        item
        for item in plan.objects
        if isinstance(item, of_devices) and (isinstance(item, Link) or item.dev in names)
    ]
    assert len(found) == len(set(found)) and set(found) == set(wanted)
    assert len(pairs) == len(names)


def test_a_node_that_is_not_meant_has_none() -> None:
    plan = plan_of()
    assert networkd_files(replace(plan, node=replace(plan.node, persistence="unit"))) == {}


def test_a_node_without_networkd_is_refused() -> None:
    fabric = fabric_of(podnet_persistence="networkd")
    plan = plan_node(fabric, fabric.nodes[0].name)
    for daemons, expected in ((frozenset(), 1), (frozenset({"systemd-networkd"}), 0)):
        found = preflight(fabric, plan, State(daemons=daemons))
        assert len([p for p in found if p.where.endswith("podnet_persistence")]) == expected


def line(text: str, undo: str | None = "ip undo") -> Change:
    tool, _space, args = text.partition(" ")
    return Change(Command(tool, args), Command(*undo.split(" ", 1)) if undo else None, "test")


FILE = line(f"install generation/{NAMES['bridge'][0]} 0644 {PATHS[0]}", f"uninstall x {PATHS[0]}")
DROP = line(f"drop {PATHS[1]}", f"uninstall 0 {PATHS[1]}")
IP = line("ip link set dev cbr0 up")
LINKS = (Link("cbr0", "02:00:00:00:00:01", 1450),)


@pytest.mark.parametrize(
    ("changes", "links", "last"),
    [
        (ChangeSet(add=(FILE, IP)), (), "add"),
        (ChangeSet(add=(FILE,)), LINKS, "switch"),
        (ChangeSet(add=(FILE, IP), remove=(IP, IP)), LINKS, "remove"),
        (ChangeSet(add=(IP,), switch=(FILE, IP)), LINKS, "switch"),
        (ChangeSet(remove=(DROP,)), LINKS, "remove"),
        (ChangeSet(switch=(FILE,), remove=(DROP, IP)), LINKS, "remove"),
    ],
)
def test_networkd_reads_its_files_after_everything(
    changes: ChangeSet, links: tuple[Link, ...], last: str
) -> None:
    found = with_told(changes, State(links=links))
    order = [(phase, change) for phase in PHASES for change in found.phase(phase)]
    done = [change.do for _phase, change in order]
    files = [i for i, do in enumerate(done) if set(do.args.split()) & set(PATHS)]
    own = [i for i, do in enumerate(done) if do.tool == "ip"]
    assert done[-1] == TELL and done.count(TELL) == 1 and order[-1][0] == last
    assert files == list(range(len(done) - 1 - len(files), len(done) - 1))
    assert not own or max(own) < min(files)
    undone = [change.undo for _phase, change in reversed(order) if change.undo]
    assert undone[-1] == TELL and undone.count(TELL) == 1
    before = [do for name in PHASES for do in (c.do for c in changes.phase(name))]
    assert sorted(map(str, before)) == sorted(str(do) for do in done if do.tool not in "-reload")


def test_without_its_files_networkd_hears_nothing() -> None:
    changes = ChangeSet(add=(IP,), remove=(IP,))
    assert with_told(changes, State(links=LINKS)) == changes


@pytest.mark.parametrize("wanted", [True, False])
def test_what_networkd_made_is_marked_before_all_else(wanted: bool) -> None:
    """Whether it stays or goes: what takes it away takes the mark away, too."""
    unmarked = replace(LINKS[0], marked=False)
    want = Wanted(LINKS if wanted else (), {}, {}, "", {}, "")
    found = diff(want, State(links=(unmarked,)))
    mark = "link property add dev cbr0 altname podnet-cbr0"
    made = [c.do.args for c in (found.add if wanted else found.remove) if c.do.tool == "ip"]
    assert made[0] == mark
    assert wanted or made[-2:] == [mark.replace("add", "del"), "link del dev cbr0"]
    assert diff(want, State(links=LINKS)).add == ()
