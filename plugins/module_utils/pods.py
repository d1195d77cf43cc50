# SPDX-License-Identifier: GPL-3.0-or-later
"""Pods on a bare node, without a container engine.

The infra container is a process that holds network, IPC and UTS namespace and does nothing.
The other containers join them and have a mount and a PID namespace of their own. The pod's
record is written before each side effect, and a process goes on only when its number is in the
record, so that whatever a crash left can be found and removed.
"""

from __future__ import annotations

import fcntl
import os
import re
import time
from contextlib import contextmanager
from typing import Any, Callable, Dict, Iterator, List, Mapping, NamedTuple, Optional, Tuple

from . import cni, links, machine, namespaces

STATE = "/var/lib/podnet/pods"
RUN = "/run/podnet/netns"
LOCKS = "/run/podnet/pod-locks"
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
DAD_SECONDS = 10.0
NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")

Record = Dict[str, Any]


class Step(NamedTuple):
    """One change: `remove pod`, `create pod`, `stop container` or `start container`."""

    verb: str
    name: str
    why: str = ""

    def __str__(self) -> str:
        return f"{self.verb} {self.name}" + (f": {self.why}" if self.why else "")


def checked_name(name: str, what: str) -> str:
    """The name becomes a host name and a file name (RFC 1123, section 2.1)."""
    if not NAME.fullmatch(name):
        expected = "up to 63 of a-z, 0-9 and -, with no - at the ends"
        wrong = "not usable as a name"
        raise cni.CniError(cni.message(what, wrong, expected, repr(name), "choose another"))
    return name


