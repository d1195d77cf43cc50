# SPDX-License-Identifier: GPL-3.0-or-later
"""Attacks that are really tried, by pods and by a host of the underlay that is none of the fleet's.
Each one is tried twice: protected it must fail, and with its variable off it must work, or it would
show nothing."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from ansible_collections.podnet.fabric.plugins.plugin_utils.intent.model import (
    locally_administered_mac,
)
from edits import ONE, THREE, TWO, pod
from fleet import Fleet, Spec
from mute_ports import ATTACKS as OF_MUTE_PORTS
from stranger_scene import (
    ATTACKER,
    ATTACKS,
    BRIDGE_MAC,
    GATEWAY,
    OFF,
    V4,
    V6,
    Scene,
    greet,
    localhost_of_the_node,
    prepare,
    vxlan_as_its_node,
)

BY_MUTE_PORTS = {f"mute port, {name}": how for name, how in OF_MUTE_PORTS.items()}
TRIED = [
    pytest.param(attack, family, id=f"{name}, {family}")
    for name, (attack, families) in (*ATTACKS.items(), *BY_MUTE_PORTS.items())
    for family in families
]


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    spec = Spec(segments={"rack-a": 2, "rack-b": 1})
    with Fleet(tmp_path_factory.mktemp("strangers"), spec, "strangers") as fleet:
        fleet.play("converge", check=True)
        yield prepare(fleet)


@pytest.fixture(scope="module", params=["protected", "open"])
def tried(request: pytest.FixtureRequest, scene: Scene) -> Scene:
    """The same fleet with the protections that are the default, and then without them."""
    variables = scene.fleet.data["podnet"]["vars"]
    scene.protected = request.param == "protected"
    for name, value in OFF.items():
        variables.pop(name, None)
        if not scene.protected:
            variables[name] = value
    scene.fleet.write()
    scene.fleet.play("site", check=True)
    return scene


@pytest.mark.parametrize(("attack", "family"), TRIED)
def test_attack_works_only_where_nothing_protects(
    tried: Scene, attack: Callable[[Scene, str], bool], family: str
) -> None:
    assert attack(tried, family) is not tried.protected


def test_the_kernel_tracks_what_pods_send_and_not_what_it_travels_in(tried: Scene) -> None:
    for family in (V4, V6):
        tried.inside("victim", f"ping -c1 -W5 {tried.address('far', family)}")
    for node in (ONE, THREE):
        found = tried.fleet.ssh(node, TRACKED)
        assert f"dst={tried.address('far', V4)} " in found
        outer = [line for line in found.splitlines() if "dport=4789 " in line]
        assert [line for line in outer if "198.51.100.11" in line] == []
    # Another VXLAN on the same port, of the same nodes, is not podnet's business.
    words = "192.0.2.11 192.0.2.12 4789 65 02:00:00:00:00:01 02:00:00:00:00:02 10.9.9.1 10.9.9.2"
    tried.fleet.ssh(ONE, f"python3 {ATTACKER} vxlan {words} 9 word")
    for node in (ONE, TWO):
        found = tried.fleet.ssh(node, TRACKED)
        assert re.search(r"src=192\.0\.2\.11 dst=192\.0\.2\.12 .*dport=4789 ", found)


def test_a_tunnel_of_pods_passes_their_nodes(tried: Scene) -> None:
    """Of podnet's own VNI and port: it comes by a node and is not for it."""
    ends = (tried.address("attacker", V4), tried.address("far", V4))
    frame = ("02:00:00:00:00:01", "02:00:00:00:00:02", "10.9.9.1", "10.9.9.2", 9)
    heard = tried.heard(
        "far", lambda _port, word: tried.attack("vxlan", *ends, 4789, 64, *frame, word), 4789
    )
    assert heard == ends[0]


