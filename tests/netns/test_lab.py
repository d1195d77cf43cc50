# SPDX-License-Identifier: GPL-3.0-or-later
"""The embedded lab on the real kernel: reachable, separate, repaired, and gone without a trace."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from labtool import LabTool, node

REPO = Path(__file__).resolve().parents[2]
FIVE = [node(1), node(2), node(3), node(1, "rack-b", name="far-1"), node(2, "rack-b", name="far-2")]


def output(*argv: str) -> str:
    return subprocess.run(argv, capture_output=True, text=True, check=True).stdout


def traces(ident: str) -> list[str]:
    """Everything on the machine that carries a lab's identifier."""
    found = [ln["ifname"] for ln in json.loads(output("ip", "-j", "link")) if ident in ln["ifname"]]
    found += [line for line in output("ip", "netns").splitlines() if ident in line]
    found += [line for line in Path("/proc/self/mounts").read_text().splitlines() if ident in line]
    for entry in filter(str.isdigit, os.listdir("/proc")):
        try:
            if f"PODNET_LAB={ident}".encode() in Path(f"/proc/{entry}/environ").read_bytes():
                found.append(f"process {entry}")
        except OSError:
            continue
    return found


def mounts_below(folder: Path) -> list[str]:
    lines = Path("/proc/self/mounts").read_text().splitlines()
    return [line for line in lines if str(folder).replace(" ", "\\040") in line]


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabTool]:
    """Five nodes in two segments, in a folder with a space in its name."""
    folder = tmp_path_factory.mktemp("a lab")
    nodes = [dict(entry) for entry in FIVE]
    nodes[2]["init"] = "systemd"
    tool = LabTool(folder / "labs", nodes)
    with tool:
        yield tool
    assert traces(tool.lab.ident) == []
    assert mounts_below(folder) == []
    assert list(folder.iterdir()) == []


def test_every_node_is_itself(lab: LabTool) -> None:
    for entry in lab.nodes:
        assert lab.ssh(entry["name"], "hostname; cat /etc/hostname").split() == [entry["name"]] * 2
        addresses = lab.ssh(entry["name"], "ip -o addr show dev eth0")
        assert all(address in addresses for address in entry["underlay_addresses"])
    ids = {lab.ssh(entry["name"], "cat /etc/machine-id") for entry in lab.nodes}
    assert len(ids) == len(lab.nodes)


def test_nodes_reach_each_other_through_the_router_and_know_names(lab: LabTool) -> None:
    for target in ("far-1", "2001:db8:b::11", "node-2", "203.0.113.10", "2001:db8:ffff::10"):
        lab.ssh("node-1", f"ping -n -c 1 -W 2 {target}")
    path = lab.ssh("node-1", "ping -n -c 1 -t 1 198.51.100.11", check=False)
    assert "From 192.0.2.254" in path, "the router is the way to the other segment"
    routes = lab.enter("router", "ip route; ip -6 route")
    assert "10.64." not in routes and "fd00:64" not in routes


def test_the_outside_host_says_whom_it_sees(lab: LabTool) -> None:
    program = (
        "import socket; s=socket.create_connection(('203.0.113.10',7717),5);"
        "s.sendall(b'\\0\\0\\0\\2hi'); print(s.recv(999).decode())"
    )
    assert '"source": "192.0.2.11"' in lab.ssh("node-1", f'/usr/bin/python3 -c "{program}"')


def test_the_management_network_is_no_way_from_node_to_node(lab: LabTool) -> None:
    other = lab.facts["nodes"]["node-2"]["address"]
    assert "100% packet loss" in lab.ssh("node-1", f"ping -c 1 -W 1 {other}", check=False)


def test_a_node_does_not_inherit_forwarding_nor_files(lab: LabTool) -> None:
    fresh = node(7, name="fresh")
    lab.nodes.append(fresh)
    old = Path("/proc/sys/net/ipv4/ip_forward").read_text()
    Path("/proc/sys/net/ipv4/ip_forward").write_text("1")
    try:
        assert lab.up().lines() == ["start fresh"], "other nodes are left alone"
    finally:
        Path("/proc/sys/net/ipv4/ip_forward").write_text(old)
    text = lab.ssh(
        "fresh",
        "cd /proc/sys/net; cat ipv4/ip_forward ipv4/conf/eth0/forwarding ipv4/conf/all/rp_filter "
        "ipv6/conf/all/forwarding ipv6/conf/default/forwarding; "
        f"ls -d /etc/podnet /etc/cni /var/lib/cni /root/.ansible {lab.lab.root} 2>/dev/null",
        check=False,
    )
    assert text.split() == ["0"] * 5
    assert "fresh" in lab.ssh("node-1", "cat /etc/hosts"), "running nodes learn the new name"
    lab.nodes.remove(fresh)
    assert lab.up().lines() == ["stop fresh", "discard the files of fresh"]


def test_second_up_changes_nothing(lab: LabTool) -> None:
    pids = {name: entry["pid"] for name, entry in lab.facts["nodes"].items()}
    assert not lab.up()
    assert {name: entry["pid"] for name, entry in lab.facts["nodes"].items()} == pids


