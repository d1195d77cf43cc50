# SPDX-License-Identifier: GPL-3.0-or-later
"""A fleet run in several jobs at once, as AWX cuts it: each job is ansible-runner in a process and
a folder of its own, with an inventory that has no hosts of the other jobs.

AWX gives slice i of k every k-th host of the inventory (`job_slice_count`, AWX user guide, "Job
slicing"), and group variables whole: so the fleet stands in the node table of group_vars.
"""

from __future__ import annotations

import copy
import json
import os
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import yaml
from fleet import REPO, Fleet

PROGRAM = Path(sys.executable).parent / "ansible-runner"
NODE_WORDS = ("pod_cidrs", "underlay_addresses", "segment")


def slices(nodes: Sequence[str], count: int) -> tuple[tuple[str, ...], ...]:
    """As AWX does it."""
    return tuple(tuple(nodes[offset::count]) for offset in range(count))


def table_inventory(data: dict[str, Any], nodes: Iterable[str]) -> dict[str, Any]:
    """The same fleet with all nodes in the table, and only some of them as hosts."""
    group = copy.deepcopy(data["podnet"])
    rows = {}
    for name, values in group["hosts"].items():
        row = {word: values.pop(f"podnet_{word}", None) for word in NODE_WORDS}
        rows[name] = {word: value for word, value in row.items() if value is not None}
    group["hosts"] = {name: group["hosts"][name] for name in nodes}
    group["vars"]["podnet_nodes"] = rows
    return {"podnet": group}


class Job:
    """One run of a playbook by ansible-runner; it runs as soon as it is made."""

    def __init__(
        self,
        fleet: Fleet,
        folder: Path,
        nodes: Sequence[str],
        playbook: str,
        variables: dict[str, Any],
    ) -> None:
        self.name = f"{playbook} {', '.join(nodes)}"
        self._write(folder, "inventory/hosts.yml", table_inventory(fleet.data, nodes))
        imported = {
            "name": "Run it",
            "ansible.builtin.import_playbook": f"podnet.fabric.{playbook}",
        }
        self._write(folder, f"project/{playbook}.yml", [imported])
        lab = json.loads((fleet.labs / fleet.name / "vars.json").read_text(encoding="utf-8"))
        # AWX starts every job in a folder that no other job has seen; here one may resume another.
        output = {"podnet_output_dir": str(folder)}
        self._write(folder, "env/extravars", {**lab, **output, **variables})
        environment = {
            **os.environ,
            "PATH": f"{PROGRAM.parent}:{os.environ['PATH']}",
            "ANSIBLE_CONFIG": str(REPO / "ansible.cfg"),
            "ANSIBLE_COLLECTIONS_PATH": str(REPO / ".ansible" / "collections"),
            "ANSIBLE_SSH_CONTROL_PATH_DIR": str(folder / "cp"),
        }
        self.process = subprocess.Popen(
            [str(PROGRAM), "run", str(folder), "-p", f"{playbook}.yml"],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    @staticmethod
    def _write(folder: Path, name: str, data: Any) -> None:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(yaml.safe_dump(data, sort_keys=False), encoding="utf-8")

    def result(self) -> tuple[int, str]:
        """Return code and what it printed."""
        said, _errors = self.process.communicate(timeout=300)
        return self.process.returncode, said


def run_jobs(
    fleet: Fleet,
    folder: Path,
    parts: Sequence[Sequence[str]],
    playbook: str,
    **variables: Any,
) -> None:
    """A job for each part of the fleet, all at once; every one must end well."""
    jobs = [
        Job(fleet, folder / f"job-{number}", nodes, playbook, variables)
        for number, nodes in enumerate(parts)
    ]
    for job in jobs:
        code, said = job.result()
        if code:
            raise AssertionError(f"{job.name}\n{said}")
