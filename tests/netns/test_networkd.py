# SPDX-License-Identifier: GPL-3.0-or-later
"""Devices that systemd-networkd makes at boot from native files: the same objects as podnet's own,
taken over and handed back under a ping without a lost packet, and there after a power cut.

node-1 and node-3 boot with networkd, node-2 has neither; pods of all three talk over routes and
over the overlay.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest
from bootnode import NETWORKD, Boots
from edits import ONE, THREE, TWO, UNCONFIRMED, assert_same, edit, other_vni, pod, state, to_vxlan
from faults import Ping
from fleet import Fleet, Spec

OWN = "/etc/podnet /usr/local/sbin/podnet-node /etc/cni/net.d/* /run/podnet/nft"
NATIVE = "ls /etc/systemd/network/05-podnet-* 2>/dev/null; true"
MANAGED = "networkctl --no-legend list | awk '$5 != \"unmanaged\" { print $2 }'"
CONFIGURED = "networkctl --no-legend list | grep -q ' pn64 .* configured'"
# It takes whatever of podnet's no file before it names.
EVERYTHING = r"""
printf '[Match]\nName=cbr* pn* veth*\n[Network]\nLinkLocalAddressing=no\nIPv6AcceptRA=no\n' \
  >/etc/systemd/network/90-everything.network
