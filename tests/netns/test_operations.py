# SPDX-License-Identifier: GPL-3.0-or-later
"""What an operator does on a live fleet besides `site`: look, review, roll out in batches,
remove nodes, run slices. One lab; each test leaves the fleet as the inventory says."""

from __future__ import annotations

import copy
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from ansible_collections.podnet.fabric.plugins.plugin_utils.kernel.objects import route_metric
from edits import (
    ONE,
    SOON,
    THREE,
    TWO,
    UNCONFIRMED,
    WALL,
    assert_same,
    change_cidr,
    edit,
    everything,
    kernel,
    lent,
    other_port,
    other_vni,
    pod,
    wait_for,
)
from edits import state as dumps
from fleet import Fleet, Spec
from terminal import Terminal

LEFT = (
    "ls -d /etc/podnet /run/podnet/nft /usr/local/sbin/podnet-node /etc/cni/net.d/*podnet* "
    "/etc/iproute2/rt_protos.d/podnet.conf /etc/systemd/system/podnet.service 2>/dev/null; true"
)
# What podnet leaves until the next boot, and says so; a router has anycast addresses.
SETTINGS = re.compile(r"^(/proc/sys/|anycast ).*\n", re.MULTILINE)


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    with Fleet(tmp_path_factory.mktemp("operations"), Spec(), "operations") as fleet:
        yield fleet


@pytest.fixture
def fleet(lab: Fleet) -> Iterator[Fleet]:
    yield from lent(lab)


def site(fleet: Fleet, *arguments: str) -> subprocess.CompletedProcess[str]:
    return fleet.play("site", *arguments)


# --- look ---------------------------------------------------------------------------------------


def test_status_and_drift_of_a_healthy_fleet(fleet: Fleet) -> None:
    status = fleet.play("status", check=True)
    assert len(re.findall(r"^node-\d +\d+ .*as wanted$", status.stdout, re.MULTILINE)) == 3
    fleet.play("drift", check=True)


def test_status_names_what_retires_and_who_holds_it(fleet: Fleet) -> None:
    old = pod(fleet, ONE, "old")
    edit(fleet, change_cidr)
    fleet.play("converge", check=True)
    status = fleet.play("status", check=True).stdout
    assert f"node-1: 10.64.1.0/24 retires; held by {old['addresses']['ipv4']} (old" in status
    drift = fleet.play("drift")
    assert drift.returncode == 0, f"a range that retires is no drift: {drift.stdout}"
    fleet.play("verify", check=True)
    pod(fleet, ONE, "old", state="absent")
    leak = (
        "mkdir -p /var/lib/cni/networks/podnet; echo gone >/var/lib/cni/networks/podnet/10.64.1.77"
    )
    fleet.ssh(ONE, leak)
    status = fleet.play("status", check=True).stdout
    assert "10.64.1.0/24 is free and is removed; reserved for no pod: 10.64.1.77 (gone)" in status
    fleet.play("converge", check=True)
    assert "10.64.1." not in fleet.ssh(ONE, "ip address; nft list ruleset")
    fleet.ssh(ONE, "rm /var/lib/cni/networks/podnet/10.64.1.77")


DRIFTS = {
    "route": ("ip route del 10.64.3.0/24 proto 112", "missing: ip route replace 10.64.3.0/24"),
    "next hop": (
        "ip route change 10.64.2.0/24 via 192.0.2.1 proto 112 "
        f"metric {route_metric('10.64.2.0/24')}",
        "differs: ip route replace 10.64.2.0/24 via 192.0.2.12",
    ),
    "surplus": (
        "ip route add 10.64.200.0/24 via 192.0.2.1 proto 112 metric 112",
        "not wanted: ip route del 10.64.200.0/24",
    ),
    "setting": ("echo 0 >/proc/sys/net/ipv4/ip_forward", "sysctl net/ipv4/ip_forward=1"),
    "table": ("nft flush table inet podnet", "nft podnet.nft"),
    "file": ("echo '{}' >/etc/cni/net.d/10-podnet.conflist", "10-podnet.conflist"),
    "definition": ("echo '#' >>/etc/podnet/current/routes.batch", "a new generation"),
}


@pytest.mark.parametrize(("harm", "named"), DRIFTS.values(), ids=list(DRIFTS))
def test_drift_names_the_difference(fleet: Fleet, harm: str, named: str) -> None:
    fleet.ssh(ONE, harm)
    before = kernel(fleet, ONE)
    found = fleet.play("drift")
    assert found.returncode == 2
    assert named in found.stdout and "node-2: " not in found.stdout
    assert kernel(fleet, ONE) == before, "drift changed the node"
    fleet.play("converge", check=True)
    fleet.play("drift", check=True)


