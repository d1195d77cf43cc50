# SPDX-License-Identifier: GPL-3.0-or-later
"""Drop-ins for other daemons: which, when, and that each daemon knows the file that is there."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
from ansible_collections.podnet.fabric.plugins.plugin_utils import coexist
from ansible_collections.podnet.fabric.plugins.plugin_utils.changes import (
    PHASES,
    PROGRAM,
    ChangeSet,
    Wanted,
)
from ansible_collections.podnet.fabric.plugins.plugin_utils.differ import diff
from ansible_collections.podnet.fabric.plugins.plugin_utils.intent.model import Fabric
from ansible_collections.podnet.fabric.plugins.plugin_utils.kernel.objects import Command
from ansible_collections.podnet.fabric.plugins.plugin_utils.kernel.state import State
from ansible_collections.podnet.fabric.plugins.plugin_utils.plan import plan_node
from observed import fabric_of

OTHER = "/etc/systemd/network/10-everything.network"
TELLS = {item.path: str(item.tell) for item in coexist.DROP_INS}


class Node:
    """Files, and what each daemon read when it was last told."""

    def __init__(self, daemons: set[str]) -> None:
        self.daemons = frozenset(daemons)
        self.files: dict[str, str] = {OTHER: "theirs"}
        self.backup: dict[str, str | None] = {}
        self.known: dict[str, str] = {}

    def run(self, command: Command, want: Wanted) -> None:
        words = command.args.split()
        if command.tool == "install":
            self.backup[words[2]] = self.files.get(words[2])
            self.files[words[2]] = want.files[words[2]][1]
        elif command.tool == "drop":
            self.backup[words[0]] = self.files.pop(words[0])
        elif command.tool == "uninstall":
            old = self.backup[words[1]]
            self.files.pop(words[1], None)
            self.files |= {words[1]: old} if old is not None else {}
        elif str(command) in TELLS.values():
            self.known = {p: t for p, t in self.known.items() if TELLS[p] != str(command)}
            self.known |= {p: t for p, t in self.ours.items() if TELLS[p] == str(command)}

    @property
    def ours(self) -> dict[str, str]:
        return {path: text for path, text in self.files.items() if path in TELLS}

    def state(self) -> State:
        files = {**self.ours, PROGRAM: "p"}
        return State(files=files, has_systemd=True, booted=True, daemons=self.daemons)


def fabric() -> Fabric:
    return fabric_of((2, 1))


def changes(node: Node, fleet: Fabric | None) -> tuple[ChangeSet, Wanted]:
    """Towards a fleet, or towards nothing."""
    state = node.state()
    files = coexist.drop_ins(fleet, plan_node(fleet, fleet.nodes[0].name), state) if fleet else {}
    name = fleet.nodes[0].name if fleet else ""
    want = Wanted(
        objects=plan_node(fleet, name).objects if fleet else (),
        files={path: (name, text, mode) for path, (name, text, mode) in files.items()},
        symlinks={},
        nft_sha256="",
        generation_sha256={},
        program_sha256="p",
        owned=frozenset(coexist.PATHS),
    )
    return coexist.with_told(diff(want, state), state), want


def carry_out(node: Node, fleet: Fabric | None, stop: int = 9999) -> None:
    found, want = changes(node, fleet)
    lines = [change for phase in PHASES for change in found.phase(phase)]
    for change in lines[:stop]:
        node.run(change.do, want)
    if stop < len(lines):
        for change in reversed(lines[:stop]):
            if change.undo:
                node.run(change.undo, want)


@pytest.mark.parametrize("daemons", [set(), {"nftables"}, set(coexist.DAEMONS)])
def test_only_daemons_of_the_node_get_a_file(daemons: set[str]) -> None:
    node = Node(daemons)
    carry_out(node, fabric())
    expected = {item.path for item in coexist.DROP_INS if daemons & set(item.daemons)}
    assert set(node.ours) == set(node.known) == expected
    again, _want = changes(node, fabric())
    lines = [change for phase in PHASES for change in again.phase(phase)]
    assert not [change for change in lines if change.do.tool == "install"]


def test_switched_off_or_reset_everything_goes_and_theirs_stays() -> None:
    for after in (replace(fabric(), coexist="never"), None):
        node = Node(set(coexist.DAEMONS))
        carry_out(node, fabric())
        assert node.ours
        carry_out(node, after)
        assert node.files == {OTHER: "theirs"} and node.known == {}


def test_a_daemon_that_is_gone_loses_its_file() -> None:
    node = Node({"nftables"})
    carry_out(node, fabric())
    node.daemons = frozenset()
    carry_out(node, fabric())
    assert node.ours == {}


def test_daemons_know_before_anything_is_made_and_after_all_is_gone() -> None:
    node = Node(set(coexist.DAEMONS))
    found, _want = changes(node, fabric())
    told = [i for i, c in enumerate(found.add) if str(c.do) in TELLS.values()]
    made = [i for i, c in enumerate(found.add) if c.do.tool in ("ip", "bridge", "sysctl")]
    assert told and made and max(told) < min(made)
    carry_out(node, fabric())
    found, _want = changes(node, None)
    assert str(found.remove[-1].do) in TELLS.values()


@pytest.mark.parametrize("towards", ["more", "other", "nothing"])
def test_taken_back_at_any_line_the_daemons_know_what_is_there(towards: str) -> None:
    base = Node(set(coexist.DAEMONS))
    if towards != "more":
        carry_out(base, fabric())
    after = {"more": fabric(), "other": replace(fabric(), bridge="pods"), "nothing": None}[towards]
    found, _want = changes(base, after)
    count = sum(len(found.phase(phase)) for phase in PHASES)
    for stop in range(count):
        node = copy.deepcopy(base)
        carry_out(node, after, stop)
        assert node.files == base.files, f"after line {stop} of {count}"
        assert node.known == node.ours, f"after line {stop} of {count}"


def texts(fleet: Fabric, daemons: set[str]) -> dict[str, str]:
    plan = plan_node(fleet, fleet.nodes[0].name)
    found = coexist.drop_ins(fleet, plan, Node(daemons).state())
    return {path: text for path, (_name, text, _mode) in found.items()}


def test_what_the_files_say() -> None:
    found = texts(fabric(), set(coexist.DAEMONS))
    assert "Name=cbr0 pn[0-9]* veth????????\n" in found["/etc/systemd/network/05-podnet.network"]
    assert "ManageForeignRoutes=no\n" in found["/etc/systemd/networkd.conf.d/50-podnet.conf"]
    assert (
        "match-device=interface-name:cbr0,interface-name:pn?*,interface-name:veth????????\n"
        in found["/etc/NetworkManager/conf.d/50-podnet.conf"]
    )
    for unit in ("nftables", "netfilter-persistent"):
        text = found[f"/etc/systemd/system/{unit}.service.d/50-podnet.conf"]
        assert "ExecStartPost=-/usr/local/sbin/podnet-node heal\n" in text


def test_firewalls_are_told_what_is_forwarded_and_the_port_where_one_is_used() -> None:
    for fleet, port in (
        (fabric_of((2, 1), podnet_mode="vxlan"), 1),
        (fabric_of((3,), podnet_mode="routed"), 0),
    ):
        found = texts(fleet, {"ufw", "firewalld"})
        rules = found["/etc/podnet/accept.ipv4"]
        cidr = next(cidr for cidr in fleet.cluster_cidrs if "." in cidr)
        assert f"-A PODNET-FORWARD -s {cidr} -d {cidr} -j ACCEPT\n" in rules
        assert rules.count("-A PODNET-INPUT -p udp -m udp --dport 4789 -j ACCEPT\n") == port
        for way in ("from", "to"):
            policy = found[f"/etc/firewalld/policies/podnet-{way}-pods.xml"]
            assert f'<source address="{cidr}"/>' in policy
        assert ("/etc/firewalld/policies/podnet-overlay.xml" in found) == bool(port)


def test_rules_that_are_not_loaded_are_loaded_again() -> None:
    node = Node({"docker"})
    carry_out(node, fabric())
    path = "/etc/podnet/accept.ipv6"
    found = coexist.with_told(ChangeSet(), replace(node.state(), ineffective=frozenset({path})))
    assert [str(change.do) for change in found.add] == ["accept ipv6"]


def test_ranges_that_retire_outside_the_cluster_stay_accepted() -> None:
    plan = replace(
        plan_node(fabric(), fabric().nodes[0].name), retiring_anywhere=("172.31.0.0/24",)
    )
    assert coexist.pod_ranges(fabric(), plan, "ipv4") == ("10.64.0.0/15", "172.31.0.0/24")
    inside = replace(plan, retiring_anywhere=("10.64.77.0/24",))
    assert coexist.pod_ranges(fabric(), inside, "ipv4") == ("10.64.0.0/15",)
