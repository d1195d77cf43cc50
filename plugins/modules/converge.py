#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Documentation of the action of the same name; the work is done in plugins/action."""

from __future__ import annotations

DOCUMENTATION = r"""
module: converge
short_description: Read the nodes, compare each with its definitions, change it as one transaction
version_added: 0.1.0
description:
  - Each stage is one task for all nodes of the play, with at most C(forks) connections at a time,
    made by the connection and become plugins that each node's variables name. Nodes with another
    connection plugin than C(ansible.builtin.ssh) are asked one after the other.
  - Stage V(read) reads each node in one round trip and computes its changes and their undo.
  - Stage V(gate) does that, decides for the whole fleet, and fails when any node is not ready,
    before any node is changed, or when M(podnet.fabric.plan) did not plan in the same run.
  - Stage V(change) runs the phases of the transaction, each in one round trip on all nodes that
    have something to do in it, and with O(keep) V(hold) and V(commit) after them. A phase that
    fails is taken back by the node itself.
  - A run that switches or removes anything waits for V(commit) on every node; without it within
    O(ask.confirm_seconds) each node takes everything back by itself. V(rollback) does that at once,
    V(hold) gives a node its whole time once more over a fresh connection, where its change was of
    more than routes and of what is behind them, or where a third of its time is over. V(failed)
    says what came of a failed run.
  - With O(state=absent) a node loses everything that podnet made on it; V(purge) comes last and
    takes podnet's own folder away.
  - Needs a POSIX shell, iproute2 and nftables on the node, and no Python.
options:
  stage:
    description: What to do.
    type: str
    required: true
    choices: [read, gate, change, hold, commit, rollback, purge, failed]
  only:
    description: Nodes of the play that this stage is about; empty means all.
    type: list
    elements: str
    default: []
  phases:
    description: Phases that stage V(change) runs.
    type: list
    elements: str
    choices: [add, switch, remove]
    default: [add, switch, remove]
  keep:
    description:
      - Whether stage V(change) ends the change as well, because nothing has to prove it first.
      - A commit that does not arrive is no failure then; RV(kept) says so.
    type: bool
    default: false
  state:
    description: Whether the node shall have its part of the pod network, or nothing of podnet.
    type: str
    choices: [present, absent]
    default: present
  cut_pods:
    description: With O(state=absent), go on where pods would lose their network.
    type: bool
    default: false
  bgp_password:
    description: Password of the BGP sessions, where the plan was made with one.
    type: str
    default: ""
  generations_kept:
    description: Generations that stay on the node.
    type: int
    default: 10
  heal_seconds:
    description:
      - Seconds between two looks of the healing timer; 0 means that there is no timer.
      - Needs systemd on the node.
    type: int
    default: 0
  ask:
    description: How the run is asked to go. Stage V(gate) only.
    type: dict
    default: {}
    suboptions:
      confirm_seconds:
        description: Seconds within which stage V(commit) must come; 0 waits for nothing.
        type: int
        default: 0
      phases:
        description: Phases of this run.
        type: list
        elements: str
        choices: [add, switch, remove]
        default: [add, switch, remove]
      canary:
        description: Nodes that switch first.
        type: list
        elements: str
        default: []
      serial:
        description: Sizes of the batches in which the others switch, numbers or percentages.
        type: list
        elements: raw
        default: []
      digest:
        description: Digest of the plan that was reviewed; another plan is refused.
        type: str
        default: ""
      lost:
        description: Nodes that are declared gone, so that no change waits for them.
        type: list
        elements: str
        default: []
      released:
        description: Old pod CIDRs that no pod uses any more, though their nodes are not asked.
        type: list
        elements: str
        default: []
      each:
        description: Whether something is asked for each node by itself.
        type: bool
        default: false
      install:
        description:
          - Where missing CNI plugins will come from.
          - With V(none) missing plugins are a problem.
        type: str
        default: none
extends_documentation_fragment:
  - podnet.fabric.output_dir
  - podnet.fabric.attributes
attributes:
  check_mode:
    support: full
    details: The stage change reports what it would do, and does nothing.
  diff_mode:
    support: full
    details: The stage change shows its commands, each with its reason.
  idempotent:
    support: full
author:
  - podnet developers (@podnet)
"""

EXAMPLES = r"""
- name: Read every node, and check that it is ready
  podnet.fabric.converge:
    stage: gate
  register: converge_gate
  run_once: true
"""

RETURN = r"""
batches:
  description: Nodes that switch, in the order in which they do.
  type: list
  elements: list
  returned: stage gate
each:
  description: Whether something is to be done, or to be said, for each node by itself.
  type: bool
  returned: stage gate
digest:
  description: Equal for two runs that do the same on the same nodes.
  type: str
  returned: stage gate
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
generations:
  description: Number of the current generation of each node that was read; null when there is none.
  type: dict
  returned: stage read
unread:
  description: Nodes that could not be read, each with C(msg) and whether it was C(unreachable).
  type: dict
  returned: stage read
commands:
  description: Number of commands of all phases on all nodes.
  type: int
  returned: stage change
kept:
  description: Whether the change is kept on every node, so that nothing is left to be done.
  type: bool
  returned: stage change
"""
