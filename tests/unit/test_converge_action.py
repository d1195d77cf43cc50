# SPDX-License-Identifier: GPL-3.0-or-later
"""The stage `hold` of the action `converge`, with nodes on paper: who is reached anew."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace

import pytest
from ansible_collections.podnet.fabric.plugins.action.converge import ActionModule
from ansible_collections.podnet.fabric.plugins.plugin_utils.exchange import Answer
from ansible_collections.podnet.fabric.plugins.plugin_utils.workspace import Workspace

WINDOW = 180


class Nodes:
    def __init__(self) -> None:
        self.asked: list[tuple[str, bool]] = []

    def ask(self, texts: Mapping[str, str], fresh: bool = False) -> dict[str, Answer]:
        self.asked += [(name, fresh) for name in texts]
        return {name: Answer() for name in texts}


@pytest.mark.parametrize(
    ("elapsed", "held"),
    [
        pytest.param(0, {"moved"}, id="soon: those that only a new connection proves"),
        pytest.param(WINDOW / 3 - 5, {"moved"}, id="within a third of the time"),
        pytest.param(WINDOW / 3 + 5, {"moved", "peer"}, id="later: all, so that none goes back"),
    ],
)
def test_who_gets_the_whole_time_again(tmp_path: Path, elapsed: float, held: set[str]) -> None:
    action = ActionModule.__new__(ActionModule)
    action._task = SimpleNamespace(check_mode=False)
    action._workspace = workspace = Workspace(str(tmp_path))
    action._nodes = nodes = Nodes()
    action._names = ["moved", "peer", "idle"]
    for name in action._names:
        run = {"ident": "a1", "window": WINDOW, "anew": name == "moved"}
        workspace.save_run(name, {**run, "phases": [] if name == "idle" else ["remove"]})
    workspace.save_begun(time.monotonic() - elapsed)
    assert action._end("hold") == {"changed": False}
    assert set(nodes.asked) == {(name, True) for name in held}
    # A hold that is asked for again, after one that failed elsewhere, leaves these alone.
    nodes.asked.clear()
    action._end("hold")
    assert nodes.asked == []
