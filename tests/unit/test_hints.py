# SPDX-License-Identifier: GPL-3.0-or-later
"""One line about settings that make a run slow, and none where they are as shipped."""

from __future__ import annotations

import configparser
from pathlib import Path

import pytest
from ansible_collections.podnet.fabric.plugins.plugin_utils.hints import Settings, hint

ROOT = Path(__file__).resolve().parents[2]
PERSIST = "-o ControlMaster=auto -o ControlPersist=60s"


def shipped() -> Settings:
    config = configparser.ConfigParser(interpolation=None)
    config.read(ROOT / "ansible.cfg")
    return Settings(
        config.getint("defaults", "forks"),
        config.getboolean("connection", "pipelining"),
        config.get("ssh_connection", "ssh_args"),
    )


@pytest.mark.parametrize("nodes", [1, 50, 10_000])
def test_the_shipped_settings_need_no_hint(nodes: int) -> None:
    assert hint(shipped(), nodes) == ""


@pytest.mark.parametrize(
    ("settings", "nodes", "said"),
    [
        (Settings(5, True, PERSIST), 20, "forks = 20 (it is 5)"),
        (Settings(5, True, PERSIST), 200, "forks = 50 (it is 5)"),
        (Settings(50, False, PERSIST), 20, "pipelining = True (it is off)"),
        (Settings(50, True, "-o ControlPersist=no"), 20, "ControlPersist=60s"),
        (Settings(50, True, "-C"), 20, "ControlPersist=60s"),
        (Settings(50, True, ""), 20, "ControlPersist=60s"),
    ],
)
def test_each_slow_setting_is_named_with_its_remedy(
    settings: Settings, nodes: int, said: str
) -> None:
    line = hint(settings, nodes)
    assert line.startswith("hint: ") and said in line and "\n" not in line


def test_few_nodes_need_few_forks() -> None:
    """Ansible's own default of 5 is enough for five."""
    assert hint(Settings(5, True, PERSIST), 5) == ""


def test_all_of_them_make_one_line() -> None:
    line = hint(Settings(5, False, ""), 50)
    assert line.count("hint") == 1 and all(w in line for w in ("forks", "pipelining", "ssh_args"))
