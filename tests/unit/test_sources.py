# SPDX-License-Identifier: GPL-3.0-or-later
"""Sources of the inventory that Ansible cannot parse, and goes on without."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from ansible.constants import config
from ansible_collections.podnet.fabric.plugins.plugin_utils.sources import doubled, unread
from test_inventories import run

LIST = "name,underlay_addresses,pod_cidrs\n"
BROKEN = "podnet: {hosts: {worker-9: {podnet_pod_cidrs: [10.64.9.0/24\n"


def node(number: int) -> dict[str, Any]:
    return {
        "podnet_pod_cidrs": [f"10.64.{number}.0/24"],
        "podnet_underlay_addresses": [f"192.0.2.{number}"],
    }


def good(path: Path) -> Path:
    """An inventory of two nodes."""
    hosts = {f"worker-{number}": node(number) for number in (1, 2)}
    fleet = {"vars": {"podnet_cluster_cidrs": ["10.64.0.0/16"]}, "hosts": hosts}
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps({"podnet": fleet}), encoding="utf-8")
    return path


def table(folder: Path, text: str, file: str = "nodes.csv") -> Path:
    """A third node, from a table."""
    (folder / file).write_text(text, encoding="utf-8")
    path = folder / "table.yml"
    path.write_text(json.dumps({"plugin": "podnet.fabric.table", "file": file}), encoding="utf-8")
    return path


def play(folder: Path, name: str, *sources: str | Path) -> tuple[int, str]:
    """Exit code, and what a person reads; with the sources where Ansible itself only warns."""
    given = [word for source in sources for word in ("-i", str(source))]
    command = ("ansible-playbook", *given, f"podnet.fabric.{name}")
    done = run(folder, *command, strict=False)
    return done.returncode, " ".join(done.stdout.split())


@pytest.mark.parametrize(
    "playbook", ["allocate", "drift", "host_keys", "plan", "reset", "rollback", "site", "verify"]
)
def test_no_run_goes_on_without_the_nodes_of_a_source(tmp_path: Path, playbook: str) -> None:
    good(tmp_path / "hosts.yml")
    broken = tmp_path / "more.yml"
    broken.write_text(BROKEN, encoding="utf-8")
    code, said = play(tmp_path, playbook, "hosts.yml", "more.yml")
    assert code == 2, said
    assert "1 problem in the inventory; no node was touched." in said
    assert f"inventory source {broken}: it could not be read" in said
    for words in ("expected: every source", "found: nothing that Ansible can", "do: correct it"):
        assert words in said
    assert not (tmp_path / ".podnet").exists()


def test_what_is_not_there_is_said_where_the_limit_leaves_the_first_look_out(
    tmp_path: Path,
) -> None:
    good(tmp_path / "hosts.yml")
    given = ("-i", "hosts.yml", "-i", "gone.yml", "podnet.fabric.site", "--limit", "worker-1")
    done = run(tmp_path, "ansible-playbook", *given, strict=False)
    assert done.returncode == 2, done.stdout
    assert f"inventory source {tmp_path / 'gone.yml'}: it could not be read" in done.stdout
    assert "found:    no such file" in done.stdout


def test_the_only_source_is_named_before_an_empty_group(tmp_path: Path) -> None:
    code, said = play(tmp_path, "site", "gone.yml")
    assert code == 2 and "gone.yml: it could not be read" in said
    assert "no host in the group" not in said


def test_the_problems_of_a_table_are_told_with_its_source(tmp_path: Path) -> None:
    good(tmp_path / "hosts.yml")
    source = table(tmp_path, LIST + "worker-3,192.0.2.3,10.64.3.0/24\nworker-3,,\n,192.0.2.4,\n")
    code, said = play(tmp_path, "plan", "hosts.yml", source)
    assert code == 2
    assert f"{source}: it could not be read" in said
    assert f"found: 2 problems of {tmp_path / 'nodes.csv'}, below" in said
    assert f"inventory table {tmp_path / 'nodes.csv'}: line 3: the node is there twice" in said
    (tmp_path / "nodes.csv").unlink()
    code, said = play(tmp_path, "plan", "hosts.yml", source)
    assert code == 2 and "No such file or directory" in said


@pytest.mark.parametrize("file", ["nodes.csv", "nodes.json", "nodes"])
def test_a_table_may_lie_in_the_folder_of_its_inventory(tmp_path: Path, file: str) -> None:
    good(tmp_path / "fleet/hosts.yml")
    text = LIST + "worker-3,192.0.2.3,10.64.3.0/24\n"
    if file.endswith(".json"):
        text = json.dumps([{"name": "worker-3", **node(3)}])
    table(tmp_path / "fleet", text, file)
    code, said = play(tmp_path, "plan", "fleet")
    assert code == 0 and "3 nodes" in said
    (tmp_path / "fleet/more.yml").write_text(BROKEN, encoding="utf-8")
    code, said = play(tmp_path, "plan", "fleet")
    assert code == 2 and "1 problem" in said and "fleet/more.yml: it could" in said
    assert "ignore_patterns" in said


def test_values_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    """Those of nodes by a golden case; here one that is encrypted, and one that says how to run."""
    lines = "$ANSIBLE_VAULT;1.1;AES256\n3132\n".replace("\n", "\n          ")
    text = good(tmp_path / "hosts.yml").read_text(encoding="utf-8")
    secret = f"podnet:\n  hosts:\n    worker-1:\n      podnet_segment: !vault |\n          {lines}"
    (tmp_path / "secret.yml").write_text(secret.rstrip(" "), encoding="utf-8")
    code, said = play(tmp_path, "plan", "hosts.yml", "secret.yml")
    assert code == 2 and "nodes.worker-1.podnet_segment: its value cannot be read" in said
    assert "vault" in said.partition("found:")[2].partition("do:")[0]
    fleet = json.loads(text)
    fleet["podnet"]["vars"]["podnet_confirm_seconds"] = "{{ soon }}"
    fleet["podnet"]["vars"]["podnet_vni"] = "many"
    (tmp_path / "hosts.yml").write_text(json.dumps(fleet), encoding="utf-8")
    code, said = play(tmp_path, "plan", "hosts.yml")
    assert code == 2 and "2 problems" in said and "podnet_vni: " in said
    assert "podnet_confirm_seconds: its value cannot be read" in said


def places(*sources: Path | str, done: tuple[Path | str, ...] = ()) -> list[str]:
    problems = unread([str(source) for source in sources], [str(path) for path in done])
    return [problem.where.removeprefix("inventory source ") for problem in problems]


def test_what_counts_as_a_source(tmp_path: Path) -> None:
    good(tmp_path / "fleet/hosts.yml")
    for name in ("README.md", "old.csv", ".hidden", "a.retry", "vars"):
        (tmp_path / "fleet" / name).touch()
    for name in ("fleet/group_vars", "shared/group_vars", "fleet/empty", "empty", "fleet/sub"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "fleet/group_vars/all.yml").touch()
    (tmp_path / "fleet/sub/deep").touch()
    fleet = tmp_path / "fleet"
    assert places(fleet, done=(fleet / "hosts.yml",)) == [f"{fleet}/sub/deep", f"{fleet}/vars"]
    assert places(fleet, done=(f"{fleet}/hosts.yml", f"{fleet}/vars", f"{fleet}/sub/deep")) == []
    assert places(tmp_path / "empty") == [str(tmp_path / "empty")]
    # Variables for the nodes of other sources; Ansible's default, which nobody has given.
    assert places(tmp_path / "shared", "/etc/ansible/hosts", "") == []
    assert places("a,b", "c,", done=("a,b",)) == ["c,"]


def test_the_shipped_pattern_is_one_of_tables_alone() -> None:
    shipped = Path(__file__).resolve().parents[2] / "ansible.cfg"
    patterns = config.get_config_value("INVENTORY_IGNORE_PATTERNS", cfile=str(shipped))
    fits = [name for name in ("nodes.csv", "csv", "a.csv.yml") if re.search(patterns[0], name)]
    assert (len(patterns), fits) == (1, ["nodes.csv"])


# --- keys that are there twice --------------------------------------------------------------------

TWICE = """podnet:
  vars:
    podnet_cluster_cidrs: [10.64.0.0/16]
  hosts:
    worker-1: &one {podnet_pod_cidrs: [10.64.1.0/24], podnet_underlay_addresses: [192.0.2.1]}
    worker-2:
      podnet_pod_cidrs: [10.64.2.0/24]
      podnet_underlay_addresses: [192.0.2.2]
    worker-1:
      podnet_pod_cidrs: [10.64.3.0/24]
      podnet_underlay_addresses: [192.0.2.3]
