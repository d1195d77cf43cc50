# SPDX-License-Identifier: GPL-3.0-or-later
"""A fleet in mode bgp on paper: four nodes, two of which reflect, and what their FRR says."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ansible_collections.podnet.fabric.plugins.plugin_utils.bgp import PASSWORD
from ansible_collections.podnet.fabric.plugins.plugin_utils.causes.suspects import Scene
from ansible_collections.podnet.fabric.plugins.plugin_utils.intent.model import Fabric
from ansible_collections.podnet.fabric.plugins.plugin_utils.plan import compile_fleet, plan_node
from ansible_collections.podnet.fabric.plugins.plugin_utils.render import render_node
from ansible_collections.podnet.fabric.plugins.plugin_utils.speakers.heard import (
    DAEMONS,
    Heard,
    Path,
    Peer,
    conf_of,
)
from ansible_collections.podnet.fabric.plugins.plugin_utils.speakers.look import PLANNED
from ansible_collections.podnet.fabric.plugins.plugin_utils.speakers.wanted import sessions
from ansible_collections.podnet.fabric.plugins.plugin_utils.workspace import templates

NAMES = ("node-1", "node-2", "node-3", "node-4")
ESTABLISHED = "Established"


def speaking_fleet(**variables: Any) -> Fabric:
    return compile_fleet(
        {
            name: {
                "podnet_mode": "bgp",
                "podnet_cluster_cidrs": ["10.64.0.0/16", "fd00:64::/48"],
                "podnet_pod_cidrs": [f"10.64.{i}.0/24", f"fd00:64:0:{i}::/64"],
                "podnet_underlay_addresses": [f"192.0.2.1{i}", f"2001:db8:a::1{i}"],
                "podnet_bgp_reflector": i <= 2,
                "podnet_bgp_password": "tell-nobody",
                "podnet_bgp_listen_ranges": ["192.0.2.0/24", "2001:db8:a::/64"],
                **variables,
            }
            for i, name in enumerate(NAMES, 1)
        }
    )


def configuration(fabric: Fabric, name: str) -> str:
    """The planned text with the mark of the planned password, as a node shows it."""
    text = render_node(fabric, plan_node(fabric, name), templates())["frr.conf"]
    return text.replace(PASSWORD, PLANNED)


def healthy(fabric: Fabric) -> dict[str, Heard]:
    """FRR of every node when all is as planned."""
    heard = {}
    for name in NAMES:
        plan = plan_node(fabric, name)
        conf = conf_of(configuration(fabric, name))
        wanted = sessions(fabric, plan)
        paths = {
            route.dst: tuple(Path(session.address, route.via) for session in wanted)
            for route in plan.learned
        }
        heard[name] = Heard(
            frozenset(DAEMONS),
            {s.address: Peer(ESTABLISHED, s.asn) for s in wanted},
            {route.dst: (route.via,) for route in plan.learned},
            conf,
            conf,
            {**paths, **{cidr: (Path("", ""),) for cidr in plan.node.pod_cidrs}},
        )
    return heard


class Told:
    """The fleet's FRR, with a few ways to spoil it."""

    def __init__(self) -> None:
        self.fabric = speaking_fleet()
        self.heard = healthy(self.fabric)

    def scene(self) -> Scene:
        return Scene(self.fabric, {}, {}, heard=self.heard)

    def change(self, name: str, **changes: Any) -> Told:
        self.heard[name] = replace(self.heard[name], **changes)
        return self

    def configure(self, name: str, old: str, new: str) -> Told:
        """Another running configuration; the file stays as it is."""
        text = configuration(self.fabric, name)
        assert old in text, text
        return self.change(name, running=conf_of(text.replace(old, new)))

    def end_session(self, one: str, two: str, state: str = "Active") -> Told:
        """The IPv4 one, at both ends."""
        for name, other in ((one, two), (two, one)):
            known = self.heard[name].sessions
            address = self.fabric.by_name[other].underlay["ipv4"]
            peer = Peer(state, known[address].asn)
            self.change(name, sessions={**known, address: peer})
        return self

    def forget(self, name: str, *prefixes: str, paths: bool = True) -> Told:
        """A node has not learned these, nor has its bgpd, unless ``paths`` is false."""
        heard = self.heard[name]
        learned = {dst: hops for dst, hops in heard.learned.items() if dst not in prefixes}
        known = {dst: p for dst, p in (heard.paths or {}).items() if dst not in prefixes}
        return self.change(name, learned=learned, paths=known if paths else heard.paths)

    def learn(self, name: str, dst: str, *hops: str) -> Told:
        """A node has learned this one so."""
        return self.change(name, learned={**self.heard[name].learned, dst: hops})
