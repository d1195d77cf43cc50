# SPDX-License-Identifier: GPL-3.0-or-later
"""The nodes as a stranger sees them: testinfra over paramiko, nothing of the project's own code."""

from __future__ import annotations

import os

import pytest
import testinfra
from testinfra.host import Host

NODES = ("node-1", "node-2", "node-3")


@pytest.fixture(scope="session")
def hosts() -> dict[str, Host]:
    """Node → its connection."""
    config = os.environ["PODNET_SSH_CONFIG"]
    return {name: testinfra.get_host(f"paramiko://{name}", ssh_config=config) for name in NODES}
