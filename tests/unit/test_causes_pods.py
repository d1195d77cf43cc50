# SPDX-License-Identifier: GPL-3.0-or-later
"""Why a node's probe pods are not as they should be: the conflist."""

from __future__ import annotations

import pytest
from ansible_collections.podnet.fabric.plugins.module_utils.cni import CniError, find_conflist
from ansible_collections.podnet.fabric.plugins.plugin_utils.causes.landscape import Look
from ansible_collections.podnet.fabric.plugins.plugin_utils.causes.lines import alike, cause_lines
from ansible_collections.podnet.fabric.plugins.plugin_utils.causes.own import table
from ansible_collections.podnet.fabric.plugins.plugin_utils.causes.pods import ready
from ansible_collections.podnet.fabric.plugins.plugin_utils.causes.suspects import Cause, Scene
from ansible_collections.podnet.fabric.plugins.plugin_utils.causes.walk import causes
from ansible_collections.podnet.fabric.plugins.plugin_utils.kernel.state import State
from ansible_collections.podnet.fabric.plugins.plugin_utils.node_python import answer
from ansible_collections.podnet.fabric.plugins.plugin_utils.plan import compile_fleet
from ansible_collections.podnet.fabric.plugins.plugin_utils.verdicts.observations import (
    Missing,
    Start,
    Started,
    read_start,
)
from ansible_collections.podnet.fabric.plugins.plugin_utils.verdicts.results import Result
from ansible_collections.podnet.fabric.plugins.plugin_utils.verdicts.scene import POD_A

APPLIED, NEVER = State(generation=1), State()
FABRIC = compile_fleet(
    {
        "node-1": {
            "podnet_cluster_cidrs": ["10.64.0.0/16"],
            "podnet_pod_cidrs": ["10.64.1.0/24"],
            "podnet_underlay_addresses": ["192.0.2.1"],
        }
    }
)
PATH, KEPT = "/etc/cni/net.d/10-podnet.conflist", "/etc/podnet/current/10-podnet.conflist"


@pytest.mark.parametrize(
    ("live", "pending", "found"),
    [
        ("old", "", None),
        ("new", "", "somebody changed it"),
        ("new", "waiting", None),  # a change that waits has written it, and is not the current one
        (None, "waiting", "missing"),
    ],
)
def test_a_conflist_that_differs(live: str | None, pending: str, found: str | None) -> None:
    files = {KEPT: "old"} | ({PATH: live} if live else {})
    look = Look(State(files=files, pending=pending))
    started = {"node-1": Started({}, None, ())}
    cause = ready(Scene(FABRIC, {"node-1": look}, started), "node-1")
    assert (cause.found if cause else None) == found


def failed(error: str) -> Start:
    """As a node's answer is read: the message of a pod that did not start, on one line."""
    saved = {"pods": [], "errors": [f"{POD_A}: {error}"]}
    return read_start({"observation": saved})


def cause_of(start: Start, state: State, node: str = "node-1") -> Cause:
    cause = ready(Scene(FABRIC, {node: Look(state)}, {node: start}), node)
    assert cause is not None
    return cause


def no_conflist() -> str:
    with pytest.raises(CniError) as caught:
        find_conflist("/nowhere")
    return str(caught.value)


def no_python(rc: int, stderr: str) -> Missing:
    return Missing(" ".join(str(answer(rc, "", stderr)["msg"]).split()))


def test_nodes_that_podnet_was_never_applied_to_are_one_cause() -> None:
    found = []
    for node in ("node-1", "node-2"):
        cause = cause_of(failed(no_conflist()), NEVER)
        found.append((Cause(node, *list(cause.to_dict().values())[1:]), (f"tcp/ipv4/{node}/x",)))
    assert len(alike(found)) == 1
    said = " ".join(" ".join(cause_lines(found)).split())
    assert said.startswith("CAUSE node-1, node-2: definitions of podnet (")
    assert said.endswith(
        "expected: in /etc/podnet/current found: none; podnet was not applied here "
        "repair: run podnet.fabric.site"
    )


def test_an_error_of_a_pod_keeps_its_own_remedy() -> None:
    cause = cause_of(failed(no_conflist()), APPLIED)
    assert cause.expected == "a *.conflist"
    assert cause.found.startswith("/nowhere: no CNI configuration: ")
    assert cause.repair == "run podnet.fabric.site"
    start = failed(no_conflist())
    assert isinstance(start, Started)
    assert start.said.startswith(f"{POD_A}: /nowhere: no CNI configuration: ")
    assert "do:" not in start.said
    cause = cause_of(failed("something else"), APPLIED)
    assert (cause.expected, cause.found) == ("probe pods that start", "something else")
    assert "the plugins say there" in cause.repair


@pytest.mark.parametrize(
    ("rc", "stderr"),
    [
        (127, "sh: 2: python3: not found"),
        (126, "sh: 2: /etc/passwd: Permission denied"),
        (2, "Unknown option: -I\nTry `python -h' for more information."),
        (1, "SyntaxError: future feature annotations is not defined"),
    ],
)
@pytest.mark.parametrize("state", [APPLIED, NEVER])
def test_a_node_without_python_needs_python_before_all_else(
    rc: int, stderr: str, state: State
) -> None:
    cause = cause_of(no_python(rc, stderr), state)
    assert (cause.kind, cause.object) == ("program", "python3")
    assert cause.found == f"exit code {rc}: {stderr.splitlines()[-1]}"
    assert cause.repair == (
        "install Python 3.8 or newer there (podnet.fabric.bootstrap), or correct "
        "ansible_python_interpreter"
    )


def test_a_python_that_was_ended_is_not_missing() -> None:
    assert cause_of(no_python(137, "Killed"), APPLIED).kind == "pods"


@pytest.mark.parametrize(
    ("state", "repair"),
    [(APPLIED, "podnet-node heal, or converge"), (NEVER, "run podnet.fabric.site")],
)
def test_a_table_is_healed_only_where_podnet_is(state: State, repair: str) -> None:
    scene = Scene(FABRIC, {"node-1": Look(state)}, {})
    assert [cause.repair for cause in table(scene, "node-1")] == [repair]


def test_what_was_not_asked_of_the_outside_has_the_cause_of_the_pods() -> None:
    start = failed(no_conflist())
    scene = Scene(FABRIC, {"node-1": Look(NEVER)}, {"node-1": start})
    way = ("outside", "ipv4", "node-1", "x")
    result = Result("/".join(way), 1, *way, None, "error", "an answer", "no pod")
    ((cause, ids),) = causes(scene, [result])
    assert (cause.kind, ids) == ("definitions", (result.id,))
