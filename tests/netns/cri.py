# SPDX-License-Identifier: GPL-3.0-or-later
"""containerd on a lab node, driven through the Container Runtime Interface as kubelet does it.

Everything goes over SSH: the files, the start of containerd, and its socket, which SSH forwards
to a socket here. So nothing depends on how the lab builds its nodes.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import io
import json
import platform
import re
import shutil
import subprocess
import tarfile
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

REMEDY = "run `tools/setup test` (make test does), which installs what the tests need"
try:
    import grpc
    from google.protobuf import descriptor_pb2, descriptor_pool, json_format, message_factory
except ImportError as error:  # an error of collection, not a skip: nothing may be left unseen
    raise RuntimeError(f"Python package missing: {error}; {REMEDY}") from error

IMAGE = "podnet.test/pod:1"
PORT = 8080
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
CONFIG = Path(__file__).parent / "cri" / "config.toml"
PROGRAMS = ("containerd", "containerd-shim-runc-v2", "ctr", "runc", "busybox")
APPLETS = ("sh", "echo", "sleep", "ip", "ping", "ping6", "wget", "httpd", "cat", "kill")
REMOTE = "#!/bin/sh\nprintf 'Content-Type: text/plain\\r\\n\\r\\n%s' \"$REMOTE_ADDR\"\n"


def require_programs() -> None:
    """The programs lie on this machine, because a lab node's root is an overlay over it."""
    missing = [name for name in PROGRAMS if shutil.which(name) is None]
    if missing:
        raise RuntimeError(f"not installed: {', '.join(missing)}; {REMEDY}")


# --- the interface ---------------------------------------------------------------


def definition(binary: str | None = None) -> descriptor_pb2.FileDescriptorProto:
    """The CRI definition `runtime.v1` as containerd itself carries it.

    Debian 12 packages no api.proto; Go's generated code holds its compressed descriptor, so
    this is always the definition of the containerd that is tested.
    """
    path = Path(binary or shutil.which("containerd") or "containerd")
    program = path.read_bytes()
    for match in re.finditer(rb"\x1f\x8b\x08", program):
        unzip = zlib.decompressobj(wbits=31)
        try:
            text = unzip.decompress(program[match.start() : match.start() + (1 << 18)])
            found = descriptor_pb2.FileDescriptorProto.FromString(text)
        except Exception:  # the three bytes occur elsewhere, too; protobuf's error has no base
            continue
        if found.package == "runtime.v1":
            found.ClearField("dependency")  # options of the Go generator only
            return found
    raise RuntimeError(f"{path} carries no CRI definition runtime.v1")


class Cri:
    """A CRI client: requests and responses are plain dictionaries in JSON names."""

    def __init__(self, socket: Path) -> None:
        found = definition()
        self._pool = descriptor_pool.DescriptorPool()
        self._pool.Add(found)
        self._services = {service.name: service for service in found.service}
        self._channel = grpc.insecure_channel(f"unix:{socket}")

    def close(self) -> None:
        self._channel.close()

    def call(self, method: str, service: str = "RuntimeService", **request: Any) -> dict[str, Any]:
        """One unary call; an error of containerd is raised as grpc.RpcError."""
        found = {item.name: item for item in self._services[service].method}[method]
        send, receive = (self._message(name) for name in (found.input_type, found.output_type))
        stub = self._channel.unary_unary(
            f"/runtime.v1.{service}/{method}",
            request_serializer=send.SerializeToString,
            response_deserializer=receive.FromString,
        )
        answer = stub(json_format.ParseDict(request, send()), timeout=20, wait_for_ready=True)
        told: dict[str, Any] = json_format.MessageToDict(
            answer, always_print_fields_with_no_presence=True
        )
        return told

    def _message(self, name: str) -> Any:
        return message_factory.GetMessageClass(
            self._pool.FindMessageTypeByName(name.removeprefix("."))
        )

    def network_ready(self) -> bool:
        """Whether containerd has a network configuration."""
        conditions = self.call("Status")["status"]["conditions"]
        return any(item["type"] == "NetworkReady" and item["status"] for item in conditions)


# --- the image -------------------------------------------------------------------


