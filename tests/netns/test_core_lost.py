# SPDX-License-Identifier: GPL-3.0-or-later
"""What is lost in the middle of a transaction: the power, an answer, a timer, room for a list."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from ansible_collections.podnet.fabric.plugins.plugin_utils import transaction
from ansible_collections.podnet.fabric.plugins.plugin_utils.changes import PHASES
from corebench import Bench, assert_same, fleet

WANTED = fleet(podnet_vni=65, podnet_mtu=1400, hosts=[1, 2, 4])
NODE = transaction.PROGRAM
POD_FILES = "find /etc/cni /etc/iproute2 -exec ls -ld --time-style=+ {} + | sort"
# A real file system, on a disk that can be looked at as it is at this moment.
DISK = """set -e; mkdir -p /run/disk /run/cut; truncate -s 48M /run/disk.img
mkfs.ext4 -q /run/disk.img; mount -o loop /run/disk.img /etc/podnet"""
CUT = """set -e; cp /run/disk.img /run/cut.img; mount -o loop /run/cut.img /run/cut"""
# The node does not wait as long until it tries again.
FAST = r"""mkdir -p /run/fast; cat >/run/fast/sleep <<'END'
#!/bin/sh
case $1 in 3) set -- 0.2 ;; 60) set -- 1 ;; esac
exec /bin/sleep "$1"
END
chmod 755 /run/fast/sleep
"""
HURRY = "PATH=/run/fast:$PATH; export PATH\n"


@pytest.fixture
def bench() -> Iterator[Bench]:
    with Bench() as node:
        yield node


def until(bench: Bench, condition: str, seconds: int = 30) -> None:
    for _ in range(seconds * 5):
        if bench.run(condition).returncode == 0:
            return
        time.sleep(0.2)
    raise AssertionError(f"never: {condition}")


def waiting(bench: Bench, window: int, phases: tuple[str, ...] = PHASES, prefix: str = "") -> None:
    """A change to another VNI and MTU that waits for its confirmation."""
    _changes, staged = bench.look(WANTED)
    begun = transaction.head_script(window, bench.next_number()) + staged
    bench.sh(prefix + begun + "".join(transaction.phase_script("run1", p, False) for p in phases))


# --- the power -----------------------------------------------------------------------------------


def test_a_power_cut_after_a_commit_takes_nothing_of_it(bench: Bench) -> None:
    bench.sh(DISK)
    try:
        bench.settled(fleet())
        bench.settled(WANTED)
        bench.sh(CUT)
        names = "cd {}/current/. && sha256sum *"
        kept, lost = (bench.sh(names.format(root)) for root in ("/etc/podnet", "/run/cut"))
        assert kept == lost and "routes.batch" in kept
    finally:
        bench.run("umount /run/cut /etc/podnet")


def test_a_power_cut_while_a_change_waits_is_taken_back_at_boot(bench: Bench) -> None:
    bench.sh(DISK)
    try:
        bench.settled(fleet())
        before, files = bench.dump(), bench.sh(POD_FILES)
        waiting(bench, 60)
        bench.sh(
            f"{CUT}; umount /run/cut; umount /etc/podnet; mount -o loop /run/cut.img /etc/podnet"
        )
        bench.sh("test -d /etc/podnet/txn; ip link del cbr0; ip link del pn64; ip link del pn65")
        bench.sh("nft flush ruleset; rm -rf /run/podnet")
        bench.sh(f"{NODE} restore; ! test -d /etc/podnet/txn")
        assert_same(before, bench.dump())
        assert bench.sh(POD_FILES) == files
    finally:
        bench.run("umount /run/cut /etc/podnet")


# --- an answer -----------------------------------------------------------------------------------


def test_a_phase_that_is_sent_again_is_taken_back_all_the_same(bench: Bench) -> None:
    """Ansible sends a text again when the connection was lost before its answer came."""
    bench.settled(fleet())
    before, files = bench.dump(), bench.sh(POD_FILES)
    _changes, staged = bench.look(WANTED)
    begun = transaction.head_script(60, bench.next_number()) + staged
    for phase in PHASES:
        text = (begun if phase == "add" else "") + transaction.phase_script("run1", phase, False)
        bench.sh(text), bench.sh(text)
    bench.sh(f"{NODE} rollback run1")
    assert_same(before, bench.dump())
    assert bench.sh(POD_FILES) == files
    assert not bench.run("ls -d /etc/podnet/stage.* /etc/podnet/txn").stdout


def test_a_commit_that_is_asked_for_again_is_no_failure(bench: Bench) -> None:
    bench.settled(fleet())
    _changes, staged = bench.look(WANTED)
    begun = transaction.head_script(0, bench.next_number()) + staged
    text = begun + "".join(transaction.phase_script("run1", p, p == "remove") for p in PHASES)
    assert "committed" in bench.sh(text)
    now, kept = bench.dump(), bench.sh("ls /etc/podnet/generations")
    for again in (text, f"{NODE} commit run1", f"{NODE} hold run1"):
        bench.sh(again)
    assert "committed" in bench.sh(f"{NODE} commit run1")
    assert bench.run(f"{NODE} commit run2").returncode == 1
    assert_same(now, bench.dump())
    assert bench.sh("ls /etc/podnet/generations") == kept
    assert not bench.run("ls -d /etc/podnet/stage.* /etc/podnet/txn").stdout


# --- a timer -------------------------------------------------------------------------------------


def test_a_node_that_was_busy_when_its_time_ended_goes_back_afterwards(bench: Bench) -> None:
    """However long somebody has the lock: a phase may take minutes."""
    bench.settled(fleet())
    before, files = bench.dump(), bench.sh(POD_FILES)
    bench.sh(FAST)
    waiting(bench, 5, prefix=HURRY)
    bench.sh(
        "printf '/bin/sleep 10; rm /run/podnet/lock\\n' >/run/podnet-node-busy\n"
        "sh /run/podnet-node-busy >/dev/null 2>&1 </dev/null & echo $! >/run/podnet/lock"
    )
    time.sleep(8)
    bench.sh("test -e /run/podnet/lock && test -d /etc/podnet/txn")
    until(bench, "! test -d /etc/podnet/txn && ! test -e /run/podnet/lock")
    assert_same(before, bench.dump())
    assert bench.sh(POD_FILES) == files


def test_what_could_not_be_taken_back_is_tried_again(bench: Bench) -> None:
    """A rollback that failed half-way does not take the timer with it."""
    bench.settled(fleet())
    before, files = bench.dump(), bench.sh(POD_FILES)
    bench.sh(FAST)
    waiting(bench, 4, prefix=HURRY)
    bench.sh("mount -o remount,ro /etc/cni")
    assert bench.run(f"{NODE} rollback run1").returncode == 1
    bench.sh("mount -o remount,rw /etc/cni")
    until(bench, "! test -d /etc/podnet/txn")
    assert_same(before, bench.dump())
    assert bench.sh(POD_FILES) == files


# --- room, and what was there --------------------------------------------------------------------


def test_a_change_of_thousands_of_peers_can_be_taken_back(bench: Bench) -> None:
    """A list of that length is no argument of a program any more."""
    bench.settled(fleet())
    before = bench.dump()
    many = ",".join(f"198.{18 + i // 65536}.{i // 256 % 256}.{i % 256}" for i in range(12000))
    bench.put(
        {
            "/etc/podnet/stage.big/add.do": f"element add vteps4 {many}\n",
            "/etc/podnet/stage.big/add.undo": f"element delete vteps4 {many}\n",
        }
    )
    assert "applied" in bench.sh(f"{NODE} begin /etc/podnet/stage.big big 0 -- apply big add")
    assert "198.18.46.223" in bench.sh("nft list set inet podnet vteps4")
    bench.sh(f"{NODE} rollback big")
    assert_same(before, bench.dump())


def test_a_link_in_place_of_a_file_is_a_link_again(bench: Bench) -> None:
    bench.sh("mkdir -p /etc/cni/net.d; echo mine >/etc/cni/mine")
    bench.sh("ln -s ../mine /etc/cni/net.d/10-podnet.conflist")
    files = bench.sh(POD_FILES)
    bench.sh("ln -s ../mine /etc/cni/net.d/10-podnet.conflist.podnet-new")
    waiting(bench, 60)
    assert bench.sh("cat /etc/cni/mine") == "mine\n"
    assert "bridge" in bench.sh("cat /etc/cni/net.d/10-podnet.conflist")
    bench.sh(f"{NODE} rollback run1")
    assert bench.sh(POD_FILES) == files
    assert bench.sh("cat /etc/cni/mine") == "mine\n"


def test_a_conflist_of_another_name_takes_the_old_ones_place(bench: Bench) -> None:
    """A runtime reads the first of the folder; what somebody has changed there is theirs."""
    names = "cd /etc/cni/net.d && echo *"
    for file, there in (
        ("10-podnet.conflist", "10-podnet.conflist"),
        ("20-podnet.conflist", "20-podnet.conflist"),
        ("30-podnet.conflist", "20-podnet.conflist 30-podnet.conflist"),
    ):
        if file.startswith("30"):
            bench.sh("echo mine >/etc/cni/net.d/20-podnet.conflist")
        bench.settled(fleet(podnet_cni_file=file))
        assert bench.sh(names).split() == there.split()
        assert bench.settled(fleet(podnet_cni_file=file)).commands == []


def test_a_conflist_in_another_folder_leaves_the_old_one(bench: Bench) -> None:
    """What somebody has changed there is theirs, and stays."""
    folders = ("/etc/cni/net.d", "/var/lib/other/net.d")
    path = "{}/10-podnet.conflist"
    for here, gone in (folders, reversed(folders), folders):
        bench.settled(fleet(podnet_cni_conf_dir=gone))
        bench.settled(fleet(podnet_cni_conf_dir=here))
        bench.sh(f"test -e '{path.format(here)}' && ! test -e '{path.format(gone)}'")
        assert bench.settled(fleet(podnet_cni_conf_dir=here)).commands == []
    bench.sh(f"echo mine >'{path.format(here)}'")
    bench.settled(fleet(podnet_cni_conf_dir=gone))
    assert bench.sh(f"cat '{path.format(here)}'") == "mine\n"


def test_of_many_that_find_a_dead_lock_one_takes_it(bench: Bench) -> None:
    """An `ip` that says when two are inside."""
    bench.settled(fleet())
    bench.sh(
        "mkdir /run/bin; printf '#!/bin/sh\\nmkdir /run/inside || touch /run/two\\n"
        '/bin/sleep 0.05; rmdir /run/inside\\nexec %s "$@"\\n\' $(command -v ip) >/run/bin/ip\n'
        "chmod 755 /run/bin/ip"
    )
    for _ in range(6):
        bench.run(
            "sh -c 'echo $$' >/run/podnet/lock; PATH=/run/bin:$PATH\n"
            f"for i in 1 2 3; do {NODE} restore >/dev/null 2>&1 & done; wait"
        )
    bench.sh("! test -e /run/two && ! test -e /run/podnet/lock && ! test -e /run/podnet/lock.taken")
