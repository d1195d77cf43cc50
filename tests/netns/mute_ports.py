# SPDX-License-Identifier: GPL-3.0-or-later
"""Attacks by a port of the bridge that has never used an address of the node's ranges, so that
nothing is known of it; each says whether it worked."""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager

from edits import ONE
from stranger_scene import ATTACKER, GATEWAY, OF_ANOTHER_NODE, V4, V6, Scene

MAC = "02:00:00:00:00:97"
LINK_LOCAL = "fe80::97"
UNUSED = {V4: "10.64.1.250", V6: "fd00:64:0:1::fa"}
NUMBERS = itertools.count()
# It has no address, and its kernel says nothing by itself. What the bridge forwards shall not meet
# the rules for what is routed, as it does where br_netfilter is loaded.
PLUG = """set -e; ip netns add {0}
ip netns exec {0} sh -c 'for c in all default; do
  echo 1 >/proc/sys/net/ipv6/conf/$c/disable_ipv6; done'
ip link add {0} type veth peer name eth0 address {1} netns {0}
ip link set {0} master cbr0 up; ip -n {0} link set eth0 up
for f in /proc/sys/net/bridge/bridge-nf-call-*; do echo 0 >$f; done
until bridge link show dev {0} | grep -q forwarding; do sleep 0.1; done"""
UNPLUG = """ip link del {0}; ip netns del {0}
for f in /proc/sys/net/bridge/bridge-nf-call-*; do echo 1 >$f; done"""
FORGET = "sh -c 'ip neigh flush dev eth0; ip -6 neigh flush dev eth0'"


class Mute:
    def __init__(self, scene: Scene, name: str) -> None:
        self.scene, self.name = scene, name

    def sends(self, *words: object) -> None:
        text = " ".join(map(str, words))
        self.scene.fleet.ssh(ONE, f"ip netns exec {self.name} python3 {ATTACKER} {text}")

    def claims(self, claimed: str, at: str, *more: str) -> bool:
        """Whether a pod that speaks to an address believes that it is here."""
        family = V6 if ":" in claimed else V4
        self.scene.inside(at, FORGET)
        self.scene.inside(at, f"ping -c1 -W2 {claimed} || true")
        time.sleep(1.2)  # Linux believes nobody else for a second (locktime)
        to, macs = self.scene.address(at, family), (self.scene.mac(at), MAC)
        if family == V4:
            self.sends("arp", "eth0", *macs, to, claimed, *more)
        else:
            self.sends("advert", "eth0", *macs, to, LINK_LOCAL, claimed, *more)
        believed = self.scene.neighbour(at, claimed) == MAC
        self.scene.inside(at, FORGET)
        return believed


@contextmanager
def mute(scene: Scene) -> Iterator[Mute]:
    name = f"mute{next(NUMBERS)}"
    scene.fleet.ssh(ONE, PLUG.format(name, MAC))
    try:
        yield Mute(scene, name)
    finally:
        scene.fleet.ssh(ONE, UNPLUG.format(name))


def tagged_claim_of_the_gateway(scene: Scene, family: str) -> bool:
    with mute(scene) as port:
        return port.claims(GATEWAY[family], "victim", "tagged")


def second_claim(scene: Scene, family: str) -> bool:
    """The first one may be wrong, but is the last."""
    with mute(scene) as port:
        port.claims(UNUSED[family], "victim")
        return port.claims(scene.address("witness", family), "victim")


def router(scene: Scene, family: str) -> bool:
    with mute(scene) as port:
        port.sends("router", "eth0", MAC, LINK_LOCAL)
        routes = json.loads(scene.inside("victim", "ip -j -6 route show default"))
        believed = any(route.get("gateway") == LINK_LOCAL for route in routes)
        if believed:
            scene.inside("victim", f"ip -6 route del default via {LINK_LOCAL} dev eth0")
        return believed


def pod_of_another_node(scene: Scene, family: str) -> bool:
    """Sent to a pod on the same bridge, so it is not routed."""
    source = OF_ANOTHER_NODE[family]
    with mute(scene) as port:

        def sends(number: int, word: str) -> None:
            ends = (scene.mac("victim"), MAC, scene.address("victim", family), source)
            port.sends("frame", "eth0", *ends, number, word)

        return scene.heard("victim", sends) == source


ATTACKS = {
    "tagged claim of the gateway": (tagged_claim_of_the_gateway, (V4, V6)),
    "second claim": (second_claim, (V4, V6)),
    "router": (router, (V6,)),
    "pod of another node": (pod_of_another_node, (V4, V6)),
}
