# SPDX-License-Identifier: GPL-3.0-or-later
"""The module `pod` with the real CNI plugins: what is shared, what is kept, what is left."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.podnet.fabric.plugins.module_utils.machine import started_at
from ansible_collections.podnet.fabric.plugins.module_utils.namespaces import Program, start
from podnode import BIN, POD_MTU, PodNode, conflist

APP = {"name": "app", "command": ["sleep", "1000"], "env": {"COLOUR": "red"}, "workdir": "/tmp"}
SIDE = {"name": "side", "command": ["sleep", "1001"]}
# A plugin that hands on what it gets; {do} runs with the command in $CNI_COMMAND.
PLUGIN = """#!/bin/sh
config=$(cat)
[ "$CNI_COMMAND" != VERSION ] || {{
  echo '{{"cniVersion": "1.0.0", "supportedVersions": ["0.4.0", "1.0.0"]}}'; exit; }}
{do}
[ "$CNI_COMMAND" != ADD ] || printf %s "$config" |
  {python} -c 'import json, sys; print(json.dumps(json.load(sys.stdin)["prevResult"]))'
"""


@pytest.fixture
def node() -> Iterator[PodNode]:
    with PodNode() as made:
        yield made


def with_plugin(node: PodNode, do: str, first: bool = False) -> dict[str, Any]:
    """Module arguments for a list that has an own plugin at its end, or at its beginning."""
    node.write("/run/bin/own", PLUGIN.format(do=do, python="/usr/bin/env python3"), "755")
    data = conflist()
    data["plugins"].insert(0 if first else 3, {"type": "own"})
    node.write("/run/own.conflist", data)
    return {"conflist": "/run/own.conflist", "bin_dirs": ["/run/bin", BIN]}


def members(answer: dict[str, Any]) -> dict[str, Any]:
    return {item["name"]: item for item in answer["pod"]["containers"]}


def namespaces(node: PodNode, pid: int) -> dict[str, str]:
    text = node.sh(f"cd /proc/{pid}/ns; for n in *; do echo $n $(readlink $n); done")
    return dict(line.split() for line in text.splitlines())


def reservations(node: PodNode) -> list[str]:
    return sorted(node.sh("cd /var/lib/cni/networks/podnet; ls -d [0-9f]* || true").split())


def test_containers_share_what_a_pod_shares_and_nothing_else(node: PodNode) -> None:
    answer = node.pod(containers=[APP, SIDE])
    assert answer["changed"] and answer["actions"][0] == "create pod web"
    pod = answer["pod"]
    assert pod["addresses"] == {"ipv4": "10.64.1.2", "ipv6": "fd00:64:1::2"}
    assert pod["mtu"] == POD_MTU and pod["cni_result"]["cniVersion"] == "1.0.0"
    pids = {name: item["pid"] for name, item in members(answer).items()}
    assert pids["infra"] == pod["infra_pid"]
    infra, app, side, host = (
        namespaces(node, pid) for pid in (pids["infra"], pids["app"], pids["side"], 1)
    )
    for kind in ("net", "ipc", "uts"):
        assert infra[kind] == app[kind] == side[kind] != host[kind]
    for kind in ("mnt", "pid"):
        assert len({infra[kind], app[kind], side[kind]}) == 3
    seen = {name: item["interfaces"] for name, item in members(answer).items()}
    assert seen["infra"] == seen["app"] == seen["side"]
    assert [i["name"] for i in seen["app"]] == ["eth0"]

    inside = f"nsenter -t {pids['app']} -a "
    assert node.sh(f"{inside} hostname").strip() == "web"
    assert node.sh(f"{inside} sh -c 'cat /proc/1/cmdline'") == "sleep\x001000\x00"
    assert set(node.sh(f"{inside} ls /sys/class/net").split()) == {"eth0", "lo"}
    assert "state UNKNOWN" in node.sh(f"{inside} ip link show lo")
    environ = node.sh(f"cat /proc/{pids['app']}/environ").split("\0")
    assert "COLOUR=red" in environ and not [e for e in environ if e.startswith("PYTHONPATH")]
    assert node.sh(f"readlink /proc/{pids['app']}/cwd").strip() == "/tmp"
    node.sh("ping -c1 -W1 10.64.1.2; ping -c1 -W1 fd00:64:1::2")


def test_processes_are_on_their_own(node: PodNode) -> None:
    """Reparented to the node's init, own session, no open files of whoever started them."""
    for item in members(node.pod(containers=[APP])).values():
        stat = node.sh(f"cat /proc/{item['pid']}/stat").rpartition(")")[2].split()
        assert stat[1] == "1" and stat[3] == str(item["pid"])
        assert node.sh(f"ls /proc/{item['pid']}/fd").split() == ["0", "1", "2"]


