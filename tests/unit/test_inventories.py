# SPDX-License-Identifier: GPL-3.0-or-later
"""Node tables of others, through Ansible's own inventory loader."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.podnet.fabric.plugins.plugin_utils.plan import compile_fleet

REPO = Path(__file__).resolve().parents[2]
CSV = """name,ansible_host,underlay_addresses,pod_cidrs,segment,underlay_mtu,rack_unit
worker-1,10.0.0.1,192.0.2.11;2001:db8::11,10.64.1.0/24 fd00:64:0:1::/64,rack-a,9000,7
worker-2,10.0.0.2,"192.0.2.12 2001:db8::12","10.64.2.0/24 fd00:64:0:2::/64",,,
"""
SHARED = {"podnet_cluster_cidrs": ["10.64.0.0/16", "fd00:64::/48"]}


def run(
    folder: Path, program: str, *arguments: str, strict: bool = True
) -> subprocess.CompletedProcess[str]:
    """``strict``: Ansible itself refuses what it cannot parse, which is not its default."""
    environment = {
        **os.environ,
        "ANSIBLE_CONFIG": str(REPO / "ansible.cfg"),
        "ANSIBLE_COLLECTIONS_PATH": str(REPO / ".ansible" / "collections"),
        "ANSIBLE_INVENTORY_ANY_UNPARSED_IS_FAILED": "1" if strict else "0",
        "ANSIBLE_NOCOLOR": "1",
    }
    command = [str(Path(sys.executable).parent / program), *arguments]
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


def plain(item: dict[str, Any]) -> Any:
    """Values of an inventory plugin are never templates, and the listing says so of each."""
    return item.get("__ansible_unsafe", item)


def load(folder: Path, **options: Any) -> dict[str, dict[str, Any]]:
    """The hosts of the group that an inventory file gives, by the program that a user would ask.

    Raises:
        ValueError: what it says when it refuses.
    """
    path = folder / "nodes.yml"
    path.write_text(json.dumps(options), encoding="utf-8")
    done = run(folder, "ansible-inventory", "-i", str(path), "--list")
    if done.returncode:
        raise ValueError(done.stderr)
    data = json.loads(done.stdout, object_hook=plain)
    hosts = data[options.get("group", "podnet")]["hosts"]
    return {host: data["_meta"]["hostvars"].get(host, {}) for host in hosts}


def table(folder: Path, text: str, **options: Any) -> dict[str, dict[str, Any]]:
    (folder / "nodes.csv").write_text(text, encoding="utf-8")
    return load(folder, plugin="podnet.fabric.table", file="nodes.csv", **options)


YAML = """
- name: worker-1
  ansible_host: 10.0.0.1
  underlay_addresses: [192.0.2.11, "2001:db8::11"]
  pod_cidrs: 10.64.1.0/24 fd00:64:0:1::/64
  segment: rack-a
  underlay_mtu: 9000
  labels: {rack_unit: 7}
- Node: worker-2
  underlay_addresses: 192.0.2.12;2001:db8::12
  pod_cidrs:
    - 10.64.2.0/24
    - fd00:64:0:2::/64
  segment:
