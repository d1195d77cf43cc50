# SPDX-License-Identifier: GPL-3.0-or-later
"""Observations of a fleet that exists on paper only: healthy ones, and ways to spoil them."""

from __future__ import annotations

import copy
import ipaddress
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ansible_collections.podnet.fabric.plugins.plugin_utils.intent.model import (
    FAMILIES,
    Fabric,
    Family,
)
from ansible_collections.podnet.fabric.plugins.plugin_utils.plan import compile_fleet, pod_mtu
from ansible_collections.podnet.fabric.plugins.plugin_utils.verdicts.checks import (
    leaves_masqueraded,
    targets_of,
)
from ansible_collections.podnet.fabric.plugins.plugin_utils.verdicts.judge import judge
from ansible_collections.podnet.fabric.plugins.plugin_utils.verdicts.observations import (
    read_probes,
    read_start,
)
from ansible_collections.podnet.fabric.plugins.plugin_utils.verdicts.results import Result
from ansible_collections.podnet.fabric.plugins.plugin_utils.verdicts.scene import (
    POD_A,
    POD_B,
    Run,
    Scene,
)
from ansible_collections.podnet.fabric.plugins.plugin_utils.verdicts.summary import summary

CLUSTER: dict[Family, str] = {"ipv4": "10.64.0.0/15", "ipv6": "fd00:64::/48"}
OUTSIDE = (("203.0.113.10", 7717), ("2001:db8:ffff::10", 7717))


def fabric_of(
    sizes: tuple[int, ...] = (3, 2),
    families: tuple[Family, ...] = FAMILIES,
    **variables: Any,
) -> Fabric:
    """A fleet; one number of nodes per segment."""
    hosts: dict[str, dict[str, Any]] = {}
    for segment, size in enumerate(sizes):
        for position in range(size):
            number = len(hosts) + 1
            pods = {
                "ipv4": f"10.{64 + number // 256}.{number % 256}.0/24",
                "ipv6": f"fd00:64:0:{number:x}::/64",
            }
            hosts[f"node-{number:02}"] = {
                "podnet_cluster_cidrs": [CLUSTER[family] for family in families],
                "podnet_pod_cidrs": [pods[family] for family in families],
                "podnet_underlay_addresses": [
                    f"192.0.{segment + 2}.{position + 11}",
                    f"2001:db8:{segment + 10:x}::{position + 11:x}",
                ],
                "podnet_segment": f"rack-{chr(ord('a') + segment)}",
                **variables,
            }
    return compile_fleet(hosts)


@dataclass
class Observed:
    """Raw observations as the nodes' modules give them; tests change them in place."""

    fabric: Fabric
    run: Run
    start: dict[str, Any]
    probe: dict[str, Any]

    def scene(self) -> Scene:
        started = {name: read_start(self.start.get(name)) for name in self.run.asked}
        return Scene(self.fabric, self.run, started)

    def probed(self) -> dict[str, Any]:
        return {name: read_probes(self.probe.get(name)) for name in self.run.asked}

    def judge(self) -> list[Result]:
        return judge(self.scene(), self.probed())

    def copy(self) -> Observed:
        return Observed(self.fabric, self.run, copy.deepcopy(self.start), copy.deepcopy(self.probe))

    def saved(self) -> dict[str, Any]:
        """As the action `verify` saves it for the report."""
        results, scene = self.judge(), self.scene()
        pods = {name: getattr(scene.start(name), "pods", {}) for name in self.run.asked}
        return {
            "schema": 1,
            "began": "2026-11-23T10:14:02+00:00",
            "ended": "2026-11-23T10:14:31+00:00",
            "run": {"asked": list(self.run.asked), "port": self.run.port},
            "summary": summary(scene, self.probed(), results),
            "fabric": self.fabric.to_dict(),
            "pods": {
                name: {pod.name: dict(pod.addresses) for pod in found.values()}
                for name, found in pods.items()
            },
            "results": [result.to_dict() for result in results],
        }

    def spoil(self, which: Callable[[str, dict[str, Any]], bool], **changes: Any) -> Observed:
        """Change every answer that ``which(node, probe)`` chooses."""
        for node, saved in self.probe.items():
            for answer in saved.get("probes", ()):
                if which(node, answer):
                    answer.update(changes)
        return self

    def lose(self, which: Callable[[str, dict[str, Any]], bool]) -> Observed:
        """Nothing comes back; of packets that are too large nothing should."""
        nothing = {"source_seen": None, "rtt_us": None, "attempts": 3, "error": "no answer"}
        self.spoil(which, ok=False, **nothing)
        return self.spoil(lambda n, a: which(n, a) and a["id"].startswith("mtu_exceed/"), ok=True)

    def cut(self, first: str, second: str) -> Observed:
        """No packet between two nodes, either way."""
        ends = {f"{first}/{second}", f"{second}/{first}"}
        return self.lose(lambda _node, answer: answer["id"].split("/", 2)[2] in ends)

    def unreachable(self, node: str, reason: str = "connection timed out") -> Observed:
        """Ansible cannot reach a node, so that it neither starts nor probes."""
        self.start[node] = {"error": reason, "unreachable": True}
        self.probe.pop(node, None)
        return self

    def down(self, node: str) -> Observed:
        """A node that was there when the pods were started, and is gone when they are probed."""
        self.probe[node] = {"error": "connection timed out", "unreachable": True}
        return self.lose(lambda _node, answer: answer["id"].endswith(f"/{node}"))


