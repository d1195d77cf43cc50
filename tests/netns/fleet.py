# SPDX-License-Identifier: GPL-3.0-or-later
"""A fleet for tests: an inventory, its embedded lab, and the playbooks run on it as a user does."""

from __future__ import annotations

import dataclasses
import ipaddress
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Any

import yaml

REPO = Path(__file__).resolve().parents[2]
PORT = 7717
OUTSIDE = {"ipv4": "203.0.113.10", "ipv6": "2001:db8:ffff::10"}
SEGMENT_NETWORKS = {
    "rack-a": ("192.0.2.0/24", "2001:db8:a::/64"),
    "rack-b": ("198.51.100.0/24", "2001:db8:b::/64"),
}


SETTINGS = {
    "ANSIBLE_CONFIG": str(REPO / "ansible.cfg"),
    "ANSIBLE_COLLECTIONS_PATH": str(REPO / ".ansible" / "collections"),
    "ANSIBLE_NOCOLOR": "1",
}


def program(command: list[str]) -> str:
    """Where the program of a command is: beside this Python."""
    return str(Path(sys.executable).parent / command[0])


def run_ansible(folder: Path, command: list[str], **more: str) -> subprocess.CompletedProcess[str]:
    """A program of Ansible in a user's folder, with this collection and the shipped settings."""
    return subprocess.run(
        [program(command), *command[1:]],
        cwd=folder,
        env={**os.environ, **SETTINGS, **more},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )


@dataclasses.dataclass
class Spec:
    """What a test fleet looks like. `segments`: segment → number of nodes."""

    mode: str = "auto"
    pods: tuple[str, ...] = ("ipv4", "ipv6")
    underlay: tuple[str, ...] = ("ipv4", "ipv6")
    segments: dict[str, int] = dataclasses.field(default_factory=lambda: {"rack-a": 2, "rack-b": 1})
    extra: dict[str, Any] = dataclasses.field(default_factory=dict)


def inventory(spec: Spec) -> dict[str, Any]:
    """The inventory of a spec, in the form that a user writes."""
    hosts: dict[str, Any] = {}
    for segment, count in spec.segments.items():
        for position in range(1, count + 1):
            number = len(hosts) + 1
            v4, v6 = (ipaddress.ip_network(text) for text in SEGMENT_NETWORKS[segment])
            pods = {"ipv4": f"10.64.{number}.0/24", "ipv6": f"fd00:64:0:{number:x}::/64"}
            addresses = {"ipv4": str(v4[10 + position]), "ipv6": str(v6[16 + position])}
            hosts[f"node-{number}"] = {
                "podnet_segment": segment,
                "podnet_pod_cidrs": [pods[family] for family in spec.pods],
                "podnet_underlay_addresses": [addresses[family] for family in spec.underlay],
            }
    cluster = {"ipv4": "10.64.0.0/16", "ipv6": "fd00:64::/48"}
    variables = {
        "podnet_mode": spec.mode,
        "podnet_cluster_cidrs": [cluster[family] for family in spec.pods],
        "podnet_verify_outside": [
            {"address": OUTSIDE[family], "port": PORT}
            for family in spec.pods
            if family in spec.underlay
        ],
        **spec.extra,
    }
    return {"podnet": {"vars": variables, "hosts": hosts}}