"""


def listed(folder: Path, text: str, **options: Any) -> dict[str, dict[str, Any]]:
    (folder / "table.yaml").write_text(text, encoding="utf-8")
    return load(folder, plugin="podnet.fabric.table", file="table.yaml", **options)


def usable(hosts: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """As the plan gets them; it must accept them."""
    found = {
        host: {k: v for k, v in variables.items() if k.startswith("podnet_")} | SHARED
        for host, variables in hosts.items()
    }
    compile_fleet(found)
    return found


def test_a_table_is_a_fleet(tmp_path: Path) -> None:
    hosts = table(tmp_path, CSV)
    assert hosts["worker-1"]["ansible_host"] == "10.0.0.1"
    assert hosts["worker-1"]["rack_unit"] == "7"
    found = usable(hosts)
    assert found["worker-1"]["podnet_pod_cidrs"] == ["10.64.1.0/24", "fd00:64:0:1::/64"]
    assert found["worker-1"]["podnet_underlay_mtu"] == 9000
    assert "podnet_segment" not in found["worker-2"]


def test_the_plan_takes_a_table_as_it_is(tmp_path: Path) -> None:
    table(tmp_path, CSV)
    done = run(
        tmp_path,
        *("ansible-playbook", "-i", "nodes.yml", "podnet.fabric.plan", "-e", json.dumps(SHARED)),
    )
    assert done.returncode == 0, done.stdout + done.stderr
    routes = (tmp_path / "intended/worker-1/routes.batch").read_text(encoding="utf-8")
    assert "10.64.2.0/24" in routes


def test_a_segment_may_be_a_number(tmp_path: Path) -> None:
    text = "name,pod_cidrs,underlay_addresses,segment,underlay_mtu\n"
    text += "a,10.64.1.0/24,192.0.2.11,01,1400\nb,10.64.2.0/24,192.0.2.12,1,1400\n"
    found = table(tmp_path, text)
    assert [host["podnet_segment"] for host in found.values()] == ["01", "1"]
    assert {host["podnet_underlay_mtu"] for host in found.values()} == {1400}


def test_headings_of_ones_own(tmp_path: Path) -> None:
    columns = {"Host": "name", "IP": "underlay_addresses", "Pods": "pod_cidrs"}
    text = "\ufeffHost, IP, Pods\nworker-1, 192.0.2.11, 10.64.1.0/24\n"
    hosts = table(tmp_path, text, columns=columns, group="kube_node")
    assert hosts == {
        "worker-1": {
            "podnet_pod_cidrs": ["10.64.1.0/24"],
            "podnet_underlay_addresses": ["192.0.2.11"],
        }
    }


def test_what_a_spreadsheet_leaves_empty_is_none(tmp_path: Path) -> None:
    text = "\r\n\nname,pod_cidrs,underlay_addresses,,\r\na,10.64.1.0/24,192.0.2.11,,,,\r\n"
    text += ",,,,\r\n\r\nb,10.64.2.0/24,192.0.2.12,,\r\n"
    hosts = table(tmp_path, text)
    assert list(hosts) == ["a", "b"]
    assert set(hosts["a"]) == {"podnet_pod_cidrs", "podnet_underlay_addresses"}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("\nname,,\na,,x\n", ["line 3", "a column without a heading"]),
        ("", ["no column has the nodes' names"]),
        ("host,pod_cidrs\na,10.64.1.0/24\n", ["the nodes' names", "add it, or map one"]),
        ("name;pod_cidrs\na;10.64.1.0/24\n", ["the nodes' names", "commas between columns"]),
        ("name,podnet_pod_cidr\na,x\n", ["not a node variable", "write podnet_pod_cidrs"]),
        ("name,segmnt\na,x\n", ["not a node variable", "write segment"]),
        ("name,pod_cidr\na,x\n", ["not a node variable", "write pod_cidrs"]),
        (
            "name,pod_cidr\na,x\na,y\n,z\n",
            ["write pod_cidrs", "line 3", "twice", "line 4", "no name"],
        ),
        ("name,pod_cidrs\na,x\na,y\n,z\n", ["line 3", "twice", "line 4", "no name"]),
        ("name,pod_cidrs\na,x,y\n", ["line 2", "more fields than headings"]),
        ("name,pod_cidrs,pod_cidrs\na,x,y\n", ["line 1", "two columns are pod_cidrs"]),
        ("name,pod_cidrs,podnet_pod_cidrs\na,x,y\n", ["two columns are pod_cidrs"]),
    ],
)
def test_tables_that_cannot_be_used(tmp_path: Path, text: str, words: list[str]) -> None:
    with pytest.raises(ValueError) as caught:
        table(tmp_path, text)
    assert [word for word in words if word not in str(caught.value)] == []


def test_a_yaml_table_is_the_same_fleet(tmp_path: Path) -> None:
    hosts = listed(tmp_path, YAML, columns={"Node": "name"})
    assert hosts["worker-1"]["labels"] == {"rack_unit": 7}
    assert usable(hosts) == usable(table(tmp_path, CSV))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", ["the table: not a list of nodes", "a list of mappings"]),
        ("worker-1: {}\n", ["not a list of nodes", "a mapping"]),
        (
            "- worker-1\n- name: a\n- {pod_cidrs: []}\n",
            ["line 1: not a mapping", "line 3: no name"],
        ),
        ("- name: a\n- name: a\n", ["line 2: the node is there twice"]),
        ("- name: a\n  name: b\n", ["line 2: the key is there twice"]),
        (
            "- name: a\n  podnet_pod_cidr: x\n",
            ["line 1, podnet_pod_cidr", "write podnet_pod_cidrs"],
        ),
        ("- name: [a\n", ["line 2: not YAML", "expected"]),
        ("- name: !!python/name:os.system\n", ["not YAML", "line 1"]),
    ],
)
def test_yaml_tables_that_cannot_be_used(tmp_path: Path, text: str, words: list[str]) -> None:
    with pytest.raises(ValueError) as caught:
        listed(tmp_path, text)
    said = " ".join(str(caught.value).split())
    assert [word for word in words if word not in said] == [], said


def node(name: str, cidrs: list[str], *addresses: str, **labels: str) -> dict[str, Any]:
    listed = [{"type": "Hostname", "address": name}]
    listed += [{"type": "InternalIP", "address": address} for address in addresses]
    return {
        "metadata": {"name": name, "labels": labels},
        "spec": {"podCIDRs": cidrs, "podCIDR": (cidrs or [None])[0]},
        "status": {"addresses": listed},
    }


NODES = {
    "kind": "List",
    "items": [
        node("w1", ["10.64.1.0/24", "fd00:64:0:1::/64"], "192.0.2.11", "2001:db8::11", zone="a"),
        node("w2", ["10.64.2.0/24", "fd00:64:0:2::/64"], "192.0.2.12", "2001:db8::12", zone="b"),
    ],
}


def kubernetes(folder: Path, data: Any, **options: Any) -> dict[str, dict[str, Any]]:
    (folder / "nodes.json").write_text(json.dumps(data), encoding="utf-8-sig")
    return load(folder, plugin="podnet.fabric.kubernetes", file="nodes.json", **options)


def test_nodes_of_a_cluster_are_a_fleet(tmp_path: Path) -> None:
    hosts = kubernetes(tmp_path, NODES, segment_label="zone")
    assert hosts["w2"]["ansible_host"] == "192.0.2.12"
    found = usable(hosts)
    assert found["w1"]["podnet_segment"] == "a"
    assert found["w1"]["podnet_underlay_addresses"] == ["192.0.2.11", "2001:db8::11"]


def test_nodes_that_lack_something_are_named_all_at_once(tmp_path: Path) -> None:
    bad = {"items": [node("w1", [], "192.0.2.11"), node("w2", ["10.64.2.0/24"])]}
    with pytest.raises(ValueError) as caught:
        kubernetes(tmp_path, bad, segment_label="zone")
    for words in ("node w1: no pod CIDR", "node w2: no internal address", "label it"):
        assert words in str(caught.value)
    with pytest.raises(ValueError, match="not a list of nodes"):
        kubernetes(tmp_path, [])
    twice = {"items": [*NODES["items"], NODES["items"][0], "w9"]}
    with pytest.raises(ValueError, match="the node is there twice") as caught:
        kubernetes(tmp_path, twice)
    assert f"items[{len(NODES['items']) + 1}]: not a node" in str(caught.value)


def test_nodes_without_a_range_may_be_left_to_allocate(tmp_path: Path) -> None:
    bad = {"items": [node("w1", [], "192.0.2.11"), node("w2", ["10.64.2.0/24"], "192.0.2.12")]}
    hosts = kubernetes(tmp_path, bad, require_pod_cidrs=False)
    assert "podnet_pod_cidrs" not in hosts["w1"]
    assert hosts["w2"]["podnet_pod_cidrs"] == ["10.64.2.0/24"]


def test_kubectl_is_asked_when_nothing_is_saved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "kubectl"
    answer = tmp_path / "answer.json"
    answer.write_text(json.dumps(NODES), encoding="utf-8")
    program.write_text(
        f'#!/bin/sh\n[ "$*" = "get nodes -o json --context=prod" ] || exit 3\ncat {answer}\n',
        "utf-8",
    )
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert set(load(tmp_path, plugin="podnet.fabric.kubernetes", context="prod")) == {"w1", "w2"}
    with pytest.raises(ValueError, match="exit code 3"):
        load(tmp_path, plugin="podnet.fabric.kubernetes", context="other")


def test_the_last_words_of_kubectl_are_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before them it logs each of its tries, longer than a message is shown."""
    program = tmp_path / "kubectl"
    tries = "E1130 memcache.go:265] couldn't get current server API group list: " * 4
    program.write_text(
        f"#!/bin/sh\necho '{tries}' >&2\necho 'The connection was refused' >&2\nexit 1\n", "utf-8"
    )
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with pytest.raises(ValueError, match="kubectl: The connection was refused") as caught:
        load(tmp_path, plugin="podnet.fabric.kubernetes")
    assert "memcache" not in str(caught.value)


