# SPDX-License-Identifier: GPL-3.0-or-later
"""Pods' ends that came off the bridge: how they are known, and how they come back."""

from __future__ import annotations

import pytest
from ansible_collections.podnet.fabric.plugins.plugin_utils.changes import Wanted
from ansible_collections.podnet.fabric.plugins.plugin_utils.differ import diff
from ansible_collections.podnet.fabric.plugins.plugin_utils.kernel.answer import loose
from ansible_collections.podnet.fabric.plugins.plugin_utils.kernel.objects import Link
from ansible_collections.podnet.fabric.plugins.plugin_utils.kernel.state import State
from ansible_collections.podnet.fabric.plugins.plugin_utils.transaction import needs_new_connection

# As libcni writes its cache, and podnet its record.
FOUND = """vethaa01 vethaa02 vethaa03
/var/lib/cni/results/podnet-c1-eth0:"name":"cbr0"
/var/lib/cni/results/podnet-c1-eth0:"name":"vethaa01"
/var/lib/cni/results/podnet-c1-eth0:"name":"eth0"
/var/lib/podnet/pods/web: 1/pod.json:"name": "cbr0"
/var/lib/podnet/pods/web: 1/pod.json:"name": "vethaa02"
/var/lib/podnet/pods/web: 1/pod.json:"name": "eth0"
/var/lib/cni/results/other-c9-eth0:"name":"vethaa09"
"""
BRIDGE = Link("cbr0", "02:00:00:00:00:01", 1450)


def test_a_port_is_a_pods_when_a_result_names_it() -> None:
    """Others have veths that are on no bridge, too."""
    assert loose(FOUND) == {
        "vethaa01": frozenset({"cbr0", "eth0"}),
        "vethaa02": frozenset({"cbr0", "eth0"}),
    }


@pytest.mark.parametrize("text", ["", "vethaa01", "vethaa01 vethaa02\nno result"])
def test_without_a_result_no_port_is_a_pods(text: str) -> None:
    assert loose(text) == {}


@pytest.mark.parametrize(("bridge", "number"), [("cbr0", 2), ("cbr1", 0)])
def test_a_port_goes_back_to_its_own_bridge_only(bridge: str, number: int) -> None:
    link = Link(bridge, BRIDGE.mac, BRIDGE.mtu)
    want = Wanted((link,), {}, {}, "", {}, "x")
    changes = diff(want, State(links=(link,), files={}, loose=loose(FOUND)))
    assert [str(change.do) for change in changes.add] == [
        f"port vethaa0{i} dev {bridge}" for i in range(1, number + 1)
    ]
    assert (changes.switch, changes.remove) == ((), ())
    assert not needs_new_connection(changes)


def test_a_port_comes_after_the_bridge_that_is_made_for_it() -> None:
    changes = diff(Wanted((BRIDGE,), {}, {}, "", {}, "x"), State(loose=loose(FOUND)))
    lines = [str(change.do) for change in changes.add]
    assert lines[-2:] == ["port vethaa01 dev cbr0", "port vethaa02 dev cbr0"]
    assert lines[0].startswith("ip link add name cbr0")


def test_a_node_that_leaves_gets_no_port_back() -> None:
    changes = diff(Wanted((), {}, {}, "", {}, "x"), State(links=(BRIDGE,), loose=loose(FOUND)))
    assert not any(str(c.do).startswith("port") for c in (*changes.add, *changes.switch))
