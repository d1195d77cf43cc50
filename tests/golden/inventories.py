# SPDX-License-Identifier: GPL-3.0-or-later
"""Real inventories through Ansible's own loader, and what the core makes of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ansible.inventory.manager import InventoryManager
from ansible.parsing.dataloader import DataLoader
from ansible.vars.hostvars import HostVars
from ansible.vars.manager import VariableManager
from ansible_collections.podnet.fabric.plugins.plugin_utils.intent.hosts import host_variables
from ansible_collections.podnet.fabric.plugins.plugin_utils.plan import (
    compile_fleet,
    plan_node,
)
from ansible_collections.podnet.fabric.plugins.plugin_utils.render import render_node
from ansible_collections.podnet.fabric.plugins.plugin_utils.workspace import templates


def variables(inventory: Path) -> dict[str, dict[str, Any]]:
    """The `podnet_*` variables of every host of the group, as the action plugin collects them."""
    loader = DataLoader()
    loader.set_basedir(str(inventory.parent))
    manager = InventoryManager(loader=loader, sources=[str(inventory)])
    values = VariableManager(loader=loader, inventory=manager)
    hostvars = HostVars(inventory=manager, variable_manager=values, loader=loader)
    task_vars = {"hostvars": hostvars, "groups": manager.get_groups_dict()}
    return host_variables(task_vars, "podnet").variables


def tree(inventory: Path) -> dict[str, str]:
    """``node/file`` → content of everything that is rendered for an inventory."""
    fabric = compile_fleet(variables(inventory))
    loaded = templates()
    return {
        f"{node.name}/{name}": text
        for node in fabric.nodes
        for name, text in render_node(fabric, plan_node(fabric, node.name), loaded).items()
    }
