# SPDX-License-Identifier: GPL-3.0-or-later
"""ansible-pull on the nodes: each runs Ansible itself, from a git repository that holds the fleet,
and knows of the others what stands there."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.podnet.fabric.plugins.module_utils.lab.runtime import Lab
from edits import ONE, THREE, TWO, change_cidr, edit, other_vni, pod
from faults import FaultFleet
from fleet import REPO, Spec
from graft import graft
from jobs import table_inventory
from meters import Meters
from test_slices import FILES, assert_equal

ALL = (ONE, TWO, THREE)
OLD = ["10.64.1.0/24", "fd00:64:0:1::/64"]
BIN = Path(sys.executable).parent
PULL = (
    f"env HOME=/root LC_ALL=C.UTF-8 ANSIBLE_NOCOLOR=1 ANSIBLE_CONFIG='{REPO}/ansible.cfg'"
    f" ANSIBLE_COLLECTIONS_PATH='{REPO}/.ansible/collections' PATH='{BIN}':$PATH"
    " ansible-pull -U '{repository}' -d /var/lib/fleet -i hosts.yml --limit $(hostname) pull.yml"
    " 2>&1 || echo FAILED"
)
PLAY = [{"name": "Pull", "ansible.builtin.import_playbook": "podnet.fabric.pull"}]


class Pulled:
    """A fleet, and the repository that its nodes pull."""

    def __init__(self, fleet: FaultFleet, folder: Path) -> None:
        self.fleet, self.clone, self.bare = fleet, folder / "clone", folder / "fleet.git"
        self._git(folder, "init", "-q", "--bare", str(self.bare))
        self._git(folder, "clone", "-q", str(self.bare), str(self.clone))
        # What the nodes run, and the Python that it was installed with.
        shown = {REPO, Path(sys.base_prefix), self.bare} - {Path("/usr")}
        nodes = Lab(str(fleet.labs), fleet.name).facts()["nodes"]
        for facts in nodes.values():
            for path in shown:
                graft(facts["pid"], path)

    @staticmethod
    def _git(folder: Path, *words: str) -> None:
        who = ["-c", "user.name=fleet", "-c", "user.email=fleet@example.org"]
        subprocess.run(["git", *who, *words], cwd=folder, check=True, capture_output=True)

    def commit(self, nodes: Iterable[str] = ALL, **more: Any) -> None:
        """The fleet as it is wanted now, with these nodes, goes to the repository."""
        data = table_inventory(self.fleet.data, nodes)
        rows = data["podnet"]["vars"]["podnet_nodes"]
        for name in set(rows) - set(nodes):
            del rows[name]
        data["podnet"]["vars"].update(more)
        for name, content in (("hosts.yml", data), ("pull.yml", PLAY)):
            text = yaml.safe_dump(content, sort_keys=False)
            (self.clone / name).write_text(text, encoding="utf-8")
        self._git(self.clone, "add", "-A")
        self._git(self.clone, "commit", "-q", "-m", "What the fleet shall be")
        self._git(self.clone, "push", "-q", "origin", "HEAD")

    def pull(self, nodes: Iterable[str] = ALL) -> dict[str, str]:
        """Every node for itself, all at once; what each printed."""
        return self.fleet.everywhere(PULL.format(repository=self.bare), nodes)

    def good(self, nodes: Iterable[str] = ALL) -> dict[str, str]:
        said = self.pull(nodes)
        failed = [f"{node}:\n{text}" for node, text in said.items() if "FAILED" in text]
        assert not failed, "\n".join(failed)
        return said

    def now(self) -> Any:
        return self.fleet.states(), self.fleet.everywhere(FILES)


@pytest.fixture(scope="module")
def pulled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pulled]:
    folder = tmp_path_factory.mktemp("pulled")
    with FaultFleet(folder / "fleet", Spec(), "pulled") as fleet:
        yield Pulled(fleet, folder)


def test_nodes_that_pull_come_to_what_one_run_gives(pulled: Pulled) -> None:
    """Two nodes first; then a third one comes, and the others learn of it."""
    # A reset leaves settings of the underlay's interface, which then need no file.
    for _time in range(2):
        pulled.fleet.play("converge", check=True)
        whole = pulled.now()
        pulled.fleet.play("reset", "-e", "podnet_yes=true", check=True)
    pulled.commit([ONE, TWO])
    pulled.good([ONE, TWO])
    pulled.commit()
    pulled.good()
    assert_equal(whole, pulled.now())
    assert "1 node read, 0 to change" in pulled.good([TWO])[TWO]
    assert_equal(whole, pulled.now())


def test_changes_by_pull_lose_nothing_and_end_where_one_run_ends(pulled: Pulled) -> None:
    """A range of its own a node changes alone; its peers keep the way to the old one until they are
    told. What both ends of a pair must change together goes phase by phase, a commit for each."""
    fleet = pulled.fleet
    before = pulled.now()
    for change in (change_cidr, other_vni):
        edit(fleet, change)
    fleet.play("converge", check=True)
    whole = pulled.now()
    fleet.data["podnet"]["vars"].pop("podnet_vni")
    fleet.data["podnet"]["hosts"][ONE]["podnet_pod_cidrs"] = OLD
    fleet.write()
    fleet.play("converge", check=True)
    assert_equal(before, pulled.now())

    pods = {node: pod(fleet, node, "stays") for node in (TWO, THREE)}
    with Meters(fleet, pods) as meters:
        edit(fleet, change_cidr)
        pulled.commit()
        said = pulled.good()
        assert "10.64.1.0/24 stays, because node-1 was not asked" in said[TWO]
        edit(fleet, other_vni)
        pulled.commit(podnet_released_cidrs=OLD)
        assert "its pods would be cut off" in pulled.pull([TWO])[TWO]
        for phase in ("add", "switch", "remove"):
            pulled.commit(podnet_released_cidrs=OLD, podnet_phases=[phase])
            pulled.good()
    assert meters.reading.hurt == []
    assert all(pair.sent > 500 for pair in meters.reading.pairs)
    assert_equal(whole, pulled.now())
    for node in pods:
        pod(fleet, node, "stays", state="absent")