def test_drift_names_rendered_files_that_the_inventory_does_not_give(fleet: Fleet) -> None:
    path = fleet.folder / "intended" / ONE / "routes.batch"
    text = path.read_text(encoding="utf-8")
    path.write_text(text + "#\n", encoding="utf-8")
    found = fleet.play("drift")
    assert found.returncode == 2 and "intended/node-1: not what the inventory says" in found.stdout
    path.write_text(text, encoding="utf-8")
    fleet.play("drift", check=True)


# --- verify -------------------------------------------------------------------------------------


def test_verify_judges_by_the_inventory_that_it_is_given(fleet: Fleet) -> None:
    """Not by what was planned in this folder before: a review of something else, or fewer nodes."""
    mine = fleet.data
    fleet.data = copy.deepcopy(mine)
    edit(fleet, change_cidr)
    fleet.play("plan", check=True)
    edit(fleet, lambda _vars, hosts: hosts.pop(TWO))
    fleet.data, fewer = mine, fleet.data
    fleet.write()
    assert "6 of 6 pairs verified" in fleet.play("verify", check=True).stdout
    fewer["podnet"]["hosts"][ONE] = mine["podnet"]["hosts"][ONE]
    fleet.data = fewer
    fleet.write()
    fleet.play("site", check=True)
    fleet.data = mine
    fleet.write()
    limited = fleet.play("verify", "--limit", f"{ONE},{THREE}", check=True).stdout
    assert "2 of 2 pairs verified, only 2 of 3 nodes were asked for" in limited
    blind = fleet.play("verify")
    assert blind.returncode == 2 and "2 of 6 pairs verified" in blind.stdout
    assert "CAUSE node-1: route 10.64.2.0/24" in blind.stdout
    assert "applied last" not in blind.stdout, "what each of them was told is the same"


def test_verify_says_that_the_inventory_was_not_applied(fleet: Fleet) -> None:
    """Its causes are then the way to that inventory, and its repairs half of a change."""
    edit(fleet, change_cidr)
    edit(fleet, other_vni)
    done = fleet.play("verify")
    assert done.returncode == 2
    said = "the inventory: says otherwise than what was applied last to node-1\n"
    assert said in done.stdout and "podnet_vni: 64 -> 65" in done.stdout
    assert "nodes.node-1.podnet_pod_cidrs: ['10.64.1.0/24'" in done.stdout
    fleet.play("site", check=True)
    fleet.play("verify", check=True)
    fleet.ssh(ONE, "ip route del 10.64.3.0/24 proto 112")
    broken = fleet.play("verify")
    assert broken.returncode == 2 and "applied last" not in broken.stdout


# --- review -------------------------------------------------------------------------------------


def test_a_run_does_what_was_reviewed_or_nothing(fleet: Fleet) -> None:
    same = fleet.play("converge", "--check", "-e", "podnet_fail_on_changes=true", check=True)
    assert "0 to change" in same.stdout and "plan digest" not in same.stdout
    edit(fleet, other_vni)
    before = everything(fleet)
    check = fleet.play("converge", "--check", "-e", "podnet_fail_on_changes=true")
    assert check.returncode == 2 and re.search(r"^total +45 +11 +30$", check.stdout, re.MULTILINE)
    digest = re.findall(r"plan digest (\w+)", check.stdout)[0]
    other = site(fleet, "-e", "podnet_plan_digest=0123456789abcdef")
    assert other.returncode == 2 and "not the one that was reviewed" in other.stdout
    assert everything(fleet) == before, "something was changed"
    site(fleet, "-e", f"podnet_plan_digest={digest}").check_returncode()
    assert "pn65" in fleet.ssh(ONE, "ip -br link")


# --- all or nothing -----------------------------------------------------------------------------


def test_a_phase_that_fails_anywhere_is_taken_back_everywhere_at_once(fleet: Fleet) -> None:
    # The kernel has each VNI once, for whomever.
    fleet.ssh(THREE, "ip link add other type vxlan id 65 dstport 4789 local 127.0.0.1 nolearning")
    before = dumps(fleet)
    edit(fleet, other_vni)
    done = fleet.play("converge")
    assert done.returncode and "node-3, phase add: ip link add name pn65" in done.stdout
    assert "taken back on node-1, node-2, node-3" in done.stdout
    assert_same(dumps(fleet), before)
    fleet.ssh(THREE, "ip link del other")


EATER = (
    "nft add table inet eater; "
    "nft 'add chain inet eater in { type filter hook input priority 0; }'; "
    "nft add rule inet eater in udp dport 8472 drop"
)


def test_probes_that_fail_take_the_change_back_at_once(fleet: Fleet) -> None:
    before = dumps(fleet)
    fleet.ssh(THREE, EATER)
    edit(fleet, other_port)
    done = site(fleet)
    assert done.returncode and "taken back on node-1, node-2, node-3" in done.stdout
    assert "applied last" not in done.stdout, "it is just being applied"
    fleet.ssh(THREE, "nft delete table inet eater")
    assert_same(dumps(fleet), before)


