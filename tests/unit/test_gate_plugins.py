# SPDX-License-Identifier: GPL-3.0-or-later
"""What a run says of CNI plugins that a node lacks."""

from __future__ import annotations

from dataclasses import asdict

from ansible_collections.podnet.fabric.plugins.plugin_utils.fleet.gate import Ask, decide
from ansible_collections.podnet.fabric.plugins.plugin_utils.intent.problems import Problem
from ansible_collections.podnet.fabric.plugins.plugin_utils.preflight import PLUGINS_MISSING
from test_gate import made, runs


def test_missing_plugins_are_a_problem_unless_they_are_installed() -> None:
    from ansible_collections.podnet.fabric.plugins.plugin_utils.preflight import PLUGINS_MISSING

    problem = Problem("node-1", PLUGINS_MISSING, "bridge", "none", "install")
    found = runs()
    found["node-1"].update(missing_plugins=["bridge"], problems=[asdict(problem)])
    decision = decide(made(), found, Ask())
    assert decision.problems == (problem,) and decision.batches == ()
    decision = decide(made(), found, Ask(install=True))
    assert decision.problems == () and decision.missing == ("node-1",)


def test_plugins_that_an_installation_has_not_brought_are_not_to_be_installed_again() -> None:
    remedy = "let podnet install them (podnet_cni_install: package), or name the right folder"
    problem = Problem("node-1", PLUGINS_MISSING, "bridge", "none", remedy)
    found = runs()
    found["node-1"].update(missing_plugins=["bridge"], problems=[asdict(problem)])
    (said,) = decide(made(), found, Ask(tried=frozenset({"node-1"}))).problems
    assert "let podnet install" not in said.remedy
    assert "reinstall the package" in said.remedy and "podnet_cni_bin_dir" in said.remedy
    (said,) = decide(made(), found, Ask(tried=frozenset({"node-2"}))).problems
    assert said.remedy == remedy
