# SPDX-License-Identifier: GPL-3.0-or-later
"""A real client uses the rendered conflist: containerd makes pods, with its own infra container.

Two nodes in two segments. containerd runs before converge and is not restarted.
"""

from __future__ import annotations

import contextlib
import dataclasses
import ipaddress
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from cri import Containerd, Pod, containerd, require_programs, until, url
from fleet import Fleet, Spec
from tested import keep

CONFLIST = "10-podnet.conflist"
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
        rendered = _rendered(scene.fleet.folder, host.node)
        assert host.ssh(f"cat /etc/cni/net.d/{CONFLIST}") == rendered
        assert host.ssh("ls /etc/cni/net.d").split() == [CONFLIST]


@pytest.mark.parametrize("number", [0, 1])
def test_a_pod_has_one_address_per_family_of_its_node(scene: Scene, number: int) -> None:
    pod, node = scene.pods[number], scene.hosts[number].node
    networks = scene.fleet.data["podnet"]["hosts"][node]["podnet_pod_cidrs"]
    addresses = [ipaddress.ip_address(text) for text in pod.addresses()]
    assert len(addresses) == len(networks) == 2
    for address, network in zip(addresses, networks, strict=True):
        assert address in ipaddress.ip_network(network)
    seen = {
        ipaddress.ip_interface(line.split()[3]).ip
        for line in pod.run("ip", "-o", "addr", "show", "dev", "eth0", "scope", "global").split(
            "\n"
        )
        if line
    }
    assert seen == set(addresses)
    mtu = json.loads(_rendered(scene.fleet.folder, node))["plugins"][0]["mtu"]
    assert f" mtu {mtu} " in pod.run("ip", "-o", "link", "show", "dev", "eth0")


@pytest.mark.parametrize("number", [0, 1])
def test_infra_and_app_container_share_interfaces_address_and_mac(
    scene: Scene, number: int
) -> None:
    pod = scene.pods[number]
    infra, app = pod.namespaces("sandbox"), pod.namespaces("app")
    assert {kind for kind in app if infra[kind] == app[kind]} == {"net", "ipc", "uts"}
    for what in ("link", "addr"):
        listed = pod.run("ip", "-o", what)
        assert "eth0" in listed
        assert pod.run_in_sandbox("ip", "-o", what) == listed


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("way", WAYS)
def test_pods_of_different_nodes_reach_each_other(scene: Scene, way: str, family: str) -> None:
    source, target = (scene.pods[number] for number in WAYS[way])
    own, peer = (pod.addresses()[FAMILIES[family]] for pod in (source, target))
    source.run("ping", "-A", "-c", "3", "-W", "3", peer)
    seen = source.run("wget", "-qO-", url(peer)).strip("[]")
    assert str(_unmapped(seen)) == own


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


def _rendered(folder: Path, node: str) -> str:
    return (folder / "intended" / node / CONFLIST).read_text(encoding="utf-8")


def _traces(host: Containerd) -> set[str]:
    """What pods leave on a node while they live: addresses, links, namespaces, shims, cgroups."""
    return set(
        host.ssh(
            "ls /var/lib/cni/networks/podnet /var/lib/cni/results; ls /run/netns /sys/class/net;"
            "ls /run/containerd/io.containerd.runtime.v2.task/k8s.io; ls -d /sys/fs/cgroup/*/"
        ).split()
    )


def _unmapped(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """The web server listens on both families at once and sees IPv4 clients as ::ffff:…"""
    address = ipaddress.ip_address(text)
    mapped = getattr(address, "ipv4_mapped", None)
    return mapped or address
