# SPDX-License-Identifier: GPL-3.0-or-later
"""A real terminal (tmux), for what a person sees and does."""

from __future__ import annotations

import shlex
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from fleet import SETTINGS, program


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

    def run_ansible(self, folder: Path, command: list[str]) -> None:
        """As `fleet.run_ansible`, with colours. At the end the screen shows `ended with` and the
        exit code."""
        settings = {key: value for key, value in SETTINGS.items() if key != "ANSIBLE_NOCOLOR"}
        script = self.folder / "run.sh"
        script.write_text(
            f"cd {shlex.quote(str(folder))}\n"
            + "".join(f"export {key}={shlex.quote(value)}\n" for key, value in settings.items())
            # A handler, which programs do not inherit: Ctrl-C is for them.
            + "trap : INT\nunset NO_COLOR ANSIBLE_NOCOLOR\n"
            + shlex.join([program(command), *command[1:]])
            + "\necho ended with $?\n",
            encoding="utf-8",
        )
        self.run(f"sh {shlex.quote(str(script))}")

    def end(self) -> None:
        self.tmux("kill-server")

    def until(self, condition: Callable[[str], bool]) -> str:
        """The screen, once it is as it should be."""
        for _ in range(600):
            if condition(found := self.screen()):
                return found
            time.sleep(0.1)
        raise AssertionError(f"never seen on {self.columns} columns; at the end:\n{found}")
