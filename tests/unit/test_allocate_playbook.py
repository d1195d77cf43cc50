# SPDX-License-Identifier: GPL-3.0-or-later
"""The playbook `allocate` on real inventories: what it writes, Ansible loads and the plan takes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from test_inventories import run

FLEET: dict[str, Any] = {
    "podnet": {
        "vars": {"podnet_cluster_cidrs": ["10.64.0.0/22", "fd00:64::/48"]},
        "hosts": {
            f"worker-{number}": {"podnet_underlay_addresses": [f"192.0.2.{number}"]}
            for number in (1, 2, 10)
        },
    }
}
FIRST = {
    "worker-1": ["10.64.0.0/24", "fd00:64::/64"],
    "worker-2": ["10.64.1.0/24", "fd00:64:0:1::/64"],
    "worker-10": ["10.64.2.0/24", "fd00:64:0:2::/64"],
}


class Site:
    """An inventory folder and a working folder beside it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.inventory = folder / "fleet"
        self.hosts = json.loads(json.dumps(FLEET))
        self.place = "group_vars/podnet/podnet_allocated.yml"

    def play(self, name: str, *more: str, **variables: Any) -> str:
        """Play a playbook; what it said. It must not fail, but where `fails` is set."""
        fails = variables.pop("fails", False)
        self.inventory.mkdir(exist_ok=True)
        (self.inventory / "hosts.yml").write_text(yaml.safe_dump(self.hosts), encoding="utf-8")
        arguments = [f"podnet.fabric.{name}", "-i", "fleet", "-e", json.dumps(variables), *more]
        done = run(self.folder, "ansible-playbook", *arguments)
        said = done.stdout + done.stderr
        assert bool(done.returncode) is fails, said
        return " ".join(said.split())

    def file(self) -> Path:
        return self.inventory / self.place

    def ranges(self) -> Any:
        return yaml.safe_load(self.file().read_text(encoding="utf-8"))["podnet_allocated"]


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def test_ranges_are_written_loaded_and_rendered(site: Site) -> None:
    assert "have podnet.fabric.allocate give free ones" in site.play("plan", fails=True)
    assert '+ "worker-10":' in site.play("allocate", "--check", "--diff")
    assert not site.file().exists()
    assert "3 nodes get ranges" in site.play("allocate")
    assert site.ranges() == FIRST
    before = site.file().stat().st_mtime_ns, site.file().read_text(encoding="utf-8")
    assert "every node has its ranges" in site.play("allocate")
    assert (site.file().stat().st_mtime_ns, site.file().read_text(encoding="utf-8")) == before
    site.play("plan")
    routes = (site.folder / "intended/worker-1/routes.batch").read_text(encoding="utf-8")
    assert "10.64.2.0/24" in routes


def test_a_node_that_is_gone_keeps_its_ranges_until_they_are_released(site: Site) -> None:
    site.play("allocate")
    hosts = site.hosts["podnet"]["hosts"]
    hosts["worker-3"] = {"podnet_underlay_addresses": ["192.0.2.3"]}
    gone = hosts.pop("worker-2")
    assert "kept for nodes that are gone: worker-2" in site.play("allocate")
    grown = FIRST | {"worker-3": ["10.64.3.0/24", "fd00:64:0:3::/64"]}
    assert site.ranges() == grown

    hosts["worker-4"] = {"podnet_underlay_addresses": ["192.0.2.4"]}
    said = site.play("allocate", fails=True)
    assert "no room for the ipv4 ranges of 1 nodes" in said
    assert "give up ranges of nodes that are gone" in said
    assert "did you mean worker-2" in site.play(
        "allocate", podnet_allocate_release=["worker-22"], fails=True
    )
    assert site.ranges() == grown
    site.play("allocate", podnet_allocate_release=["worker-2"])
    assert site.ranges() == {k: v for k, v in grown.items() if k != "worker-2"} | {
        "worker-4": ["10.64.1.0/24", "fd00:64:0:1::/64"]
    }
    hosts["worker-2"] = gone
    assert "none for worker-2" in site.play("allocate", fails=True)