def test_process_one_reaps_orphans_and_terminals_work(lab: LabTool) -> None:
    lab.ssh("node-1", "setsid sh -c 'sleep 0.1 & sleep 0.2 & exit' >/dev/null 2>&1 </dev/null")
    time.sleep(0.5)
    assert "Z" not in lab.ssh("node-1", "ps -e -o stat=")
    argv = ["ssh", "-tt", "-F", lab.facts["ssh_config"], "node-1", "tty; echo x >/dev/null"]
    done = subprocess.run(argv, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    assert "/dev/pts/" in done.stdout


def test_systemd_boots(lab: LabTool) -> None:
    state = lab.ssh("node-3", "systemctl is-system-running --wait", check=False)
    assert state.strip() == "running", lab.ssh("node-3", "systemctl --failed")
    assert "system.slice/podnet-lab-sshd.service" in lab.ssh("node-3", "cat /proc/self/cgroup")
    lab.ssh("node-3", "systemd-run --wait -q true")


@pytest.mark.parametrize("name", ["node-1", "node-3"])
def test_restart_keeps_files_and_brings_back_the_underlay(lab: LabTool, name: str) -> None:
    """As a reboot does: files stay, kernel state goes, the boot unit's program runs."""
    wants = "/etc/systemd/system/multi-user.target.wants"
    lab.ssh(
        name,
        f"""set -e
        printf '#!/bin/sh\\necho "$1" >>/var/restored\\n' >/usr/local/sbin/podnet-node
        chmod +x /usr/local/sbin/podnet-node; mkdir -p {wants}; cd {wants}/..
        printf '[Service]\\nType=oneshot\\nExecStart=/usr/local/sbin/podnet-node restore\\n' \\
          >podnet.service
        ln -s ../podnet.service {wants}/; sync
        ip link add cbr0 type bridge; echo 1 >/proc/sys/net/ipv4/ip_forward; touch /run/x""",
    )
    mac = lab.ssh(name, "cat /sys/class/net/eth0/address")
    assert lab.up(restart=[name]).lines() == [f"restart {name}"]
    if name == "node-3":
        lab.ssh(name, "systemctl is-system-running --wait", check=False)
    assert lab.ssh(name, "cat /var/restored") == "restore\n"
    assert (
        lab.ssh(
            name,
            "cat /proc/sys/net/ipv4/ip_forward; ls /run/x /sys/class/net/cbr0; true",
            check=False,
        ).strip()
        == "0"
    )
    assert lab.ssh(name, "cat /sys/class/net/eth0/address") == mac
    lab.ssh("far-1", f"ping -n -c 1 -W 2 {name}")


def test_up_repairs_a_dead_node_and_a_dead_outside_host(lab: LabTool) -> None:
    os.kill(lab.facts["nodes"]["node-2"]["pid"], signal.SIGKILL)
    inode = os.stat(lab.facts["outside_netns"]).st_ino
    for entry in filter(str.isdigit, os.listdir("/proc")):
        try:
            if os.stat(f"/proc/{entry}/ns/net").st_ino == inode:
                os.kill(int(entry), signal.SIGKILL)
        except OSError:
            continue
    time.sleep(0.2)
    assert lab.up().lines() == ["build the outside host", "restart node-2"]
    lab.ssh("node-2", "ping -n -c 1 -W 2 203.0.113.10")


def test_two_labs_of_the_same_nodes_do_not_touch(lab: LabTool, tmp_path: Path) -> None:
    with LabTool(tmp_path, FIVE, lab.name) as second:
        second.ssh("node-1", "touch /etc/second; ping -n -c 1 -W 2 far-2")
        assert "second" not in lab.ssh("node-1", "ls /etc")
    assert not lab.up()
    assert traces(second.lab.ident) == []


UP = "import sys; sys.path[:0] = {paths!r}; from test_lab import *; LabTool(Path({folder!r}), FIVE)"


@pytest.mark.parametrize("seconds", [0.05, 0.12, 0.2, 0.3])
def test_a_killed_start_is_cleaned_by_the_next(tmp_path: Path, seconds: float) -> None:
    paths = [str(REPO / "tests/netns"), str(REPO / ".ansible/collections")]
    text = UP.format(paths=paths, folder=str(tmp_path)) + ".up()"
    script = text.replace("; LabTool", "; print(1, flush=True); LabTool")
    victim = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE)
    assert victim.stdout is not None
    victim.stdout.readline()
    time.sleep(seconds)
    victim.kill()
    victim.wait()
    tool = LabTool(tmp_path, FIVE)
    try:
        tool.up()
        for entry in FIVE:
            tool.ssh(entry["name"], "ping -n -c 1 -W 2 203.0.113.10")
        assert not tool.up()
    finally:
        tool.down()
    assert traces(tool.lab.ident) == [] and mounts_below(tmp_path) == []


def test_a_lost_record_and_a_foreign_process_number(tmp_path: Path) -> None:
    """Nothing depends on the record; no process is killed for its number."""
    tool = LabTool(tmp_path, FIVE[:2])
    tool.up()
    (tmp_path / "test" / "state.json").write_text("{ not whole")
    assert "build the router" in tool.up().lines()
    (tmp_path / "test" / "state.json").unlink()
    tool.down()
    assert traces(tool.lab.ident) == [] and not (tmp_path / "test").exists()


def test_the_playbooks_and_ssh_by_ansible(tmp_path: Path) -> None:
    """inventory/lab as it is, in a lab of its own."""
    binaries = Path(sys.executable).parent
    folders = {"podnet_lab_dir": str(tmp_path / "labs"), "podnet_output_dir": str(tmp_path)}
    extra = json.dumps(folders)

    def ansible(program: str, *arguments: str) -> str:
        argv = [str(binaries / program), "-i", str(REPO / "inventory/lab"), "-e", extra, *arguments]
        done = subprocess.run(argv, cwd=REPO, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    try:
        ansible("ansible-playbook", "podnet.fabric.lab_up", "--check")
        assert not (tmp_path / "labs").exists(), "check mode makes nothing"
        ansible("ansible-playbook", "podnet.fabric.lab_up")
        assert ansible("ansible", "podnet", "-m", "ping", "-o").count("SUCCESS") == 5
    finally:
        ansible("ansible-playbook", "podnet.fabric.lab_down")
    assert not (tmp_path / "labs").exists()
