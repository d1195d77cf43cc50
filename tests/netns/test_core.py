# SPDX-License-Identifier: GPL-3.0-or-later
"""The core on a real kernel: rendered files, converge, idempotence, boot, drift, ownership."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from ansible_collections.podnet.fabric.plugins.plugin_utils import node
from ansible_collections.podnet.fabric.plugins.plugin_utils.kernel.objects import route_metric
from ansible_collections.podnet.fabric.plugins.plugin_utils.plan import plan_node
from corebench import Bench, assert_same, difference, fleet, rendered

FLEETS = {
    "auto dual": {},
    "vxlan over IPv6": {"podnet_mode": "vxlan", "podnet_vxlan_family": "ipv6"},
    "no masquerade": {"podnet_masquerade": []},
    "other names": {"podnet_bridge": "br-pods", "podnet_vni": 16777215, "podnet_vxlan_port": 8472},
    "alone": {"hosts": [1]},
}


@pytest.fixture
def bench() -> Iterator[Bench]:
    with Bench() as node:
        yield node


@pytest.mark.parametrize("options", FLEETS.values(), ids=FLEETS.keys())
def test_files_by_hand_make_what_converge_makes(options: dict[str, object]) -> None:
    fabric = fleet(**options)
    with Bench() as by_hand, Bench() as converged:
        for node in (by_hand, converged):  # what a host has learned is no part of the definitions
            node.sh("echo 0 >/proc/sys/net/ipv6/conf/eth0/accept_ra")
        assert by_hand.dump() == converged.dump()
        by_hand.by_hand(fabric)
        converged.settled(fabric)
        assert_same(by_hand.dump(), converged.dump())
        assert by_hand.dump() == converged.dump()


def test_second_converge_does_and_writes_nothing(bench: Bench) -> None:
    fabric = fleet()
    first = bench.settled(fabric)
    assert first.changes.phases == ("add",)
    kernel, files = bench.dump(), bench.files()
    second = bench.settled(fabric)
    assert second.commands == [] and second.changes.phases == ()
    assert not second.changes.stale_generation and not second.changes.stale_program
    assert bench.files() == files
    assert bench.dump() == kernel


# Builds of nft differ in their prompt: Debian's (libedit) shows none to a pipe.
PROMPTS = {
    "Debian": "",
    "GNU readline": 'while read -r line; do echo "nft> $line"; $nft -s $line; done; echo "nft> "',
    "none": "echo 'nft: interactive CLI not supported in this build' >&2; false",
}


@pytest.mark.parametrize("prompt", PROMPTS.values(), ids=PROMPTS.keys())
def test_tables_are_read_with_any_prompt_of_nft(bench: Bench, prompt: str) -> None:
    """One process lists both tables, without leaving a history of it in anybody's home."""
    bench.settled(fleet())
    bench.sh("mkdir /run/home")
    told = f"case $* in *-i*) {prompt}; exit ;; esac\n" if prompt else ""
    wrapper = f"""#!/bin/sh\nnft=/usr/sbin/nft\n{told}exec $nft "$@"\n"""
    bench.put({"/usr/local/sbin/nft": wrapper})
    bench.sh("chmod 755 /usr/local/sbin/nft")
    home = "HOME=/run/home; export HOME\n"
    bench.sh(home + node.script_to_read(fleet(), plan_node(fleet(), "node-1")))
    assert bench.sh("ls -A /run/home") == ""
    assert bench.settled(fleet()).commands == []
    bench.sh("nft delete table bridge podnet")
    assert bench.settled(fleet()).commands == ["nft podnet.nft"]


SWAPPED = {
    "node_1": {"podnet_pod_cidrs": ["10.64.4.0/24", "fd00:64:0:4::/64"]},
    "node_4": {"podnet_pod_cidrs": ["10.64.1.0/24", "fd00:64:0:1::/64"]},
}


