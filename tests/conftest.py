# SPDX-License-Identifier: GPL-3.0-or-later
"""Shared by all levels: tests that need root say so, and fail without it."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

NETNS = Path(__file__).parent / "netns"

# As pyproject.toml has it, which ansible-test does not read.
for helpers in ("unit", "golden", "netns"):
    if (folder := str(NETNS.with_name(helpers))) not in sys.path:
        sys.path.append(folder)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A level that is skipped without root would hide what it shows."""
    if os.geteuid() and any(NETNS in item.path.parents for item in items):
        raise pytest.UsageError("tests/netns make namespaces and need root: sudo make netns")
