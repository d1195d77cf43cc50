# SPDX-License-Identifier: GPL-3.0-or-later
"""Tables that tests leave are printed at the end of the run, also when all passed."""

from __future__ import annotations

import pytest
from fault_table import TABLE


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if lines := TABLE.lines():
        terminalreporter.section("faults")
        for line in lines:
            terminalreporter.write_line(line)
