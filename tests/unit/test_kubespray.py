# SPDX-License-Identifier: GPL-3.0-or-later
"""Inventories of kubespray as they are: read, given ranges, planned and rendered."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.podnet.fabric.plugins.plugin_utils.intent import kubespray
from ansible_collections.podnet.fabric.plugins.plugin_utils.intent.problems import ProblemsError
from ansible_collections.podnet.fabric.plugins.plugin_utils.plan import compile_fleet
from test_inventories import node, plain, run

# The layout of kubespray's sample: an INI file, group_vars in folders.
HOSTS = """\
node1 ansible_host=203.0.113.1 ip=192.0.2.1 ip6=2001:db8::1 etcd_member_name=etcd1
node2 ansible_host=203.0.113.2 ip=192.0.2.2 ip6=2001:db8::2 access_ip=203.0.113.2
node3 ansible_host=203.0.113.3 access_ip=192.0.2.3 ip6=2001:db8::3
bastion ansible_host=203.0.113.9

[kube_control_plane]
node1

[etcd:children]
kube_control_plane

[kube_node]
node2
node3

[k8s_cluster:children]
kube_control_plane
kube_node
"""
CLUSTER = {
    "kube_network_plugin": "cni",
    "kube_service_addresses": "10.233.0.0/18",
    "kube_pods_subnet": "10.233.64.0/18",
    "kube_network_node_prefix": 24,
    "ipv4_stack": True,
    "ipv6_stack": "{{ enable_dual_stack_networks | default(false) }}",
    "kube_service_addresses_ipv6": "fd85:ee78:d8a6:8607::1000/116",
    "kube_pods_subnet_ipv6": "fd85:ee78:d8a6:8607::1:0000/112",
    "kube_network_node_prefix_ipv6": 120,
}


def write(folder: Path, **cluster: Any) -> None:
    site = folder / "mycluster"
    for name in ("all", "k8s_cluster"):
        (site / "group_vars" / name).mkdir(parents=True, exist_ok=True)
    (site / "inventory.ini").write_text(HOSTS, encoding="utf-8")
    (site / "group_vars/all/all.yml").write_text("bin_dir: /usr/local/bin\n", encoding="utf-8")
    values = {k: v for k, v in {**CLUSTER, **cluster}.items() if v is not None}
    path = site / "group_vars/k8s_cluster/k8s-cluster.yml"
    path.write_text(yaml.safe_dump(values), encoding="utf-8")


def play(folder: Path, name: str, *more: str, fails: bool = False) -> str:
    arguments = ["-i", "mycluster/inventory.ini", *(more or ("-e", "podnet_group=k8s_cluster"))]
    done = run(folder, "ansible-playbook", f"podnet.fabric.{name}", *arguments)
    assert bool(done.returncode) is fails, done.stdout + done.stderr
    return " ".join((done.stdout + done.stderr).split())


def test_an_inventory_of_kubespray_is_allocated_and_planned_as_it_is(tmp_path: Path) -> None:
    write(tmp_path, enable_dual_stack_networks=True)
    said = play(tmp_path, "plan", fails=True)
    assert "nodes.node1.podnet_pod_cidrs: not set" in said
    assert "have podnet.fabric.allocate give free ones" in said
    play(tmp_path, "allocate")
    file = tmp_path / "mycluster/group_vars/k8s_cluster/podnet_allocated.yml"
    assert yaml.safe_load(file.read_text(encoding="utf-8"))["podnet_allocated"] == {
        f"node{n + 1}": [f"10.233.{64 + n}.0/24", f"fd85:ee78:d8a6:8607::1:{n * 256:x}/120"]
        for n in range(3)
    }
    said = play(tmp_path, "plan")
    assert "podnet_cluster_cidrs from kubespray's kube_pods_subnet, kube_pods_subnet_ipv6" in said
    assert "podnet_underlay_addresses from kubespray's ip, ip6, access_ip" in said
    assert "access_ip is another one: node2" in said
    play(tmp_path, "render")
    routes = (tmp_path / "intended/node1/routes.batch").read_text(encoding="utf-8")
    for words in ("10.233.65.0/24 via 192.0.2.2", "via 2001:db8::3"):
        assert words in routes
    assert not (tmp_path / "intended/bastion").exists()
    fabric = json.loads((tmp_path / ".podnet/fabric.json").read_text(encoding="utf-8"))
    assert [node["name"] for node in fabric["nodes"]] == ["node1", "node2", "node3"]


def test_the_group_may_be_named_in_a_file_of_ones_own(tmp_path: Path) -> None:
    write(tmp_path)
    own = tmp_path / "mycluster/podnet.yml"
    own.write_text("podnet: {children: {kube_node: }}\n", encoding="utf-8")
    for name in ("allocate", "plan"):
        play(tmp_path, name, "-i", "mycluster/podnet.yml")
    assert (tmp_path / "mycluster/group_vars/podnet/podnet_allocated.yml").is_file()
    fabric = json.loads((tmp_path / ".podnet/fabric.json").read_text(encoding="utf-8"))
    assert [node["name"] for node in fabric["nodes"]] == ["node2", "node3"]


def test_a_cluster_that_runs_keeps_the_ranges_that_it_has(tmp_path: Path) -> None:
    """The list of its nodes comes first, so that kubespray's ansible_host stays."""
    write(tmp_path)
    ranges = {1: ["10.233.64.0/24"], 2: ["10.233.72.0/24"], 3: []}
    nodes = [node(f"node{n}", ranges[n], f"192.0.2.{n}") for n in ranges]
    (tmp_path / "nodes.json").write_text(json.dumps({"items": nodes}), encoding="utf-8")
    (tmp_path / "cluster.yml").write_text(
        "plugin: podnet.fabric.kubernetes\nfile: nodes.json\ngroup: k8s_cluster\n"
        "require_pod_cidrs: false\n",
        encoding="utf-8",
    )
    sources = [
        "-i",
        "cluster.yml",
        "-i",
        "mycluster/inventory.ini",
        "-e",
        "podnet_group=k8s_cluster",
    ]
    for name in ("allocate", "plan"):
        done = run(tmp_path, "ansible-playbook", f"podnet.fabric.{name}", *sources)
        assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "mycluster/group_vars/k8s_cluster/podnet_allocated.yml").is_file()
    fabric = json.loads((tmp_path / ".podnet/fabric.json").read_text(encoding="utf-8"))
    assert [item["pod_cidrs"] for item in fabric["nodes"]] == [
        ["10.233.64.0/24"],
        ["10.233.72.0/24"],
        ["10.233.65.0/24"],
    ]
    listed = run(tmp_path, "ansible-inventory", *sources[:4], "--host", "node1")
    assert json.loads(listed.stdout, object_hook=plain)["ansible_host"] == "203.0.113.1"


