# SPDX-License-Identifier: GPL-3.0-or-later
"""Drop-ins for daemons that would otherwise undo what podnet does. Pure.

A daemon that a node runs or starts at boot gets one small file of its own drop-in folder, before
podnet makes anything that the daemon would take for its own. The files are podnet's: they go when
the daemon goes, when `podnet_coexist` is off, and at reset. Nothing of the daemon's own is changed.

A packet must pass every base chain of its hook, so podnet's own table cannot let through what a
host's firewall drops. Where one is recognised that may (Docker, ufw, firewalld), it is told in its
own words which packets are the pods'; everything else is left to it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from .changes import PROGRAM, Change, ChangeSet
from .intent.model import Fabric, Family, family_of
from .kernel.objects import Command
from .kernel.state import State
from .plan import NodePlan, pod_ranges

HEADER = "# podnet's: it goes at reset, and with podnet_coexist: never.\n"
NOTHING = Command("-", "")
# The CNI bridge plugin names the node's end of a pod's pair so.
VETH = "veth????????"


@dataclass(frozen=True, slots=True)
class DropIn:
    """One file for daemons of one kind.

    Attributes:
        daemons: as the read script names them; one of them is enough.
        text: the content for a node; without content there is no file.
        tell: what makes it count at once.
    """

    daemons: tuple[str, ...]
    path: str
    text: Callable[[Fabric, NodePlan], str]
    tell: Command


def devices(fabric: Fabric) -> tuple[str, ...]:
    """Names, with wildcards, of the interfaces that podnet and its pods have on a node. Any VXLAN
    device of podnet's is meant: a change of VNI has two for a while."""
    return (fabric.bridge, "pn[0-9]*", VETH)


def _networkd(fabric: Fabric, plan: NodePlan) -> str:
    # systemd.network(5): an interface that no file names unmanaged is taken by the first file
    # that matches, such as one with Name=*.
    return f"{HEADER}[Match]\nName={' '.join(devices(fabric))}\n\n[Link]\nUnmanaged=yes\n"


def _networkd_routes(fabric: Fabric, plan: NodePlan) -> str:
    # networkd.conf(5): else routes and rules that others made go when networkd starts.
    return f"{HEADER}[Network]\nManageForeignRoutes=no\nManageForeignRoutingPolicyRules=no\n"


def _network_manager(fabric: Fabric, plan: NodePlan) -> str:
    # NetworkManager.conf(5), section device. Its patterns know * and ? only.
    names = ",".join(f"interface-name:{name.replace('[0-9]', '?')}" for name in devices(fabric))
    return f"{HEADER}[device-podnet]\nmatch-device={names}\nmanaged=0\n"


def _heal_after(fabric: Fabric, plan: NodePlan) -> str:
    # Two of these units flush every table, podnet's too, when they stop, restart or reload. The
    # third is ifupdown's: a restart takes the underlay down, and with it every route over it.
    heal = f"-{PROGRAM} heal"
    return f"{HEADER}[Service]\nExecStartPost={heal}\nExecReload={heal}\n"


def _overlay_port(fabric: Fabric, plan: NodePlan, family: Family) -> int | None:
    """The port on which the node takes encapsulated packets in a family."""
    local = [link.vxlan.local for link in plan.links if link.vxlan]
    return fabric.vxlan_port if any(family_of(address) == family for address in local) else None


def _iptables(family: Family) -> Callable[[Fabric, NodePlan], str]:
    """What `iptables-restore --noflush` takes: podnet's own two chains and nothing else. Docker
    and ufw set the policy of FORWARD or INPUT to DROP, and leave chains of others alone."""

    def text(fabric: Fabric, plan: NodePlan) -> str:
        ranges = pod_ranges(fabric, plan, family)
        rules = [f"FORWARD -s {a} -d {b}" for a in ranges for b in ranges]
        rules += [f"FORWARD -s {cidr} -i {fabric.bridge}" for cidr in ranges]
        answers = "-m conntrack --ctstate RELATED,ESTABLISHED"
        rules += [f"FORWARD -d {cidr} -o {fabric.bridge} {answers}" for cidr in ranges]
        if port := _overlay_port(fabric, plan, family):
            rules.append(f"INPUT -p udp -m udp --dport {port}")
        if not rules:
            return ""
        lines = [f"-A PODNET-{rule} -j ACCEPT" for rule in rules]
        chains = ("*filter", ":PODNET-FORWARD - [0:0]", ":PODNET-INPUT - [0:0]")
        return HEADER + "\n".join([*chains, *lines, "COMMIT", ""])

    return text


def _firewalld_zone(fabric: Fabric, plan: NodePlan) -> str:
    # firewalld.zone(5). A name for where pods are, to say the rest with. Whether they may reach the
    # node itself is said by policies of the host's own; the zone accepts ICMP alone.
    return _firewalld("zone", "", [f'<interface name="{fabric.bridge}"/>', "<forward/>"])


