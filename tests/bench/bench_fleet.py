# SPDX-License-Identifier: GPL-3.0-or-later
"""Topic `fleet`: podnet beside plain ssh and other ways, on the same nodes of one lab.

`make bench T=fleet ROUNDS=5 N="5 10 25 50"`; see CONTRIBUTING.md. Contenders take turns in every
round, so that whatever else the machine does meets all of them.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from contenders import Bare, Bench, Fleet, Floor, OneModule, OpenFloor, Podnet, Usual
from cost import Group, counters
from store import Row, Store

from ansible_collections.podnet.fabric.plugins.module_utils.lab.runtime import (  # isort: skip
    Lab,
)
from fleet import Spec  # isort: skip
from labtool import PROBE_SERVER  # isort: skip

CASES = ("first", "again", "cold", "cidr", "added")
SESSIONS = "run/bench-sessions"
# Every session of a node is noted, whatever opened it.
COUNT = f"""cat >/usr/local/bin/noted <<'END'
#!/bin/sh
echo >>/{SESSIONS}
exec /bin/sh "$@"
END
chmod 755 /usr/local/bin/noted; : >/{SESSIONS}
sed -i 's,^\\(root:.*:\\)[^:]*$,\\1/usr/local/bin/noted,' /etc/passwd
"""
CLEAN = r"""[ ! -x /usr/local/sbin/podnet-node ] || podnet-node rollback
ip link del cbr0; ip link del pn64
ip route flush proto 112; ip -6 route flush proto 112
for t in 'inet podnet' 'bridge podnet' 'inet usual'; do nft delete table $t; done
rm -rf /etc/podnet /run/podnet /usr/local/sbin/podnet-node /etc/cni/net.d/10-* /etc/one-module
rm -f /etc/systemd/system/podnet.service /etc/systemd/system/*/podnet.service
rm -f /etc/iproute2/rt_protos.d/podnet.conf /etc/usual.nft /etc/sysctl.d/90-usual.conf
rm -rf /root/.ansible; echo 0 >/proc/sys/net/ipv4/ip_forward
echo 0 >/proc/sys/net/ipv6/conf/all/forwarding; :
"""


@dataclass(frozen=True)
class Entry:
    """A contender: what is measured of it, and at most how often and how large."""

    make: Callable[[Bench], Any]
    label: str
    cases: tuple[str, ...]
    rounds: int = 1000
    sizes: tuple[int, ...] = ()


HEAVY = 1
ENTRIES = {
    "floor": Entry(Floor, "plain ssh, cold", ("first", "again", "cidr", "added")),
    "podnet": Entry(lambda b: Podnet(b, "converge"), "podnet plan + converge", CASES),
    "open": Entry(OpenFloor, "plain ssh, connections open", ("first", "again", "cidr", "added")),
    "true": Entry(Bare, "`ssh node true`, connections open", ("again",)),
    "module": Entry(
        OneModule, "one Python module per node", ("first", "again", "cidr", "added"), 2
    ),
    "site": Entry(lambda b: Podnet(b, "site"), "podnet site, with probes", ("first", "again"), 2),
    "usual": Entry(Usual, "usual role", ("first", "again"), HEAVY, (5, 10, 25)),
}


class Runner:
    """One lab, and every contender on it."""

    def __init__(self, nodes: int, store: Store, folder: Path) -> None:
        self.nodes, self.store = nodes, store
        # One node more than the fleet has, to be added.
        segments = {"rack-a": (nodes + 1) // 2, "rack-b": nodes + 1 - (nodes + 1) // 2}
        self.fleet = Fleet(folder, Spec(segments=segments), f"bench{nodes}")

    def __enter__(self) -> Runner:
        self.fleet.__enter__()
        self.bench = Bench(self.fleet)
        lab = Lab(str(self.fleet.labs), self.fleet.name, str(PROBE_SERVER))
        self.pids = [int(node["pid"]) for node in lab.facts()["nodes"].values()]
        self.controller, self.group = Group(f"controller{self.nodes}"), Group(f"nodes{self.nodes}")
        for pid in self.pids:
            self.group.take(pid)
        self.everywhere(COUNT)
        return self

    def __exit__(self, *what: Any) -> None:
        self.bench.disconnect()
        self.fleet.__exit__(None, None, None)
        self.controller.close()
        self.group.close()

    def everywhere(self, text: str) -> None:
        self.bench.wants(self.nodes + 1)
        self.bench.parallel(dict.fromkeys(self.bench.names, text), "-o", "ControlPath=none")

    def sessions(self) -> int:
        return sum(Path(f"/proc/{p}/root/{SESSIONS}").stat().st_size for p in self.pids)

    def contender(self, name: str, number: int) -> None:
        """All cases of a contender, one after the other, on nodes that have nothing."""
        entry = ENTRIES[name]
        missing = [c for c in entry.cases if not self.store.has(**self.keys(name, c, number))]
        if not missing:
            return
        self.bench.disconnect()
        self.everywhere(CLEAN)
        contender = entry.make(self.bench)
        for case in entry.cases:
            self.bench.wants(self.nodes + (case == "added"), changed=case in ("cidr", "added"))
            contender.prepare(case)
            row = {**self.keys(name, case, number), **self.measure(contender.run)}
            if case in missing:
                self.store.add(row)
            print(
                f"N={self.nodes} round {number} {entry.label}, {case}: {row['wall']:.2f} s,"
                f" CPU {row['controller_cpu']:.2f} + {row['node_cpu']:.2f} s,"
                f" {row['sessions'] / self.nodes:.1f} sessions per node",
                flush=True,
            )

    def keys(self, name: str, case: str, number: int) -> dict[str, Any]:
        return {"nodes": self.nodes, "contender": name, "case": case, "round": number}

    def measure(self, run: Callable[[], None]) -> dict[str, Any]:
        """Run it in a process of its own, in the controller's group with all that it starts."""
        groups = (self.controller, self.group)
        before = [group.seconds() for group in groups]
        sessions, (received, connections) = self.sessions(), counters(self.pids)
        self.controller.forget_peak()
        began = time.monotonic()
        child = os.fork()
        if child == 0:
            self.controller.take(os.getpid())
            try:
                run()
            except BaseException as error:
                print(error, file=sys.stderr, flush=True)
                os._exit(1)
            os._exit(0)
        if os.waitpid(child, 0)[1]:
            raise SystemExit("a contender failed; its words are above")
        wall = time.monotonic() - began
        after = [group.seconds() for group in groups]
        now_received, now_connections = counters(self.pids)
        return {
            "wall": round(wall, 3),
            "controller_cpu": round(after[0] - before[0], 3),
            "node_cpu": round(after[1] - before[1], 3),
            "peak_memory": self.controller.peak(),
            "sessions": self.sessions() - sessions,
            "connections": now_connections - connections,
            "bytes": now_received - received,
        }


def summary(rows: list[Row]) -> Any:
    """What the page shows of them."""
    from summary_fleet import summary as of_fleet  # the page draws, and measuring need not

    return of_fleet(rows, {name: entry.label for name, entry in ENTRIES.items()})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    # `make bench ROUNDS=5 N="5 10 25 50"` puts them into the environment.
    rounds, sizes = os.environ.get("ROUNDS") or "5", os.environ.get("N") or "5 10 25 50"
    parser.add_argument("--rounds", type=int, default=int(rounds))
    parser.add_argument("--nodes", default=sizes, help="sizes of the fleet")
    parser.add_argument("--only", default=" ".join(ENTRIES), help="contenders")
    parser.add_argument("--fresh", action="store_true", help="forget earlier results")
    wanted = parser.parse_args()
    store = Store("fleet", wanted.fresh)
    for nodes in sorted(map(int, wanted.nodes.split()), reverse=True):
        with (
            tempfile.TemporaryDirectory(prefix="podnet-bench-") as folder,
            Runner(nodes, store, Path(folder)) as runner,
        ):
            for number in range(1, wanted.rounds + 1):
                for name in wanted.only.split():
                    entry = ENTRIES[name]
                    fits = not entry.sizes or nodes in entry.sizes
                    if fits and number <= entry.rounds:
                        runner.contender(name, number)


if __name__ == "__main__":
    main()
