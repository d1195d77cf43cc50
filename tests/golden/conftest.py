# SPDX-License-Identifier: GPL-3.0-or-later
"""`pytest tests/golden --update` writes what the code gives now; read the diff."""

from __future__ import annotations

import contextlib

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    with contextlib.suppress(ValueError):  # a conftest above may know it already
        parser.addoption("--update", action="store_true", help="rewrite expected golden files")


@pytest.fixture
def update(request: pytest.FixtureRequest) -> bool:
    return bool(request.config.getoption("--update", default=False))
