# SPDX-License-Identifier: GPL-3.0-or-later
"""Inventories → rendered trees, and bad inventories → the text that a person reads."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from ansible_collections.podnet.fabric.plugins.plugin_utils.intent.problems import (
    ProblemsError,
)
from ansible_collections.podnet.fabric.plugins.plugin_utils.plan import compile_fleet
from inventories import tree, variables

HERE = Path(__file__).parent
CASES = sorted(path.parent for path in HERE.glob("cases/*/hosts.yml"))
BAD = sorted(HERE.glob("bad/*.yml"))
LEAST_CASES, LEAST_BAD = 14, 36


def files_below(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): path.read_text(encoding="utf-8")
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def write_tree(folder: Path, files: dict[str, str]) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")


def refusal(inventory: Path) -> str:
    try:
        compile_fleet(variables(inventory))
    except ProblemsError as error:
        return error.text() + "\n"
    return "accepted\n"


@pytest.mark.parametrize("case", CASES, ids=lambda path: path.name)
def test_inventory_renders_to_the_expected_tree(case: Path, update: bool) -> None:
    made = tree(case / "hosts.yml")
    if update:
        write_tree(case / "intended", made)
    assert made == files_below(case / "intended")


@pytest.mark.parametrize("case", CASES, ids=lambda path: path.name)
def test_rendered_text_is_tidy(case: Path) -> None:
    """What a person reviews: a final newline, no trailing blanks, no doubled blank lines, and a
    conflist and a manifest that are JSON."""
    for name, text in tree(case / "hosts.yml").items():
        lines = text.split("\n")
        assert lines[-1] == "" and lines[-2] != "", name
        assert [line for line in lines if line != line.rstrip()] == [], name
        assert "\n\n\n" not in text, name
        if name.endswith((".json", ".conflist")):
            json.loads(text)


@pytest.mark.parametrize("inventory", BAD, ids=lambda path: path.stem)
def test_bad_inventory_is_refused_with_this_text(inventory: Path, update: bool) -> None:
    text = refusal(inventory)
    expected = inventory.with_suffix(".txt")
    if update:
        expected.write_text(text, encoding="utf-8")
    assert text == expected.read_text(encoding="utf-8")


@pytest.mark.parametrize("inventory", BAD, ids=lambda path: path.stem)
def test_refusal_is_complete_and_printable(inventory: Path) -> None:
    """Every problem says where, what, expected, found and what to do; nothing of a hostile
    value can change the terminal or look like another line."""
    text = refusal(inventory)
    assert text != "accepted\n"
    head, *problems = text.rstrip("\n").split("\n\n")
    assert head.startswith(f"{len(problems)} problem") and problems
    for problem in problems:
        lines = problem.split("\n")
        assert [line.split(":")[0] for line in lines[1:]] == ["    expected", "    found", "    do"]
        assert all(line.replace("…", "").isprintable() for line in lines)
        assert all(len(line) < 240 for line in lines), problem


def test_every_expected_file_has_its_inventory() -> None:
    assert {path.stem for path in HERE.glob("bad/*.txt")} == {path.stem for path in BAD}
    assert {path.parent for path in HERE.glob("cases/*/intended")} == set(CASES)


def test_there_are_as_many_as_promised() -> None:
    assert len(CASES) >= LEAST_CASES
    assert len(BAD) >= LEAST_BAD
