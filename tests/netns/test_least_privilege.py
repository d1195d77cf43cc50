# SPDX-License-Identifier: GPL-3.0-or-later
"""Everything works for an SSH user that is not root and has exactly the documented sudo rules, and
nothing on a node is open to others."""

from __future__ import annotations

import hashlib
import json
import shlex
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
from edits import TWO
from fleet import REPO, Fleet, Spec

RULES = (REPO / "docs" / "podnet.sudoers").read_text(encoding="utf-8")
USER = f"""set -e
useradd -m -s /bin/sh -p '*' podnet
mkdir -p /home/podnet/.ssh && cp /root/.ssh/authorized_keys /home/podnet/.ssh/
chown -R podnet: /home/podnet/.ssh && chmod -R go= /home/podnet/.ssh
rm -f /etc/sudoers.d/*
cat >/etc/sudoers.d/podnet <<'RULES'
{RULES}RULES
chmod 440 /etc/sudoers.d/podnet && visudo -cqf /etc/sudoers.d/podnet
"""
AS_USER = json.dumps({"ansible_user": "podnet", "ansible_become": True})
OURS = (
    "/etc/podnet /run/podnet /var/lib/podnet /var/lib/cni /usr/local/sbin /etc/cni"
    " /etc/systemd/system /etc/iproute2/rt_protos.d /opt/podnet-tarball"
)
# What a careless node has: everything that root makes through sudo is open to everybody.
LOOSE = "Defaults:podnet umask=0000, umask_override"


PLUGINS = {"bin_dirs": ["/opt/podnet-tarball/bin"]}


class Plain:
    """The fleet, worked on as that user."""

    def __init__(self, fleet: Fleet) -> None:
        self.fleet = fleet
        for node in fleet.nodes:
            fleet.ssh(node, USER)

    def play(self, playbook: str, *arguments: str) -> str:
        return self.fleet.play(playbook, "-e", AS_USER, *arguments, check=True).stdout

    def module(self, name: str, arguments: dict[str, Any]) -> None:
        self.fleet.module(TWO, name, arguments, "-e", AS_USER)

    def archive(self, folder: str = "/opt/podnet-tarball/bin") -> dict[str, str]:
        """Variables that have the machine's own plugins installed from an archive."""
        path = self.fleet.folder / "cni-plugins.tgz"
        if not path.exists():
            subprocess.run(["tar", "-czf", str(path), "-C", "/usr/lib/cni", "."], check=True)
        return {
            "podnet_cni_bin_dir": folder,
            "podnet_cni_install": "tarball",
            "podnet_cni_tarball": str(path),
            "podnet_cni_tarball_sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        }


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plain]:
    with Fleet(tmp_path_factory.mktemp("plain"), Spec(), "plain") as fleet:
        yield Plain(fleet)


def test_first_apply_a_change_and_the_way_back(plain: Plain) -> None:
    assert "3 nodes read, 3 to change" in plain.play("site")
    assert "0 to change" in plain.play("converge")
    hosts = plain.fleet.data["podnet"]["hosts"]
    hosts[TWO]["podnet_pod_cidrs"] = ["10.64.102.0/24", "fd00:64:0:102::/64"]
    plain.fleet.write()
    plain.play("site")
    assert "0 differ" in plain.play("status")
    plain.play("rollback")
    plain.play("site")
    assert "0 differ" in plain.play("drift")


@pytest.mark.parametrize(
    "command",
    [
        "id",
        "/bin/sh",
        "sh -s",
        "/bin/sh -c id",
        "/bin/sh -c 'echo BECOME-SUCCESS-x ; sh -s; id'",
        "/bin/sh -c 'echo BECOME-SUCCESS-$(id) ; sh -s'",
        "/usr/bin/python3 -c 0",
        "cat /etc/shadow",
        "-u nobody id",
    ],
)
def test_other_commands_are_refused(plain: Plain, command: str) -> None:
    """Or the rules would prove nothing about what podnet needs."""
    text = shlex.quote(f"sudo -n {command} 2>&1 || echo refused")
    said = plain.fleet.ssh(TWO, f"su podnet -c {text}")
    assert "password is required" in said or "not allowed" in said, said
    assert said.endswith("refused\n")


