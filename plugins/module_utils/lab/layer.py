# SPDX-License-Identifier: GPL-3.0-or-later
"""The upper layer of a node's file system: what makes it this node and hides the machine."""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
from typing import Sequence

from . import naming, texts
from .host import write
from .topology import LabNode, Topology

DEVICES = (
    ("null", 1, 3),
    ("zero", 1, 5),
    ("full", 1, 7),
    ("random", 1, 8),
    ("urandom", 1, 9),
    ("tty", 5, 0),
    ("net/tun", 10, 200),
    ("fuse", 10, 229),
)
DEVICE_LINKS = (
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("ptmx", "pts/ptmx"),
    ("core", "/proc/kcore"),
)


class Layer:
    """Writes below ``upper``, which overlayfs will put over ``rootfs``."""

    def __init__(self, upper: str, rootfs: str) -> None:
        self.upper, self.rootfs = upper, rootfs
        os.makedirs(upper, exist_ok=True)
        self._like_below("/")

    def path(self, name: str) -> str:
        return os.path.join(self.upper, name.lstrip("/"))

    def below(self, name: str) -> str:
        return os.path.join(self.rootfs, name.lstrip("/"))

    def _like_below(self, name: str) -> None:
        """Owner and mode of a folder as in the layer below: the upper one's are what counts."""
        with contextlib.suppress(OSError):
            status = os.stat(self.below(name))
            os.chown(self.path(name), status.st_uid, status.st_gid)
            os.chmod(self.path(name), stat.S_IMODE(status.st_mode))

    def folder(self, name: str) -> None:
        """Make a folder and what is above it."""
        if name.strip("/") and not os.path.isdir(self.path(name)):
            self.folder(os.path.dirname(name.rstrip("/")))
            os.mkdir(self.path(name), 0o755)
            self._like_below(name)

    def empty(self, name: str, mode: int) -> None:
        """A folder that shows nothing of the layer below."""
        self.folder(name)
        os.chmod(self.path(name), mode)
        os.setxattr(self.path(name), "trusted.overlay.opaque", b"y")

    def hide(self, name: str) -> None:
        """A whiteout, whatever the layer below has or will have there."""
        parent = os.path.dirname(name.rstrip("/"))
        if parent != "/" and not os.path.isdir(self.below(parent)):
            return
        self.folder(parent)
        if not os.path.lexists(self.path(name)):
            os.mknod(self.path(name), stat.S_IFCHR | 0o000, os.makedev(0, 0))

    def text(self, name: str, content: str, mode: int = 0o644) -> None:
        self.folder(os.path.dirname(name))
        write(self.path(name), content, mode)

    def link(self, name: str, target: str) -> None:
        self.folder(os.path.dirname(name))
        os.symlink(target, self.path(name))


def build(
    folder: str,
    lab: str,
    ident: str,
    node: LabNode,
    topology: Topology,
    rootfs: str,
    hidden: Sequence[str],
) -> None:
    """The upper layer of a new node; ``hidden`` are paths of the machine, beside the usual."""
    layer = Layer(os.path.join(folder, "upper"), rootfs)
    for name in (*texts.HIDDEN, *(hidden if rootfs == "/" else ())):
        layer.hide(name)
    if rootfs == "/":
        for name, mode in texts.EMPTY:
            layer.empty(name, mode)
        layer.text("/etc/sysctl.conf", "")
    for name in ("/mnt", "/dev", "/proc", "/sys", "/run", "/tmp"):
        layer.folder(name)
    _identity(layer, ident, node, topology)
    _ssh(layer, lab)
    _systemd(layer)
    init = texts.INIT_SYSTEMD if node.init == "systemd" else texts.INIT_SSHD
    layer.text("/etc/podnet-lab/init", init, 0o755)


def _identity(layer: Layer, ident: str, node: LabNode, topology: Topology) -> None:
    layer.text("/etc/hostname", f"{node.name}\n")
    layer.text("/etc/hosts", texts.hosts(node.name, topology))
    layer.text("/etc/machine-id", naming.machine_id(ident, node.name) + "\n", 0o444)
    layer.text("/etc/fstab", "# The lab mounts what a node needs.\n")


def _ssh(layer: Layer, lab: str) -> None:
    """sshd's configuration, the lab's host key, and the lab's key for root."""
    with open(os.path.join(lab, "host_ed25519"), encoding="utf-8") as stream:
        layer.text("/etc/podnet-lab/host_ed25519", stream.read(), 0o600)
    with open(os.path.join(lab, "id_ed25519.pub"), encoding="utf-8") as stream:
        key = stream.read()
    layer.text("/etc/podnet-lab/sshd_config", texts.SSHD)
    layer.folder("/root/.ssh")
    os.chmod(layer.path("/root/.ssh"), 0o700)
    layer.text("/root/.ssh/authorized_keys", key, 0o600)
    with contextlib.suppress(OSError), open(layer.below("/etc/shadow"), encoding="utf-8") as stream:
        lines = stream.read().splitlines()
        if any(line.startswith("root:!") for line in lines):
            # Without PAM, sshd refuses an account whose password is locked by "!".
            lines = [
                "root:*" + ln[ln.index(":", 5) :] if ln.startswith("root:!") else ln for ln in lines
            ]
            layer.text("/etc/shadow", "\n".join(lines) + "\n", 0o640)


def _systemd(layer: Layer) -> None:
    """Units for a node that boots; without effect where sshd is process 1."""
    units = "/etc/systemd/system"
    layer.text(f"{units}/podnet-lab-sshd.service", texts.SSHD_UNIT)
    layer.link(
        f"{units}/multi-user.target.wants/podnet-lab-sshd.service", "../podnet-lab-sshd.service"
    )
    layer.link(f"{units}/default.target", "/lib/systemd/system/multi-user.target")
    layer.text("/etc/systemd/journald.conf.d/podnet-lab.conf", texts.JOURNALD)
    for unit in texts.MASKED:
        layer.link(f"{units}/{unit}", "/dev/null")


def devices(folder: str) -> None:
    """A node's /dev, made once for every start."""
    dev = os.path.join(folder, "dev")
    shutil.rmtree(dev, ignore_errors=True)
    for name in ("pts", "shm", "net", "mqueue"):
        os.makedirs(os.path.join(dev, name))
    os.chmod(dev, 0o755)
    for name, major, minor in DEVICES:
        path = os.path.join(dev, name)
        os.mknod(path, stat.S_IFCHR | 0o666, os.makedev(major, minor))
        os.chmod(path, 0o666)
    for name, target in DEVICE_LINKS:
        os.symlink(target, os.path.join(dev, name))