@pytest.mark.parametrize("more", [0, 1, 4])
def test_nodes_that_only_the_table_has_are_named_in_one_line(tmp_path: Path, more: int) -> None:
    """Slices mean them to be elsewhere, and may have thousands; no error."""
    rows = {
        f"worker-{number}": {
            "pod_cidrs": [f"10.64.{number}.0/24"],
            "underlay_addresses": [f"192.0.2.{number}"],
        }
        for number in range(1, more + 2)
    }
    fleet = {"podnet_cluster_cidrs": ["10.64.0.0/16"], "podnet_nodes": rows}
    hosts = {"podnet": {"vars": fleet, "hosts": {"worker-1": {}}}}
    (tmp_path / "hosts.yml").write_text(json.dumps(hosts), encoding="utf-8")
    done = run(tmp_path, "ansible-playbook", "-i", "hosts.yml", "podnet.fabric.plan")
    assert done.returncode == 0, done.stdout
    lines = [line for line in done.stdout.splitlines() if "of this inventory" in line]
    one = "worker-2: in podnet_nodes and no host of this inventory; others get ways to it, nothing "
    many = "worker-2, worker-3, worker-4 and 1 more: in podnet_nodes and no hosts of this inventory"
    assert len(lines) == min(more, 1)
    assert all(line.startswith(one if more == 1 else many) for line in lines)


