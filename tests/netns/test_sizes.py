# SPDX-License-Identifier: GPL-3.0-or-later
"""Datagrams of every size about the pod MTU and the underlay's, in a fleet that has both: pods send
what is larger than the first in pieces, and connection tracking on the nodes puts them together."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from edits import ONE, THREE, TWO, edit, pod
from fleet import Fleet, Spec

V4, V6 = "ipv4", "ipv6"
PORT = 7005
SIZES = range(1390, 1502)  # of the whole packet
HEADERS = {V4: 28, V6: 48}
LINE = "route replace fd00:64:0:{}::/64 via 2001:db8:a::{} src fd00:64:0:{}::1 proto 112 metric 112"
# Sends back the number of each datagram alone, so that sizes matter on the way there.
LISTEN = f"""
import socket
s = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
s.bind(("::", {PORT}))
while True:
    data, peer = s.recvfrom(65536)
    s.sendto(data[:4], peer)
"""
# Address, port, sizes of payloads, and for how long; says how many were sent, and what was lost.
SEND = """
import json, socket, sys, time
address, port, sizes, seconds = json.loads(sys.argv[1])
s = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM)
s.connect((address, port)); s.settimeout(1)
end, number, lost = time.monotonic() + seconds, 0, []
while True:
    for size in sizes:
        number += 1
        s.send(number.to_bytes(4, "big") + bytes(size - 4))
        try:
            while s.recv(9) != number.to_bytes(4, "big"):
                pass
        except OSError:
            lost.append(size)
    if time.monotonic() >= end:
        break
print(json.dumps([number, lost]))
"""


@dataclass
class Scene:
    """A fleet with pods that listen: `same` in the segment of the pod `client`, `far`."""

    fleet: Fleet
    pods: dict[str, dict[str, Any]]

    def command(self, name: str, family: str, sizes: list[int], seconds: float) -> str:
        """A shell text for the node of the client."""
        address = self.pods[name]["addresses"][family]
        told = json.dumps([address, PORT, [s - HEADERS[family] for s in sizes], seconds])
        return f"nsenter --net=/run/podnet/netns/client python3 -c '{SEND}' '{told}'"

    def lost(self, name: str, family: str) -> list[int]:
        """Sizes of whole packets that did not arrive."""
        said = self.fleet.ssh(ONE, self.command(name, family, [*SIZES], 0))
        return [size + HEADERS[family] for size in json.loads(said)[1]]

    def mtu_of_routes(self) -> list[list[str]]:
        """Of each node's direct routes, in the kernel's words."""
        routes = [self.fleet.ssh(n, "ip -6 route show proto 112 dev eth0") for n in (ONE, TWO)]
        return [text.split()[-4:-2] for text in routes]

    def as_before(self) -> None:
        """The routes as earlier releases made them."""
        self.fleet.ssh(ONE, "ip " + LINE.format(2, 12, 1))
        self.fleet.ssh(TWO, "ip " + LINE.format(1, 11, 2))


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    spec = Spec(segments={"rack-a": 2, "rack-b": 1})
    with Fleet(tmp_path_factory.mktemp("sizes"), spec, "sizes") as fleet:
        fleet.play("converge", check=True)
        pods = {"client": pod(fleet, ONE, "client")}
        for name, node in (("same", TWO), ("far", THREE)):
            pods[name] = pod(fleet, node, name)
            enter = f"nsenter --net=/run/podnet/netns/{name}"
            fleet.ssh(node, f"setsid {enter} python3 -c '{LISTEN}' >/dev/null 2>&1 </dev/null &")
        yield Scene(fleet, pods)


@pytest.mark.parametrize("family", [V4, V6])
@pytest.mark.parametrize("name", ["same", "far"])
def test_datagrams_of_every_size_arrive(scene: Scene, name: str, family: str) -> None:
    assert scene.lost(name, family) == []
    assert "0 to change" in scene.fleet.play("converge", check=True).stdout


def test_a_route_without_the_mtu_loses_some_and_is_put_back(scene: Scene) -> None:
    scene.as_before()
    assert scene.lost("same", V6) == [*range(1451, 1501)]
    said = scene.fleet.play("verify")
    assert said.returncode == 2
    bad = {r["id"] for r in scene.fleet.results() if r["status"] == "failure"}
    assert bad == {f"mtu_pieces/ipv6/{ONE}/{TWO}", f"mtu_pieces/ipv6/{TWO}/{ONE}"}
    assert f"CAUSE {ONE}: route fd00:64:0:2::/64" in said.stdout
    for node in (ONE, TWO):
        assert "put back: ip route replace" in scene.fleet.ssh(node, "podnet-node heal")
    assert scene.mtu_of_routes() == [["mtu", "1450"]] * 2
    assert scene.lost("same", V6) == []
    scene.fleet.play("verify", check=True)


def lost_during(scene: Scene, sizes: list[int], playbook: str) -> tuple[str, int, list[int]]:
    """What a run says, and what was sent and lost from before it until after it."""
    ssh = ["ssh", "-F", str(scene.fleet.ssh_config), ONE]
    sending = subprocess.Popen(
        [*ssh, scene.command("same", V6, sizes, 15)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
    )
    time.sleep(0.5)
    said = scene.fleet.play(playbook, check=True).stdout
    assert sending.poll() is None, "the run took longer than datagrams were sent"
    number, lost = json.loads(sending.communicate()[0])
    return said, number, lost


def test_an_upgrade_loses_nothing_more(scene: Scene) -> None:
    """From routes as earlier releases made them; drift says that they differ."""
    scene.as_before()
    assert scene.fleet.play("drift").returncode
    said, number, lost = lost_during(scene, [100, 1450, 1501, 4000], "converge")
    assert "2 to change: switch 2" in said
    assert number > 1000 and lost == []
    assert scene.mtu_of_routes() == [["mtu", "1450"]] * 2
    assert "0 to change" in scene.fleet.play("converge", check=True).stdout


def smaller(variables: dict[str, Any], hosts: dict[str, Any]) -> None:
    variables["podnet_mtu"] = 1400


def computed(variables: dict[str, Any], hosts: dict[str, Any]) -> None:
    del variables["podnet_mtu"]


def test_a_larger_mtu_comes_to_routes_when_every_bridge_has_it(scene: Scene) -> None:
    """The client is as if made with the smaller one, so that pieces of its datagrams fit it."""
    edit(scene.fleet, smaller)
    scene.fleet.play("converge", check=True)
    assert scene.mtu_of_routes() == [["mtu", "1400"]] * 2
    scene.fleet.ssh(ONE, "nsenter --net=/run/podnet/netns/client ip link set eth0 mtu 1400")
    edit(scene.fleet, computed)
    said, number, lost = lost_during(scene, [100, 1400, 1410, 1450, 1451, 4000], "converge")
    assert "remove" in said
    assert number > 1000 and lost == []
    assert scene.mtu_of_routes() == [["mtu", "1450"]] * 2
    assert "0 to change" in scene.fleet.play("converge", check=True).stdout
