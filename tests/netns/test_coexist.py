# SPDX-License-Identifier: GPL-3.0-or-later
"""Daemons of a node that take every interface, flush every table or drop what they do not know,
restarted under a ping: with podnet's drop-ins nothing is lost, and at reset the node has what it
had.

node-1: systemd-networkd with a file for everything, nftables.service
node-2: firewalld, ifupdown for the underlay
node-3: NetworkManager, Docker, ufw, containers of podman with netavark

While firewalld reloads it drops what conntrack does not know, and encapsulated packets are that
(docs/coexistence.md). Its node is therefore asked over routes, and from node-3 only at rest.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from bootnode import Boots, host
from cri import IMAGE
from edits import assert_same, state
from faults import Ping
from fleet import Fleet, Spec
from podmanhost import Podman
from tested import keep

NODES = ("node-1", "node-2", "node-3")
DOCKER_AND_UFW = r"""
mkdir -p /etc/docker
echo '{ "storage-driver": "vfs" }' >/etc/docker/daemon.json
ufw allow in on mgmt0 >/dev/null
sed -i 's/^ENABLED=.*/ENABLED=yes/' /etc/ufw/ufw.conf
systemctl -q enable docker ufw
"""
FIREWALLD = """
firewall-offline-cmd -q --zone=trusted --add-interface=mgmt0
systemctl -q enable firewalld
"""
HOSTS = {
    "node-1": host("bare", "networkd", "everything"),
    "node-2": host("bare", "ifupdown") + FIREWALLD,
    "node-3": host("networkmanager") + DOCKER_AND_UFW,
}
NETAVARK = "nft list ruleset | grep -qi netavark && podman exec theirs echo"
DOCKER = "systemctl is-active -q docker && iptables -S DOCKER-USER"
# What each restart is, and what says that it is through.
RESTARTS = {
    "node-1": {
        "networkctl reload": "systemctl is-active -q systemd-networkd",
        "systemctl restart systemd-networkd": "systemctl is-active -q systemd-networkd",
        "systemctl reload nftables": "nft list table inet theirs && nft list table inet podnet",
        "systemctl restart nftables": "nft list table inet theirs && nft list table inet podnet",
    },
    "node-3": {
        "systemctl reload NetworkManager": "nmcli -t general status | grep -q connected",
        "systemctl restart NetworkManager": "nmcli -t general status | grep -q connected",
        "systemctl restart docker": DOCKER,
        "ufw reload": "iptables -S ufw-user-forward",
        "systemctl restart ufw": "iptables -S ufw-user-forward",
        f"podman run -d --name theirs {IMAGE}": NETAVARK,
        "podman network reload theirs": NETAVARK,
        "podman restart --time 0 theirs": NETAVARK,
        "podman rm --force --time 0 theirs": "! podman container exists theirs",
    },
    "node-2": {
        "firewall-cmd --reload": "firewall-cmd --state",
        "firewall-cmd --complete-reload": "firewall-cmd --state",
        "systemctl restart firewalld": "firewall-cmd --state",
    },
}
EXPECTED = {"node-1": 3, "node-2": 5, "node-3": 3}  # drop-ins of podnet's
OURS = (
    "ls -d /etc/systemd/network/05-podnet.network /etc/systemd/networkd.conf.d/50-podnet.conf"
    " /etc/systemd/system/*.d/50-podnet.conf /etc/NetworkManager/conf.d/50-podnet.conf"
    " /etc/podnet/accept.* /etc/firewalld/*/podnet* 2>/dev/null; true"
)
FILES = (
    "find /etc/systemd /etc/network /etc/nftables.conf /etc/NetworkManager /etc/firewalld /etc/ufw"
    " /etc/docker -type f -exec sha256sum {} + 2>/dev/null | sort"
)
MANAGED = "networkctl --no-legend list | awk '$5 != \"unmanaged\" { print $2 }'"


@pytest.fixture(scope="module")
def booted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Boots]:
    spec = Spec(segments={"rack-a": 2, "rack-b": 1})
    fleet = Fleet(tmp_path_factory.mktemp("coexist"), spec, "coexist")
    for name in NODES:
        fleet.data["podnet"]["hosts"][name]["podnet_lab_init"] = "systemd"
    fleet.write()
    with fleet:
        boots = Boots(fleet)
        for name, script in HOSTS.items():
            fleet.ssh(name, script)
            boots.power_cut(name)
        for name in NODES:
            boots.arrived(name)
        for command in (DOCKER, "iptables -S ufw-user-forward"):
            boots.wait("node-3", command, command)
        boots.wait("node-2", "firewall-cmd --state", "firewalld runs")
        # netavark leaves chains behind when its last container goes; so they are there at first.
        Podman(fleet, "node-3", "netavark")("run", "--rm", IMAGE, "echo")
        yield boots


@pytest.fixture(scope="module")
def theirs(booted: Boots) -> dict[str, list[str]]:
    """Files and iptables rules before podnet comes."""
    return what_they_have(booted.fleet)


def what_they_have(fleet: Fleet) -> dict[str, list[str]]:
    command = f"{FILES}; iptables -S; ip6tables -S"
    return {name: sorted(fleet.ssh(name, command).splitlines()) for name in NODES}


def uncounted(fleet: Fleet) -> dict[str, str]:
    """Complete dumps of the nodes, without the rules that count: these are iptables' own, whose
    order Docker and ufw change when they start; they are compared as a set. And without the mode of
    making link-local addresses, which NetworkManager sets on unmanaged devices too when it ends;
    podnet gives its devices their addresses itself."""
    found = state(fleet)
    for name in NODES:
        text = found[name].replace('"inet6_addr_gen_mode":"eui64"', '"inet6_addr_gen_mode":"none"')
        kept = [line for line in text.splitlines() if "counter" not in line]
        rules = fleet.ssh(name, "iptables -S; ip6tables -S; nft list table inet podnet")
        found[name] = "\n".join([*kept, *sorted(rules.splitlines())])
    return found


def pod(fleet: Fleet, node: str) -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = fleet.module(node, "podnet.fabric.pod", {"name": "a"})["pod"]
    return found


def test_without_drop_ins_daemons_take_what_is_podnets(
    booted: Boots, theirs: dict[str, list[str]]
) -> None:
    """Else the next test would pass for free."""
    fleet = booted.fleet
    fleet.play("converge", "-e", "podnet_coexist=never", check=True)
    assert [fleet.ssh(name, OURS) for name in NODES] == ["", "", ""]
    booted.wait("node-1", f"{MANAGED} | grep -qx cbr0", "networkd takes the bridge")
    fleet.ssh("node-1", "systemctl restart nftables")
    assert "podnet" not in fleet.ssh("node-1", "nft list tables"), "the heal timer was quick"
    fleet.ssh("node-1", "podnet-node heal")
    fleet.ssh("node-2", "systemctl restart networking")
    assert "10.64.1.0/24" not in fleet.ssh("node-2", "ip route"), "the underlay never was down"
    fleet.ssh("node-2", "podnet-node heal")
    found = fleet.play("verify")
    assert found.returncode, "firewalls that let every pod through prove nothing"
    for name, chain in (("node-3", "FORWARD"), ("node-2", "firewalld")):
        assert name in found.stdout and chain in found.stdout, found.stdout
    fleet.play("reset", "-e", "podnet_yes=true", "-e", "podnet_reset_pods=true", check=True)
    assert what_they_have(fleet) == theirs


def test_nothing_is_lost_while_they_restart(booted: Boots) -> None:
    fleet = booted.fleet
    fleet.play("converge", check=True)
    assert {name: len(fleet.ssh(name, OURS).split()) for name in NODES} == EXPECTED
    pods = {name: pod(fleet, name) for name in NODES}
    for name in NODES:
        booted.wait(name, "! ip -6 address show tentative | grep -q .", "addresses settle")
    there = uncounted(fleet)
    pings = [
        Ping(fleet, of, str(pods[of]["netns"]), str(pods[to]["addresses"][family]))
        for one, other in (("node-1", "node-2"), ("node-1", "node-3"))
        for of, to in ((one, other), (other, one))
        for family in ("ipv4", "ipv6")
    ]
    for name, restarts in RESTARTS.items():
        for command, through in restarts.items():
            fleet.ssh(name, command)
            booted.wait(name, f"({through}) >/dev/null 2>&1", command)
            fleet.ssh(name, "sleep 0.5")
    results = [(ping.name, *ping.result()) for ping in pings]
    assert all(sent > 200 for _name, sent, _lost, _lines in results)
    assert not [name for name, _sent, lost, _lines in results if lost], results
    managed = fleet.ssh("node-1", MANAGED).split()
    assert "eth0" in managed and "cbr0" not in managed
    assert not [name for name in managed if name.startswith(("pn", "veth"))]
    assert "cbr0:unmanaged" in fleet.ssh("node-3", "nmcli -t -f DEVICE,STATE device").split()
    assert_same(uncounted(fleet), there)
    assert "0 to change" in fleet.play("converge", check=True).stdout
    fleet.play("verify", check=True)
    for name, manager in (("node-1", "systemd-networkd"), ("node-3", "NetworkManager")):
        keep(fleet, name, "tests/netns/test_coexist.py", manager=manager)


def test_when_ifupdown_has_restarted_the_underlay_all_is_back(booted: Boots) -> None:
    fleet = booted.fleet
    there = uncounted(fleet)
    fleet.ssh("node-2", "systemctl restart networking")
    log = fleet.ssh("node-2", "journalctl -b --no-pager -u networking")
    assert "put back: ip route replace 10.64.1.0/24" in log, log
    booted.wait("node-2", "! ip -6 address show tentative | grep -q .", "addresses settle")
    assert_same(uncounted(fleet), there)
    fleet.play("verify", check=True)
    keep(fleet, "node-2", "tests/netns/test_coexist.py", manager="ifupdown")


def test_what_somebody_takes_out_of_a_firewall_comes_back(booted: Boots) -> None:
    fleet = booted.fleet

    def rules() -> list[str]:
        return sorted(fleet.ssh("node-3", "iptables -S; ip6tables -S").splitlines())

    before = rules()
    assert before.count("-A FORWARD -j PODNET-FORWARD") == 2
    for command in ("podnet-node heal", None):
        fleet.ssh("node-3", "iptables -D FORWARD -j PODNET-FORWARD; ip6tables -F PODNET-INPUT")
        fleet.ssh("node-3", "ip6tables -F PODNET-FORWARD")
        if command:
            assert "put back: accept ipv6" in fleet.ssh("node-3", command)
        else:
            fleet.play("converge", check=True)
        assert rules() == before


def test_at_reset_they_have_what_they_had(booted: Boots, theirs: dict[str, list[str]]) -> None:
    fleet = booted.fleet
    assert fleet.ssh("node-3", OURS)
    fleet.play("reset", "-e", "podnet_yes=true", "-e", "podnet_reset_pods=true", check=True)
    assert [fleet.ssh(name, OURS) for name in NODES] == ["", "", ""]
    assert what_they_have(fleet) == theirs
    assert "podnet" not in fleet.ssh("node-2", "nft list ruleset; firewall-cmd --get-policies")