def test_what_was_planned_seen_or_reserved_is_nobody_elses(site: Site) -> None:
    """worker-1 had a range of its own; the plan and `status` are the only ones who know. It gets
    it back, and nobody else does."""
    hosts = site.hosts["podnet"]["hosts"]
    for name in ("worker-2", "worker-10"):
        del hosts[name]
    hosts["worker-1"]["podnet_pod_cidrs"] = ["10.64.0.0/24", "fd00:64::/64"]
    site.play("plan")
    status = {"nodes": {"worker-1": {"reservations": [["10.64.1.9", "0123456789ab"]]}}}
    (site.folder / ".podnet/status.json").write_text(json.dumps(status), encoding="utf-8")
    del hosts["worker-1"]["podnet_pod_cidrs"]
    for number in (2, 3):
        hosts[f"worker-{number}"] = {"podnet_underlay_addresses": [f"192.0.2.{number}"]}
    said = site.play("allocate", podnet_allocate_reserved=["10.64.3.128/25"], fails=True)
    assert "no room for the ipv4 ranges of 2 nodes" in said and "none for worker-3" in said
    del hosts["worker-3"]
    said = site.play("allocate", podnet_allocate_reserved=["10.64.3.128/25"])
    assert "worker-1: 10.64.0.0/24 fd00:64::/64, as in the last plan here" in said
    assert site.ranges() == {
        "worker-1": ["10.64.0.0/24", "fd00:64::/64"],
        "worker-2": ["10.64.2.0/24", "fd00:64:0:1::/64"],
    }


def test_a_file_that_is_lost_moves_nobody(site: Site) -> None:
    site.play("allocate")
    site.play("plan")
    site.file().unlink()
    assert "3 nodes get ranges" in site.play("allocate")
    assert site.ranges() == FIRST
    assert "every node has its ranges" in site.play("allocate")


def test_no_folder_is_made_that_hides_a_file(site: Site) -> None:
    """Ansible looks at group_vars/podnet.yml only when there is no folder group_vars/podnet."""
    own, everybody = (site.inventory / f"group_vars/{name}.yml" for name in ("podnet", "all"))
    own.parent.mkdir(parents=True)
    own.write_text("podnet_vni: 77\n", encoding="utf-8")
    site.place = "group_vars/all/podnet_allocated.yml"
    site.play("allocate")
    assert site.ranges() == FIRST
    site.play("plan")
    assert json.loads((site.folder / ".podnet/fabric.json").read_text("utf-8"))["vni"] == 77

    site.file().rename(site.folder / "elsewhere.yml")
    site.file().parent.rmdir()
    everybody.write_text("podnet_vxlan_port: 8472\n", encoding="utf-8")
    said = site.play("allocate", fails=True)
    assert "there is no place for the file" in said and f"{own}, {everybody}" in said
    elsewhere = str(site.folder / "elsewhere.yml")
    said = site.play("allocate", podnet_allocate_file=elsewhere)
    assert "does not load it" in said
    said = site.play("allocate", "-e", f"@{elsewhere}", podnet_allocate_file=elsewhere)
    assert "every node has its ranges" in said and "does not load it" not in said
    everybody.unlink()
    assert "or name it in podnet_allocate_file" in site.play(
        "allocate", "-e", f"@{elsewhere}", fails=True
    )


def test_nothing_is_written_while_the_plan_has_a_problem(site: Site) -> None:
    del site.hosts["podnet"]["hosts"]["worker-2"]["podnet_underlay_addresses"]
    said = site.play("allocate", fails=True)
    assert "nodes.worker-2.podnet_underlay_addresses: not set" in said
    assert "1 problem in" in said
    assert not site.file().exists()


def test_the_place_for_all_hosts_is_named_once(site: Site) -> None:
    everybody = site.inventory / "group_vars/all.yml"
    everybody.parent.mkdir(parents=True)
    everybody.write_text("podnet_vni: 77\n", encoding="utf-8")
    said = site.play("allocate", podnet_group="all", fails=True)
    assert "expected: room for a folder group_vars/all beside the inventory found:" in said
    assert f"found: {everybody}, which a folder of that name would hide do:" in said
    assert (
        "do: move group_vars/all.yml to group_vars/all/main.yml; or set podnet_allocate_file"
        in said
    )


def test_a_file_that_the_inventory_does_not_load_is_said_at_once(site: Site) -> None:
    unheard = "does not load it; pass it to every run: -e @"
    vars_of = "fleet/group_vars"
    for name in ("ranges.yml", f"{vars_of}/other/ranges.yml", f"{vars_of}/podnet/r.txt"):
        assert unheard in site.play("allocate", "--check", podnet_allocate_file=name)
        assert not (site.folder / name).exists()
    assert unheard in site.play("allocate", podnet_allocate_file="ranges.yml")
    for name in ("podnet/x/ranges.yml", "all/ranges.json", "podnet.yml"):
        path = f"{vars_of}/{name}"
        assert unheard not in site.play("allocate", "--check", podnet_allocate_file=path), name
    own = {"worker-1": ["10.64.0.0/24", "fd00:64::/64"]}
    for name in ("worker-2", "worker-10"):
        del site.hosts["podnet"]["hosts"][name]
    site.hosts["podnet"]["hosts"]["worker-1"]["podnet_pod_cidrs"] = own["worker-1"]
    assert unheard not in site.play("allocate", podnet_allocate_file="nothing.yml")


