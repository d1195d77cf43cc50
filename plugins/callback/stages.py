# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Callback `podnet.fabric.stages`: what a person sees of a run."""

from __future__ import annotations

DOCUMENTATION = r"""
name: stages
type: stdout
short_description: One line per task, failures in full, one summary line per stage
version_added: 0.1.0
description:
  - Shows one line per task with the number of nodes, and failures at once and in full.
  - A stage is the role that a task belongs to, or the play where there is no role. The run ends
    with one summary per stage.
  - On a terminal the line of the running task counts the nodes that are done and those that failed,
    and says about how long the others will take, in place.
  - A result may carry C(podnet_summary), one line that stands for the task, and C(podnet_lines),
    lines that are printed as they are.
  - A result may carry C(podnet_unfinished), a dictionary of what is to be said if the run is
    interrupted from here on. A later result takes an entry back by an empty text.
  - A result may carry C(podnet_hint), a line that is said once, at the end of the run, and
    C(podnet_said), which is true where its message was shown before.
  - On a terminal, messages are folded at its width, but for tables and commands. Where the output
    goes elsewhere, lines stay whole.
  - Tasks that were skipped on every node are not shown.
extends_documentation_fragment:
  - result_format_callback
requirements:
  - Set as C(stdout_callback) in the configuration.
author:
  - podnet developers (@podnet)
"""

import atexit
import contextlib
import gc
import os
import signal
import sys
import textwrap
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from ansible import constants as C
from ansible import context
from ansible.plugins.callback import CallbackBase
from ansible.plugins.loader import action_loader
from ansible.utils.color import stringc
from ansible_collections.podnet.fabric.plugins.plugin_utils.screen import (
    AWAY,
    STAGE,
    WIDTH,
    Running,
    Stage,
    away_text,
    counters,
    failure_text,
    folded,
    progress,
    row,
    sentence,
    worst,
)

ERASE = "\r\x1b[K"  # the cursor to the first column, and nothing to its right
# Ansible's own steps: shown only when they fail.
QUIET_ACTIONS = {
    *("ansible.builtin.validate_argument_spec", "validate_argument_spec"),
    *C._ACTION_ALL_INCLUDES,
}