def test_a_canary_that_fails_keeps_the_others_from_switching(fleet: Fleet) -> None:
    """What node-3 sends to the new port is eaten on node-1, which itself still uses the old one."""
    before = dumps(fleet)
    fleet.ssh(ONE, EATER)
    edit(fleet, other_port)
    done = site(fleet, "-e", '{"podnet_canary": ["node-3"], "podnet_serial": 1}')
    assert done.returncode and "taken back on node-1, node-2, node-3" in done.stdout
    assert done.stdout.count("Switch what is in use") == 1, "another batch switched"
    fleet.ssh(ONE, "nft delete table inet eater")
    assert_same(dumps(fleet), before)


def test_batches_end_where_one_run_ends(fleet: Fleet) -> None:
    edit(fleet, other_port)
    done = site(fleet, "-e", '{"podnet_canary": ["node-2"], "podnet_serial": [1]}')
    assert done.returncode == 0, done.stdout
    assert done.stdout.count("Switch what is in use") == 3
    fleet.play("drift", check=True)


def test_a_run_that_was_interrupted_is_taken_back_by_the_next_one(fleet: Fleet) -> None:
    """In the same folder: another controller must wait until the time is over."""
    edit(fleet, other_vni)
    (fleet.folder / "unconfirmed.yml").write_text(UNCONFIRMED, encoding="utf-8")
    fleet.play("unconfirmed.yml", check=True)
    assert "transaction pending" in fleet.ssh(ONE, "podnet-node status")
    status = fleet.play("status", check=True)
    assert status.stdout.count("a change is at work or waits") == 3
    fleet.play("converge", check=True)
    assert "transaction pending" not in fleet.ssh(ONE, "podnet-node status")
    fleet.play("drift", check=True)


def test_ctrl_c_says_what_becomes_of_the_change(fleet: Fleet, tmp_path: Path) -> None:
    edit(fleet, other_vni)
    terminal = Terminal(tmp_path, 80)
    try:
        terminal.run_ansible(fleet.folder, fleet.command("site"))
        terminal.until(lambda text: "Start two probe pods" in text)
        terminal.tmux("send-keys", "C-c")
        seen = terminal.until(lambda text: "ended with" in text)
    finally:
        terminal.end()
    assert "ended with 99" in seen
    told = " ".join(seen.split())
    assert re.search(r"go back by themselves within \d+ seconds, and at once", told), seen
    assert "probe pods may be left" in seen and "Traceback" not in seen
    (words,) = [line for line in seen.splitlines() if "User interrupted" in line]
    assert words.endswith("User interrupted execution"), "nothing of the progress beside it"
    assert "transaction pending" in fleet.ssh(ONE, "podnet-node status")
    fleet.play("site", check=True)
    fleet.play("drift", check=True)


# --- peers that are away, slices ----------------------------------------------------------------


def test_a_limited_run_does_not_cut_off_the_rest(fleet: Fleet) -> None:
    before = everything(fleet)
    edit(fleet, other_vni)
    done = fleet.play("converge", "--limit", ONE)
    assert done.returncode == 2 and "nodes.node-3: its pods would be cut off" in done.stdout
    assert everything(fleet) == before


def test_a_range_of_a_node_that_was_not_asked_is_given_to_nobody(fleet: Fleet) -> None:
    """Pods of node-2 may hold it; nobody knows, until node-2 is asked or declared lost."""
    before = everything(fleet)
    hosts = fleet.data["podnet"]["hosts"]
    hosts[ONE]["podnet_pod_cidrs"] = hosts[TWO]["podnet_pod_cidrs"]
    hosts[TWO]["podnet_pod_cidrs"] = ["10.64.102.0/24", "fd00:64:0:102::/64"]
    fleet.write()
    without = ("--limit", f"{ONE},{THREE}")
    done = fleet.play("converge", *without)
    assert done.returncode == 2
    assert "was a range of node-2, which this run does not ask whether pods use it" in done.stdout
    assert everything(fleet) == before
    lost = fleet.play("converge", *without, "--check", "-e", '{"podnet_lost_nodes": ["node-2"]}')
    assert lost.returncode == 0, lost.stdout
    fleet.play("converge", check=True)


