# SPDX-License-Identifier: GPL-3.0-or-later
"""Kill the controller of a fleet, and say of each node which generation it is in."""

from __future__ import annotations

import copy
import os
import re
import subprocess
import threading
import time
import uuid
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from corebench import DUMP, difference, plain_dump
from fleet import Fleet, Spec
from marked import MARK, kill_marked

HERE = Path(__file__).parent
# The same in every process of one run, which have to find the same tests.
RUN = int(os.environ.get("PYTEST_XDIST_TESTRUNUID") or "0", 16) or time.time_ns()
SEED = int(os.environ.get("PODNET_FAULT_SEED") or RUN % 1_000_000)

# Things of other people on a node; they are part of every dump.
FOREIGN = r"""set -e
ip link add for9 type bridge; ip addr add 172.31.9.1/24 dev for9; ip link set for9 up
ip link add for8 mtu 1400 type veth peer name for7; ip link set for8 up
ip link add for6 type vxlan id 65 dstport 9999 local 127.0.0.1 nolearning; ip link set for6 up
bridge fdb add 02:99:00:00:00:01 dev for6 dst 192.0.2.99 self permanent
ip neigh add 172.31.9.9 lladdr 02:99:00:00:00:02 dev for9 nud permanent
ip route add 10.64.2.0/24 via 172.31.9.9 metric 500
ip route add 10.64.3.0/24 via 172.31.9.9 proto 112 metric 501
ip -6 route add blackhole fd00:64:0:3::/64 proto 112 metric 500
ip route add 10.64.2.0/24 via 172.31.9.9 proto 112 metric 112 table 777
ip rule add from 10.64.77.0/24 lookup 777 pref 7770
nft add table inet foreign; nft add chain inet foreign c '{ type filter hook forward priority 5; }'
nft add table ip podnet; nft add chain ip podnet c
mkdir -p /etc/cni/net.d /etc/iproute2/rt_protos.d /etc/podnet
echo '{}' >/etc/cni/net.d/99-foreign.conflist
echo '113 foreign' >/etc/iproute2/rt_protos.d/foreign.conf
echo x >/etc/podnet/foreign
"""

# Until the node's timers have ended and nothing of a run is at work any more; what still holds
# after a minute is shown by the dump.
QUIET = r"""
busy() {
  [ -e /etc/podnet/txn ] || [ -e /run/podnet/lock ] ||
    pgrep -f '^(/bin/)?sh (-s|/usr/local/sbin/podnet-nod[e])|podnet-confir[m]' >/dev/null
}
i=0; while busy && [ $i -lt 600 ]; do i=$((i+1)); sleep 0.1; done
"""
DEFINITIONS = r"""s rules; ip rule; ip -6 rule
s definitions; cd /etc
sha256sum podnet/current/* podnet/*.sysctl podnet/foreign cni/net.d/* iproute2/rt_protos.d/*
s left; ls -d podnet/* | grep -v generations
ls -A /run/podnet | grep -v -e netns -e pod-locks -e verify
s generations; readlink podnet/current; for g in podnet/generations/*; do
  cd $g; echo "$(sha256sum * | sha256sum | cut -c1-16) ${g##*/}"; cd /etc; done
"""
# Ports of pods come and go; what they change of a bridge's state follows its ports' carriers.
PORTS = re.compile(r"\bveth[0-9a-f]{8}\b|/conf/veth")
FROM_PORTS = re.compile(
    r'"(operstate|topology_change(_detected)?|[tg][sr]o_max_\w+)": ("\w+"|\d+),? ?'
)


