# SPDX-License-Identifier: GPL-3.0-or-later
"""A fleet with an attacker in it, and the attacks; each says whether it worked."""

from __future__ import annotations

import itertools
import json
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ansible_collections.podnet.fabric.plugins.module_utils.lab.runtime import Lab
from ansible_collections.podnet.fabric.plugins.plugin_utils.intent.model import (
    locally_administered_mac,
)
from edits import ONE, THREE, pod
from fleet import Fleet
from labtool import PROBE_SERVER

ATTACKER = Path(__file__).parent / "attacker.py"
SECONDS = 4.0
STRANGER = "192.0.2.200"
OFF = {
    "podnet_vxlan_from": "anyone",
    "podnet_pod_sources": "any",
    "podnet_pod_identity": "any",
}
V4, V6 = "ipv4", "ipv6"
PORTS = itertools.count(20000)


@dataclass
class Scene:
    """A fleet with pods: attacker, victim and witness on one node, and one more on another."""

    fleet: Fleet
    router: str
    pods: dict[str, dict[str, Any]]
    protected: bool = True

    def inside(self, name: str, command: str) -> str:
        """A shell text in the network namespace of a pod."""
        node = THREE if name == "far" else ONE
        return self.fleet.ssh(node, f"nsenter --net=/run/podnet/netns/{name} {command}")

    def attack(self, *words: object) -> None:
        self.inside("attacker", f"python3 {ATTACKER} {' '.join(map(str, words))}")

    def mac(self, name: str) -> str:
        return str(self.pods[name]["mac"])

    def address(self, name: str, family: str) -> str:
        return str(self.pods[name]["addresses"][family])

    def heard(self, name: str, sends: Callable[[int, str], None], port: int = 0) -> str:
        """What a pod hears (or the node, by its name) of the datagram that ``sends`` sends to the
        port that it is given: its source, or nothing."""
        port, node = port or next(PORTS), THREE if name == "far" else ONE
        word = f"word-{port}"
        enter = f"nsenter --net=/run/podnet/netns/{name}" if name in self.pods else ""
        remote = f"{enter} python3 {ATTACKER} listen {port} {SECONDS} {word}"
        listener = subprocess.Popen(
            ["ssh", "-F", str(self.fleet.ssh_config), node, remote],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert listener.stdout and listener.stdout.readline() == "ready\n"
        sends(port, word)
        answer = listener.communicate()[0].split()
        return answer[1] if answer[0] == "heard" else ""

    def neighbour(self, where: str, address: str) -> str:
        """The MAC that a pod, or the node, has for an address."""
        ask = f"ip -j neigh show {address}"
        text = self.inside(where, ask) if where in self.pods else self.fleet.ssh(where, ask)
        found = [item.get("lladdr", "") for item in json.loads(text) if item]
        return str(found[0]) if found else ""


GATEWAY = {V4: "10.64.1.1", V6: "fd00:64:0:1::1"}
BRIDGE_MAC = locally_administered_mac(f"podnet bridge {ONE}")
FOREIGN = {V4: "10.99.9.9", V6: "fd99::9"}
OF_ANOTHER_NODE = {V4: "10.64.2.77", V6: "fd00:64:0:2::77"}


def prepare(fleet: Fleet) -> Scene:
    """Pods that have lived a moment: they have spoken to their gateway and to one another."""
    names = ("attacker", "victim", "witness")
    pods = {name: pod(fleet, ONE, name) for name in names} | {"far": pod(fleet, THREE, "far")}
    router = Lab(str(fleet.labs), fleet.name, str(PROBE_SERVER)).facts()["router"]
    scene = Scene(fleet, router, pods)
    stranger = f"ip address add {STRANGER}/32 dev lo"
    subprocess.run(["nsenter", f"--net={router}", "sh", "-c", stranger], check=True)
    greet(scene)
    return scene


def greet(scene: Scene) -> None:
    for name in ("attacker", "victim", "witness"):
        for family in (V4, V6):
            others = [GATEWAY[family], scene.address("witness", family)]
            for address in others:
                scene.inside(name, f"ping -c1 -W5 {address}")


# --- attacks; each says whether it worked --------------------------------------


def vxlan_of_a_stranger(scene: Scene, family: str, to: str = "192.0.2.11") -> bool:
    """The right VNI, MAC and addresses, from an address of the underlay that is no node's."""
    vtep = locally_administered_mac(f"podnet vtep {ONE}")
    target = scene.address("victim", family)
    source = scene.address("far", family)

    def sends(port: int, word: str) -> None:
        words = (STRANGER, to, 4789, 64, vtep, "02:00:00:00:00:99")
        command = ["python3", str(ATTACKER), "vxlan", *words, target, source, port, word]
        inside = ["nsenter", f"--net={scene.router}", *map(str, command)]
        subprocess.run(inside, check=True)

    return scene.heard("victim", sends) == source


def vxlan_to_everybody(scene: Scene, family: str) -> bool:
    """The same to the broadcast address: what is for the node need not have its address."""
    return vxlan_of_a_stranger(scene, family, "192.0.2.255")


def vxlan_of_a_pod(scene: Scene, family: str) -> bool:
    """The same from a pod to its own node, with the pod's own address outside."""
    vtep = locally_administered_mac(f"podnet vtep {ONE}")
    target, source = scene.address("victim", family), scene.address("far", family)

    def sends(port: int, word: str) -> None:
        ends = (scene.address("attacker", V4), "192.0.2.11", 4789, 64)
        scene.attack("vxlan", *ends, vtep, "02:00:00:00:00:99", target, source, port, word)

    return scene.heard("victim", sends) == source


def vxlan_as_its_node(scene: Scene, family: str, sender: str = "attacker") -> bool:
    """The same to another node: masqueraded, it comes from the address of the sender's node."""
    vtep = [locally_administered_mac(f"podnet vtep {name}") for name in (THREE, ONE)]
    to = scene.fleet.data["podnet"]["hosts"][THREE]["podnet_underlay_addresses"][0]
    ends = (scene.address(sender, V6 if ":" in to else V4), to, 4789, 64)
    target, source = scene.address("far", family), OF_ANOTHER_NODE[family]

    def sends(port: int, word: str) -> None:
        words = ("vxlan", *ends, *vtep, target, source, port, word)
        scene.inside(sender, f"python3 {ATTACKER} {' '.join(map(str, words))}")

    return scene.heard("far", sends) == source


def _routed(scene: Scene, source: str, target: str, listener: str) -> bool:
    def sends(port: int, word: str) -> None:
        scene.attack("frame", "eth0", BRIDGE_MAC, scene.mac("attacker"), target, source, port, word)

    return scene.heard(listener, sends) == source


def foreign_source_to_another_node(scene: Scene, family: str) -> bool:
    return _routed(scene, FOREIGN[family], scene.address("far", family), "far")


def source_of_another_node(scene: Scene, family: str) -> bool:
    return _routed(scene, OF_ANOTHER_NODE[family], scene.address("far", family), "far")


def foreign_source_to_the_node(scene: Scene, family: str) -> bool:
    return _routed(scene, FOREIGN[family], GATEWAY[family], "node")


def localhost_of_the_node(scene: Scene) -> bool:
    return _routed(scene, scene.address("attacker", V4), "127.0.0.1", "node")


def address_of_another_pod(scene: Scene, family: str) -> bool:
    """To a pod on the same bridge, with the attacker's own MAC."""
    source = scene.address("victim", family)

    def sends(port: int, word: str) -> None:
        macs = (scene.mac("witness"), scene.mac("attacker"))
        scene.attack("frame", "eth0", *macs, scene.address("witness", family), source, port, word)

    return scene.heard("witness", sends) == source


def address_of_another_pod_to_another_node(scene: Scene, family: str) -> bool:
    return _routed(scene, scene.address("victim", family), scene.address("far", family), "far")


def _claims(scene: Scene, family: str, claimed: str, at: str, *more: str) -> bool:
    """Whether ``at`` (a pod, or the node) believes that the attacker is an address."""
    node = at not in scene.pods
    to = GATEWAY[family] if node else scene.address(at, family)
    macs = (BRIDGE_MAC if node else scene.mac(at), scene.mac("attacker"))
    if family == V4:
        scene.attack("arp", "eth0", *macs, to, claimed, *more)
    else:
        own = scene.address("attacker", V6)
        scene.attack("advert", "eth0", *macs, to, own, claimed)
    believed = scene.neighbour(at, claimed) == scene.mac("attacker")
    scene.fleet.ssh(ONE, "ip neigh flush dev cbr0; ip -6 neigh flush dev cbr0")
    for name in ("victim", "witness"):
        scene.inside(name, "sh -c 'ip neigh flush dev eth0; ip -6 neigh flush dev eth0'")
    greet(scene)
    return believed


def claim_of_the_gateway(scene: Scene, family: str) -> bool:
    return _claims(scene, family, GATEWAY[family], "victim")


def claim_of_another_pod_at_the_node(scene: Scene, family: str) -> bool:
    return _claims(scene, family, scene.address("victim", family), ONE)


def claim_of_another_pod_at_a_pod(scene: Scene, family: str) -> bool:
    scene.inside("witness", f"ping -c1 -W5 {scene.address('victim', family)}")
    return _claims(scene, family, scene.address("victim", family), "witness")


def claim_with_a_priority_tag(scene: Scene, family: str) -> bool:
    """A frame of VLAN 0 is as good as one without a tag to who receives it (IEEE 802.1Q)."""
    scene.inside("witness", f"ping -c1 -W5 {scene.address('victim', V4)}")
    return _claims(scene, V4, scene.address("victim", V4), "witness", "tagged")


def mac_of_another_pod(scene: Scene, family: str) -> bool:
    """The bridge then sends the attacker what is the victim's, until the victim sends something
    itself: so it is tried more than once."""
    macs = ("02:00:00:00:00:98", scene.mac("victim"))
    of = (scene.address("witness", family), scene.address("attacker", family))
    for _try in range(3):
        before = _port(scene)
        scene.attack("frame", "eth0", *macs, *of, 9, "x")
        moved = _port(scene) != before
        scene.inside("victim", f"ping -c1 -W5 {GATEWAY[V4]}")
        if moved:
            return True
    return False


def _port(scene: Scene) -> str:
    """The port of the bridge behind which the victim's MAC is."""
    found = json.loads(scene.fleet.ssh(ONE, "bridge -j fdb show br cbr0"))
    return str([item["ifname"] for item in found if item["mac"] == scene.mac("victim")])


ATTACKS = {
    "vxlan of a stranger": (vxlan_of_a_stranger, (V4, V6)),
    "vxlan to everybody": (vxlan_to_everybody, (V4, V6)),
    "vxlan of a pod": (vxlan_of_a_pod, (V4, V6)),
    "vxlan of a pod as its node": (vxlan_as_its_node, (V4, V6)),
    "foreign source to another node": (foreign_source_to_another_node, (V4, V6)),
    "source of another node": (source_of_another_node, (V4, V6)),
    "foreign source to the node": (foreign_source_to_the_node, (V4, V6)),
    "address of another pod": (address_of_another_pod, (V4, V6)),
    "address of another pod, routed": (address_of_another_pod_to_another_node, (V4, V6)),
    "claim of the gateway": (claim_of_the_gateway, (V4, V6)),
    "claim of a pod, at the node": (claim_of_another_pod_at_the_node, (V4, V6)),
    "claim of a pod, at a pod": (claim_of_another_pod_at_a_pod, (V4, V6)),
    "claim with a priority tag": (claim_with_a_priority_tag, (V4,)),
    "MAC of another pod": (mac_of_another_pod, (V4, V6)),
}