def test_second_run_changes_nothing_and_absent_leaves_nothing(node: PodNode) -> None:
    first = node.pod(containers=[APP])
    again = node.pod(containers=[APP])
    assert not again["changed"] and again["actions"] == [] and again["pod"] == first["pod"]
    assert again["diff"]["before"] == again["diff"]["after"]
    assert node.pod(state="absent")["changed"]
    assert node.left() == ""
    assert not node.pod(state="absent")["changed"]
    assert node.sh("nft list ruleset; iptables-save -t nat | grep CNI || true") == ""


def test_check_mode_says_the_same_and_writes_nothing(node: PodNode) -> None:
    files = "find /run /var/lib/podnet /var/lib/cni -xdev -printf '%p %T@ %i\\n' | sort"
    empty = node.sh(files)
    said = node.pod(containers=[APP], check=True)
    assert node.sh(files) == empty and said["changed"] and "pod" not in said
    done = node.pod(containers=[APP])
    assert (said["actions"], said["diff"]) == (done["actions"], done["diff"])

    full = node.sh(files)
    assert not node.pod(containers=[APP], check=True)["changed"]
    said = node.pod(containers=[SIDE], check=True)
    assert said["actions"] == ["stop container app: not wanted", "start container side"]
    assert node.pod(state="absent", check=True)["actions"] == ["remove pod web"]
    assert node.sh(files) == full
    node.write(node.path, {**conflist(), "cniVersion": "9.0.0"})
    assert node.pod("other", check=True)["failed"], "a run that must fail is foreseen"


def test_dead_app_container_is_replaced_and_the_pod_stays(node: PodNode) -> None:
    first = node.pod(containers=[APP, SIDE])
    node.sh(f"kill -9 {members(first)['app']['pid']}")
    after = node.pod(containers=[APP, SIDE])
    assert after["actions"] == ["start container app: it has ended"]
    old, new = members(first), members(after)
    assert new["app"]["pid"] != old["app"]["pid"] and new["app"]["state"] == "running"
    assert new["side"] == old["side"] and new["infra"] == old["infra"]
    for key in ("addresses", "mac", "infra_pid", "cni_result"):
        assert after["pod"][key] == first["pod"][key]
    changed = node.pod(containers=[{**APP, "env": {"COLOUR": "blue"}}])
    assert changed["actions"] == [
        "stop container side: not wanted",
        "start container app: its definition changed",
    ]


@pytest.mark.parametrize(
    "harm", ["kill -9 {infra_pid}", "umount {netns}", "ip -n web link del eth0"]
)
def test_broken_pod_is_made_anew_without_a_leak(node: PodNode, harm: str) -> None:
    first = node.pod(containers=[APP])["pod"]
    node.sh("ln -sf /run/podnet/netns/web /run/netns/web; " + harm.format(**first))
    after = node.pod(containers=[APP])
    assert after["actions"][0].startswith("remove pod web: ")
    assert reservations(node) == sorted(after["pod"]["addresses"].values())
    assert node.sh("ip -br link | grep -c veth").strip() == "1"
    assert not node.pod(containers=[APP])["changed"]
    node.sh("rm /run/netns/web")
    node.pod(state="absent")
    assert node.left() == ""


def test_absent_needs_no_conflist(node: PodNode) -> None:
    node.pod(containers=[APP])
    node.sh("rm -rf /etc/cni/net.d")
    assert not node.pod(containers=[APP])["changed"]
    assert node.pod(state="absent")["changed"]
    assert node.left() == ""


def test_after_a_restart_of_the_node_the_address_is_free_again(node: PodNode) -> None:
    """/run is empty, the processes are gone, the reservation is still there."""
    first = node.pod(containers=[APP])["pod"]
    node.sh(f"kill -9 {first['infra_pid']}; umount {first['netns']}; rm -rf /run/podnet")
    assert reservations(node)
    assert node.pod(state="absent")["changed"]
    assert reservations(node) == []


def test_a_pod_that_is_removed_takes_its_namespace_with_it(node: PodNode) -> None:
    """Other pods' containers have a copy of the mount table, and must not keep it alive."""
    node.pod("one", containers=[APP])
    node.pod("two", containers=[APP])
    node.pod("one", containers=[{**APP, "workdir": "/"}])  # started after both
    inode = node.sh("stat -Lc %i /run/podnet/netns/one").strip()
    node.pod("one", state="absent")
    assert inode not in node.sh("cat /proc/[0-9]*/mountinfo; ls -l /proc/[0-9]*/ns/net; true")