def _tar(files: dict[str, tuple[bytes, int]], links: dict[str, str]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, (data, mode) in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(data), mode
            archive.addfile(entry, io.BytesIO(data))
        for name, target in links.items():
            entry = tarfile.TarInfo(name)
            entry.type, entry.linkname = tarfile.SYMTYPE, target
            archive.addfile(entry)
    return buffer.getvalue()


def image() -> bytes:
    """An archive as `docker save` makes it, for infra and app containers alike.

    It does nothing by default. The web server's one program answers with the client's address.
    """
    busybox = Path(shutil.which("busybox") or "busybox").read_bytes()
    files = {"bin/busybox": (busybox, 0o755), "www/cgi-bin/remote": (REMOTE.encode(), 0o755)}
    layer = _tar(files, {f"bin/{name}": "busybox" for name in APPLETS})
    digest = hashlib.sha256(layer).hexdigest()
    config = {
        "architecture": ARCHITECTURES[platform.machine()],
        "os": "linux",
        "config": {"Cmd": ["/bin/sleep", "86400"], "Env": ["PATH=/bin"]},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}"]},
    }
    manifest = [{"Config": "config.json", "RepoTags": [IMAGE], "Layers": ["layer.tar"]}]
    members = {
        "manifest.json": (json.dumps(manifest).encode(), 0o644),
        "config.json": (json.dumps(config).encode(), 0o644),
        "layer.tar": (layer, 0o644),
    }
    return _tar(members, {})


def url(address: str) -> str:
    """The web server of the pod with that address; it tells the client's address."""
    host = f"[{address}]" if ":" in address else address
    return f"http://{host}:{PORT}/cgi-bin/remote"


# --- a node ----------------------------------------------------------------------

# runc wants to see some cgroup hierarchy. The pid file makes the end exact.
START = r"""
set -eu
mkdir -p /etc/containerd /run/containerd
mountpoint -q /sys/fs/cgroup || mount -t cgroup2 podnet-test /sys/fs/cgroup
cat >/etc/containerd/config.toml <<'CONFIG'
{config}
CONFIG
setsid containerd >/run/containerd/log 2>&1 </dev/null &
echo $! >/run/containerd/pid
i=0
until ctr version >/dev/null 2>&1; do
  i=$((i + 1)); [ $i -lt 100 ] || { tail -n 20 /run/containerd/log >&2; exit 1; }; sleep 0.1
done
"""
STOP = r"""
[ -e /run/containerd/pid ] || exit 0
pid=$(cat /run/containerd/pid); kill "$pid"
i=0
while kill -0 "$pid" 2>/dev/null; do
  i=$((i + 1)); [ $i -lt 100 ] || exit 1; sleep 0.1
done
"""


class Containerd:
    """A node on which containerd runs; made by `containerd()`. `cri` speaks with it."""

    def __init__(self, node: str, ssh: list[str], cri: Cri, ends: contextlib.ExitStack) -> None:
        self.node, self._ssh, self.cri, self._ends = node, ssh, cri, ends

    def ssh(self, command: str, stdin: bytes = b"") -> str:
        """Run a shell text on the node."""
        argv = [*self._ssh, self.node, command]
        done = subprocess.run(argv, input=stdin, capture_output=True, check=False)
        if done.returncode:
            said = (done.stdout + done.stderr).decode(errors="replace")
            raise AssertionError(f"{self.node}: {command}\n{said}")
        return done.stdout.decode()

    def pid(self) -> int:
        """containerd's process number; it fails when the process has ended."""
        return int(self.ssh("cat /run/containerd/pid; kill -0 $(cat /run/containerd/pid)"))

    def pod(self, name: str) -> Pod:
        """A new pod with one app container, the web server."""
        pod = Pod(self, name)
        self._ends.callback(pod.remove)
        pod.start()
        return pod


@contextlib.contextmanager
def containerd(ssh_config: Path, node: str, folder: Path) -> Iterator[Containerd]:
    """containerd runs on a node inside it. `folder` is for sockets: a short path.

    One SSH connection carries the commands and the forwarded socket.
    """
    socket, control = folder / f"{node}.sock", folder / f"{node}.ctl"
    base = ["ssh", "-F", str(ssh_config), "-S", str(control)]
    forward = f"{socket}:/run/containerd/containerd.sock"
    with contextlib.ExitStack() as stack:
        master = subprocess.Popen(
            [*base, "-M", "-N", "-o", "ExitOnForwardFailure=yes", "-L", forward, node],
            stdin=subprocess.DEVNULL,
        )
        stack.callback(master.wait)
        stack.callback(master.terminate)
        until(lambda: control.exists() and socket.exists(), f"SSH reaches {node}")
        cri = Cri(socket)
        stack.callback(cri.close)
        host = Containerd(node, base, cri, stack)
        stack.callback(host.ssh, STOP)
        host.ssh(START.replace("{config}", CONFIG.read_text(encoding="utf-8")))
        host.ssh("ctr -n k8s.io images import -", image())
        yield host


