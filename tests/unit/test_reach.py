# SPDX-License-Identifier: GPL-3.0-or-later
"""Nodes that differ in their address alone share what was made for the first; whatever their
variables are, each is reached as Ansible itself would reach it."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from ansible import context
from ansible.inventory.manager import InventoryManager
from ansible.parsing.dataloader import DataLoader
from ansible.playbook.play import Play
from ansible.playbook.play_context import PlayContext
from ansible.plugins import loader as plugins
from ansible.utils.context_objects import CLIArgs
from ansible.vars.hostvars import HostVars
from ansible.vars.manager import VariableManager
from ansible_collections.podnet.fabric.plugins.plugin_utils.reach import Node, Reach

# What is told of the second node, of the third, and of all of them.
ODD: dict[str, tuple[dict[str, Any], ...]] = {
    "nothing": ({},),
    "port": ({"ansible_port": 2222},),
    "user": ({"ansible_user": "operator"}, {"ansible_user": "operator"}),
    "a template": ({"ansible_user": "{{ 'oper' ~ 'ator' }}"},),
    "a template for all": ({}, {}, {"ansible_ssh_common_args": "-o X={{ inventory_hostname }}"}),
    "a template of sudo": ({}, {}, {"ansible_sudo_flags": "-p {{ ansible_host }}"}),
    "jump host": ({"ansible_ssh_common_args": "-J jump"},),
    "old word for its address": ({"ansible_ssh_host": "192.0.2.77"},),
    "no address": ({"ansible_host": None},),
    "addresses that are templates": ({}, {}, {"ansible_host": "{{ 'h-' ~ inventory_hostname }}"}),
    "password": ({"ansible_password": "a", "ansible_become_password": "b"},),
    "no sudo": ({"ansible_become": False},),
    "another become": (
        {"ansible_become_method": "su", "ansible_su_flags": "-l"},
        {"ansible_become_method": "su", "ansible_su_flags": "-m"},
    ),
    "sudo's own variable": ({"ansible_sudo_flags": "-H -S"},),
    "another connection": ({"ansible_connection": "local"},),
    "the shell's own variable": ({"ansible_remote_tmp": "/var/tmp/ansible"},),
    "executable": ({"ansible_shell_executable": "/bin/bash"},),
    "timeout": ({"ansible_timeout": 3},),
    "pipelining": ({"ansible_pipelining": False},),
}
# As `ansible-playbook` without options has it.
COMMAND_LINE = {
    "connection": "ssh",
    "timeout": 10,
    "become_method": "sudo",
    "become": False,
    "check": False,
    "diff": False,
    "verbosity": 0,
    "remote_user": None,
    "private_key_file": None,
}
NAMES = ("first", "odd", "third", "last")
ADDRESSES = {name: {"ansible_host": f"192.0.2.{n}"} for n, name in enumerate(NAMES, 1)}


@pytest.fixture
def made(tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The action that asks, and its variables: a play with sudo on four nodes, one of them odd."""
    monkeypatch.setattr(context, "CLIARGS", CLIArgs(COMMAND_LINE))
    odd, third, every = (*request.param, {}, {})[:3]
    hosts = {**ADDRESSES, "odd": {**ADDRESSES["odd"], **odd}}
    hosts["third"] = {**hosts["third"], **third}
    if "ansible_host" in every:
        hosts = {name: {} for name in NAMES}
    if hosts["odd"].get("ansible_host", "") is None:
        del hosts["odd"]["ansible_host"]
    group = {"hosts": hosts, "vars": {"ansible_user": "root", **every}}
    source = tmp_path / "hosts.yml"
    source.write_text(yaml.safe_dump({"podnet": group}), encoding="utf-8")
    loader = DataLoader()
    inventory = InventoryManager(loader=loader, sources=[str(source)])
    manager = VariableManager(loader=loader, inventory=inventory)
    tasks = [{"name": "ask", "ansible.builtin.meta": "noop"}]
    data = {"name": "x", "hosts": "podnet", "become": True, "gather_facts": False, "tasks": tasks}
    play = Play().load(data, variable_manager=manager, loader=loader)
    task = next(task for block in play.compile() for task in block.block if task.name == "ask")
    action = SimpleNamespace(
        _task=task,
        _loader=loader,
        _shared_loader_obj=plugins,
        _play_context=PlayContext(play, {"conn_pass": "", "become_pass": "typed"}),
    )
    variables = {"hostvars": HostVars(inventory=inventory, variable_manager=manager, loader=loader)}
    return action, variables


def seen(node: Node) -> dict[str, Any]:
    """All that decides how a node is reached."""
    assert not node.problem
    connection, become = node._connection, node._connection.become
    return {
        "plugins": (type(connection), type(connection._shell), type(become)),
        "connection": dict(connection._options),
        "shell": dict(connection._shell._options),
        "become": dict(become._options) if become else None,
        "context": {key: getattr(node._play_context, key) for key in PlayContext.fattributes},
        "of the connection": connection._play_context is node._play_context,
    }


def in_full(action: Any, variables: dict[str, Any], name: str) -> Node:
    host = variables["hostvars"]._inventory.get_host(name)
    manager = variables["hostvars"]._variable_manager
    own = manager.get_vars(action._task.play, host, action._task, include_hostvars=False)
    return Node(action, own, variables, name)


@pytest.mark.parametrize("made", ODD.values(), ids=ODD, indirect=True)
def test_each_node_is_reached_as_if_made_by_itself(made: Any) -> None:
    action, variables = made
    reach = Reach(action, variables)
    for name in NAMES:
        assert seen(reach.node(name)) == seen(in_full(action, variables, name)), name


@pytest.mark.parametrize("made", ODD.values(), ids=ODD, indirect=True)
def test_the_odd_one_changes_nothing_of_the_others_when_it_is_first(made: Any) -> None:
    action, variables = made
    reach = Reach(action, variables)
    for name in ("odd", "first", "third", "last"):
        assert seen(reach.node(name)) == seen(in_full(action, variables, name)), name


@pytest.mark.parametrize("made", [({},)], indirect=True)
def test_what_nodes_change_while_they_are_asked_is_their_own(
    made: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    action, variables = made
    full: list[str] = []
    real = Node.__init__
    monkeypatch.setattr(Node, "__init__", lambda self, *a: (full.append(a[-1]), real(self, *a))[1])
    reach = Reach(action, variables)
    one, two = reach.node("first"), reach.node("odd")
    assert full == ["first"], "each was made in full"
    one._connection.become.build_become_command("true", one._connection._shell)
    one._connection.set_option("port", 99)
    one._play_context.remote_user = "nobody"
    one._connection.control_path = "x"
    one._connection._shell.mark = "x"
    fresh = Reach(action, variables)
    for node in (two, reach.node("third")):
        assert seen(node) == seen(fresh.node(node.name))
        assert node._connection.become.success == "" and node._connection.control_path is None
        assert not hasattr(node._connection._shell, "mark")
