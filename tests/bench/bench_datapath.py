# SPDX-License-Identifier: GPL-3.0-or-later
"""Topic `datapath`: packets between podnet's pods, and between pods wired by hand with `ip`.

`make bench T=datapath`. Four labs of the same inventory: one converged as podnet does by default,
with its protections; one where connections between pods are not tracked, beside that the same; one
with variables that take away whatever podnet does beside connecting pods;
in the last the same paths by hand, and nothing else, or with masquerading, which every pod network
needs to reach the outside and which brings the kernel's connection tracking. By hand is measured
twice, so that the page shows what the noise is. iperf3 for throughput and the CPU time of its two
ends, in which the kernel carries the packets, qperf for round trips; all take turns. Then podnet's
pods with more and more routes on their nodes. About eight minutes in five rounds.
"""

from __future__ import annotations

import argparse
import ipaddress
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from store import REPO, Row, Store

sys.path[:0] = [str(REPO / ".ansible/collections"), str(REPO / "tests/netns")]
from fleet import Fleet, Spec  # noqa: E402  path above

SEGMENTS = {"rack-a": 2, "rack-b": 1}
SPEC = Spec(segments=SEGMENTS)
WIRES = Spec(
    segments=SEGMENTS,
    extra={
        "podnet_masquerade": [],
        "podnet_pod_identity": "any",
        "podnet_pod_sources": "any",
        "podnet_vxlan_from": "anyone",
    },
)
UNTRACKED = Spec(segments=SEGMENTS, extra={"podnet_pod_tracking": "outside"})
MTU, VNI = 1450, 77  # what podnet gives pods here; by hand it is the same
# Path → (node of the client, node of the server).
PATHS = {
    "same node": ("node-1", "node-1"),
    "routed": ("node-1", "node-2"),
    "VXLAN": ("node-1", "node-3"),
}
FILLED = (10, 1000, 10000)
PODNET = {
    "podnet": SPEC,
    "podnet, pods not tracked": UNTRACKED,
    "podnet, wires alone": WIRES,
}
WIRINGS = {
    "ipv4": (*PODNET, "by hand", "by hand again", "by hand, masquerading"),
    "ipv6": (*PODNET, "by hand"),
}
MASQUERADE = """table ip hand {
  chain out {
    type nat hook postrouting priority srcnat;
    ip saddr 10.64.0.0/16 ip daddr != 10.64.0.0/16 masquerade
  }
}"""


class Side:
    """One lab. ``netns`` of a pod by its name, ``addresses`` by (node, pod)."""

    def __init__(self, fleet: Fleet) -> None:
        self.fleet = fleet
        self.addresses: dict[tuple[str, str], dict[str, str]] = {}
        self.netns = "/run/netns/{}"

    def inside(self, node: str, pod: str, command: str) -> str:
        return self.fleet.ssh(node, f"nsenter --net={self.netns.format(pod)} {command}")

    def serve(self) -> None:
        """Servers in every second pod; they go with the lab."""
        for node in self.fleet.nodes:
            self.inside(
                node, "b", "sh -c 'iperf3 -s -D; setsid qperf >/dev/null 2>&1 </dev/null &'"
            )

    def throughput(self, path: str, family: str, seconds: int) -> dict[str, float]:
        """Of one TCP stream: Gbit/s, and seconds of CPU for a GB, both ends and all between."""
        client, server = PATHS[path]
        to = self.addresses[server, "b"][family]
        # Congestion control that paces what it sends would be measured itself.
        answer = json.loads(self.inside(client, "a", f"iperf3 -J -C cubic -t {seconds} -c {to}"))
        end = answer["end"]
        spent = end["cpu_utilization_percent"]
        busy = (spent["host_total"] + spent["remote_total"]) / 100 * end["sum_received"]["seconds"]
        return {
            "gbit": round(end["sum_received"]["bits_per_second"] / 1e9, 4),
            "cpu_s_per_gb": round(busy / (end["sum_received"]["bytes"] / 1e9), 4),
        }

    def round_trip(self, path: str, family: str, seconds: int, more: str = "") -> float:
        """Microseconds from request to answer over TCP, one byte each way; ``more`` for qperf."""
        client, server = PATHS[path]
        to = self.addresses[server, "b"][family]
        lines = self.inside(client, "a", f"qperf -u {more} -t {seconds} {to} tcp_lat").split()
        value, unit = float(lines[lines.index("=") + 1]), lines[lines.index("=") + 2]
        # qperf tells the latency of one way.
        return round(2 * value * {"ns": 1e-3, "us": 1, "ms": 1e3}[unit], 3)


