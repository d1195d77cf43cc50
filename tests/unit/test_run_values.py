# SPDX-License-Identifier: GPL-3.0-or-later
"""Variables that say how to run are checked before a node is touched."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.podnet.fabric.plugins.plugin_utils.intent.run_values import (
    CHECKED,
    OUTSIDE,
    run_problems,
)
from ansible_collections.podnet.fabric.plugins.plugin_utils.intent.tool_keys import TOOL_KEYS

HOST = {"address": "203.0.113.10", "port": 443}


def test_every_name_is_a_variable_of_the_collection() -> None:
    assert set(CHECKED) <= set(TOOL_KEYS)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("podnet_confirm_seconds", 60),
        ("podnet_confirm_seconds", "60"),
        ("podnet_confirm_seconds", 0),
        ("podnet_heal_seconds", 0),
        ("podnet_cni_install", "none"),
        ("podnet_canary", ["worker-1"]),
        ("podnet_canary", "worker-1,worker-2"),
        ("podnet_canary", []),
        (OUTSIDE, [HOST, {"address": "2001:db8::1", "port": "80"}]),
        (OUTSIDE, []),
    ],
)
def test_what_the_roles_take_passes(name: str, value: Any) -> None:
    assert list(run_problems({name: value})) == []


@pytest.mark.parametrize(
    ("name", "value", "where"),
    [
        ("podnet_confirm_seconds", "soon", None),
        ("podnet_confirm_seconds", -5, None),
        ("podnet_confirm_seconds", "²", None),
        ("podnet_verify_attempts", 0, None),
        ("podnet_confirm_seconds", True, None),
        ("podnet_confirm_seconds", 1.5, None),
        ("podnet_heal_seconds", "often", None),
        ("podnet_generations_kept", -1, None),
        ("podnet_verify_port", 65536, None),
        ("podnet_cni_install", "apt", None),
        ("podnet_canary", '["worker-1"]', None),
        ("podnet_lost_nodes", {"worker-1": 1}, None),
        (OUTSIDE, "203.0.113.10", None),
        (OUTSIDE, [HOST, "203.0.113.10"], f"{OUTSIDE}[1]"),
        (OUTSIDE, [{"address": "nowhere", "port": 1}], f"{OUTSIDE}[0]"),
        (OUTSIDE, [{"address": "203.0.113.10", "port": 0}], f"{OUTSIDE}[0]"),
        (OUTSIDE, [{"address": "203.0.113.10", "port": 44.3}], f"{OUTSIDE}[0]"),
    ],
)
def test_what_no_role_can_take_is_one_problem(name: str, value: Any, where: str | None) -> None:
    (problem,) = run_problems({name: value})
    assert problem.where == (where or name)
    assert all((problem.what, problem.expected, problem.found, problem.remedy))


def test_a_number_out_of_range_is_not_said_to_be_none() -> None:
    (problem,) = run_problems({"podnet_confirm_seconds": -5})
    assert (problem.what, problem.found) == ("out of range", "-5")


def test_all_are_said_at_once() -> None:
    wrong = {"podnet_confirm_seconds": "soon", "podnet_cni_install": "apt", OUTSIDE: {}}
    assert len(list(run_problems(wrong))) == 3
