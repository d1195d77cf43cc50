# SPDX-License-Identifier: GPL-3.0-or-later
"""A lab as a whole: look, compare, act, remember.

Everything of a lab carries its identifier: network namespaces ``podnet-<id>-<what>``,
interfaces ``pl<id>…`` of one group, the cgroup ``podnet-<id>``, and the mark in the environment
of its processes. So a lab is found and removed whole without any record of it, also after an
interrupted start. The record says only which nodes were started to the end, and as what.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import shutil
import time
from typing import Any, Callable, Dict, List, Optional, Sequence

from . import host, limits, naming, texts
from .changes import Changes, Have, compare, node_spec, router_spec
from .containers import Containers
from .engine import Engine, find
from .nodes import Nodes
from .topology import LabError, Topology
from .underlay import Underlay

STATE, VERSION = "state.json", 2
MACHINE_LOCK = "/run"


class Lab:
    """One lab: ``up`` makes it what the topology says, ``down`` removes it.

    ``probe_server`` is the program that runs on the outside host; ``hidden`` are paths of the
    machine that nodes over its own root must not see. ``engine`` is the container engine that
    makes the nodes, ``none``, or ``auto``; ``image`` is its image, made of ``rootfs`` if left out.
    """

    def __init__(
        self,
        directory: str,
        name: str,
        probe_server: str = "",
        port: int = 7717,
        rootfs: str = "/",
        hidden: Sequence[str] = (),
        engine: str = "none",
        image: str = "",
    ) -> None:
        self.name = name
        directory = os.path.realpath(directory)
        self.root = os.path.join(directory, name)
        self.ident = naming.lab_id(directory, name)
        self.underlay = Underlay(self.ident)
        self.probe_server, self.port = probe_server, port
        self.rootfs = os.path.realpath(rootfs)
        self.wanted_engine, self.image = engine, image
        self.hidden = outermost([self.root, *map(os.path.abspath, hidden)])

    @functools.cached_property
    def engine(self) -> str:
        return "none" if self.wanted_engine == "none" else find(self.wanted_engine)

    @property
    def source(self) -> str:
        """What nodes are made of: another source makes other nodes."""
        made = self.image or self.rootfs
        return self.rootfs if self.engine == "none" else f"{self.engine} {made}"

    # --- what is there -----------------------------------------------------------------------

    def state(self) -> Dict[str, Any]:
        found = host.read_json(os.path.join(self.root, STATE))
        fresh = {"version": VERSION, "id": self.ident, "subnet": "", "router": None, "nodes": {}}
        return found if found.get("version") == VERSION else fresh

    def save(self, state: Dict[str, Any]) -> None:
        host.write(os.path.join(self.root, STATE), json.dumps(state, indent=1, sort_keys=True))

    def address(self, state: Dict[str, Any], name: str) -> str:
        return naming.management_address(state["subnet"], state["nodes"][name]["index"])

    def node(self, state: Dict[str, Any], name: str) -> str:
        """Name of the node's network namespace."""
        return self.underlay.netns(str(state["nodes"][name]["index"]))

    def pids(self, state: Dict[str, Any]) -> Dict[str, Any]:
        """Process 1 of every node that runs, by its number on the machine."""
        found, spaces = host.processes(), host.namespaces(self.underlay.netns(""))
        pids = {
            n: host.first_process(found, spaces.get(self.node(state, n))) for n in state["nodes"]
        }
        return {name: pid for name, pid in pids.items() if pid}

    def have(self, state: Dict[str, Any], topology: Topology) -> Have:
        """What runs. A node is alive when it was started to the end, runs and is plugged in."""
        links = {link["ifname"]: link for link in host.links()}
        router, pids = self.underlay.links_of_router(), self.pids(state)
        bridge = naming.bridge(self.ident)
        alive = set()
        for name in pids:
            entry = state["nodes"][name]
            port = links.get(naming.management_port(self.ident, entry["index"]), {})
            plugged = naming.router_port(entry["index"]) in router
            if entry["up"] and plugged and port.get("master") == bridge:
                alive.add(name)
        whole = (
            bridge in links
            and state["router"] is not None
            and all(
                naming.router_bridge(segment) in router for segment in state["router"]["segments"]
            )
        )
        spaces = host.namespaces(self.underlay.outside)
        outside = spaces.get(self.underlay.outside)
        runs = "outside0" in router and any(p.network == outside for p in host.processes())
        nodes = {name: entry["spec"] for name, entry in state["nodes"].items()}
        return Have(state["router"] if whole else None, runs, nodes, frozenset(alive))

    def changes(self, topology: Topology, restart: Sequence[str]) -> Changes:
        state = self.state()
        return compare(topology, self.source, self.have(state, topology), restart)

    def facts(self) -> Dict[str, Any]:
        """How to reach what is there: nodes by name, the router, the outside host."""
        state = self.state()
        pids = self.pids(state)
        nodes = {
            name: {
                "address": self.address(state, name),
                "port": 22,
                "key": os.path.join(self.root, "id_ed25519"),
                "netns": self.node(state, name),
                "netns_path": os.path.join(host.NETNS, self.node(state, name)),
                "pid": pids.get(name),
            }
            for name in state["nodes"]
        }
        return {
            "nodes": nodes,
            "ssh_config": os.path.join(self.root, "ssh_config"),
            "router": os.path.join(host.NETNS, self.underlay.router),
            "outside_netns": os.path.join(host.NETNS, self.underlay.outside),
        }

    # --- up ----------------------------------------------------------------------------------

    def up(self, topology: Topology, restart: Sequence[str] = ()) -> Changes:
        """Make the lab what the topology says; what had to be done."""
        host.require_tools()
        if not os.path.isfile(self.probe_server):
            raise LabError(f"probe_server: no such file: {self.probe_server or '(not given)'}")
        os.makedirs(self.root, exist_ok=True)
        with host.lock(self.root):
            todo = self.changes(topology, restart)
            if todo:
                self._up(topology, todo)
            return todo

    def _up(self, topology: Topology, todo: Changes) -> None:
        state = self.state()
        if todo.router:
            self._remove_machinery(Engine.stop)
        self._stop(state, todo)
        self._register(state, topology, todo)
        nodes = self._nodes(state)
        self._build_underlay(state, topology, todo)
        self._keys(state, topology)
        started = [node for node in topology.nodes if node.name in todo.start]
        nodes.start(topology, started, self.rootfs, self.hidden)
        for name in todo.start:
            state["nodes"][name]["up"] = True
        self._hosts_files(state, topology)
        self._owner()
        self.save(state)

    def _stop(self, state: Dict[str, Any], todo: Changes) -> None:
        """End nodes, and discard the files of those that do not come again."""
        spaces = host.namespaces(self.underlay.netns(""))
        names = [self.node(state, name) for name in todo.stop]
        # What an interrupted start has left has no entry in the record, or is not up.
        known = {self.node(state, name) for name in state["nodes"]}
        fixed = {self.underlay.router, self.underlay.outside}
        names += [name for name in spaces if name not in known | fixed]
        if todo.outside:
            names.append(self.underlay.outside)
        host.kill([spaces[name] for name in names if name in spaces])
        self._stop_containers(state, todo)
        numbers = [name.rpartition("-")[2] for name in names if name not in fixed]
        indexes = [int(number) for number in numbers if number.isdigit()]
        links = [link["ifname"] for link in host.links()]
        self.underlay.unplug(indexes, self.underlay.links_of_router(), links)
        self.underlay.remove_namespaces(names)
        for name in todo.stop:
            host.drop_connections(self.address(state, name))
        for name in todo.forget:
            shutil.rmtree(os.path.join(self.root, "nodes", name), ignore_errors=True)

    def _stop_containers(self, state: Dict[str, Any], todo: Changes) -> None:
        """Until the engine knows it, too; it would not start again what it believes to run."""
        if engine := self._engine(state):
            have = engine.names()
            named = {name: engine.container(state["nodes"][name]["index"]) for name in todo.stop}
            named = {name: container for name, container in named.items() if container in have}
            engine.stop(list(named.values()))
            engine.remove([named[name] for name in todo.forget if name in named])

    def _engine(self, state: Dict[str, Any]) -> Optional[Engine]:
        """That of the containers that are there, or may be."""
        name = state.get("engine", "none")
        return None if name == "none" else Engine(name, self.ident)

    def _register(self, state: Dict[str, Any], topology: Topology, todo: Changes) -> None:
        """Numbers, subnet and limits, on disk before the first side effect that needs them."""
        state["engine"] = self.engine
        names = [node.name for node in topology.nodes]
        known = {name: entry["index"] for name, entry in state["nodes"].items()}
        indexes = naming.indexes(names, known)
        state["nodes"] = {
            node.name: {
                "index": indexes[node.name],
                "spec": node_spec(topology, node, self.source),
                "up": node.name not in todo.start,
            }
            for node in topology.nodes
        }
        if todo.router or todo.outside or todo.add_segments or todo.remove_segments:
            state["router"] = None  # until it is whole again: an interruption means a new one
        with host.lock(MACHINE_LOCK):
            if todo.router:
                state["subnet"] = self._free_subnet(state["subnet"])
                self.save(state)
                self.underlay.build_bridge(state["subnet"])
            limits.raise_for(topology)
        self.save(state)
        nodes = os.path.join(self.root, "nodes")
        os.makedirs(nodes, exist_ok=True)
        if not host.mounted(nodes):
            # In memory: quick, and a file system that can be an upper layer, wherever we are.
            shutil.rmtree(nodes)
            os.mkdir(nodes)
            host.run(["mount", "-t", "tmpfs", "-o", "mode=0755", "podnet-lab", nodes])

    def _free_subnet(self, last: str) -> str:
        used = host.networks_in_use()
        if last and naming.is_free(last, used):
            return last
        return naming.free_management_subnet(used)

    def _nodes(self, state: Dict[str, Any]) -> Nodes:
        indexes = {name: entry["index"] for name, entry in state["nodes"].items()}
        addresses = {name: self.address(state, name) for name in state["nodes"]}
        prefix = int(state["subnet"].rpartition("/")[2])
        of_all = (self.underlay, self.root, indexes, addresses, prefix)
        engine = self._engine(state)
        return Containers(engine, self.image, *of_all) if engine else Nodes(*of_all)

    def _build_underlay(self, state: Dict[str, Any], topology: Topology, todo: Changes) -> None:
        if todo.router:
            self.underlay.build_router()
        if todo.remove_segments and not todo.router:
            self.underlay.remove_segments(todo.remove_segments, self.underlay.links_of_router())
        self.underlay.add_segments([topology.segment(name) for name in todo.add_segments])
        if todo.outside:
            log = os.path.join(self.root, "outside.log")
            self.underlay.build_outside(topology, self.probe_server, self.port, log)
        state["router"] = router_spec(topology)
        self.save(state)

    def _keys(self, state: Dict[str, Any], topology: Topology) -> None:
        """Keys and the SSH client's configuration, which make every node reachable by name."""
        for name in ("id_ed25519", "host_ed25519"):
            path = os.path.join(self.root, name)
            if not os.path.exists(path + ".pub") or not os.path.exists(path):
                for leftover in (path, path + ".pub"):
                    with contextlib.suppress(FileNotFoundError):
                        os.unlink(leftover)
                comment = f"podnet-lab-{self.name}"
                host.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", comment, "-f", path])
        with open(os.path.join(self.root, "host_ed25519.pub"), encoding="utf-8") as stream:
            key = stream.read()
        addresses = {name: self.address(state, name) for name in state["nodes"]}
        text = texts.ssh_config(self.root, topology.nodes, addresses)
        host.write(os.path.join(self.root, "known_hosts"), texts.known_hosts(addresses, key))
        host.write(os.path.join(self.root, "ssh_config"), text)
        text = texts.ansible_variables(self.root, self.ident)
        host.write(os.path.join(self.root, "vars.json"), text)

    def _hosts_files(self, state: Dict[str, Any], topology: Topology) -> None:
        """Every node knows every node's name; a running one is told through its own root."""
        for name, pid in self.pids(state).items():
            wanted = texts.hosts(name, topology)
            path = f"/proc/{pid}/root/etc/hosts"
            with contextlib.suppress(OSError):
                with open(path, encoding="utf-8") as stream:
                    same = stream.read() == wanted
                if not same:
                    host.write(path, wanted)

    def _owner(self) -> None:
        """Under sudo, the caller must be able to read the key."""
        uid, gid = os.environ.get("SUDO_UID"), os.environ.get("SUDO_GID")
        if uid and gid:
            for name in (
                ".",
                "id_ed25519",
                "id_ed25519.pub",
                "known_hosts",
                "ssh_config",
                "vars.json",
            ):
                os.chown(os.path.join(self.root, name), int(uid), int(gid))

    # --- down --------------------------------------------------------------------------------

    def exists(self) -> bool:
        return bool(
            host.namespaces(self.underlay.netns(""))
            or os.path.exists(self.root)
            or any(link["ifname"].startswith(naming.prefix(self.ident)) for link in host.links())
            or host.marked(self.ident)
        )

    def down(self) -> None:
        """Remove everything that carries the lab's identifier, whatever the record says."""
        os.makedirs(self.root, exist_ok=True)
        with host.lock(self.root):
            self._remove_machinery(Engine.remove)
            self._remove_sockets()
            nodes = os.path.join(self.root, "nodes")
            while os.path.isdir(nodes) and host.mounted(nodes):
                host.run(["umount", "-l", "--", nodes])
            with host.lock(MACHINE_LOCK):
                if not self._other_labs():
                    limits.put_back()
            shutil.rmtree(self.root)
        with contextlib.suppress(OSError):
            os.rmdir(os.path.dirname(self.root))

    def _remove_sockets(self) -> None:
        """Ansible's open connections have just ended; each removes its own socket meanwhile."""
        folder = os.path.expanduser(texts.control_path(self.ident))
        for _attempt in range(20):
            shutil.rmtree(folder, ignore_errors=True)
            if not os.path.exists(folder):
                return
            time.sleep(0.02)

    def _other_labs(self) -> List[str]:
        return [
            link["ifname"]
            for link in host.links()
            if naming.is_bridge(link["ifname"]) and link["ifname"] != naming.bridge(self.ident)
        ]

    def _remove_machinery(self, end: Callable[[Engine, Sequence[str]], None]) -> None:
        """Processes, interfaces, namespaces and cgroups; files stay. ``end``: of containers."""
        subnet = self.state()["subnet"]
        if subnet:
            host.drop_connections(subnet)
        spaces = host.namespaces(self.underlay.netns(""))
        host.kill(list(spaces.values()), self.ident)
        if engine := self._engine(self.state()):
            end(engine, sorted(engine.names()))
        group, start = str(naming.group(self.ident)), naming.prefix(self.ident)
        mine = [ln["ifname"] for ln in host.links() if ln["ifname"].startswith(start)]
        in_group = {link["ifname"] for link in host.links(group)}
        if in_group and in_group <= set(mine):
            host.run(["ip", "link", "del", "group", group])
            mine = [name for name in mine if name not in in_group]
        host.run(["ip", "-batch", "-"], "".join(f"link del {name}\n" for name in mine))
        self.underlay.remove_namespaces(list(spaces))
        remove_cgroup(f"podnet-{self.ident}")


def outermost(paths: Sequence[str]) -> List[str]:
    """The paths without those that lie below another of them."""
    kept: List[str] = []
    for path in sorted(set(paths)):
        if not any(path.startswith(f"{other}/") for other in kept):
            kept.append(path)
    return kept


REMOVE_CGROUP = r"""
mount -t tmpfs none /mnt && mkdir /mnt/c && mount -t cgroup2 none /mnt/c
for try in 1 2 3 4 5 6 7 8 9 10; do
  [ -d "/mnt/c/$1" ] || break
  find "/mnt/c/$1" -depth -type d -exec rmdir {} + && break
  sleep 0.1
done
"""


def remove_cgroup(name: str) -> None:
    """The lab's part of the version 2 hierarchy, wherever the machine has it mounted or not."""
    argv = ["unshare", "--mount", "--propagation", "private", "sh", "-c", REMOVE_CGROUP, "sh", name]
    host.run(argv, check=False)
