# SPDX-License-Identifier: GPL-3.0-or-later
"""Fabric → the inventory variables that give it; what `parse_fabric` reads, the other way round."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .model import BgpPeer, Fabric, Node
from .problems import PREFIX
from .schema import FLEET_KEYS, NODE_KEYS

# Checked when an inventory is read, and no part of the network: a fleet does not remember them.
# The node table and what was allocated are other forms of the node variables, the runtime of the
# CNI folders.
NOT_KEPT = (
    "podnet_runtime",
    "podnet_node_prefix_lengths",
    "podnet_service_cidrs",
    "podnet_host_cidrs",
    "podnet_nodes",
    "podnet_allocated",
)
# What one mode alone uses is kept where it says something.
BGP_DEFAULTS = {
    name: key.default
    for name, key in (
        *((key.name, key) for key in FLEET_KEYS),
        *((PREFIX + key.name, key) for key in NODE_KEYS),
    )
    if name.startswith("podnet_bgp_")
}
NODE_VARIABLES = tuple(PREFIX + key.name for key in NODE_KEYS)


def variables_of(fabric: Fabric, node: Node) -> dict[str, Any]:
    """Every variable of a node as a host of the inventory would have it, fleet variables first.
    Plain data; variables that are computed when left out are left out."""
    found = {key.name: _fleet_value(fabric, key.name) for key in FLEET_KEYS}
    found |= {PREFIX + key.name: getattr(node, key.name) for key in NODE_KEYS}
    found |= {name: None for name, default in BGP_DEFAULTS.items() if found[name] == default}
    return {name: _plain(value) for name, value in found.items() if value is not None}


def _fleet_value(fabric: Fabric, name: str) -> Any:
    if name in NOT_KEPT:
        return None
    attribute = name.removeprefix(PREFIX)
    if attribute.startswith("cni_"):
        return getattr(fabric.cni, attribute.removeprefix("cni_"))
    return getattr(fabric, attribute)


def _plain(value: Any) -> Any:
    if isinstance(value, BgpPeer):
        return {"address": value.address, "asn": value.asn}
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, tuple | list) else value
