# SPDX-License-Identifier: GPL-3.0-or-later
"""Nodes of a fleet that boot: systemd as process 1, networkd for the underlay, power cuts and
reboots, and looks at a node from outside, to which nobody has logged in."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ansible_collections.podnet.fabric.plugins.module_utils.lab.runtime import Lab
from fleet import Fleet


def host(*names: str) -> str:
    """What a host has beside podnet, from hosts/NAME.sh, one text for the node's shell."""
    folder = Path(__file__).parent / "hosts"
    return "".join((folder / f"{name}.sh").read_text(encoding="utf-8") for name in names)


NETWORKD = host("bare", "networkd")

# networkd is told of the interface seconds after everything else is up, and nothing waits for it:
# as with a slow DHCP server, or a switch that lets nothing pass at first.
LATE = r"""set -e
systemctl -q disable systemd-networkd-wait-online
mv /etc/systemd/network/10-eth0.network /etc/eth0.network
cat >/etc/systemd/system/late.service <<'EOF'
[Service]
ExecStartPre=sleep 6
ExecStartPre=cp /etc/eth0.network /run/systemd/network/10-eth0.network
ExecStart=networkctl reload
[Install]
WantedBy=multi-user.target
EOF
systemctl -q enable late
"""
PUNCTUAL = """set -e
systemctl -q enable systemd-networkd-wait-online; systemctl -q disable late
mv /etc/eth0.network /etc/systemd/network/10-eth0.network
"""


class Boots:
    """A fleet that is up, some of whose nodes have systemd."""

    def __init__(self, fleet: Fleet) -> None:
        self.fleet = fleet
        self.lab = Lab(str(fleet.labs), fleet.name)

    def power_cut(self, *names: str) -> None:
        """End these nodes without a word, and start them again; their files stay."""
        extra = json.dumps({"podnet_lab_restart": list(names)})
        self.fleet.play("lab_up", "-e", extra, check=True)

    def reboot(self, name: str) -> None:
        """`systemctl reboot`: systemd stops its units and ends the node; then it starts again."""
        before = self.facts(name)["pid"]
        self.fleet.ssh(name, "systemctl reboot --no-block; exit 0")
        until(lambda: self.facts(name)["pid"] is None, f"{name} does not go down")
        self.fleet.play("lab_up", check=True)
        assert self.facts(name)["pid"] not in (None, before)

    def facts(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = self.lab.facts()["nodes"][name]
        return found

    def outside(self, name: str, command: str) -> str:
        """A shell text in the node's network namespace alone: nobody logs in."""
        argv = ["nsenter", f"--net={self.facts(name)['netns_path']}", "sh", "-c", command]
        return subprocess.run(argv, capture_output=True, text=True, check=False).stdout

    def arrived(self, name: str) -> None:
        """Wait until systemd has done all that it does at boot."""
        self.fleet.ssh(name, "systemctl is-system-running --wait; exit 0")

    def wait(self, name: str, command: str, what: str) -> None:
        """Until a shell text on the node says yes; the journal when it never does."""

        def says_yes() -> bool:
            return bool(self.fleet.ssh(name, f"if {command}; then echo yes; fi"))

        until(says_yes, what, lambda: self.fleet.ssh(name, "journalctl -b --no-pager | tail -60"))


def until(condition: Callable[[], bool], what: str, story: Callable[[], str] = str) -> None:
    """Poll; a generous limit, because the machine may be busy."""
    end = time.monotonic() + 90
    while not condition():
        assert time.monotonic() < end, f"{what}\n{story()}"
        time.sleep(0.2)


def leftovers(ident: str, folder: Path) -> list[str]:
    """Processes, namespaces, interfaces, mounts and cgroups of a lab that is down."""
    found = []
    for argv in (["ip", "-o", "link"], ["ip", "netns"], ["find", "/sys/fs/cgroup", "-type", "d"]):
        lines = subprocess.run(argv, capture_output=True, text=True, check=False).stdout
        found += [line for line in lines.splitlines() if ident in line]
    for entry in filter(str.isdigit, os.listdir("/proc")):
        try:
            if f"PODNET_LAB={ident}".encode() in Path(f"/proc/{entry}/environ").read_bytes():
                found.append(f"process {entry}")
        except OSError:
            continue
    mounts = Path("/proc/self/mounts").read_text(encoding="utf-8").splitlines()
    return found + [line for line in mounts if str(folder) in line]
