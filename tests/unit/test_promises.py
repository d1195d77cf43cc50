# SPDX-License-Identifier: GPL-3.0-or-later
"""The table of promises names tests that exist and breaks code that is there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

REPO = Path(__file__).resolve().parents[2]
ENTRIES: list[dict[str, Any]] = yaml.safe_load((REPO / "tests/mutants.yml").read_text("utf-8"))


def exists(test: str) -> bool:
    file, _colons, name = test.partition("::")
    path = REPO / file
    return path.is_file() and (not name or f"def {name}(" in path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: f"promise {entry['promise']}")
def test_what_proves_a_promise_exists(entry: dict[str, Any]) -> None:
    tests = (*entry["proof"], *(mutant["test"] for mutant in entry["breaks"]))
    assert not [test for test in tests if not exists(test)]
    for mutant in entry["breaks"]:
        text = (REPO / mutant["file"]).read_text(encoding="utf-8")
        assert text.count(mutant["from"]) == 1, "replace what a break replaces, exactly once"
        assert mutant["from"] != mutant["to"]


def test_every_promise_of_the_page_is_in_the_table() -> None:
    page = (REPO / "docs/promises.md").read_text(encoding="utf-8")
    for entry in ENTRIES:
        assert f"| {entry['promise']} | {' '.join(entry['text'].split())} |" in page
        assert all(f"`{test}`" in page for test in entry["proof"])
        assert all(mutant["what"] in page for mutant in entry["breaks"])
