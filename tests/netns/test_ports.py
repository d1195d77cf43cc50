# SPDX-License-Identifier: GPL-3.0-or-later
"""Pods' ends that came off the bridge while their pods run: seen, named, and put back."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from edits import ONE, TWO, pod
from fleet import Fleet, Spec

RESET = ("-e", "podnet_yes=true", "-e", "podnet_reset_pods=true")
# A veth that is on no bridge, and no pod's.
STRANGER = "ip link add vethbad0 type veth peer name vethbad1"


class Scene:
    """Two nodes and three pods, two of them on the first node."""

    def __init__(self, fleet: Fleet) -> None:
        self.fleet = fleet
        fleet.play("converge", check=True)
        self.pods = {f"{node}-{i}": pod(fleet, node, f"p{i}") for node, i in PODS}
        self.addresses = [a for made in self.pods.values() for a in made["addresses"].values()]
        fleet.ssh(ONE, STRANGER)

    def unreached(self, node: str, name: str) -> list[str]:
        """Addresses of pods, its own too, that a pod does not reach."""
        pings = "; ".join(f"ping -c 1 -W 1 {a} >/dev/null || echo {a}" for a in self.addresses)
        return self.fleet.ssh(
            node, f"nsenter --net=/run/podnet/netns/{name} sh -c '{pings}'"
        ).split()

    def all_reach_all(self) -> None:
        assert {f"{node}-{i}": self.unreached(node, f"p{i}") for node, i in PODS} == {
            name: [] for name in self.pods
        }

    def ports(self) -> str:
        return self.fleet.ssh(ONE, "bridge -d -o link show; ip -o link show type veth nomaster")


PODS = ((ONE, 1), (ONE, 2), (TWO, 3))


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    with Fleet(
        tmp_path_factory.mktemp("ports"), Spec(segments={"rack-a": 1, "rack-b": 1}), "ports"
    ) as fleet:
        yield Scene(fleet)


@pytest.mark.parametrize(
    "damage",
    [
        "ip link del cbr0",
        "for p in $(ls /sys/class/net/cbr0/brif); do ip link set dev $p nomaster; done",
    ],
    ids=["the bridge is deleted", "the ends are taken off"],
)
def test_heal_attaches_pods_again(scene: Scene, damage: str) -> None:
    scene.all_reach_all()
    before = scene.ports()
    scene.fleet.ssh(ONE, damage)
    assert len(scene.unreached(ONE, "p1")) == 4, "of six addresses its own two are left"
    said = scene.fleet.ssh(ONE, "podnet-node heal")
    assert said.count("put back: port veth") == 2, said
    assert "vethbad" not in said
    assert sorted(scene.ports().split()) == sorted(before.split()), "with hairpin, as they were"
    scene.all_reach_all()
    assert scene.fleet.ssh(ONE, "podnet-node heal") == ""


def test_drift_names_them_and_a_run_attaches_them(scene: Scene) -> None:
    before = scene.ports()
    scene.fleet.ssh(ONE, "ip link set dev $(ls /sys/class/net/cbr0/brif | head -n 1) nomaster")
    drift = scene.fleet.play("drift")
    assert drift.returncode == 2, drift.stdout
    assert "on no bridge" in drift.stdout and "vethbad" not in drift.stdout, drift.stdout
    scene.fleet.play("converge", check=True)
    assert sorted(scene.ports().split()) == sorted(before.split())
    scene.all_reach_all()
    scene.fleet.play("drift", check=True)


def test_pods_that_a_reset_cut_off_come_back_with_the_network(scene: Scene) -> None:
    scene.fleet.play("reset", *RESET, check=True)
    assert len(scene.unreached(ONE, "p1")) == 4
    scene.fleet.play("converge", check=True)
    scene.all_reach_all()
    scene.fleet.play("drift", check=True)


def test_a_port_that_ends_meanwhile_fails_no_run(scene: Scene) -> None:
    """As a pod may at any time: between the reading of its node and the change."""
    assert scene.fleet.ssh(ONE, ATTACH) == "0\n1\n"


# The function itself, of a port that is gone and of one that cannot go where it shall.
ATTACH = """sed -n '/^attach()/,/^}/p' /usr/local/sbin/podnet-node >/run/attach; . /run/attach
attach vethgone cbr0 2>/dev/null; echo $?; attach vethbad0 cbr9 2>/dev/null; echo $?
"""
