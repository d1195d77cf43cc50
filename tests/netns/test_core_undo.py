# SPDX-License-Identifier: GPL-3.0-or-later
"""A transaction that fails, or is killed, leaves the node as it was; two do not mix."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest
from ansible_collections.podnet.fabric.plugins.plugin_utils import transaction
from ansible_collections.podnet.fabric.plugins.plugin_utils.intent.model import Fabric
from corebench import Bench, difference, fleet

Change = Callable[[Bench], tuple[Fabric, Fabric | None]]

# Where the transaction starts and where it wants to go.
SCENARIOS: dict[str, tuple[Fabric | None, str, Fabric]] = {
    "first converge": (None, "", fleet()),
    "another VNI and fewer peers": (fleet(), "", fleet(podnet_vni=65, hosts=[1, 2, 4])),
    "another pod CIDR": (
        fleet(),
        "",
        fleet(node_1={"podnet_pod_cidrs": ["10.64.9.0/24", "fd00:64:0:9::/64"]}),
    ),
    "another bridge": (fleet(), "", fleet(podnet_bridge="cbr1")),
    "to VXLAN, smaller MTU": (fleet(), "", fleet(podnet_mode="vxlan", podnet_mtu=1400)),
    "drift": (
        fleet(),
        "ip route del 10.64.2.0/24; ip neigh replace 10.64.4.1 lladdr 02:00:00:00:00:99 dev pn64"
        " nud permanent; nft flush chain inet podnet postrouting; ip link set cbr0 mtu 1400;"
        " echo 0 >/proc/sys/net/ipv4/ip_forward; rm /etc/cni/net.d/10-podnet.conflist;"
        " ip route add 10.99.0.0/24 via 192.0.2.9 proto 112 metric 112; ip link set pn64 down",
        fleet(),
    ),
}
POD_FILES = "find /etc/cni /etc/iproute2 /etc/systemd -type f -exec sha256sum {} + | sort"


@pytest.fixture
def bench() -> Iterator[Bench]:
    with Bench() as node:
        yield node


def sabotage(phase: str, line: int) -> str:
    """Shell text: a line that must fail becomes line ``line`` of the phase, with its tool's own
    kind of error, so that it fails inside a batch where its neighbours form one."""
    return (
        f"cd /etc/podnet/txn; n=$(wc -l <{phase}.do); k={line}; [ $k -le $n ] || k='$'\n"
        f"tool=$(sed -n \"${{k}}p\" {phase}.do | cut -d' ' -f1)\n"
        "case $tool in ip) bad='ip link set dev nowhere up';;"
        " bridge) bad='bridge fdb del 02:00:00:00:00:01 dev nowhere';;"
        " sysctl) bad='sysctl net/no/such=1';; *) bad='install no/such/file 0644 /etc/cni/x';; esac\n"
        f'sed -i "${{k}}i $bad" {phase}.do; sed -i "${{k}}i -" {phase}.undo; cd /\n'
    )


def begin(bench: Bench, scenario: str) -> tuple[Fabric, dict[str, object], str]:
    start, damage, wanted = SCENARIOS[scenario]
    if start:
        bench.settled(start)
    bench.sh(damage)
    return wanted, bench.dump(), bench.sh(POD_FILES)


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_failure_at_any_line_leaves_the_node_as_it_was(bench: Bench, scenario: str) -> None:
    wanted, before, files = begin(bench, scenario)
    changes, _staged = bench.look(wanted)
    tried = 0
    for phase in changes.phases:
        count = len(changes.phase(phase))
        # Every line of a short phase, every third of a long one, and always the last.
        for line in sorted({*range(1, count + 1, 3 if count > 25 else 1), count}):
            changes, staged = bench.look(wanted)
            run = bench.carry_out(changes, staged, sabotage(phase, line))
            where = f"{phase} line {line}: {run.outcome}"
            assert run.outcome.state == "undone", where + run.errors
            assert difference(before, bench.dump()) == [], where
            assert bench.sh(POD_FILES) == files, where
            tried += 1
    assert tried >= 5
    bench.settled(wanted)
