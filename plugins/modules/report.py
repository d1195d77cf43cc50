#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Documentation of the action of the same name; the work is done in plugins/action."""

from __future__ import annotations

DOCUMENTATION = r"""
module: report
short_description: Write the report of the last verification
version_added: 0.1.0
description:
  - Writes C(report/report.html), C(report/report.json), C(report/junit.xml) and
    C(report/podnet.prom) from the saved results of the last verification.
  - Runs once, on the controller, and opens no connection.
options:
  title:
    description: Title of the report, such as the name of the cluster.
    type: str
    default: Pod network
extends_documentation_fragment:
  - podnet.fabric.output_dir
  - podnet.fabric.attributes
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
    details: The files are made from saved results; their differences say nothing about nodes.
  idempotent:
    support: full
author:
  - podnet developers (@podnet)
"""

EXAMPLES = r"""
- name: Write the report of the last verification
  podnet.fabric.report:
    title: Rack row 4
"""

RETURN = r"""
files:
  description: Paths of the files of the report.
  type: list
  elements: str
  returned: success
verdict:
  description: What the report says, V(pass), V(fail) or V(unknown).
  type: str
  returned: success
"""
