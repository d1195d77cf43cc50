# SPDX-License-Identifier: GPL-3.0-or-later
"""The nodes as a stranger sees them: testinfra over paramiko, nothing of the project's own code."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import testinfra
from testinfra.host import Host

# Unit → the name that people know; networking is ifupdown's.
MANAGERS = {
    "systemd-networkd": "systemd-networkd",
    "NetworkManager": "NetworkManager",
    "networking": "ifupdown",
}
ENGINES = ("podman", "docker")
NODES = ("node-1", "node-2", "node-3")


@pytest.fixture(scope="session")
def hosts() -> dict[str, Host]:
    """Node → its connection."""
    config = os.environ["PODNET_SSH_CONFIG"]
    return {name: testinfra.get_host(f"paramiko://{name}", ssh_config=config) for name in NODES}


@pytest.fixture(scope="session", autouse=True)
def seen(hosts: dict[str, Host]) -> None:
    """What the nodes are, by their own words, for the table of what was tested."""
    node = hosts[NODES[0]]
    words = dict(
        line.split("=", 1)
        for line in node.file("/etc/os-release").content_string.splitlines()
        if "=" in line
    )
    names = {key: words[key].strip('"') for key in ("NAME", "VERSION_ID")}
    running = [MANAGERS[u] for u in MANAGERS if node.run(f"systemctl is-active -q {u}").rc == 0]
    container = node.run("systemd-detect-virt --container").stdout.strip() in ENGINES
    found = {
        "distribution": f"{names['NAME'].split()[0]} {names['VERSION_ID']}",
        "manager": running[0] if running else "none",
        "nodes": "containers" if container else "light nodes",
    }
    Path(os.environ["PODNET_SEEN"]).write_text(json.dumps(found), encoding="utf-8")
