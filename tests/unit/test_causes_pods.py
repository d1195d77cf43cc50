# SPDX-License-Identifier: GPL-3.0-or-later
"""Why a node's probe pods are not as they should be: the conflist."""

from __future__ import annotations

import pytest
from ansible_collections.podnet.fabric.plugins.plugin_utils.causes.landscape import Look
from ansible_collections.podnet.fabric.plugins.plugin_utils.causes.pods import ready
from ansible_collections.podnet.fabric.plugins.plugin_utils.causes.suspects import Scene
from ansible_collections.podnet.fabric.plugins.plugin_utils.kernel.state import State
from ansible_collections.podnet.fabric.plugins.plugin_utils.plan import compile_fleet
from ansible_collections.podnet.fabric.plugins.plugin_utils.verdicts.observations import Started

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
