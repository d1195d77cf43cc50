# SPDX-License-Identifier: GPL-3.0-or-later
"""A family that the fleet gives up while pods of some nodes hold addresses of it: every node
reaches them after every run, until the last has gone, and then nothing of the family is left."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest
from edits import ONE, THREE, TWO, pod
from fleet import Fleet, Spec

NODES = (ONE, TWO, THREE)
CLUSTER = {"ipv4": "10.64.0.0/16", "ipv6": "fd00:64::/48"}
RANGE = {"ipv4": "10.64.{}.0/24", "ipv6": "fd00:64:0:{}::/64"}
START = {"ipv4": "10.64.", "ipv6": "fd00:64:"}
OTHER = {"ipv4": "ipv6", "ipv6": "ipv4"}
ONE_SEGMENT = ("rack-a",) * 3
# In `auto` the third node is reached by VXLAN, and the two others directly.
SEGMENTS = {"auto": ("rack-a", "rack-a", "rack-b")}
LEFT = """ip addr; ip -4 route show table all; ip -6 route show table all; nft list ruleset
ip -4 neigh show nud permanent; ip -6 neigh show nud permanent"""


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    spec = Spec(segments={"rack-a": 3})
    with Fleet(tmp_path_factory.mktemp("family"), spec, "family") as fleet:
        yield fleet


def wanted(fleet: Fleet, mode: str, *families: str) -> None:
    podnet = fleet.data["podnet"]
    podnet["vars"]["podnet_mode"] = mode
    podnet["vars"]["podnet_cluster_cidrs"] = [CLUSTER[family] for family in families]
    podnet["vars"]["podnet_verify_outside"] = []
    hosts = zip(podnet["hosts"].values(), SEGMENTS.get(mode, ONE_SEGMENT), strict=True)
    for number, (host, segment) in enumerate(hosts, 1):
        host["podnet_segment"] = segment
        host["podnet_pod_cidrs"] = [RANGE[family].format(number) for family in families]
    fleet.write()


def settled(fleet: Fleet, pods: dict[str, str]) -> None:
    """After one run every node reaches the pods of the others, and a second one does nothing."""
    fleet.play("converge", check=True)
    for node in NODES:
        for owner, address in pods.items():
            if node != owner:
                fleet.ssh(node, f"ping -n -c 2 -i 0.2 -W 2 {address}")
    assert "0 to change" in fleet.play("converge", check=True).stdout
    fleet.play("drift", check=True)


# Mode bgp takes its time; IPv4 is the family of which the kernel lets more go.
@pytest.mark.parametrize(
    ("mode", "gone"), [*itertools.product(["auto", "vxlan", "routed"], CLUSTER), ("bgp", "ipv4")]
)
def test_a_family_goes_with_its_last_pod(lab: Fleet, mode: str, gone: str) -> None:
    wanted(lab, mode, "ipv4", "ipv6")
    lab.play("converge", check=True)
    pods = {node: pod(lab, node, "old")["addresses"][gone] for node in (TWO, THREE)}
    wanted(lab, mode, OTHER[gone])
    settled(lab, pods)
    for node in (TWO, THREE):
        pod(lab, node, "old", state="absent")
        del pods[node]
        settled(lab, pods)
        left = {name: START[gone] in lab.ssh(name, LEFT) for name in NODES}
        assert left == dict.fromkeys(NODES, bool(pods))
