# SPDX-License-Identifier: GPL-3.0-or-later
"""Back to an earlier state of the fleet, or of one node. One lab; each test leaves the fleet as the
inventory says."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from edits import (
    GENERATION,
    ONE,
    SOON,
    THREE,
    TWO,
    WALL,
    assert_same,
    change_cidr,
    edit,
    everything,
    lent,
    other_vni,
    pod,
    smaller_mtu,
    wait_for,
)
from fleet import Fleet, Spec

OWN = """---
- name: Plan
  ansible.builtin.import_playbook: podnet.fabric.plan
- name: Change node by node
  hosts: podnet
  gather_facts: false
  serial: 1
  roles: [podnet.fabric.converge, podnet.fabric.confirm]
"""
BATCHES = """---
- name: Go back, node by node
  hosts: podnet
  gather_facts: false
  serial: 1
  roles: [podnet.fabric.rollback, podnet.fabric.render, podnet.fabric.converge]
"""


def cidr_of(node: str, third: int) -> Callable[[dict[str, Any], dict[str, Any]], None]:
    ranges = [f"10.64.{third}.0/24", f"fd00:64:0:{third}::/64"]
    return lambda _variables, hosts: hosts[node].update(podnet_pod_cidrs=ranges)


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    with Fleet(tmp_path_factory.mktemp("rollback"), Spec(), "rollback") as fleet:
        yield fleet


@pytest.fixture
def fleet(lab: Fleet) -> Iterator[Fleet]:
    yield from lent(lab)


def test_rollback_is_the_earlier_state_byte_for_byte(fleet: Fleet) -> None:
    before = everything(fleet)
    edit(fleet, other_vni)
    fleet.play("site", check=True)
    assert everything(fleet) != before
    back = fleet.play("rollback", check=True)
    assert "podnet_vni: 65 -> 64" in back.stdout
    now = everything(fleet)
    assert_same(now[0], before[0])
    assert_same(now[1], before[1])
    forth = fleet.play("rollback", check=True)
    assert "podnet_vni: 64 -> 65" in forth.stdout, "the last generation before this one"
    assert "the inventory still says otherwise" in back.stdout
    assert "the inventory says the same" in forth.stdout
    number = fleet.ssh(ONE, "readlink /etc/podnet/current").strip().rpartition("/")[2]
    by_number = fleet.play("rollback", "-e", f"podnet_rollback_to={int(number) - 1}", check=True)
    assert "podnet_vni: 65 -> 64" in by_number.stdout
    assert_same(everything(fleet)[1], before[1])


def test_pods_of_the_newer_range_keep_it_after_a_rollback(fleet: Fleet) -> None:
    edit(fleet, change_cidr)
    fleet.play("site", check=True)
    new, far = pod(fleet, ONE, "new"), pod(fleet, THREE, "far")
    assert new["addresses"]["ipv4"].startswith("10.64.101.")
    back = fleet.play("rollback", check=True)
    assert "10.64.101.0/24 retires; held by" in back.stdout
    for family in ("ipv4", "ipv6"):
        target = new["addresses"][family]
        fleet.ssh(THREE, f"nsenter --net={far['netns']} ping -n -c 2 -W 2 {target}")
    pod(fleet, ONE, "new", state="absent")
    pod(fleet, THREE, "far", state="absent")


def test_one_node_goes_back_while_the_fleet_stays(fleet: Fleet) -> None:
    edit(fleet, change_cidr)
    fleet.play("site", check=True)
    edit(fleet, other_vni)
    fleet.play("site", check=True)
    back = fleet.play("rollback", "-e", '{"podnet_rollback_nodes": ["node-1"]}', check=True)
    assert "nodes.node-1.podnet_pod_cidrs" in back.stdout
    assert "10.64.1.1/24" in fleet.ssh(ONE, "ip address show cbr0")
    assert "10.64.1.0/24 via 192.0.2.11" in fleet.ssh(TWO, "ip route")
    assert "pn65" in fleet.ssh(ONE, "ip -br link"), "the fleet's own settings went back, too"


def test_a_generation_that_is_not_kept_is_refused(fleet: Fleet) -> None:
    before = everything(fleet)
    done = fleet.play("rollback", "-e", "podnet_rollback_to=0")
    assert done.returncode == 2 and "there is no such generation to go back to" in done.stdout
    assert everything(fleet) == before


@pytest.mark.parametrize(
    ("spoil", "mend", "code"),
    [
        (
            "mv /etc/podnet /etc/podnet.away; touch /etc/podnet",
            "rm /etc/podnet; mv /etc/podnet.away /etc/podnet",
            2,
        ),
        ("cd /etc/podnet/current; : >manifest.json", "", 0),
    ],
    ids=["not read", "manifest of no use"],
)
def test_nobody_loses_the_routes_to_a_node_whose_history_is_not_known(
    fleet: Fleet, spoil: str, mend: str, code: int
) -> None:
    edit(fleet, change_cidr)
    fleet.play("site", check=True)
    fleet.ssh(THREE, spoil)
    done = fleet.play("rollback", "-e", '{"podnet_rollback_nodes": ["node-1"]}')
    fleet.ssh(THREE, mend)
    assert done.returncode == code, done.stdout
    assert ("nodes.node-3: /etc/podnet: the generations that it keeps" in done.stdout) == bool(code)
    routes = fleet.ssh(TWO, "ip route")
    assert "10.64.3.0/24" in routes and "10.64.101.0/24" not in routes


def test_a_rollback_leaves_out_a_node_that_is_not_reached(fleet: Fleet) -> None:
    edit(fleet, change_cidr)
    fleet.play("site", check=True)
    fleet.ssh(THREE, WALL)
    done = fleet.play("rollback", *SOON)
    assert done.returncode == 4, done.stdout + done.stderr
    assert "only 2 of 3 nodes were asked for" in done.stdout
    assert "node-3 was not read; its own settings are those of the last plan here" in done.stdout
    assert "10.64.101.0/24" not in fleet.ssh(TWO, "ip route")
    wait_for(fleet, THREE)


def test_a_rollback_from_another_folder_leaves_the_routes_to_a_node_that_is_away(
    fleet: Fleet, tmp_path: Path
) -> None:
    """No plan is there; the inventory says what the node has, and where it cannot, nothing goes."""
    edit(fleet, change_cidr)
    fleet.play("site", check=True)
    fleet.ssh(THREE, WALL)
    elsewhere = ("-e", f"podnet_output_dir={tmp_path}")
    before = [fleet.ssh(node, GENERATION) for node in (ONE, TWO)]
    edit(fleet, lambda variables, _hosts: variables.update(podnet_vni="many"))
    refused = fleet.play("rollback", *SOON, *elsewhere)
    assert refused.returncode and "nodes.node-3: did not say what it has" in refused.stdout
    assert "podnet_vni" in refused.stdout
    assert [fleet.ssh(node, GENERATION) for node in (ONE, TWO)] == before
    edit(fleet, lambda variables, _hosts: variables.pop("podnet_vni"))
    done = fleet.play("rollback", *SOON, *elsewhere)
    assert done.returncode == 4, done.stdout + done.stderr
    assert "node-3 was not read; its own settings are those of the inventory" in done.stdout
    routes = fleet.ssh(TWO, "ip route")
    assert "10.64.3.0/24" in routes and "10.64.101.0/24" not in routes
    wait_for(fleet, THREE)


def test_a_rollback_takes_back_the_last_limited_run_and_no_other(fleet: Fleet) -> None:
    """Each number is of one run, whichever nodes it was of."""
    edit(fleet, cidr_of(TWO, 102))
    fleet.play("site", "--limit", TWO, check=True)
    fleet.play("rollback", check=True)
    edit(fleet, cidr_of(TWO, 2))
    edit(fleet, cidr_of(THREE, 103))
    fleet.play("site", "--limit", THREE, check=True)
    back = fleet.play("rollback", check=True)
    assert "nodes.node-3.podnet_pod_cidrs: ['10.64.103.0/24'" in back.stdout
    assert "nodes.node-2" not in back.stdout, back.stdout
    assert "10.64.3.1/24" in fleet.ssh(THREE, "ip address show cbr0")
    assert "10.64.2.1/24" in fleet.ssh(TWO, "ip address show cbr0")
    # The peers were not there. One more run brings them, and changes no settings.
    edit(fleet, cidr_of(THREE, 103))
    fleet.play("site", "--limit", THREE, check=True)
    fleet.play("site", check=True)
    before = everything(fleet)
    done = fleet.play("rollback")
    assert done.returncode == 2 and "the last one, settings were the same" in done.stdout
    assert everything(fleet) == before
    number = re.findall(r"do: +name another one: -e podnet_rollback_to=(\d+)", done.stdout)[0]
    fleet.play("rollback", "-e", f"podnet_rollback_to={number}", check=True)
    assert "10.64.3.1/24" in fleet.ssh(THREE, "ip address show cbr0")


def test_a_node_that_was_made_anew_goes_back_alone(fleet: Fleet, tmp_path: Path) -> None:
    """Where another folder does not know of its runs, nobody can tell the last one."""
    edit(fleet, change_cidr)
    fleet.play("site", check=True)
    fleet.ssh(TWO, "rm -r /etc/podnet")
    fleet.play("site", "--limit", TWO, check=True)
    edit(fleet, cidr_of(TWO, 102))
    fleet.play("site", "--limit", TWO, check=True)
    before = everything(fleet)
    done = fleet.play("rollback", "-e", f"podnet_output_dir={tmp_path}")
    assert done.returncode == 2, done.stdout
    assert "which change was the last one cannot be told" in done.stdout
    assert everything(fleet) == before
    back = fleet.play("rollback", check=True)
    assert "nodes.node-2.podnet_pod_cidrs" in back.stdout, back.stdout
    assert "nodes.node-1" not in back.stdout, back.stdout
    assert "10.64.2.1/24" in fleet.ssh(TWO, "ip address show cbr0")


def test_what_was_changed_in_batches_goes_back_at_once(fleet: Fleet) -> None:
    """The batches are of one run, and have one number."""
    for name, text in (("own.yml", OWN), ("batches.yml", BATCHES)):
        (fleet.folder / name).write_text(text, encoding="utf-8")
    edit(fleet, smaller_mtu)
    fleet.play("own.yml", check=True)
    assert len({fleet.ssh(node, "readlink /etc/podnet/current") for node in fleet.nodes}) == 1
    before = everything(fleet)
    done = fleet.play("batches.yml")
    assert done.returncode == 2 and "serial: the rollback is of the whole fleet" in done.stdout
    assert everything(fleet) == before
    assert "podnet_mtu: 1400 -> not set" in fleet.play("rollback", check=True).stdout