@pytest.mark.parametrize(
    ("cluster", "words"),
    [
        ({"kube_pods_subnet": "10.233.64.1/18"}, ["kube_pods_subnet: has host bits set"]),
        ({"kube_pods_subnet": "10.233.0.0/17"}, ["kube_pods_subnet: overlaps podnet_service_"]),
        ({"ipv6_stack": "perhaps"}, ["ipv6_stack: not a boolean", "true or false"]),
        (
            {"ipv6_stack": True, "kube_pods_subnet_ipv6": None},
            ["kube_pods_subnet_ipv6: not set", "because ipv6_stack is on"],
        ),
        ({"kube_network_node_prefix": "many"}, ["kube_network_node_prefix: ", "'many'"]),
    ],
)
def test_problems_stand_where_kubespray_has_the_value(
    tmp_path: Path, cluster: dict[str, Any], words: list[str]
) -> None:
    write(tmp_path, **cluster)
    said = play(tmp_path, "allocate", fails=True)
    assert [word for word in words if word not in said] == [], said
    assert "podnet_cluster_cidrs[" not in said
    assert not (tmp_path / "mycluster/group_vars/k8s_cluster/podnet_allocated.yml").exists()


def translated(own: dict[str, Any], **theirs: Any) -> dict[str, Any]:
    """Of one host, by the way that an action goes."""
    needed = kubespray.needed(own, frozenset(theirs), "n")
    read = {} if needed is None else {"n": {k: v for k, v in theirs.items() if k in needed}}
    done = kubespray.translate({"n": own}, read)
    with done.named():
        return done.variables["n"]


POOL = {"kube_pods_subnet": "10.233.64.0/18", "kube_pods_subnet_ipv6": "fd85::/112"}


@pytest.mark.parametrize(
    ("switches", "expected"),
    [
        ({}, ["10.233.64.0/18"]),
        ({"enable_dual_stack_networks": "True"}, ["10.233.64.0/18", "fd85::/112"]),
        ({"enable_dual_stack_networks": True, "ipv6_stack": False}, ["10.233.64.0/18"]),
        ({"ipv4_stack": "false", "ipv6_stack": "yes"}, ["fd85::/112"]),
    ],
)
def test_families_are_those_that_kubespray_has_on(switches: Any, expected: list[str]) -> None:
    assert translated({}, ip="192.0.2.1", **POOL, **switches)["podnet_cluster_cidrs"] == expected


def test_ones_own_variables_win_and_the_others_are_not_even_read() -> None:
    """A variable of kubespray's may need facts; who says it himself must not be stopped by it."""
    fleet = {"podnet_cluster_cidrs": ["10.64.0.0/16"]}
    found = translated(fleet, ip="192.0.2.1", kube_service_addresses="10.64.0.0/18", **POOL)
    assert found == {**fleet, "podnet_underlay_addresses": ["192.0.2.1"]}
    own = {"podnet_underlay_addresses": ["192.0.2.7"]}
    assert kubespray.needed({**fleet, **own}, {"ip", *POOL}, "n") == frozenset()
    table = {"podnet_nodes": {"n": {"underlay_addresses": ["192.0.2.7"]}}}
    assert "podnet_underlay_addresses" not in translated(table, ip="192.0.2.1", **POOL)


def test_an_inventory_that_is_not_kubesprays_is_left_alone() -> None:
    assert kubespray.needed({}, {"ip", "access_ip", "ipv6_stack"}, "n") is None
    assert translated({}, ip="192.0.2.1") == {}


def test_a_node_without_an_address_is_told_which_variables_to_set() -> None:
    done = kubespray.translate({"n": {}}, {"n": {**POOL, "ip": ""}})
    with pytest.raises(ProblemsError) as caught, done.named():
        compile_fleet(done.variables)
    text = str(caught.value)
    assert text.count("nodes.n.podnet_underlay_addresses: not set") == 1
    assert "set ip for the host; podnet takes no address from a node's facts" in text


def test_a_bad_address_stands_where_it_was_written() -> None:
    done = kubespray.translate({"n": {}}, {"n": {**POOL, "access_ip": "192.0.2.1/24"}})
    with pytest.raises(ProblemsError, match=r"nodes\.n\.access_ip: not an address"), done.named():
        compile_fleet(done.variables)


def test_hosts_outside_of_kubesprays_groups_differ() -> None:
    done = kubespray.translate({"n": {}, "m": {}}, {"n": {**POOL, "ip": "192.0.2.1"}})
    with pytest.raises(ProblemsError, match="differs between nodes"), done.named():
        compile_fleet(done.variables)
