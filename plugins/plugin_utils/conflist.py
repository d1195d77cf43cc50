# SPDX-License-Identifier: GPL-3.0-or-later
"""The CNI network configuration list of a node (CNI specification, section 1)."""

from __future__ import annotations

import json
from typing import Any

from .intent.model import Fabric, Node

DEFAULT_ROUTE = {"ipv4": "0.0.0.0/0", "ipv6": "::/0"}


def conflist(fabric: Fabric, node: Node, mtu: int) -> dict[str, Any]:
    """The list as data.

    ``isGateway`` stays false: with it the bridge plugin insists on being the only one to put
    addresses on the bridge, and refuses to add pods while an old and a new gateway are both
    there (ADR 0002). The addresses are podnet's, the default route comes from the IPAM part.
    """
    bridge: dict[str, Any] = {
        "type": "bridge",
        "bridge": fabric.bridge,
        "mtu": mtu,
        "isGateway": False,
        "ipMasq": False,
        "hairpinMode": True,
        "ipam": {
            "type": "host-local",
            "ranges": [
                [
                    {
                        "subnet": node.cidr_by_family[family],
                        "gateway": node.gateways[family],
                    }
                ]
                for family in fabric.families
            ],
            "routes": [{"dst": DEFAULT_ROUTE[family]} for family in fabric.families],
        },
    }
    return {
        "cniVersion": fabric.cni.version,
        "name": fabric.cni.network,
        "plugins": [bridge, *fabric.cni.chain],
    }


def conflist_text(fabric: Fabric, node: Node, mtu: int) -> str:
    return json.dumps(conflist(fabric, node, mtu), indent=2) + "\n"


def plugins_of(fabric: Fabric) -> tuple[str, ...]:
    """Programs that the conflist names, in the order in which they run, the IPAM plugin last."""
    chained = [str(plugin["type"]) for plugin in fabric.cni.chain]
    return tuple(dict.fromkeys(["bridge", *chained, "host-local"]))
