# SPDX-License-Identifier: GPL-3.0-or-later
"""Which variables of a host are podnet's: also those that were meant to be."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.podnet.fabric.plugins.plugin_utils.intent.hosts import host_variables
from ansible_collections.podnet.fabric.plugins.plugin_utils.intent.problems import ProblemsError
from ansible_collections.podnet.fabric.plugins.plugin_utils.plan import compile_fleet

FLEET = {
    "podnet_cluster_cidrs": ["10.64.0.0/16"],
    "podnet_pod_cidrs": ["10.64.1.0/24"],
    "podnet_underlay_addresses": ["192.0.2.1"],
}


class HostVars(dict[str, dict[str, Any]]):
    """As Ansible has them, where no value is a template."""

    def raw_get(self, host: str) -> dict[str, Any]:
        return self[host]


def read(**more: Any) -> dict[str, dict[str, Any]]:
    variables = {"hostvars": HostVars(n={**FLEET, **more}), "groups": {"podnet": ["n"]}}
    return host_variables(variables, "podnet").variables


@pytest.mark.parametrize(
    "name", ["podent_segment", "podnet-segment", "Podnet_segment", "podne_mtu"]
)
def test_a_misspelt_prefix_is_refused(name: str) -> None:
    with pytest.raises(ProblemsError) as refused:
        compile_fleet(read(**{name: "rack-b"}))
    (problem,) = refused.value.problems
    assert name in str(problem) and "did you mean podnet_" in problem.remedy


@pytest.mark.parametrize(
    "name",
    ["podman_segment", "segment", "pod_cidrs", "podnets_own", "ansible_mtu", "rack_segment"],
)
def test_what_others_have_is_left_alone(name: str) -> None:
    assert name not in read(**{name: "x"})["n"]
