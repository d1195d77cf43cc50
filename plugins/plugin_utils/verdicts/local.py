# SPDX-License-Identifier: GPL-3.0-or-later
"""What one node's probe pods must show by themselves, without a packet."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from functools import partial

from ..intent.model import Family, Node
from .observations import Identity, Missing, Pod, Start, Started
from .remedies import remedy_error
from .results import Result, Status
from .scene import POD_A, POD_B, Scene

PODS = (POD_A, POD_B)
CONTAINERS = ("infra", "server", "sleeper")


def judge_node(scene: Scene, node: Node) -> Iterator[Result]:
    """Addresses, uniqueness, MTU, shared namespaces and the restart, of one node."""
    start = scene.start(node.name)
    for name in PODS:
        pod = start.pods.get(name) if isinstance(start, Started) else None
        for family in scene.fabric.families:
            yield _address(scene, node, start, name, pod, family)
        yield _mtu(scene, node, start, name, pod)
        yield _shared(node, start, name, pod)
    for family in scene.fabric.families:
        yield _unique(scene, node, start, family)
    yield _restart(node, start)


def _make(
    node: Node,
    kind: str,
    promise: int,
    subject: str,
    expected: str,
    verdict: tuple[Status, str],
    remedy: str,
    family: Family | None = None,
) -> Result:
    status, found = verdict
    return Result(
        id=f"{kind}/{family or 'any'}/{node.name}/{subject}",
        promise=promise,
        kind=kind,
        family=family,
        source=node.name,
        target=node.name,
        backend=None,
        status=status,
        expected=expected,
        found=found,
        remedy={"failure": remedy, "error": remedy_error(node.name)}.get(status),
    )


def _blind(start: Start, name: str) -> tuple[Status, str]:
    """Why a pod cannot be looked at."""
    if isinstance(start, Missing):
        return "error", f"could not look: {start.reason}"
    return "error", f"{name} was not started: {start.said or 'no reason given'}"


def _address(
    scene: Scene, node: Node, start: Start, name: str, pod: Pod | None, family: Family
) -> Result:
    cidr, gateway = node.pod_cidr(family), node.gateway(family)
    make = partial(
        _make,
        node,
        "address",
        1,
        name,
        f"{name} has an {family} address inside {cidr}, not the gateway {gateway}",
        remedy=f"look at the ranges of {scene.fabric.cni.file} on {node.name}, and for a CNI "
        "configuration with an earlier name beside it; converge writes it again",
        family=family,
    )
    if pod is None:
        return make(verdict=_blind(start, name))
    address = pod.addresses.get(family)
    if address is None or cidr is None:
        return make(verdict=("failure", f"no {family} address"))
    inside = ipaddress.ip_address(address) in ipaddress.ip_network(cidr)
    right = inside and address != gateway
    return make(verdict=("success" if right else "failure", address))


def _mtu(scene: Scene, node: Node, start: Start, name: str, pod: Pod | None) -> Result:
    make = partial(
        _make,
        node,
        "mtu",
        5,
        name,
        f"the interface of {name} has an MTU of {scene.mtu} bytes",
        remedy=f"`mtu` in {scene.fabric.cni.file} on {node.name} must be {scene.mtu}; converge "
        "writes it again, and pods get it when they are made anew",
    )
    if pod is None:
        return make(verdict=_blind(start, name))
    return make(verdict=("success" if pod.mtu == scene.mtu else "failure", f"{pod.mtu} bytes"))


def _shared(node: Node, start: Start, name: str, pod: Pod | None) -> Result:
    make = partial(
        _make,
        node,
        "shared",
        2,
        name,
        f"{', '.join(CONTAINERS)} of {name} share namespace, interfaces, IP and MAC",
        remedy=f"on {node.name}: `lsns -t net` shows the namespaces of the pod's processes",
    )
    if pod is None:
        return make(verdict=_blind(start, name))
    return make(verdict=_compare_containers(pod))


def _compare_containers(pod: Pod) -> tuple[Status, str]:
    by_name = {container.name: container for container in pod.containers}
    # Namespace 0: the process was gone before it could be looked at.
    absent = [n for n in CONTAINERS if n not in by_name or not by_name[n].netns]
    if absent:
        return "error", f"not observed: {', '.join(absent)}"
    infra = by_name["infra"]
    addresses = {a.partition("/")[0] for _n, _m, found in infra.interfaces for a in found}
    macs = {mac for _name, mac, _addresses in infra.interfaces}
    for name in CONTAINERS[1:]:
        if by_name[name].netns != infra.netns:
            return "failure", f"{name} is in another network namespace than infra"
        if by_name[name].interfaces != infra.interfaces:
            return "failure", f"{name} sees other interfaces or addresses than infra"
    lost = sorted(set(pod.addresses.values()) - addresses)
    if lost:
        return "failure", f"infra does not have the pod's address {', '.join(lost)}"
    if pod.mac not in macs:
        return "failure", f"infra does not have the pod's MAC {pod.mac}"
    return "success", f"all in namespace {infra.netns}"


def _unique(scene: Scene, node: Node, start: Start, family: Family) -> Result:
    make = partial(
        _make,
        node,
        "unique",
        1,
        "pods",
        f"no other pod has an {family} address of a pod on {node.name}",
        remedy="look for a pod CIDR that two nodes serve, and for a second CNI network with the "
        "same range",
        family=family,
    )
    if isinstance(start, Missing):
        return make(verdict=("error", f"could not look: {start.reason}"))
    own = [pod.addresses[family] for pod in start.pods.values() if family in pod.addresses]
    if not own:
        return make(verdict=("error", "no probe pod has such an address"))
    shared = [
        f"{address} is also {owner}"
        for address in own
        for owner in scene.owners[family][address]
        if not owner.endswith(f" on {node.name}")
    ]
    shared += [f"{address} twice on this node" for address in {a for a in own if own.count(a) > 1}]
    return make(verdict=("failure", "; ".join(shared)) if shared else ("success", ", ".join(own)))


def _restart(node: Node, start: Start) -> Result:
    make = partial(
        _make,
        node,
        "restart",
        2,
        "restart",
        "a killed container comes back with the pod's IP and MAC",
        remedy=f"on {node.name}: the infra container must outlive the others",
    )
    if isinstance(start, Missing):
        return make(verdict=("error", f"could not look: {start.reason}"))
    if start.restart is None:
        return make(verdict=("error", "no container was restarted"))
    return make(verdict=_compare_restart(start.restart.before, start.restart.after))


def _compare_restart(before: Identity, after: Identity) -> tuple[Status, str]:
    if before.pid == after.pid:
        return "error", f"process {before.pid} was not replaced, so nothing was shown"
    if before.addresses != after.addresses:
        old, new = (", ".join(i.addresses) or "none" for i in (before, after))
        return "failure", f"addresses changed from {old} to {new}"
    if before.mac != after.mac:
        return "failure", f"the MAC changed from {before.mac} to {after.mac}"
    return "success", f"kept {', '.join(after.addresses)}"
