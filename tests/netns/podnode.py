# SPDX-License-Identifier: GPL-3.0-or-later
"""A node for tests of pods: own network, mount, PID, UTS and IPC namespaces, a bridge that has the
gateway addresses, and a conflist. The modules run in it as they would on a node.

Its PID 1 reaps nobody: what has ended stays as a zombie, which must count as dead.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
PRIVATE = ("/run", "/etc/cni", "/var/lib/cni", "/var/lib/podnet")
BIN = "/usr/lib/cni"
SETUP = """
set -eu
mount --make-rprivate /
# Namespaces that have a path on the machine are none of this node's.
grep ' - nsfs ' /proc/self/mountinfo | while read -r _ _ _ _ path _; do
  umount -l "$path" 2>/dev/null || :  # a lab may have gone meanwhile
done
for d in {private}; do mkdir -p "$d"; mount -t tmpfs podnet-test "$d"; done
mkdir -p /etc/cni/net.d /run/netns
mount -t sysfs podnet-test /sys
ip link set lo up
echo 1 >/proc/sys/net/ipv4/ip_forward
echo 1 >/proc/sys/net/ipv6/conf/all/forwarding
ip link add cbr0 address 02:00:00:00:00:01 type bridge
ip addr add 10.64.1.1/24 dev cbr0
ip addr add fd00:64:1::1/64 dev cbr0 nodad
ip link set cbr0 up
echo ready
exec sleep 3600
"""
POD_MTU = 1430
LEFT = (
    "ls -1 /run/podnet/netns /var/lib/podnet/pods 2>/dev/null | grep -v : | grep .;"
    "grep -Hs . /var/lib/cni/networks/podnet/[0-9f]*;"
    "ip -br link | grep veth; grep -l podnet-pause /proc/[0-9]*/cmdline 2>/dev/null;"
    "grep -h nsfs /proc/[0-9]*/mountinfo; true"
)


def conflist() -> dict[str, Any]:
    """As the role cni renders it."""
    ipam = {
        "type": "host-local",
        "ranges": [[{"subnet": "10.64.1.0/24"}], [{"subnet": "fd00:64:1::/64"}]],
        "routes": [
            {"dst": "0.0.0.0/0", "gw": "10.64.1.1"},
            {"dst": "::/0", "gw": "fd00:64:1::1"},
        ],
    }
    bridge = {
        "type": "bridge",
        "bridge": "cbr0",
        "isGateway": False,
        "ipMasq": False,
        "hairpinMode": True,
        "mtu": POD_MTU,
        "ipam": ipam,
    }
    portmap = {"type": "portmap", "capabilities": {"portMappings": True}}
    bandwidth = {"type": "bandwidth", "capabilities": {"bandwidth": True}}
    plugins = [bridge, portmap, bandwidth]
    return {"cniVersion": "1.0.0", "name": "podnet", "plugins": plugins}


class PodNode:
    """Context manager."""

    path = "/etc/cni/net.d/10-podnet.conflist"

    def __enter__(self) -> PodNode:
        self._arguments = tempfile.TemporaryDirectory()
        kinds = ["--net", "--mount", "--uts", "--ipc", "--pid", "--fork", "--kill-child"]
        text = SETUP.replace("{private}", " ".join(PRIVATE))
        self._holder = subprocess.Popen(
            ["unshare", *kinds, "--mount-proc", "sh", "-c", text],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self._holder.stdout
        if self._holder.stdout.readline().strip() != "ready":
            raise RuntimeError(f"no namespace: {self._holder.communicate()[1]}")
        children = Path(f"/proc/{self._holder.pid}/task/{self._holder.pid}/children")
        self.pid = int(children.read_text(encoding="ascii").split()[0])
        self.write(self.path, conflist())
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._holder.kill()
        self._holder.communicate()
        self._arguments.cleanup()

    @property
    def inside(self) -> list[str]:
        return ["nsenter", "-t", str(self.pid), "-a"]

    def run(self, text: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*self.inside, "sh", "-s"], input=text, capture_output=True, text=True, check=False
        )

    def sh(self, text: str) -> str:
        answer = self.run(text)
        if answer.returncode:
            raise RuntimeError(f"{text}\n{answer.stdout}\n{answer.stderr}")
        return answer.stdout

    def write(self, path: str, data: object, mode: str = "644") -> None:
        text = data if isinstance(data, str) else json.dumps(data)
        where = os.path.dirname(path)
        self.sh(f"mkdir -p {where}\ncat >{path} <<'END'\n{text}\nEND\nchmod {mode} {path}")

    def left(self) -> str:
        """Whatever of pods is on the node: names, reservations, links, processes, namespaces."""
        return self.sh(LEFT)

    def start(
        self, module: str, arguments: dict[str, Any], env: dict[str, str] | None = None
    ) -> subprocess.Popen[str]:
        """A module on its way, in a process of its own."""
        name = f"ansible_collections.podnet.fabric.plugins.modules.{module}"
        handle, path = tempfile.mkstemp(suffix=".json", dir=self._arguments.name)
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            json.dump({"ANSIBLE_MODULE_ARGS": arguments}, stream)
        return subprocess.Popen(
            [*self.inside, os.path.abspath(sys.executable), "-m", name, path],
            env={**os.environ, "PYTHONPATH": str(ROOT / ".ansible/collections"), **(env or {})},
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def module(self, module: str, **arguments: Any) -> dict[str, Any]:
        """Run a module to its end; its answer. `check=True` for check mode."""
        check = arguments.pop("check", False)
        process = self.start(module, {**arguments, "_ansible_check_mode": check})
        output, errors = process.communicate(timeout=120)
        try:
            answer: dict[str, Any] = json.loads(output)
        except ValueError:
            raise RuntimeError(f"{module}: {output}\n{errors}") from None
        return answer

    def pod(self, name: str = "web", **arguments: Any) -> dict[str, Any]:
        return self.module("pod", name=name, **arguments)
