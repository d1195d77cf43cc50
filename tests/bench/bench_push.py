# SPDX-License-Identifier: GPL-3.0-or-later
"""Topic `push`, for docs/sizing.md: what a push costs on both sides at N nodes: the controller's
work for one of them, and that node's kernel, in a network namespace. `make bench T=push`.

Each measurement is a process of its own: `bench_push.py NODES MODE` prints one row as JSON.
"""

from __future__ import annotations

import gc
import ipaddress
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / ".ansible/collections"))

from ansible_collections.podnet.fabric.plugins.plugin_utils import node as node_room
from ansible_collections.podnet.fabric.plugins.plugin_utils.intent.model import Fabric
from ansible_collections.podnet.fabric.plugins.plugin_utils.plan import (
    NodePlan,
    compile_fleet,
    plan_fleet,
)
from ansible_collections.podnet.fabric.plugins.plugin_utils.render import render_node
from ansible_collections.podnet.fabric.plugins.plugin_utils.settle import settle
from ansible_collections.podnet.fabric.plugins.plugin_utils.workspace import templates
from sizing import FLEETS, MODES, measure

NAME = "node-1"
MANY = 20  # nodes that are rendered
UNDERLAY = """link add eth0 type veth peer name wire
link set dev wire up
link set dev eth0 up
addr add 172.16.0.1/12 dev eth0
addr add 2001:db8::1/64 dev eth0 nodad
link set dev lo up
"""
# In the order in which a node loads them; nft and settings are not what grows.
FILES = (
    ("ip", "bridge.batch"),
    ("ip", "vxlan.batch"),
    ("bridge", "fdb.batch"),
    ("ip", "routes.batch"),
)
Value = TypeVar("Value")


def hosts(count: int, mode: str) -> dict[str, dict[str, Any]]:
    """A dual-stack fleet in one segment: every node a /24 and a /64."""
    pods, nodes = ipaddress.ip_address("10.64.0.0"), ipaddress.ip_address("172.16.0.0")
    return {
        f"node-{i}": {
            "podnet_mode": mode,
            "podnet_cluster_cidrs": ["10.64.0.0/10", "fd00:64::/32"],
            "podnet_pod_cidrs": [f"{pods + 256 * i}/24", f"fd00:64:0:{i:x}::/64"],
            "podnet_underlay_addresses": [str(nodes + i), f"2001:db8::{i:x}"],
        }
        for i in range(1, count + 1)
    }


def cpu(work: Callable[[], Value]) -> tuple[float, Value]:
    """Seconds of CPU of this process and what came of it."""
    begun = time.process_time()
    value = work()
    return round(time.process_time() - begun, 4), value


def children(work: Callable[[], Value]) -> tuple[float, Value]:
    """The same for the programs that it starts."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    value = work()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    total = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return round(total, 4), value


def inside(space: str, words: list[str], text: str) -> str:
    """A program in the namespace that reads a text; its output."""
    command = ["ip", "netns", "exec", space, *words]
    done = subprocess.run(command, input=text, text=True, capture_output=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(words)}: {done.stderr[:500]}")
    return done.stdout


@contextmanager
def node_space() -> Iterator[str]:
    """A network namespace with the underlay of the first node."""
    space = f"podnet-sizing-{os.getpid()}"
    subprocess.run(["ip", "netns", "add", space], check=True)
    try:
        inside(space, ["ip", "-batch", "-"], UNDERLAY)
        yield space
    finally:
        subprocess.run(["ip", "netns", "del", space], check=True)


def recorded(fabric: Fabric, plan: NodePlan, files: dict[str, str]) -> str:
    """What the first node answers when it is read, with its definitions loaded."""
    with node_space() as space:
        for tool, name in FILES:
            inside(space, [tool, "-batch", "-"], files[name])
        return inside(space, ["sh", "-s"], node_room.script_to_read(fabric, plan))


def on_node(fabric: Fabric, plan: NodePlan, files: dict[str, str]) -> dict[str, Any]:
    """The node's own cost: its definitions loaded, and its state read once."""
    with node_space() as space:
        row: dict[str, Any] = {"node_load_cpu": 0.0}
        for tool, name in FILES:
            spent, _out = children(
                lambda t=tool, n=name: inside(space, [t, "-batch", "-"], files[n])
            )
            row["node_load_cpu"] = round(row["node_load_cpu"] + spent, 4)
        script = node_room.script_to_read(fabric, plan)
        row["node_read_cpu"], answer = children(lambda: inside(space, ["sh", "-s"], script))
        row["read_bytes"] = len(script.encode()) + len(answer.encode())
        have = node_room.read(fabric, plan, answer)
        row |= {"routes": len(have.routes), "neighbours": len(have.neighbours)}
        row["fdb"] = len(have.fdb)
        gc.disable()  # as in the action converge
        row["compare_cpu"] = cpu(
            lambda: settle(fabric, plan, node_room.read(fabric, plan, answer), 10, "bench")
        )[0]
        return row


def main(count: int, mode: str) -> dict[str, Any]:
    """One row: CPU in seconds, sizes in bytes."""
    row: dict[str, Any] = {"nodes": count, "mode": mode}
    row["plan_cpu"], fabric = cpu(lambda: compile_fleet(hosts(count, mode)))
    with tempfile.NamedTemporaryFile("w+") as stream:
        row["fleet_bytes"] = stream.write(json.dumps(fabric.to_dict(), indent=1))
    printed = templates()
    # What nodes share is made with the first one; the others of the fleet cost this.
    plans = plan_fleet(fabric, [node.name for node in fabric.nodes[: MANY + 1]])
    plan = next(plans)
    files = render_node(fabric, plan, printed)
    spent, rest = cpu(lambda: [*plans])
    row["plan_node_cpu"] = round(spent / MANY, 5)
    spent, _texts = cpu(lambda: [render_node(fabric, item, printed) for item in rest])
    row["render_cpu"] = round(spent / MANY, 5)
    row["definition_bytes"] = sum(len(text.encode()) for text in files.values())
    row |= on_node(fabric, plan, files)
    row["controller_rss"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return row


if __name__ == "__main__":
    if sys.argv[1:]:
        print(json.dumps(main(int(sys.argv[1]), sys.argv[2])))
    else:
        measure("push", [(str(n), mode) for n in FLEETS for mode in MODES])
