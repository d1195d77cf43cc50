# SPDX-License-Identifier: GPL-3.0-or-later
"""The `ansible.cfg` that README and quick start give for a folder outside the clone."""

from __future__ import annotations

import configparser
import re
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parents[2]
README = re.compile(r"<<'END'\n(.*?)\nEND\n", re.DOTALL)
QUICK = re.compile(r"```ini\n(.*?)```", re.DOTALL)


def settings(text: str) -> dict[str, dict[str, str]]:
    parser = configparser.RawConfigParser()
    parser.read_string(re.sub(r"^ +", "", text, flags=re.MULTILINE))
    return {name: dict(parser.items(name)) for name in parser.sections()}


@pytest.mark.parametrize(("page", "block"), [("README.md", README), ("docs/quick-start.md", QUICK)])
def test_it_is_the_shipped_one_but_for_the_folder(page: str, block: re.Pattern[str]) -> None:
    found = block.search((REPO / page).read_text(encoding="utf-8"))
    assert found, page
    given = settings(found[1])
    shipped = settings((REPO / "ansible.cfg").read_text(encoding="utf-8"))
    # The clone's own is a link to the clone, which nobody else has.
    assert given["defaults"].pop("collections_path") == "./collections"
    differs = {
        (section, name): value
        for section, of in given.items()
        for name, value in of.items()
        if shipped[section][name] != value
    }
    assert differs == {}
    assert given["defaults"]["stdout_callback"] == "podnet.fabric.stages"
    assert given["ssh_connection"].keys() == {"ssh_args", "control_path"}
