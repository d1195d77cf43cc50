#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Documentation of the action of the same name; the work is done in plugins/action."""

from __future__ import annotations

DOCUMENTATION = r"""
module: rollback
short_description: Choose the intent of an earlier generation
version_added: 0.1.0
description:
  - Every generation on a node remembers the intent that made it.
  - Stage V(begin) runs once, stage V(read) asks a node for the generations that it keeps, and stage
    V(choose) runs once and puts the intent of the whole fleet together. A play that has the fleet
    in batches (C(serial)) is refused.
  - What was chosen is saved where M(podnet.fabric.plan) saves the fleet; no node is changed.
options:
  stage:
    description: What to do.
    type: str
    required: true
    choices: [begin, read, choose]
  group:
    description: Inventory group that holds the nodes of the fleet.
    type: str
    default: podnet
  to:
    description:
      - V(previous), the state before the last change, which is refused where neither the nodes nor
        the numbers that runs from this folder gave tell that change; or the number of a generation.
    type: str
    default: previous
  nodes:
    description: Nodes whose own settings go back; empty for the whole fleet.
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
    support: none
    details: It changes nothing that could differ.
  idempotent:
    support: full
author:
  - podnet developers (@podnet)
"""

EXAMPLES = r"""
- name: Choose the intent to go back to
  podnet.fabric.rollback:
    stage: choose
    to: previous
  run_once: true
"""

RETURN = r"""
generations:
  description: Numbers of the generations that the node keeps and that can be gone back to.
  type: list
  elements: int
  returned: stage read
current:
  description: Number of the current generation; 0 when there is none.
  type: int
  returned: stage read
"""
