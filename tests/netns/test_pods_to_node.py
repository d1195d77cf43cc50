# SPDX-License-Identifier: GPL-3.0-or-later
"""Services of a node: pods reach them as the policy says, and verification holds under each."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

import pytest
from edits import ONE
from fleet import Fleet, Spec
from stranger_scene import GATEWAY, V4, V6, Scene, prepare


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    spec = Spec(segments={"rack-a": 2, "rack-b": 1})
    with Fleet(tmp_path_factory.mktemp("services"), spec, "services") as fleet:
        fleet.play("converge", check=True)
        yield prepare(fleet)


def _served(scene: Scene, pod_name: str, target: str, port: int = 0) -> str:
    """Whether a datagram of a pod reaches a service of node ONE at an address of it."""

    def sends(port: int, word: str) -> None:
        family = "AF_INET6" if ":" in target else "AF_INET"
        text = (
            f"import socket; s = socket.socket(socket.{family}, socket.SOCK_DGRAM); "
            f'[s.sendto(b"{word}", ("{target}", {port})) for _ in range(3)]'
        )
        scene.inside(pod_name, f"python3 -c '{text}'")

    return scene.heard("node", sends, port)


NODE_ADDRESSES = [*GATEWAY.values(), "192.0.2.11", "2001:db8:a::11"]
# Policy, and whether a pod reaches a service, one that is named, and whether a node has its answer.
POLICIES = {
    "allow": (True, True, True),
    "established": (False, True, True),
    "deny": (False, True, False),
}


@pytest.fixture(scope="module", params=list(POLICIES))
def policy(request: pytest.FixtureRequest, scene: Scene) -> str:
    """The fleet is verified under each of them."""
    variables = scene.fleet.data["podnet"]["vars"]
    variables["podnet_pods_to_node"] = request.param
    variables["podnet_pods_to_node_ports"] = ["udp/19999"]
    scene.fleet.write()
    scene.fleet.play("site", check=True)
    assert {r["status"] for r in scene.fleet.results()} <= {"success", "skipped"}
    return str(request.param)


@pytest.mark.parametrize("target", NODE_ADDRESSES)
def test_pods_reach_services_of_their_node_as_the_policy_says(
    scene: Scene, policy: str, target: str
) -> None:
    any_port, named_port, _answers = POLICIES[policy]
    assert bool(_served(scene, "attacker", target)) is any_port
    assert bool(_served(scene, "attacker", target, 19999)) is named_port


@pytest.mark.parametrize("family", [V4, V6])
def test_pods_of_other_nodes_reach_them_as_the_policy_says(
    scene: Scene, policy: str, family: str
) -> None:
    """Over VXLAN, at the gateway's address."""
    assert bool(_served(scene, "far", GATEWAY[family])) is POLICIES[policy][0]


def test_a_node_is_answered_as_the_policy_says(scene: Scene, policy: str) -> None:
    """TCP from the node to a pod; the ping of verification is answered under each of them."""
    text = (
        'import socket; s = socket.create_server(("", 18888)); print("ready", flush=True); '
        "s.settimeout(10); s.accept()"
    )
    inside = f"nsenter --net=/run/podnet/netns/victim python3 -c '{text}'"
    server = subprocess.Popen(
        ["ssh", "-F", str(scene.fleet.ssh_config), ONE, inside],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert server.stdout and server.stdout.readline() == "ready\n"
    address = scene.address("victim", V4)
    dial = f'socket.create_connection(("{address}", 18888), 3)'
    ask = f"python3 -c 'import socket; {dial}' 2>/dev/null && echo yes || echo no"
    answered = scene.fleet.ssh(ONE, ask).strip() == "yes"
    server.communicate()
    assert answered is POLICIES[policy][2]
