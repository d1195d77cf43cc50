# SPDX-License-Identifier: GPL-3.0-or-later
"""The action `converge` with nodes on paper: who is reached anew, and what ends a change."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible_collections.podnet.fabric.plugins.action.converge import ActionModule
from ansible_collections.podnet.fabric.plugins.plugin_utils.changes import PHASES
from ansible_collections.podnet.fabric.plugins.plugin_utils.exchange import (
    called,
    other_batches,
)
from ansible_collections.podnet.fabric.plugins.plugin_utils.fleet import words
from ansible_collections.podnet.fabric.plugins.plugin_utils.plan import compile_fleet
from ansible_collections.podnet.fabric.plugins.plugin_utils.reach import Answer
from ansible_collections.podnet.fabric.plugins.plugin_utils.screen import AWAY
from ansible_collections.podnet.fabric.plugins.plugin_utils.workspace import Workspace

WINDOW = 180
HOSTS = {
    name: {
        "podnet_cluster_cidrs": ["10.64.0.0/16"],
        "podnet_pod_cidrs": [f"10.64.{number}.0/24"],
        "podnet_underlay_addresses": [f"192.0.2.{number}"],
    }
    for number, name in enumerate(("one", "two"), 1)
}
GONE = Answer(away="timed out")
STEPS = ("add", "switch", "remove", "hold", "commit", "rollback")


class Nodes:
    """``bad``: node and step at which its answer is none."""

    def __init__(self, bad: tuple[str, str] = ("", "")) -> None:
        self.bad = bad
        self.asked: list[tuple[str, bool]] = []
        self.steps: list[str] = []

    def ask(self, texts: Mapping[str, str], fresh: bool = False) -> dict[str, Answer]:
        self.asked += [(name, fresh) for name in texts]
        step = next(word for word in STEPS if word in next(iter(texts.values())))
        self.steps.append(step)
        said = {name: Answer(stdout="@@podnet applied\n") for name in texts}
        return said | ({self.bad[0]: Answer(away="gone")} if self.bad[1] == step else {})


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
    done = action._end("hold")
    assert not done.get("failed") and "run again at once" in done["podnet_unfinished"]["change"]
    assert set(nodes.asked) == {(name, True) for name in held}
    # A hold that is asked for again, after one that failed elsewhere, leaves these alone.
    nodes.asked.clear()
    action._end("hold")
    assert nodes.asked == []
    # Check mode keeps nothing, and has nothing to say when it is interrupted; what was skipped is
    # no stage of the summary, which said that the change was confirmed.
    action._task = SimpleNamespace(check_mode=True)
    for verb in ("hold", "commit", "rollback"):
        done = action._end(verb)
        assert done["skipped"] and not done["changed"] and "podnet_unfinished" not in done
    assert nodes.asked == []


# As Ansible has them with `serial: 2`, in the second batch: four has failed in this one. Of five,
# which failed in the first one, Ansible does not say in which it was.
SERIAL = {
    "ansible_play_hosts_all": ["one", "two", "three", "four", "five", "six"],
    "ansible_play_hosts": ["one", "two", "three", "six"],
    "ansible_play_batch": ["three"],
}


def test_hosts_of_other_batches_are_not_called_lost() -> None:
    assert other_batches(SERIAL) == ["one", "two", "six"]
    assert called(SERIAL) == ["three", "four", "five"]
    alone = {name: ["one", "two"] for name in SERIAL}
    assert other_batches(alone) == [] and called(alone) == ["one", "two"]
    assert words.elsewhere([]) == []
    assert words.elsewhere(["one"]) == ["one is not part of this batch, and not looked at"]
    (line,) = words.elsewhere(["a", "b", "c", "d", "e"])
    assert line == "a, b, c and 2 more are not part of this batch, and not looked at"


def test_the_gate_says_which_hosts_another_batch_has(tmp_path: Path) -> None:
    action = ActionModule.__new__(ActionModule)
    action._task = SimpleNamespace(check_mode=False)
    action._workspace = workspace = Workspace(str(tmp_path))
    workspace.save_fabric(compile_fleet(HOSTS))
    action._nodes = SimpleNamespace(names=["one"], ask=lambda texts: dict.fromkeys(texts, GONE))
    action._names = ["one"]
    ask = {"confirm_seconds": 0, "phases": [], "canary": [], "serial": [], "digest": ""}
    ask |= {"lost": [], "released": [], "install": "none", "each": False}
    args = {"state": "present", "generations_kept": 1, "heal_seconds": 0, "cut_pods": False}
    both = {"ansible_play_hosts_all": ["one", "two"], "ansible_play_hosts": ["one", "two"]}
    variables = {**both, "ansible_play_batch": ["one"]}
    done = action._gate(variables, {**args, "only": [], "ask": ask})
    lines, away = done["podnet_lines"], done["away"]
    assert lines[:2] == [
        "one was not reached and stays as it is: timed out",
        f"    {AWAY}",
    ]
    assert done["podnet_summary"] == "no node could be read, and none is changed"
    # What was never read is not well; nothing is said of it, and nothing is left unfinished.
    done = action._change({"phases": PHASES, "keep": True})
    assert done["skipped"] and not done["changed"] and not done["kept"]
    assert "two is not part of this batch, and not looked at" in lines
    assert not any("two was not reached" in line for line in lines)
    # Either has nothing to be proved.
    assert away == ["one", "two"]


def test_a_failure_speaks_of_this_batch_alone(tmp_path: Path) -> None:
    """What the batch before has kept does not go back, and was reached."""
    action = ActionModule.__new__(ActionModule)
    action._task = SimpleNamespace(check_mode=False)
    action._workspace = workspace = Workspace(str(tmp_path))
    for name, ended in (("one", "commit"), ("three", "rollback")):
        workspace.save_run(name, {"window": WINDOW, "phases": ["add"], "ended": ended})
    text = action._failed(SERIAL)["msg"]
    assert "taken back on three" in text and "one" not in text.replace("none", "")


def change(
    tmp_path: Path, nodes: Nodes, phases: list[str], window: int, keep: bool, diff: bool = False
) -> Any:
    """Of two nodes; the second one only adds and removes."""
    action = ActionModule.__new__(ActionModule)
    action._task = SimpleNamespace(check_mode=False, diff=diff)
    action._workspace = workspace = Workspace(str(tmp_path))
    action._nodes, action._names = nodes, ["two", "one"] if diff else ["one", "two"]
    workspace.save_fabric(compile_fleet(HOSTS))
    workspace.save_begun(None)
    shown = {phase: [f"{phase} something"] for phase in PHASES}
    for name, mine in (("one", PHASES), ("two", ("add", "remove"))):
        run = {"ident": f"id-{name}", "window": window, "anew": name == "one", "number": 1}
        workspace.save_run(name, {**run, "phases": list(mine), "shown": shown, "staged": ""})
    return action._change({"phases": phases, "keep": keep, "bgp_password": ""})


@pytest.mark.parametrize(
    ("bad", "steps", "kept"),
    [
        pytest.param(("", ""), STEPS[:5], True, id="all goes well"),
        pytest.param(("two", "add"), STEPS[:1], None, id="a phase fails: the next one never comes"),
        pytest.param(("one", "switch"), STEPS[:2], None, id="the same in the middle"),
        pytest.param(("one", "hold"), STEPS[:4], None, id="not reached anew: nobody keeps it"),
        pytest.param(("two", "commit"), STEPS[:5], False, id="a commit: nothing is taken back"),
    ],
)
def test_a_change_ends_where_a_step_fails(
    tmp_path: Path, bad: tuple[str, str], steps: tuple[str, ...], kept: bool | None
) -> None:
    nodes = Nodes(bad)
    done = change(tmp_path, nodes, list(PHASES), WINDOW, keep=True)
    assert nodes.steps == list(steps)
    assert done.get("failed", False) == (kept is None) and done.get("kept") == kept
    # What an interruption means is unsaid once nothing goes back any more.
    assert (done.get("podnet_unfinished") == {"change": ""}) == bool(kept)


def test_a_change_that_is_to_be_proved_waits(tmp_path: Path) -> None:
    nodes = Nodes()
    done = change(tmp_path, nodes, ["add"], WINDOW, keep=False)
    assert nodes.steps == ["add"] and done["changed"] and not done["kept"]
    assert "podnet_unfinished" not in done
    assert [name for name, _fresh in nodes.asked] == ["one", "two"]


def test_commands_are_shown_in_the_order_of_the_table(tmp_path: Path) -> None:
    """By name, whatever the order of the inventory."""
    done = change(tmp_path, Nodes(), list(PHASES), window=0, keep=True, diff=True)
    heads = [piece["prepared"].partition(":")[0] for piece in done["diff"]]
    assert heads == ["one, add", "two, add", "one, switch", "one, remove", "two, remove"]


def test_what_needs_no_confirmation_is_kept_by_its_last_phase(tmp_path: Path) -> None:
    nodes = Nodes()
    done = change(tmp_path, nodes, list(PHASES), window=0, keep=True)
    assert nodes.steps == list(PHASES) and done["kept"]
    assert done["podnet_unfinished"] == {"change": ""}


def test_a_full_disk_takes_nothing_back_once_nodes_keep_the_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save = Workspace.save_run

    def full(self: Workspace, node: str, run: dict[str, Any]) -> None:
        if run.get("ended") == "commit":
            raise OSError(28, "No space left on device")
        save(self, node, run)

    monkeypatch.setattr(Workspace, "save_run", full)
    nodes = Nodes()
    done = change(tmp_path, nodes, list(PHASES), WINDOW, keep=True)
    assert nodes.steps == list(STEPS[:5]) and not done.get("failed") and not done["kept"]


@pytest.mark.parametrize(
    "said",
    [
        "Missing sudo password",
        "sudo: a password is required",
        "podnet is not in the sudoers file.",
        "Sorry, user podnet is not allowed to execute '/bin/sh' as root on one.",
    ],
)
def test_a_user_who_cannot_become_root_is_told_both_ways(said: str) -> None:
    text = words.unreadable("one", "the answer ends too early: ''", said)
    assert text.startswith("one: the user cannot become root without a password\n    expected: ")
    assert f"    found:    {said}\n    do:       " in text
    assert "docs/least-privilege.md" in text and "--ask-become-pass" in text


def test_an_answer_that_breaks_off_is_told_as_it_is() -> None:
    text = words.unreadable("one", "the answer ends too early: ''", "sh: syntax error")
    assert text == (
        "one: the node's state cannot be read: the answer ends too early: ''. sh: syntax error"
    )