def test_failure_in_the_middle_leaves_nothing_and_is_said(node: PodNode) -> None:
    say = '{"code": 11, "msg": "no such colour", "details": "mauve"}'
    given = with_plugin(node, f"[ $CNI_COMMAND != ADD ] || {{ echo '{say}'; exit 1; }}")
    answer = node.pod(containers=[APP], **given)
    assert answer["failed"] and "CNI plugin own, ADD" in answer["msg"]
    assert "no such colour mauve (code 11)" in answer["msg"]
    assert node.left() == ""
    bad = [{**APP, "name": "bad", "command": ["/no/such/program"]}]
    answer = node.pod(containers=[APP, *bad])
    assert answer["failed"] and "container bad" in answer["msg"]
    assert "No such file or directory" in answer["msg"] and "/no/such/program" in answer["msg"]
    assert node.pod(containers=[APP])["actions"] == ["stop container bad: not wanted"]


def test_failed_removal_is_said_and_can_be_repeated(node: PodNode) -> None:
    given = with_plugin(node, "[ $CNI_COMMAND != DEL ] || [ -e /run/fine ] || exit 3")
    node.pod(containers=[APP], **given)
    answer = node.pod(state="absent", bin_dirs=given["bin_dirs"])
    assert answer["failed"] and "exit code 3, without a CNI error" in answer["msg"]
    assert reservations(node) == [], "the other plugins were asked all the same"
    node.sh("touch /run/fine")
    assert node.pod(state="absent", bin_dirs=given["bin_dirs"])["changed"]
    assert node.left() == ""