def _firewalld_from_pods(fabric: Fabric, plan: NodePlan) -> str:
    # firewalld.policies(5). Answers from outside are accepted by firewalld itself.
    return _policy("podnet", "ANY", _from_pods(fabric, plan))


def _firewalld_to_pods(fabric: Fabric, plan: NodePlan) -> str:
    # Not ANY to ANY: version 2 does not ask such a policy between two interfaces without a zone.
    return _policy("ANY", "podnet", _from_pods(fabric, plan))


def _firewalld_overlay(fabric: Fabric, plan: NodePlan) -> str:
    families: tuple[Family, ...] = ("ipv4", "ipv6")
    ports = {_overlay_port(fabric, plan, family) for family in families} - {None}
    return _policy("ANY", "HOST", [f'<port port="{port}" protocol="udp"/>' for port in ports])


def _from_pods(fabric: Fabric, plan: NodePlan) -> list[str]:
    return [
        f'<rule family="{family}"><source address="{cidr}"/><accept/></rule>'
        for family in fabric.families
        for cidr in pod_ranges(fabric, plan, family)
    ]


def _policy(ingress: str, egress: str, rules: Sequence[str]) -> str:
    if not rules:
        return ""
    zones = (f'<ingress-zone name="{ingress}"/>', f'<egress-zone name="{egress}"/>')
    return _firewalld("policy", ' target="CONTINUE"', [*zones, *rules])


def _firewalld(kind: str, attributes: str, elements: Sequence[str]) -> str:
    comment = HEADER.removeprefix("# ").strip()
    lines = [
        '<?xml version="1.0" encoding="utf-8"?>',
        f"<!-- {comment} -->",
        f"<{kind}{attributes}>",
        *(f"  {element}" for element in elements),
        f"</{kind}>",
    ]
    return "\n".join([*lines, ""])


def _of_networkd(path: str, text: Callable[[Fabric, NodePlan], str]) -> DropIn:
    return DropIn(
        ("systemd-networkd",), f"/etc/systemd/{path}", text, Command("reload", "systemd-networkd")
    )


def _of_unit(unit: str) -> DropIn:
    path = f"/etc/systemd/system/{unit}.service.d/50-podnet.conf"
    return DropIn((unit,), path, _heal_after, Command("systemctl", "daemon-reload"))


def _of_iptables(family: Family) -> DropIn:
    path = f"/etc/podnet/accept.{family}"
    return DropIn(("docker", "ufw"), path, _iptables(family), Command("accept", family))


def _of_firewalld(name: str, text: Callable[[Fabric, NodePlan], str]) -> DropIn:
    path = f"/etc/firewalld/{name}.xml"
    return DropIn(("firewalld",), path, text, Command("reload", "firewalld"))


DROP_INS = (
    _of_networkd("network/05-podnet.network", _networkd),
    _of_networkd("networkd.conf.d/50-podnet.conf", _networkd_routes),
    DropIn(
        ("NetworkManager",),
        "/etc/NetworkManager/conf.d/50-podnet.conf",
        _network_manager,
        Command("reload", "NetworkManager"),
    ),
    _of_unit("nftables"),
    _of_unit("netfilter-persistent"),
    _of_unit("networking"),
    _of_iptables("ipv4"),
    _of_iptables("ipv6"),
    _of_firewalld("zones/podnet", _firewalld_zone),
    _of_firewalld("policies/podnet-from-pods", _firewalld_from_pods),
    _of_firewalld("policies/podnet-to-pods", _firewalld_to_pods),
    _of_firewalld("policies/podnet-overlay", _firewalld_overlay),
)
PATHS = tuple(item.path for item in DROP_INS)
DAEMONS = tuple(dict.fromkeys(daemon for item in DROP_INS for daemon in item.daemons))


def drop_ins(fabric: Fabric, plan: NodePlan, have: State) -> dict[str, tuple[str, str, str]]:
    """Absolute path → (name in the transaction's folder, content, mode)."""
    if fabric.coexist != "auto":
        return {}
    return {
        item.path: (f"files/coexist-{number}", text, "0644")
        for number, item in enumerate(DROP_INS)
        if have.daemons.intersection(item.daemons) and (text := item.text(fabric, plan))
    }


def with_told(changes: ChangeSet, have: State) -> ChangeSet:
    """The same changes with the drop-ins where they belong, and their daemons told: before
    anything is made or altered, and after everything is gone."""
    early = [change for change in changes.switch if _paths(change)]
    lost = [
        Change(item.tell, None, "what it says is not there")
        for item in DROP_INS
        if item.path in have.ineffective
    ]
    return replace(
        changes,
        add=(*lost, *_told([*early, *changes.add], first=True)),
        switch=tuple(change for change in changes.switch if not _paths(change)),
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
