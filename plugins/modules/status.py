#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Documentation of the action of the same name; the work is done in plugins/action."""

from __future__ import annotations

DOCUMENTATION = r"""
module: status
short_description: Say what every node has, what retires, and what differs
version_added: 0.1.0
description:
  - Runs once, after stage V(read) of M(podnet.fabric.converge) on every node.
  - Reads what that saved; changes nothing, and outside of mode bgp opens no connection.
  - In mode bgp it asks the nodes once more, for FRR's sessions and configuration.
options:
  bgp_seconds:
    description: In mode bgp, seconds until a session or prefix that is missing counts as such.
    type: int
    default: 15
  bgp_password:
    description: In mode bgp, what nodes compare their own password with.
    type: str
    default: ""
  drift:
    description: Fail and name every difference, when there is any.
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
- name: Say what every node has
  podnet.fabric.status:
  run_once: true
"""

RETURN = r"""
causes:
  description: In mode bgp, what is wrong with sessions and learned prefixes, node and object.
  type: list
  elements: dict
  returned: always
differences:
  description: Every difference between inventory, rendered files and nodes, one line each.
  type: list
  elements: str
  returned: always
"""
