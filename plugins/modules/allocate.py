#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Documentation of the action of the same name; the work is done in plugins/action."""

from __future__ import annotations

DOCUMENTATION = r"""
module: allocate
short_description: Give free ranges to nodes that have none
version_added: 0.1.0
description:
  - Gives every node without a pod CIDR the first free range of the cluster CIDRs, one per family,
    and writes it to a file of group variables beside the inventory.
  - What was given does not move without O(renumber), and a node that is gone keeps its ranges until
    they are released.
  - Runs once, on the controller, and opens no connection.
options:
  group:
    description: Inventory group that holds the nodes of the fleet.
    type: str
    default: podnet
  file:
    description:
      - File that keeps the ranges.
      - Left out, it is C(podnet_allocated.yml) in C(group_vars/GROUP/) or C(group_vars/all/)
        beside the inventory, where it hides no other file.
    type: path
  release:
    description: Nodes that are gone for good, whose ranges others may get.
    type: list
    elements: str
    default: []
  renumber:
    description:
      - Take back the ranges of nodes in the inventory that the cluster CIDRs do not hold any more,
        and give others where the cluster still has the family.
      - Without it such ranges are refused.
    type: bool
    default: false
  reserved:
    description: Networks inside the cluster CIDRs that no node gets.
    type: list
    elements: str
    default: []
extends_documentation_fragment:
  - podnet.fabric.output_dir
  - podnet.fabric.attributes
attributes:
  check_mode:
    support: full
    details: Writes its own working files below C(.podnet/) only.
  diff_mode:
    support: full
  idempotent:
    support: full
author:
  - podnet developers (@podnet)
"""

EXAMPLES = r"""
- name: Give free ranges to nodes that have none
  podnet.fabric.allocate:
    reserved: [10.64.0.0/24]
"""

RETURN = r"""
given:
  description: New ranges by node.
  type: dict
  returned: success
taken_back:
  description: Ranges that the cluster does not hold and nodes have no more, by node.
  type: dict
  returned: success
file:
  description: The file that keeps the ranges.
  type: str
  returned: success
"""
