# SPDX-License-Identifier: GPL-3.0-or-later
"""The recipes of docs/inventories.md as they stand there, on host data of their shape."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import yaml
from test_inventories import REPO, load, plain, run, table

PAGE = (REPO / "docs/inventories.md").read_text(encoding="utf-8")
SHARED = "podnet_cluster_cidrs: [10.64.0.0/16]\n"


def recipe(plugin: str) -> dict[str, Any]:
    """The YAML block of the page that configures a plugin."""
    blocks = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    found = [block for block in map(yaml.safe_load, blocks) if block.get("plugin") == plugin]
    assert found, plugin
    return dict(found[-1])


def constructed(folder: Path, hosts: dict[str, Any], options: dict[str, Any]) -> dict[str, Any]:
    """podnet's variables after `compose` and `groups`, by host of the group podnet. Every plugin
    that has the two options has them from the same code of Ansible's as `constructed`."""
    data = {"all": {"children": {"cloud": {"hosts": hosts}}}}
    (folder / "10-hosts.json").write_text(json.dumps(data), encoding="utf-8")
    taken = {key: options[key] for key in ("compose", "groups", "strict") if key in options}
    last = {"plugin": "ansible.builtin.constructed", **taken}
    (folder / "20-podnet.yml").write_text(yaml.safe_dump(last), encoding="utf-8")
    sources = ["-i", "10-hosts.json", "-i", "20-podnet.yml"]
    done = run(folder, "ansible-inventory", *sources, "--list")
    assert done.returncode == 0, done.stderr
    listed = json.loads(done.stdout, object_hook=plain)
    group = listed.get("podnet", listed["cloud"])["hosts"]
    return {
        host: {k: v for k, v in listed["_meta"]["hostvars"][host].items() if "podnet_" in k}
        for host in group
    }


def device(cidrs: str | None, *addresses: str | None) -> dict[str, Any]:
    four, six = [{"address": address} if address else None for address in addresses]
    return {
        "primary_ip4": four,
        "primary_ip6": six,
        "site": {"name": "Rack A", "slug": "rack-a"},
        "custom_fields": {"pod_cidrs": cidrs},
    }


def test_netbox(tmp_path: Path) -> None:
    hosts = {
        "w1": device("10.64.1.0/24 fd00:64:0:1::/64", "192.0.2.1/24", "2001:db8::1/64"),
        "w2": device(None, "192.0.2.2/24", None),
    }
    assert constructed(tmp_path, hosts, recipe("netbox.netbox.nb_inventory")) == {
        "w1": {
            "podnet_underlay_addresses": ["192.0.2.1", "2001:db8::1"],
            "podnet_segment": "rack-a",
            "podnet_pod_cidrs": ["10.64.1.0/24", "fd00:64:0:1::/64"],
        },
        "w2": {"podnet_underlay_addresses": ["192.0.2.2"], "podnet_segment": "rack-a"},
    }


def test_terraform_by_its_state(tmp_path: Path) -> None:
    hosts = {"w1": {"underlay": "192.0.2.1 2001:db8::1", "rack": "subnet-7"}}
    assert constructed(tmp_path, hosts, recipe("ansible.builtin.constructed")) == {
        "w1": {
            "podnet_underlay_addresses": ["192.0.2.1", "2001:db8::1"],
            "podnet_segment": "subnet-7",
        }
    }


def test_terraform_by_an_output(tmp_path: Path) -> None:
    """`terraform output -json NAME` prints the value alone; the page's names are the table's."""
    names = re.findall(r"^    (\w+) += vm\.|^    (\w+) += \[vm\.", PAGE, re.MULTILINE)
    values = ("worker-{0}", "203.0.113.{0}", ["192.0.2.{0}"], "subnet-7")
    rows = [
        {
            next(filter(None, name)): json.loads(json.dumps(value).replace("{0}", str(number)))
            for name, value in zip(names, values, strict=True)
        }
        for number in (1, 2)
    ]
    (tmp_path / "nodes.json").write_text(json.dumps(rows), encoding="utf-8")
    hosts = load(tmp_path, **recipe("podnet.fabric.table"))
    assert hosts["worker-2"] == {
        "ansible_host": "203.0.113.2",
        "podnet_underlay_addresses": ["192.0.2.2"],
        "podnet_segment": "subnet-7",
    }
    folder = tmp_path / "group_vars/all"
    folder.mkdir(parents=True)
    (folder / "podnet.yml").write_text(SHARED, encoding="utf-8")
    for name in ("allocate", "plan"):
        done = run(tmp_path, "ansible-playbook", "-i", "nodes.yml", f"podnet.fabric.{name}")
        assert done.returncode == 0, done.stdout + done.stderr
    routes = (tmp_path / "intended/worker-1/routes.batch").read_text(encoding="utf-8")
    assert "10.64.1.0/24 via 192.0.2.2" in routes


def test_a_table_with_the_headings_of_the_page(tmp_path: Path) -> None:
    found = re.search(r"file: nodes.csv +# ([\w,]+);", PAGE)
    assert found
    hosts = table(tmp_path, f"{found[1]}\nw1,203.0.113.1,192.0.2.1,10.64.1.0/24,rack-a\n")
    assert len(hosts["w1"]) == 4
