# SPDX-License-Identifier: GPL-3.0-or-later
"""A real client uses the rendered conflist: containerd makes pods, with its own infra container.

Two nodes in two segments. containerd runs before converge and is not restarted.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator

import pytest
from cri import Containerd, Pod, containerd, require_programs, until
from fleet import Fleet, Spec
from podpromises import (
    CONFLIST,
    has_one_address_per_family,
    infra_and_app_share,
    reaches_without_nat,
    rendered,
)
from tested import keep

FAMILIES = {"ipv4": 0, "ipv6": 1}  # the order of a pod's addresses
WAYS = {"there": (0, 1), "back": (1, 0)}


@dataclasses.dataclass
class Scene:
    """Two nodes with containerd, one pod on each, and what was seen on the way."""

    fleet: Fleet
    hosts: list[Containerd]
    ready_before: list[bool]
    pids_before: list[int]
    pods: list[Pod]


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    require_programs()
    folder = tmp_path_factory.mktemp("cri")
    spec = Spec("auto", segments={"rack-a": 1, "rack-b": 1})
    with Fleet(folder, spec, "t-cri") as fleet, contextlib.ExitStack() as stack:
        hosts = [
            stack.enter_context(containerd(fleet.ssh_config, node, folder)) for node in fleet.nodes
        ]
        ready = [host.cri.network_ready() for host in hosts]
        pids = [host.pid() for host in hosts]
        fleet.play("converge", check=True)
        for host in hosts:
            until(host.cri.network_ready, f"containerd on {host.node} takes the conflist up")
        pods = [host.pod(f"pod-{host.node}") for host in hosts]
        yield Scene(fleet, hosts, ready, pids, pods)


def test_a_running_containerd_takes_up_the_conflist_that_converge_installs(scene: Scene) -> None:
    assert scene.ready_before == [False, False]
    assert [host.cri.network_ready() for host in scene.hosts] == [True, True]
    assert [host.pid() for host in scene.hosts] == scene.pids_before
    for host in scene.hosts:
        expected = rendered(scene.fleet, host.node)
        assert host.ssh(f"cat /etc/cni/net.d/{CONFLIST}") == expected
        assert host.ssh("ls /etc/cni/net.d").split() == [CONFLIST]


@pytest.mark.parametrize("number", [0, 1])
def test_a_pod_has_one_address_per_family_of_its_node(scene: Scene, number: int) -> None:
    has_one_address_per_family(scene.fleet, scene.hosts[number].node, scene.pods[number])


@pytest.mark.parametrize("number", [0, 1])
def test_infra_and_app_container_share_interfaces_address_and_mac(
    scene: Scene, number: int
) -> None:
    infra_and_app_share(scene.pods[number], frozenset({"net", "ipc", "uts"}))


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("way", WAYS)
def test_pods_of_different_nodes_reach_each_other(scene: Scene, way: str, family: str) -> None:
    source, target = (scene.pods[number] for number in WAYS[way])
    reaches_without_nat(source, target, FAMILIES[family])


def test_a_deleted_bridge_comes_back_with_the_pods_of_containerd_on_it(scene: Scene) -> None:
    """It keeps the results of the plugins, which name the ends."""
    host = scene.hosts[0]
    host.ssh("ip link del cbr0")
    assert "put back: port veth" in host.ssh("podnet-node heal")
    for source, target in WAYS.values():
        reaches_without_nat(scene.pods[source], scene.pods[target], 0)


def test_a_removed_pod_leaves_nothing_on_its_node(scene: Scene) -> None:
    host = scene.hosts[0]
    before = _traces(host)
    pod = host.pod("short-lived")
    addresses = set(pod.addresses())
    during = _traces(host)
    assert addresses <= during - before
    assert addresses.isdisjoint(before)
    pod.remove()
    assert _traces(host) == before
    keep(scene.fleet, host.node, "tests/netns/test_containerd.py", runtime="containerd")


def _traces(host: Containerd) -> set[str]:
    """What pods leave on a node while they live: addresses, links, namespaces, shims, cgroups."""
    return set(
        host.ssh(
            "ls /var/lib/cni/networks/podnet /var/lib/cni/results; ls /run/netns /sys/class/net;"
            "ls /run/containerd/io.containerd.runtime.v2.task/k8s.io; ls -d /sys/fs/cgroup/*/"
        ).split()
    )
