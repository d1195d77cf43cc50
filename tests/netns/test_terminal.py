# SPDX-License-Identifier: GPL-3.0-or-later
"""On a real terminal (tmux): progress in place, widths, colours; plain lines without one."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from ansible_collections.podnet.fabric.plugins.plugin_utils.screen import FIRST_GUESS
from fleet import run_ansible
from terminal import Terminal

NAMES = [f"a-node-with-a-name-of-some-length-{number}" for number in range(1, 7)]
PLAYBOOK = """
- name: Something that takes its time
  hosts: all
  gather_facts: false
  tasks:
    - name: Begin
      ansible.builtin.command: "true"
    - name: Wait for the word
      ansible.builtin.wait_for:
        path: "{{ folder }}/{{ 'first' if number < 3 else 'rest' }}"
        timeout: 120
        sleep: 1
      failed_when: number == 1
      changed_when: false
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    hosts = {
        name: {
            "number": number,
            "ansible_connection": "local",
            "ansible_python_interpreter": sys.executable,
        }
        for number, name in enumerate(NAMES, 1)
    }
    (tmp_path / "hosts.json").write_text(json.dumps({"all": {"hosts": hosts}}), encoding="utf-8")
    (tmp_path / "wait.yml").write_text(PLAYBOOK, encoding="utf-8")
    return tmp_path


@pytest.fixture(params=[80, 40])
def terminal(request: pytest.FixtureRequest, folder: Path) -> Iterator[Terminal]:
    made = Terminal(folder, request.param)
    yield made
    made.end()


def command(folder: Path) -> list[str]:
    return ["ansible-playbook", "-i", "hosts.json", "-e", f"folder={folder}", "wait.yml"]


def test_progress_in_place_and_the_end(terminal: Terminal, folder: Path) -> None:
    terminal.run_ansible(folder, command(folder))
    wide = terminal.columns == 80
    terminal.until(lambda text: "Wait for the word  0/6" in text)
    time.sleep(FIRST_GUESS)  # sooner, nothing is guessed
    (folder / "first").touch()
    running = terminal.until(lambda text: "Wait for the word  2/6" in text)
    # One line for the task that runs, and the failure above it in full.
    assert running.count("/6") == 1, running
    assert ("2/6, 1 failed, about " in running and " s left" in running) or not wide
    assert f"FAILED{NAMES[0]}" in "".join(running.split())
    (folder / "rest").touch()
    ended = terminal.until(lambda text: "ended with 2" in text)
    assert "/6" not in ended, "progress is gone when the task has ended"
    assert "ok=5 changed=0 failed=1" in ended
    if wide:
        assert max(len(line) for line in ended.splitlines()) <= 80
    coloured = terminal.screen("-e")
    assert "\x1b[31m" in coloured, "a failure is red"
    assert "\x1b[33m" in coloured, "a change is yellow"


def test_plain_lines_without_a_terminal(folder: Path) -> None:
    (folder / "first").touch()
    (folder / "rest").touch()
    done = run_ansible(folder, command(folder))
    assert done.returncode == 2
    assert "\x1b" not in done.stdout and "\r" not in done.stdout
    assert "/6" not in done.stdout
    assert "ok=5 changed=0 failed=1" in done.stdout