"""
THEIRS = "find /etc/systemd -type f -exec sha256sum {} + | sort; ls /etc/systemd/network"


@dataclass
class Booted:
    """The fleet, its pods, and what its nodes were like before podnet came."""

    fleet: Fleet
    boots: Boots
    theirs: dict[str, str]

    def persist(self, how: str, *more: str) -> None:
        for name in (ONE, THREE):
            self.fleet.data["podnet"]["hosts"][name]["podnet_persistence"] = how
        self.fleet.write()
        self.fleet.play(*(more or ("converge",)), check=True)

    def managed(self, name: str) -> set[str]:
        return set(self.fleet.ssh(name, MANAGED).split()) - {"eth0"}


@pytest.fixture(scope="module")
def booted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Booted]:
    fleet = Fleet(tmp_path_factory.mktemp("networkd"), Spec(), "networkd")
    for name in (ONE, THREE):
        fleet.data["podnet"]["hosts"][name]["podnet_lab_init"] = "systemd"
    fleet.write()
    (fleet.folder / "unconfirmed.yml").write_text(UNCONFIRMED, encoding="utf-8")
    with fleet:
        boots = Boots(fleet)
        for name in (ONE, THREE):
            fleet.ssh(name, NETWORKD)
            fleet.ssh(name, EVERYTHING)
        boots.power_cut(ONE, THREE)
        for name in (ONE, THREE):
            boots.arrived(name)
        theirs = {name: fleet.ssh(name, THEIRS) for name in (ONE, THREE)}
        fleet.play("converge", check=True)
        yield Booted(fleet, boots, theirs)


@contextmanager
def nothing_lost(fleet: Fleet, pods: dict[str, dict[str, Any]]) -> Iterator[None]:
    """Pings of both families in both directions, over routes and over the overlay."""
    pings = [
        Ping(fleet, of, str(pods[of]["netns"]), str(pods[to]["addresses"][family]))
        for of, to in ((ONE, TWO), (TWO, ONE), (ONE, THREE), (THREE, ONE))
        for family in ("ipv4", "ipv6")
    ]
    try:
        yield
    finally:
        results = [(ping.name, *ping.result()) for ping in pings]
    assert all(sent > 50 for _name, sent, _lost, _lines in results), results
    assert not [name for name, _sent, lost, _lines in results if lost], results


def new_cidr(variables: dict[str, Any], hosts: dict[str, Any]) -> None:
    hosts[ONE]["podnet_pod_cidrs"] = ["10.64.101.0/24", "fd00:64:0:101::/64"]


def old_cidr(variables: dict[str, Any], hosts: dict[str, Any]) -> None:
    hosts[ONE]["podnet_pod_cidrs"] = ["10.64.1.0/24", "fd00:64:0:1::/64"]


def test_devices_change_hands_and_change_without_loss(booted: Booted) -> None:
    """To networkd and back, each first in a run that nobody confirms; in between its restart, new
    ranges, another VXLAN device and mode. At each stage the kernel is what podnet's unit alone
    makes of the same inventory."""
    fleet = booted.fleet
    pods = {name: pod(fleet, name, "a") for name in fleet.nodes}
    for name in (ONE, THREE):
        booted.boots.wait(name, "! ip -6 address show tentative | grep -q .", "addresses settle")
    unit = state(fleet)
    with nothing_lost(fleet, pods):
        taken_back(booted, "networkd")
        assert_same(state(fleet), unit)
        booted.persist("networkd")
        assert "0 to change" in fleet.play("converge", check=True).stdout
        assert [booted.managed(name) for name in (ONE, THREE)] == [{"cbr0", "pn64"}] * 2
        for command in ("true", "systemctl restart systemd-networkd", "networkctl reload"):
            fleet.ssh(ONE, f"{command}; sleep 1")
            booted.boots.wait(ONE, CONFIGURED, command)
            assert_same(state(fleet), unit)
        edit(fleet, new_cidr)
        edit(fleet, other_vni)
        edit(fleet, to_vxlan)
        fleet.play("converge", check=True)
        assert "0 to change" in fleet.play("converge", check=True).stdout
        assert booted.managed(ONE) == {"cbr0", "pn65"}
        changed = state(fleet)
        taken_back(booted, "unit")
        assert_same(state(fleet), changed)
        booted.persist("unit")
        assert [booted.managed(name) for name in (ONE, THREE)] == [set(), set()]
        assert [fleet.ssh(name, NATIVE) for name in (ONE, THREE)] == ["", ""]
        assert_same(state(fleet), changed)
        fleet.play("drift", check=True)
        edit(fleet, old_cidr)
        fleet.data["podnet"]["vars"].update(podnet_vni=64, podnet_mode="auto")
        booted.persist("networkd")
        assert_same(state(fleet), unit)


def taken_back(booted: Booted, how: str) -> None:
    """A change of the variable that nobody confirms: files and networkd are as they were, too."""
    fleet = booted.fleet
    there = {name: (fleet.ssh(name, NATIVE), booted.managed(name)) for name in (ONE, THREE)}
    booted.persist(how, "unconfirmed.yml", "-e", "podnet_confirm_seconds=600")
    for name, (files, managed) in there.items():
        assert fleet.ssh(name, NATIVE) != files and booted.managed(name) != managed
    for name in fleet.nodes:
        fleet.ssh(name, "podnet-node rollback; sleep 1")
    assert there == {n: (fleet.ssh(n, NATIVE), booted.managed(n)) for n in (ONE, THREE)}


def test_objects_are_there_after_a_power_cut(booted: Booted) -> None:
    """On node-3 everything is as it was. On node-1 podnet's unit is disabled: networkd's part is
    there; a run brings the rest, and takes what networkd made for its own."""
    fleet, boots = booted.fleet, booted.boots
    for name in fleet.nodes:
        fleet.module(name, "podnet.fabric.pod", {"name": "a", "state": "absent"})
    fleet.play("converge", check=True)
    before = state(fleet)
    fleet.ssh(ONE, "systemctl -q disable podnet.service")
    boots.power_cut(ONE, THREE)
    for name in (ONE, THREE):
        boots.arrived(name)
        boots.wait(name, CONFIGURED, "networkd makes the device")
        log = fleet.ssh(name, "journalctl -b --no-pager -u systemd-networkd")
        assert "cbr0: netdev ready" in log and "exists, using existing" not in log
    now = state(fleet)
    assert_same({THREE: now[THREE]}, {THREE: before[THREE]})
    assert "altname" not in fleet.ssh(ONE, "ip link show cbr0"), "podnet's unit ran"
    for address in ("10.64.3.5", "fd00:64:0:3::5"):
        assert "dev pn64" in fleet.ssh(ONE, f"ip route get {address}")
    fleet.play("converge", check=True)
    assert "0 to change" in fleet.play("converge", check=True).stdout
    fleet.ssh(ONE, "podnet-node heal")  # the mark of the neighbours
    assert_same(state(fleet), before)
    assert "6 of 6 pairs verified" in fleet.play("verify", check=True).stdout


def test_what_somebody_removes_is_found_and_comes_back(booted: Booted) -> None:
    fleet = booted.fleet
    before = state(fleet)
    remove = "ip route del 10.64.3.0/24; ip addr del 10.64.1.1/24 dev cbr0; ip link del pn64"
    fleet.ssh(ONE, f"{remove}; rm /etc/systemd/network/05-podnet-vxlan.network")
    assert "put back" in fleet.ssh(ONE, "podnet-node heal")
    assert_same(state(fleet), before)
    assert fleet.play("drift").returncode, "a file is missing"
    fleet.play("converge", check=True)
    assert booted.managed(ONE) == {"cbr0", "pn64"}
    assert_same(state(fleet), before)


def test_reset_leaves_nothing(booted: Booted) -> None:
    fleet = booted.fleet
    fleet.play("reset", "-e", "podnet_yes=true", check=True)
    assert {name: fleet.ssh(name, THEIRS) for name in (ONE, THREE)} == booted.theirs
    for name in (ONE, THREE):
        fleet.ssh(name, "networkctl reload; sleep 0.5")
        assert fleet.ssh(name, "ip -br link show type bridge; ip -br link show type vxlan") == ""
        assert fleet.ssh(name, f"ls -d {OWN} 2>/dev/null; ip route show proto 112") == ""
