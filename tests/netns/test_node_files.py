# SPDX-License-Identifier: GPL-3.0-or-later
"""Whatever umask a node's root has, what podnet writes there belongs to root and nobody else can
write it: in every state of a transaction, and after whatever the node does by itself."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from ansible_collections.podnet.fabric.plugins.plugin_utils import transaction
from corebench import Bench, fleet
from netnode import PRIVATE

LOOSE = "umask 0\n"
PLACES = " ".join(PRIVATE)
# Devices and mount points are the bench's own; a link has no mode.
OPEN = (
    f"find {PLACES} -mindepth 1 ! -type l "
    "\\( -perm /022 -o -perm /7000 -o ! -user root -o ! -group root \\) -printf '%M %u:%g %p\\n'"
)
COUNT = f"find {PLACES} -path '*podnet*' -type f | wc -l"


@pytest.fixture
def bench() -> Iterator[Bench]:
    with Bench() as node:
        # What was there before podnet is not podnet's to judge.
        assert node.sh(OPEN) == ""
        yield node


def closed(bench: Bench, at_least: int) -> None:
    assert bench.sh(OPEN) == ""
    assert int(bench.sh(COUNT)) >= at_least, "the places have moved"


def waiting(bench: Bench, ident: str) -> None:
    """A transaction that was carried out and waits for its confirmation."""
    changes, staged = bench.look(fleet(podnet_vni=65), ident=ident)
    text = LOOSE + transaction.head_script(600, bench.next_number()) + staged
    for phase in changes.phases:
        text += transaction.phase_script(ident, phase, commit=False)
    assert transaction.outcome(bench.sh(text)).state == "applied"


def test_after_an_apply_and_what_the_node_does_by_itself(bench: Bench) -> None:
    changes, staged = bench.look(fleet())
    run = bench.carry_out(changes, staged, prefix=LOOSE)
    assert run.outcome.state == "committed", run.errors
    closed(bench, 12)
    bench.sh(LOOSE + "ip link del pn64; nft delete table inet podnet; podnet-node heal")
    closed(bench, 13)  # and what heal notes
    bench.sh(LOOSE + "podnet-node restore")
    closed(bench, 13)


@pytest.mark.parametrize("end", ["commit", "rollback"])
def test_while_a_transaction_waits_and_after_it(bench: Bench, end: str) -> None:
    bench.settled(fleet())
    waiting(bench, "run2")
    closed(bench, 20)
    bench.sh(LOOSE + transaction.end_script("run2", "hold"))
    closed(bench, 20)
    bench.sh(LOOSE + transaction.end_script("run2", end))
    closed(bench, 12)


def test_a_loose_file_is_seen(bench: Bench) -> None:
    bench.settled(fleet())
    for place in ("/etc/podnet/x", "/run/podnet/x", "/usr/local/sbin/x", "/etc/cni/net.d/x"):
        bench.sh(f"{LOOSE}: >{place}")
        assert place in bench.sh(OPEN)
        bench.sh(f"chmod 644 {place}; chown 1:0 {place}")
        assert place in bench.sh(OPEN)
        bench.sh(f"rm {place}")
