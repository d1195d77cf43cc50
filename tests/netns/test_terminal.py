# SPDX-License-Identifier: GPL-3.0-or-later
"""On a real terminal (tmux): progress in place, widths, colours; plain lines without one."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from ansible_collections.podnet.fabric.plugins.plugin_utils.screen import FIRST_GUESS
from fleet import REPO, run_ansible

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


class Terminal:
    """A tmux server of its own with one window that runs a command."""

    def __init__(self, folder: Path, columns: int) -> None:
        self.folder, self.columns = folder, columns
        self.socket = str(folder / "tmux")
        self.tmux("new-session", "-d", "-x", str(columns), "-y", "30", "sh")
        assert int(self.tmux("display-message", "-p", "#{pane_width}")) == columns

    def tmux(self, *arguments: str) -> str:
        command = ["tmux", "-S", self.socket, "-f", "/dev/null", *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    def screen(self, *how: str) -> str:
        return self.tmux("capture-pane", "-p", *how)

    def run(self, command: str) -> None:
        self.tmux("send-keys", "clear; " + command, "Enter")

    def until(self, condition: Callable[[str], bool]) -> str:
        """The screen, once it is as it should be."""
        for _ in range(600):
            if condition(found := self.screen()):
                return found
            time.sleep(0.1)
        raise AssertionError(f"never seen on {self.columns} columns; at the end:\n{found}")


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
    made.tmux("kill-server")


def command(folder: Path) -> list[str]:
    return ["ansible-playbook", "-i", "hosts.json", "-e", f"folder={folder}", "wait.yml"]


def test_progress_in_place_and_the_end(terminal: Terminal, folder: Path) -> None:
    program, *rest = command(folder)
    settings = {
        "ANSIBLE_CONFIG": REPO / "ansible.cfg",
        "ANSIBLE_COLLECTIONS_PATH": REPO / ".ansible" / "collections",
        "ANSIBLE_NOCOLOR": "",
    }
    script = folder / "run.sh"
    script.write_text(
        f"cd {shlex.quote(str(folder))}\n"
        + "".join(f"export {key}={shlex.quote(str(value))}\n" for key, value in settings.items())
        + "unset NO_COLOR ANSIBLE_NOCOLOR\n"
        + shlex.join([str(Path(sys.executable).parent / program), *rest])
        + "\necho ended with $?\n",
        encoding="utf-8",
    )
    terminal.run(f"sh {shlex.quote(str(script))}")
    wide = terminal.columns == 80
    terminal.until(lambda text: "Wait for the word  0/6" in text)
    time.sleep(FIRST_GUESS)  # sooner, nothing is guessed
    (folder / "first").touch()
    running = terminal.until(lambda text: "Wait for the word  2/6" in text)
    # One line for the task that runs, and the failure above it in full.
    assert running.count("/6") == 1, running
    assert ("2/6, 1 failed, about " in running and " s left" in running) or not wide
    assert f"FAILED {NAMES[0]}" in running.replace("\n", "")
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
