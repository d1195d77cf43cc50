# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Inventory from a table of nodes, in CSV or YAML."""

from __future__ import annotations

DOCUMENTATION = r"""
name: table
short_description: Nodes from a table in CSV or YAML
version_added: 0.1.0
description:
  - Reads a CSV table with a line of headings, or a YAML list with a mapping for each node, and adds
    each node to a group, with the variables of the pod network and any others.
  - A heading is the name of a node variable with or without its prefix (C(pod_cidrs),
    C(underlay_addresses), C(segment), C(underlay_mtu)), C(name), or any host variable, such as
    C(ansible_host); so is a key of the YAML form. Several values are a YAML list, or stand in one
    field with blanks or semicolons between them. An empty field is a variable that is not set.
  - What the values mean is checked by the plan. A table that cannot be used is refused with all its
    problems.
options:
  plugin:
    description: Name of this plugin.
    type: str
    required: true
    choices: [podnet.fabric.table]
  file:
    description:
      - The table; relative to the inventory file.
      - A name that ends in C(.yml), C(.yaml) or C(.json) is read as YAML, any other as CSV.
    type: str
    required: true
  columns:
    description: Heading → what it is, for a table with headings of its own.
    type: dict
    default: {}
  group:
    description: Group of the nodes.
    type: str
    default: podnet
author:
  - podnet developers (@podnet)
"""

EXAMPLES = r"""
# nodes.podnet.yml, beside nodes.csv:
#   name,ansible_host,underlay_addresses,pod_cidrs,segment
#   worker-1,192.0.2.11,192.0.2.11,10.64.1.0/24 fd00:64:0:1::/64,rack-a
plugin: podnet.fabric.table
file: nodes.csv

# The same with a list, in nodes.data.yml:
#   - name: worker-1
#     ansible_host: 192.0.2.11
#     underlay_addresses: [192.0.2.11]
#     pod_cidrs: [10.64.1.0/24, "fd00:64:0:1::/64"]
#     segment: rack-a
"""

from pathlib import Path
from typing import Any

from ansible.plugins.inventory import BaseInventoryPlugin

from ..plugin_utils.intent.rows import enter, from_table
from ..plugin_utils.sources import reading


class InventoryModule(BaseInventoryPlugin):  # type: ignore[misc]  # ansible ships no types
    NAME = "podnet.fabric.table"

    def verify_file(self, path: str) -> bool:
        return bool(super().verify_file(path)) and path.endswith((".yml", ".yaml"))

    def parse(self, inventory: Any, loader: Any, path: str, cache: bool = True) -> None:
        super().parse(inventory, loader, path, cache)
        self._read_config_data(path)
        table = Path(path).parent / str(self.get_option("file"))
        columns = {str(k): str(v) for k, v in dict(self.get_option("columns")).items()}
        with reading(path, str(table), str(table)):
            hosts = from_table(table.name, table.read_text(encoding="utf-8-sig"), columns)
        enter(inventory, str(self.get_option("group")), hosts)
