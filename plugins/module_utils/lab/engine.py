# SPDX-License-Identifier: GPL-3.0-or-later
"""Podman or Docker on this machine, in the words that both understand."""

from __future__ import annotations

import resource
import shutil
from typing import Dict, Sequence, Set

from . import naming
from .host import pipe, run
from .topology import LabError

ENGINES = ("podman", "docker")
LABEL = "podnet.lab"
# What an engine asks for by default (1048576 files) is more than root may where it lacks
# CAP_SYS_RESOURCE, and no container starts: never more than this process has itself.
LIMITS = (("nofile", resource.RLIMIT_NOFILE, 1 << 20), ("nproc", resource.RLIMIT_NPROC, 1 << 15))


def find(wanted: str) -> str:
    """The engine that is asked for; with `auto`, the first one that answers."""
    said = []
    for name in ENGINES if wanted == "auto" else (wanted,):
        if not shutil.which(name):
            said.append(f"{name} is not installed")
            continue
        try:
            run([name, "ps", "--quiet"])
            return name
        except LabError as error:
            said.append(str(error))
    raise LabError(
        "this machine: no container engine\n    expected: podman, or docker with its daemon\n"
        f"    found:    {'; '.join(said)}\n    do:       apt-get install podman runc, or leave "
        "podnet_lab_engine at none."
    )


class Engine:
    """The containers of one lab; ``ident`` is the lab's identifier, ``name`` podman or docker."""

    def __init__(self, name: str, ident: str) -> None:
        self.name, self.ident = name, ident

    def container(self, index: int) -> str:
        return f"podnet-{self.ident}-{index}"

    def names(self) -> Set[str]:
        """The lab's containers, in whatever state."""
        label = f"label={LABEL}={self.ident}"
        said = run([self.name, "ps", "--all", "--filter", label, "--format", "{{.Names}}"])
        return set(said.split())

    def image(self, rootfs: str) -> str:
        """The image of an unpacked root file system; made once."""
        if rootfs == "/":
            raise LabError(
                "podnet_lab_rootfs: a container cannot be this machine\n    expected: an unpacked "
                "root file system, or podnet_lab_image\n    found:    /\n    do:       make one "
                "with tools/rootfs or mmdebstrap, and set podnet_lab_rootfs."
            )
        tag = naming.image(rootfs)
        if not run([self.name, "images", "--quiet", tag], check=False).strip():
            pipe(["tar", "-C", rootfs, "-c", "."], [self.name, "import", "-", tag])
        return tag

    def create(self, index: int, node: str, image: str, folder: str) -> None:
        """One container that may do all that a node may. ``folder`` is its /podnet-lab, and has
        the text that it runs."""
        argv = [self.name, "create", "--name", self.container(index), "--hostname", node]
        argv += ["--label", f"{LABEL}={self.ident}", "--privileged", "--network", "none"]
        for what, kind, most in LIMITS:
            hard = resource.getrlimit(kind)[1]
            value = most if hard == resource.RLIM_INFINITY else min(hard, most)
            argv += ["--ulimit", f"{what}={value}:{value}"]
        argv += ["--tmpfs", "/run:exec,mode=0755,size=64m", "--tmpfs", "/tmp:exec,mode=1777"]
        argv += ["--volume", f"{folder}:/podnet-lab", image]
        run([*argv, "/bin/sh", "/podnet-lab/boot.sh", self.name])

    def start(self, containers: Sequence[str]) -> Dict[str, int]:
        """Start them all; process 1 of each, by its number on the machine."""
        if not containers:
            return {}
        run([self.name, "start", *containers])
        said = run([self.name, "inspect", "--format", "{{.State.Pid}}", *containers])
        return dict(zip(containers, map(int, said.split())))

    def stop(self, containers: Sequence[str]) -> None:
        """Until the engine, too, knows that they have ended."""
        if containers:
            run([self.name, "stop", "-t", "0", *containers])

    def remove(self, containers: Sequence[str]) -> None:
        if containers:
            run([self.name, "rm", "--force", "--volumes", *containers])

    def console(self, index: int) -> str:
        """The end of what the node wrote while it started."""
        logs = ["sh", "-c", '"$0" logs "$1" 2>&1', self.name, self.container(index)]
        return run(logs, check=False)[-800:]
