# SPDX-License-Identifier: GPL-3.0-or-later
"""Writes down the boundaries of a run, and kills the run at one of them, as a test asks.

A boundary is the start of a task, the result of a task on one node, or the moment before and after
all nodes are asked to do one step of a change (`ask`, `answer`), of which a task may have several.
They are counted together, from 1. `PODNET_FAULT_AT` is `boundary`, `boundary+seconds`, or a word of
a boundary, and then the first one counts that has it. With `PODNET_FAULT_DO`, a shell text is run
there and the run goes on.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ansible.plugins.callback import CallbackBase
from ansible_collections.podnet.fabric.plugins.plugin_utils.exchange import Exchange
from marked import MARK, kill_marked

# The last line of what a node gets; what it adds may be committed by the same words.
STEP = re.compile(
    r"podnet-node (\S+ apply \S+ (?P<phase>\w+)( -- commit \S+)?"
    r"|(?P<verb>hold|commit|rollback)\b.*)\n\Z"
)

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
        self.at, _plus, seconds = os.environ.get("PODNET_FAULT_AT", "0").partition("+")
        self.after = float(seconds or 0)
        self.events = Path(os.environ["PODNET_FAULT_EVENTS"])
        self.run = os.getpid()
        self.watch()

    def watch(self) -> None:
        """Tasks are forked off this process, and take what is changed here with them."""
        ask = Exchange.ask

        def watched(nodes: Exchange, texts: Mapping[str, str], fresh: bool = False) -> Any:
            step = STEP.search(next(iter(texts.values()), ""))
            name = step and (step["phase"] or step["verb"])
            if name:
                self.boundary(f"ask\t{name}")
            said = ask(nodes, texts, fresh)
            if name:
                self.boundary(f"answer\t{name}")
            return said

        Exchange.ask = watched

    def boundary(self, text: str) -> None:
        """Counted in the file, because it is not one process that gets here."""
        before = (
            self.events.read_text(encoding="utf-8").splitlines() if self.events.exists() else []
        )
        with self.events.open("a", encoding="utf-8") as stream:
            stream.write(text + "\n")
        if self.at.isdigit():
            reached = len(before) + 1 == int(self.at)
        else:
            reached = self.at in text and not any(self.at in earlier for earlier in before)
        if not reached:
            return
        if os.environ.get("PODNET_FAULT_DO"):
            subprocess.run(["sh", "-c", os.environ["PODNET_FAULT_DO"]], check=True)
        elif not self.after:
            self.die()
        elif not os.fork():  # this process may be over by then
            time.sleep(self.after)
            if Path(f"/proc/{self.run}").exists():
                self.die()
            os._exit(0)

    def die(self) -> None:
        """The other processes first, because nobody is left to do it afterwards."""
        connections = os.environ.get("PODNET_FAULT_CONNECTIONS") == "1"
        kill_marked(os.environ[MARK], connections)
        os.kill(os.getpid(), signal.SIGKILL)

    def v2_playbook_on_task_start(self, task: Any, is_conditional: bool) -> None:
        self.boundary(f"task\t{task.get_name()}")

    def v2_runner_on_ok(self, result: Any, ignore_errors: bool = False) -> None:
        self.boundary(f"result\t{result.task_name}, {result.host.get_name()}")

    v2_runner_on_failed = v2_runner_on_skipped = v2_runner_on_unreachable = v2_runner_on_ok
