#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Documentation of the action of the same name; the work is done in plugins/action."""

from __future__ import annotations

DOCUMENTATION = r"""
module: plan
short_description: Read and check the inventory of the whole fleet
version_added: 0.1.0
description:
  - Reads the pod network that the inventory describes, for all nodes at once, whatever C(--limit)
    says.
  - Reports every problem of the inventory together, each with where, what, expected, found and
    remedy.
  - Refuses an inventory of which Ansible could not read a source, or in which a key is there twice,
    such as a host. Ansible itself only warns of it, and goes on without the nodes concerned.
  - Runs once, on the controller, and opens no connection.
options:
  group:
    description: Inventory group that holds the nodes of the fleet.
    type: str
    default: podnet
  without:
    description: Nodes that are left out, as if the inventory did not have them.
    type: list
    elements: str
    default: []
  look:
    description:
      - Only look whether Ansible could read every source of the inventory, and whether the group
        has nodes. Where that is so, the task counts as skipped.
    type: bool
    default: false
extends_documentation_fragment:
  - podnet.fabric.output_dir
  - podnet.fabric.attributes
attributes:
  check_mode:
    support: full
    details: Writes its own working files below C(.podnet/) only.
  diff_mode:
    support: none
    details: It changes nothing that could differ.
  idempotent:
    support: full
author:
  - podnet developers (@podnet)
"""

EXAMPLES = r"""
- name: Read and check the inventory
  podnet.fabric.plan:
    group: podnet
"""

RETURN = r"""
nodes:
  description: Names of all nodes of the fleet.
  type: list
  elements: str
  returned: success
underlay:
  description: Per node its name, segment, underlay addresses and underlay MTU.
  type: list
  elements: dict
  returned: success
families:
  description: Families of the pod network.
  type: list
  elements: str
  returned: success
pod_mtu:
  description: MTU of the pods, in bytes.
  type: int
  returned: success
overlay_overhead:
  description: Bytes that encapsulation takes from every packet; 0 where no pair of nodes uses it.
  type: int
  returned: success
"""