class Fleet:
    """Context manager: the lab is up inside it."""

    def __init__(self, folder: Path, spec: Spec, name: str) -> None:
        self.folder, self.spec, self.name = folder, spec, name
        self.labs = folder / "labs"
        self.ssh_config = self.labs / name / "ssh_config"
        self._lab = {"podnet_lab_name": name, "podnet_lab_dir": str(self.labs)}
        if rootfs := os.environ.get("PODNET_LAB_ROOTFS"):  # another distribution's (tools/rootfs)
            self._lab["podnet_lab_rootfs"] = rootfs
        self.data = inventory(spec)
        self.write()

    def write(self) -> None:
        """The inventory as it is in `data` now."""
        text = yaml.safe_dump(self.data, sort_keys=False)
        (self.folder / "hosts.yml").write_text(text, encoding="utf-8")

    @property
    def nodes(self) -> list[str]:
        return list(self.data["podnet"]["hosts"])

    def __enter__(self) -> Fleet:
        try:
            self.play("lab_up", check=True)
        except BaseException:
            self.play("lab_down")
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.play("lab_down", check=True)

    def module(
        self, node: str, name: str, arguments: dict[str, Any], *more: str, fails: bool = False
    ) -> dict[str, Any]:
        """Run one module on a node; its result. ``_check`` among the arguments: check mode.
        ``more``: arguments of the command line."""
        check = arguments.pop("_check", False)
        done = self._run(
            ["ansible", "-i", "hosts.yml", node, "-m", name, "-a", json.dumps(arguments)]
            + ["-e", f"@{self.labs / self.name / 'vars.json'}"]
            + (["--check"] if check else [])
            + list(more),
            ANSIBLE_STDOUT_CALLBACK="ansible.builtin.minimal",
            ANSIBLE_CALLBACK_RESULT_FORMAT="json",
        )
        if bool(done.returncode) != fails:
            raise AssertionError(f"{name} {arguments}\n{done.stdout}\n{done.stderr}")
        result: dict[str, Any] = json.loads(done.stdout.partition(" => ")[2])
        return result

    def _run(self, command: list[str], **more: str) -> subprocess.CompletedProcess[str]:
        return run_ansible(self.folder, command, **more)

    def play(
        self, playbook: str, *arguments: str, check: bool = False
    ) -> subprocess.CompletedProcess[str]:
        """Run a playbook of the collection by its FQCN, from the fleet's own folder."""
        command = self.command(playbook, *arguments)
        done = self._run(command)
        if check and done.returncode:
            raise AssertionError(f"{' '.join(command)}\n{done.stdout}\n{done.stderr}")
        return done

    def command(self, playbook: str, *arguments: str) -> list[str]:
        """Words of a run of a playbook."""
        return [
            "ansible-playbook",
            "-i",
            "hosts.yml",
            playbook if playbook.endswith(".yml") else f"podnet.fabric.{playbook}",
            "-e",
            json.dumps(self._lab),
            *(
                ["-e", f"@{self.labs / self.name / 'vars.json'}"]
                if self.ssh_config.exists()
                else []
            ),
            *arguments,
        ]

    def ssh(self, node: str, command: str) -> str:
        """Run a shell text on a node over SSH, independently of Ansible."""
        done = subprocess.run(
            ["ssh", "-F", str(self.ssh_config), node, command],
            # ssh makes its input non-blocking, for everybody who shares it.
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise AssertionError(f"{node}: {command}\n{done.stdout}\n{done.stderr}")
        return done.stdout

    def results(self) -> list[dict[str, Any]]:
        """The results of the last verification."""
        path = self.folder / ".podnet" / "observed" / "results.json"
        results: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))["results"]
        return results


DUMP = r"""
ip -j -d link show type bridge; ip -j -d link show type vxlan
ip -4 addr show; ip -6 addr show
ip -4 route show table all; ip -6 route show table all; ip rule; ip -6 rule
for d in $(ip -o link show type vxlan | sed 's/^[0-9]*: *\([^:@]*\).*/\1/'); do
  bridge fdb show dev $d; ip neigh show dev $d nud permanent; ip -6 neigh show dev $d nud permanent
done
for f in inet ip ip6 arp netdev; do nft list ruleset $f; done; nft -t list ruleset bridge
grep -Hs . /proc/sys/net/ipv4/ip_forward /proc/sys/net/ipv4/conf/*/rp_filter \
  /proc/sys/net/ipv4/conf/*/forwarding /proc/sys/net/ipv6/conf/*/forwarding \
  /proc/sys/net/ipv6/conf/*/accept_ra
"""
FILES = (
    "find /etc/podnet /etc/cni /usr/local/sbin /etc/iproute2/rt_protos.d /etc/systemd/system "
    "-printf '%p %i %T@ %m %l\\n' | sort; "
    "find /etc/podnet /etc/cni -type f -exec sha256sum {} + | sort"
)


def without_timers(dump: str) -> str:
    """A kernel dump without the values that change by themselves: timers, and the carrier of a
    bridge, which goes a while after its last port."""
    kept = [line for line in dump.splitlines() if "valid_lft" not in line]
    text = "\n".join(kept)
    for word in (" linkdown", "NO-CARRIER,", ",LOWER_UP", '"NO-CARRIER",', ',"LOWER_UP"'):
        text = text.replace(word, "")
    text = re.sub(r'state (UP|DOWN)|"operstate":"(UP|DOWN)"', "", text)
    changing = r'"((hello|tcn|gc)_timer|topology_change[a-z_]*)":[0-9.]+'
    return re.sub(changing, "", text)