class CallbackModule(CallbackBase):
    """The events of a run in, lines on the screen out."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "stdout"
    CALLBACK_NAME = "podnet.fabric.stages"

    def __init__(self, display: Any = None) -> None:
        super().__init__(display)
        self._terminal = sys.stdout.isatty()
        self._check = bool(context.CLIARGS.get("check"))
        self._play_name, self._local = "", False
        self._play_hosts: set[str] = set()
        self._gone: set[str] = set()
        self._stages: dict[str, Stage] = {}
        self._shown_stage = ""
        self._task: Running | None = None
        self._began = 0.0
        self._unfinished: dict[str, str] = {}
        self._hints: dict[str, None] = {}

    # --- the run ---------------------------------------------------------------------------

    def v2_playbook_on_start(self, playbook: Any) -> None:
        # No event tells of an interruption. Processes that Ansible forks end without this.
        atexit.register(self.interrupted)
        known = signal.getsignal(signal.SIGINT)
        if self._terminal and callable(known):
            signal.signal(signal.SIGINT, partial(self._clear, known))
        if self._check:
            self._say("check mode: nothing is changed", C.COLOR_WARN)

    def v2_playbook_on_play_start(self, play: Any) -> None:
        # Ansible forks a process for each task: what is loaded by now stays, and neither this
        # process nor those need go through it again and again to find what can be freed.
        gc.freeze()
        self._end_task()
        self._play_name, self._local = play.get_name().strip(), play.hosts == ["localhost"]
        variables = play.get_variable_manager().get_vars(play=play)
        self._play_hosts = {str(host) for host in variables.get("ansible_play_hosts_all", [])}
        if self._display.verbosity:
            self._say(f"play: {self._play_name}", C.COLOR_VERBOSE)

    def v2_playbook_on_task_start(self, task: Any, is_conditional: bool) -> None:
        self._end_task()
        action = action_loader.get(task.action, class_only=True, collection_list=task.collections)
        role = task._role.get_name(include_role_fqcn=False) if task._role else ""
        self._task = Running(
            stage=role or self._play_name,
            name=task.get_name().rpartition(" : ")[2].strip(),
            once=bool(task.run_once) or getattr(action, "BYPASS_HOST_LOOP", False),
            quiet=task.action in QUIET_ACTIONS,
            hosts=len(self._play_hosts - self._gone),
        )
        self._began = time.monotonic()
        self._progress()

    def v2_playbook_on_handler_task_start(self, task: Any) -> None:
        self.v2_playbook_on_task_start(task, False)

    def v2_playbook_on_cleanup_task_start(self, task: Any) -> None:
        self.v2_playbook_on_task_start(task, False)

    def v2_playbook_on_no_hosts_matched(self) -> None:
        if not self._local:  # --limit names nodes
            self._say(f"{self._play_name}: no host of the inventory matches", C.COLOR_WARN)

    def v2_playbook_on_no_hosts_remaining(self) -> None:
        self._end_task()
        self._say("stopped: no node is left to go on with", C.COLOR_ERROR)

    def v2_playbook_on_stats(self, stats: Any) -> None:
        atexit.unregister(self.interrupted)
        self._end_task()
        if not self._stages:
            return
        self._say("")
        self._say("summary (check mode: nothing was changed)" if self._check else "summary")
        for name, stage in self._stages.items():
            bad = {*stage.hosts.values(), *stage.once.values()} & {"failed", "unreachable"}
            color = C.COLOR_ERROR if bad else None
            for line in row(name, sentence(stage, self._check)):
                self._say(line, color)
        if handled := sum(stats.rescued.values()):
            self._say(" " * STAGE + f"{handled} of the failures handled by the playbook itself")
        for hint in self._hints:
            self._say(self._folded(hint))

    def _clear(self, known: Callable[..., Any], number: int, frame: Any) -> None:
        """Ansible's words about an interruption land on the line of the progress."""
        # Python refuses to enter a buffer again that was just being written.
        os.write(sys.stdout.fileno(), ERASE.encode())
        known(number, frame)

    def interrupted(self) -> None:
        """Say what becomes of what the run has begun."""
        self._erase()
        if left := [text for text in self._unfinished.values() if text]:
            self._say("interrupted", C.COLOR_ERROR)
            for text in left:
                self._under(textwrap.fill(text, WIDTH - STAGE - 2))

    # --- results of one node ---------------------------------------------------------------

    def v2_runner_on_ok(self, result: Any) -> None:
        self._keep(result, "changed" if result.result.get("changed") else "ok")

    def v2_runner_on_skipped(self, result: Any) -> None:
        if self._task:
            self._task.skipped += 1
            self._progress()

    def v2_runner_on_failed(self, result: Any, ignore_errors: bool = False) -> None:
        self._keep(result, "ok" if ignore_errors else "failed")
        host = result.host.get_name()
        if not ignore_errors:
            self._gone.add(host)
        if not (self._task and host in self._task.items_shown):
            self._show_failure(result, "ignored" if ignore_errors else "FAILED")

    def v2_runner_on_unreachable(self, result: Any) -> None:
        self._keep(result, "unreachable")
        self._gone.add(result.host.get_name())
        if result.result.get("podnet_said") and not self._display.verbosity:
            return
        self._open()
        text = f"UNREACHABLE {self.host_label(result)}: {away_text(failure_text(result.result))}"
        self._under(text, C.COLOR_UNREACHABLE)
        if self._task:
            self._task.away = True
        self._show_more(result)

    def v2_runner_item_on_failed(self, result: Any) -> None:
        if self._task:
            self._task.items_shown.add(result.host.get_name())
        self._show_failure(result, "FAILED", f", item {self._get_item_label(result.result)}")

    def v2_runner_item_on_ok(self, result: Any) -> None:
        self._show_details(result)

    def v2_runner_retry(self, result: Any) -> None:
        found = result.result
        text = f"{self.host_label(result)}: try {found.get('attempts')} of {found.get('retries')}"
        if self._display.verbosity:
            self._open()
            self._under(text, C.COLOR_VERBOSE)
        else:
            self._progress(text)

    def v2_on_file_diff(self, result: Any) -> None:
        found = result.result
        pieces = found.get("results", []) if result.task.loop else [found]
        for piece in pieces:
            text = self._get_diff(piece["diff"]) if piece.get("diff") else ""
            if text.strip() and (piece.get("changed") or self._task is None):
                self._open()
                # One task for all nodes runs in the name of the first one.
                once = self._task and self._task.once
                self._below("" if once else f"{self.host_label(result)}:")
                self._below(textwrap.indent(text.rstrip("\n"), "" if once else "  "))

    # --- how it is shown -------------------------------------------------------------------

    def _keep(self, result: Any, state: str) -> None:
        """Count a result, and show at once what cannot wait for the end of the task."""
        task, host = self._task, result.host.get_name()
        self._erase()
        self._warn(result)
        self._unfinished |= result.result.get("podnet_unfinished") or {}
        if hint := result.result.get("podnet_hint"):
            self._hints[str(hint)] = None
        if task is None:
            return
        task.results[host] = state
        if not task.quiet or state in ("failed", "unreachable"):
            stage = self._stages.setdefault(task.stage, Stage())
            # The controller is no node, and one result for all is not a result of one node.
            once = task.once or host == "localhost"
            kept = stage.once if once else stage.hosts
            kept[host] = worst(kept.get(host), state)
            if summary := result.result.get("podnet_summary"):
                task.summaries[host] = str(summary)
                stage.summary = str(summary) if once else stage.summary
            if state != "failed":
                self._show_details(result)
        self._progress()

    def _show_details(self, result: Any) -> None:
        """Lines that a result brings, what `debug` says, and with -v the whole result."""
        found = result.result
        if lines := found.get("podnet_lines"):
            self._open()
            for line in lines:
                self._say(self._folded(str(line)))
        if result.task.action in C._ACTION_DEBUG:
            if "results" not in found:
                self._open()
                self._below(f"{self.host_label(result)}:{self._said(found)}")
        elif self._run_is_verbose(result):
            self._open()
            self._below(
                f"{self.host_label(result)} => {self._dump_results(found)}", C.COLOR_VERBOSE
            )

    def _said(self, found: Mapping[str, Any]) -> str:
        """What `debug` was asked to say: its message, or the variable's name and value in the
        format that Ansible's settings name."""
        if isinstance(found.get("msg"), str):
            return f" {found['msg']}"
        hidden = {*self._hide_in_debug, "results"} - {"msg"}
        kept = {k: v for k, v in found.items() if k not in hidden and not k.startswith("_ansible")}
        text = textwrap.dedent(self._dump_results(kept or found).strip("\n"))
        return "\n" + textwrap.indent(text, "  ") if "\n" in text else f" {text}"

    def _show_failure(self, result: Any, word: str, item: str = "") -> None:
        """Node and message, below the name of the task."""
        self._open()
        color = C.COLOR_SKIP if word == "ignored" else C.COLOR_ERROR
        # One task for all nodes runs in the name of the first one, which has no part in it.
        nobodys = self._task and self._task.once
        whose = "" if nobodys else f" {self.host_label(result)}"
        self._under(f"{word}{whose}{item}:", color)
        self._under(textwrap.indent(failure_text(result.result), "  "), color)
        self._show_more(result)

    def _show_more(self, result: Any) -> None:
        """Of a failure, with -v."""
        if self._display.verbosity:
            self._below(f"at {result.task.get_path()}", C.COLOR_VERBOSE)
            self._below(self._dump_results(result.result), C.COLOR_VERBOSE)
        self._progress()

    def _open(self) -> None:
        """Print the task's name now, because something is to stand below it."""
        task = self._task
        if task and not task.opened:
            task.opened = True
            self._say(self._head(task))

    def _end_task(self) -> None:
        """Print the line of a task that ended; nothing if every node skipped it."""
        task, self._task = self._task, None
        self._erase()
        if task is None or not task.results or (task.quiet and not task.opened):
            return
        if task.away:
            self._under(AWAY, C.COLOR_UNREACHABLE)
        if set(task.results.values()) == {"ok"} and task.opened and not task.summaries:
            return  # what stands below the name says it all, such as the words of debug
        numbers = counters(task.results, task.once or set(task.results) == {"localhost"})
        bad = {"failed", "unreachable"} & set(task.results.values())
        said = list(task.summaries.values()) if len(task.results) == 1 else []
        if said and not bad:
            self._say(self._head(task)) if not task.opened else None
            self._under(said[0], C.COLOR_OK)
            return
        color = C.COLOR_ERROR if bad else C.COLOR_CHANGED if "changed" in numbers else C.COLOR_OK
        if "changed=0" in numbers and not bad:
            color = C.COLOR_OK
        head = "" if task.opened else self._head(task)
        gap = WIDTH - len(head) - len(numbers)
        if head and gap < 2:
            self._say(head)
            head, gap = "", WIDTH - len(numbers)
        self._say(head + " " * gap + stringc(numbers, color))
        for host, summary in sorted(task.summaries.items()):
            self._under(summary if task.once else f"{host}: {summary}")

    def _head(self, task: Running) -> str:
        """Stage and name of a task; the stage only where it begins."""
        known, self._shown_stage = self._shown_stage, task.stage
        if task.stage == known:
            return " " * STAGE + task.name
        if len(task.stage) < STAGE:
            return f"{task.stage:<{STAGE}}{task.name}"
        self._say(task.stage)
        return " " * STAGE + task.name

    def _under(self, text: str, color: str | None = None) -> None:
        """Words below a task's name."""
        self._say(self._folded(textwrap.indent(text, " " * (STAGE + 2))), color)

    def _below(self, text: str, color: str | None = None) -> None:
        """The same for what is no prose, as it is."""
        self._say(textwrap.indent(text, " " * (STAGE + 2)), color) if text else None

    def _folded(self, text: str) -> str:
        return folded(text, self._columns())

    def _columns(self) -> int | None:
        """Of the terminal itself: COLUMNS may be what another program once exported."""
        if not self._terminal:
            return None
        with contextlib.suppress(OSError):
            return os.get_terminal_size(sys.stdout.fileno()).columns or None
        return None

    def _warn(self, result: Any) -> None:
        """Of Ansible's own warnings, the lines of a file that it shows are not in the result."""
        if self._columns() and result.task.action.startswith("podnet.fabric."):
            mark = "[WARNING]: "
            for text in result.result.pop("warnings", None) or ():
                self._display.warning(self._folded(mark + str(text)).removeprefix(mark))
        self._handle_warnings(result.result)

    def _say(self, text: str, color: str | None = None) -> None:
        self._erase()
        self._display.display(text, color=color)

    def _progress(self, note: str = "") -> None:
        """On a terminal, the running task and how many nodes are done, on a line of its own."""
        task = self._task
        if not self._terminal or task is None or task.quiet:
            return
        columns = self._columns() or WIDTH
        text = progress(task, time.monotonic() - self._began, columns, note)
        # The cursor goes back to the first column, so that a line from elsewhere lands there.
        sys.stdout.write(f"\r{text}\x1b[K\r")
        sys.stdout.flush()

    def _erase(self) -> None:
        if self._terminal:
            sys.stdout.write(ERASE)
            sys.stdout.flush()
