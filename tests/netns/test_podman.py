# SPDX-License-Identifier: GPL-3.0-or-later
"""podman uses the pod network: in pods of its own by its CNI back end, which reads the rendered
conflist, and in pods of the module `pod`, which any podman can join.

Two booted nodes in two segments. Debian 13's podman has no CNI back end (podmanhost.py).
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from fleet import Fleet, Spec
from podmanhost import CniPod, ContainersPod, JoinedPod, Podman, has_cni
from podpromises import has_one_address_per_family, infra_and_app_share, reaches_without_nat
from tested import keep

OF_CNI = [CniPod, ContainersPod] if has_cni() else []
KINDS: list[type[CniPod | JoinedPod]] = [*OF_CNI, JoinedPod]
NODES = ("node-1", "node-2")
Pods = list[CniPod | JoinedPod]


@pytest.fixture(scope="module")
def hosts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Podman]]:
    folder = tmp_path_factory.mktemp("podman")
    spec = Spec("auto", segments={"rack-a": 1, "rack-b": 1})
    fleet = Fleet(folder, spec, "t-podman")
    for name in NODES:
        fleet.data["podnet"]["hosts"][name]["podnet_lab_init"] = "systemd"
    fleet.write()
    with fleet:
        fleet.play("converge", check=True)
        yield [Podman(fleet, node, "cni" if has_cni() else "netavark") for node in NODES]


@pytest.fixture(scope="module", params=KINDS)
def pods(hosts: list[Podman], request: pytest.FixtureRequest) -> Iterator[Pods]:
    made = [request.param(host, f"pod-{host.node}") for host in hosts]
    yield made
    for pod in made:
        pod.remove()


def test_a_pod_is_what_the_design_says(pods: Pods) -> None:
    fleet = pods[0].podman.fleet
    for pod, node in zip(pods, NODES, strict=True):
        has_one_address_per_family(fleet, node, pod)
        infra_and_app_share(pod, pod.shared)
    for family in (0, 1):
        reaches_without_nat(pods[0], pods[1], family)
        reaches_without_nat(pods[1], pods[0], family)


def test_the_infra_container_outlives_its_app_containers(pods: Pods) -> None:
    pod = pods[0]
    before, first = pod.addresses(), pod.podman.pid(pod.app)
    pod.podman("restart", "--time", "0", pod.app)
    assert pod.podman.pid(pod.app) != first, "it was not restarted"
    assert pod.addresses() == before
    infra_and_app_share(pod, pod.shared)


def test_a_removed_pod_leaves_nothing_on_its_node(hosts: list[Podman], pods: Pods) -> None:
    host, kind = hosts[0], type(pods[0])
    before = _traces(host)
    pod = kind(host, "short-lived")
    addresses = set(pod.addresses())
    during = _traces(host)
    assert addresses <= during - before
    pod.remove()
    assert _traces(host) == before
    keep(host.fleet, host.node, "tests/netns/test_podman.py", runtime=kind.runtime)


def _traces(host: Podman) -> set[str]:
    """What pods leave on a node while they live: addresses, links, namespaces, rules."""
    command = (
        "ls /var/lib/cni/networks/podnet /var/lib/cni/results /run/netns /sys/class/net;"
        "ls /run/podnet/netns; podman ps -a --format {{.Names}}; podman pod ls --format {{.Name}};"
        "nft -a list tables; iptables -S; ip6tables -S"
    )
    return set(host.fleet.ssh(host.node, f"({command}) 2>/dev/null; true").split())
