#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Documentation of the action of the same name; the work is done in plugins/action."""

from __future__ import annotations

DOCUMENTATION = r"""
module: converge
short_description: Read a node, compare it with its definitions, change it as one transaction
version_added: 0.1.0
description:
  - Stage V(read) reads the node in one round trip and computes its changes and their undo.
  - Stage V(gate) runs once and fails when any node is not ready, before any node is changed.
  - Stages V(add), V(switch) and V(remove) run one phase of the transaction in one round trip each.
    A phase that fails is taken back by the node itself.
  - A run that switches or removes anything waits for V(commit) on every node; without it within
    O(confirm_seconds) each node takes everything back by itself. V(rollback) does that at once.
  - Needs a POSIX shell, iproute2 and nftables on the node, and no Python.
options:
  stage:
    description: What to do.
    type: str
    required: true
    choices: [read, gate, add, switch, remove, commit, rollback]
  generations_kept:
    description: Generations that stay on the node.
    type: int
    default: 10
  confirm_seconds:
    description: Seconds within which stage V(commit) must come; 0 means that nothing is waited for.
    type: int
    default: 0
  install:
    description:
      - Where missing CNI plugins will come from.
      - With V(none) missing plugins are a problem that stage V(gate) reports.
    type: str
    default: none
  output_dir:
    description:
      - Folder on the controller for C(intended/), C(report/) and C(.podnet/).
      - Left out, it is the working directory.
    type: path
attributes:
  check_mode:
    description: Can run in check mode and say what would change, without changing it.
    support: full
    details: The stages add, switch and remove report what they would do, and do nothing.
  diff_mode:
    description: Says in detail what changes.
    support: full
    details: The stages add, switch and remove show their commands, each with its reason.
  idempotent:
    description: A second run with the same input changes nothing.
    support: full
author:
  - podnet developers (@podnet)
"""

EXAMPLES = r"""
- name: Read and compare every node
  podnet.fabric.converge:
    stage: read
  register: converge_read
"""

RETURN = r"""
phases:
  description: Phases with something to do; for stage V(gate) by node.
  type: raw
  returned: stages read and gate
idle:
  description: Whether no node has anything to do.
  type: bool
  returned: stage gate
waits:
  description: Whether the nodes wait for a confirmation.
  type: bool
  returned: stage gate
install:
  description: Nodes on which CNI plugins are missing and will be installed.
  type: list
  elements: str
  returned: stage gate
generation:
  description: Number of the current generation of the node; null when there is none.
  type: int
  returned: stage read
warnings:
  description: What the person should know and podnet does not touch, such as foreign routes.
  type: list
  elements: str
  returned: stage read
commands:
  description: Number of commands of the phase.
  type: int
  returned: stages add, switch and remove
"""
