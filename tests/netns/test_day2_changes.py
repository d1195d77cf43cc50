# SPDX-License-Identifier: GPL-3.0-or-later
"""Every change that a live fleet can go through, under the loss meter: an edit of the inventory and
a run of `converge`. Pairs of pods that exist before and after lose no packet, none of what one
sends comes from another address than its own, and no TCP connection between them breaks or carries
a wrong byte.

`make day2-table` writes what was measured into docs/day2.md.
"""

from __future__ import annotations

import datetime
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from edits import ONE, THREE, TWO, pod
from fleet import REPO, Fleet, Spec
from meters import Meters, Pods, Reading

FOUR = "node-4"
V4, BOTH = ("ipv4",), ("ipv4", "ipv6")
Edit = Callable[[dict[str, Any], dict[str, Any]], None]


def values(**variables: Any) -> Edit:
    """Set fleet variables; None takes one away."""

    def edit(fleet: dict[str, Any], _hosts: dict[str, Any]) -> None:
        for name, value in variables.items():
            fleet.pop(f"podnet_{name}", None)
            if value is not None:
                fleet[f"podnet_{name}"] = value

    return edit


def of_node(name: str, **variables: Any) -> Edit:
    def edit(_fleet: dict[str, Any], hosts: dict[str, Any]) -> None:
        hosts[name].update({f"podnet_{key}": value for key, value in variables.items()})

    return edit


def all_ranges(_fleet: dict[str, Any], hosts: dict[str, Any]) -> None:
    for number, host in enumerate(hosts.values(), 201):
        host["podnet_pod_cidrs"] = [f"10.64.{number}.0/24", f"fd00:64:0:{number:x}::/64"]


def families(*names: str) -> Edit:
    """Leave the others out, or bring them back: those of the nodes' first ranges."""

    def edit(fleet: dict[str, Any], hosts: dict[str, Any]) -> None:
        cluster = {"ipv4": "10.64.0.0/15", "ipv6": "fd00:64::/48"}
        fleet["podnet_cluster_cidrs"] = [cluster[name] for name in names]
        fleet["podnet_verify_outside"] = []
        for number, host in enumerate(hosts.values(), 201):
            ranges = {"ipv4": f"10.64.{number}.0/24", "ipv6": f"fd00:64:0:{number:x}::/64"}
            host["podnet_pod_cidrs"] = [ranges[name] for name in names]

    return edit


def second_address(fleet: Fleet) -> None:
    """As a person does before a node moves: both addresses are there for the time of the change."""
    fleet.ssh(
        TWO, "ip address add 192.0.2.99/24 dev eth0; ip address add 2001:db8:a::99/64 dev eth0"
    )


def first_address_gone(fleet: Fleet) -> None:
    """And afterwards the old ones go. Without promotion the kernel would take the new IPv4 address
    with the old one (ip-sysctl.rst, promote_secondaries)."""
    fleet.ssh(TWO, "echo 1 >/proc/sys/net/ipv4/conf/eth0/promote_secondaries")
    fleet.ssh(
        TWO, "ip address del 192.0.2.12/24 dev eth0; ip address del 2001:db8:a::12/64 dev eth0"
    )
    verified(fleet)


WALL = """nft add table inet wall
nft 'add chain inet wall in { type filter hook input priority 0; }'
(sleep 1; nft add rule inet wall in tcp dport 22 drop) >/dev/null 2>&1 &"""
WIPE = """podnet-node rollback; rm -rf /etc/podnet /etc/cni/net.d/* /usr/local/sbin/podnet-node
ip link del cbr0; ip link del pn64; nft delete table inet podnet; rm -rf /run/podnet
ip route flush proto 112; ip -6 route flush proto 112"""


# The kernel finds the one to delete by what `ip route show` says of it.
FORMER = """ip -4 route show proto 112 >/run/routes
sed 's/ metric [0-9]*//; s/.*/route add & proto 112 metric 112/' /run/routes | ip -batch - &&
sed 's/^/route del /' /run/routes | ip -batch - &&
sed -i 's/ metric [0-9]*$/ metric 112/' /etc/podnet/current/routes.batch &&
ip -4 route show proto 112 >/run/routes
grep ' metric 112' /run/routes && ! grep -v ' metric 112' /run/routes"""


def earlier_release(fleet: Fleet) -> None:
    """Routes as they were before ADR 0007, when all had one metric."""
    for node in fleet.nodes:
        fleet.ssh(node, FORMER)


def unreachable(fleet: Fleet) -> None:
    """Nobody gets in by SSH any more; what runs there runs on."""
    fleet.ssh(FOUR, WALL)


def wiped(fleet: Fleet) -> None:
    """Another machine under the same name: nothing of podnet is on it."""
    fleet.ssh(FOUR, WIPE)