@pytest.mark.parametrize("options", [{}, {"podnet_mode": "vxlan"}], ids=["auto", "vxlan"])
def test_ranges_change_owner_between_nodes_behind_an_overlay(
    bench: Bench, options: dict[str, object]
) -> None:
    """The gateway of a range is the next hop to it, and the old owner's own address until it goes.
    Taken back after all phases, too."""
    bench.settled(fleet(**options))
    before = bench.dump()
    bench.settled(fleet(**options, **SWAPPED))
    after = bench.dump()
    assert bench.settled(fleet(**options, **SWAPPED)).commands == []
    with Bench() as anew:
        anew.settled(fleet(**options, **SWAPPED))
        assert_same(anew.dump(), after)
    bench.only(fleet(**options), "add", "switch", "remove")
    bench.sh("podnet-node rollback")
    assert_same(after, bench.dump())
    bench.settled(fleet(**options))
    assert_same(before, bench.dump())


def test_nothing_is_taken_away_from_where_the_program_is_called(bench: Bench) -> None:
    """A session begins in root's home. What the table learned of a pod that is gone is deleted by
    words that a file there may have as its name."""
    words = ["delete", "element", "bridge", "podnet", "ports", "vethgone"]
    learned = """nft add element bridge podnet ports '{ "vethgone" }'"""
    bench.settled(fleet())
    bench.sh(f"mkdir /run/here && cd /run/here && touch {' '.join(words)} && {learned}")
    moved = fleet(node_1={"podnet_pod_cidrs": ["10.64.101.0/24", "fd00:64:0:101::/64"]})
    run = bench.carry_out(*bench.look(moved), prefix="cd /run/here\n")
    assert run.outcome.state == "committed" and "nft podnet.nft" in run.commands
    assert "vethgone" not in bench.sh("nft list set bridge podnet ports")
    assert bench.sh("ls /run/here").split() == sorted(words)
    said = bench.sh(f"{learned}; cd /run/here && /usr/local/sbin/podnet-node heal 2>&1")
    assert "vethgone" not in bench.sh("nft list set bridge podnet ports")
    assert (said, bench.sh("ls /run/here").split()) == ("", sorted(words))


def test_generation_on_the_node_is_what_was_rendered(bench: Bench) -> None:
    fabric = fleet()
    bench.settled(fabric)
    for name, text in rendered(fabric).items():
        assert bench.sh(f"cat /etc/podnet/current/{name}") == text
    assert bench.sh("readlink /etc/podnet/current").strip() == "generations/1"
    modes = set(bench.sh("find /etc/podnet /etc/cni -type f -printf '%m %u\n'").splitlines())
    assert modes == {"644 root"}


def test_generations_are_counted_and_pruned(bench: Bench) -> None:
    for vni in range(100, 106):
        bench.settled(fleet(podnet_vni=vni))
    kept = bench.sh("ls /etc/podnet/generations | sort -n").split()
    assert kept == ["4", "5", "6"]
    assert bench.sh("readlink /etc/podnet/current").strip() == "generations/6"
    assert bench.sh("ip -o link show type vxlan | wc -l").strip() == "1"


CHANGED = {
    "VNI": fleet(podnet_vni=65),
    "port": fleet(podnet_vxlan_port=8472),
    "VXLAN over IPv6": fleet(podnet_vxlan_family="ipv6"),
    "to vxlan": fleet(podnet_mode="vxlan"),
    "to routed": fleet(podnet_mode="routed", hosts=[1, 2, 3]),
    "peer away": fleet(hosts=[1, 2, 3, 4]),
    "alone": fleet(hosts=[1]),
    "MTU": fleet(podnet_mtu=1400),
    "bridge": fleet(podnet_bridge="cbr1"),
    "IPv4 only": fleet(hosts=[1]),
    "masquerade": fleet(podnet_masquerade=["ipv6"]),
}


@pytest.mark.parametrize("wanted", CHANGED.values(), ids=CHANGED.keys())
def test_a_changed_fleet_leads_where_a_fresh_node_gets(bench: Bench, wanted: object) -> None:
    """From the old fleet to the new one and straight to the new one: one kernel state."""
    bench.settled(fleet())
    bench.settled(wanted)
    assert bench.settled(wanted).commands == []
    with Bench() as fresh:
        fresh.settled(wanted)
        assert_same(fresh.dump(), bench.dump())


def test_restore_brings_everything_back_twice(bench: Bench) -> None:
    """A boot: the same files, an empty kernel, no controller."""
    bench.settled(fleet())
    complete = bench.dump()
    bench.sh("ip link del cbr0; ip link del pn64; nft delete table inet podnet; rm -rf /run/podnet")
    bench.sh("ip route flush proto 112; ip -6 route flush proto 112")
    bench.sh(
        "echo 0 >/proc/sys/net/ipv4/ip_forward; echo 0 >/proc/sys/net/ipv6/conf/all/forwarding"
    )
    for _boot in range(2):
        answer = bench.run("podnet-node restore")
        assert (answer.returncode, answer.stderr) == (0, "")
        assert_same(complete, bench.dump())
    assert bench.settled(fleet()).commands == []