@pytest.mark.parametrize(
    ("playbook", "arguments"),
    [
        ("converge", ()),
        ("site", ()),
        ("site", ("-e", '{"podnet_serial": 1}')),
    ],
)
def test_a_node_that_is_not_reached_is_named_and_blocks_nobody(
    fleet: Fleet, playbook: str, arguments: tuple[str, ...]
) -> None:
    """Its port 22 is closed for the time of the run; the wall goes by itself. What is proved is
    the rest."""
    fleet.ssh(THREE, WALL)
    edit(fleet, change_cidr)
    done = fleet.play(playbook, *SOON, *arguments)
    assert done.returncode == 4, done.stdout + done.stderr
    assert "node-3 was not reached and stays as it is" in done.stdout
    assert ("only 2 of 3 nodes were asked for" in done.stdout) == (playbook == "site")
    assert "10.64.101.0/24" in fleet.ssh(TWO, "ip route")
    wait_for(fleet, THREE)


FAULT = """nft -f - <<'END'
table inet bad { chain c { type filter hook forward priority 0; ip protocol icmp drop; }; }
END"""


def test_a_fault_that_was_there_before_is_told_and_can_be_left_out(fleet: Fleet) -> None:
    fleet.ssh(THREE, FAULT)
    assert fleet.play("verify").returncode == 2
    done = fleet.play("site")
    said = " ".join(done.stdout.split())
    assert done.returncode == 2 and "All of it failed in the verification that began 20" in said
    assert "nothing was to be changed, and nothing was" in said
    fleet.play("site", "-e", '{"podnet_verify_without": ["node-3"]}', check=True)
    fleet.ssh(THREE, "nft delete table inet bad")


# --- away with it -------------------------------------------------------------------------------


def test_a_node_in_the_wrong_segment_is_named_before_anything_is_changed(fleet: Fleet) -> None:
    before = everything(fleet)
    edit(fleet, lambda _vars, hosts: hosts[THREE].update(podnet_segment="rack-a"))
    done = fleet.play("site")
    assert done.returncode == 2 and "no node was touched" in done.stdout
    assert done.stdout.count("nodes.node-3.podnet_segment: other nodes") == 2
    assert "nodes.node-1" not in done.stdout
    assert "nodes.node-3.podnet_segment" in fleet.play("status", check=True).stdout
    assert everything(fleet) == before


def test_remove_node_leaves_nothing_anywhere(fleet: Fleet) -> None:
    removed = ("-e", "podnet_remove_nodes=node-2")
    asked = fleet.play("remove_node", *removed)
    assert asked.returncode == 2 and "expected 'remove node-2'" in asked.stdout
    wrong = fleet.play("remove_node", "-e", "podnet_remove_nodes=node-9", "-e", "podnet_yes=true")
    assert wrong.returncode == 2 and "names no node of the fleet" in wrong.stdout
    web = pod(fleet, TWO, "web")
    refused = fleet.play("remove_node", *removed, "-e", "podnet_yes=true")
    assert refused.returncode == 2 and web["addresses"]["ipv4"] in refused.stdout
    pod(fleet, TWO, "web", state="absent")
    fleet.play("remove_node", *removed, "-e", "podnet_yes=true", check=True)
    assert fleet.ssh(TWO, LEFT) == ""
    # Permanent neighbours only: what the kernel heard on the underlay it forgets by itself.
    for node in (ONE, THREE):
        left = fleet.ssh(
            node, "ip route; ip -6 route; nft list ruleset; ip neigh show nud permanent; bridge fdb"
        )
        assert "10.64.2." not in left and "fd00:64:0:2:" not in left
        assert "192.0.2.12 self permanent" not in left
    edit(fleet, other_vni)
    fleet.play("site", "--limit", f"{ONE},{THREE}", check=True)
    back = fleet.play("rollback", check=True)
    assert back.stdout.count("node-2") == 1
    assert "node-2 keeps no generation; it stays as it is" in back.stdout
    assert fleet.ssh(TWO, LEFT) == "" and "10.64.2." not in fleet.ssh(ONE, "ip route")


def test_reset_leaves_a_node_as_it_was(tmp_path_factory: pytest.TempPathFactory) -> None:
    spec = Spec(segments={"rack-a": 1, "rack-b": 1})
    with Fleet(tmp_path_factory.mktemp("reset"), spec, "reset") as fleet:
        for node in fleet.nodes:
            fleet.ssh(node, "nft add table ip other; ip route add 100.64.0.0/10 dev mgmt0")
        before = {node: SETTINGS.sub("", kernel(fleet, node)) for node in fleet.nodes}
        site(fleet).check_returncode()
        # A conflist that is found by its content alone.
        edit(fleet, lambda variables, _hosts: variables.update(podnet_cni_file="20-x.conflist"))
        fleet.play("reset", "-e", "podnet_yes=true", check=True)
        for node in fleet.nodes:
            assert fleet.ssh(node, LEFT) == ""
            assert_same({node: SETTINGS.sub("", kernel(fleet, node))}, {node: before[node]})
        again = fleet.play("reset", "-e", "podnet_yes=true", check=True)
        assert "0 to change" in again.stdout
