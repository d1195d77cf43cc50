# SPDX-License-Identifier: GPL-3.0-or-later
"""A node for tests: fresh network, mount and PID namespaces on this machine's own root.

What podnet writes on a node (/etc/podnet, /usr/local/sbin, unit files, the CNI folder, /run)
lies on private file systems, so that nothing of the machine is touched. Without SSH and
without Ansible: the scripts that would travel to a node are run here directly.
"""

from __future__ import annotations

import subprocess
from types import TracebackType

PRIVATE = ("/etc/podnet", "/etc/cni", "/etc/iproute2", "/etc/systemd", "/usr/local/sbin", "/run")
PRIVATE += ("/var/lib/cni", "/var/lib/podnet")

SETUP = r"""
set -eu
mount --make-rprivate /
for d in {private}; do
  mkdir -p "$d"
  t=$(mktemp -d); [ "$d" = /etc/iproute2 ] && cp -a "$d/." "$t/"
  mount -t tmpfs podnet-test "$d"
  [ "$d" = /etc/iproute2 ] && cp -a "$t/." "$d/"
  rm -rf "$t"
done
mkdir -p /etc/systemd/system
mount -t sysfs sysfs /sys
ip link set lo up
echo ready
exec sleep 3600
"""


class NetNode:
    """Context manager; `sh` runs a shell text inside and returns its standard output."""

    def __enter__(self) -> NetNode:
        text = SETUP.replace("{private}", " ".join(PRIVATE))
        self._holder = subprocess.Popen(
            ["unshare", "--net", "--mount", "--kill-child", "sh", "-c", text],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self._holder.stdout
        if self._holder.stdout.readline().strip() != "ready":
            raise RuntimeError(f"no namespace: {self._holder.communicate()[1]}")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._holder.kill()
        self._holder.wait()

    def run(self, text: str) -> subprocess.CompletedProcess[str]:
        """The text on the standard input of a shell, as the converge action sends it."""
        command = ["nsenter", "-t", str(self._holder.pid), "--net", "--mount", "sh", "-s"]
        return subprocess.run(command, input=text, capture_output=True, text=True, check=False)

    def sh(self, text: str) -> str:
        """Like `run`, for set-up and questions: a failure is an error."""
        answer = self.run(text)
        if answer.returncode:
            raise RuntimeError(f"{text}\n{answer.stdout}\n{answer.stderr}")
        return answer.stdout
