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
from dataclasses import dataclass
from typing import Any

from ansible import constants as C
from ansible import context
from ansible.errors import AnsibleConnectionFailure, AnsibleError
from ansible.module_utils.parsing.convert_bool import boolean
from ansible.playbook.play_context import PlayContext
from ansible.plugins.action import ActionBase
from ansible.plugins.loader import become_loader, connection_loader
from ansible.template import Templar

# Plugins that start a program per command and share nothing between two nodes. Others may keep
# state in the process, as Ansible runs each in one of its own: their nodes are asked one by one.
SIDE_BY_SIDE = ("ssh", "ansible.builtin.ssh")
# Variables that say how a node is reached, such as `ansible_host`.
MAGIC = tuple(name for names in C.MAGIC_VARIABLE_MAPPING.values() for name in names)
# Where a password comes from the variables of one node, it is no password of the others.
PASSWORDS = {
    "conn_pass": ("password", ("ansible_password", "ansible_ssh_pass", "ansible_ssh_password")),
    "become_pass": ("become_pass", ("ansible_become_password", "ansible_become_pass")),
}


@dataclass(frozen=True)
class Answer:
    """What a node said; ``away`` says why it could not be asked, and then the rest says nothing."""

    rc: int = 0
    stdout: str = ""
    stderr: str = ""
    away: str = ""


class Exchange:
    """The nodes of the play that have not failed, in this batch of it."""

    def __init__(self, action: ActionBase, variables: Mapping[str, Any]) -> None:
        self._action = action
        self._variables = variables
        self._known: dict[str, _Node] = {}
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

    def _ask(self, node: _Node, text: str, fresh: bool) -> Answer:
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

    def _node(self, name: str) -> _Node:
        """Made by this thread: loading plugins and templating are not for several."""
        if name not in self._known:
            self._known[name] = _Node(self._action, self._variables, name)
        return self._known[name]


class _Node(ActionBase):  # type: ignore[misc]  # ansible ships no types
    """One node's connection, as `TaskExecutor` of ansible-core makes it for a task of that node."""

    def __init__(self, action: ActionBase, variables: Mapping[str, Any], name: str) -> None:
        self.name = name
        self.problem = ""
        self.side_by_side = True
        task, loader = action._task, action._loader
        own = _variables_of(task, variables, name)
        templar = Templar(loader=loader, variables=own)
        # Each once: both the context and the plugins ask for them, and a template is dear.
        own |= {known: templar.template(own[known]) for known in MAGIC if known in own}
        super().__init__(task, None, None, loader, templar, action._shared_loader_obj)
        try:
            self._connect(own, templar, _passwords(action._play_context, variables))
        except AnsibleError as error:
            self.problem = str(error)

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> Any:
        raise NotImplementedError("only the connection is used")

    def ask(self, text: str, fresh: bool) -> Answer:
        if fresh:
            self._connection.reset()
        # Without an `executable` Ansible starts no second shell, and no `sleep` after it: it has
        # that against ssh that loses the end of an answer, which every answer here is asked for.
        said = self._low_level_execute_command(
            "sh -s", in_data=text.encode(), sudoable=True, executable=""
        )
        return Answer(said["rc"], said["stdout"], said["stderr"])

    def _connect(self, own: dict[str, Any], templar: Templar, passwords: dict[str, str]) -> None:
        task = self._task
        play_context = PlayContext(task.play, passwords)
        play_context = play_context.set_task_and_variable_override(task, own, templar)
        play_context.post_validate(templar=templar)
        play_context.remote_addr = play_context.remote_addr or self.name
        kind = templar.template(own.get("ansible_connection") or task.connection)
        connection = connection_loader.get(kind, play_context)
        if connection is None:
            raise AnsibleError(f"the connection plugin {kind!r} was not found")
        self._connection, self._play_context = connection, play_context
        self.side_by_side = kind in SIDE_BY_SIDE
        keys = {k: v for k, v in task.dump_attrs().items() if k not in ("retries", "timeout")}
        keys["timeout"] = play_context.timeout
        if play_context.password:
            keys["password"] = play_context.password
        become = self._become(own, templar)
        connection.set_become_plugin(become)
        connection.set_options(
            task_keys=keys, var_options=_options(connection, "connection", own, templar)
        )
        connection._shell.set_options(
            task_keys=keys, var_options=_options(connection._shell, "shell", own, templar)
        )
        if become:
            if play_context.become_pass:
                keys["become_pass"] = play_context.become_pass
            become.set_options(task_keys=keys, var_options=_options(become, "become", own, templar))

    def _become(self, own: dict[str, Any], templar: Templar) -> Any:
        wanted = own.get("ansible_become")
        on = self._task.become if wanted is None else boolean(templar.template(wanted))
        if not on:
            return None
        method = templar.template(own.get("ansible_become_method") or self._task.become_method)
        plugin = become_loader.get(method)
        if plugin is None:
            raise AnsibleError(f"the become plugin {method!r} was not found")
        self._play_context.set_become_plugin(plugin.name)
        return plugin


def _variables_of(task: Any, variables: Mapping[str, Any], name: str) -> dict[str, Any]:
    """What a task of this play sees on that node: inventory, play, role and command line, in
    Ansible's order. `hostvars` alone knows nothing of the play."""
    manager = variables["hostvars"]._variable_manager
    host = manager._inventory.get_host(name)
    found: dict[str, Any] = manager.get_vars(task.play, host, task, include_hostvars=False)
    return found


def _passwords(first: PlayContext, variables: Mapping[str, Any]) -> dict[str, str]:
    """What was typed for `--ask-pass` and `--ask-become-pass`; ``first`` is of the node on which
    the task runs, and may have got a password from that node's variables."""
    return {
        kind: getattr(first, attribute) or ""
        for kind, (attribute, names) in PASSWORDS.items()
        if not any(name in variables for name in names)
    }


def _options(plugin: Any, kind: str, own: dict[str, Any], templar: Templar) -> dict[str, Any]:
    """The variables that set options of a plugin."""
    if kind == "connection":
        found: dict[str, Any] = plugin._resolve_option_variables(own, templar)
        return found
    names = C.config.get_plugin_vars(kind, plugin._load_name)
    return {name: templar.template(own[name]) for name in names if name in own}
