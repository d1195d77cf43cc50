# SPDX-License-Identifier: GPL-3.0-or-later
"""Fleet → which protections its nodes have, for the report. Pure.

Each is a part of the nftables definitions of every node; `status` and `drift` say where one of
them is not loaded, tests/netns/test_strangers.py shows what each keeps out.
"""

from __future__ import annotations

from typing import Any

from ..intent.model import Fabric
from ..peers import overlay_overhead


def protections(fabric: Fabric) -> list[dict[str, Any]]:
    """``state``: on, off, or unused where there is nothing to protect."""
    overlay = bool(overlay_overhead(fabric))
    ports = ", ".join(fabric.pods_to_node_ports) or "no port"
    node = {
        "allow": "every service of a node is open to pods",
        "established": f"pods may answer a node, and reach {ports} of it",
        "deny": f"pods reach {ports} of a node",
    }[fabric.pods_to_node]
    return [
        _one(
            "podnet_vxlan_from",
            fabric.vxlan_from,
            fabric.vxlan_from == "fleet" if overlay else None,
            "encapsulated packets are taken from the underlay addresses of the fleet only",
        ),
        _one(
            "podnet_pod_sources",
            fabric.pod_sources,
            fabric.pod_sources == "own_ranges",
            "pods send from their node's pod CIDRs only, and never as the node",
        ),
        _one(
            "podnet_pod_identity",
            fabric.pod_identity,
            fabric.pod_identity == "bound",
            "a pod keeps the MAC and the addresses that it used first",
        ),
        _one("podnet_pods_to_node", fabric.pods_to_node, fabric.pods_to_node != "allow", node),
    ]


def _one(variable: str, value: str, on: bool | None, text: str) -> dict[str, Any]:
    state = "unused" if on is None else "on" if on else "off"
    return {"variable": variable, "value": value, "state": state, "text": text}