def healthy(fabric: Fabric, run: Run | None = None) -> Observed:
    """What a fleet reports when everything holds."""
    run = run or Run(tuple(node.name for node in fabric.nodes), outside=OUTSIDE)
    start = {
        node.name: {"observation": _observation(fabric, node.name)}
        for node in fabric.nodes
        if node.name in run.asked
    }
    observed = Observed(fabric, run, start, {})
    scene = observed.scene()
    observed.probe = {
        name: {"probes": [_answer(fabric, name, start, t) for t in targets_of(scene, name)]}
        for name in start
    }
    return observed


def _observation(fabric: Fabric, name: str) -> dict[str, Any]:
    pods = [_pod(fabric, name, pod, 5 + i) for i, pod in enumerate((POD_A, POD_B))]
    same = {"addresses": pods[0]["addresses"], "mac": pods[0]["mac"]}
    return {
        "node": name,
        "pods": pods,
        "restart": {
            "container": "sleeper",
            "before": {**same, "pid": 4242},
            "after": {**same, "pid": 4311},
        },
        "errors": [],
    }


def _pod(fabric: Fabric, name: str, pod: str, host: int) -> dict[str, Any]:
    node = fabric.by_name[name]
    number = fabric.nodes.index(node)
    mac = f"0a:58:00:{number >> 8:02x}:{number & 255:02x}:{host:02x}"
    addresses = {
        family: str(ipaddress.ip_network(node.cidr_by_family[family])[host])
        for family in FAMILIES
        if family in node.cidr_by_family
    }
    lengths = {family: node.cidr_by_family[family].partition("/")[2] for family in addresses}
    interface = {
        "name": "eth0",
        "mac": mac,
        "mtu": pod_mtu(fabric),
        "addresses": [f"{addresses[family]}/{lengths[family]}" for family in addresses],
    }
    return {
        "name": pod,
        "addresses": addresses,
        "mtu": pod_mtu(fabric),
        "mac": mac,
        "containers": [
            {
                "name": container,
                "pid": 4000 + index,
                "netns": 4026530000 + host,
                "interfaces": [
                    {"name": "lo", "mac": "00:00:00:00:00:00", "mtu": 65536, "addresses": []},
                    dict(interface),
                ],
            }
            for index, container in enumerate(("infra", "server", "sleeper"))
        ],
    }


def _answer(
    fabric: Fabric, name: str, start: dict[str, Any], target: dict[str, Any]
) -> dict[str, Any]:
    """The answer of a healthy network to one probe."""
    family = "ipv6" if ":" in target["address"] else "ipv4"
    own = start[name]["observation"]["pods"][0]["addresses"][family]
    outside = target["id"].startswith("outside/")
    if outside and leaves_masqueraded(fabric, target["address"]):
        own = fabric.by_name[name].underlay[family]
    large = target["kind"] == "mtu_exceed"
    far = target["id"].split("/")[2] != target["id"].split("/")[3]
    # Stable from run to run, and not all alike.
    jitter = sum(target["id"].encode()) % 60
    return {
        "id": target["id"],
        "ok": True,
        "source_seen": own if target["kind"] in ("tcp", "udp") else None,
        "rtt_us": None if large else (260 if far else 90) + jitter,
        "attempts": 1,
        "error": "refused by the sending interface" if large else None,
        "looked": True,
    }
