# SPDX-License-Identifier: GPL-3.0-or-later
"""Changes of a live fleet: no packet of a pod that stays is lost, and what is not confirmed goes
back. Every change is an edit of the inventory and a run of `site`."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator

import pytest
from edits import (
    ONE,
    THREE,
    TWO,
    UNCONFIRMED,
    assert_same,
    change_cidr,
    edit,
    other_vni,
    pod,
    state,
    without_node_two,
)
from fleet import Fleet, Spec

LEFT = "ip route; ip -6 route; nft list ruleset; ip neigh show nud permanent"


@pytest.fixture
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    with Fleet(tmp_path_factory.mktemp("day2"), Spec(), "day2") as fleet:
        fleet.play("converge", check=True)
        yield fleet


def test_old_range_stays_while_a_pod_holds_it_and_goes_with_it(fleet: Fleet) -> None:
    old, far = pod(fleet, ONE, "old"), pod(fleet, THREE, "far")
    edit(fleet, change_cidr)
    first = fleet.play("site", check=True)
    held = f"node-1: 10.64.1.0/24 retires; held by {old['addresses']['ipv4']} ("
    assert held in first.stdout
    new = pod(fleet, ONE, "new")
    assert new["addresses"]["ipv4"].startswith("10.64.101.")
    for netns, target in (
        (far["netns"], old["addresses"]["ipv4"]),
        (far["netns"], new["addresses"]["ipv6"]),
    ):
        fleet.ssh(THREE, f"nsenter --net={netns} ping -n -c 2 -W 2 {target}")
    fleet.ssh(ONE, f"nsenter --net={old['netns']} ping -n -c 2 -W 2 {new['addresses']['ipv4']}")
    assert "0 to change" in fleet.play("converge", check=True).stdout

    handed = dict(fleet.data["podnet"]["hosts"][TWO])
    fleet.data["podnet"]["hosts"][TWO]["podnet_pod_cidrs"][0] = "10.64.1.0/24"
    fleet.write()
    refused = fleet.play("converge")
    assert refused.returncode and "overlaps a range that pods of node-1 still use" in refused.stdout
    handed["podnet_pod_cidrs"] = ["10.64.2.0/24", "fd00:64:0:2::/64"]
    fleet.data["podnet"]["hosts"][TWO] = handed
    fleet.write()

    pod(fleet, ONE, "old", state="absent")
    last = fleet.play("converge", check=True)
    assert "3 to change" in last.stdout
    for node in fleet.nodes:
        left = fleet.ssh(
            node, "ip route; ip -6 route; ip addr; nft list ruleset; ip neigh show nud permanent"
        )
        assert "10.64.1." not in left and "fd00:64:0:1:" not in left, node


def test_node_is_removed_and_nothing_of_it_is_left(fleet: Fleet) -> None:
    edit(fleet, without_node_two)
    fleet.play("converge", check=True)
    for node in (ONE, THREE):
        left = fleet.ssh(
            node, "ip route; ip -6 route; nft list ruleset; ip neigh show nud permanent; bridge fdb"
        )
        assert "10.64.2." not in left and "192.0.2.12" not in left


def test_change_without_confirmation_goes_back(fleet: Fleet) -> None:
    before = state(fleet)
    edit(fleet, other_vni)
    (fleet.folder / "unconfirmed.yml").write_text(UNCONFIRMED, encoding="utf-8")
    fleet.play("unconfirmed.yml", "-e", "podnet_confirm_seconds=15", check=True)
    assert "pn65" in fleet.ssh(ONE, "ip -br link"), "nothing was changed"
    # The same folder would be the same run, taken up again.
    second = fleet.play("converge", "-e", f"podnet_output_dir={fleet.folder / 'other'}")
    assert second.returncode and "another run is changing this node" in second.stdout
    end = time.monotonic() + 90  # generous, because the machine may be busy
    while "pn65" in fleet.ssh(ONE, "ip -br link; ls /etc/podnet/txn 2>/dev/null || true"):
        assert time.monotonic() < end, "nothing went back"
        time.sleep(1)
    while any("txn" in fleet.ssh(node, "ls /etc/podnet") for node in fleet.nodes):
        assert time.monotonic() < end, "a change still waits"
        time.sleep(1)
    assert_same(state(fleet), before)


def test_ranges_change_owner_between_segments(fleet: Fleet) -> None:
    hosts = fleet.data["podnet"]["hosts"]
    one, three = (hosts[name]["podnet_pod_cidrs"] for name in (ONE, THREE))
    hosts[ONE]["podnet_pod_cidrs"], hosts[THREE]["podnet_pod_cidrs"] = three, one
    fleet.write()
    fleet.play("site", check=True)
    assert "0 to change" in fleet.play("converge", check=True).stdout


def moving(fleet: Fleet, node: str) -> str:
    """The node gets its next addresses beside those that it has, and the inventory has the next;
    returns what takes them away."""
    hosts = fleet.data["podnet"]["hosts"]
    v4, v6 = hosts[node]["podnet_underlay_addresses"]
    v4, v6 = f"{v4.rpartition('.')[0]}.99", f"{v6.rpartition(':')[0]}:99"
    fleet.ssh(node, f"ip addr add {v4}/24 dev eth0; ip addr add {v6}/64 dev eth0 nodad")
    hosts[node]["podnet_underlay_addresses"] = [v4, v6]
    fleet.write()
    return f"ip addr del {v4}/24 dev eth0; ip addr del {v6}/64 dev eth0"


@pytest.mark.parametrize("node", [TWO, THREE])
def test_a_node_does_not_move_in_the_underlay_alone(fleet: Fleet, node: str) -> None:
    """Its peers behind the overlay would take no packet from where it is then. With all of them it
    moves, and what it masquerades to meanwhile, an address that the kernel chooses, is its own."""
    before = state(fleet)
    back = moving(fleet, node)
    refused = fleet.play("converge", "--limit", node)
    assert refused.returncode == 2 and "its pods would be cut off" in refused.stdout
    fleet.ssh(node, back)
    assert_same(state(fleet), before)
    moving_again = back.replace(" del ", " add ").replace("/64 dev eth0", "/64 dev eth0 nodad")
    fleet.ssh(node, moving_again)
    fleet.play("site", check=True)
    assert "0 to change" in fleet.play("converge", check=True).stdout


def test_a_check_says_of_when_the_report_is(fleet: Fleet) -> None:
    """Or the report of an earlier verification would be taken for its own."""
    fleet.play("site", check=True)
    report = fleet.folder / "report" / "report.html"
    written = report.stat().st_mtime_ns
    check = fleet.play("site", "--check", check=True)
    assert "check mode writes none; " in check.stdout and "the report is" not in check.stdout
    assert re.search(r"is of the verification of\s+20\d\d-", check.stdout), check.stdout
    assert report.stat().st_mtime_ns == written
