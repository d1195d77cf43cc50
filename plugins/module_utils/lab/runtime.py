# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab on the machine: namespaces, links and processes, made and taken away.

Everything of a lab carries its identifier in its name: network namespaces
``podnet-<id>-<what>``, links of one interface group. So a lab can be found and removed whole
without any record of it, also after an interrupted start. Processes are found by the
network namespace they are in; a recorded process number is never trusted.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Callable, Dict, List

from . import batches, naming, node_files
from .topology import LabError, LabNode, Topology

Run = Callable[..., str]
STATE = "state.json"


def run(argv: List[str], stdin: str = "") -> str:
    """The seam to the machine: a command, its input, its output; failure is a LabError."""
    done = subprocess.run(
        argv, input=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE, universal_newlines=True
    )
    if done.returncode:
        raise LabError(f"{' '.join(argv)}: {done.stderr.strip() or done.stdout.strip()}\n{stdin}")
    return done.stdout


class Lab:
    """One lab: ``up`` makes it what the topology says, ``down`` removes it."""

    def __init__(self, directory: str, name: str, probe_server: str, port: int) -> None:
        self.name = name
        self.root = os.path.join(os.path.abspath(directory), name)
        self.ident = naming.lab_id(os.path.abspath(directory), name)
        self.probe_server, self.port = probe_server, port

    # --- what is there -------------------------------------------------------

    def netns(self, what: str) -> str:
        return f"podnet-{self.ident}-{what}"

    def namespaces(self) -> List[str]:
        names = [line.split()[0] for line in run(["ip", "netns", "list"]).splitlines() if line]
        return [name for name in names if name.startswith(self.netns(""))]

    def state(self) -> Dict[str, Any]:
        try:
            with open(os.path.join(self.root, STATE), encoding="utf-8") as stream:
                state: Dict[str, Any] = json.load(stream)
                return state
        except (OSError, ValueError):
            return {"nodes": {}, "router": None, "subnet": ""}

    def save(self, state: Dict[str, Any]) -> None:
        os.makedirs(self.root, exist_ok=True)
        path = os.path.join(self.root, STATE)
        with open(path + ".new", "w", encoding="utf-8") as stream:
            json.dump(state, stream, indent=1, sort_keys=True)
        os.replace(path + ".new", path)

    def pids(self, netns: str) -> List[int]:
        done = subprocess.run(
            ["ip", "netns", "pids", netns],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            universal_newlines=True,
        )
        return [int(word) for word in done.stdout.split()]

    # --- up ------------------------------------------------------------------

    def changes(self, topology: Topology, restart: List[str]) -> Dict[str, List[str]]:
        """Names of nodes to start and to take down; ``router`` stands for all of the underlay."""
        state, alive = self.state(), set(self.namespaces())
        wanted = {node.name: spec(topology, node) for node in topology.nodes}
        known = state["nodes"]
        underlay = underlay_spec(topology)
        if (
            state["router"] != underlay
            or self.netns("router") not in alive
            or not self.pids(self.netns("outside"))
        ):
            return {"stop": ["router", *known], "start": ["router", *wanted]}
        gone = [name for name in known if known[name]["spec"] != wanted.get(name)]
        dead = [
            name
            for name in known
            if name not in gone and not self.pids(self.netns(str(known[name]["index"])))
        ]
        again = [name for name in restart if name in wanted and name not in gone]
        stop = sorted({*gone, *dead, *again})
        start = [name for name in wanted if name not in known or name in stop]
        return {"stop": stop, "start": start}

    def up(self, topology: Topology, restart: List[str]) -> bool:
        """Make the lab what the topology says; true when anything had to be done."""
        todo = self.changes(topology, restart)
        if not todo["stop"] and not todo["start"]:
            return False
        state = self.state()
        if "router" in todo["start"]:
            keep = [node.name for node in topology.nodes]
            self._remove_namespaces(self.namespaces())
            state["subnet"] = state["subnet"] or self._free_subnet()
            state["nodes"] = {n: e for n, e in state["nodes"].items() if n in keep}
        else:
            names = [self.netns(str(state["nodes"][n]["index"])) for n in todo["stop"]]
            self._remove_namespaces(names)
        gone = [n for n in state["nodes"] if not any(n == node.name for node in topology.nodes)]
        for name in gone:
            shutil.rmtree(self.folder(name), ignore_errors=True)
        names = [node.name for node in topology.nodes]
        known = {n: e["index"] for n, e in state["nodes"].items() if n not in gone}
        indexes = naming.indexes(names, known)
        state["nodes"] = {
            n.name: {"index": indexes[n.name], "spec": spec(topology, n)} for n in topology.nodes
        }
        state["router"] = None if "router" in todo["start"] else state["router"]
        # Before the first side effect: an interrupted start is seen as one by the next.
        self.save(state)
        if "router" in todo["start"]:
            self._underlay(topology, state["subnet"])
            state["router"] = underlay_spec(topology)
        self._files(topology, state)
        started = [node for node in topology.nodes if node.name in todo["start"]]
        with ThreadPoolExecutor(max_workers=4) as pool:
            list(pool.map(lambda node: self._start(topology, node, state), started))
        self._wait(started, state)
        self.save(state)
        return True

    def folder(self, node: str) -> str:
        return os.path.join(self.root, "nodes", node)

    def address(self, state: Dict[str, Any], node: str) -> str:
        return naming.management_address(state["subnet"], state["nodes"][node]["index"])

    def _free_subnet(self) -> str:
        used = []
        for item in json.loads(run(["ip", "-j", "-4", "addr", "show"])):
            used += [f"{a['local']}/{a['prefixlen']}" for a in item.get("addr_info", [])]
        for item in json.loads(run(["ip", "-j", "-4", "route", "show", "table", "all"])):
            if item["dst"][0].isdigit():
                used.append(item["dst"])
        return naming.free_management_subnet(used)

    def _underlay(self, topology: Topology, subnet: str) -> None:
        """The management bridge on the machine, the router with its segments, the outside host."""
        if os.path.exists(f"/sys/class/net/{naming.bridge(self.ident)}"):
            run(["ip", "link", "del", naming.bridge(self.ident)])
        run(["ip", "-batch", "-"], batches.management_bridge(self.ident, subnet))
        router, outside = self.netns("router"), self.netns("outside")
        for netns in (router, outside):
            run(["ip", "netns", "add", netns])
            self._shell(netns, node_files.FRESH_SYSCTLS)
        self._shell(router, node_files.ROUTER_SYSCTLS)
        text = "link set lo up\n" + "".join(batches.segment(s) for s in topology.segments)
        run(["ip", "-n", router, "-batch", "-"], text)
        run(["ip", "-n", router, "-batch", "-"], batches.outside_link(topology, outside))
        run(["ip", "-n", outside, "-batch", "-"], batches.outside_host(topology))
        log = open(os.path.join(self.root, "outside.log"), "ab")
        with log:
            subprocess.Popen(
                ["ip", "netns", "exec", outside, "/usr/bin/env", "python3", self.probe_server]
                + ["--port", str(self.port)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                cwd="/",
            )

    def _shell(self, netns: str, text: str) -> None:
        # Through a mount namespace of its own, `ip netns exec` shows /sys of that namespace.
        run(["ip", "netns", "exec", netns, "sh", "-s"], text)

    def _files(self, topology: Topology, state: Dict[str, Any]) -> None:
        """Keys and the SSH client's configuration, which make every node reachable by name."""
        for name in ("id_ed25519", "host_ed25519"):
            path = os.path.join(self.root, name)
            if not os.path.exists(path):
                run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "podnet-lab", "-f", path])
        with open(os.path.join(self.root, "host_ed25519.pub"), encoding="utf-8") as stream:
            host_key = " ".join(stream.read().split()[:2])
        addresses = {node.name: self.address(state, node.name) for node in topology.nodes}
        known = "".join(f"{address} {host_key}\n" for address in addresses.values())
        node_files.write(os.path.join(self.root, "known_hosts"), known)
        config = node_files.ssh_config(self.root, addresses)
        node_files.write(os.path.join(self.root, "ssh_config"), config)
        text = node_files.ansible_variables(self.root, self.ident)
        node_files.write(os.path.join(self.root, "vars.json"), text)

    def _start(self, topology: Topology, node: LabNode, state: Dict[str, Any]) -> None:
        index = state["nodes"][node.name]["index"]
        netns, folder = self.netns(str(index)), self.folder(node.name)
        for part in ("upper", "work", "root"):
            os.makedirs(os.path.join(folder, part), exist_ok=True)
        self._remove_ports(index)
        run(["ip", "netns", "add", netns])
        self._shell(netns, node_files.FRESH_SYSCTLS)
        run(["ip", "-batch", "-"], batches.management_port(self.ident, index, node, netns))
        router = self.netns("router")
        port = batches.router_port(self.ident, index, node, netns)
        run(["ip", "-n", router, "-batch", "-"], port)
        length = state["subnet"].rpartition("/")[2]
        management = f"{self.address(state, node.name)}/{length}"
        run(["ip", "-n", netns, "-batch", "-"], batches.node(topology, node, management))
        node_files.prepare(self.root, folder, self.ident, node)
        self._boot(netns, folder, node)

    def _remove_ports(self, index: int) -> None:
        """The kernel takes the links of a removed namespace away in its own time."""
        for where in (
            ["ip", "link", "del", naming.management_port(self.ident, index)],
            ["ip", "-n", self.netns("router"), "link", "del", naming.router_port(index)],
        ):
            subprocess.run(where, stderr=subprocess.DEVNULL)

    def _boot(self, netns: str, folder: str, node: LabNode) -> None:
        boot = os.path.join(folder, "boot.sh")
        node_files.write(boot, node_files.boot_script(self.ident, folder, node))
        with open(os.path.join(folder, "console.log"), "ab") as log:
            # --kill-child: the node ends with its keeper; setsid: it does not end with us.
            subprocess.Popen(
                ["nsenter", f"--net=/run/netns/{netns}", "unshare", "--mount", "--uts", "--ipc"]
                + ["--pid", "--cgroup", "--fork", "--kill-child", "sh", boot],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                cwd="/",
            )

    def _wait(self, nodes: List[LabNode], state: Dict[str, Any]) -> None:
        """Until every node's sshd answers; the banner comes from sshd, not from the kernel."""
        end = time.monotonic() + 60 + len(nodes)
        for node in nodes:
            while not node_files.answers(self.address(state, node.name)):
                if time.monotonic() > end:
                    log = os.path.join(self.folder(node.name), "console.log")
                    with open(log, encoding="utf-8", errors="replace") as stream:
                        said = stream.read()[-800:]
                    raise LabError(f"{node.name}: sshd does not answer. The node said:\n{said}")
                time.sleep(0.05)

    # --- down ----------------------------------------------------------------

    def exists(self) -> bool:
        return bool(
            self.namespaces()
            or os.path.exists(self.root)
            or os.path.exists(f"/sys/class/net/{naming.bridge(self.ident)}")
        )

    def down(self) -> None:
        self._remove_namespaces(self.namespaces())
        group = str(naming.group(self.ident))
        if f'"group":"{group}"' in run(["ip", "-j", "link", "show"]).replace(" ", ""):
            run(["ip", "link", "del", "group", group])
        shutil.rmtree(self.root, ignore_errors=True)
        parent = os.path.dirname(self.root)
        if os.path.isdir(parent) and not os.listdir(parent):
            os.rmdir(parent)

    def _remove_namespaces(self, names: List[str]) -> None:
        for netns in names:
            self._kill(netns)
        for netns in names:
            if os.path.exists(f"/run/netns/{netns}"):
                run(["ip", "netns", "del", netns])

    def _kill(self, netns: str) -> None:
        """End everything that is in one of the lab's own network namespaces."""
        for _attempt in range(100):
            pids = self.pids(netns)
            if not pids:
                return
            for pid in pids:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass
            time.sleep(0.02)
        raise LabError(f"{netns}: processes {self.pids(netns)} do not end")


def spec(topology: Topology, node: LabNode) -> List[Any]:
    """What makes a node this node, JSON-able; a change of it is a restart."""
    return [node.name, node.segment, list(node.addresses), node.mtu, node.init]


def underlay_spec(topology: Topology) -> Dict[str, Any]:
    segments = [
        [s.name, list(s.networks), list(s.gateways), s.mtu] for s in topology.segments
    ]
    return {"segments": segments, "outside": list(topology.outside)}
