#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Documentation of the action of the same name; the work is done in plugins/action."""

from __future__ import annotations

DOCUMENTATION = r"""
module: outcome
short_description: Say what a run came to on each node
version_added: 0.1.0
description:
  - The stages of M(podnet.fabric.converge) are one task for all nodes. This gives each node its own
    result after them, changed or not, or failed or unreachable where it could not be read.
  - Opens no connection.
options:
  unread:
    description: Nodes that could not be read, as M(podnet.fabric.converge) returns them.
    type: dict
    default: {}
  looked:
    description: Nodes were only looked at, so that nothing has changed.
    type: bool
    default: false
extends_documentation_fragment:
  - podnet.fabric.output_dir
  - podnet.fabric.attributes
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
  idempotent:
    support: full
author:
  - podnet developers (@podnet)
"""

EXAMPLES = r"""
- name: Say what came of each node
  podnet.fabric.outcome:
    unread: "{{ converge_gate.unread }}"
"""

RETURN = r"""
commands:
  description: Number of commands that the run has for this node.
  type: int
  returned: when the node was read
"""