def test_restore_works_where_ipv6_is_off_for_new_interfaces(bench: Bench) -> None:
    off = "echo 1 >/proc/sys/net/ipv6/conf/default/disable_ipv6"
    bench.sh(off)
    bench.settled(fleet())
    complete = bench.dump()
    bench.sh("ip link del cbr0; ip link del pn64; nft delete table inet podnet; rm -rf /run/podnet")
    answer = bench.run("podnet-node restore")
    assert (answer.returncode, answer.stderr) == (0, "")
    assert_same(complete, bench.dump())


PN = "dev pn64"
DRIFT = {
    "direct route deleted": ("ip route del 10.64.2.0/24", ["route replace 10.64.2.0/24"]),
    "direct route altered": (
        "ip route replace 10.64.2.0/24 via 192.0.2.99 proto 112 "
        f"metric {route_metric('10.64.2.0/24')}",
        ["route replace 10.64.2.0/24"],
    ),
    "VXLAN route deleted": ("ip -6 route del fd00:64:0:4::/64", ["route replace fd00:64:0:4::/64"]),
    "route without source": (
        "ip route replace 10.64.4.0/24 via 10.64.4.1 dev pn64 onlink proto 112 "
        f"metric {route_metric('10.64.4.0/24')}",
        ["route replace 10.64.4.0/24"],
    ),
    "route of an earlier release": (
        "ip route add 10.64.2.0/24 via 192.0.2.99 proto 112 metric 112",
        ["route del 10.64.2.0/24"],
    ),
    "stray own route": (
        "ip route add 10.64.99.0/24 via 192.0.2.2 proto 112 metric 112",
        ["route del 10.64.99.0/24"],
    ),
    "neighbour deleted": (f"ip neigh del 10.64.4.1 {PN}", ["neighbour replace 10.64.4.1"]),
    "neighbour altered": (
        f"ip neigh replace 10.64.4.1 lladdr 02:00:00:00:00:99 {PN} nud permanent",
        ["neighbour replace 10.64.4.1"],
    ),
    "stray neighbour": (
        f"ip neigh add 10.64.77.1 lladdr 02:00:00:00:00:99 {PN} nud permanent",
        ["neighbour del 10.64.77.1"],
    ),
    "FDB entry deleted": (
        "bridge fdb del $MAC4 dev pn64 dst 192.0.2.4 self",
        ["fdb replace $MAC4"],
    ),
    "FDB entry altered": (
        "bridge fdb replace $MAC4 dev pn64 dst 192.0.2.99 self permanent",
        ["fdb replace $MAC4"],
    ),
    "flooding to unknown VTEPs": (
        "for a in 98 99; do bridge fdb append 00:00:00:00:00:00 dev pn64 dst 192.0.2.$a self; done",
        ["fdb del 00:00:00:00:00:00", "fdb del 00:00:00:00:00:00"],
    ),
    "stray FDB entry": (
        "bridge fdb add 02:00:00:00:00:99 dev pn64 dst 192.0.2.99 self permanent",
        ["fdb del 02:00:00:00:00:99"],
    ),
    "bridge MTU": ("ip link set cbr0 mtu 1400", ["link set dev cbr0 mtu 1450"]),
    "bridge MAC": (
        "ip link set cbr0 address 02:00:00:00:00:77",
        ["link set dev cbr0 address $BRIDGE"],
    ),
    "VXLAN MTU": ("ip link set pn64 mtu 1300", ["link set dev pn64 mtu 1450"]),
    "VXLAN source": (
        "ip addr add 192.0.2.77/24 dev eth0; ip link set pn64 type vxlan id 64 local 192.0.2.77;"
        "ip addr del 192.0.2.77/24 dev eth0",
        ["link set dev pn64 type vxlan id 64 local 192.0.2.1"],
    ),
    "learning on": ("ip link set pn64 type vxlan id 64 learning", ["link set dev pn64 type vxlan"]),
    "gateway address deleted": (
        "ip addr del 10.64.1.1/24 dev cbr0",
        # The routes stay: their source is an address of the VXLAN device, too.
        ["address replace 10.64.1.1/24"],
    ),
    "ip_forward": (
        "echo 0 >/proc/sys/net/ipv4/ip_forward",
        ["net/ipv4/", "ipv4/conf/cbr0/", "ipv4/conf/pn64/"],
    ),
    "IPv6 forwarding": (
        "echo 0 >/proc/sys/net/ipv6/conf/all/forwarding",
        ["ipv6/conf/all/forwarding=1", "ipv6/conf/cbr0/", "ipv6/conf/pn64/"],
    ),
    "rp_filter of the bridge": (
        "echo 1 >/proc/sys/net/ipv4/conf/cbr0/rp_filter",
        ["net/ipv4/conf/cbr0/rp_filter=2"],
    ),
    "table deleted": ("nft delete table inet podnet", ["nft podnet.nft"]),
    "rule deleted": ("nft flush chain inet podnet postrouting", ["nft podnet.nft"]),
    "element added": (
        "nft add element inet podnet peers4 { 198.51.100.1 }",
        ["nft podnet.nft"],
    ),
    "all rules flushed": ("nft flush ruleset", ["nft podnet.nft"]),
    "conflist altered": ("echo >>/etc/cni/net.d/10-podnet.conflist", ["install generation/10-"]),
    "conflist deleted": ("rm /etc/cni/net.d/10-podnet.conflist", ["install generation/10-"]),
    "protocol name deleted": ("rm /etc/iproute2/rt_protos.d/podnet.conf", ["install files/rt_"]),
    "unit disabled": (
        "rm /etc/systemd/system/multi-user.target.wants/podnet.service",
        ["symlink "],
    ),
    "VXLAN device deleted": ("ip link del pn64", []),
    "bridge deleted": ("ip link del cbr0", []),
    "VXLAN device down": ("ip link set pn64 down", []),
    "bridge down": ("ip link set cbr0 down", []),
    "VXLAN device made anew otherwise": (
        "ip link del pn64; ip link add pn64 type vxlan id 64 local 192.0.2.1 dstport 9999;"
        "ip link property add dev pn64 altname podnet-pn64; ip link set pn64 up",
        [],
    ),
    "program deleted": ("rm /usr/local/sbin/podnet-node", None),
    "generation altered": ("echo '# x' >>/etc/podnet/current/routes.batch", None),
    "generation deleted": ("rm -rf /etc/podnet/generations", None),
}


