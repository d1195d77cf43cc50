# SPDX-License-Identifier: GPL-3.0-or-later
"""Pods on a bare node, without a container engine.

The infra container is a process that holds network, IPC and UTS namespace and does nothing.
The other containers join them and have a mount and a PID namespace of their own. The pod's
record is written before the first side effect, and every process carries the pod's id in its
environment, so that what a crash left can be found and removed.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import time
import uuid
from contextlib import contextmanager
from typing import Any, Callable, Dict, Iterator, List, Mapping, Optional

from . import cni, machine

STATE = "/var/lib/podnet/pods"
RUN = "/run/podnet/netns"
MARK = "PODNET_POD"
# dash reaps what it is handed; the infra container has no children of its own.
PAUSE = ["sh", "-c", 'ip link set lo up; hostname "$1"; exec sleep infinity', "pause"]


class Pod:
    """One pod, named by ``name``. Not for use from two threads; processes lock each other out."""

    def __init__(self, name: str, run: machine.Run = machine.run) -> None:
        self.name, self.run = name, run
        self.folder = os.path.join(STATE, name)
        self.netns = os.path.join(RUN, name)

    @contextmanager
    def locked(self) -> Iterator[None]:
        os.makedirs(STATE, exist_ok=True)
        with open(os.path.join(STATE, f".{self.name}.lock"), "w", encoding="ascii") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX)
            yield

    # --- what is there -------------------------------------------------------

    def record(self) -> Optional[Dict[str, Any]]:
        return machine.read_json(os.path.join(self.folder, "pod.json"))

    def _save(self, record: Mapping[str, Any]) -> None:
        machine.write_json(os.path.join(self.folder, "pod.json"), record)

    def problem(self, record: Mapping[str, Any], wanted: Mapping[str, Any]) -> Optional[str]:
        """Why the pod that is there is not the wanted one and must be made anew; None when it
        is. App containers do not count: they are restarted one by one."""
        if record["wanted"] != wanted:
            return "its definition has changed"
        infra = record.get("infra")
        if not infra or machine.started_at(infra["pid"]) != infra["started"]:
            return "its infra container has ended"
        if not os.path.ismount(self.netns) or not record.get("result"):
            return "it was never finished"
        runtime = self._runtime(record)
        return runtime.check(record["id"], self.netns, wanted["ifname"], record["result"])

    def dead_containers(self, record: Mapping[str, Any], containers: List[Dict[str, Any]]) -> List[str]:
        """Names of app containers that do not run as wanted."""
        known = record.get("containers", {})
        return [
            container["name"]
            for container in containers
            if known.get(container["name"], {}).get("definition") != container
            or machine.started_at(known[container["name"]]["pid"])
            != known[container["name"]]["started"]
        ]

    # --- present -------------------------------------------------------------

    def create(self, wanted: Dict[str, Any], conflist: Dict[str, Any]) -> Dict[str, Any]:
        """Infra container and network; raises CniError and leaves nothing behind on failure."""
        identity = f"{self.name}-{uuid.uuid4().hex[:12]}"
        record: Dict[str, Any] = {
            "id": identity,
            "wanted": wanted,
            "conflist": conflist,
            "containers": {},
        }
        self._save(record)
        try:
            pid = machine.spawn(
                ["unshare", "--net", "--ipc", "--uts", *PAUSE, self.name],
                {MARK: identity},
                os.path.join(self.folder, "infra.log"),
            )
            self._pin(pid)
            record["infra"] = {"pid": pid, "started": machine.started_at(pid)}
            self._save(record)
            runtime = self._runtime(record)
            record["result"] = runtime.add(identity, self.netns, wanted["ifname"])
            self._save(record)
            self._wait_for_addresses(wanted["ifname"])
        except (cni.CniError, OSError):
            self.remove()
            raise
        return record

    def start_container(self, record: Dict[str, Any], definition: Dict[str, Any]) -> None:
        """Start an app container in the pod, in place of a dead one of the same name."""
        infra = record["infra"]["pid"]
        old = record["containers"].get(definition["name"])
        mark = f"{record['id']}/{definition['name']}"
        if old:
            machine.kill_marked("PODNET_CONTAINER", mark)
        inside = ["--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
        workdir = definition.get("workdir") or "/"
        command = ["sh", "-c", 'cd "$0" && exec "$@"', workdir, *definition["command"]]
        pid = machine.spawn(
            ["nsenter", "-t", str(infra), "--net", "--ipc", "--uts", "unshare", *inside, *command],
            {MARK: record["id"], "PODNET_CONTAINER": mark, **definition.get("env", {})},
            os.path.join(self.folder, f"{definition['name']}.log"),
        )
        self._joined(pid, os.stat(f"/proc/{infra}/ns/net").st_ino)
        record["containers"][definition["name"]] = {
            "pid": pid,
            "started": machine.started_at(pid),
            "definition": definition,
        }
        self._save(record)

    def _pin(self, pid: int) -> None:
        """Give the network namespace a path, so that it can be handed to plugins and outlives
        its process until DEL has run. Waits until the process has left our namespace."""
        ours = os.stat("/proc/self/ns/net").st_ino
        path = f"/proc/{pid}/ns/net"
        self._until(pid, lambda: os.stat(path).st_ino != ours, "the infra container")
        os.makedirs(RUN, exist_ok=True)
        open(self.netns, "a", encoding="ascii").close()
        code, _output, errors = self.run(["mount", "--bind", path, self.netns], {}, "")
        if code:
            raise OSError(f"{self.netns}: the namespace cannot be bound: {errors.strip()}")

    def _joined(self, pid: int, inode: int) -> None:
        """Wait until a container's process has entered the pod's network namespace."""
        path = f"/proc/{pid}/ns/net"
        self._until(pid, lambda: os.stat(path).st_ino == inode, "an app container")

    def _until(self, pid: int, condition: Callable[[], bool], what: str) -> None:
        end = time.monotonic() + 5
        while True:
            try:
                if condition():
                    return
            except OSError:
                pass  # it has ended; said below
            if time.monotonic() > end or not machine.started_at(pid):
                log = os.path.join(self.folder, "*.log")
                raise OSError(f"{self.name}: {what} did not start; see {log}")
            time.sleep(0.002)

    def _wait_for_addresses(self, ifname: str) -> None:
        """IPv6 addresses cannot be used while duplicate detection runs (RFC 4862)."""
        end = time.monotonic() + 5
        while time.monotonic() < end:
            command = ["nsenter", f"--net={self.netns}", "ip", "-6", "addr", "show", "dev", ifname]
            _code, output, _errors = self.run([*command, "tentative"], {}, "")
            if not output.strip():
                return
            time.sleep(0.05)

    # --- absent --------------------------------------------------------------

    def remove(self) -> bool:
        """Take everything of the pod away; true when there was something. Raises CniError after
        all of it was tried."""
        record = self.record()
        if record is None and not os.path.exists(self.netns) and not os.path.isdir(self.folder):
            return False
        failure: Optional[cni.CniError] = None
        if record:
            machine.kill_marked(MARK, record["id"])
            mounted = self.netns if os.path.ismount(self.netns) else ""
            try:
                self._runtime(record).delete(
                    record["id"], mounted, record["wanted"]["ifname"], record.get("result")
                )
            except cni.CniError as error:
                failure = error
        if os.path.ismount(self.netns):
            self.run(["umount", self.netns], {}, "")
        if os.path.exists(self.netns):
            os.unlink(self.netns)
        if failure:
            # The record stays: it is what another attempt needs.
            raise failure
        shutil.rmtree(self.folder, ignore_errors=True)
        return True

    def _runtime(self, record: Mapping[str, Any]) -> cni.Runtime:
        wanted = record["wanted"]
        return cni.Runtime(
            record["conflist"], wanted["bin_dirs"], self.run, wanted.get("capabilities")
        )

    # --- facts ---------------------------------------------------------------

    def interfaces(self, pid: int) -> List[Dict[str, Any]]:
        """Interfaces as a process of the pod sees them: name, MAC, MTU, addresses."""
        command = ["nsenter", "-t", str(pid), "--net", "ip", "-j", "addr", "show"]
        _code, output, _errors = self.run(command, {}, "")
        return [
            {
                "name": item["ifname"],
                "mac": item.get("address", ""),
                "mtu": item["mtu"],
                "addresses": [
                    f"{a['local']}/{a['prefixlen']}"
                    for a in item["addr_info"]
                    if a["scope"] == "global"
                ],
            }
            for item in json.loads(output or "[]")
            if item.get("ifname") not in (None, "lo")
        ]

    def facts(self, record: Mapping[str, Any]) -> Dict[str, Any]:
        """Addresses, MAC, MTU and containers, each observed from inside."""
        containers = []
        members = {"infra": record["infra"], **record["containers"]}
        for name, member in members.items():
            pid = member["pid"]
            try:
                inode = os.stat(f"/proc/{pid}/ns/net").st_ino
            except OSError:
                inode = 0
            containers.append(
                {"name": name, "pid": pid, "netns": inode, "interfaces": self.interfaces(pid)}
            )
        first: Dict[str, Any] = next(
            (i for i in containers[0]["interfaces"] if i["name"] == record["wanted"]["ifname"]), {}
        )
        addresses = {
            "ipv6" if ":" in cidr else "ipv4": cidr.split("/")[0]
            for cidr in first.get("addresses", [])
        }
        return {
            "name": self.name,
            "addresses": addresses,
            "mac": first.get("mac", ""),
            "mtu": first.get("mtu", 0),
            "netns": self.netns,
            "containers": containers,
        }
