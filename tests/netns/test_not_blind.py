# SPDX-License-Identifier: GPL-3.0-or-later
"""Verification is not blind: each fault makes it fail, on exactly the pairs concerned."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
from fleet import Fleet, Spec

DUAL = ("ipv4", "ipv6")
ONE, TWO, THREE = "node-1", "node-2", "node-3"
Pair = tuple[str, str, str]


def pairs(one: str, two: str, families: tuple[str, ...] = DUAL) -> set[Pair]:
    return {(one, two, family) for family in families}


@dataclass(frozen=True)
class Fault:
    """What is broken where, and whom it concerns.

    `kinds`: the kinds of check that fail; empty when they need not be told apart.
    `outside`: families in which the node's pods do not reach the outside host as they should.
    """

    node: str
    break_it: str
    pairs: set[Pair]
    kinds: frozenset[str] = frozenset()
    outside: tuple[str, ...] = ()
    mend: str = ""
    also: set[Pair] = field(default_factory=set)


FAULTS = {
    "route deleted": Fault(ONE, "ip route del 10.64.2.0/24", pairs(ONE, TWO, ("ipv4",))),
    "IPv6 route deleted": Fault(ONE, "ip route del fd00:64:0:2::/64", pairs(ONE, TWO, ("ipv6",))),
    "FDB entry deleted": Fault(
        ONE,
        "set -- $(bridge fdb show dev pn64 | grep 'dst 198.51.100.11'); "
        "bridge fdb del $1 dev pn64 dst 198.51.100.11 self",
        pairs(ONE, THREE),
    ),
    "neighbour deleted": Fault(
        ONE, "ip neigh del 10.64.3.1 dev pn64", pairs(ONE, THREE, ("ipv4",))
    ),
    "forwarding off": Fault(
        TWO,
        "echo 0 >/proc/sys/net/ipv4/ip_forward",
        pairs(ONE, TWO, ("ipv4",)) | pairs(TWO, THREE, ("ipv4",)),
        outside=("ipv4",),
    ),
    "nftables table deleted": Fault(
        ONE,
        "nft delete table inet podnet",
        set(),
        outside=DUAL,
        # Nodes across a segment are reached masqueraded, as everything outside the fleet.
        also=pairs(ONE, THREE),
    ),
    "bridge MTU wrong": Fault(
        TWO,
        "ip link set cbr0 mtu 1300",
        pairs(ONE, TWO) | pairs(TWO, THREE),
        kinds=frozenset({"mtu_pass"}),
    ),
    "VXLAN MTU wrong": Fault(
        ONE, "ip link set pn64 mtu 1300", pairs(ONE, THREE), kinds=frozenset({"mtu_pass"})
    ),
    "stray masquerade": Fault(
        ONE,
        "nft add table ip stray; "
        "nft 'add chain ip stray post { type nat hook postrouting priority 90; }'; "
        "nft add rule ip stray post ip saddr 10.64.0.0/16 oifname != cbr0 masquerade",
        pairs(ONE, TWO, ("ipv4",)) | pairs(ONE, THREE, ("ipv4",)),
        mend="nft delete table ip stray",
    ),
}


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    with Fleet(tmp_path_factory.mktemp("blind"), Spec(), "blind") as fleet:
        fleet.play("converge", check=True)
        yield fleet


def wrong(fleet: Fleet) -> tuple[set[Pair], set[tuple[str, str]], set[str]]:
    """Pairs of nodes with a failed or impossible check; (node, family) whose way outside
    failed; and the kinds of check that failed between nodes."""
    between: set[Pair] = set()
    outside: set[tuple[str, str]] = set()
    kinds: set[str] = set()
    for result in fleet.results():
        if result["status"] not in ("failure", "error"):
            continue
        source, target = result["source"], result["target"]
        if target not in fleet.nodes:
            outside.add((source, result["family"]))
        elif source != target:
            one, two = sorted((source, target))
            between.add((one, two, result["family"]))
            kinds.add(result["kind"])
        else:
            raise AssertionError(f"a check inside one node failed: {result}")
    return between, outside, kinds


@pytest.mark.parametrize("name", FAULTS)
def test_fault_is_seen_on_exactly_the_pairs_concerned(fleet: Fleet, name: str) -> None:
    fault = FAULTS[name]
    fleet.ssh(fault.node, fault.break_it)
    seen = fleet.play("verify")
    between, outside, kinds = wrong(fleet)
    if fault.mend:
        fleet.ssh(fault.node, fault.mend)
    repaired = fleet.play("converge")

    assert seen.returncode != 0, "verification passed a broken fleet"
    assert fault.pairs <= between <= fault.pairs | fault.also
    assert outside == {(fault.node, family) for family in fault.outside}
    if fault.kinds:
        assert kinds == fault.kinds
    assert repaired.returncode == 0, repaired.stdout
    assert ("1 to change" in repaired.stdout) != bool(fault.mend), repaired.stdout


def test_healthy_again_after_all_faults(fleet: Fleet) -> None:
    """A negative test that leaves its damage behind would make every later one pass."""
    fleet.play("verify", check=True)
    assert wrong(fleet) == (set(), set(), set())


def test_stopped_peer_is_an_error_of_its_pairs_only(fleet: Fleet) -> None:
    vars_file = (fleet.labs / fleet.name / "vars.json").read_text(encoding="utf-8")
    ident = vars_file.partition("cp/lab-")[2][:6]
    netns = f"podnet-{ident}-2"
    pids = subprocess.run(
        ["ip", "netns", "pids", netns], capture_output=True, text=True, check=True
    ).stdout.split()
    subprocess.run(["kill", "-9", *pids], check=False)
    seen = fleet.play("verify")
    between, _outside, _kinds = set(), set(), set()
    for result in fleet.results():
        if result["status"] in ("failure", "error"):
            between.add(frozenset({result["source"], result["target"]}))
    fleet.play("lab_up", check=True)
    healed = fleet.play("converge")

    assert seen.returncode != 0
    assert {frozenset({ONE, THREE}), frozenset({TWO, THREE})} <= between
    assert all(THREE in pair for pair in between), between
    assert healed.returncode == 0, healed.stdout
    fleet.play("verify", check=True)
