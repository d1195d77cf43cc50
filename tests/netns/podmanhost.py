# SPDX-License-Identifier: GPL-3.0-or-later
"""podman on a node of the lab, and two kinds of pods that it makes containers in.

A node is a set of namespaces on a shared machine: limits and controllers that it has no right to
are switched off in podman's own configuration.
"""

from __future__ import annotations

import os
import shlex
import subprocess
from pathlib import Path
from typing import Any

from cri import IMAGE, PORT, image, until, url
from fleet import Fleet

PREPARE = r"""set -e
mkdir -p /etc/containers
cat >/etc/containers/containers.conf <<'END'
[network]
%s
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
[containers]
pids_limit = 0
default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]
END
cat >/etc/containers/storage.conf <<'END'
[storage]
driver = "vfs"
runroot = "/run/containers/storage"
graphroot = "/var/lib/containers/storage"
END
podman load -q
"""
BACKENDS = {
    "netavark": 'network_backend = "netavark"',
    "cni": """network_backend = "cni"
cni_plugin_dirs = ["/usr/lib/cni"]
network_config_dir = "/etc/cni/net.d"
""",
}
# What the podman of Debian 13 says: version 5 is built without this back end.
WITHOUT_CNI = b"cni support is not enabled"


def has_cni() -> bool:
    """Whether the nodes' podman has a CNI back end."""
    program = Path(os.environ.get("PODNET_LAB_ROOTFS", "/")) / "usr/bin/podman"
    if not program.exists():
        raise RuntimeError(f"{program}: not installed; `tools/setup test` does, or tools/rootfs")
    return WITHOUT_CNI not in program.read_bytes()


class Podman:
    """podman of one node. ``backend``: with cni the rendered conflist's network is one of its own;
    or netavark, which makes networks that are no business of podnet's."""

    def __init__(self, fleet: Fleet, node: str, backend: str) -> None:
        self.fleet, self.node = fleet, node
        argv = ["ssh", "-F", str(fleet.ssh_config), node, PREPARE % BACKENDS[backend]]
        subprocess.run(argv, input=image(), check=True, capture_output=True)

    def __call__(self, *arguments: str) -> str:
        """Run podman; a failure is an error."""
        return self.fleet.ssh(self.node, shlex.join(["podman", *arguments])).strip()

    def serve(self, name: str, *options: str) -> None:
        """A container with the web server that tells who asks."""
        command = ("httpd", "-f", "-p", f"[::]:{PORT}", "-h", "/www")
        self("run", "-d", "--name", name, "--cap-add", "NET_RAW", *options, IMAGE, *command)
        until(lambda: "ok" in self._ask(name), f"{name} serves")

    def _ask(self, name: str) -> str:
        command = f"podman exec {name} wget -qO- {url('127.0.0.1')} && echo ok; true"
        return self.fleet.ssh(self.node, command)

    def pid(self, container: str) -> str:
        return self("inspect", "--format", "{{.State.Pid}}", container)

    def namespaces(self, pid: str) -> dict[str, str]:
        kinds = ("net", "ipc", "uts", "mnt")
        paths = " ".join(f"/proc/{pid}/ns/{kind}" for kind in kinds)
        found = self.fleet.ssh(self.node, f"readlink {paths}").split()
        return dict(zip(kinds, found, strict=True))


class CniPod:
    """A pod of podman's own, with its infra container; podman calls the CNI plugins.

    Its containers are not in a cgroup of the pod: on a node of the lab, which has controllers of
    version 2 without devices, no infra container starts in one.
    """

    runtime = "podman with its CNI back end"
    shared = frozenset({"net", "ipc", "uts"})

    def __init__(self, podman: Podman, name: str) -> None:
        self.podman, self.name, self.app = podman, name, f"{name}-app"
        self.start()

    def start(self) -> None:
        infra = (
            "--share-parent=false",
            "--infra-image",
            IMAGE,
            "--infra-name",
            f"{self.name}-infra",
        )
        self.podman("pod", "create", "--name", self.name, "--network", "podnet", *infra)
        self.podman.serve(self.app, "--pod", self.name)

    def addresses(self) -> list[str]:
        """As podman reports them."""
        network = "{{with .NetworkSettings.Networks.podnet}}{{.IPAddress}} {{.GlobalIPv6Address}}"
        text = network + "{{end}}"
        return self.podman("inspect", "--format", text, f"{self.name}-infra").split()

    def run(self, *command: str) -> str:
        return self.podman("exec", self.app, *command)

    def run_in_sandbox(self, *command: str) -> str:
        return self.podman("exec", f"{self.name}-infra", *command)

    def namespaces(self, who: str) -> dict[str, str]:
        container = self.app if who == "app" else f"{self.name}-infra"
        return self.podman.namespaces(
            self.podman("inspect", "--format", "{{.State.Pid}}", container)
        )

    def remove(self) -> None:
        self.podman("pod", "rm", "--force", "--time", "0", self.name)


class ContainersPod(CniPod):
    """A container of the network `podnet`, and another that joins it by its ID."""

    shared = frozenset({"net"})

    def start(self) -> None:
        name = f"{self.name}-infra"
        infra = self.podman("run", "-d", "--name", name, "--network", "podnet", IMAGE)
        self.podman.serve(self.app, "--network", f"container:{infra}")

    def remove(self) -> None:
        for name in (self.app, f"{self.name}-infra"):
            self.podman("rm", "--force", "--time", "0", name)


class JoinedPod:
    """A pod of the module `pod`, in whose network podman's containers are: any podman does."""

    runtime = "podman in pods of the module pod"
    shared = frozenset({"net"})

    def __init__(self, podman: Podman, name: str) -> None:
        self.podman, self.name, self.app = podman, name, f"{name}-app"
        self.pod = self._module("present")["pod"]
        podman.serve(self.app, "--network", f"ns:{self.pod['netns']}")

    def _module(self, state: str) -> dict[str, Any]:
        arguments = {"name": self.name, "state": state}
        return self.podman.fleet.module(self.podman.node, "podnet.fabric.pod", arguments)

    def addresses(self) -> list[str]:
        return [self.pod["addresses"][family] for family in ("ipv4", "ipv6")]

    def run(self, *command: str) -> str:
        return self.podman("exec", self.app, *command)

    def run_in_sandbox(self, *command: str) -> str:
        text = shlex.join(["nsenter", f"--net={self.pod['netns']}", "busybox", *command])
        return self.podman.fleet.ssh(self.podman.node, text).strip()

    def namespaces(self, who: str) -> dict[str, str]:
        pid = self.podman.pid(self.app) if who == "app" else str(self.pod["infra_pid"])
        return self.podman.namespaces(pid)

    def remove(self) -> None:
        self.podman("rm", "--force", "--time", "0", self.app)
        self._module("absent")
