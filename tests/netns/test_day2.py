# SPDX-License-Identifier: GPL-3.0-or-later
"""Changes of a live fleet: no packet of a pod that stays is lost, and what is not confirmed goes
back. Every change is an edit of the inventory and a run of `site`."""

from __future__ import annotations

import difflib
import re
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from fleet import DUMP, Fleet, Spec, without_timers

ONE, TWO, THREE = "node-1", "node-2", "node-3"
METER = Path(__file__).with_name("meter.py")
LEFT = "ip route; ip -6 route; nft list ruleset; ip neigh show nud permanent"
RATE = 250  # packets per second and pair


@pytest.fixture
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    with Fleet(tmp_path_factory.mktemp("day2"), Spec(), "day2") as fleet:
        fleet.play("converge", check=True)
        yield fleet


def pod(fleet: Fleet, node: str, name: str, **more: Any) -> dict[str, Any]:
    result = fleet.module(node, "podnet.fabric.pod", {"name": name, **more})
    return dict(result.get("pod", {}))


@dataclass(frozen=True)
class Reading:
    """Over all pairs: packets sent and lost, and the longest gap of any pair in milliseconds."""

    sent: int
    lost: int
    gap: int


class Meters:
    """`meter.py` between every two pods, both families, all the time."""

    def __init__(self, fleet: Fleet, pods: dict[str, dict[str, Any]]) -> None:
        self.fleet = fleet
        self.running = [
            self._start(node, here["netns"], there["addresses"][family])
            for node, here in pods.items()
            for other, there in pods.items()
            if node != other
            for family in ("ipv4", "ipv6")
        ]
        time.sleep(1)

    def _start(self, node: str, netns: str, to: str) -> subprocess.Popen[str]:
        command = f"exec nsenter --net={netns} python3 - {to} {RATE}"
        with METER.open(encoding="utf-8") as program:
            return subprocess.Popen(
                ["ssh", "-F", str(self.fleet.ssh_config), node, command],
                stdin=program,
                stdout=subprocess.PIPE,
                text=True,
            )

    def stop(self) -> Reading:
        time.sleep(0.5)
        for node in self.fleet.nodes:
            # The node's own processes only: it has a PID namespace of its own.
            self.fleet.ssh(node, f"pkill -INT -f '^python3 - .* {RATE}$'; true")
        total = Reading(0, 0, 0)
        for process in self.running:
            output = process.communicate(timeout=30)[0]
            found = re.search(r"meter (\d+) (\d+) (\d+)", output)
            assert found, output
            sent, lost, gap = (int(text) for text in found.groups())
            total = Reading(total.sent + sent, total.lost + lost, max(total.gap, gap))
        return total


def change_cidr(variables: dict[str, Any], hosts: dict[str, Any]) -> None:
    hosts[ONE]["podnet_pod_cidrs"] = ["10.64.101.0/24", "fd00:64:0:101::/64"]


def to_vxlan(variables: dict[str, Any], hosts: dict[str, Any]) -> None:
    variables["podnet_mode"] = "vxlan"


def to_auto(variables: dict[str, Any], hosts: dict[str, Any]) -> None:
    variables["podnet_mode"] = "auto"


def other_vni(variables: dict[str, Any], hosts: dict[str, Any]) -> None:
    variables["podnet_vni"] = 65


def other_port(variables: dict[str, Any], hosts: dict[str, Any]) -> None:
    variables["podnet_vxlan_port"] = 8472


def smaller_mtu(variables: dict[str, Any], hosts: dict[str, Any]) -> None:
    variables["podnet_mtu"] = 1400


def without_node_two(variables: dict[str, Any], hosts: dict[str, Any]) -> None:
    del hosts[TWO]


def edit(fleet: Fleet, change: Callable[[dict[str, Any], dict[str, Any]], None]) -> None:
    change(fleet.data["podnet"]["vars"], fleet.data["podnet"]["hosts"])
    fleet.write()


def test_no_packet_is_lost_in_any_change(fleet: Fleet) -> None:
    pods = {node: pod(fleet, node, "old") for node in fleet.nodes}
    table: dict[str, Reading] = {}
    for change in (to_vxlan, to_auto, other_vni, other_port, smaller_mtu, change_cidr):
        edit(fleet, change)
        meters = Meters(fleet, pods)
        done = fleet.play("converge")
        table[change.__name__] = meters.stop()
        assert done.returncode == 0, done.stdout
    for name, reading in table.items():
        print(f"{name}: {reading}")
    assert all(reading.sent > 1000 for reading in table.values())
    assert {name: reading for name, reading in table.items() if reading.lost} == {}


def test_meter_sees_a_naive_change(fleet: Fleet) -> None:
    """Delete, then add: the control without which the meter would prove nothing."""
    pods = {node: pod(fleet, node, "old") for node in (ONE, TWO)}
    meters = Meters(fleet, pods)
    fleet.ssh(ONE, "r=$(ip route show 10.64.2.0/24); ip route del $r; sleep 0.3; ip route add $r")
    reading = meters.stop()
    assert reading.lost > 25 and reading.gap > 250


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


UNCONFIRMED = """---
- name: Plan
  ansible.builtin.import_playbook: podnet.fabric.plan
- name: A controller that is gone after the change
  hosts: podnet
  gather_facts: false
  roles: [podnet.fabric.converge]
"""


def state(fleet: Fleet) -> dict[str, str]:
    """Complete dumps, line by line; a device that was made again has another number and another
    place in the lists, and that is all."""
    dumps = {}
    for node in fleet.nodes:
        text = without_timers(fleet.ssh(node, DUMP)).replace("{", "\n{")
        text = re.sub(r'"ifindex":\d+|^\d+: |@\w+(?=:)', "", text, flags=re.MULTILINE)
        dumps[node] = "\n".join(sorted(line.rstrip(",] ") for line in text.splitlines()))
    return dumps


def assert_same(now: dict[str, str], before: dict[str, str]) -> None:
    for node, text in before.items():
        found = list(difflib.unified_diff(text.splitlines(), now[node].splitlines(), lineterm=""))
        assert not found, "\n".join([node, *found])


def test_change_without_confirmation_goes_back(fleet: Fleet) -> None:
    before = state(fleet)
    edit(fleet, other_vni)
    (fleet.folder / "unconfirmed.yml").write_text(UNCONFIRMED, encoding="utf-8")
    fleet.play("unconfirmed.yml", "-e", "podnet_confirm_seconds=6", check=True)
    assert "pn65" in fleet.ssh(ONE, "ip -br link"), "nothing was changed"
    # The same folder would be the same run, taken up again.
    second = fleet.play("converge", "-e", f"podnet_output_dir={fleet.folder / 'other'}")
    assert second.returncode and "another run is changing this node" in second.stdout
    time.sleep(9)
    assert_same(state(fleet), before)