def verified(fleet: Fleet) -> None:
    """Every pod of every node reaches every other."""
    fleet.play("verify", check=True)


def settled(fleet: Fleet) -> None:
    """Though pods hold addresses of a family that the fleet has no more."""
    done = fleet.play("converge", check=True)
    assert "0 to change" in done.stdout, done.stdout


def leave(name: str) -> Edit:
    def edit(_fleet: dict[str, Any], hosts: dict[str, Any]) -> None:
        hosts.pop(name)

    return edit


def join(name: str) -> Edit:
    def edit(_fleet: dict[str, Any], hosts: dict[str, Any]) -> None:
        hosts[name] = dict(KEPT[name])

    return edit


KEPT: dict[str, dict[str, Any]] = {}


@dataclass(frozen=True)
class Change:
    """One row: what is edited, the families that exist before and after, and what else is done
    first and afterwards."""

    name: str
    edit: Edit
    families: tuple[str, ...] = BOTH
    before: Callable[[Fleet], None] | None = None
    after: Callable[[Fleet], None] | None = None
    arguments: tuple[str, ...] = ()


SLOW = ("-e", "ansible_ssh_timeout=3", "-e", "ansible_ssh_retries=0")
# In this order on one fleet: two nodes in one segment, the others in a second one.
TWO_SEGMENTS = (
    Change("mode auto → vxlan", values(mode="vxlan"), before=earlier_release),
    Change("mode vxlan → auto", values(mode="auto")),
    Change("another VNI", values(vni=65)),
    Change("the VNI as it was", values(vni=None)),
    Change("another UDP port", values(vxlan_port=8472)),
    Change("the UDP port as it was", values(vxlan_port=None)),
    Change("VXLAN over IPv6", values(vxlan_family="ipv6")),
    Change("VXLAN over IPv4", values(vxlan_family=None)),
    Change("smaller pod MTU", values(mtu=1400)),
    Change("larger pod MTU", values(mtu=None)),
    Change("connections between pods not tracked", values(pod_tracking="outside")),
    Change("connections between pods tracked again", values(pod_tracking=None)),
    Change("segment of one node", of_node(TWO, segment="rack-c")),
    Change("segment as it was", of_node(TWO, segment="rack-a")),
    Change(
        "underlay address of one node",
        of_node(TWO, underlay_addresses=["192.0.2.99", "2001:db8:a::99"]),
        before=second_address,
        after=first_address_gone,
    ),
    Change(
        "pod CIDR of one node",
        of_node(ONE, pod_cidrs=["10.64.101.0/24", "fd00:64:0:101::/64"]),
    ),
    Change("node added", join(FOUR)),
    Change("node replaced under its name", values(), before=wiped, after=verified),
    Change("node removed", leave(FOUR)),
    Change("node added again", join(FOUR)),
    Change("node removed that cannot be reached", leave(FOUR), before=unreachable, arguments=SLOW),
    Change("larger cluster CIDR", values(cluster_cidrs=["10.64.0.0/15", "fd00:64::/48"])),
    Change("pod CIDRs of all nodes", all_ranges),
    Change("dual stack → IPv4", families("ipv4"), V4, after=settled),
    Change("IPv4 → dual stack", families("ipv4", "ipv6"), V4, after=verified),
)
ONE_SEGMENT = (
    Change("mode routed → vxlan", values(mode="vxlan")),
    Change("mode vxlan → routed", values(mode="routed")),
    Change("mode routed → auto", values(mode="auto")),
    Change("mode auto → routed", values(mode="routed")),
    Change("mode routed → bgp", values(mode="bgp"), before=earlier_release),
    Change("mode bgp → vxlan", values(mode="vxlan")),
    Change("mode vxlan → bgp", values(mode="bgp")),
    Change("mode bgp → routed", values(mode="routed"), after=verified),
)
TABLE: dict[str, tuple[Reading, int]] = {}


def commands(fleet: Fleet) -> int:
    """Commands that the last run ran on nodes."""
    files = (fleet.folder / ".podnet" / "run").glob("*.json")
    runs = [json.loads(path.read_text(encoding="utf-8")) for path in files]
    return sum(len(run["shown"][phase]) for run in runs for phase in run["phases"])


def carry_out(fleet: Fleet, pods: Pods, change: Change) -> None:
    if change.before:
        change.before(fleet)
    change.edit(fleet.data["podnet"]["vars"], fleet.data["podnet"]["hosts"])
    fleet.write()
    with Meters(fleet, pods, change.families) as meters:
        done = fleet.play("converge", *change.arguments)
    TABLE[change.name] = (meters.reading, commands(fleet))
    print(f"{change.name}: {meters.reading}")
    assert done.returncode == 0, done.stdout
    assert all(pair.sent > 500 for pair in meters.reading.pairs)
    assert meters.reading.hurt == [], change.name
    if change.after:
        change.after(fleet)


