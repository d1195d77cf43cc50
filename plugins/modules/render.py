#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Documentation of the action of the same name; the work is done in plugins/action."""

from __future__ import annotations

DOCUMENTATION = r"""
module: render
short_description: Render the definitions of one role for every node
version_added: 0.1.0
description:
  - Writes the definitions of one role to C(intended/<node>/), for the whole fleet at once.
  - Runs once, on the controller, and opens no connection.
options:
  role:
    description: Role whose definitions are rendered; those of all roles without it.
    type: str
    choices: [bridge, host_routes, vxlan, bgp, firewall, cni]
extends_documentation_fragment:
  - podnet.fabric.output_dir
  - podnet.fabric.attributes
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
  idempotent:
    support: full
author:
  - podnet developers (@podnet)
"""

EXAMPLES = r"""
- name: Render the routes of every node
  podnet.fabric.render:
    role: host_routes
"""

RETURN = r"""
files:
  description: Files that were written, as node and name.
  type: list
  elements: str
  returned: success
"""
