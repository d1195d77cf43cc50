# SPDX-License-Identifier: GPL-3.0-or-later
"""One namespace node, driven by the core alone: read → diff → transaction, and complete dumps."""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import dataclass
from typing import Any

from ansible_collections.podnet.fabric.plugins.plugin_utils import (
    node,
    render,
    transaction,
    workspace,
)
from ansible_collections.podnet.fabric.plugins.plugin_utils.changes import ChangeSet
from ansible_collections.podnet.fabric.plugins.plugin_utils.intent.model import Fabric
from ansible_collections.podnet.fabric.plugins.plugin_utils.intent.problems import Problem
from ansible_collections.podnet.fabric.plugins.plugin_utils.plan import compile_fleet, plan_node
from ansible_collections.podnet.fabric.plugins.plugin_utils.preflight import preflight
from netnode import NetNode

TEMPLATES = workspace.templates()
PROGRAM = workspace.node_program()
UNIT = workspace.role_file("converge", "files", "podnet.service")
PROTOCOLS = workspace.role_file("converge", "files", "rt_protos.conf")

# The order in which a person runs the rendered files, as their own comments say.
BY_HAND = """set -e; cd /run/by-hand
ip -batch bridge.batch
ip -batch vxlan.batch
sysctl -q --load=sysctl.conf
bridge -batch fdb.batch
ip -batch routes.batch
nft -f podnet.nft
"""

UNDERLAY = """set -e
echo 0 >/proc/sys/net/ipv4/ip_forward; echo 0 >/proc/sys/net/ipv6/conf/all/forwarding
ip link add eth0 type veth peer name far0
ip link set eth0 address 02:00:00:00:00:01; ip link set far0 address 02:00:00:00:00:02
ip link set far0 addrgenmode none up; ip link set eth0 addrgenmode none up
ip addr add 192.0.2.1/24 dev eth0; ip addr add 2001:db8::1/64 dev eth0 nodad
ip route add default via 192.0.2.254; ip -6 route add default via 2001:db8::fe
"""

# Everything of the network that the kernel tells, whoever made it.
DUMP = r"""
s() { printf '@@%s\n' "$1"; }
s link; ip -N -j -d link show
s addr; ip -N -j addr show
s route4; ip -N -j -d -4 route show table all
s route6; ip -N -j -d -6 route show table all
s neigh; ip -N -j -d neigh show nud permanent
s fdb; bridge -j fdb show
s nft; for f in inet ip ip6 arp netdev; do nft -s list ruleset $f; done
nft -s -t list ruleset bridge
s sysctl; cd /proc/sys/net
grep -rHs . ipv4/conf ipv6/conf ipv4/ip_forward | grep -v stable_secret | sort
"""

FILES = r"""cd /; find etc/podnet etc/cni etc/iproute2 etc/systemd usr/local/sbin run/podnet \
  \( -type f -o -type l \) -printf '%p %i %T@ %m %l\n' 2>/dev/null | sort"""

# Counters, timers and numbers that differ between two equal links.
VOLATILE = re.compile(r".*_timer|ifindex|link_index|link_netnsid|stats.*|root_id|bridge_id|num_.*")


def fleet(**changes: Any) -> Fabric:
    """Five nodes in two segments, dual stack; `node-1` is the one that tests build."""
    hosts = changes.pop("hosts", range(1, 6))
    own = {i: changes.pop(f"node_{i}", {}) for i in hosts}
    shared = {"podnet_cluster_cidrs": ["10.64.0.0/16", "fd00:64::/48"], **changes}
    rows: dict[str, dict[str, Any]] = {
        f"node-{i}": {
            **shared,
            "podnet_pod_cidrs": [f"10.64.{i}.0/24", f"fd00:64:0:{i}::/64"],
            "podnet_underlay_addresses": [f"192.0.2.{i}", f"2001:db8::{i}"],
            "podnet_segment": "a" if i < 4 else "b",
            **own[i],
        }
        for i in hosts
    }
    return compile_fleet(rows)


def rendered(fabric: Fabric, name: str = "node-1") -> dict[str, str]:
    return render.render_node(fabric, plan_node(fabric, name), TEMPLATES)


@dataclass
class Run:
    """One converge: its changes, the staging text, and the last outcome."""

    changes: ChangeSet
    staged: str
    outcome: transaction.Outcome
    errors: str = ""

    @property
    def commands(self) -> list[str]:
        return [str(c.do) for phase in self.changes.phases for c in self.changes.phase(phase)]


