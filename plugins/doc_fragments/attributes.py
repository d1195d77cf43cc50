# SPDX-License-Identifier: GPL-3.0-or-later
"""What every module of this collection says about itself, in the same words."""

from __future__ import annotations


class ModuleDocFragment:
    """A module that extends this says in its own `attributes` what it supports."""

    DOCUMENTATION = r"""
attributes:
  check_mode:
    description: Can run in check mode and say what would change, without changing it.
  diff_mode:
    description: Says in detail what changes.
  idempotent:
    description: A second run with the same input changes nothing.
  action_group:
    description: Takes defaults from C(group/podnet.fabric.all) in C(module_defaults).
    support: full
    membership:
      - podnet.fabric.all
"""
