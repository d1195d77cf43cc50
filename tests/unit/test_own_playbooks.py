# SPDX-License-Identifier: GPL-3.0-or-later
"""Playbooks that people write of podnet's roles, and what such a one leaves out."""

from __future__ import annotations

from pathlib import Path

import pytest
from test_inventories import run
from test_sources import good, play

ALONE = """---
- hosts: podnet
  gather_facts: false
  roles: [podnet.fabric.converge]
"""


@pytest.mark.parametrize("planned", [False, True])
def test_nodes_are_changed_by_the_plan_of_the_same_run_alone(tmp_path: Path, planned: bool) -> None:
    """An earlier one may be of another inventory, and another run may work in its folder."""
    good(tmp_path / "hosts.yml")
    if planned:
        assert play(tmp_path, "plan", "hosts.yml")[0] == 0
    (tmp_path / "own.yml").write_text(ALONE, encoding="utf-8")
    done = run(tmp_path, "ansible-playbook", "-i", "hosts.yml", "own.yml")
    said = " ".join((done.stdout + done.stderr).split())
    assert done.returncode == 2, said
    assert f"{tmp_path}: there is no plan of this run" in said
    assert ("found: the plan of another run" if planned else "found: none at all") in said
    assert "UNREACHABLE" not in said
