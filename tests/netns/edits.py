# SPDX-License-Identifier: GPL-3.0-or-later
"""Edits of an inventory, pods on nodes, and complete dumps to compare before and after."""

from __future__ import annotations

import difflib
import re
import subprocess
import time
from collections.abc import Callable, Iterator
from typing import Any

from fleet import DUMP, Fleet, without_timers

ONE, TWO, THREE = "node-1", "node-2", "node-3"

# Port 22 is closed until somebody knocks (`wait_for`), however long a run takes.
KNOCK = 2222
WALL = (
    "nft add table inet wall; "
    "nft 'add chain inet wall in { type filter hook input priority 0; }'; "
    "(nft add rule inet wall in tcp dport 22 drop; timeout 300 python3 -c 'import socket;"
    " s = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM);"
    f' s.bind(("::", {KNOCK})); s.recv(9)\'; nft delete table inet wall) '
    ">/dev/null 2>&1 &"
)
SOON = ("-e", "ansible_ssh_timeout=2", "-e", "ansible_ssh_retries=0")
GENERATION = "cd /etc/podnet/current && tail -n +1 *"
UNCONFIRMED = """---
- name: Plan
  ansible.builtin.import_playbook: podnet.fabric.plan
- name: A controller that is gone after the change
  hosts: podnet
  gather_facts: false
  roles: [podnet.fabric.converge]
"""


def lent(lab: Fleet) -> Iterator[Fleet]:
    """A lab whose inventory a test may change; it is put right afterwards."""
    kept = lab.data
    lab.data = {"podnet": {"vars": dict(kept["podnet"]["vars"]), "hosts": {}}}
    for name, values in kept["podnet"]["hosts"].items():
        lab.data["podnet"]["hosts"][name] = dict(values)
    # The first pod changes settings of the bridge, which the dumps show.
    lab.play("site", check=True)
    yield lab
    lab.data = kept
    lab.write()
    lab.play("converge", check=True)


def pod(fleet: Fleet, node: str, name: str, **more: Any) -> dict[str, Any]:
    result = fleet.module(node, "podnet.fabric.pod", {"name": name, **more})
    return dict(result.get("pod", {}))


def change_cidr(variables: dict[str, Any], hosts: dict[str, Any]) -> None:
    hosts[ONE]["podnet_pod_cidrs"] = ["10.64.101.0/24", "fd00:64:0:101::/64"]


def other_vni(variables: dict[str, Any], hosts: dict[str, Any]) -> None:
    variables["podnet_vni"] = 65


def other_port(variables: dict[str, Any], hosts: dict[str, Any]) -> None:
    variables["podnet_vxlan_port"] = 8472


def smaller_mtu(variables: dict[str, Any], hosts: dict[str, Any]) -> None:
    variables["podnet_mtu"] = 1400


def to_vxlan(variables: dict[str, Any], hosts: dict[str, Any]) -> None:
    variables["podnet_mode"] = "vxlan"


def without_node_two(variables: dict[str, Any], hosts: dict[str, Any]) -> None:
    del hosts[TWO]


def edit(fleet: Fleet, change: Callable[[dict[str, Any], dict[str, Any]], None]) -> None:
    change(fleet.data["podnet"]["vars"], fleet.data["podnet"]["hosts"])
    fleet.write()


def state(fleet: Fleet) -> dict[str, str]:
    """Complete dumps, line by line; a device that was made again has another number and another
    place in the lists, and that is all."""
    dumps = {}
    for node in fleet.nodes:
        dumps[node] = normal(fleet.ssh(node, DUMP))
    return dumps


def normal(dump: str) -> str:
    """A dump as sorted lines without what changes by itself."""
    text = without_timers(dump).replace("{", "\n{")
    text = re.sub(r'"(ifindex|[gt]so_max_size)":\d+|^\d+: |@\w+(?=:)', "", text, flags=re.MULTILINE)
    return "\n".join(sorted(line.rstrip(",] ") for line in text.splitlines()))


def assert_same(now: dict[str, str], before: dict[str, str]) -> None:
    for node, text in before.items():
        found = list(difflib.unified_diff(text.splitlines(), now[node].splitlines(), lineterm=""))
        assert not found, "\n".join([node, *found])


def kernel(fleet: Fleet, node: str) -> str:
    return without_timers(fleet.ssh(node, DUMP))


def everything(fleet: Fleet) -> tuple[dict[str, str], dict[str, str]]:
    """Complete dumps, and the digests of the current definitions."""
    return state(fleet), {node: fleet.ssh(node, GENERATION) for node in fleet.nodes}


def wait_for(fleet: Fleet, node: str) -> None:
    """Until SSH gets in again, which a wall lets it from now on."""
    address = fleet.data["podnet"]["hosts"][node]["podnet_underlay_addresses"][0]
    family = "AF_INET6" if ":" in address else "AF_INET"
    knock = (
        f"socket.socket(socket.{family}, socket.SOCK_DGRAM).sendto(b'x', ('{address}', {KNOCK}))"
    )
    near = next(name for name in fleet.nodes if name != node)
    fleet.ssh(near, f'python3 -c "import socket; {knock}"')
    command = ["ssh", "-F", str(fleet.ssh_config), "-o", "ConnectTimeout=2", node, "true"]
    for _try in range(60):
        if subprocess.run(command, capture_output=True, check=False).returncode == 0:
            return
        time.sleep(1)
    raise AssertionError(f"{node} does not come back")