"""


def test_a_node_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    """YAML keeps the last one. The machine of the first would be out of the fleet."""
    (tmp_path / "hosts.yml").write_text(TWICE, encoding="utf-8")
    for playbook in ("plan", "site"):
        code, said = play(tmp_path, playbook, "hosts.yml")
        assert code == 2 and "1 problem in the inventory; no node was touched." in said
        assert f"{tmp_path / 'hosts.yml'}: 'worker-1' is there more than once" in said
        assert "found: lines 5 and 9" in said
    assert not (tmp_path / ".podnet").exists()


def test_podnets_variables_are_looked_for_where_ansible_has_them_from(tmp_path: Path) -> None:
    hosts, group, mine = (tmp_path / p for p in ("hosts.yml", "group_vars/podnet", "mine"))
    good(hosts)
    assert not list(doubled([str(hosts)], ""))
    for folder in (group, mine / "host_vars"):
        folder.mkdir(parents=True)
    text = "other: 1\nother: 2\npodnet_vni: 7\npodnet_nodes:\n  a: {x: 1, x: 2}\npodnet_vni: 8\n"
    (group / "net.yml").write_text(text, encoding="utf-8")
    (mine / "host_vars/worker-1.yaml").write_text("podnet_mtu: 1\npodnet_mtu: 1\n", "utf-8")
    found = [(p.where, p.what.split()[0], p.found) for p in doubled([str(hosts)], str(mine))]
    assert found == [
        (str(group / "net.yml"), "'podnet_vni'", "lines 3 and 6"),
        (str(group / "net.yml"), "'x'", "lines 5 and 5"),
        (str(mine / "host_vars/worker-1.yaml"), "'podnet_mtu'", "lines 1 and 2"),
    ]


@pytest.mark.parametrize(
    "text",
    [
        "a: &x {k: 1}\nb: {<<: *x, <<: *x}\nc: *x\n",
        "a: {k: 1}\nb: {k: 1}\n",
        "[worker]\na\na\n",
        "$ANSIBLE_VAULT;1.1;AES256\n6162\n",
        "a: [\n",
        "- {a: 1}\n- {a: 2}\n",
        "\x00",
    ],
)
def test_what_is_there_once_is_no_problem(tmp_path: Path, text: str) -> None:
    (tmp_path / "hosts.yml").write_text(text, encoding="utf-8")
    assert not list(doubled([str(tmp_path / "hosts.yml"), "a,b"], ""))
