# SPDX-License-Identifier: GPL-3.0-or-later
"""Topic `verify`: what one node's probes cost, beside fping from the same namespace.

`make bench T=verify`. The targets are addresses of one other namespace, with podnet's own probe
server behind them, so that up to 200 fit one machine; both tools take turns in each round. Then a
fleet of the lab is made from nothing, verified, and reset, some times; and its full mesh is probed
by both tools, from the real pods of all nodes at once.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

from mesh import Mesh
from spaces import Spaces
from store import REPO, Row, Store

sys.path[:0] = [str(REPO / ".ansible/collections"), str(REPO / "tests/netns")]
from ansible_collections.podnet.fabric.plugins.module_utils.places import (  # noqa: E402  path above
    run_everywhere,
)

COUNTS = (10, 50, 100, 200)
PORT, MTU = 7717, 1450
# What podnet asks of each pod: judge of "icmp" is fping, the rest has no such tool.
KINDS = ("icmp", "tcp", "udp", "mtu_pass", "mtu_exceed")
ONE_SERVER = """table inet bench {
  chain each { type nat hook prerouting priority dstnat; udp dport 7717 redirect; }
}
"""
SERVER = REPO / "plugins/module_utils/probe_server.py"


def addresses(count: int) -> dict[str, list[str]]:
    return {
        "ipv4": [f"10.66.{i // 250}.{i % 250 + 2}" for i in range(count)],
        "ipv6": [f"fd00:66::{i + 2:x}" for i in range(count)],
    }


def build(spaces: Spaces) -> None:
    """Two namespaces on one cable, a node and everybody else."""
    spaces.cable(("pod", "eth0"), ("others", "eth0"), MTU)
    every = addresses(max(COUNTS))
    spaces.batch("pod", ["addr add 10.66.255.1/16 dev eth0", "addr add fd00:66::1/64 dev eth0"])
    more = [f"addr add {a}/16 dev eth0" for a in every["ipv4"]]
    spaces.batch("others", more + [f"addr add {a}/64 dev eth0" for a in every["ipv6"]])
    # The server answers from the address that was asked only where it has one alone, as in a pod.
    spaces.inside("others", "nft", "-f", "-", given=ONE_SERVER)


def targets(count: int, kinds: tuple[str, ...]) -> list[dict[str, Any]]:
    """As the action `verify` asks for them."""
    size = {"mtu_pass": MTU, "mtu_exceed": MTU + 1}
    return [
        {
            "id": f"{kind}/{family}/here/{address}",
            "from": "a",
            "kind": kind,
            "address": address,
            "port": PORT if kind in ("tcp", "udp") else None,
            "size": size.get(kind),
        }
        for family, found in addresses(count).items()
        for address in found
        for kind in kinds
    ]


def podnet(spaces: Spaces, count: int, kinds: tuple[str, ...]) -> None:
    found = run_everywhere(targets(count, kinds), {"a": spaces.path("pod")}, 3, 1.0)
    bad = [item for item in found if not item["ok"]]
    if bad:
        raise AssertionError(f"{len(bad)} of {len(found)} probes failed, first: {bad[0]}")


def fping(spaces: Spaces, count: int) -> None:
    """Both families at the same time, as fast as fping goes; any silent address is an error."""
    running = [
        subprocess.Popen(
            spaces.command("pod", "fping", flag, "-q", "-c1", "-t1000", "-i", gap, "-r2", *found),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for flag, gap, found in (
            ("-4", "1", addresses(count)["ipv4"]),
            ("-6", "1", addresses(count)["ipv6"]),
        )
    ]
    if any([process.wait() for process in running]):  # noqa: C419  wait for all of them
        raise AssertionError("fping: not everybody answered")


def measured(work: Callable[[], None]) -> dict[str, float]:
    """Wall, and CPU of this process and its children; milliseconds."""

    def cpu() -> float:
        who = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
        used = [resource.getrusage(one) for one in who]
        return sum(one.ru_utime + one.ru_stime for one in used)

    before, began = cpu(), time.monotonic()
    work()
    wall = time.monotonic() - began
    return {"wall_ms": round(wall * 1000, 2), "cpu_ms": round((cpu() - before) * 1000, 2)}


def fleet(store: Store, nodes: int, rounds: int, whole: int) -> None:
    """A first apply, with plan and render, and the verification right after it, ``whole`` times;
    then the full mesh by both tools in turn."""
    with Mesh(nodes) as mesh:
        for number in range(whole):
            for what, work in mesh.whole().items():
                found = measured(work)
                seconds, cpu = (round(found[f"{name}_ms"] / 1000, 2) for name in ("wall", "cpu"))
                row = {"round": number, "what": what, "nodes": nodes, "seconds": seconds}
                store.add({**row, "controller_cpu": cpu})
                print(f"N={nodes} round {number} {what}: {seconds} s, CPU {cpu} s", flush=True)
            if number + 1 < whole:
                mesh.bench.playbook("podnet.fabric.reset", "-e", "podnet_yes=true")
        mesh.start()
        for number in range(-1, rounds):
            for name, work in (("fping", mesh.fping), ("podnet, icmp", mesh.podnet)):
                began = time.monotonic()
                work()
                seconds = round(time.monotonic() - began, 3)
                if number >= 0:  # the first round only makes neighbours and connections
                    store.add({"round": number, "mesh": name, "nodes": nodes, "seconds": seconds})
                    print(f"N={nodes} round {number} mesh, {name}: {seconds} s", flush=True)
        mesh.stop()


def one_pod(store: Store, rounds: int) -> None:
    """All probes of one pod to others of one namespace."""
    with Spaces("pod", "others") as spaces:
        build(spaces)
        command = [sys.executable, str(SERVER), "--port", str(PORT), "--ttl", "900"]
        server = subprocess.Popen(spaces.command("others", *command))
        try:
            time.sleep(1)
            ways: dict[str, Callable[[int], None]] = {
                "fping": lambda count: fping(spaces, count),
                "podnet, icmp": lambda count: podnet(spaces, count, ("icmp",)),
                "podnet, all": lambda count: podnet(spaces, count, KINDS),
            }
            for number in range(-1, rounds):
                for count in COUNTS:
                    for name, work in ways.items():
                        row = measured(lambda work=work, count=count: work(count))  # type: ignore[misc]
                        if number >= 0:  # the first round only warms caches and neighbours
                            store.add({"round": number, "way": name, "targets": count, **row})
        finally:
            server.terminate()
            server.wait()


def summary(rows: list[Row]) -> Any:
    """For the page. Imported late, because who only measures needs nothing that draws."""
    from summaries import SUMMARIES

    return SUMMARIES["verify"](rows)


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__)
    words.add_argument("--rounds", type=int, default=int(os.environ.get("ROUNDS") or 5))
    words.add_argument("--nodes", type=int, default=int(os.environ.get("N") or 50))
    words.add_argument("--whole", type=int, default=3, help="rounds of apply and verification")
    words.add_argument("--only", default="pod fleet", help="parts of it: pod, fleet")
    asked = words.parse_args()
    parts = asked.only.split()
    store = Store("verify", fresh=len(parts) > 1)
    if "pod" in parts:
        one_pod(store, asked.rounds)
    if "fleet" in parts:
        store.drop("nodes")
        fleet(store, asked.nodes, asked.rounds, asked.whole)


if __name__ == "__main__":
    main()