def kill(process: Any) -> None:
    """-9 for the module as the node sees it: nsenter has forked."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text(encoding="ascii")
    for pid in (*children.split(), process.pid):
        os.kill(int(pid), signal.SIGKILL)
    process.communicate()


@pytest.mark.parametrize("then", ["absent", "present"])
@pytest.mark.parametrize("first", [True, False], ids=["before bridge", "after bridge"])
def test_killed_in_the_middle(node: PodNode, then: str, first: bool) -> None:
    do = "[ $CNI_COMMAND != ADD ] || [ -e /run/fine ] || { touch /run/there; sleep 60; }"
    given = with_plugin(node, do.replace("sleep 60", "exec sleep 60"))
    if first:
        data = json.loads(node.sh("cat /run/own.conflist"))
        slow, bridge, *rest = data["plugins"][3], *data["plugins"][:3]
        data["plugins"] = [bridge, slow, *rest]
        node.write("/run/own.conflist", data)
    process = node.start("pod", {"name": "web", "containers": [APP], **given})
    deadline = time.monotonic() + 20
    while node.run("test -e /run/there").returncode:
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.02)
    kill(process)
    node.sh("touch /run/fine; pkill -9 -x sleep -P 1 || true")
    assert reservations(node)
    answer = node.pod(state=then, **({"containers": [APP]} if then == "present" else {}), **given)
    assert answer["changed"]
    if then == "present":
        assert reservations(node) == sorted(answer["pod"]["addresses"].values())
        assert node.pod(state="absent", bin_dirs=given["bin_dirs"])["changed"]
    assert node.left() == ""


@pytest.mark.parametrize("left", ["/var/lib/podnet/pods/web", "/run/podnet/netns/web"])
def test_what_has_no_record_yet_is_no_pod(node: PodNode, left: str) -> None:
    node.sh("mkdir -p /var/lib/podnet/pods /run/podnet/netns")
    node.sh(f"{'mkdir' if 'lib' in left else 'touch'} {left}")
    foreseen = node.pod(check=True)["actions"]
    answer = node.pod()
    assert answer["actions"] == foreseen
    assert foreseen == ["remove pod web: a run that was cut short has left it", "create pod web"]
    assert not node.pod()["changed"]


def test_no_room_for_the_record_leaves_nothing(node: PodNode) -> None:
    node.sh(
        "mkdir -p /var/lib/podnet/pods; mount -t tmpfs -o nr_inodes=2 none /var/lib/podnet/pods"
    )
    try:
        assert "No space left" in node.pod()["msg"]
        assert (
            node.sh("ls /var/lib/podnet/pods /run/podnet/netns 2>/dev/null | grep web || true")
            == ""
        )
    finally:
        node.sh("umount /var/lib/podnet/pods")
    assert node.pod()["changed"]


def test_killed_at_any_time(node: PodNode) -> None:
    """Whatever the moment, one run of absent cleans up; the moments come later and later until
    the module is at its end."""
    remains, delay, whole = 0, 0.08, False
    while not whole and delay < 5:
        process = node.start("pod", {"name": "web", "containers": [APP]})
        time.sleep(delay)
        whole = process.poll() is not None
        if not whole:
            kill(process)
            remains += bool(node.left())
        else:
            assert json.loads(process.communicate()[0])["changed"]
        node.pod(state="absent")
        assert node.left() == "", f"killed after {delay} s"
        assert node.sh("pgrep -x 'sleep|python3?' -r S,R,D || true").split() == ["1"]
        delay += 0.015
    assert remains and whole, "no kill came when there was something to leave"


@pytest.mark.parametrize("end", ["raise", "kill"])
def test_a_process_that_nobody_has_written_down_does_not_go_on(tmp_path: Path, end: str) -> None:
    """The moment between fork and record, which no kill by the clock hits."""
    born, gone_on = tmp_path / "born", tmp_path / "gone on"

    def known(pid: int) -> None:
        born.write_text(str(pid), encoding="ascii")
        if end == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        raise OSError("no space left")

    program = Program(["sleep", "60"], {}, "/", str(tmp_path / "log"), lambda: None, gone_on.touch)
    starter = os.fork()
    if not starter:
        try:
            start(program, known)
        finally:
            os._exit(0)
    os.waitpid(starter, 0)
    pid = int(born.read_text(encoding="ascii"))
    deadline = time.monotonic() + 5
    while started_at(pid) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert started_at(pid) is None and not gone_on.exists()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"bin_dirs": ["/run/none"]}, ["CNI plugin bridge", "not installed", "/run/none"]),
        ({"name": "../x"}, ["not usable as a name", "'../x'"]),
        ({"capabilities": {"ips": ["10.64.1.9/24"]}}, ["no plugin takes the capability ips"]),
        ({"conf_dir": "/run/none"}, ["/run/none: no CNI configuration"]),
        ({"containers": [APP, APP]}, ["container app", "used twice"]),
        ({"conflist": "/run/new.conflist"}, ["cniVersion 1.9.0", "supportedVersions 0.1.0"]),
        ({"conflist": "/run/ipam.conflist"}, ["CNI plugin no-ipam", "not installed"]),
    ],
)
def test_errors_say_where_what_and_what_to_do(
    node: PodNode, change: dict[str, Any], words: list[str]
) -> None:
    node.write("/run/new.conflist", {**conflist(), "cniVersion": "1.9.0"})
    other = conflist()
    other["plugins"][0]["ipam"] = {"type": "no-ipam"}
    node.write("/run/ipam.conflist", other)
    answer = node.module("pod", **{"name": "web", "containers": [APP], **change})
    assert answer["failed"], answer
    for word in (*words, "do:"):
        assert word in answer["msg"], answer["msg"]
    assert node.left() == ""


def test_capabilities_reach_the_plugins_and_are_taken_back(node: PodNode) -> None:
    given = {
        "portMappings": [{"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}],
        "bandwidth": {"ingressRate": 10_000_000, "ingressBurst": 1_000_000},
    }
    made = node.pod(containers=[APP], capabilities=given)
    assert "--dport 8080" in node.sh("iptables-save -t nat")
    assert "qdisc tbf" in node.sh("tc qdisc")
    assert "bandwidth" not in made["pod"]["unchecked"]
    assert not node.pod(containers=[APP], capabilities=given)["changed"]
    node.pod(state="absent")
    assert node.left() == ""
    assert "8080" not in node.sh("iptables-save; ip6tables-save")


def test_check_that_fails_right_after_add_counts_for_nothing(node: PodNode) -> None:
    """bandwidth 1.1.1 crashes in CHECK where there is no limit; others do what they should."""
    fault = """{ echo '{"code": 100, "msg": "it is broken"}'; exit 1; }"""
    given = with_plugin(node, f"[ $CNI_COMMAND != CHECK ] || [ ! -e /run/broken ] || {fault}")
    made = node.pod(containers=[APP], **given)
    assert set(made["pod"]["unchecked"]) <= {"bandwidth"}
    assert not node.pod(containers=[APP], **given)["changed"]
    node.sh("touch /run/broken")
    assert "own, CHECK" in node.pod(containers=[APP], **given)["actions"][0]
    assert not node.pod(containers=[APP], **given)["changed"]


def test_pods_at_the_same_time(node: PodNode) -> None:
    names = ["web", "web", "web", "one", "two"]
    running = [node.start("pod", {"name": name, "containers": [APP]}) for name in names]
    answers = [json.loads(process.communicate()[0]) for process in running]
    assert sum(answer["changed"] for answer in answers[:3]) == 1, "the others waited"
    taken = {answer["pod"]["addresses"]["ipv4"] for answer in answers}
    assert len(taken) == 3 and len(reservations(node)) == 6
    for name in set(names):
        node.pod(name, state="absent")
    assert node.left() == ""


def test_unreadable_record_is_not_taken_for_no_pod(node: PodNode) -> None:
    node.pod(containers=[APP])
    node.sh("echo '{' >/var/lib/podnet/pods/web/pod.json")
    for state in ("present", "absent"):
        answer = node.pod(state=state)
        assert answer["failed"] and "pod.json: cannot be read" in answer["msg"]
    assert len(reservations(node)) == 2
