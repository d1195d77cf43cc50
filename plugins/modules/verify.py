#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Documentation of the action of the same name; the work is done in plugins/action."""

from __future__ import annotations

DOCUMENTATION = r"""
module: verify
short_description: Prove from inside real pods that the pod network holds
version_added: 0.1.0
description:
  - Every stage is one task for all nodes of the play. Nodes need Python 3.8; one is asked over
    Ansible's own connection to it, by the interpreter in C(ansible_python_interpreter) if that is
    set.
  - Stage V(begin) forgets earlier observations and notes what is asked for. It fails where the last
    plan does not know all nodes of the play.
  - Stage V(observe) starts two probe pods on every node and sends each node's probes from inside
    them, V(measure) says how fast one way of each kind is, and V(stop) removes the pods. What a
    node reported is saved below C(.podnet/observed/).
  - Stage V(judge) compares what was observed with the plan and saves the results. Where every
    promise was looked at and holds it removes the pods; else they stay for who looks for the cause.
  - A node that cannot be reached does not fail these stages; it is an error in the results.
options:
  stage:
    description: What to do.
    type: str
    required: true
    choices: [begin, observe, measure, judge, stop]
  port:
    description: TCP and UDP port on which the probe pods answer. Stage V(begin) only.
    type: int
    default: 7717
  only:
    description:
      - In the middle of a change, the nodes that have switched. Stage V(begin) only.
      - Their pods must reach all others and be reached, and nothing else is asked.
    type: list
    elements: str
    default: []
  without:
    description: Nodes that are left out, as by C(--limit). Stage V(begin) only.
    type: list
    elements: str
    default: []
  outside:
    description: Hosts outside the cluster that every node's pods must reach. Stage V(begin) only.
    type: list
    elements: dict
    default: []
    suboptions:
      address:
        description: IPv4 or IPv6 address.
        type: str
        required: true
      port:
        description: TCP port.
        type: int
        required: true
  peers:
    description: Peers that each node probes; 0 for all of them. Stage V(begin) only.
    type: int
    default: 64
  model:
    description: Look at all nodes, even if nothing failed. Stage V(begin) only.
    type: bool
    default: false
  bgp_seconds:
    description:
      - In mode bgp, seconds until a session or prefix that is missing counts as such.
      - Stage V(observe) only.
    type: int
    default: 15
  bgp_password:
    description: In mode bgp, what nodes compare their own password with. Stage V(observe) only.
    type: str
    default: ""
  attempts:
    description: How often a probe is sent before it counts as lost. Stage V(begin) only.
    type: int
    default: 3
  timeout_ms:
    description: Milliseconds to wait for each answer. Stage V(begin) only.
    type: int
    default: 1000
  seconds:
    description: Seconds for each measurement, 1 to 5. Stage V(measure) only.
    type: int
    default: 2
  most_mbit:
    description: Mbit/s that are sent at most. Stage V(measure) only.
    type: int
    default: 1000
extends_documentation_fragment:
  - podnet.fabric.output_dir
  - podnet.fabric.attributes
attributes:
  check_mode:
    support: none
    details: Skipped in check mode, because it starts probe pods.
  diff_mode:
    support: none
    details: Nothing that it starts stays.
  idempotent:
    support: full
author:
  - podnet developers (@podnet)
"""

EXAMPLES = r"""
- name: Judge what was observed
  podnet.fabric.verify:
    stage: judge
  run_once: true
"""

RETURN = r"""
verdict:
  description: V(pass); V(fail) when a promise is broken; V(unknown) when none is known to be broken
    and not all could be looked at.
  type: str
  returned: stage judge
summary:
  description: Counts by status, kind, promise and stage, and of pairs of nodes.
  type: dict
  returned: stage judge
stdout_lines:
  description: The reachability matrix, in at most 80 columns.
  type: list
  elements: str
  returned: stage judge
probes:
  description: Number of probes that were sent, of all nodes.
  type: int
  returned: stage observe
"""