@pytest.fixture(scope="module", autouse=True)
def table() -> Iterator[None]:
    """What was measured goes into the document when it is asked for."""
    yield
    if "PODNET_WRITE_DOCS" in os.environ:
        write_table()


def write_table() -> None:
    head = (
        "| Change | Pairs | Packets | Per second | Lost | Longest gap (ms) | TCP bytes | Commands |"
    )
    rows = [head, f"{'|---' * 8}|"]
    for name, (reading, run) in TABLE.items():
        cells = (name, len(reading.pairs), reading.sent, reading.rate, reading.lost, reading.gap)
        rows.append(f"| {' | '.join(map(str, (*cells, reading.carried, run)))} |")
    path = REPO / "docs" / "day2.md"
    before, _begin, rest = path.read_text(encoding="utf-8").partition("<!-- table -->\n")
    _old, _end, after = rest.partition("<!-- end of table -->\n")
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    stamp = f"Measured on {today} by `make day2-table` on {os.cpu_count()} cores."
    text = "\n".join([f"{before}<!-- table -->", stamp, "", *rows, "<!-- end of table -->", after])
    path.write_text(text, encoding="utf-8")


@pytest.fixture(scope="module")
def racks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Fleet, Pods]]:
    spec = Spec(segments={"rack-a": 2, "rack-b": 2})
    with Fleet(tmp_path_factory.mktemp("racks"), spec, "racks") as fleet:
        KEPT[FOUR] = fleet.data["podnet"]["hosts"].pop(FOUR)
        fleet.write()
        fleet.play("converge", check=True)
        yield fleet, {node: pod(fleet, node, "stays") for node in (ONE, TWO, THREE)}
        fleet.data["podnet"]["hosts"][FOUR] = KEPT[FOUR]
        fleet.write()


@pytest.fixture(scope="module")
def rack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Fleet, Pods]]:
    spec = Spec(mode="routed", segments={"rack-a": 3})
    with Fleet(tmp_path_factory.mktemp("rack"), spec, "rack") as fleet:
        fleet.play("converge", check=True)
        yield fleet, {node: pod(fleet, node, "stays") for node in fleet.nodes}


@pytest.mark.parametrize("change", TWO_SEGMENTS, ids=lambda change: change.name)
def test_no_packet_is_lost_between_segments(racks: tuple[Fleet, Pods], change: Change) -> None:
    carry_out(*racks, change)


@pytest.mark.parametrize("change", ONE_SEGMENT, ids=lambda change: change.name)
def test_no_packet_is_lost_inside_a_segment(rack: tuple[Fleet, Pods], change: Change) -> None:
    carry_out(*rack, change)


def test_the_meter_sees_a_naive_change(rack: tuple[Fleet, Pods]) -> None:
    """Delete, then add: the control without which the meter would prove nothing."""
    fleet, pods = rack
    with Meters(fleet, pods, V4) as meters:
        route = "r=$(ip route show 10.64.2.0/24); ip route del $r; sleep 0.3; ip route add $r"
        fleet.ssh(ONE, route)
    hurt = {pair.name: pair for pair in meters.reading.pairs}[f"{ONE} - {TWO} ipv4"]
    assert hurt.lost > 100 and hurt.gap > 250
    TABLE["control: a route deleted, and added 0.3 s later"] = (meters.reading, 2)


def test_a_connection_sees_a_wrong_byte(rack: tuple[Fleet, Pods]) -> None:
    with Meters(*rack, families=V4, corrupt=True) as meters:
        pass
    assert [pair.flow for pair in meters.reading.pairs] == ["altered"] * 3


NAT = """nft add table ip nat0
nft 'add chain ip nat0 c { type nat hook postrouting priority 90; }'
nft add rule ip nat0 c masquerade; sleep 0.1; nft delete table ip nat0"""


def test_the_meter_sees_a_translated_connection(rack: tuple[Fleet, Pods]) -> None:
    """Answers come back all the same, so it is nothing that is lost."""
    with Meters(*rack, families=V4) as meters:
        rack[0].ssh(ONE, NAT)
    seen = meters.reading.translated
    assert seen.pop(TWO) > 50 and seen.pop(THREE) > 50 and meters.reading.lost == 0
    assert list(seen.values()) == [0]


def test_the_bridge_keeps_its_name_while_pods_are_attached(rack: tuple[Fleet, Pods]) -> None:
    fleet, _pods = rack
    values(bridge="br-pods")(fleet.data["podnet"]["vars"], {})
    fleet.write()
    refused = fleet.play("converge")
    values(bridge=None)(fleet.data["podnet"]["vars"], {})
    fleet.write()
    assert (
        refused.returncode == 2 and "pods are attached to the bridge of the old" in refused.stdout
    )