class Podnet(Side):
    def build(self) -> None:
        self.netns = "/run/podnet/netns/{}"
        self.fleet.play("converge", check=True)
        for node in self.fleet.nodes:
            for pod in ("a", "b"):
                made = self.fleet.module(node, "podnet.fabric.pod", {"name": pod})
                self.addresses[node, pod] = made["pod"]["addresses"]

    def fill(self, node: str, count: int) -> None:
        """Routes of a large fleet, beside those that are used."""
        peer = next(other for other in PATHS["routed"] if other != node)
        via = self.fleet.data["podnet"]["hosts"][peer]["podnet_underlay_addresses"][0]
        line = f'"route replace 100.%d.%d.0/24 via {via}\\n", 64 + $1 / 256, $1 % 256'
        self.fleet.ssh(node, f"seq 0 {count - 1} | awk '{{ printf {line} }}' | ip -batch -")


class ByHand(Side):
    """What somebody who knows the kernel types for these three nodes, and no more."""

    def masquerade(self, on: bool) -> None:
        for node in self.fleet.nodes:
            load = f"nft -f - <<'END'\n{MASQUERADE}\nEND"
            self.fleet.ssh(node, load if on else "nft delete table ip hand")

    def build(self) -> None:
        hosts = self.fleet.data["podnet"]["hosts"]
        for number, (node, own) in enumerate(hosts.items(), 1):
            self.fleet.ssh(node, "\n".join(["set -e", *self.lines(number, node, own, hosts)]))

    def lines(
        self, number: int, node: str, own: dict[str, Any], hosts: dict[str, Any]
    ) -> list[str]:
        v4, v6 = (ipaddress.ip_network(text) for text in own["podnet_pod_cidrs"])
        lines = [
            "sysctl -q -w net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1",
            f"ip link add hand0 mtu {MTU} type bridge",
            "ip link set hand0 up",
            f"ip addr add {v4[1]}/24 dev hand0; ip addr add {v6[1]}/64 dev hand0 nodad",
            f"ip link add hand77 address {mac(number)} mtu {MTU} type vxlan id {VNI} dstport 4789 "
            f"local {own['podnet_underlay_addresses'][0]} nolearning",
            "ip link set hand77 up",
        ]
        for index, pod in enumerate(("a", "b"), 2):
            lines += pod_lines(pod, str(v4[index]), str(v6[index]), str(v4[1]), str(v6[1]))
            self.addresses[node, pod] = {"ipv4": str(v4[index]), "ipv6": str(v6[index])}
        for there, (peer, other) in enumerate(hosts.items(), 1):
            if peer != node:
                near = own["podnet_segment"] == other["podnet_segment"]
                lines += near_lines(other) if near else far_lines(there, other)
        return lines


def mac(number: int) -> str:
    return f"02:77:00:00:00:{number:02x}"


def pod_lines(pod: str, v4: str, v6: str, gate4: str, gate6: str) -> list[str]:
    return [
        f"ip netns add {pod}",
        f"ip link add hand-{pod} mtu {MTU} type veth peer name eth0 mtu {MTU} netns {pod}",
        f"ip link set hand-{pod} master hand0 up",
        f"ip -n {pod} link set lo up; ip -n {pod} link set eth0 up",
        f"ip -n {pod} addr add {v4}/24 dev eth0; ip -n {pod} addr add {v6}/64 dev eth0 nodad",
        f"ip -n {pod} route add default via {gate4}; ip -n {pod} route add default via {gate6}",
    ]