class Bench(NetNode):
    """A namespace node with an underlay interface."""

    def __enter__(self) -> Bench:
        super().__enter__()
        self.sh(UNDERLAY)
        return self

    def look(
        self, fabric: Fabric, name: str = "node-1", ident: str = "run1"
    ) -> tuple[ChangeSet, str]:
        """Read and compare, as the action does: what an earlier run left goes first."""
        plan = plan_node(fabric, name)
        have = node.read(fabric, plan, self.run(node.script_to_read(fabric, plan)).stdout)
        if have.pending == "dead":
            self.run(transaction.clear_script(have.transaction))
            have = node.read(fabric, plan, self.run(node.script_to_read(fabric, plan)).stdout)
        files = node.NodeFiles(rendered(fabric, name), PROGRAM, UNIT, PROTOCOLS)
        found = node.changes_for(fabric, plan, files, have, 3, ident)
        # Each run has another name, but here; one that was kept would be taken for sent again.
        if found[0].phases:
            self.run("rm -f /run/podnet/committed")
        return found

    def refusals(self, fabric: Fabric, name: str = "node-1", user: str = "") -> list[Problem]:
        """What must be mended on the node before anything is changed; ``user`` is what makes
        another one of root."""
        plan = plan_node(fabric, name)
        text = shlex.quote(node.script_to_read(fabric, plan))
        answer = self.run(f"{user}sh -c {text}")
        return preflight(fabric, plan, node.read(fabric, plan, answer.stdout))

    def converge(self, fabric: Fabric, name: str = "node-1") -> Run:
        changes, staged = self.look(fabric, name)
        return self.carry_out(changes, staged)

    def carry_out(
        self, changes: ChangeSet, staged: str, prelude: str = "", prefix: str = ""
    ) -> Run:
        """The phases in order; ``prelude`` runs after staging, before the first phase,
        ``prefix`` before everything of each phase."""
        run = Run(changes, staged, transaction.Outcome("unchanged"))
        phases = changes.phases
        for index, phase in enumerate(phases):
            number = self.next_number() if changes.stale_generation else None
            staging = transaction.head_script(0, number) + staged + prelude
            text = prefix + (staging if index == 0 else "")
            answer = self.run(text + transaction.phase_script("run1", phase, phase == phases[-1]))
            run.outcome = transaction.outcome(answer.stdout)
            run.errors = answer.stderr
            if answer.returncode:
                break
        return run

    def only(self, fabric: Fabric, *phases: str, commit: bool = False) -> None:
        """Some phases of a change, and stop there."""
        _changes, staged = self.look(fabric)
        begin = transaction.head_script(600, self.next_number()) + staged
        last = phases[-1] if commit else ""
        self.sh(begin + "".join(transaction.phase_script("run1", p, p == last) for p in phases))

    def next_number(self) -> int:
        """As the gate counts: one more than the last generation."""
        names = self.sh("ls /etc/podnet/generations 2>/dev/null || true").split()
        return max(map(int, names), default=0) + 1

    def settled(self, fabric: Fabric, name: str = "node-1") -> Run:
        """Converge, and insist that it went well."""
        run = self.converge(fabric, name)
        assert run.outcome.state in ("committed", "unchanged"), (run.outcome, run.errors)
        return run

    def by_hand(self, fabric: Fabric, name: str = "node-1") -> None:
        """Run the rendered files as a person does, without podnet-node."""
        self.put({f"/run/by-hand/{n}": text for n, text in rendered(fabric, name).items()})
        self.sh(BY_HAND)

    def put(self, files: dict[str, str]) -> None:
        for path, text in files.items():
            folder = path.rpartition("/")[0]
            self.sh(f"mkdir -p {folder}; cat >{path} <<'END_OF_FILE'\n{text}END_OF_FILE\n")

    def dump(self) -> dict[str, Any]:
        """Kernel state by section, without what differs between two equal states."""
        return plain_dump(self.sh(DUMP))

    def files(self) -> str:
        """Path, inode, time, mode and link target of every file that podnet might write."""
        return self.sh(FILES)


def plain_dump(output: str) -> dict[str, Any]:
    """What `DUMP` printed by section; sections that are not JSON stay lines."""
    sections: dict[str, list[str]] = {}
    current: list[str] = []
    for line in output.splitlines():
        if line.startswith("@@"):
            current = sections.setdefault(line[2:], [])
        else:
            current.append(line)
    return {name: _plain(name, "\n".join(lines)) for name, lines in sections.items()}


def _plain(name: str, text: str) -> Any:
    if name not in ("link", "addr", "route4", "route6", "neigh", "fdb"):
        return text.splitlines()
    items = [_stripped(item) for item in json.loads(text or "[]") if item]
    if name == "addr":  # one line per address; what the link is like stands under link
        items = [{"dev": i["ifname"], **a} for i in items for a in i.get("addr_info", [])]
    return sorted(json.dumps(item, sort_keys=True) for item in items)


def _stripped(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _stripped(v) for k, v in value.items() if not VOLATILE.fullmatch(k)}
    if isinstance(value, list):
        return [_stripped(item) for item in value]
    return value


def difference(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    """Lines that only one of two dumps has; empty when they are equal."""
    found = []
    for name in before:
        old, new = before[name], after[name]
        if old == new:
            continue
        found += [f"{name} - {line}" for line in sorted(set(old) - set(new))]
        found += [f"{name} + {line}" for line in sorted(set(new) - set(old))]
        found += [] if set(old) != set(new) else [f"{name}: another order or number"]
    return found


def assert_same(before: dict[str, Any], after: dict[str, Any], where: str = "") -> None:
    """Fail with the lines that differ, in full."""
    found = difference(before, after)
    assert not found, "\n".join([where, *found])
