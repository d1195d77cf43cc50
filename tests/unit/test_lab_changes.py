# SPDX-License-Identifier: GPL-3.0-or-later
"""What a lab has to do to become what it should be; names that keep labs apart."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from ansible_collections.podnet.fabric.plugins.module_utils.lab import batches, naming, texts
from ansible_collections.podnet.fabric.plugins.module_utils.lab.changes import (
    Changes,
    Have,
    compare,
    node_spec,
    router_spec,
)
from ansible_collections.podnet.fabric.plugins.module_utils.lab.runtime import outermost
from ansible_collections.podnet.fabric.plugins.module_utils.lab.topology import (
    LabError,
    Topology,
    derive,
)

NODES: list[dict[str, Any]] = [
    {"name": "n1", "segment": "a", "underlay_addresses": ["192.0.2.1", "2001:db8:a::1"]},
    {"name": "n2", "segment": "a", "underlay_addresses": ["192.0.2.2", "2001:db8:a::2"]},
    {"name": "n3", "segment": "b", "underlay_addresses": ["198.51.100.1"]},
]
ID = "012abc"


def built(topology: Topology) -> Have:
    """The lab as it is after it was built so."""
    nodes = {node.name: node_spec(topology, node, "/") for node in topology.nodes}
    return Have(router_spec(topology), True, nodes, frozenset(nodes))


def changes(nodes: list[dict[str, Any]], have: Have, *restart: str, rootfs: str = "/") -> Changes:
    return compare(derive(nodes), rootfs, have, restart)


HAVE = built(derive(NODES))


def test_nothing_to_do_is_false() -> None:
    found = changes(NODES, HAVE)
    assert not found
    assert found.lines() == []


def test_from_nothing_everything_is_built() -> None:
    found = changes(NODES, Have(None, False, {}, frozenset()))
    assert found == Changes([], [], ["n1", "n2", "n3"], True, [], ["a", "b"], True)


def test_a_new_node_is_all_that_starts() -> None:
    new = {"name": "n4", "segment": "a", "underlay_addresses": ["192.0.2.4"]}
    assert changes([*NODES, new], HAVE).lines() == ["start n4"]


def test_a_node_that_goes_takes_an_empty_segment_with_it() -> None:
    said = changes(NODES[:2], HAVE).lines()
    assert said == ["remove segment b", "stop n3", "discard the files of n3"]


def test_another_port_is_a_restart_and_another_system_a_new_node() -> None:
    moved = [*NODES[:2], {**NODES[2], "underlay_addresses": ["198.51.100.9"]}]
    assert changes(moved, HAVE).lines() == ["restart n3"]
    booted = [*NODES[:2], {**NODES[2], "init": "systemd"}]
    assert changes(booted, HAVE).lines() == ["restart n3", "discard the files of n3"]
    assert changes(NODES, HAVE, rootfs="/srv/root").forget == ["n1", "n2", "n3"]


def test_a_wider_segment_restarts_its_nodes_only() -> None:
    new = {"name": "n4", "segment": "a", "underlay_addresses": ["192.0.3.4"]}
    found = changes([*NODES, new], HAVE)
    assert (found.start, found.stop) == (["n1", "n2", "n4"], ["n1", "n2"])
    assert (found.remove_segments, found.add_segments, found.forget) == (["a"], ["a"], [])


def test_what_died_is_started_again() -> None:
    assert changes(NODES, replace(HAVE, alive=frozenset({"n1", "n2"}))).lines() == ["restart n3"]
    assert changes(NODES, replace(HAVE, outside=False)).lines() == ["build the outside host"]
    assert changes(NODES, replace(HAVE, router=None)).start == ["n1", "n2", "n3"]


def test_a_restart_that_is_asked_for() -> None:
    assert changes(NODES, HAVE, "n2").lines() == ["restart n2"]
    with pytest.raises(LabError, match="no such node: n9"):
        changes(NODES, HAVE, "n9")


def test_names_differ_between_labs_and_fit() -> None:
    first, second = naming.lab_id("/a", "lab"), naming.lab_id("/b", "lab")
    assert first != second != naming.lab_id("/b", "lab2")
    names = [naming.management_port(first, 3999), naming.bridge(first), naming.router_port(3999)]
    assert all(len(name) <= 15 for name in [*names, naming.router_bridge("x" * 60)])
    assert naming.is_bridge(naming.bridge(first))
    assert not naming.is_bridge(naming.management_port(first, 0))
    assert naming.group(first) < 2**31


@pytest.mark.parametrize("name", ["", "../x", "UP", "a b", "x" * 40, "-a"])
def test_a_name_that_cannot_be_a_folder_is_refused(name: str) -> None:
    with pytest.raises(LabError, match="podnet_lab_name"):
        naming.lab_id("/a", name)


def test_management_subnets_keep_clear_of_what_the_machine_uses() -> None:
    assert naming.free_management_subnet([]) == "198.18.0.0/20"
    assert naming.free_management_subnet(["198.18.3.1/24", "0.0.0.0/0"]) == "198.18.16.0/20"
    with pytest.raises(LabError, match="lab_down"):
        naming.free_management_subnet(["198.0.0.0/8"])


def test_numbers_stay_with_their_nodes() -> None:
    assert naming.indexes(["a", "b", "c"], {"c": 0, "gone": 1}) == {"c": 0, "a": 1, "b": 2}


def test_a_node_has_routes_only_for_the_families_it_has() -> None:
    topology = derive(
        [
            *NODES,
            {**NODES[2], "name": "n4", "segment": "a", "underlay_addresses": ["2001:db8:a::4"]},
        ]
    )
    text = batches.node(topology, topology.nodes[3], "198.18.0.5/20")
    assert "addr add 2001:db8:a::4/64 dev eth0 nodad" in text
    assert "route add ::/0" in text
    assert "0.0.0.0/0" not in text
    assert "10.64" not in batches.segment("abc", topology.segments[0])
    assert "isolated on" in batches.management_port(ID, 0, topology.nodes[0], "x")


def test_ssh_config_quotes_paths_and_knows_underlay_addresses() -> None:
    topology = derive(NODES)
    addresses = {node.name: f"198.18.0.{n}" for n, node in enumerate(topology.nodes, 2)}
    text = texts.ssh_config("/a b/100%/lab", topology.nodes, addresses)
    assert "Host n1 192.0.2.1 2001:db8:a::1\n  HostName 198.18.0.2\n" in text
    assert 'IdentityFile "/a b/100%%/lab/id_ed25519"' in text
    assert texts.known_hosts({"n1": "198.18.0.2"}, "ssh-ed25519 AAAA comment\n") == (
        "198.18.0.2 ssh-ed25519 AAAA\n"
    )


def test_a_path_below_a_hidden_one_is_not_hidden_again() -> None:
    assert outermost(["/a/b", "/a", "/ab", "/a/b/c"]) == ["/a", "/ab"]