def test_what_listens_on_localhost_is_for_the_node_alone(tried: Scene) -> None:
    """portmap lets the bridge take packets for 127.0.0.1 (route_localnet), so that the node itself
    reaches a pod at a port of localhost."""
    mapping = {"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}
    pod(tried.fleet, ONE, "mapped", capabilities={"portMappings": [mapping]})
    try:
        assert tried.fleet.ssh(ONE, "cat /proc/sys/net/ipv4/conf/cbr0/route_localnet") == "1\n"
        assert localhost_of_the_node(tried) is not tried.protected
        assert tried.fleet.ssh(ONE, THERE_AND_BACK) == "answered\n"
    finally:
        pod(tried.fleet, ONE, "mapped", state="absent")


THERE_AND_BACK = """nsenter --net=/run/podnet/netns/mapped timeout 20 python3 -c '
import socket
s = socket.create_server(("", 80)); print("ready", flush=True)
s.accept()[0].send(b"answered")' >/run/mapped & until grep -q ready /run/mapped; do sleep 0.1; done
python3 -c '
import socket
print(socket.create_connection(("127.0.0.1", 8080), 5).recv(99).decode())'
"""
TRACKED = "cat /proc/net/nf_conntrack"


def test_a_pod_that_lies_from_the_first_packet_on_is_named(scene: Scene) -> None:
    """The gap that docs/strangers.md names: nothing is known yet of a pod that has never spoken."""
    for name in OFF:
        scene.fleet.data["podnet"]["vars"].pop(name, None)
    scene.fleet.write()
    scene.fleet.play("converge", check=True)
    greet(scene)
    assert "both use" not in scene.fleet.play("status").stdout
    scene.pods["liar"] = pod(scene.fleet, ONE, "liar")
    claimed = scene.address("victim", V4)
    macs = (BRIDGE_MAC, scene.mac("liar"))
    words = map(str, ("arp", "eth0", *macs, GATEWAY[V4], claimed))
    scene.inside("liar", f"python3 {ATTACKER} {' '.join(words)}")
    said = scene.fleet.play("status").stdout
    pod(scene.fleet, ONE, "liar", state="absent")
    del scene.pods["liar"]
    assert f"both use {claimed}" in said
    assert "both use" not in scene.fleet.play("status").stdout
    scene.fleet.ssh(ONE, "ip neigh flush dev cbr0")
    greet(scene)


# --- who has left --------------------------------------------------------------


@pytest.mark.parametrize("underlay", [V4, V6])
@pytest.mark.parametrize("protected", [True, False], ids=["protected", "open"])
def test_a_node_that_has_left_can_send_no_more(
    tmp_path: Path, protected: bool, underlay: str
) -> None:
    """It is not reached when it is taken out, so everything of podnet is still on it, and it goes
    on sending. Nothing of it is left on the others, in the kernel or in files."""
    spec = Spec("vxlan", (V4, V6), (underlay,), segments={"rack-a": 2, "rack-b": 1})
    with Fleet(tmp_path, spec, "leaver") as fleet:
        variables, hosts = fleet.data["podnet"]["vars"], fleet.data["podnet"]["hosts"]
        if not protected:
            variables.update(OFF)
        fleet.write()
        fleet.play("converge", check=True)
        pods = {"victim": pod(fleet, ONE, "victim"), "far": pod(fleet, THREE, "far")}
        scene = Scene(fleet, "", pods)
        old = {f: pods["far"]["addresses"][f] for f in (V4, V6)}
        assert all(_from_far(scene, family) for family in (V4, V6)), "it could before"
        for family in (V4, V6):
            assert vxlan_as_its_node(scene, family, "victim") is not protected
        kept = dict(hosts.pop(THREE))
        fleet.write()
        fleet.play("converge", check=True)
        # Without any route to its source, reverse-path filtering drops what one family sends.
        assert any(_from_far(scene, family) for family in (V4, V6)) is not protected
        for family in (V4, V6):
            ping = f"sh -c 'ping -c1 -W1 {old[family]} >/dev/null && echo yes || echo no'"
            assert scene.inside("victim", ping).strip() == "no", "an old range is reached"
        for node in (ONE, TWO):
            left = fleet.ssh(node, LEFT)
            traces = [*kept["podnet_pod_cidrs"], *kept["podnet_underlay_addresses"], THREE]
            traces += ["10.64.3.", "fd00:64:0:3:", locally_administered_mac(f"podnet vtep {THREE}")]
            assert [trace for trace in traces if trace in left] == []
        hosts[THREE] = kept
        fleet.write()


LEFT = """ip route show table all; ip -6 route show table all; ip neigh; ip -6 neigh; bridge fdb
for f in inet ip ip6 bridge; do nft list ruleset $f; done
cat /etc/podnet/current/*
"""


def _from_far(scene: Scene, family: str) -> bool:
    """A datagram of a pod of node THREE, in a packet of node THREE as its VTEP makes it."""
    source, target = scene.address("far", family), scene.address("victim", family)
    vtep = [locally_administered_mac(f"podnet vtep {name}") for name in (ONE, THREE)]

    def sends(port: int, word: str) -> None:
        ends = ("198.51.100.11", "192.0.2.11")
        if ":" in scene.fleet.data["podnet"]["hosts"][ONE]["podnet_underlay_addresses"][0]:
            ends = ("2001:db8:b::11", "2001:db8:a::11")
        words = (*ends, 4789, 64, *vtep, target, source, port, word)
        scene.fleet.ssh(THREE, f"python3 {ATTACKER} vxlan {' '.join(map(str, words))}")

    return scene.heard("victim", sends) == source
