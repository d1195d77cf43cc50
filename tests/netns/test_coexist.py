# SPDX-License-Identifier: GPL-3.0-or-later
"""Daemons of a node that take every interface and flush every table, restarted under a ping: with
podnet's drop-ins nothing is lost, and at reset the node has what it had."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from bootnode import NETWORKD, Boots
from edits import assert_same, state
from faults import Ping
from fleet import Fleet, Spec

ONE, TWO = "node-1", "node-2"
# A .network file for everything, and a rule set that is loaded at boot, as many hosts have.
THEIRS = r"""set -e
printf '[Match]\nName=*\n[Network]\nLinkLocalAddressing=no\nIPv6AcceptRA=no\n' \
  >/etc/systemd/network/90-everything.network
cat >/etc/nftables.conf <<'EOF'
#!/usr/sbin/nft -f
flush ruleset
table inet theirs {
  chain input { type filter hook input priority 0; policy accept; }
}
EOF
systemctl -q enable nftables
"""
OURS = "find /etc/systemd /etc/NetworkManager -name '*podnet.conf' -o -name '*podnet.network'"
FILES = "find /etc/systemd /etc/nftables.conf -type f -exec sha256sum {} + | sort"
MANAGED = "networkctl --no-legend list | awk '$5 != \"unmanaged\" { print $2 }'"


@pytest.fixture(scope="module")
def booted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Boots]:
    spec = Spec(segments={"rack-a": 1, "rack-b": 1})
    fleet = Fleet(tmp_path_factory.mktemp("coexist"), spec, "coexist")
    fleet.data["podnet"]["hosts"][ONE]["podnet_lab_init"] = "systemd"
    fleet.write()
    with fleet:
        boots = Boots(fleet)
        fleet.ssh(ONE, NETWORKD)
        fleet.ssh(ONE, THEIRS)
        boots.power_cut(ONE)
        boots.arrived(ONE)
        yield boots


def pod(fleet: Fleet, node: str) -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = fleet.module(node, "podnet.fabric.pod", {"name": "a"})["pod"]
    return found


def test_without_drop_ins_daemons_take_what_is_podnets(booted: Boots) -> None:
    """Else the next test would pass for free."""
    fleet = booted.fleet
    before = fleet.ssh(ONE, FILES)
    fleet.play("converge", "-e", "podnet_coexist=never", check=True)
    assert fleet.ssh(ONE, OURS) == ""
    booted.wait(ONE, f"{MANAGED} | grep -qx cbr0", "networkd takes the bridge")
    fleet.ssh(ONE, "systemctl restart nftables")
    assert "podnet" not in fleet.ssh(ONE, "nft list tables"), "the heal timer was quick"
    fleet.play("reset", "-e", "podnet_yes=true", check=True)
    assert fleet.ssh(ONE, FILES) == before


def test_nothing_is_lost_while_they_restart(booted: Boots) -> None:
    fleet = booted.fleet
    before = fleet.ssh(ONE, FILES)
    fleet.play("converge", check=True)
    assert len(fleet.ssh(ONE, OURS).split()) == 3
    assert fleet.ssh(TWO, OURS) == "", "nobody runs there"
    pods = {node: pod(fleet, node) for node in (ONE, TWO)}
    for node in (ONE, TWO):
        booted.wait(node, "! ip -6 address show tentative | grep -q .", "addresses settle")
    there = state(fleet)
    target = str(pods[TWO]["addresses"]["ipv4"]), str(pods[TWO]["addresses"]["ipv6"])
    pings = [Ping(fleet, ONE, str(pods[ONE]["netns"]), address) for address in target]
    for command in (
        "networkctl reload",
        "systemctl restart systemd-networkd",
        "systemctl reload nftables",
        "systemctl restart nftables",
    ):
        fleet.ssh(ONE, command)
        booted.wait(ONE, "nft list table inet theirs && nft list table inet podnet", command)
        fleet.ssh(ONE, "sleep 1")
    for ping in pings:
        sent, lost, lines = ping.result()
        assert sent > 200 and not lost, "\n".join([ping.name, *lines])
    managed = fleet.ssh(ONE, MANAGED).split()
    assert "eth0" in managed and "cbr0" not in managed
    assert not [name for name in managed if name.startswith(("pn", "veth"))]
    assert_same(state(fleet), there)
    assert "0 to change" in fleet.play("converge", check=True).stdout
    fleet.play("reset", "-e", "podnet_yes=true", "-e", "podnet_reset_pods=true", check=True)
    assert fleet.ssh(ONE, FILES) == before