class Pod:
    """One pod, named by ``name``. Not for use from two threads; processes lock each other out.

    ``bin_dirs`` are folders of CNI plugins; those in which the pod was made are tried after them.
    """

    def __init__(
        self, name: str, bin_dirs: Optional[List[str]] = None, run: machine.Run = machine.run
    ) -> None:
        self.name, self.run, self.bin_dirs = checked_name(name, "pod"), run, bin_dirs or []
        self.folder = os.path.join(STATE, name)
        self.netns = os.path.join(RUN, name)

    @contextmanager
    def locked(self, check: bool = False) -> Iterator[None]:
        """Nobody else changes the pod meanwhile. A check writes nothing, not even a lock."""
        if check:
            yield
            return
        os.makedirs(LOCKS, exist_ok=True)
        with open(os.path.join(LOCKS, self.name), "w", encoding="ascii") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX)
            yield

    # --- what is there, and what is to be done ---------------------------------

    def record(self) -> Optional[Record]:
        path = os.path.join(self.folder, "pod.json")
        try:
            return machine.read_json(path)
        except ValueError as error:
            remedy = f"end the pod's processes, then remove {self.folder} and {self.netns}"
            text = cni.message(path, "cannot be read", "the pod's record", str(error), remedy)
            raise cni.CniError(text) from error

    def _save(self, record: Mapping[str, Any]) -> None:
        machine.write_json(os.path.join(self.folder, "pod.json"), record)

    def steps(
        self, record: Optional[Record], wanted: Record, containers: List[Record]
    ) -> List[Step]:
        """What makes the pod as wanted; nothing when it is so."""
        why = self.problem(record, wanted) if record else None
        found: List[Step] = []
        if record is None and self.there():
            why = "a run that was cut short has left it"
        if why:
            found.append(Step("remove pod", self.name, why))
        known: Record = {} if record is None or why else record["containers"]
        if record is None or why:
            found.append(Step("create pod", self.name))
        names = [container["name"] for container in containers]
        found += [Step("stop container", n, "not wanted") for n in sorted(set(known) - set(names))]
        for container in containers:
            there = known.get(container["name"])
            if there is None:
                found.append(Step("start container", container["name"]))
            elif there["definition"] != container:
                found.append(Step("start container", container["name"], "its definition changed"))
            elif not machine.alive(there):
                found.append(Step("start container", container["name"], "it has ended"))
        return found

    def problem(self, record: Record, wanted: Record) -> Optional[str]:
        """Why the pod that is there is not the wanted one and must be made anew; None when it
        is. App containers do not count: they are restarted one by one."""
        if record["wanted"] != wanted:
            return "its definition has changed"
        infra = record.get("infra")
        if not infra or not record.get("result"):
            return "it was never finished"
        if not machine.alive(infra):
            return "its infra container has ended"
        if not namespaces.same(infra["pid"], self.netns):
            return "its network namespace has lost its name"
        return self._runtime(record).check(
            self._attachment(record), record["result"], record.get("unchecked", {})
        )

    def state(self, record: Record) -> Tuple[bool, List[str]]:
        """Whether the pod's infra container lives, and the names of containers that have ended."""
        ended = [n for n, item in record["containers"].items() if not machine.alive(item)]
        return machine.alive(record.get("infra")) and bool(record.get("result")), ended

    # --- present ---------------------------------------------------------------

    def usable(self, conflist: Record, wanted: Record) -> Record:
        """The list as its plugins can run it; CniError when they cannot. Changes nothing."""
        return cni.Runtime(conflist, self.bin_dirs, self.run, wanted["capabilities"]).usable()

    def create(self, wanted: Record, conflist: Record, lasting: bool = True) -> Record:
        """Infra container and network; leaves nothing behind on failure. Raises CniError or
        OSError. ``wanted``: {"ifname", "capabilities", "namespace"}. Of a pod that is not
        ``lasting`` nobody asks later whether it is as it was made."""
        if self.there():
            raise cni.CniError(f"{self.folder}: of an earlier pod; it has to be removed first")
        asks = lasting or bool(conflist.get("cniVersions")) or bool(wanted["capabilities"])
        record: Record = {
            "id": f"{self.name}-{os.urandom(6).hex()}",
            "wanted": wanted,
            # A list of one version needs no question: a plugin that does not speak it says so.
            "conflist": self.usable(conflist, wanted) if asks else conflist,
            "bin_dirs": self.bin_dirs,
            "containers": {},
        }
        try:
            self._save(record)
            self._start_infra(record)
            runtime, attachment = self._runtime(record), self._attachment(record)
            result = runtime.add(attachment)
            self._wait_for_addresses(wanted["ifname"])
            unchecked = runtime.blind(attachment, result) if lasting else {}
            record.update(result=result, unchecked=unchecked)
            self._save(record)
        except BaseException as error:
            try:
                self.remove()
            except (cni.CniError, OSError) as second:
                raise cni.CniError(f"{error}\nCleaning up failed as well: {second}") from error
            raise
        return record

    def _start_infra(self, record: Record) -> None:
        program = namespaces.pause(self.name, os.path.join(self.folder, "infra.log"))

        def known(pid: int) -> None:
            record["infra"] = {"pid": pid, "started": machine.started_at(pid)}
            self._save(record)

        namespaces.pin(namespaces.start(program, known), self.netns)

    def start_container(
        self,
        record: Record,
        definition: Record,
        body: Optional[Callable[[], Callable[[], Any]]] = None,
    ) -> None:
        """Start an app container in the pod, in place of the one of the same name. With a ``body``
        (`namespaces.Program`) a fork of us runs that and not the definition's command."""
        name = checked_name(definition["name"], f"pod {self.name}: container")
        self.stop_container(record, name)
        program = namespaces.app(
            record["infra"]["pid"],
            list(definition["command"]),
            {"PATH": PATH, "HOME": "/", **(definition.get("env") or {})},
            definition.get("workdir") or "/",
            os.path.join(self.folder, f"{name}.log"),
            body,
        )

        def known(pid: int) -> None:
            process = {"pid": pid, "started": machine.started_at(pid)}
            record["containers"][name] = {**process, "definition": definition}
            self._save(record)

        try:
            namespaces.start(program, known)
        except OSError as error:
            # It is on its way out, and whoever looks at the pod must not meet it there.
            machine.kill(record["containers"].get(name))
            raise OSError(f"container {name}: cannot be started: {error}") from error

    def stop_container(self, record: Record, name: str) -> None:
        if name in record["containers"]:
            machine.kill(record["containers"][name])
            del record["containers"][name]
            self._save(record)

    def _wait_for_addresses(self, ifname: str) -> None:
        """IPv6 addresses cannot be used while duplicate detection runs (RFC 4862)."""
        end = time.monotonic() + DAD_SECONDS
        where = f"pod {self.name}, {ifname}"
        while True:
            found = [link for link in links.seen(self.netns) if link.name == ifname]
            info = [entry for link in found for entry in link.addresses]
            double = [entry.address for entry in info if entry.failed]
            waiting = [entry.address for entry in info if entry.tentative and not entry.failed]
            if double:
                what, has = "another host has the pod's address", ", ".join(double)
                remedy = "find who has it: ip neigh, or another node with the same pod CIDR"
                raise cni.CniError(cni.message(where, what, "addresses of its own", has, remedy))
            if not waiting:
                return
            if time.monotonic() > end:
                what, expected = "addresses do not become usable", f"within {DAD_SECONDS:.0f} s"
                has, remedy = f"tentative: {', '.join(waiting)}", "look at the bridge's ports"
                raise cni.CniError(cni.message(where, what, expected, has, remedy))
            time.sleep(0.05)

    # --- absent ----------------------------------------------------------------

    def there(self) -> bool:
        return os.path.lexists(self.folder) or os.path.lexists(self.netns)

    def remove(self) -> bool:
        """Take everything of the pod away; true when there was something. Raises CniError after
        all of it was tried; the record stays then, because another attempt needs it."""
        if not self.there():
            return False
        record = self.record()
        failure: Optional[cni.CniError] = None
        if record:
            for process in (*record["containers"].values(), record.get("infra")):
                machine.kill(process)
            try:
                attachment = self._attachment(record)
                self._runtime(record).delete(attachment, record.get("result"))
            except cni.CniError as error:
                failure = error
        namespaces.unpin(self.netns)
        if failure:
            raise failure
        machine.remove_folder(self.folder)
        return True

    # --- the plugins -----------------------------------------------------------

    def _runtime(self, record: Record) -> cni.Runtime:
        wanted = record["wanted"]
        older = record.get("bin_dirs") or wanted.get("bin_dirs") or []
        folders = [*self.bin_dirs, *(name for name in older if name not in self.bin_dirs)]
        return cni.Runtime(record["conflist"], folders, self.run, wanted["capabilities"])

    def _attachment(self, record: Record) -> cni.Attachment:
        """The path of the network namespace is empty once it is gone, after a restart say."""
        arguments = {"IgnoreUnknown": "1", "K8S_POD_NAME": self.name}
        if record["wanted"].get("namespace"):
            arguments["K8S_POD_NAMESPACE"] = record["wanted"]["namespace"]
        netns = self.netns if os.path.ismount(self.netns) else ""
        return cni.Attachment(record["id"], netns, record["wanted"]["ifname"], arguments)

    # --- facts -----------------------------------------------------------------

    def interfaces(self, pid: int) -> List[Dict[str, Any]]:
        """Interfaces as a process of the pod sees them: name, MAC, MTU, addresses."""
        return [
            {
                "name": link.name,
                "mac": link.mac,
                "mtu": link.mtu,
                "addresses": [f"{a.address}/{a.length}" for a in link.addresses if a.world],
            }
            for link in links.seen(f"/proc/{pid}/ns/net")
            if link.name != "lo"
        ]

    def _member(
        self, name: str, process: Mapping[str, Any], known: Dict[int, List[Dict[str, Any]]]
    ) -> Dict[str, Any]:
        """One container, looked at from inside; nothing is seen of one that has ended. ``known``:
        what was seen in a namespace, which is the same for all who are in it."""
        seen: Dict[str, Any] = {"netns": 0, "interfaces": [], "state": "ended"}
        pid = process["pid"]
        if machine.alive(process):
            try:
                inode = os.stat(f"/proc/{pid}/ns/net").st_ino
                if inode not in known:
                    known[inode] = self.interfaces(pid)
                seen = {"netns": inode, "interfaces": known[inode], "state": "running"}
            except OSError:
                if machine.alive(process):
                    raise
        return {"name": name, "pid": pid, **seen}

    def facts(self, record: Record) -> Dict[str, Any]:
        """Addresses, MAC, MTU and containers, each observed from inside."""
        members = {"infra": record["infra"], **record["containers"]}
        known: Dict[int, List[Dict[str, Any]]] = {}
        containers = [self._member(name, process, known) for name, process in members.items()]
        ifname = record["wanted"]["ifname"]
        first: Dict[str, Any] = next(
            (i for i in containers[0]["interfaces"] if i["name"] == ifname), {}
        )
        return {
            "name": self.name,
            "namespace": record["wanted"].get("namespace"),
            "addresses": by_family(first.get("addresses", [])),
            "mac": first.get("mac", ""),
            "mtu": first.get("mtu", 0),
            "netns": self.netns,
            "infra_pid": record["infra"]["pid"],
            "containers": containers,
            "cni_result": record.get("result"),
            "unchecked": record.get("unchecked", {}),
        }


def by_family(addresses: List[str]) -> Dict[str, str]:
    """{"ipv4": address, "ipv6": address}, the first of each family, without prefix length."""
    found: Dict[str, str] = {}
    for address in addresses:
        found.setdefault("ipv6" if ":" in address else "ipv4", address.split("/")[0])
    return found
