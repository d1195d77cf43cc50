# SPDX-License-Identifier: GPL-3.0-or-later
"""Writes down the boundaries of a run, and kills the run at one of them, as a test asks.

A boundary is the start of a task or the result of a task on one node; they are counted together,
from 1. `PODNET_FAULT_AT` is `boundary`, `boundary+seconds`, or a word of a boundary, and then the
first one counts that has it. With `PODNET_FAULT_DO`, a shell text is run there and the run goes on.
"""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from typing import Any

from ansible.plugins.callback import CallbackBase
from marked import MARK, kill_marked

DOCUMENTATION = r"""
name: kill_at
type: notification
short_description: Kills the run at a boundary
description: For tests only.
author: podnet developers (@podnet)
"""


class CallbackModule(CallbackBase):  # type: ignore[misc]  # ansible ships no types
    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "notification"
    CALLBACK_NAME = "kill_at"

    def __init__(self) -> None:
        super().__init__()
        self.count = 0
        at, _plus, seconds = os.environ.get("PODNET_FAULT_AT", "0").partition("+")
        self.at, self.word = (int(at), "") if at.isdigit() else (0, at)
        self.after = float(seconds or 0)
        self.events = os.environ["PODNET_FAULT_EVENTS"]

    def boundary(self, text: str) -> None:
        self.count += 1
        with open(self.events, "a", encoding="utf-8") as stream:
            stream.write(text + "\n")
        if self.word and self.word in text:
            self.at, self.word = self.count, ""
        if self.count != self.at:
            return
        if os.environ.get("PODNET_FAULT_DO"):
            subprocess.run(["sh", "-c", os.environ["PODNET_FAULT_DO"]], check=True)
        elif self.after:
            threading.Timer(self.after, self.die).start()
        else:
            self.die()

    def die(self) -> None:
        """The other processes first, because nobody is left to do it afterwards."""
        connections = os.environ.get("PODNET_FAULT_CONNECTIONS") == "1"
        kill_marked(os.environ[MARK], connections)
        os.kill(os.getpid(), signal.SIGKILL)

    def v2_playbook_on_task_start(self, task: Any, is_conditional: bool) -> None:
        self.boundary(f"task\t{task.get_name()}")

    def v2_runner_on_ok(self, result: Any) -> None:
        self.boundary(f"result\t{result.task_name}, {result.host.get_name()}")

    v2_runner_on_failed = v2_runner_on_skipped = v2_runner_on_unreachable = v2_runner_on_ok
