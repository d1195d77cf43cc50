# SPDX-License-Identifier: GPL-3.0-or-later
"""Ways to bring a fleet into a state, each started as its user would start it."""

from __future__ import annotations

import copy
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parents[1] / ".ansible/collections"), str(HERE.parent / "netns")]

from ansible_collections.podnet.fabric.plugins.plugin_utils.plan import (  # noqa: E402  path above
    compile_fleet,
    plan_node,
)
from ansible_collections.podnet.fabric.plugins.plugin_utils.render import (  # noqa: E402  as above
    render_node,
)
from ansible_collections.podnet.fabric.plugins.plugin_utils.workspace import (  # noqa: E402  as above
    templates,
)
from fleet import REPO, Fleet  # noqa: E402  as above

Inventory = dict[str, Any]
Command = list[str]
CONFLIST = "/etc/cni/net.d/10-podnet.conflist"


class Bench:
    """A lab of nodes, the inventory in force, and the processes that work on it.

    ``ssh_config`` has no choice of algorithms: OpenSSH's own defaults, for every contender.
    """

    def __init__(self, fleet: Fleet) -> None:
        self.fleet, self.base = fleet, copy.deepcopy(fleet.data)
        self.inventory = copy.deepcopy(fleet.data)
        self.folder = fleet.folder
        lines = fleet.ssh_config.read_text(encoding="utf-8").splitlines()
        self.ssh_config = self.folder / "ssh_config"
        kept = [line for line in lines if "KexAlgorithms" not in line]
        self.ssh_config.write_text("\n".join(kept) + "\n", encoding="utf-8")
        self.variables = self.folder / "connection.json"
        values = json.loads((fleet.ssh_config.parent / "vars.json").read_text(encoding="utf-8"))
        values["ansible_ssh_common_args"] = f"-F {self.ssh_config}"
        del values["ansible_control_path_dir"]
        self.variables.write_text(json.dumps(values), encoding="utf-8")

    @property
    def names(self) -> list[str]:
        return list(self.inventory["podnet"]["hosts"])

    def wants(self, nodes: int, changed: bool = False) -> None:
        """The first nodes, and for one of them another pod CIDR or not."""
        self.inventory = copy.deepcopy(self.base)
        hosts = self.inventory["podnet"]["hosts"]
        for name in list(hosts)[nodes:]:
            del hosts[name]
        if changed:
            hosts["node-1"]["podnet_pod_cidrs"] = ["10.64.251.0/24", "fd00:64:0:fb::/64"]
        for number, host in enumerate(hosts.values(), 1):
            v4, v6 = host["podnet_pod_cidrs"]
            host["usual_gateways"] = [v4.replace(".0/24", ".1"), v6.replace("/64", "1")]
            host["usual_vtep_mac"] = f"02:00:00:00:00:{number:02x}"
        path = self.folder / "bench.json"
        path.write_text(json.dumps(self.inventory), encoding="utf-8")

    def definitions(self) -> dict[str, dict[str, str]]:
        """Node → file name → text, of the inventory in force."""
        group = self.inventory["podnet"]
        hosts = {
            name: {k: v for k, v in {**group["vars"], **host}.items() if k.startswith("podnet_")}
            for name, host in group["hosts"].items()
        }
        fabric = compile_fleet(hosts)
        loaded = templates()
        return {n: render_node(fabric, plan_node(fabric, n), loaded) for n in hosts}

    def parallel(self, texts: dict[str, str], *options: str, command: str = "sh -s") -> None:
        """A shell text to every node, all at once, each by a process of plain ssh."""
        running = []
        for name, text in texts.items():
            path = self.folder / f"text-{name}"
            path.write_text(text, encoding="utf-8")
            argv = ["ssh", "-F", str(self.ssh_config), *options, name, command]
            with path.open("rb") as stream:
                running.append(
                    subprocess.Popen(
                        argv, stdin=stream, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
                    )
                )
        for process in running:
            _output, errors = process.communicate()
            if process.returncode:
                raise AssertionError(f"{process.args}: {errors.decode()}")

    def playbook(self, playbook: str, *arguments: str, **environment: str) -> None:
        program = str(Path(sys.executable).parent / "ansible-playbook")
        command = [program, "-i", "bench.json", playbook, "-e", f"@{self.variables}", *arguments]
        own = {
            "ANSIBLE_CONFIG": str(REPO / "ansible.cfg"),
            "ANSIBLE_COLLECTIONS_PATH": str(REPO / ".ansible/collections"),
            "ANSIBLE_SSH_CONTROL_PATH_DIR": str(self.folder / "cp"),
        }
        done = subprocess.run(
            command,
            cwd=self.folder,
            env={**os.environ, **own, **environment},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise AssertionError(f"{' '.join(command)}\n{done.stdout[-3000:]}\n{done.stderr}")

    def disconnect(self) -> None:
        """End every open connection of every contender."""
        for path in (*self.folder.glob("cp/*"), *self.folder.glob("floor-*.sock")):
            command = ["ssh", "-o", f"ControlPath={path}", "-O", "exit", "none"]
            subprocess.run(command, capture_output=True, check=False)


class Floor:
    """Nothing but plain ssh: commands that were rendered before, to all nodes at once."""

    options: tuple[str, ...] = ("-o", "ControlPath=none")

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.texts: dict[str, str] = {}

    def prepare(self, case: str) -> None:
        # What the old range leaves; everything else is replaced in place.
        end = "ip route del 10.64.1.0/24 proto 112; ip -6 route del fd00:64:0:1::/64 proto 112"
        end = f"{{ {end}; }} 2>/dev/null\n:\n" if case == "cidr" else ":\n"
        self.texts = {n: commands(files) + end for n, files in self.bench.definitions().items()}

    def run(self) -> None:
        self.bench.parallel(self.texts, *self.options)


class OpenFloor(Floor):
    """The same over connections that are open already."""

    def prepare(self, case: str) -> None:
        super().prepare(case)
        self.options = ("-o", f"ControlPath={self.bench.folder}/floor-%n.sock")
        opened = (*self.options, "-o", "ControlMaster=auto", "-o", "ControlPersist=600")
        self.bench.parallel(dict.fromkeys(self.texts, "true\n"), *opened)


class Bare:
    """`ssh node true` over open connections: the least that a command costs a node."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.floor = OpenFloor(bench)

    def prepare(self, case: str) -> None:
        self.floor.prepare(case)

    def run(self) -> None:
        self.bench.parallel(
            dict.fromkeys(self.bench.names, ""), *self.floor.options, command="true"
        )


class Podnet:
    """`plan` and `converge`, or the whole `site` with its probes."""

    def __init__(self, bench: Bench, playbook: str) -> None:
        self.bench, self.name = bench, playbook

    def prepare(self, case: str) -> None:
        if case == "cold":
            self.bench.disconnect()

    def run(self) -> None:
        self.bench.playbook(f"podnet.fabric.{self.name}")


class Usual:
    """The role in `usual_role/`, with the shipped ansible.cfg: pipelining and the same forks."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench

    def prepare(self, case: str) -> None:
        pass

    def run(self) -> None:
        folder = HERE / "usual_role"
        self.bench.playbook(
            str(folder / "playbook.yml"),
            ANSIBLE_ROLES_PATH=str(folder / "roles"),
            ANSIBLE_STDOUT_CALLBACK="ansible.builtin.default",
        )


class OneModule:
    """A single Python module per node that is given the same definitions."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.folder = bench.folder / "definitions"

    def prepare(self, case: str) -> None:
        self.folder.mkdir(exist_ok=True)
        for name, files in self.bench.definitions().items():
            data = {
                "sysctl": files["sysctl.conf"],
                "devices": files["bridge.batch"] + files.get("vxlan.batch", ""),
                "fdb": files.get("fdb.batch", ""),
                "routes": files["routes.batch"],
                "nft": files["podnet.nft"],
                "files": {CONFLIST: files["10-podnet.conflist"]},
            }
            (self.folder / f"{name}.json").write_text(json.dumps(data), encoding="utf-8")

    def run(self) -> None:
        folder = HERE / "one_module"
        self.bench.playbook(
            str(folder / "playbook.yml"),
            *("-e", f"bench_definitions={self.folder}"),
            ANSIBLE_LIBRARY=str(folder / "library"),
            ANSIBLE_STDOUT_CALLBACK="ansible.builtin.default",
        )


def commands(files: dict[str, str]) -> str:
    """The definitions of a node as a shell text that applies them, and may be run again."""

    def here(command: str, *names: str) -> str:
        text = "".join(files.get(name, "") for name in names)
        return f"{command} <<'END'\n{text}END\n" if text else ""

    return (
        here("ip -force -batch - 2>/dev/null", "bridge.batch", "vxlan.batch")
        + here("sysctl -q -p -", "sysctl.conf")
        + here("bridge -batch -", "fdb.batch")
        + here("ip -batch -", "routes.batch")
        + here("nft -f -", "podnet.nft")
        + f"mkdir -p {CONFLIST.rpartition('/')[0]}\n"
        + here(f"cat >{CONFLIST}", "10-podnet.conflist")
    )