def test_a_key_that_a_merge_left_twice_is_refused_and_nothing_is_touched(site: Site) -> None:
    site.play("allocate")
    hosts = site.hosts["podnet"]["hosts"]
    del hosts["worker-2"]
    hosts["worker-3"] = {"podnet_underlay_addresses": ["192.0.2.3"]}
    text = site.file().read_text(encoding="utf-8")
    text += 'podnet_allocated:\n  "worker-1": ["10.64.0.0/24", "fd00:64::/64"]\n'
    site.file().write_text(text, encoding="utf-8")
    for playbook in ("allocate", "plan"):
        said = site.play(playbook, fails=True)
        assert f"{site.file()}: 'podnet_allocated' is there more than once" in said
        assert "found: lines 5 and 9" in said
    assert site.file().read_text(encoding="utf-8") == text


SINGLE = {name: cidrs[:1] for name, cidrs in FIRST.items()}
OTHER = {
    name: [f"10.96.{number}.0/24", cidrs[1]]
    for number, (name, cidrs) in enumerate(FIRST.items())
}  # fmt: skip
CHANGES: dict[str, tuple[list[str], Any]] = {
    "single stack": (["10.64.0.0/22"], SINGLE),
    "another cluster CIDR": (["10.96.0.0/16", "fd00:64::/48"], OTHER),
    "both": (["10.96.0.0/16"], {name: cidrs[:1] for name, cidrs in OTHER.items()}),
}


@pytest.mark.parametrize("change", CHANGES)
def test_ranges_follow_the_cluster_when_told_so(site: Site, change: str) -> None:
    """Between two plans, as `site` makes them; a node that is gone keeps what it had."""
    site.hosts["podnet"]["hosts"]["worker-99"] = {"podnet_underlay_addresses": ["192.0.2.99"]}
    site.play("allocate")
    site.play("plan")
    gone = {"worker-99": ["10.64.3.0/24", "fd00:64:0:3::/64"]}
    del site.hosts["podnet"]["hosts"]["worker-99"]
    pools, wanted = CHANGES[change]
    site.hosts["podnet"]["vars"]["podnet_cluster_cidrs"] = pools
    for playbook in ("plan", "allocate"):
        said = site.play(playbook, fails=True)
        assert "1 problem in the inventory" in said
        assert "podnet_allocated: the cluster CIDRs do not hold ranges of 3 nodes" in said
        assert "podnet.fabric.allocate -e podnet_allocate_renumber=true" in said
        assert site.ranges() == FIRST | gone
    told = ("-e", "podnet_allocate_renumber=true")
    said = site.play("allocate", "--check", "--diff", *told)
    assert '- "worker-10":' in said and site.ranges() == FIRST | gone
    said = site.play("allocate", *told)
    assert "taken back from worker-1: " in said and "ranges of 3 nodes taken back" in said
    assert site.ranges() == wanted | gone
    assert "every node has its ranges" in site.play("allocate", *told)
    site.play("plan")
    fabric = json.loads((site.folder / ".podnet/fabric.json").read_text("utf-8"))
    assert {node["name"]: node["pod_cidrs"] for node in fabric["nodes"]} == wanted


def test_nobody_gets_a_part_of_what_is_taken_back(site: Site) -> None:
    """Pods may have addresses of it; here no plan and no `status` tells so."""
    site.play("allocate")
    site.hosts["podnet"]["vars"] = {
        "podnet_cluster_cidrs": ["10.64.1.0/25", "10.96.0.0/16"],
        "podnet_node_prefix_lengths": {"ipv4": 25},
    }
    site.play("allocate", podnet_allocate_renumber=True)
    assert site.ranges() == {
        "worker-1": ["10.96.0.0/25"],
        "worker-2": ["10.96.0.128/25"],
        "worker-10": ["10.96.1.0/25"],
    }


def test_nothing_moves_without_a_reason(site: Site) -> None:
    site.play("allocate")
    before = site.file().read_text(encoding="utf-8")
    site.play("allocate", podnet_allocate_renumber=True)
    site.hosts["podnet"]["vars"]["podnet_cluster_cidrs"] = ["10.96.0.0/16", "fd00:64::/4x"]
    said = site.play("allocate", podnet_allocate_renumber=True, fails=True)
    assert "1 problem in the inventory" in said and "podnet_cluster_cidrs[1]: not a network" in said
    assert site.file().read_text(encoding="utf-8") == before