def test_whoever_has_the_rules_is_root(plain: Plain) -> None:
    """The page says so; a limit that is none must not be claimed."""
    wrapped = "sudo -n /bin/sh -c 'echo BECOME-SUCCESS-x ; sh -s'"
    said = plain.fleet.ssh(TWO, f"echo id -u | su podnet -c {shlex.quote(wrapped)}")
    assert said.split() == ["BECOME-SUCCESS-x", "0"]


# A package manager that has one package: the machine's own plugins. It notes what it is told.
APT = r"""#!/bin/sh
echo "$(id -un) $*" >>/run/apt
[ "$1" = update ] || { mkdir -p BIN && cp /usr/lib/cni/* BIN/; }
"""


@pytest.mark.parametrize("way", ["package", "tarball"])
def test_plugins_are_installed(plain: Plain, way: str) -> None:
    folder = f"/opt/podnet-{way}/bin"
    fake = shlex.quote(APT.replace("BIN", folder))
    for node in plain.fleet.nodes:
        plain.fleet.ssh(node, f"printf %s {fake} >/usr/local/bin/apt-get")
        plain.fleet.ssh(node, "chmod 755 /usr/local/bin/apt-get")
    given = plain.archive(folder) | {"podnet_cni_install": way}
    said = plain.play("site", "-e", json.dumps(given))
    assert "6 of 6 pairs verified" in said, said
    found = plain.fleet.ssh(
        TWO, f"stat -c '%U:%G %a' {folder} {folder}/bridge; cat /run/apt || true"
    )
    assert found.startswith("root:root 755\nroot:root 755\n")
    apt = "root install -q -y --no-install-recommends containernetworking-plugins"
    assert (apt in found) == (way == "package")
    plain.fleet.ssh(TWO, "rm -f /run/apt")


def test_without_the_rules_it_does_not_work(plain: Plain) -> None:
    plain.fleet.ssh(TWO, "mv /etc/sudoers.d/podnet /root/")
    done = plain.fleet.play("status", "-e", AS_USER)
    plain.fleet.ssh(TWO, "mv /root/podnet /etc/sudoers.d/")
    assert done.returncode != 0


def test_nothing_on_a_node_is_open_to_others(plain: Plain) -> None:
    """Written by nobody but root, while probe pods and a pod of somebody live; no file that only
    root may read is needed, as none is secret."""
    plain.play("reset", "-e", "podnet_yes=true")
    plain.fleet.ssh(TWO, f"rm -rf /opt/podnet-tarball; echo '{LOOSE}' >/etc/sudoers.d/loose")
    plain.play("site", "-e", json.dumps(plain.archive()))
    plain.module("podnet.fabric.pod", {"name": "web", **PLUGINS})
    probes = {"conflist": "/etc/cni/net.d/10-podnet.conflist", "node": TWO, **PLUGINS}
    plain.module("podnet.fabric.reachability", {"state": "started", **probes})
    found = plain.fleet.ssh(
        TWO,
        f"find {OURS} ! -type l \\( -perm /022 -o -perm /7000 -o ! -user root -o ! -group root \\)"
        f" -printf '%M %u %p\\n'; find {OURS} -type f -path '*podnet*' | wc -l",
    ).splitlines()
    plain.module("podnet.fabric.reachability", {"state": "absent", **probes})
    plain.module("podnet.fabric.pod", {"name": "web", "state": "absent", **PLUGINS})
    plain.fleet.ssh(TWO, "rm /etc/sudoers.d/loose")
    assert found[:-1] == []
    assert int(found[-1]) > 20, "the places have moved"


def test_no_secret_is_on_a_node(plain: Plain) -> None:
    """podnet has none: what a node keeps are the rendered files, the manifest and the program."""
    names = plain.fleet.ssh(
        TWO, "cd /etc/podnet && find . -type f -printf '%f\\n' | sort -u"
    ).split()
    rendered = plain.fleet.folder / "intended" / TWO
    known = {path.name for path in rendered.rglob("*")} | {"manifest.json", "underlay.sysctl"}
    assert set(names) <= known, set(names) - known
    keys = plain.fleet.ssh(TWO, "grep -rlE 'PRIVATE KEY|password|token' /etc/podnet || true")
    assert keys == ""
