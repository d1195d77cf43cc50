# SPDX-License-Identifier: GPL-3.0-or-later
"""Many nodes at once from one process: a shell text to each, and their answers.

A task that runs on every node costs the controller 26 ms of CPU per node before it does anything,
10 of them in the one main process. So a stage is one task, and this is what it talks through:
Ansible's own connection and become plugins, made for each node from that node's own variables, as
Ansible makes them. Whatever reaches a node in any other task reaches it here.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from ansible import constants as C
from ansible import context
from ansible.errors import AnsibleConnectionFailure, AnsibleError
from ansible.plugins.action import ActionBase

from .reach import Answer, Node, Reach


def called(variables: Mapping[str, Any]) -> list[str]:
    """Hosts that this batch of the play was to reach, those that failed before among them. With
    `serial` the hosts of other batches are no part of it: nobody asks them now."""
    others = frozenset(other_batches(variables))
    return [h for h in map(str, variables["ansible_play_hosts_all"]) if h not in others]


def other_batches(variables: Mapping[str, Any]) -> list[str]:
    """Hosts of the play that have not failed and are not of this batch; none without `serial`."""
    batch = frozenset(map(str, variables["ansible_play_batch"]))
    return [h for h in map(str, variables["ansible_play_hosts"]) if h not in batch]


class Exchange:
    """The nodes of the play that have not failed, in this batch of it."""

    def __init__(self, action: ActionBase, variables: Mapping[str, Any]) -> None:
        self._action = action
        self._known: dict[str, Node] = {}
        self._reach = Reach(action, variables)
        self._alone = threading.Lock()
        self.names = [str(name) for name in variables["ansible_play_batch"]]

    def ask(self, texts: Mapping[str, str], fresh: bool = False) -> dict[str, Answer]:
        """Run a shell text on each node; at most `forks` at a time.

        Args:
            texts: node → text.
            fresh: over a connection that is made now.
        """
        most = min(context.CLIARGS.get("forks") or C.DEFAULT_FORKS, len(texts))
        with ThreadPoolExecutor(max(1, self._action._task.throttle or most)) as pool:
            # The first are asked while the connections of the others are still made.
            nodes = map(self._node, texts)
            answers = pool.map(lambda node: self._ask(node, texts[node.name], fresh), nodes)
            return dict(zip(texts, answers, strict=True))

    def _ask(self, node: Node, text: str, fresh: bool) -> Answer:
        if node.problem:
            return Answer(away=node.problem)
        turn = contextlib.nullcontext() if node.side_by_side else self._alone
        with turn:
            try:
                return node.ask(text, fresh)
            except AnsibleConnectionFailure as error:
                return Answer(away=str(error.message))
            except AnsibleError as error:  # such as a wrong password for sudo
                return Answer(rc=1, stderr=str(error))

    def _node(self, name: str) -> Node:
        """Made by this thread: loading plugins and templating are not for several."""
        if name not in self._known:
            self._known[name] = self._reach.node(name)
        return self._known[name]
