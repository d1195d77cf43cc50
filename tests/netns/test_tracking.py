# SPDX-License-Identifier: GPL-3.0-or-later
"""Pods whose connections among each other are not tracked (`podnet_pod_tracking: outside`): the
kernel has no entry for them, what leaves the cluster is still masqueraded, and a node's firewall
still knows the answers that the node itself gets from pods."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from edits import ONE, THREE, TWO, pod
from fleet import Fleet, Spec

V4, V6 = "ipv4", "ipv6"
PORT = 7000
TRACKED = "cat /proc/net/nf_conntrack"
LISTEN = (
    f"import socket; s = socket.create_server(('::', {PORT}), family=socket.AF_INET6,"
    " dualstack_ipv6=True)\nwhile True: s.accept()[0].close()"
)
CONNECT = "import socket; socket.create_connection(('{}', {}), 5).close()"


@dataclass
class Scene:
    """A fleet with pods that listen: `near` beside the pod `client`, `same` segment, `far`."""

    fleet: Fleet
    pods: dict[str, dict[str, Any]]

    def address(self, name: str, family: str) -> str:
        return str(self.pods[name]["addresses"][family])

    def connect(self, node: str, address: str, inside: str = "", port: int = PORT) -> None:
        enter = f"nsenter --net=/run/podnet/netns/{inside} " if inside else ""
        self.fleet.ssh(node, f'{enter}python3 -c "{CONNECT.format(address, port)}"')

    def tracked(self, node: str, *addresses: str) -> list[str]:
        """The kernel's entries in which all of the addresses are, written as the kernel does."""
        lines = self.fleet.ssh(node, TRACKED).splitlines()
        return [line for line in lines if all(f"={full(a)} " in f"{line} " for a in addresses)]


def full(address: str) -> str:
    return ipaddress.ip_address(address).exploded


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    extra = {"podnet_pod_tracking": "outside", "podnet_pods_to_node": "established"}
    spec = Spec(segments={"rack-a": 2, "rack-b": 1}, extra=extra)
    with Fleet(tmp_path_factory.mktemp("tracking"), spec, "tracking") as fleet:
        fleet.play("site", check=True)
        pods = {"client": pod(fleet, ONE, "client")}
        for name, node in (("near", ONE), ("same", TWO), ("far", THREE)):
            pods[name] = pod(fleet, node, name)
            enter = f"nsenter --net=/run/podnet/netns/{name}"
            fleet.ssh(node, f'setsid {enter} python3 -c "{LISTEN}" >/dev/null 2>&1 </dev/null &')
        yield Scene(fleet, pods)


@pytest.mark.parametrize("family", [V4, V6])
@pytest.mark.parametrize("name", ["near", "same", "far"])
def test_nothing_between_pods_is_tracked(scene: Scene, name: str, family: str) -> None:
    ends = (scene.address("client", family), scene.address(name, family))
    scene.connect(ONE, ends[1], inside="client")
    assert [scene.tracked(node, *ends) for node in scene.fleet.nodes] == [[], [], []]


@pytest.mark.parametrize("family", [V4, V6])
def test_what_leaves_the_cluster_is_tracked_and_masqueraded(scene: Scene, family: str) -> None:
    outside = scene.fleet.data["podnet"]["vars"]["podnet_verify_outside"]
    host = next(item for item in outside if (":" in item["address"]) == (family == V6))
    scene.connect(ONE, host["address"], inside="client", port=host["port"])
    own = scene.fleet.data["podnet"]["hosts"][ONE]["podnet_underlay_addresses"]
    node = next(address for address in own if (":" in address) == (family == V6))
    assert scene.tracked(ONE, scene.address("client", family), host["address"], node)


@pytest.mark.parametrize("family", [V4, V6])
@pytest.mark.parametrize("name", ["near", "same", "far"])
def test_a_node_knows_the_answers_of_pods(scene: Scene, name: str, family: str) -> None:
    """With `podnet_pods_to_node: established` what is not known as an answer is dropped."""
    scene.connect(ONE, scene.address(name, family))


def test_a_rule_that_drops_what_is_not_tracked_is_named(scene: Scene) -> None:
    scene.fleet.ssh(
        TWO,
        "nft add table inet wall;"
        "nft 'add chain inet wall f { type filter hook forward priority 0; }';"
        "nft add rule inet wall f ct state untracked drop",
    )
    said = scene.fleet.play("verify")
    scene.fleet.ssh(TWO, "nft delete table inet wall")
    assert said.returncode == 2
    assert "foreign rule inet wall f" in " ".join(said.stdout.split())
    scene.fleet.play("verify", check=True)


def test_pods_are_tracked_by_default(scene: Scene) -> None:
    """Or the first test would show nothing."""
    del scene.fleet.data["podnet"]["vars"]["podnet_pod_tracking"]
    scene.fleet.write()
    scene.fleet.play("converge", check=True)
    for name, node in (("near", ONE), ("same", TWO), ("far", THREE)):
        for family in (V4, V6):
            ends = (scene.address("client", family), scene.address(name, family))
            scene.connect(ONE, ends[1], inside="client")
            assert scene.tracked(node, *ends)
