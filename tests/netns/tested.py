# SPDX-License-Identifier: GPL-3.0-or-later
"""The record of what was tested on what, from which the README's table comes."""

from __future__ import annotations

import os
import subprocess
import sys

from fleet import REPO, Fleet


def keep(fleet: Fleet, node: str, by: str, manager: str = "none", runtime: str = "") -> None:
    """One entry, when the records are written anew (PODNET_WRITE_DOCS); at the end of a test that
    has shown it. ``runtime`` is the CNI plugins alone where it is not named."""
    if not os.environ.get("PODNET_WRITE_DOCS"):
        return
    name, version = fleet.ssh(node, '. /etc/os-release; echo "${NAME%% *}" "$VERSION_ID"').split()
    entry = {
        "distribution": f"{name} {version}",
        "runtime": runtime or "CNI plugins alone",
        "manager": manager,
        "nodes": "light nodes",
        "by": by,
    }
    pairs = [f"{key}={value}" for key, value in entry.items()]
    subprocess.run([sys.executable, REPO / "tools" / "tested.py", "add", *pairs], check=True)
