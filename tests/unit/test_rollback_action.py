# SPDX-License-Identifier: GPL-3.0-or-later
"""The action `rollback`: of which nodes it chooses, and what it knows of the others."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.podnet.fabric.plugins.action.rollback import ActionModule, refuse_batches
from ansible_collections.podnet.fabric.plugins.plugin_utils.fleet.history import PREVIOUS, History
from ansible_collections.podnet.fabric.plugins.plugin_utils.fleet.numbers import Numbers
from ansible_collections.podnet.fabric.plugins.plugin_utils.intent.problems import ProblemsError
from ansible_collections.podnet.fabric.plugins.plugin_utils.plan import compile_fleet
from ansible_collections.podnet.fabric.plugins.plugin_utils.workspace import Workspace

NAMES = ["node-1", "node-2", "node-3"]
PLACES = ("ansible_play_hosts_all", "ansible_play_hosts", "ansible_play_batch")
ARGS = {"group": "podnet", "to": PREVIOUS, "nodes": []}


def intent(node: int, third: int) -> dict[str, Any]:
    return {
        "podnet_cluster_cidrs": ["10.64.0.0/16"],
        "podnet_pod_cidrs": [f"10.64.{third}.0/24"],
        "podnet_underlay_addresses": [f"192.0.2.{node}"],
    }


def test_a_play_in_batches_is_refused() -> None:
    whole = dict.fromkeys(PLACES, NAMES)
    refuse_batches(whole)
    with pytest.raises(ProblemsError) as error:
        refuse_batches({**whole, "ansible_play_batch": NAMES[:1]})
    assert "serial: the rollback is of the whole fleet" in str(error.value)
    assert "found:    a batch of node-1, without node-2, node-3" in str(error.value)


def test_a_later_change_of_a_node_that_is_away_is_not_taken_for_none(tmp_path: Path) -> None:
    """Otherwise the change before it, on a node that answers, would be taken back."""
    workspace = Workspace(str(tmp_path))
    workspace.save_fabric(compile_fleet({n: intent(i, i) for i, n in enumerate(NAMES, 1)}))
    kept = History(2, {1: intent(1, 101), 2: intent(1, 1)})
    workspace.save("run/history/node-1.json", asdict(kept))
    workspace.save("run/history/node-2.json", asdict(History(1, {1: intent(2, 2)})))
    given = {2: frozenset({"node-1"}), 3: frozenset({"node-3"})}
    workspace.save_numbers(Numbers(3, "", given))
    # node-3 has failed, so it is of no batch any more.
    variables: dict[str, Any] = dict.fromkeys(PLACES, NAMES[:2])
    variables |= {"ansible_play_hosts_all": NAMES, "groups": {"podnet": NAMES}}
    action = ActionModule.__new__(ActionModule)
    with pytest.raises(ProblemsError, match="kept by node-3"):
        action._choose(workspace, variables, ARGS)
