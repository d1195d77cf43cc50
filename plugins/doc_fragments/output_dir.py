# SPDX-License-Identifier: GPL-3.0-or-later
"""The option of every module that keeps files on the controller."""

from __future__ import annotations


class ModuleDocFragment:
    """Named before `attributes`, because the first fragment that has an attribute has its say."""

    DOCUMENTATION = r"""
options:
  output_dir:
    description:
      - Folder on the controller for C(intended/), C(report/) and C(.podnet/).
      - Left out, it is the working directory.
    type: path
attributes:
  action_group:
    description: >-
      Takes defaults from C(group/podnet.fabric.all) and C(group/podnet.fabric.fleet) in
      C(module_defaults). The second has the modules that know O(output_dir).
    support: full
    membership:
      - podnet.fabric.all
      - podnet.fabric.fleet
"""