class Pod:
    """A pod sandbox with an app container in it."""

    def __init__(self, host: Containerd, name: str) -> None:
        self._host, self._cri, self.name = host, host.cri, name
        self.config = {
            "metadata": {"name": name, "namespace": "test", "uid": name, "attempt": 0},
            "hostname": name,
            "logDirectory": f"/run/{name}",
            "linux": {},
        }
        self.sandbox = self.app = ""

    def start(self) -> None:
        self.sandbox = self._cri.call("RunPodSandbox", config=self.config)["podSandboxId"]
        container = {
            "metadata": {"name": "app"},
            "image": {"image": IMAGE},
            "command": ["/bin/httpd", "-f", "-p", f"[::]:{PORT}", "-h", "/www"],
            "linux": {},
        }
        self.app = self._cri.call(
            "CreateContainer",
            podSandboxId=self.sandbox,
            config=container,
            sandboxConfig=self.config,
        )["containerId"]
        self._cri.call("StartContainer", containerId=self.app)
        until(lambda: not self.execute("wget", "-qO-", url("127.0.0.1"))[0], f"{self.name} serves")

    def remove(self) -> None:
        """Stop and remove the pod; again does no harm, as the CRI demands."""
        if self.sandbox:
            self._cri.call("StopPodSandbox", podSandboxId=self.sandbox)
            self._cri.call("RemovePodSandbox", podSandboxId=self.sandbox)
            self.sandbox = ""

    def addresses(self) -> list[str]:
        """The pod's addresses as containerd reports them, the first family first."""
        network = self._cri.call("PodSandboxStatus", podSandboxId=self.sandbox)["status"]["network"]
        return [network["ip"], *(item["ip"] for item in network["additionalIps"])]

    def execute(self, *command: str) -> tuple[int, str]:
        """Run a command in the app container: exit code, and what it wrote."""
        answer = self._cri.call("ExecSync", containerId=self.app, cmd=list(command), timeout=10)
        streams = (base64.b64decode(answer[name]) for name in ("stdout", "stderr"))
        return answer["exitCode"], "".join(text.decode(errors="replace") for text in streams)

    def run(self, *command: str) -> str:
        """What a command in the app container writes; a failure is an error."""
        code, said = self.execute(*command)
        if code:
            raise AssertionError(f"{self.name}: {' '.join(command)}: exit code {code}: {said}")
        return said

    def run_in_sandbox(self, *command: str) -> str:
        """Run a command in the namespaces of the infra container, which no CRI call can enter."""
        pid = self.pids()["sandbox"]
        return self._host.ssh(f"nsenter -t {pid} -m -n -u -i -- {' '.join(command)}")

    def pids(self) -> dict[str, int]:
        """Process numbers on the node."""
        sandbox = self._cri.call("PodSandboxStatus", podSandboxId=self.sandbox, verbose=True)
        app = self._cri.call("ContainerStatus", containerId=self.app, verbose=True)
        return {
            name: int(json.loads(answer["info"]["info"])["pid"])
            for name, answer in (("sandbox", sandbox), ("app", app))
        }

    def namespaces(self, who: str) -> dict[str, str]:
        """Namespace kind → identity of the infra (`sandbox`) or the app container."""
        kinds = ("net", "ipc", "uts", "mnt")
        paths = " ".join(f"/proc/{self.pids()[who]}/ns/{kind}" for kind in kinds)
        return dict(zip(kinds, self._host.ssh(f"readlink {paths}").split(), strict=True))


def until(reached: Callable[[], bool], what: str, seconds: float = 10) -> None:
    """Wait until something is so."""
    end = time.monotonic() + seconds
    while not reached():
        if time.monotonic() > end:
            raise AssertionError(f"not within {seconds} s: {what}")
        time.sleep(0.05)
