# SPDX-License-Identifier: GPL-3.0-or-later
"""How one node is reached: by Ansible's own connection and become plugins, with the options that a
task of that node has.

To make them costs the controller more than to ask over them, in each stage again. Most nodes of a
fleet differ in their address alone, and these get copies of what was made for the first of them.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from ansible import constants as C
from ansible.errors import AnsibleError
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
ADDRESS = ("ansible_host", "inventory_hostname")
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


class Reach:
    """Makes the connections of nodes, one after the other: templates are not for threads."""

    def __init__(self, action: ActionBase, variables: Mapping[str, Any]) -> None:
        self._action, self._variables = action, variables
        self._templar = Templar(loader=action._loader, variables={})
        # By the values of the variables that matter; copies of them are asked, and they never.
        self._patterns: dict[str, Node] = {}

    def node(self, name: str) -> Node:
        """With ``problem`` where a connection cannot be made."""
        own = _variables_of(self._action._task, self._variables, name)
        first = next(iter(self._patterns.values()), None)
        values = first.values(own) if first else ""
        pattern = self._patterns.get(values)
        if pattern is None:
            pattern = Node(self._action, dict(own), self._variables, name)
            if pattern.problem or not pattern.side_by_side:
                return pattern
            values = values or pattern.values(own)
            # The variables that matter are those of the plugins, so of the same plugins.
            if not values or (first and first.plugins != pattern.plugins):
                return pattern
            self._patterns[values] = pattern
        self._templar.available_variables = own
        return pattern.at(name, str(self._templar.template(own.get("ansible_host", name))))


class Node(ActionBase):  # type: ignore[misc]  # ansible ships no types
    """One node's connection, as `TaskExecutor` of ansible-core makes it for a task of that node.

    Attributes:
        problem: why there is none.
        plugins: of the connection, its shell and become; the last may be empty.
    """

    def __init__(
        self, action: ActionBase, own: dict[str, Any], variables: Mapping[str, Any], name: str
    ) -> None:
        self.name, self.problem = name, ""
        self.side_by_side, self.plugins = True, ("", "", "")
        task, loader = action._task, action._loader
        templar = Templar(loader=loader, variables=own)
        # Each once: both the context and the plugins ask for them, and a template is dear.
        own |= {known: templar.template(own[known]) for known in MAGIC if known in own}
        super().__init__(task, None, None, loader, templar, action._shared_loader_obj)
        try:
            self._connect(own, templar, _passwords(action._play_context, variables))
        except AnsibleError as error:
            self.problem = str(error)

    def values(self, own: Mapping[str, Any]) -> str:
        """Those of the variables that say how a node is reached by the plugins of this one, all but
        its address; empty where one has to be templated, or says the address in another way."""
        kinds = zip(("connection", "shell", "become"), self.plugins, strict=True)
        looked_at = [n for kind, name in kinds if name for n in _variables_for(kind, name)]
        found = {name: own[name] for name in (*MAGIC, *looked_at) if name in own}
        text = repr([item for item in found.items() if item[0] not in ADDRESS])
        return "" if "{" in text or "ansible_ssh_host" in found else text

    def at(self, name: str, address: str) -> Node:
        """The same for another node; nothing that one of them changes is shared."""
        node, connection = copy.copy(self), copy.copy(self._connection)
        node.name, node._connection = name, connection
        node._play_context = connection._play_context = copy.copy(self._play_context)
        node._play_context.remote_addr = address
        connection._shell = copy.copy(connection._shell)
        connection.set_become_plugin(copy.copy(connection.become))
        connection._options, connection._origins = {**connection._options}, {**connection._origins}
        connection.set_option("host", address)
        return node

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
        names = (plugin._load_name if plugin else "" for plugin in (connection._shell, become))
        self.plugins = (connection._load_name, *names)
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
    names = _variables_for(kind, plugin._load_name)
    return {name: templar.template(own[name]) for name in names if name in own}


@cache
def _variables_for(kind: str, plugin: str) -> tuple[str, ...]:
    """What sets the options of a plugin."""
    return tuple(C.config.get_plugin_vars(kind, plugin))