class FaultFleet(Fleet):
    """A fleet whose runs can be killed. One run at a time."""

    def __init__(self, folder: Path, spec: Spec, name: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        super().__init__(folder, spec, name)
        self.events = folder / "events"
        self.fault: dict[str, str] = {}
        self.own: dict[str, str] = {}

    def second(self, folder: Path) -> FaultFleet:
        """Another controller of the same nodes: its own folder and SSH connections."""
        folder.mkdir(parents=True, exist_ok=True)
        other = copy.copy(self)
        other.folder, other.events, other.data = folder, folder / "events", copy.deepcopy(self.data)
        other.own = {"ANSIBLE_SSH_CONTROL_PATH_DIR": str(folder / "cp")}
        other.write()
        return other

    def _run(self, command: list[str], **more: str) -> subprocess.CompletedProcess[str]:
        return super()._run(command, **{**more, **self.own, **self.fault})

    def killable(
        self,
        playbook: str,
        *arguments: str,
        at: str = "0",
        do: str = "",
        connections: bool = False,
    ) -> subprocess.CompletedProcess[str]:
        """Run a playbook and kill it, or run a shell text ``do`` and go on. ``at``: a boundary (a
        number or a word of it), `boundary+seconds`, or `+seconds` after the start. Return code -9
        when it was killed, otherwise its own."""
        self.events.unlink(missing_ok=True)
        self.fault = {
            MARK: uuid.uuid4().hex,
            "PODNET_FAULT_AT": at if not at.startswith("+") else "0",
            "PODNET_FAULT_DO": do,
            "PODNET_FAULT_EVENTS": str(self.events),
            "PODNET_FAULT_CONNECTIONS": str(int(connections)),
            "ANSIBLE_CALLBACK_PLUGINS": str(HERE / "callbacks"),
            "PYTHONPATH": str(HERE),
        }
        mark = self.fault[MARK]
        after = float(at) if at.startswith("+") else 600.0
        late = threading.Timer(after, kill_marked, (mark, connections))
        late.start()
        try:
            return self.play(playbook, *arguments)
        finally:
            late.cancel()
            late.join()
            self.fault = {}
            kill_marked(mark, connections)

    def boundaries(self) -> list[str]:
        """Of the last run that could be killed."""
        return self.events.read_text(encoding="utf-8").splitlines() if self.events.exists() else []

    def reaches(self, node: str) -> bool:
        """Whether a new connection to a node comes about."""
        options = ["-o", "ControlPath=none", "-o", "ConnectTimeout=2"]
        command = ["ssh", "-F", str(self.ssh_config), *options, node, "true"]
        return not subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, check=False
        ).returncode

    def everywhere(self, command: str, nodes: Iterable[str] = ()) -> dict[str, str]:
        """The output of a shell text on every node, all at once."""
        names = list(nodes) or self.nodes
        with ThreadPoolExecutor(len(names)) as pool:
            return dict(zip(names, pool.map(lambda n: self.ssh(n, command), names), strict=True))

    def states(self, nodes: Iterable[str] = ()) -> dict[str, dict[str, Any]]:
        """When all is quiet: kernel, definitions and what else lies about, of every node."""
        outputs = self.everywhere(QUIET + DUMP + DEFINITIONS, nodes)
        return {node: _comparable(output) for node, output in outputs.items()}


def _comparable(output: str) -> dict[str, Any]:
    dump = plain_dump(output)
    dump["generations"] = _complete(dump["generations"])
    for name, lines in dump.items():
        dump[name] = [_calm(line) for line in lines if not PORTS.search(line)]
    dump["nft"] = sorted(("\n".join(dump["nft"]) + "\n").split("\n}\n"))  # order of loading
    dump["fdb"] = [line for line in dump["fdb"] if '"permanent"' in line]
    dump["route6"] = [line for line in dump["route6"] if '"type": "multicast"' not in line]
    return dump


def _complete(lines: list[str]) -> list[str]:
    """Only that the current generation is there; the numbers go up."""
    current = lines[0].rpartition("/")[2] if lines else "none"
    return ["current is there" if any(x.endswith(f" {current}") for x in lines[1:]) else "broken"]


def _calm(line: str) -> str:
    """Without what a bridge takes over from its ports, some time after they come and go."""
    for word in ('"NO-CARRIER", ', '"LOWER_UP", ', ', "LOWER_UP"', '"linkdown"'):
        line = line.replace(word, "")
    return FROM_PORTS.sub("", line)


@dataclass(frozen=True)
class Outcome:
    """What came of one killed run: by node `old`, `new`, or the lines that belong to neither."""

    by_node: dict[str, str]

    @property
    def word(self) -> str:
        words = set(self.by_node.values())
        return words.pop() if len(words) == 1 and words <= {"old", "new"} else "mixed by node"

    @property
    def wrong(self) -> dict[str, str]:
        return {node: text for node, text in self.by_node.items() if text not in ("old", "new")}


States = dict[str, dict[str, Any]]


def judge(now: States, old: States, new: States) -> Outcome:
    """Each node by itself; the fewest lines of difference say what a mixture is nearest to."""
    by_node = {}
    for node, state in now.items():
        away = {word: difference(then[node], state) for word, then in (("old", old), ("new", new))}
        equal = [word for word, lines in away.items() if not lines]
        nearest = min(away, key=lambda word: len(away[word]))
        by_node[node] = equal[0] if equal else "\n".join([f"not {nearest}:", *away[nearest]])
    return Outcome(by_node)


class Ping:
    """Fifty packets per second from a pod to another, as long as it is let."""

    def __init__(self, fleet: Fleet, node: str, netns: str, to: str) -> None:
        self.name = f"{node} to {to}"
        command = f"exec nsenter --net={netns} ping -n -O -i 0.02 -W 5 {to}"
        self.log = fleet.folder / f"ping-{uuid.uuid4().hex[:8]}"
        with self.log.open("w", encoding="utf-8") as stream:
            self.process = subprocess.Popen(
                ["ssh", "-F", str(fleet.ssh_config), "-o", "ControlMaster=no", node, command],
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.STDOUT,
            )
        self.stop = lambda: fleet.ssh(node, f"pkill -INT -f '^ping .* {to}$'; true")

    def result(self) -> tuple[int, int, list[str]]:
        """Packets sent and lost, and what `ping` said of those that were late or lost."""
        self.stop()
        self.process.wait(timeout=60)
        text = self.log.read_text(encoding="utf-8")
        found = re.search(r"(\d+) packets transmitted, (\d+) received", text)
        assert found, f"{self.name}: {text[-500:]}"
        sent, received = (int(word) for word in found.groups())
        return sent, sent - received, [x for x in text.splitlines() if "time=" not in x][:20]