@pytest.fixture(scope="module")
def shared() -> Iterator[Bench]:
    with Bench() as node:
        node.settled(fleet())
        yield node


UNSEEN = {
    "learning on": "the state does not hold whether a VXLAN device learns",
    "VXLAN device made anew otherwise": "what hangs on a device made anew is added before it",
}


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(
            damage,
            id=name,
        )
        for name, damage in DRIFT.items()
    ],
)
def test_drift_is_repaired_and_nothing_else(
    shared: Bench, damage: tuple[str, list[str] | None]
) -> None:
    """``expected`` are the starts of the commands, in order, after the tool's name; an empty
    list: more than one object hangs on what was damaged, any repair will do; None: no command,
    only the definitions on the node are written again."""
    fabric, (hurt, expected) = fleet(), damage
    macs = {
        "$MAC4": fabric.by_name["node-4"].vtep_mac,
        "$BRIDGE": fabric.by_name["node-1"].bridge_mac,
    }
    for word, mac in macs.items():
        hurt = hurt.replace(word, mac)
        expected = [line.replace(word, mac) for line in expected or []] if expected else expected
    complete = shared.dump()
    shared.sh(hurt)
    run = shared.settled(fabric)
    left = "\n".join(difference(complete, shared.dump()))
    if left:  # the next test begins with a whole node again
        shared.run("ip link del pn64; ip link del cbr0")
        shared.settled(fabric)
    assert not left, left
    assert shared.settled(fabric).commands == []
    if expected is None:
        assert run.commands == []
        assert shared.sh("cat /etc/podnet/current/routes.batch") == rendered(fabric)["routes.batch"]
    elif expected:
        assert len(run.commands) == len(expected), run.commands
        for command, start in zip(run.commands, expected, strict=True):
            assert start in command
