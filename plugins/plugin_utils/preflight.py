# SPDX-License-Identifier: GPL-3.0-or-later
"""Plan against live node, before anything is changed: what would keep the plan from working.

Kept apart from the checks of the inventory: those need no node, these need the node's state.
"""

from __future__ import annotations

from collections.abc import Iterator

from .backends import learns
from .bootstrap import by_hand
from .conflist import plugins_of
from .intent.model import Fabric
from .intent.problems import Problem, few
from .intent.schema import RUNTIME_FOLDERS
from .kernel.objects import route_metric
from .kernel.state import State
from .plan import NodePlan

PLUGINS_MISSING = "CNI plugins are missing"
# After podnet has tried: a package manager does nothing where its package is there.
PLUGINS_STILL_MISSING = (
    "what was installed has not brought them there: reinstall the package, or take an archive that "
    "has them; or set podnet_cni_bin_dir to their folder"
)


def preflight(fabric: Fabric, plan: NodePlan, have: State) -> list[Problem]:
    """Everything on one node that must be mended first."""
    return [
        *_tools(plan.node.name, have),
        *_other_run(plan.node.name, have),
        *_underlay(plan, have),
        *_names(plan, have),
        *_renamed(plan, have),
        *_routes(plan, have),
        *_frr(fabric, plan, have),
        *_cni(fabric, plan, have),
        *_networkd(plan, have),
    ]


def preflight_nothing(name: str, have: State) -> list[Problem]:
    """The same for a node that shall have nothing of podnet any more."""
    return [*_tools(name, have), *_other_run(name, have)]


def live_pods(name: str, have: State) -> list[Problem]:
    """Pods that would lose their network."""
    pods = [f"{address} ({pod[:13]})" for address, pod in have.reservations if address in have.live]
    if not pods:
        return []
    return [
        Problem(
            name,
            "pods of the node would lose their network",
            "no pod with an address of podnet's ranges",
            few(pods),
            "remove the pods first, or set podnet_reset_pods: true",
        )
    ]


def missing_plugins(fabric: Fabric, have: State) -> tuple[str, ...]:
    """CNI plugins that the conflist names and the node does not have."""
    return tuple(name for name in plugins_of(fabric) if not have.plugins.get(name))


def _tools(name: str, have: State) -> Iterator[Problem]:
    if not have.privileged:
        yield Problem(
            name,
            "the node's network cannot be changed by this user",
            "root, or a user who becomes root",
            "another user",
            "set ansible_become: true, or let root log in",
        )
    if have.missing_tools:
        yield Problem(
            name,
            "programs are missing on the node",
            "ip, bridge, nft, awk, sed, sha256sum",
            "no " + ", ".join(have.missing_tools),
            f"run podnet.fabric.bootstrap, or install {by_hand(have.missing_tools)}",
        )


def _other_run(name: str, have: State) -> Iterator[Problem]:
    if have.pending == "waiting":
        yield Problem(
            f"{name}: /etc/podnet/txn",
            "another run is changing this node or waits for its confirmation",
            "no run but this one",
            "a transaction whose timer still runs",
            "wait until it has ended, or end it: podnet-node rollback",
        )


def _routes(plan: NodePlan, have: State) -> Iterator[Problem]:
    """The kernel knows a route by destination and metric, whoever made it: one with podnet's
    metric would be replaced."""
    for route in have.foreign_routes:
        if route.metric == route_metric(route.dst):
            yield Problem(
                f"{plan.node.name}: route {route.dst}",
                "a route with podnet's metric is not podnet's",
                f"metric {route.metric} for podnet's own routes only",
                route.text,
                "remove the route, or give it another metric",
            )


def _underlay(plan: NodePlan, have: State) -> Iterator[Problem]:
    for index, address in enumerate(plan.node.underlay_addresses):
        where = f"{plan.node.name}: podnet_underlay_addresses[{index}]"
        interface = next((i for i in have.underlay if i.address == address), None)
        if interface is None:
            yield Problem(
                where,
                "no interface of the node has this address",
                f"{address} on an interface",
                "no such address (ip address show)",
                "correct the address, or configure it on the node",
            )
            continue
        if not interface.up:
            yield Problem(
                where,
                "the underlay interface is down",
                f"{interface.dev} up",
                f"{interface.dev} down",
                f"bring it up: ip link set dev {interface.dev} up",
            )
        if interface.mtu < plan.node.underlay_mtu:
            yield Problem(
                f"{plan.node.name}: podnet_underlay_mtu",
                "the real link is smaller than declared",
                f"{interface.dev} with an MTU of {plan.node.underlay_mtu} or more",
                f"{interface.mtu}",
                f"set podnet_underlay_mtu to {interface.mtu}, or raise the MTU of {interface.dev}",
            )


