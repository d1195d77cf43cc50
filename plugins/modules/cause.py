#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Documentation of the action of the same name; the work is done in plugins/action."""

from __future__ import annotations

DOCUMENTATION = r"""
module: cause
short_description: Name the object that keeps pairs of nodes from reaching each other
version_added: 0.1.0
description:
  - Comes after a verification that failed, M(podnet.fabric.verify).
  - Stage V(look) reads a node that has a part in a failed pair, in one round trip.
  - Stage V(name) runs once, walks the way of each failed pair over what was read, and fails with
    the first wrong object of each - node, object, expected, found, and what repairs it. Where
    nothing failed and all nodes were looked at, it says what is wrong and was not felt.
  - Needs a POSIX shell on the node, and no Python.
options:
  stage:
    description: What to do.
    type: str
    required: true
    choices: [look, name]
  bgp_password:
    description: In mode bgp, what nodes compare their own password with. Stage V(look) only.
    type: str
    default: ""
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
- name: Look at the nodes of failed pairs
  podnet.fabric.cause:
    stage: look
"""

RETURN = r"""
causes:
  description: The first wrong object of each failed pair, with the results that it explains.
  type: list
  elements: dict
  returned: stage name
"""
