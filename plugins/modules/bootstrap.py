#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Documentation of the action of the same name; the work is done in plugins/action."""

from __future__ import annotations

DOCUMENTATION = r"""
module: bootstrap
short_description: Give a node the programs that podnet needs there
version_added: 0.1.0
description:
  - Asks the node which of the programs it lacks (iproute2, nftables, awk, sed, coreutils,
    util-linux, the CNI plugins, and Python for verification), and has apt-get or dnf install
    their packages. Where none is missing nothing is done.
  - Needs on the node a shell and apt-get or dnf, and no Python; with O(files) no network either.
options:
  bin_dir:
    description: Folder of the CNI plugins; empty where something else brings them.
    type: str
    default: /usr/lib/cni
  python:
    description: Whether Python belongs to what the node needs; without it C(verify) cannot run.
    type: bool
    default: true
  frr:
    description: Whether nodes shall have FRR; its own service is left not running.
    type: bool
    default: false
  repository:
    description:
      - Take packages from here, for this once, in place of the node's own repositories. For apt an
        entry of sources.list, for dnf a URL.
    type: str
    default: ""
  files:
    description:
      - Package files on the controller, or folders of them, in place of any repository. They must
        hold everything that is missing, dependencies too.
    type: list
    elements: path
    default: []
extends_documentation_fragment:
  - podnet.fabric.attributes
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
    details: The names of the packages are in the result.
  idempotent:
    support: full
author:
  - podnet developers (@podnet)
"""

EXAMPLES = r"""
- name: Install what is missing
  podnet.fabric.bootstrap:

- name: From the controller, for nodes without a network
  podnet.fabric.bootstrap:
    files: [files/debian-12/]
"""

RETURN = r"""
packages:
  description: Packages that were installed.
  returned: success
  type: list
  elements: str
"""