def near_lines(peer: dict[str, Any]) -> list[str]:
    found = zip(peer["podnet_pod_cidrs"], peer["podnet_underlay_addresses"], strict=True)
    return [f"ip route add {cidr} via {hop}" for cidr, hop in found]


def far_lines(number: int, peer: dict[str, Any]) -> list[str]:
    v4, v6 = (ipaddress.ip_network(text) for text in peer["podnet_pod_cidrs"])
    lines = [
        f"bridge fdb append {mac(number)} dev hand77 dst {peer['podnet_underlay_addresses'][0]}"
    ]
    for cidr in (v4, v6):
        lines.append(f"ip neigh add {cidr[1]} lladdr {mac(number)} dev hand77 nud permanent")
        lines.append(f"ip route add {cidr} via {cidr[1]} dev hand77 onlink")
    return lines


def measured(side: Side, path: str, family: str, seconds: int) -> dict[str, float]:
    return {
        **side.throughput(path, family, seconds),
        "round_trip_us": side.round_trip(path, family, seconds),
    }


def turns(rounds: int) -> Iterator[Row]:
    """What is to be measured, one after the other; no wiring is always the first after another."""
    for number in range(rounds):
        for path in PATHS:
            for family, wirings in WIRINGS.items():
                first = number % len(wirings)
                for wiring in wirings[first:] + wirings[:first]:
                    yield {"round": number, "path": path, "family": family, "wiring": wiring}


@contextmanager
def wired(sides: dict[str, Podnet], hand: ByHand, wiring: str) -> Iterator[Side]:
    """The lab of a wiring, as it is to be measured."""
    if "masquerading" not in wiring:
        yield sides.get(wiring, hand)
        return
    hand.masquerade(True)
    try:
        yield hand
    finally:
        hand.masquerade(False)


@contextmanager
def labs() -> Iterator[tuple[dict[str, Podnet], ByHand]]:
    """One of each wiring of podnet, and one that is wired by hand, with servers in their pods."""
    with tempfile.TemporaryDirectory() as name, ExitStack() as up:
        fleets = []
        for number, spec in enumerate((*PODNET.values(), SPEC)):
            folder = Path(name) / str(number)
            folder.mkdir()
            fleets.append(up.enter_context(Fleet(folder, spec, f"bench-{number}-{os.getpid()}")))
        sides = dict(zip(PODNET, map(Podnet, fleets), strict=False))
        hand = ByHand(fleets[-1])
        for side in (*sides.values(), hand):
            side.build()
            side.serve()
        yield sides, hand


def summary(rows: list[Row]) -> Any:
    """For the page. Imported late, because who only measures needs nothing that draws."""
    from summaries import SUMMARIES

    return SUMMARIES["datapath"](rows)


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__)
    words.add_argument("--rounds", type=int, default=int(os.environ.get("ROUNDS") or 5))
    words.add_argument("--seconds", type=int, default=1)
    asked = words.parse_args()
    store = Store("datapath", fresh=True)
    with labs() as (sides, hand):
        for row in turns(asked.rounds):
            with wired(sides, hand, row["wiring"]) as side:
                found = measured(side, row["path"], row["family"], asked.seconds)
            store.add({**row, **found})
        filled(store, sides["podnet"], asked.rounds, asked.seconds)


def filled(store: Store, side: Podnet, rounds: int, seconds: int) -> None:
    """Rounds within a size: what was installed is not taken away in between."""
    for count in FILLED:
        for node in PATHS["routed"]:
            side.fill(node, count)
        for number in range(rounds):
            found = measured(side, "routed", "ipv4", seconds)
            store.add(
                {"round": number, "path": "routed", "family": "ipv4", "routes": count, **found}
            )


if __name__ == "__main__":
    try:
        main()
    except subprocess.CalledProcessError as error:
        sys.exit(f"{error}\n{error.stderr or ''}")