@pytest.mark.parametrize("words", ["drift", "site", "verify --tags measure"])
def test_an_inventory_without_nodes_is_no_fleet_without_faults(tmp_path: Path, words: str) -> None:
    """Ansible itself ends with 0 where no host matches; a typo in -i would be green for ever."""
    (tmp_path / "hosts.yml").write_text("other: {hosts: {worker-1: }}\n", encoding="utf-8")
    playbook, *tags = words.split()
    command = ["ansible-playbook", "-i", "hosts.yml", f"podnet.fabric.{playbook}", *tags]
    done = run(tmp_path, *command)
    assert done.returncode == 2, done.stdout
    assert "inventory: no host in the group podnet" in done.stdout
    assert f"none, in {tmp_path / 'hosts.yml'}" in done.stdout


def test_variables_of_the_run_are_checked_with_the_inventory(tmp_path: Path) -> None:
    fleet = {
        "podnet_cluster_cidrs": ["10.64.0.0/16"],
        "podnet_vni": "many",
        "podnet_verify_outside": "203.0.113.10",
        "podnet_canary": ["worker-1", "epsilon", "w9"],
        "podnet_serial": [1, "foo"],
        "podnet_nodes": {"epsilon": {"pod_cidrs": ["10.64.2.0/24"]}},
    }
    host = {"podnet_pod_cidrs": ["10.64.1.0/24"], "podnet_underlay_addresses": ["192.0.2.11"]}
    hosts = {"podnet": {"vars": fleet, "hosts": {"worker-1": host}}}
    (tmp_path / "hosts.yml").write_text(json.dumps(hosts), encoding="utf-8")
    command = ("-i", "hosts.yml", "podnet.fabric.plan", "-e", "podnet_confirm_seconds=soon")
    done = run(tmp_path, "ansible-playbook", *command)
    assert done.returncode == 2
    assert "6 problems in the inventory; no node was touched." in done.stdout
    names = ["podnet_canary: names no", "podnet_confirm_seconds:", "podnet_serial: not the size"]
    for name in (*names, "podnet_verify_outside:", "podnet_vni:", "found:    'w9'"):
        assert name in done.stdout
    # One task for all nodes is no node's.
    assert "FAILED:" in done.stdout and "worker-1" not in done.stdout