def _frr(fabric: Fabric, plan: NodePlan, have: State) -> Iterator[Problem]:
    if not learns(fabric):
        return
    if "installed" not in have.frr:
        yield Problem(
            f"{plan.node.name}: podnet_mode",
            "FRR is missing on the node",
            "/usr/lib/frr/bgpd and /usr/lib/frr/frr-reload.py",
            "not both of them",
            "run podnet.fabric.bootstrap; or install frr and frr-pythontools, without frr.service",
        )
    elif fabric.bgp_bfd and "bfdd" not in have.frr:
        yield Problem(
            f"{plan.node.name}: podnet_bgp_bfd",
            "FRR's daemon for BFD is missing on the node",
            "/usr/lib/frr/bfdd",
            "no such program",
            "install it with the distribution's FRR, or leave podnet_bgp_bfd out",
        )
    if "zebra" in have.frr:
        # Two of them would each take the other's routes for its own that it has forgotten.
        yield Problem(
            f"{plan.node.name}: podnet_mode",
            "the host's own FRR runs",
            "no zebra but podnet's, which is in the path space podnet",
            "/run/frr/zebra.pid of a process that runs",
            "systemctl disable --now frr where nothing needs it; or choose another podnet_mode",
        )


def _names(plan: NodePlan, have: State) -> Iterator[Problem]:
    wanted = {link.name for link in plan.links}
    for old in have.links:
        if old.vxlan is None and old.name not in wanted and old.name in have.busy:
            yield Problem(
                f"{plan.node.name}: podnet_bridge",
                "pods are attached to the bridge of the old name",
                f"{old.name}, or no pod on the node",
                ", ".join(sorted(wanted)),
                f"keep {old.name}, or remove the node's pods first",
            )
    for link in plan.links:
        if link.name in have.foreign_links:
            yield Problem(
                f"{plan.node.name}: {link.name}",
                "an interface of this name is there and is not podnet's",
                f"no {link.name}, or one with the altname {link.altname}",
                f"{link.name} without the altname",
                f"remove it, choose another name, or hand it over: "
                f"ip link property add dev {link.name} altname {link.altname}",
            )


def _renamed(plan: NodePlan, have: State) -> Iterator[Problem]:
    """The bridge's MAC follows from the node's name: pods would send to the old one for as long as
    their neighbour table keeps it."""
    bridge = plan.links[0]
    old = next((link for link in have.links if link.name == bridge.name), bridge)
    other = have.name not in ("", plan.node.name) and old.mac != bridge.mac
    if other and bridge.name in have.busy:
        yield Problem(
            plan.node.name,
            "the node has another name in its definitions, and pods that know its MAC",
            f"{have.name}, or no pod on the node",
            plan.node.name,
            f"keep {have.name} (ansible_host is free to change), or remove the node's pods first",
        )


def _cni(fabric: Fabric, plan: NodePlan, have: State) -> Iterator[Problem]:
    version, folder = fabric.cni.version, fabric.cni.bin_dir
    missing = missing_plugins(fabric, have)
    if missing:
        # A distribution's package has its own folder, and a runtime's is another.
        source = "package" if folder == RUNTIME_FOLDERS["distribution"][1] else "tarball"
        yield Problem(
            f"{plan.node.name}: podnet_cni_bin_dir {folder}",
            PLUGINS_MISSING,
            "the programs " + ", ".join(plugins_of(fabric)),
            "no " + ", ".join(missing),
            f"let podnet install them (podnet_cni_install: {source}), or name the right folder",
        )
    for name in plugins_of(fabric):
        versions = have.plugins.get(name, ())
        if versions and version not in versions and versions != ("known",):
            yield Problem(
                f"{plan.node.name}: podnet_cni_version, {folder}/{name}",
                "the plugin does not speak this version of CNI",
                f"cniVersion {version}",
                "supported: " + ", ".join(versions),
                "choose one of these for podnet_cni_version, or install newer plugins",
            )


def _networkd(plan: NodePlan, have: State) -> Iterator[Problem]:
    if plan.node.persistence == "networkd" and "systemd-networkd" not in have.daemons:
        yield Problem(
            f"{plan.node.name}: podnet_persistence",
            "nothing would make the devices at boot",
            "systemd-networkd, running or enabled",
            "neither",
            "systemctl enable --now systemd-networkd, or set podnet_persistence to unit",
        )
